"""Units whose weights may be others tomorrow: types that hold for all of them, and what cannot be such a unit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from intir import BIPOLAR, TERNARY, IntType, signed, unsigned

from ..engines.mvu import Mvu
from ..plan import LayerPlan, PlanError
from .base import plain

if TYPE_CHECKING:
    from .product import ProductLayer

#: Most thresholds an output of such a unit has: it compares with all of them at once.
MOST_THRESHOLDS = 15
Unit = TypeVar("Unit", bound=Mvu)


def loadable_type(kind: IntType) -> IntType:
    """The type of the weights that can be loaded where those of a type were: as it is where each bit is used, else all bits.

    >>> print(loadable_type(IntType(-5, 7)), loadable_type(IntType(-1, 1, 2)), loadable_type(IntType(0, 9)))
    s4 bipolar u4
    """
    if kind in (BIPOLAR, TERNARY) or kind.is_coded:
        return kind
    return signed(kind.bits) if kind.signed else unsigned(kind.bits)


def reach(engine: Mvu) -> IntType:
    """The sums that any weights of the engine's type can give."""
    x, w = engine.x_type, engine.w_type
    if engine.distance:
        return IntType(-engine.inputs * max(x.hi - w.lo, w.hi - x.lo), 0)
    products = [a * b for a in (x.lo, x.hi) for b in (w.lo, w.hi)]
    return IntType(engine.inputs * min(products), engine.inputs * max(products))


def for_any_weights(engine: Unit, gives_sums: bool) -> Unit:
    """The unit with types that depend on no weight; `gives_sums` where no thresholds are behind it."""
    wide = replace(engine, w_type=loadable_type(engine.w_type), reloadable=True)
    sums = reach(wide)
    return replace(wide, acc_type=sums, threshold_type=sums, out_type=plain(sums) if gives_sums else wide.out_type)


def check_reloadable(layer: ProductLayer, entry: LayerPlan) -> None:
    """Raise PlanError where a layer's weights cannot be written while it runs."""
    where = f"layer '{layer.name}': reloadable = true, but "
    if layer.is_unrolled(entry):
        raise PlanError(f"{where}{entry.folding} builds its weights into logic; fold it, so that they are in a memory, or remove "
                        "that line")
    if layer.threshold is not None and layer.threshold.thresholds.shape[1] > MOST_THRESHOLDS:
        raise PlanError(f"{where}its {layer.threshold.thresholds.shape[1]} thresholds an output are compared by bisection, whose "
                        f"tables cannot be written; at most {MOST_THRESHOLDS} can be compared at once; remove that line")
    if layer.threshold is None and layer.graph.consumers(layer.value):
        reader = layer.graph.consumers(layer.value)[0].name
        raise PlanError(f"{where}'{reader}' takes its sums, whose width follows from today's weights; only layers that end in "
                        "thresholds or in the network's output can be reloadable; remove that line")

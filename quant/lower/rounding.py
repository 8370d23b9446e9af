"""Roundings on the chain: of QuantizeLinear (`qdq`), and Round, Floor and Ceil, of which someone wrote a quantizer, as
``Mul(Clip(Round(Div(x, s)), lo, hi), s)``.

The rounding stays open, as a function on the chain; a quantizer behind it follows it through.  An operator that wants
integers closes it to the levels that occur, of which the clips behind it leave those between their bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from .chain import ALL, NONE, Clip, Function, Half, Linear
from .close import close
from .columns import extent
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, filled, objects
from .node import OnnxNode, lowers
from .quantizers import round_exactly
from .steps import ROUNDINGS, Steps
from .tensors import Act, Source

_MODES = {"Round": "ROUND", "Floor": "FLOOR", "Ceil": "CEIL"}
MAX_LEVELS = 2**16


@dataclass(frozen=True, eq=False)
class Rounded(Function):
    """The nearest integer (half to even), the one below, or the one above, plus a zero point, the only param.

    Parameters
    ----------
    mode : str
        As QONNX names it.
    """

    mode: str = "ROUND"

    def direction(self, *constants: Any) -> int:
        return 1

    def at(self, x: Fraction, *constants: Any) -> Fraction:
        return Fraction(round_exactly(x, self.mode) + constants[0])

    def inverse(self, half: Half, *constants: Any) -> Half:
        if half.kind in ("all", "none"):
            return half
        if half.kind in ("le", "lt"):
            rest = self.inverse(Half("gt" if half.kind == "le" else "ge", half.bound), *constants)
            return {"all": NONE, "none": ALL, "ge": Half("lt", rest.bound), "gt": Half("le", rest.bound)}[rest.kind]
        level = math.ceil(half.bound) + int(half.kind == "gt" and half.bound.denominator == 1)
        return ROUNDINGS[self.mode](level - int(constants[0]))


@lowers(*_MODES)
def _round(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    return act.then(Rounded((filled(ZERO, len(act.shape)),), _MODES[node.op_type]))


def is_rounded(act: Act) -> bool:
    """True if there is a rounding on the activation's chain."""
    return any(isinstance(function, Rounded) for function in act.chain)


def rounded(ctx: Context, act: Act) -> Act:
    """The activation with its last rounding closed to integers; what follows stays on its chain.

    Raises
    ------
    LoweringError
        If it has more than 65,536 levels, or reads the network's float input and no clip bounds it.
    """
    position = max(i for i, function in enumerate(act.chain) if isinstance(function, Rounded))
    function, later = act.chain[position], list(act.chain[position + 1:])
    assert isinstance(function, Rounded)
    before = replace(act, chain=act.chain[:position])
    bottom, top, later = _between_clips(later)
    low, high = bottom, top
    zero, rank = function.params[0], len(act.shape)
    if (low is None or high is None) and not (isinstance(act.carrier, Source) and act.carrier.spec is None):
        least, most = extent(ctx, before)
        ends = [math.floor(least + min(zero.ravel())), math.ceil(most + max(zero.ravel()))]
        ends = [end if bottom is None else max(end, bottom) for end in ends]
        low, high = (end if top is None else min(end, top) for end in ends)
        if low == high:  # a quantizer has two levels; the other one lies where it is not reached
            low, high = (low - 1, high) if high == top else (low, high + 1)
    if low is None or high is None or high - low >= MAX_LEVELS:
        what = "any integer" if low is None or high is None else f"{high - low + 1} integers"
        raise LoweringError(f"it rounds to {what}; clip the rounded values to at most {MAX_LEVELS} levels before anything else "
                            "reads them")
    zeros = sorted({int(one) for one in zero.ravel()})
    bounds = [[ROUNDINGS[function.mode](level - one) for level in range(low + 1, high + 1)] for one in zeros]
    group = objects([zeros.index(int(one)) for one in zero.ravel()], zero.shape)
    one, none = filled(ONE, rank), filled(ZERO, rank)
    made = close(ctx, before, Steps(one, none, low, bounds, group, one, none))
    for one_more in later:
        made = made.linear(*one_more.params) if isinstance(one_more, Linear) else made.then(one_more)
    return made


def _between_clips(later: list[Function]) -> tuple[int | None, int | None, list[Function]]:
    """The levels between which the clips behind a rounding leave it unchanged, and what remains of the chain.

    A clip whose bounds are levels goes away, for the levels end there.  Between other bounds it stays, and the levels end at
    the first ones beyond.
    """
    low: int | None = None
    high: int | None = None
    kept: list[Function] = []
    factor, summand = ONE, ZERO
    for n, function in enumerate(later):
        if any(param.size != 1 for param in function.params):
            return low, high, [*kept, *later[n:]]
        if isinstance(function, Linear):
            factor, summand = factor * function.params[0].item(), summand * function.params[0].item() + function.params[1].item()
            kept.append(function)
        elif isinstance(function, Clip) and factor > 0:
            least, most = (None if one.item() is None else (one.item() - summand) / factor for one in function.params)
            lower = low if least is None else math.floor(least) if low is None else max(low, math.floor(least))
            upper = high if most is None else math.ceil(most) if high is None else min(high, math.ceil(most))
            if (lower is not None and upper is not None and lower >= upper) or \
                    (least is not None and most is not None and least >= most):
                return low, high, [*kept, *later[n:]]
            if any(end is not None and end.denominator != 1 for end in (least, most)):
                kept.append(function)  # it still moves the levels at its ends
            low, high = lower, upper
        else:
            return low, high, [*kept, *later[n:]]
    return low, high, kept

"""What a quantizer is to the lowering: a rising step function of a real number, with exact boundaries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from .chain import Half
from .errors import LoweringError
from .exact import Param
from .load import printable

HALF = Fraction(1, 2)

#: Rounding mode -> the half-line of v for which rounding gives at least q.
#: ROUND is half to even; UP and HALF_UP go away from zero, DOWN and HALF_DOWN towards it, as in QONNX.
ROUNDINGS: dict[str, Callable[[int], Half]] = {
    "ROUND": lambda q: Half("ge" if q % 2 == 0 else "gt", q - HALF),
    "FLOOR": lambda q: Half("ge", Fraction(q)),
    "CEIL": lambda q: Half("gt", Fraction(q - 1)),
    "UP": lambda q: Half("gt", Fraction(q - 1)) if q > 0 else Half("ge", Fraction(q)),
    "DOWN": lambda q: Half("ge", Fraction(q)) if q > 0 else Half("gt", Fraction(q - 1)),
    "HALF_UP": lambda q: Half("ge" if q > 0 else "gt", q - HALF),
    "HALF_DOWN": lambda q: Half("gt" if q > 0 else "ge", q - HALF),
}
ROUNDINGS["HALF_EVEN"] = ROUNDINGS["ROUND"]
ROUNDINGS["ROUND_TO_ZERO"] = ROUNDINGS["DOWN"]
# A clamp to integers before rounding changes no boundary between two levels inside the clamp.


def rounding(name: str) -> Callable[[int], Half]:
    """The rule of a rounding mode.  Raises LoweringError if there is none of that name."""
    if name.upper() not in ROUNDINGS:
        raise LoweringError(f"rounding mode '{printable(name)[:40]}' is unknown; choose one of {', '.join(ROUNDINGS)}")
    return ROUNDINGS[name.upper()]


@dataclass(frozen=True, eq=False)
class Steps:
    """``q = lo + #{k : v in bounds[k]}`` with ``v = y * factor + summand``; the network goes on with ``q * scale + offset``.

    Parameters
    ----------
    factor, summand, scale, offset : Param, of the rank of y
    lo : int
        Lowest level.
    bounds : list of lists of Half
        One list per group of channels; each rising half-line lies inside the one before.
    group : Param of int, of the rank of y
        Which list an element follows.
    """

    factor: Param
    summand: Param
    lo: int
    bounds: list[list[Half]]
    group: Param
    scale: Param
    offset: Param

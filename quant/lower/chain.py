"""Element-wise real functions between an integer tensor and the next quantizer.

A chain is a list of functions, each with params (constants that broadcast against the tensor).  A quantizer behind
monotone functions needs of each its direction and the set of arguments for which its value lies in a given half-line;
behind others it needs their values, or enclosures of them (`tabulate.py`).  A new element-wise operator is a new class
here and a line in `elementwise.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np

from .errors import LoweringError
from .exact import ZERO, Array, Param


@dataclass(frozen=True)
class Half:
    """A half-line of the reals, everything or nothing.

    Parameters
    ----------
    kind : str
        ``ge`` {x >= bound}, ``gt`` {x > bound}, ``le``, ``lt``, ``all`` or ``none``.
    bound : Fraction
    """

    kind: str
    bound: Fraction = ZERO

    def holds(self, x: Fraction) -> bool:
        """True if x is inside."""
        if self.kind in ("all", "none"):
            return self.kind == "all"
        if x == self.bound:
            return self.kind in ("ge", "le")
        return (x > self.bound) == (self.kind in ("ge", "gt"))


ALL, NONE = Half("all"), Half("none")
TABULATED = 2  #: the direction of a function that is not monotone
_FLIPPED = {"ge": "le", "gt": "lt", "le": "ge", "lt": "gt"}


def _either(condition: bool) -> Half:
    return ALL if condition else NONE


@dataclass(frozen=True, eq=False)
class Function:
    """Base of element-wise functions.

    `params` hold the constants; the methods take the constants of one channel behind their first argument.
    """

    params: tuple[Param, ...]
    strict: ClassVar[bool] = False  #: True if different arguments always give different values (wherever direction != 0)

    def elements(self) -> Iterator[tuple[Any, ...]]:
        """The constants of each group of elements that have their own."""
        return zip(*(param.ravel() for param in np.broadcast_arrays(*self.params)), strict=True)

    def moved(self, turn: Callable[[Param], Param], move: Callable[[Array], Array]) -> Self:
        """The function behind an operator that only moves values: `turn` moves a param, `move` a whole tensor."""
        return replace(self, params=tuple(turn(param) for param in self.params))

    def direction(self, *constants: Any) -> int:
        """+1 rising, -1 falling, 0 constant, `TABULATED` where only `enclose` can be used."""
        raise NotImplementedError

    def at(self, x: Fraction, *constants: Any) -> Fraction:
        """The exact value, where it is rational for every rational x."""
        raise NotImplementedError

    def enclose(self, low: Fraction, high: Fraction, *constants: Any) -> tuple[Fraction, Fraction]:
        """Bounds of the values over an interval: the value itself where low = high and it is rational."""
        first = self.at(low, *constants)
        last = first if low == high else self.at(high, *constants)
        return min(first, last), max(first, last)

    def inverse(self, half: Half, *constants: Any) -> Half:
        """The arguments for which the value lies in a half-line."""
        raise NotImplementedError


class Linear(Function):
    """``x * factor + summand``."""

    strict = True

    def direction(self, *constants: Any) -> int:
        factor = constants[0]
        return int(factor > 0) - int(factor < 0)

    def at(self, x: Fraction, *constants: Any) -> Fraction:
        factor, summand = constants
        value: Fraction = x * factor + summand
        return value

    def inverse(self, half: Half, *constants: Any) -> Half:
        factor, summand = constants
        if half.kind in ("all", "none"):
            return half
        if factor == 0:
            return _either(half.holds(summand))
        return Half(half.kind if factor > 0 else _FLIPPED[half.kind], (half.bound - summand) / factor)


class Clip(Function):
    """``min(max(x, low), high)``; None where there is no bound.  As in ONNX, high wins where low is above it."""

    def direction(self, *constants: Any) -> int:
        low, high = constants
        return 0 if low is not None and high is not None and low >= high else 1

    def at(self, x: Fraction, *constants: Any) -> Fraction:
        low, high = constants
        if low is not None and x < low:
            x = low
        return high if high is not None and x > high else x

    def inverse(self, half: Half, *constants: Any) -> Half:
        low, high = constants
        if half.kind in ("all", "none"):
            return half
        if low is not None and high is not None and low >= high:
            return _either(half.holds(high))
        # The half-line is bounded inside (low, high), or it takes an end with all that was clipped to it, or leaves it.
        rising = half.kind in ("ge", "gt")
        far, near = (high, low) if rising else (low, high)
        if far is not None and not half.holds(far):
            return NONE
        if near is not None and half.holds(near):
            return ALL
        return half


class Leaky(Function):
    """``x`` where x >= 0, ``x * slope`` below (LeakyRelu, PRelu; Abs is a slope of -1)."""

    def direction(self, *constants: Any) -> int:
        (slope,) = constants
        return 1 if slope >= 0 else TABULATED

    def enclose(self, low: Fraction, high: Fraction, *constants: Any) -> tuple[Fraction, Fraction]:
        ends = (self.at(low, *constants), self.at(high, *constants), *([ZERO] if low < 0 < high else []))
        return min(ends), max(ends)

    def at(self, x: Fraction, *constants: Any) -> Fraction:
        value: Fraction = x if x >= 0 else x * constants[0]
        return value

    def inverse(self, half: Half, *constants: Any) -> Half:
        (slope,) = constants
        if half.kind in ("all", "none"):
            return half
        rising = half.kind in ("ge", "gt")
        if half.bound > 0:
            return half
        if half.bound == 0:
            if slope == 0 and half.kind in ("ge", "lt"):  # every x below 0 gives 0, too
                return _either(half.kind == "ge")
            return half
        if slope == 0:
            return _either(rising)
        return Half(half.kind, half.bound / slope)


class Normalised(Function):
    """Softmax: it changes no order inside a group of elements; a quantizer can't follow it.

    Its param numbers the groups that are normalised together.
    """

    strict = True

    def direction(self, *constants: Any) -> int:
        return 1

    def enclose(self, low: Fraction, high: Fraction, *constants: Any) -> tuple[Fraction, Fraction]:
        self.inverse(NONE)
        raise NotImplementedError  # `inverse` raises

    def inverse(self, half: Half, *constants: Any) -> Half:
        raise LoweringError("it quantizes the output of a Softmax, which the IR does not compute; end the network before the "
                            "Softmax")

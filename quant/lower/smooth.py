"""Smooth rising functions between quantizers: Sigmoid, Tanh, Elu, Softplus, Exp.

Their values at rational arguments are irrational (Lindemann), but for a few arguments that are listed.  So the argument
at which a rational boundary is met is irrational, too, and no integer ever lies on it: an enclosure of 200 bits decides
on which side each integer lies, and `close` checks that both ends of the enclosure decide alike.
"""

from __future__ import annotations

from decimal import Context as DecimalContext
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

from . import curves
from .chain import ALL, NONE, Function, Half
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, filled
from .node import OnnxNode, lowers
from .tensors import Act

#: Enough for 60 correct digits after the cancellation in ln(1 + x) of a float's reciprocal.
_DIGITS = DecimalContext(prec=120)
WIDTH = Fraction(1, 2**200)


def log(x: Fraction) -> Fraction:
    """The natural logarithm of a positive rational, with a relative error far below `WIDTH`."""
    quotient = _DIGITS.divide(Decimal(x.numerator), Decimal(x.denominator))
    return Fraction(_DIGITS.ln(quotient))


class Smooth(Function):
    """A strictly rising function with an inverse that is known to any precision."""

    strict = True
    low: ClassVar[Fraction | None] = None  #: values stay above it
    high: ClassVar[Fraction | None] = None  #: and below it

    def direction(self, *constants: Any) -> int:
        return 1

    def argument(self, value: Fraction, *constants: Any) -> tuple[Fraction, bool]:
        """Where the value is met, and whether that is exact."""
        raise NotImplementedError

    def value(self, x: Any) -> Any:
        """The function on mpmath's numbers."""
        raise NotImplementedError

    def exactly(self, x: Fraction, *constants: Any) -> Fraction | None:
        """The value at x if it is rational."""
        return None

    def enclose(self, low: Fraction, high: Fraction, *constants: Any) -> tuple[Fraction, Fraction]:
        ends = []
        for x in (low, high):
            exact = self.exactly(x, *constants)
            ends.append(curves.enclosure(self.value, x) if exact is None else (exact, exact))
        return ends[0][0], ends[1][1]

    def enclosed(self, half: Half, side: int, *constants: Any) -> Half:
        """`inverse` with the argument moved to one end (-1, +1) of its enclosure."""
        if half.kind in ("all", "none"):
            return half
        rising = half.kind in ("ge", "gt")
        if self.low is not None and half.bound <= self.low:
            return ALL if rising else NONE
        if self.high is not None and half.bound >= self.high:
            return NONE if rising else ALL
        argument, is_exact = self.argument(half.bound, *constants)
        if not is_exact:
            argument += side * WIDTH * max(ONE, abs(argument))
        return Half(half.kind, argument)

    def inverse(self, half: Half, *constants: Any) -> Half:
        return self.enclosed(half, 0, *constants)


class Sigmoid(Smooth):
    """``1 / (1 + exp(-x))``; rational only at 0."""

    low, high = ZERO, ONE

    def value(self, x: Any) -> Any:
        return curves.sigmoid(x)

    def exactly(self, x: Fraction, *constants: Any) -> Fraction | None:
        return None if x else Fraction(1, 2)

    def argument(self, value: Fraction, *constants: Any) -> tuple[Fraction, bool]:
        return (ZERO, True) if value == Fraction(1, 2) else (log(value / (1 - value)), False)


class Tanh(Smooth):
    """``(exp(2x) - 1) / (exp(2x) + 1)``; rational only at 0."""

    low, high = -ONE, ONE

    def value(self, x: Any) -> Any:
        return curves.tanh(x)

    def exactly(self, x: Fraction, *constants: Any) -> Fraction | None:
        return None if x else ZERO

    def argument(self, value: Fraction, *constants: Any) -> tuple[Fraction, bool]:
        return (ZERO, True) if value == 0 else (log((1 + value) / (1 - value)) / 2, False)


class Softplus(Smooth):
    """``ln(1 + exp(x))``; never rational at a rational argument."""

    low = ZERO

    def value(self, x: Any) -> Any:
        return curves.softplus(x)

    def argument(self, value: Fraction, *constants: Any) -> tuple[Fraction, bool]:
        power = Fraction(_DIGITS.exp(_DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))))
        return log(power - 1), False


class Elu(Smooth):
    """``x`` where x >= 0, ``alpha * (exp(x) - 1)`` below."""

    def enclose(self, low: Fraction, high: Fraction, *constants: Any) -> tuple[Fraction, Fraction]:
        (alpha,) = constants
        below, above = ((x, x) if x >= 0 else curves.enclosure(curves.expm1, x) for x in (low, high))
        return below[0] if low >= 0 else below[0] * alpha, above[1] if high >= 0 else above[1] * alpha

    def enclosed(self, half: Half, side: int, *constants: Any) -> Half:
        (alpha,) = constants
        if half.kind not in ("all", "none") and half.bound <= -alpha:
            return ALL if half.kind in ("ge", "gt") else NONE
        return super().enclosed(half, side, *constants)

    def argument(self, value: Fraction, *constants: Any) -> tuple[Fraction, bool]:
        return (value, True) if value >= 0 else (log(1 + value / constants[0]), False)


_SIMPLE: dict[str, type[Smooth]] = {"Sigmoid": Sigmoid, "Tanh": Tanh, "Softplus": Softplus}


@lowers(*_SIMPLE)
def _simple(ctx: Context, node: OnnxNode) -> Act:
    return node.act().then(_SIMPLE[node.op_type](()))


@lowers("Elu")
def _elu(ctx: Context, node: OnnxNode) -> Act:
    alpha = Fraction(float(node.attribute("alpha", 1.0)))
    if alpha <= 0:
        raise LoweringError(f"its alpha is {float(alpha):g}; only positive ones are supported")
    act = node.act()
    return act.then(Elu((filled(alpha, len(act.shape)),)))

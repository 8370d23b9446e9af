"""Functions known by their values: GELU, SiLU, Mish, Exp, Log, Sqrt, Erf, ... in front of a quantizer.

`tabulate.py` evaluates them at every integer that can occur.  At rational arguments their values are irrational, but
for a few that are listed, so no value lies on a rational boundary; an enclosure of 240 bits decides on which side it
lies, and where it does not, the lowering says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath

from .chain import TABULATED, Function
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, filled
from .node import OnnxNode, lowers
from .tensors import Act

_BITS = mpmath.MPContext()
_BITS.prec = 320
SLACK = Fraction(1, 2**240)
MAX_EXPONENT = 2**18  #: of a value in base 2; the exponential of 180,000 fits

Value = Callable[[Any], Any]


def enclosure(function: Value, x: Fraction) -> tuple[Fraction, Fraction]:
    """Bounds, 240 bits close, of a function of mpmath's numbers at a rational argument."""
    result = function(_BITS.mpf(x.numerator) / x.denominator)
    sign, mantissa, exponent, _ = result._mpf_
    if abs(exponent) > MAX_EXPONENT:
        raise LoweringError(f"its value at {float(x):g}, which its input can be, is beyond 2**{MAX_EXPONENT} or as close to 0; "
                            "clip or quantize its input to smaller numbers")
    value = Fraction(-int(mantissa) if sign else int(mantissa)) * Fraction(2) ** int(exponent)
    slack = SLACK * max(abs(value), SLACK)
    return value - slack, value + slack


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + _BITS.exp(-x))


def softplus(x: Any) -> Any:
    """ln(1 + exp(x))."""
    return _BITS.log1p(_BITS.exp(x))


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return _BITS.tanh(x)


def expm1(x: Any) -> Any:
    """exp(x) - 1."""
    return _BITS.expm1(x)


@dataclass(frozen=True, eq=False)
class Curve(Function):
    """A function evaluated at single points.

    Parameters
    ----------
    value : callable
        The function on mpmath's numbers.
    rational : callable
        Its exact value at an argument, or None where that is irrational; raises LoweringError where there is none.
    """

    value: Value = sigmoid
    rational: Callable[[Fraction], Fraction | None] = lambda x: None

    def direction(self, *constants: Any) -> int:
        return TABULATED

    def enclose(self, low: Fraction, high: Fraction, *constants: Any) -> tuple[Fraction, Fraction]:
        if low != high:
            raise LoweringError("it quantizes a function of another one with irrational values; put a quantizer between the two")
        exact = self.rational(low)
        return enclosure(self.value, low) if exact is None else (exact, exact)


def _log(x: Fraction) -> Fraction | None:
    if x <= 0:
        raise LoweringError(f"it takes the logarithm of {float(x):g}, which its input can be; clip or quantize its input to "
                            "positive numbers")
    return ZERO if x == 1 else None


def _root(x: Fraction) -> Fraction | None:
    if x < 0:
        raise LoweringError(f"it takes the square root of {float(x):g}, which its input can be; clip or quantize its input to "
                            "0 and above")
    root = Fraction(math.isqrt(x.numerator), math.isqrt(x.denominator))
    return root if root * root == x else None


def _gelu_by_tanh(x: Any) -> Any:
    return x / (1 + _BITS.exp(-2 * _BITS.sqrt(2 / _BITS.pi) * (x + _BITS.mpf(44715) / 1000000 * x**3)))


_AT_ZERO = {ZERO: ZERO}.get
_CURVES: dict[str, tuple[Value, Callable[[Fraction], Fraction | None]]] = {
    "Exp": (_BITS.exp, {ZERO: ONE}.get),
    "Log": (_BITS.log, _log),
    "Sqrt": (_BITS.sqrt, _root),
    "Erf": (_BITS.erf, _AT_ZERO),
    "Gelu": (lambda x: x * _BITS.erfc(-x / _BITS.sqrt(2)) / 2, _AT_ZERO),
    "FastGelu": (_gelu_by_tanh, _AT_ZERO),
    "Silu": (lambda x: x * sigmoid(x), _AT_ZERO),
    "Mish": (lambda x: x * _BITS.tanh(softplus(x)), _AT_ZERO),
    "Sin": (_BITS.sin, _AT_ZERO),
    "Cos": (_BITS.cos, {ZERO: ONE}.get),
}
_CURVES["Swish"] = _CURVES["Silu"]


class Hardswish(Function):
    """``x * min(max(x / 6 + 1 / 2, 0), 1)``."""

    def direction(self, *constants: Any) -> int:
        return TABULATED

    def at(self, x: Fraction, *constants: Any) -> Fraction:
        return x * min(max(x / 6 + Fraction(1, 2), ZERO), ONE)


class Softsign(Function):
    """``x / (1 + |x|)``."""

    def direction(self, *constants: Any) -> int:
        return TABULATED

    def at(self, x: Fraction, *constants: Any) -> Fraction:
        return x / (1 + abs(x))


class Reciprocal(Function):
    """``1 / x``."""

    def direction(self, *constants: Any) -> int:
        return TABULATED

    def at(self, x: Fraction, *constants: Any) -> Fraction:
        if x == 0:
            raise LoweringError("it divides by 0, which its input can be; clip or quantize its input to numbers other than 0")
        return 1 / x


class Power(Function):
    """``x ** exponent`` with a whole exponent."""

    def direction(self, *constants: Any) -> int:
        return TABULATED

    def at(self, x: Fraction, *constants: Any) -> Fraction:
        (exponent,) = constants
        if x == 0 and exponent < 0:
            raise LoweringError("it divides by 0, which its input can be; clip or quantize its input to numbers other than 0")
        value: Fraction = x ** int(exponent)
        return value


_RATIONAL: dict[str, type[Function]] = {"HardSwish": Hardswish, "Softsign": Softsign, "Reciprocal": Reciprocal}


@lowers(*_RATIONAL)
def _rational(ctx: Context, node: OnnxNode) -> Act:
    return node.act().then(_RATIONAL[node.op_type](()))


@lowers(*_CURVES)
def _curve(ctx: Context, node: OnnxNode) -> Act:
    kind = node.op_type
    if kind == "Swish" and node.attribute("alpha", 1.0) != 1.0:
        raise LoweringError(f"its alpha is {node.attribute('alpha'):g}; only 1 is supported, so write it as Mul and Sigmoid")
    if kind == "Gelu" and str(node.attribute("approximate", "none")) == "tanh":
        kind = "FastGelu"
    if node.has(1):
        raise LoweringError("it adds a bias inside; write it as an Add before it")
    return node.act().then(Curve((), *_CURVES[kind]))


@lowers("Pow")
def _pow(ctx: Context, node: OnnxNode) -> Act:
    act, exponent = node.act(), node.const(1, "exponent").scalar("its exponent")
    if exponent == Fraction(1, 2):
        return act.then(Curve((), *_CURVES["Sqrt"]))
    if exponent.denominator != 1 or abs(exponent) > 16:
        raise LoweringError(f"its exponent is {float(exponent):g}; only 0.5 and whole numbers from -16 to 16 are supported")
    return act.then(Power((filled(exponent, len(act.shape)),)))

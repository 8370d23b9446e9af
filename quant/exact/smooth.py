"""Irrational functions: of constants rounded to float32, of activations enclosed between rationals.

An `Enclosure` stands for numbers that no rational is.  What keeps the order is applied to both of its ends; as soon as a
quantizer sends both to the same level, the level is certain and the tensor is exact again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np

from .rational import ExactError, Rational, each, of_array, of_fractions, uniform

_DIGITS = Context(prec=80, Emax=10**9, Emin=-(10**9))
#: Above the relative error of a few operations of 80 digits on arguments below 10^6, by which exp multiplies its argument's.
_ERROR = Fraction(1, 10**70)
_GRID = Fraction(1, 10**72)


@dataclass(frozen=True, eq=False)
class Enclosure:
    """Numbers between two rationals, element by element; equal where the number is known."""

    low: Rational
    high: Rational

    @property
    def shape(self) -> tuple[int, ...]:
        """The ONNX shape."""
        return self.low.shape


@dataclass(frozen=True, eq=False)
class Softened:
    """A softmax of known numbers over some axes (of the array): irrational, but in their order.

    A decision along one of these axes needs no more.
    """

    before: Rational
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The ONNX shape."""
        return self.before.shape


def _exp(x: Fraction) -> Fraction:
    if abs(x) > 10**6:
        raise ExactError(f"has an argument of {float(x):g}, where its values can't be told apart")
    return Fraction(_DIGITS.exp(_DIGITS.divide(Decimal(x.numerator), Decimal(x.denominator))))


def _ln(x: Fraction) -> Fraction:
    return Fraction(_DIGITS.ln(_DIGITS.divide(Decimal(x.numerator), Decimal(x.denominator))))


def _sigmoid(x: Fraction, _: Fraction) -> Fraction:
    return 1 / (1 + _exp(-x))


def _tanh(x: Fraction, _: Fraction) -> Fraction:
    return 1 - 2 / (_exp(2 * x) + 1)


def _softplus(x: Fraction, _: Fraction) -> Fraction:
    return _ln(1 + _exp(x))


def _elu(x: Fraction, alpha: Fraction) -> Fraction:
    return x if x >= 0 else alpha * (_exp(x) - 1)


def _exponential(x: Fraction, _: Fraction) -> Fraction:
    return _exp(x)


#: Operator -> (rising function, the arguments at which it is rational and these values).
_RISING: dict[str, tuple[Callable[[Fraction, Fraction], Fraction], Callable[[Fraction], Fraction | None]]] = {
    "Sigmoid": (_sigmoid, lambda x: Fraction(1, 2) if x == 0 else None),
    "Tanh": (_tanh, lambda x: x if x == 0 else None),
    "Softplus": (_softplus, lambda x: None),
    "Elu": (_elu, lambda x: x if x >= 0 else None),
    "Exp": (_exponential, lambda x: Fraction(1) if x == 0 else None),
}
RISING = frozenset(_RISING)


def enclosed(op_type: str, x: Rational, alpha: Fraction) -> Enclosure:
    """A rising irrational function of an activation, between bounds that hold for certain."""
    function, known = _RISING[op_type]
    x = uniform(x, tuple(range(x.integers.ndim)))
    distinct, places = np.unique(x.integers, return_inverse=True)
    low, high = (np.empty(distinct.shape, object) for _ in range(2))
    for i, integer in enumerate(distinct.tolist()):
        argument = integer * x.unit.item()
        value = known(argument)
        if value is not None:
            low[i] = high[i] = value
            continue
        value = function(argument, alpha)
        # The last steps of tanh and ELU subtract numbers up to 1 and alpha: the error counts from those.
        slack = _ERROR * max(abs(value), Fraction(1), alpha)
        low[i], high[i] = math.floor((value - slack) / _GRID) * _GRID, math.ceil((value + slack) / _GRID) * _GRID
    low, high = (end[places.reshape(x.integers.shape)] for end in (low, high))
    return Enclosure(of_fractions(low), of_fractions(high))


_OF_CONSTANTS: dict[str, Callable[..., float]] = {
    "Sqrt": math.sqrt, "Exp": math.exp, "Log": math.log, "Tanh": math.tanh, "Erf": math.erf, "Pow": math.pow,
    "Sigmoid": lambda x: 1 / (1 + math.exp(-x)), "Softplus": lambda x: math.log1p(math.exp(x)), "Sin": math.sin, "Cos": math.cos,
}
OF_CONSTANTS = frozenset(_OF_CONSTANTS)


def of_constants(op_type: str, *constants: Rational) -> Rational:
    """Of constants: arguments rounded to float32, the float64 function, its value rounded to float32 and exact from there on."""
    def function(*arguments: Fraction) -> float:
        try:
            return float(np.float32(_OF_CONSTANTS[op_type](*(float(np.float32(float(one))) for one in arguments))))
        except (ValueError, OverflowError, ZeroDivisionError):
            raise ExactError(f"is not defined at {[float(one) for one in arguments]}") from None
    return of_array(each(function, *(one.fractions() for one in constants)).astype(np.float64))

"""Integer types as Amaranth shapes and values."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Shape, Value
from amaranth.hdl import signed as signed_shape
from amaranth.hdl import unsigned as unsigned_shape

from intir import IntType


def shape_of(kind: IntType) -> Shape:
    """The shape that carries a type: its code if it has steps above 1, else two's complement or unsigned."""
    return signed_shape(kind.bits) if kind.signed else unsigned_shape(kind.bits)


def spanning(lo: int, hi: int) -> Shape:
    """The least shape that carries the integers from lo to hi, which may have any width (a range's length must fit 63 bits)."""
    if lo >= 0:
        return unsigned_shape(hi.bit_length())
    return signed_shape(max((-lo - 1).bit_length(), hi.bit_length()) + 1)


def lanes(word: Value, kind: IntType) -> list[Value]:
    """A word's elements as carried, lane 0 from the least significant bits."""
    parts = [word[n * kind.bits:(n + 1) * kind.bits] for n in range(len(word) // kind.bits)]
    return [part.as_signed() for part in parts] if kind.signed else parts


def number(carried: Value, kind: IntType) -> Value:
    """The integer that a carried element stands for."""
    return carried * kind.step + kind.lo if kind.is_coded else carried


def carried(count: Value, kind: IntType) -> Value:
    """How the level number `count` of a type is carried (its lowest level is number 0)."""
    return count if kind.is_coded or kind.lo == 0 else count + kind.lo


def encoded(value: Value, kind: IntType, scale: int = 1, offset: int = 0) -> Value:
    """How a type carries the integer ``value * scale + offset``, at exactly the type's width."""
    step = kind.step if kind.is_coded else 1
    lo = kind.lo if kind.is_coded else 0
    if scale % step == 0 and (offset - lo) % step == 0:
        scale, offset = scale // step, (offset - lo) // step
        shift = (scale & -scale).bit_length() - 1
        value = (value if scale >> shift == 1 else value * (scale >> shift)) << shift
        return fit(value + offset if offset else value, kind)
    # The quotient is exact, so the odd part of the divisor can be multiplied by its inverse modulo a power of two.
    shift = (step & -step).bit_length() - 1
    quotient = (value * scale + (offset - lo)) >> shift
    return (quotient[:kind.bits] * pow(step >> shift, -1, 1 << kind.bits))[:kind.bits]


def recoded(carried: Value, kind: IntType, to: IntType) -> Value:
    """A carried element of one type as another type, which holds it, carries it."""
    return encoded(carried, to, kind.step, kind.lo) if kind.is_coded else encoded(carried, to)


def fit(value: Value, kind: IntType) -> Value:
    """A carried value at exactly the type's width (values of the type lose nothing)."""
    value = Value.cast(value)
    if len(value) >= kind.bits:
        return value[:kind.bits]
    fill = value[-1].replicate(kind.bits - len(value)) if value.shape().signed else Const(0, kind.bits - len(value))
    return Cat(value, fill)


def balanced_sum(terms: list[Value]) -> Value:
    """The sum of one or more terms as a balanced tree."""
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)] + ([terms[-1]] if len(terms) % 2 else [])
    return terms[0]


def selected(index: Value, values: list[Value]) -> Value:
    """``values[index]`` as a tree of two-way multiplexers."""
    for bit in range((len(values) - 1).bit_length()):
        values = [Mux(index[bit], *pair[::-1]) if len(pair) == 2 else pair[0]
                  for pair in (values[at:at + 2] for at in range(0, len(values), 2))]
    return values[0]


def pattern(values: list[int], kind: IntType) -> int:
    """Integers of a type packed into one word, the first in the least significant bits."""
    word = 0
    for n, value in enumerate(values):
        code = (value - kind.lo) // kind.step if kind.is_coded else value & ((1 << kind.bits) - 1)
        word |= code << (n * kind.bits)
    return word

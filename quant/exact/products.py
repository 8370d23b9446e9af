"""Products and pools: integers through float64 BLAS where their bound proves it exact, in limbs that fit otherwise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .rational import Array, Rational, Shape, Units, bordered, broadcast, compact, each, magnitude, objects, uniform

_EXACT_BITS = 53  # of a float64

Bilinear = Callable[[Array, Array], Array]


def bilinear(function: Bilinear, a: Array, b: Array, terms: int) -> Array:
    """A sum of at most `terms` products of elements of a and b, exactly.

    Parameters
    ----------
    function : callable
        Computes it on float64 arrays; linear in each argument.
    """
    bits = [max(1, magnitude(one).bit_length()) for one in (a, b)]
    room = _EXACT_BITS - terms.bit_length()
    if sum(bits) <= room:
        return _integers(function(a.astype(np.float64), b.astype(np.float64)))
    small = min(*bits, room // 2)
    width = [small, room - small] if bits[0] <= bits[1] else [room - small, small]
    fits = terms * magnitude(a) * magnitude(b) < 2**62
    total: Array | None = None
    for (i, x), (j, y) in itertools.product(enumerate(_limbs(a, width[0])), enumerate(_limbs(b, width[1]))):
        part, shift = _integers(function(x, y)), i * width[0] + j * width[1]
        part = part << shift if fits else objects(part.astype(object) << shift)
        total = part if total is None else total + part
    assert total is not None
    return compact(total)


def _integers(values: Array) -> Array:
    return values.astype(np.int64)


def _limbs(values: Array, bits: int) -> list[Array]:
    """Digits of the magnitude, each with the sign of its value, the lowest first."""
    signs, rest = np.sign(values).astype(np.float64), np.abs(values)
    found: list[Array] = []
    while not found or magnitude(rest):
        found.append(signs * (rest & ((1 << bits) - 1)).astype(np.float64))
        rest = rest >> bits
    return found


def matmul(a: Rational, b: Rational) -> Rational:
    """numpy's matmul behind the samples, matrices or vectors."""
    if len(b.shape) == 1:
        column = Rational(b.integers[..., None], b.unit[..., None])
        product = matmul(a, column)
        return Rational(product.integers[..., 0], product.unit[..., 0])
    if len(a.shape) == 1:
        row = Rational(a.integers[:, None, :], a.unit[:, None, :])
        product = matmul(row, b)
        return Rational(product.integers[..., 0, :], product.unit[..., 0, :])
    rank = max(a.integers.ndim, b.integers.ndim)
    a, b = broadcast(a, b)
    a, b = uniform(a, (rank - 1,)), uniform(b, (rank - 2,))
    terms = a.shape[-1]
    return Rational(bilinear(np.matmul, a.integers, b.integers, terms), each(lambda x, y: x * y, a.unit, b.unit))


Taps = list[tuple[Any, Any]]  #: index of a tap in the last axes of a kernel, and of what it meets in those of a padded input


def windows(sizes: Shape, kernel: Shape, strides: Shape, dilations: Shape, pads: Shape) -> tuple[list[int], Taps]:
    """Output sizes, and the taps."""
    rank = len(sizes)
    out = [(size + pads[i] + pads[i + rank] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i, size in enumerate(sizes)]
    return out, _taps(out, kernel, strides, dilations)


def _taps(sizes: Sequence[int], kernel: Shape, strides: Shape, dilations: Shape) -> Taps:
    return [((..., *tap), (..., *(slice(t * d, t * d + (size - 1) * s + 1, s)
                                  for t, d, size, s in zip(tap, dilations, sizes, strides, strict=True))))
            for tap in itertools.product(*(range(k) for k in kernel))]


def padded(integers: Array, pads: Shape, value: int = 0) -> Array:
    """Spatial axes, the last ones, with a constant around them; negative pads cut off."""
    rank = len(pads) // 2
    widths = [(0, 0)] * (integers.ndim - rank) + [(max(pads[i], 0), max(pads[i + rank], 0)) for i in range(rank)]
    wide = bordered(integers, widths, value)
    cuts: Any = (..., *(slice(max(-pads[i], 0), wide.shape[wide.ndim - rank + i] - max(-pads[i + rank], 0)) for i in range(rank)))
    return np.asarray(wide[cuts])


def _grouped_units(x: Rational, w: Rational, groups: int, outputs: int, *, transposed: bool) -> tuple[Rational, Rational, Units]:
    """Input (S, N, G, C, *sizes) and weights, each with one unit per sum, and the units of the output (1, 1, G * outputs, 1..)."""
    rank = len(x.shape) - 2
    x = uniform(x, tuple(range(3, 3 + rank)))
    channels = x.shape[1]
    split = Rational(x.integers.reshape(*x.integers.shape[:2], groups, channels // groups, *x.shape[2:]),
                     np.broadcast_to(x.unit, (*x.unit.shape[:2], channels, *[1] * rank))
                     .reshape(*x.unit.shape[:2], groups, channels // groups, *[1] * rank))
    split = uniform(split, (3,))
    # weights (1, O, C / G, *k), transposed (1, C, O / G, *k): as (1, G, O / G, C / G, *k)
    spread = np.broadcast_to(w.unit, (1, *w.shape[:2], *w.unit.shape[3:]))
    first = w.shape[0] // groups
    integers = w.integers.reshape(1, groups, first, *w.shape[1:])
    unit = spread.reshape(1, groups, first, *spread.shape[2:])
    if transposed:
        integers, unit = integers.swapaxes(2, 3), unit.swapaxes(2, 3)
    kernel = uniform(Rational(integers, unit), tuple(range(3, integers.ndim)))
    made = each(lambda a, b: a * b, split.unit.reshape(1, groups, 1), kernel.unit.reshape(1, groups, -1))
    return split, kernel, made.reshape(1, 1, groups * outputs, *[1] * rank)


def conv(x: Rational, w: Rational, groups: int, strides: Shape, dilations: Shape, pads: Shape) -> Rational:
    """(N, C, *sizes) with weights (O, C / groups, *kernel); `pads` are all starts, then all ends."""
    outputs, kernel = w.shape[0] // groups, w.shape[2:]
    split, weights, unit = _grouped_units(x, w, groups, outputs, transposed=False)
    samples, batch = split.integers.shape[:2]
    out, taps = windows(x.shape[2:], kernel, strides, dilations, pads)
    wide = padded(split.integers.reshape(samples * batch, *split.integers.shape[2:]), pads)

    def convolve(values: Array, factors: Array) -> Array:
        total: Array = np.zeros((samples * batch, groups, outputs, math.prod(out)))
        for tap, cut in taps:
            total += factors[0][tap] @ values[cut].reshape(samples * batch, groups, -1, math.prod(out))
        return total

    terms = weights.shape[2] * math.prod(kernel)
    made = bilinear(convolve, wide, weights.integers, terms)
    return Rational(made.reshape(samples, batch, groups * outputs, *out), unit)


def conv_transpose(x: Rational, w: Rational, groups: int, strides: Shape, dilations: Shape, pads: Shape, extra: Shape) -> Rational:
    """(N, C, *sizes) with weights (C, O / groups, *kernel)."""
    outputs, kernel = w.shape[1], w.shape[2:]
    split, weights, unit = _grouped_units(x, w, groups, outputs, transposed=True)
    samples, batch = split.integers.shape[:2]
    sizes = x.shape[2:]
    taps = _taps(sizes, kernel, strides, dilations)
    full = [s * (size - 1) + d * (k - 1) + 1 + e for s, size, d, k, e in zip(strides, sizes, dilations, kernel, extra, strict=True)]

    def spread(values: Array, factors: Array) -> Array:
        total: Array = np.zeros((samples * batch, groups, outputs, *full))
        flat = values.reshape(*values.shape[:3], -1)
        for tap, cut in taps:
            total[cut] += (factors[0][tap] @ flat).reshape(samples * batch, groups, outputs, *sizes)
        return total

    made = bilinear(spread, split.integers.reshape(samples * batch, *split.integers.shape[2:]), weights.integers,
                    weights.shape[2] * math.prod(kernel))
    made = made.reshape(samples, batch, groups * outputs, *full)
    return Rational(padded(made, tuple(-pad for pad in pads)), unit)


def pool(x: Rational, kernel: Shape, strides: Shape, dilations: Shape, pads: Shape, *, largest: bool) -> tuple[Rational, Array]:
    """The maximum or the sum of every window, and how many inputs each window meets."""
    rank = len(kernel)
    x = uniform(x, tuple(range(3, 3 + rank)))
    out, taps = windows(x.shape[2:], kernel, strides, dilations, pads)
    values = x.integers
    floor = int(values.min(initial=0)) - 1 if largest else 0
    if not largest and magnitude(values) * math.prod(kernel) >= 2**62:
        values = values.astype(object)
    wide, there = padded(values, pads, floor), padded(np.ones(x.shape[2:], np.int64), pads)
    total: Array | None = None
    count = np.zeros(out, np.int64)
    for _, cut in taps:
        part = wide[cut]
        total = part if total is None else np.maximum(total, part) if largest else total + part
        count += there[cut]
    assert total is not None
    return Rational(total, x.unit, x.kind), count

"""Cycles and accesses of systolic and popcount arrays, in closed form.

A product of (M, K) times (K, N) on R rows and C columns, where one thing stays in the elements while the others move:

=================  =====  =======  ==========================================  =====================
what stays         rows   columns  folds, each of (stream + skew) cycles       skew
=================  =====  =======  ==========================================  =====================
outputs            M      N        ceil(M/R) ceil(N/C), stream K               R + C - 2
weights            K      N        ceil(K/R) ceil(N/C), stream M               2R + C - 2
inputs             K      M        ceil(K/R) ceil(M/C), stream N               2R + C - 2
=================  =====  =======  ==========================================  =====================

The skew is what operands need to enter and results to leave, and for weights and inputs the R cycles in which they are loaded
first.  These are SCALE-Sim's forms (Samajdar and others, "A Systematic Methodology for Characterizing Scalability of DNN
Accelerators using SCALE-Sim", ISPASS 2020, equations 1 to 3); version 3.0.0 counts from 0, so it gives one less for a layer.
An `overlapped` array pays the skew once a layer: folds follow each other without a bubble, as long as a fold's stream is not
shorter than what it takes to exchange what stays: a cycle for each row, or for each that a layer has anything for.

An element sums `lanes` products in a cycle, so K counts words of lanes.  Operands wider than the array's take passes, one for
each pair of slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .actions import Action
from .machine import Array, Machine

Numbers = NDArray[np.int64]
#: The dimension that goes along rows, along columns, and past the elements in time.
MAPPED: Final = {"output_stationary": ("m", "n", "k"), "weight_stationary": ("k", "n", "m"), "input_stationary": ("k", "m", "n")}


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of a product, cut into tiles; arrays of one length, an entry for each way to cut it.

    Parameters
    ----------
    size : int
        Of the dimension, in elements.
    tile, count : int64
        Elements of a tile (the last of a row may be smaller), and how many tiles there are.
    folds : int64
        Summed over the tiles: how often the array is filled along it.
    stream : int64
        Summed over the tiles: cycles that it takes to pass by.
    late : int64
        Summed over the tiles: by how many cycles passing by is shorter than exchanging what stays in the array.
    """

    size: int
    tile: Numbers
    count: Numbers
    folds: Numbers
    stream: Numbers
    late: Numbers


def units(array: Array) -> dict[str, int]:
    """Elements of each dimension that fill the array once: 1 for the one that streams by, or as many as a word has lanes."""
    row, column, stream = MAPPED[array.dataflow]
    made = {row: array.rows, column: array.columns, stream: 1}
    made["k"] *= array.lanes
    return made


def exchange_cycles(array: Array, m: int, n: int, k: int) -> int:
    """To exchange what stays in the elements, in a product of (m, k) times (k, n)."""
    size = {"m": m, "n": n, "k": -(-k // array.lanes)}[MAPPED[array.dataflow][0]]
    return min(array.rows, size)


def axis(array: Array, name: str, size: int, tile: Numbers, exchange: int, parts: Numbers | int = 1) -> Axis:
    """A dimension cut into tiles.

    Parameters
    ----------
    array : Array
    name : str
        ``m``, ``n`` or ``k``.
    size : int
        Of all, a multiple of `parts`.
    tile : int64
        At most ``size // parts``, or multiples of that (whole parts together).
    exchange : int
        Cycles, see `exchange_cycles`.
    parts : int or int64
        Such as frames, for each tile size: no tile holds some of one part and some of the next.
    """
    one = size // parts
    whole = np.maximum(tile // one, 1)  # parts in a tile
    count, folds, stream, late = (np.zeros_like(tile) for _ in range(4))
    # Full tiles and the smaller one at the end, of a part's tiles or of the tiles of whole parts.
    split = tile < one
    length, span = np.where(split, tile, whole * one), np.where(split, one, size)
    repeats = np.where(split, parts, 1)
    lanes = array.lanes if name == "k" else 1
    unit = units(array)[name]
    for number, elements in ((span // length, length), (np.minimum(span % length, 1), span % length)):
        steps = -(-elements // lanes)
        count += repeats * number
        folds += repeats * number * -(-elements // unit)
        stream += repeats * number * steps
        late += repeats * number * np.maximum(0, exchange - steps)
    return Axis(size, tile, count, folds, stream, late)


def skew(array: Array, exchange: int | None = None) -> int:
    """Cycles beside its stream that a fold takes to fill, to drain and, where operands stay, to load them.

    An overlapped array exchanges only the rows that a layer has anything for: `exchange_cycles`.
    """
    rows = exchange if array.overlapped and exchange is not None else array.rows
    return rows + array.columns - 2 + (0 if array.dataflow == "output_stationary" else array.rows) + array.pipeline_cycles


def cycles(array: Array, m: Axis, n: Axis, k: Axis) -> tuple[Any, Any]:
    """Cycles in which the array multiplies, and in which it fills or drains, over all tiles of one product.

    The axes' arrays must be broadcastable; of an overlapped array, the skew that is paid once a layer is not in it.
    """
    row, column, stream = ({"m": m, "n": n, "k": k}[name] for name in MAPPED[array.dataflow])
    folds = row.folds * column.folds
    return folds * stream.stream, folds * (stream.late if array.overlapped else stream.count * skew(array))


def product_cycles(array: Array, pixels: int, terms: int, filters: int) -> int:
    """All cycles of an untiled product of (pixels, terms) times (terms, filters): the closed form."""
    exchange = exchange_cycles(array, pixels, filters, terms)
    m, n, k = (axis(array, name, size, np.array([size]), exchange) for name, size in (("m", pixels), ("n", filters), ("k", terms)))
    work, fill = cycles(array, m, n, k)
    return int(work[0] + fill[0]) + (skew(array, exchange) if array.overlapped else 0)


@dataclass(frozen=True)
class Reads:
    """Elements that the array moves from and to SRAM for one product, over all tiles; sums are written so often."""

    activations: float
    weights: float
    sums: float


def passes(array: Array, activation_bits: int, weight_bits: int) -> int:
    """Times that a product is computed because its operands are wider than the array's."""
    return math.prod(slices(array, activation_bits, weight_bits))


def slices(array: Array, activation_bits: int, weight_bits: int) -> tuple[int, int]:
    """Parts that activations and weights are cut into; floats are not."""
    if array.arithmetic == "float":
        return 1, 1
    return -(-activation_bits // array.activation_bits), -(-weight_bits // array.weight_bits)


def element_moves(machine: Machine, macs: float, moved: Reads, drained: float) -> list[tuple[Action, str, float]]:
    """What registers and hops from element to element carry: action, what of, how often.

    Only products that are part of the layer count: idle elements are gated.  What is loaded or drained along a column takes
    half of its rows as hops on average.

    Parameters
    ----------
    machine : Machine
    macs : float
        Products, passes included.
    moved : Reads
        Of the array.
    drained : float
        Sums that leave an array in which outputs stay.
    """
    array = machine.array
    steps = macs / array.lanes
    bits = {"activations": array.activation_bits * array.lanes, "weights": array.weight_bits * array.lanes, "sums": array.sum_bits}
    stays, loaded = {"output_stationary": ("sums", steps), "weight_stationary": ("weights", moved.weights / array.lanes),
                     "input_stationary": ("activations", moved.activations / array.lanes)}[array.dataflow]
    exchanged = drained if stays == "sums" else loaded
    size = machine.register_bytes or -(-bits[stays] // 8)
    found = [(Action("array_hop", bits[what]), what, steps) for what in bits if what != stays]
    found += [(Action("array_hop", bits[stays]), stays, exchanged * array.rows / 2),
              (Action("register_read", bits[stays], bytes=size), stays, steps),
              (Action("register_write", bits[stays], bytes=size), stays, loaded)]
    return found


def arithmetic(array: Array, macs: float) -> dict[Action, float]:
    """Products and sums of the elements."""
    if array.arithmetic in ("binary", "ternary"):
        return {Action("binary_accumulate", array.sum_bits): macs}
    if array.arithmetic == "float":
        return {Action("float_multiply", max(array.activation_bits, array.weight_bits)): macs,
                Action("float_add", array.sum_bits): macs}
    return {Action("int_multiply", array.activation_bits, array.weight_bits): macs, Action("int_add", array.sum_bits): macs}

"""A layer's dimensions cut into tiles, each by itself: tables that `tiling` combines.

A dimension is cut into powers of two pieces and 3 times those, in multiples of what fills the array.  The cuts do not depend on
the sizes of memories, so a larger memory only ever adds to those that fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from .arrays import Axis, Numbers, axis, exchange_cycles, units
from .convolution import Way
from .machine import Array

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Job:
    """A layer to be tiled.

    Parameters
    ----------
    name : str
    way : Way
    batch : int
    output_bytes : float
        Of a frame.
    loads, stores : bool
        Whether the activations come from DRAM, and whether the outputs go there.
    other_bytes : float
        Of a second tensor that is read from DRAM as outputs are made, a frame.
    constant_bytes : float
        Thresholds, tables and the like, loaded once.
    operations : float
        Of the vector unit on the sums of a frame.
    resident_bytes : float
        Of activations that stay on chip, in the memory of activations.
    joined_bits : float
        That the vector unit reads from SRAM beside the sums, a frame.
    """

    name: str
    way: Way
    batch: int
    output_bytes: float
    loads: bool = True
    stores: bool = True
    other_bytes: float = 0.0
    constant_bytes: float = 0.0
    operations: float = 0.0
    resident_bytes: float = 0.0
    joined_bits: float = 0.0


@dataclass(frozen=True)
class Cuts:
    """Tables with a row for each way to cut a dimension, and in each row the fields of `arrays.Axis` and one or two more.

    Parameters
    ----------
    groups : float64 (cuts, 2)
        Groups of a tile, tiles.
    pixels : float64 (cuts, 7)
        With the elements of a channel that a tile has on chip, and those that all tiles read from DRAM.
    filters : float64 (cuts, 5)
    terms : float64 (cuts, 6)
        With the channels of a tile.
    """

    groups: Floats
    pixels: Floats
    filters: Floats
    terms: Floats


@lru_cache(4096)
def cuts(way: Way, batch: int, array: Array) -> Cuts:
    """All that are tried for a layer."""
    exchange = exchange_cycles(array, way.pixels * batch, way.filters, way.terms)
    m, inputs, halo = _pixels(way, batch, array, exchange)
    if way.planes > 1:  # what is on chip is transformed
        inputs = m.tile * (way.taps * way.planes)
    n = np.array(splits(way.filters, units(array)["n"]))
    c = np.array(splits(way.channels, max(1, units(array)["k"] // way.taps), finer=False))
    g = np.unique(-(-way.groups // np.array(parts(way.groups, False))))
    return Cuts(_table(g, -(-way.groups // g)), _table(*_columns(m), inputs, halo),
                _table(*_columns(axis(array, "n", way.filters, n, exchange))),
                _table(*_columns(axis(array, "k", way.terms, c * way.taps, exchange)), c))


def _columns(one: Axis) -> tuple[Numbers, ...]:
    return one.tile, one.count, one.folds, one.stream, one.late


def _table(*columns: Numbers) -> Floats:
    return np.stack(columns, axis=1).astype(np.float64)


@cache
def parts(number: int, finer: bool = True) -> tuple[int, ...]:
    """Into how many pieces a row is cut: powers of two, if `finer` and 3 times those, up to one for each element."""
    found = {number}
    power = 1
    while power < number:
        found.add(power)
        if finer and 3 * power < 2 * number:
            found.add(min(number, 3 * power // 2 or 1))
        power *= 2
    return tuple(sorted(found))


def splits(size: int, unit: int, finer: bool = True) -> list[int]:
    """Sizes of tiles: multiples of what fills the array, at most the whole, and 1."""
    folds = -(-size // unit)
    return sorted({min(size, -(-folds // number) * unit) for number in parts(folds, finer)} | {1})


def _span(outputs: Numbers, kernel: int, stride: int, dilation: int, size: int) -> Numbers:
    """Inputs along one side that so many neighbouring outputs read; those that a stride skips are left out."""
    reach = (kernel - 1) * dilation + 1
    return np.minimum(size, outputs * min(stride, reach) + max(reach - stride, 0))


def _pixels(way: Way, batch: int, array: Array, exchange: int) -> tuple[Axis, Numbers, Numbers]:
    """M cut into tiles; elements of a channel that a tile reads, and that all of them read."""
    window, unit = way.window, units(array)["m"]
    if window is None:
        m = axis(array, "m", way.pixels * batch, np.array(splits(way.pixels * batch, unit)), exchange)
        return m, m.tile, np.full_like(m.tile, m.size)
    height, width = window.out_size
    cuts = {(frames * way.pixels, batch) for frames in splits(batch, 1)}
    cuts |= {(rows * width, batch) for rows in splits(height, 1)}
    cuts |= {(size, batch) for size in splits(way.pixels, unit) if size > width}
    cuts |= {(size, batch * height) for size in splits(width, unit) if size < width}
    tile, frames = (np.array(column) for column in zip(*sorted(cuts), strict=True))
    m = axis(array, "m", way.pixels * batch, tile, exchange, frames)

    def read(outputs: Numbers) -> Numbers:
        """By neighbouring outputs of a frame; a tile that is not whole rows touches one row more."""
        ragged = (outputs % width > 0) & (outputs > width)
        rows = np.where(outputs < width, 1, np.minimum(height, outputs // width + 2 * ragged))
        columns = np.where(outputs < width, outputs, width)
        return (_span(rows, window.kernel[0], window.stride[0], window.dilation[0], window.in_size[0])
                * _span(columns, window.kernel[1], window.stride[1], window.dilation[1], window.in_size[1])) * (outputs > 0)

    part = m.size // frames
    inside = np.minimum(tile, part)
    rest = part % inside
    inputs = read(inside) * np.maximum(tile // part, 1)
    return m, inputs, np.maximum(frames * (part // inside * read(inside) + read(rest)), 0)


def whole_input(way: Way) -> int:
    """Elements of a channel that a frame reads."""
    if way.window is None:
        return way.pixels
    sides = [_span(np.array(out), kernel, stride, dilation, size) for out, kernel, stride, dilation, size in
             zip(way.window.out_size, way.window.kernel, way.window.stride, way.window.dilation, way.window.in_size, strict=True)]
    return int(sides[0] * sides[1])

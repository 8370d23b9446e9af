"""Quantization: step functions that bring accumulators back to a few bits."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GraphError
from ..ranges import Range
from ..types import IntType
from .base import Array, Op, Shape, integer_array, least_int, per_channel, require

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder

#: Thresholds per channel up to which comparing with each is faster than looking the count up.
COMPARED = 4
#: Entries of a lookup table that replaces comparisons.
MAX_TABLE = 2**21


@dataclass(frozen=True, eq=False)
class Threshold(Op):
    """``y[..., c] = out.lo + out.step * #{t : x[..., c] >= thresholds[c, t]}``.

    Range: exact bounds, since the function is monotone.

    Parameters
    ----------
    thresholds : int64 (C, T), or (1, T) for all channels alike
        Ascending along the second axis.
    out : IntType
        The output's levels; it has T + 1 of them.
    """

    thresholds: NDArray[np.int64]
    out: IntType

    def __post_init__(self) -> None:
        thresholds = integer_array(self.thresholds, 2, "Threshold: thresholds")
        object.__setattr__(self, "thresholds", thresholds)
        if self.out.levels != thresholds.shape[1] + 1:
            raise GraphError(f"Threshold: {thresholds.shape[1]} thresholds per channel make {thresholds.shape[1] + 1} "
                             f"levels, but the output type {self.out} has {self.out.levels}; give one threshold per step")
        falling = np.argwhere(np.diff(thresholds, axis=1) < 0)
        if falling.size:
            c, t = falling[0]
            raise GraphError(f"Threshold: channel {c} has threshold {thresholds[c, t]} before {thresholds[c, t + 1]}; "
                             "sort each channel's thresholds ascending")

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(shape) >= 1 and len(self.thresholds) in (1, shape[-1]),
                f"Threshold: {len(self.thresholds)} channels of thresholds do not fit an input of shape {shape}")
        return shape

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        return Range(self._levels(x.lo), self._levels(x.hi), self.out.step)

    def _levels(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """The output for one value per channel; one threshold at a time, so the memory stays that of x."""
        if len(self.thresholds) == 1:
            return np.searchsorted(self.thresholds[0], x, side="right").astype(np.int64) * self.out.step + self.out.lo
        count = np.zeros(np.broadcast_shapes(x.shape, (len(self.thresholds),)), np.int64)
        for t in range(self.thresholds.shape[1]):
            count += x >= self.thresholds[:, t]
        return count * self.out.step + self.out.lo

    @functools.cached_property
    def _made(self) -> dict[tuple[Any, ...], Array]:
        return {}

    def _levels_for(self, lo: int, hi: int, dtype: np.dtype[Any], channels: int, repeat: int) -> Array:
        """The thresholds (T, repeat * C) in a dtype that compares exactly with x in [lo, hi], made once."""
        key = (lo, hi, dtype, channels, repeat)
        if key not in self._made:
            # Thresholds beyond the range compare alike at its ends; there they fit the dtype that carries x.
            levels = np.clip(self.thresholds, lo, hi + 1)
            if dtype.kind == "f":
                dtype = np.dtype(np.float64) if int(np.abs(levels).max()) > 2**24 else dtype
            else:
                dtype = np.promote_types(dtype, least_int(int(levels.min()), int(levels.max())))
            tiled = np.tile(np.broadcast_to(levels, (channels, levels.shape[1])), (repeat, 1))
            self._made[key] = np.ascontiguousarray(tiled.T.astype(dtype))
        return self._made[key]

    def _table(self, lo: int, hi: int) -> Array:
        """The output for every x from lo to hi: (C or 1, hi - lo + 1)."""
        if (lo, hi) not in self._made:
            domain = np.arange(lo, hi + 1)
            counts = np.stack([np.searchsorted(row, domain, side="right") for row in self.thresholds])
            self._made[lo, hi] = (counts * self.out.step + self.out.lo).astype(least_int(self.out.lo, self.out.hi))
        return self._made[lo, hi]

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        lo, hi = int(ranges[0].lo.min()), int(ranges[0].hi.max())
        if self.thresholds.shape[1] > COMPARED:
            if (hi - lo + 1) * len(self.thresholds) <= MAX_TABLE:
                return look_up(self._table(lo, hi), x, lo, 1)
            return self._search(x)
        # Whole rows of pixels at once: numpy's inner loop is too short over the channels alone.
        repeat = math.prod(x.shape[-2:-1]) if x.ndim > 2 else 1
        rows = x.reshape(-1, repeat * x.shape[-1])
        levels = self._levels_for(lo, hi, x.dtype, x.shape[-1], repeat)
        narrow = least_int(min(self.out.lo, self.out.lo - self.out.step), max(self.out.hi, self.out.step))
        y = (rows >= levels[0]).view(np.int8).astype(narrow, copy=False)
        for level in levels[1:]:
            y += rows >= level
        if self.out.step != 1:
            y *= narrow.type(self.out.step)
        if self.out.lo:
            y += narrow.type(self.out.lo)
        result: Array = y.reshape(x.shape)
        return result

    def _search(self, x: Array) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        y = np.empty(rows.shape, least_int(self.out.lo, self.out.hi))
        for c in range(rows.shape[1]):
            row = self.thresholds[c if len(self.thresholds) > 1 else 0]
            count = np.searchsorted(row, rows[:, c].astype(np.int64), side="right")
            y[:, c] = count * self.out.step + self.out.lo
        return y.reshape(x.shape)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        bounds = build.range(x)
        levels = np.clip(self.thresholds, int(bounds.lo.min()), int(bounds.hi.max()) + 1)
        dtype = build.wide(max(bounds.magnitude, int(np.abs(levels).max())))
        wide = build.cast(x, dtype)
        if levels.shape[1] == 1:
            above = build.node("GreaterOrEqual", wide, build.const(levels[:, 0], dtype), dtype=np.bool_)
            kind = np.int8 if self.out.lo >= -128 and self.out.hi <= 127 else build.wide(max(abs(self.out.lo), abs(self.out.hi)))
            ends = [build.const(np.array(end), kind) for end in (self.out.hi, self.out.lo)]
            return build.node("Where", above, *ends, dtype=kind)
        apart = build.reshape(wide, (*build.shape(x), 1))
        above = build.node("GreaterOrEqual", apart, build.const(levels, dtype), dtype=np.bool_)
        count = build.node("ReduceSum", build.cast(above, np.int32), build.const(np.array([-1]), np.int64), keepdims=0)
        return build.affine(count, self.out.step, self.out.lo, levels.shape[1])


@dataclass(frozen=True, eq=False)
class Lookup(Op):
    """``y[..., c] = table[c, (x[..., c] - domain.lo) / domain.step]``: any function of a narrow value.

    Range: exact bounds over the entries that x can reach.

    Parameters
    ----------
    table : int64 (C, L), or (1, L) for all channels alike
    domain : IntType
        The values that the table covers; it has L levels and holds the whole range of the input.
    """

    table: NDArray[np.int64]
    domain: IntType

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", integer_array(self.table, 2, "Lookup: table"))
        require(self.table.shape[1] == self.domain.levels, f"Lookup: the table has {self.table.shape[1]} entries, but the domain "
                f"{self.domain} has {self.domain.levels} levels; give one entry per level")

    def shape(self, *shapes: Shape) -> Shape:
        per_channel(len(self.table), shapes[0], "Lookup: table")
        return shapes[0]

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        require(self.domain.contains(x.type), f"Lookup: the input can be {x.type}, but the table covers {self.domain}; extend the "
                "table or clip before it")
        first = (x.lo - self.domain.lo) // self.domain.step
        last = (x.hi - self.domain.lo) // self.domain.step
        # Channels that read the same part of the same row are alike.
        levels = self.table.shape[1]
        key = first * levels + last if len(self.table) == 1 else np.arange(len(first))
        _, kinds, which = np.unique(key, return_index=True, return_inverse=True)
        lo, hi, steps = np.empty_like(kinds), np.empty_like(kinds), 0
        for i, c in enumerate(kinds):
            row = self.table[c if len(self.table) > 1 else 0]
            entries = row[first[c]:last[c] + 1:max(1, x.pace // self.domain.step)]
            lo[i], hi[i] = entries.min(), entries.max()
            steps = int(np.gcd(steps, np.gcd.reduce(entries - lo[i])))
        return Range(lo[which], hi[which], steps or 1)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        narrow = least_int(int(self.table.min()), int(self.table.max()))
        return look_up(self.table.astype(narrow), inputs[0], self.domain.lo, self.domain.step)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        index = build.node("Sub", build.cast(x, np.int64), build.const(np.array(self.domain.lo), np.int64))
        if self.domain.step > 1:
            index = build.node("Div", index, build.const(np.array(self.domain.step), np.int64))
        if len(self.table) > 1:
            index = build.node("Add", index, build.const(np.arange(len(self.table)) * self.table.shape[1], np.int64))
        dtype = build.wide(int(np.abs(self.table).max()))
        return build.node("Gather", build.const(self.table.ravel(), dtype), index, axis=0, dtype=dtype)


def look_up(table: Array, x: Array, lo: int, step: int) -> Array:
    """``table[c, (x[..., c] - lo) / step]`` for a table of C rows or one."""
    index = x.astype(np.intp)
    if lo:
        index -= lo
    if step > 1:
        index //= step
    if len(table) > 1:
        index += np.arange(len(table)) * table.shape[1]
    return table.ravel().take(index)

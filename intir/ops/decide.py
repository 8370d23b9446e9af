"""Decisions: which channels are greatest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ranges import Range
from .base import Array, Op, Shape, plain_int, require

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder


#: Channels up to which `TopK` compares each with each to bound its places; with more it takes all for possible.
MAX_COMPARED = 4096


@dataclass(frozen=True, eq=False)
class ArgMax(Op):
    """``y[..., 0] = min {c : x[..., c] = max over channels}``: the first of equals, as ONNX and numpy have it.

    Range: exact bounds for channels that vary independently.
    """

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(shape) >= 1, "ArgMax: the input is a scalar; it needs a channel axis")
        return (*shape[:-1], 1)

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        # Channel c can win where its greatest value beats the least of every earlier channel and ties every later one.
        before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(x.lo)[:-1]])
        winners = np.flatnonzero((x.hi > before) & (x.hi >= int(x.lo.max())))
        return Range(winners[:1].astype(np.int64), winners[-1:].astype(np.int64))

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        winners: Array = x.argmax(axis=-1)[..., None].astype(np.int64)
        return winners

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        return build.top(inputs[0], 1)


@dataclass(frozen=True, eq=False)
class TopK(Op):
    """``y[..., j]`` is the channel of the (j+1)-th greatest value; among equals the lowest channel comes first.

    Range: for channels that vary independently the bounds of the first place are exact, those of the others sound.

    Parameters
    ----------
    k : int
        How many places; at most the number of channels.
    """

    k: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", plain_int(self.k, 1, 2**24, "TopK: k"))

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(shape) >= 1 and self.k <= shape[-1], f"TopK: {self.k} places of an input of shape {shape}; ask for at most the "
                "number of channels")
        return (*shape[:-1], self.k)

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        lo, hi = np.zeros(self.k, np.int64), np.full(self.k, len(x.lo) - 1)
        if len(x.lo) > MAX_COMPARED:
            return Range(lo, hi)
        # Channel c can be in place j if no more than j others must beat it at its greatest, and at least j can at its least.
        channels = np.arange(len(x.lo))
        best, worst = np.empty_like(channels), np.empty_like(channels)
        for c in channels:
            best[c] = (x.lo[:c] >= x.hi[c]).sum() + (x.lo[c + 1:] > x.hi[c]).sum()
            worst[c] = (x.hi[:c] >= x.lo[c]).sum() + (x.hi[c + 1:] > x.lo[c]).sum()
        for j in range(self.k):
            able = np.flatnonzero((best <= j) & (j <= worst))
            lo[j], hi[j] = able[0], able[-1]
        return Range(lo, hi)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        return np.argsort(-x.astype(np.int64), axis=-1, kind="stable")[..., :self.k]

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        return build.top(inputs[0], self.k)

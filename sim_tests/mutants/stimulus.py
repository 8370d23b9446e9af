"""Words that reach every value: all codes of a type, sums from the least to the greatest, sums on both sides of every threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intir import IntType

Int64 = NDArray[np.int64]
#: Ways from the least sum to the greatest that thresholds are looked for on, for each output.
WALKS = 40


def values(kind: IntType, shape: tuple[int, ...], seed: int) -> Int64:
    """Values of a type, int64 (frames, ...): frames of the least and of the greatest, both in turns, then each code equally often.

    Parameters
    ----------
    shape : tuple of int
        (frames, ...); 5 frames at least. Every code comes at every place if there are as many frames as codes, and 5 more.
    """
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape[1:]))
    codes = rng.permuted(np.resize(np.arange(kind.levels), (size, shape[0] - 5)) if shape[0] - 5 >= kind.levels else
                         rng.integers(0, kind.levels, (size, shape[0] - 5)), axis=1).T
    ends = np.array([0, kind.levels - 1])
    turns = np.resize(ends, size)
    first = np.stack([codes[0], np.full(size, ends[0]), np.full(size, ends[1]), turns, turns[::-1]])
    return (np.concatenate([first, codes]) * kind.step + kind.lo).reshape(shape)


def walks(kind: IntType, weights: Int64, seed: int, each: int = 1) -> Int64:
    """Inputs (frames, inputs) that lead each output's sum from its least to its greatest, an input at a time.

    Parameters
    ----------
    weights : int64 (inputs, outputs)
    each : int
        Walks for each output, in different orders.
    """
    rng = np.random.default_rng(seed)
    found = []
    for column in np.repeat(weights.T, each, axis=0):
        low = np.where(column > 0, kind.lo, kind.hi)
        x = np.repeat(low[None], len(low) + 1, axis=0)
        for n, place in enumerate(rng.permutation(len(low))):
            x[n + 1:, place] = kind.lo + kind.hi - low[place]
        found.append(x)
    return np.concatenate(found)


def beside(sums: Int64, thresholds: Int64) -> list[int]:
    """Frames whose sums lie closest on either side of each threshold of each output.

    Parameters
    ----------
    sums : int64 (frames, outputs)
    thresholds : int64 (outputs, thresholds)
    """
    found = []
    for column, rows in zip(sums.T, thresholds, strict=True):
        for row in rows:
            distance = column - row
            for side in (distance >= 0, distance < 0):
                if side.any():
                    found.append(int(np.where(side, np.abs(distance), np.iinfo(np.int64).max).argmin()))
    return list(dict.fromkeys(found))


def summed(kind: IntType, weights: Int64, thresholds: Int64 | None, seed: int) -> Int64:
    """Inputs (frames, inputs) of a product with a matrix: any, the least and greatest sums, and those beside thresholds."""
    x = np.concatenate([values(kind, (24, len(weights)), seed), walks(kind, weights, seed)])
    if thresholds is None:
        return x
    pool = np.concatenate([x, walks(kind, weights, seed + 1, WALKS), values(kind, (2000, len(weights)), seed + 2)])
    return np.concatenate([x, pool[beside(pool @ weights, thresholds)]])

"""What operations give, as Verilog expressions over the integers of a round; from their definitions, not from the blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from intir import IntType

from .streams import Elements, Spec

Int64 = NDArray[np.int64]


def greatest(values: Sequence[str]) -> str:
    """The maximum."""
    result = values[0]
    for value in values[1:]:
        result = f"({result} > {value} ? {result} : {value})"
    return result


def total(values: Sequence[str]) -> str:
    """The sum."""
    return "(" + " + ".join(values) + ")"


def level(value: str, thresholds: Sequence[int], out: IntType) -> str:
    """The level of `out` that a value reaches."""
    reached = " + ".join(f"({value} >= ({int(t)}) ? 1 : 0)" for t in thresholds)
    return f"({out.lo} + {out.step} * ({reached}))"


def elementwise(channels: int, function: Callable[[str, int], str]) -> Spec:
    """Each element by itself: ``function(x, channel)``."""
    def values(x: Elements) -> list[list[str]]:
        return [[function(one, (place * len(word) + lane) % channels) for lane, one in enumerate(word)] for place, word in enumerate(x[0])]
    return Spec(values)


def regrouped(lanes: int) -> Spec:
    """The same elements in words of other lanes."""
    def values(x: Elements) -> list[list[str]]:
        flat = [one for word in x[0] for one in word]
        return [flat[at:at + lanes] for at in range(0, len(flat), lanes)]
    return Spec(values)


def permuted(order: Sequence[int], lanes: int) -> Spec:
    """Channel c is channel ``order[c]`` of the input."""
    def values(x: Elements) -> list[list[str]]:
        flat = [one for word in x[0] for one in word]
        return [[flat[order[at + lane]] for lane in range(lanes)] for at in range(0, len(flat), lanes)]
    return Spec(values)


def joined(sign: str, repeat: str) -> Spec:
    """``a sign b``; b has one word a round (``channels``), or those of the first pixel (``pixels``)."""
    def values(x: Elements) -> list[list[str]]:
        a, b = x
        return [[f"({one} {sign} {b[k % len(b)][lane % len(b[0])]})" for lane, one in enumerate(word)] for k, word in enumerate(a)]
    assert repeat in ("none", "channels", "pixels")
    return Spec(values)


def concatenated() -> Spec:
    """All words of the first input, then all of the second, and so on."""
    return Spec(lambda x: [word for one in x for word in one])


def first_greatest(x: Elements) -> list[list[str]]:
    """Argmax: the first channel that no other one exceeds."""
    flat = [one for word in x[0] for one in word]
    result = str(len(flat) - 1)
    for c in reversed(range(len(flat) - 1)):
        result = f"({' && '.join(f'{flat[c]} >= {other}' for other in flat if other != flat[c])} ? {c} : {result})"
    return [[result]]


def ranked(k: int) -> Spec:
    """Top-k: the channel that so many others come before; of equals the lower channel comes first."""
    def values(x: Elements) -> list[list[str]]:
        flat = [one for word in x[0] for one in word]
        ranks = [" + ".join(f"({flat[d]} {'>=' if d < c else '>'} {one} ? 1 : 0)" for d in range(len(flat)) if d != c)
                 for c, one in enumerate(flat)]
        row = []
        for place in range(k):
            result = "0"
            for c, rank in enumerate(ranks):
                result = f"({rank} == {place} ? {c} : {result})"
            row.append(result)
        return [row]
    return Spec(values)


def pooled(pe: int, simd: int, folds: int, order: str, operation: str) -> Spec:
    """Maximum or sum of each channel over its taps, which come tap by tap or channel by channel."""
    def values(x: Elements) -> list[list[str]]:
        words, join = x[0], greatest if operation == "max" else total
        steps = len(words) // folds
        places = [[fold * steps + tap if order == "taps" else tap * folds + fold for tap in range(steps)] for fold in range(folds)]
        return [[join([words[place][tap * pe + n] for place in mine for tap in range(simd)]) for n in range(pe)] for mine in places]
    return Spec(values)


def products(weights: Int64, pe: int, thresholds: Int64 | None = None, out: IntType | None = None, distance: bool = False) -> Spec:
    """A matrix (K, N) times the vector of a round, or distances from its columns; levels, where there are thresholds (N, T)."""
    def values(x: Elements) -> list[list[str]]:
        flat = [one for word in x[0] for one in word]
        sums = []
        for column in weights.T.tolist():
            if distance:
                sums.append("(0" + "".join(f" - ({a} > ({w}) ? {a} - ({w}) : ({w}) - {a})" for a, w in zip(flat, column, strict=True)) + ")")
            else:
                sums.append(total([f"({w}) * {a}" for a, w in zip(flat, column, strict=True)]))
        if thresholds is not None and out is not None:
            sums = [level(value, row, out) for value, row in zip(sums, thresholds.tolist(), strict=True)]
        return [sums[at:at + pe] for at in range(0, len(sums), pe)]
    return Spec(values)


def depthwise(weights: Int64, pe: int, simd: int) -> Spec:
    """Each channel's taps times its own weights (taps, channels); words are (tap, channel), a group of channels after the other."""
    def values(x: Elements) -> list[list[str]]:
        taps, channels = weights.shape
        steps = taps // simd
        given = []
        for fold in range(channels // pe):
            words = x[0][fold * steps:(fold + 1) * steps]
            given.append([total([f"({int(weights[step * simd + tap, fold * pe + n])}) * {word[tap * pe + n]}"
                                 for step, word in enumerate(words) for tap in range(simd)]) for n in range(pe)])
        return given
    return Spec(values)


def windows(height: int, width: int, kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, int, int, int],
            pad_value: int, at_once: bool) -> Spec:
    """The taps of every window of a frame of one word a pixel: a word each, or all in one word."""
    def values(x: Elements) -> list[list[str]]:
        rows, cols = ((size + before + after - k) // s + 1 for size, before, after, k, s in
                      zip((height, width), pads[:2], pads[2:], kernel, stride, strict=True))
        lanes, given = len(x[0][0]), []
        for r in range(rows):
            for c in range(cols):
                places = [(r * stride[0] - pads[0] + a, c * stride[1] - pads[1] + b) for a in range(kernel[0]) for b in range(kernel[1])]
                taps = [x[0][y * width + z] if 0 <= y < height and 0 <= z < width else [str(pad_value)] * lanes for y, z in places]
                given += [[one for tap in taps for one in tap]] if at_once else taps
        return given
    return Spec(values)

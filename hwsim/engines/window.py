"""`window`: the sliding-window unit, one engine for every movement of data inside a frame.

A frame comes row-major, (height, width, channels), `lanes` channels a word.  Every output word is one word of the frame or
the padding; a nest of counted loops says which.  So the same unit lays out convolutions and pools (im2col), pads, slices,
upsamples, inserts zeros for transposed convolutions and reads again.  The last rows of the frame are kept in a circular
memory; `Window.schedule` says when words move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from intir import BitwrightError, IntType

from ..schedule import Buffer
from .base import Actions, Engine, Word
from .cells import mixed
from .memories import STYLES, Memory

Int64 = NDArray[np.int64]
Pair = tuple[int, int]
Triple = tuple[int, int, int]


class WindowError(BitwrightError):
    """A window's parameters do not fit together."""


@dataclass(frozen=True)
class Loop:
    """`count` iterations, each of which moves the position by so many rows, columns and channel words."""

    count: int
    row: int = 0
    col: int = 0
    word: int = 0

    @property
    def step(self) -> Triple:
        """(rows, columns, words)."""
        return self.row, self.col, self.word


@dataclass(frozen=True)
class Window(Engine):
    """Parameters of one window unit.  The class methods give the usual ones.

    Parameters
    ----------
    height, width : int
        Of the frame.
    words : int
        Words per pixel: channels / lanes.
    lanes : int
    type : IntType
        The frame's elements.
    loops : tuple of Loop
        From outermost to innermost.  The outermost loop decides which rows are kept.
    origin : (int, int, int)
        Row, column and channel word of the first output word.
    insert : (int, int)
        The frame is seen with one row in so many (one column in so many), padding between them.  Positions count the rows
        and columns that are seen.
    pad_value : int
        What lies outside of the frame and between its rows.
    rows : int or None
        Rows kept; by default `least_rows` + 1, so that a row can come in while the others are read.
    memory : str
        One of `STYLES`.

    Raises
    ------
    WindowError
        If a size is below 1, or `rows` below `least_rows`.
    """

    kind: ClassVar[str] = "window"

    height: int
    width: int
    words: int
    lanes: int
    type: IntType
    loops: tuple[Loop, ...]
    origin: Triple = (0, 0, 0)
    insert: Pair = (1, 1)
    pad_value: int = 0
    rows: int | None = None
    memory: str = "auto"

    def __post_init__(self) -> None:
        sizes = (*self.frame, self.lanes, *self.insert, len(self.loops), *(loop.count for loop in self.loops))
        if min(sizes) < 1:
            raise WindowError(f"a window over {self.height} x {self.width} pixels of {self.words} words of {self.lanes} lanes, "
                              f"insert {self.insert}, loops of {[loop.count for loop in self.loops]}; every size must be 1 or more")
        if self.memory not in STYLES:
            raise WindowError(f"a window's memory is '{self.memory}'; choose one of {', '.join(STYLES)}")
        if self.rows is not None and self.rows < self.least_rows:
            raise WindowError(f"a window that keeps {self.rows} rows of its input would wait for ever; "
                              f"it needs {self.least_rows} or more")

    # The usual nests.  Sizes are in rows, columns and channel words; keywords `rows` and `memory` are passed on.

    @classmethod
    def convolution(cls, height: int, width: int, words: int, lanes: int, type: IntType, *, kernel: Sequence[int],
                    stride: Sequence[int] = (1, 1), dilation: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 0, 0, 0),
                    pad_value: int = 0, groups: int = 1, **options: Any) -> Window:
        """The windows of a convolution, each as a vector over (kernel row, kernel column, channel).

        Parameters
        ----------
        kernel, stride, dilation : two of int
            Along height, width.
        pads : four of int
            Top, left, bottom, right.
        groups : int
            Divides `words`; the vector of a group's channels comes before the next group's.

        Raises
        ------
        WindowError
            If the kernel does not fit the padded frame.
        """
        rows, cols = output_size((height, width), kernel, stride, dilation, pads)
        loops = (Loop(rows, row=stride[0]), Loop(cols, col=stride[1]), Loop(groups, word=words // groups),
                 Loop(kernel[0], row=dilation[0]), Loop(kernel[1], col=dilation[1]), Loop(words // groups, word=1))
        return _made(cls, height, width, words, lanes, type, loops, (-pads[0], -pads[1], 0), pad_value=pad_value, **options)

    @classmethod
    def depthwise(cls, height: int, width: int, words: int, lanes: int, type: IntType, **options: Any) -> Window:
        """As `convolution`, but all taps of a channel word before the next: (channel word, kernel row, kernel column)."""
        return cls.convolution(height, width, words, lanes, type, groups=words, **options)

    @classmethod
    def transposed(cls, height: int, width: int, words: int, lanes: int, type: IntType, *, kernel: Sequence[int],
                   stride: Sequence[int] = (1, 1), dilation: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 0, 0, 0),
                   extra: Sequence[int] = (0, 0), groups: int = 1, **options: Any) -> Window:
        """The windows of a transposed convolution: the frame with `stride` - 1 zeros between its rows and columns.

        Output (i, j) reads position (i + top - a * dilation, j + left - b * dilation) at tap (a, b), which is a convolution
        with ``dilation * (kernel - 1) - pads`` pads that runs over its taps backwards; so the taps come in the order of
        the transposed convolution's own weights, and nothing has to be flipped.

        Parameters
        ----------
        pads : four of int
            Rows and columns cut off at top, left, bottom, right.
        extra : two of int
            Rows and columns added at bottom and right.
        groups : int
            As in `convolution`.

        Raises
        ------
        WindowError
            If nothing is left of the output.
        """
        rows, cols = transposed_size((height, width), kernel, stride, dilation, pads, extra)
        loops = (Loop(rows, row=1), Loop(cols, col=1), Loop(groups, word=words // groups), Loop(kernel[0], row=-dilation[0]),
                 Loop(kernel[1], col=-dilation[1]), Loop(words // groups, word=1))
        return _made(cls, height, width, words, lanes, type, loops, (pads[0], pads[1], 0), (stride[0], stride[1]), **options)

    @classmethod
    def upsample(cls, height: int, width: int, words: int, lanes: int, type: IntType, *, factor: Sequence[int],
                 **options: Any) -> Window:
        """Every pixel `factor[0]` times down and `factor[1]` times across."""
        loops = (Loop(height, row=1), Loop(factor[0]), Loop(width, col=1), Loop(factor[1]), Loop(words, word=1))
        return _made(cls, height, width, words, lanes, type, loops, **options)

    @classmethod
    def slice(cls, height: int, width: int, words: int, lanes: int, type: IntType, *, start: Triple, stop: Triple,
              step: Triple = (1, 1, 1), **options: Any) -> Window:
        """``frame[start:stop:step]`` along rows, columns and channel words.

        Raises
        ------
        WindowError
            If the slice is empty or reaches over the frame.
        """
        if not all(0 <= a < b <= n for a, b, n in zip(start, stop, (height, width, words), strict=True)):
            raise WindowError(f"a slice from {start} to {stop} of a frame of {(height, width, words)} rows, columns and channel "
                              "words; it needs start < stop <= size")
        counts = [-((a - b) // s) for a, b, s in zip(start, stop, step, strict=True)]
        loops = (Loop(counts[0], row=step[0]), Loop(counts[1], col=step[1]), Loop(counts[2], word=step[2]))
        return _made(cls, height, width, words, lanes, type, loops, start, **options)

    @classmethod
    def pad(cls, height: int, width: int, words: int, lanes: int, type: IntType, *, before: Triple, after: Triple,
            pad_value: int = 0, **options: Any) -> Window:
        """The frame with so many rows, columns and channel words of `pad_value` around it."""
        rows, cols, channels = (b + n + a for b, n, a in zip(before, (height, width, words), after, strict=True))
        loops = (Loop(rows, row=1), Loop(cols, col=1), Loop(channels, word=1))
        origin = (-before[0], -before[1], -before[2])
        return _made(cls, height, width, words, lanes, type, loops, origin, pad_value=pad_value, **options)

    @classmethod
    def repeated(cls, height: int, width: int, words: int, lanes: int, type: IntType, *, times: int, **options: Any) -> Window:
        """The whole frame so many times."""
        loops = (Loop(times), Loop(height, row=1), Loop(width, col=1), Loop(words, word=1))
        return _made(cls, height, width, words, lanes, type, loops, **options)

    @property
    def frame(self) -> Triple:
        """Rows, columns and channel words of the input."""
        return self.height, self.width, self.words

    @property
    def row_words(self) -> int:
        """Words of an input row."""
        return self.width * self.words

    @property
    def inner_words(self) -> int:
        """Output words of one iteration of the outermost loop."""
        return int(np.prod([loop.count for loop in self.loops[1:]], dtype=np.int64))

    @property
    def kept_rows(self) -> int:
        """Rows that the memory holds."""
        return self.least_rows + 1 if self.rows is None else self.rows

    @property
    def depth(self) -> int:
        """Words of the memory: those of the rows, or the next power of two where that is less than 64 more."""
        words = self.kept_rows * self.row_words
        power = 1 << (words - 1).bit_length()
        return power if power - words < 64 else words

    @property
    def word_in(self) -> Word:
        return Word(self.lanes, self.type)

    @property
    def word_out(self) -> Word:
        """Of the input's type, or the least that holds the pad value, too, where there is padding."""
        return Word(self.lanes, padded_type(self.type, self.pad_value) if self.has_pads else self.type)

    @cached_property
    def gather(self) -> Int64:
        """int64 (J,): the input word that each output word is, -1 for padding."""
        at, inside = np.zeros((), np.int64), np.ones((), np.bool_)
        for axis, (size, insert) in enumerate(zip(self.frame, (*self.insert, 1), strict=True)):
            place, phase = np.divmod(self.positions(axis), insert)
            at = at * size + place
            inside = inside & (phase == 0) & (place >= 0) & (place < size)
        return np.broadcast_to(np.where(inside, at, -1), [loop.count for loop in self.loops]).ravel()

    def positions(self, axis: int) -> Int64:
        """Row (axis 0), column (1) or channel word (2) in every iteration; an array with an axis for every loop, of size 1
        where the loop does not move it."""
        at = np.full((1,) * len(self.loops), self.origin[axis], np.int64)
        for n, loop in enumerate(self.loops):
            if loop.step[axis]:
                at = at + (np.arange(loop.count) * loop.step[axis]).reshape([-1 if k == n else 1 for k in range(len(self.loops))])
        return at

    @cached_property
    def has_pads(self) -> bool:
        """Whether some output word is padding."""
        return bool((self.gather < 0).any())

    @cached_property
    def _read_rows(self) -> tuple[Int64, Int64]:
        """The first and the last row read in each iteration of the outermost loop; `height` and -1 where none is."""
        read = self.gather.reshape(self.loops[0].count, -1)
        first = np.where(read < 0, self.height * self.row_words, read).min(axis=1)
        return first // self.row_words, read.max(axis=1) // self.row_words

    @cached_property
    def live(self) -> Int64:
        """int64 (N + 1,): the first row that iteration n of the outermost loop or a later one reads; at N, the height."""
        first = np.append(self._read_rows[0], self.height)
        return np.minimum.accumulate(first[::-1])[::-1]

    @cached_property
    def least_rows(self) -> int:
        """With fewer rows, a word would wait for a row that has no room."""
        return max(1, int((self._read_rows[1] - self.live[:-1]).max()) + 1)

    @cached_property
    def schedule(self) -> Buffer:
        """When words move; a round is a frame, latency 2 (memory, output).

        An output word may go out once its input word has come in; padding once the frame's first has, so that nothing of a
        frame goes out before the frame begins.
        An input row may come in once the row whose place it takes, `kept_rows` before it, is dead: no output word reads it
        from the outermost loop's present iteration on.
        """
        total, inner = len(self.gather), self.inner_words
        frames, rows = np.divmod(np.arange(self.height) - self.kept_rows, self.height)
        # Row r is dead from iteration n on if live[n] > r.
        room = frames * total + np.searchsorted(self.live, rows, side="right") * inner
        return Buffer(np.maximum(self.gather, 0) + 1, np.repeat(room, self.row_words), 2)

    @property
    def actions(self) -> Actions:
        return Actions(buffer_bits_read=int((self.gather >= 0).sum()) * self.word_in.bits,
                       buffer_bits_written=self.height * self.row_words * self.word_in.bits)

    @property
    def buffer_bits(self) -> int:
        """Bits of the memory."""
        return self.depth * self.word_in.bits

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (Memory(self.depth, self.word_in.bits, "ram", self.memory),)

    def logic_luts(self, family: str) -> int:
        """The counters."""
        address, counters = self.depth.bit_length(), sum((loop.count - 1).bit_length() for loop in self.loops)
        control = 3 * address + 2 * counters + 7 + 28 * self.has_pads
        if self.depth & (self.depth - 1):
            control += address
        pads = self.lanes * (self.word_out != self.word_in)
        return mixed(control + pads, family)


def padded_type(kind: IntType, value: int) -> IntType:
    """The type itself if it has the pad value, else the least that holds both."""
    pad = IntType(value, value)
    return kind if kind.contains(pad) else kind.union(pad)


def output_size(frame: Pair, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], pads: Sequence[int]) -> Pair:
    """Windows along height and width.  Raises WindowError where none fits."""
    rows, cols = ((frame[i] + pads[i] + pads[i + 2] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1))
    if min(rows, cols) < 1:
        raise WindowError(f"a kernel of {tuple(kernel)} with dilation {tuple(dilation)} does not fit a frame of {frame} with pads "
                          f"{tuple(pads)}; pad more or shrink the kernel")
    return rows, cols


def transposed_size(frame: Pair, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], pads: Sequence[int],
                    extra: Sequence[int]) -> Pair:
    """Windows of a transposed convolution along height and width."""
    rows, cols = ((frame[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 - pads[i] - pads[i + 2] + extra[i] for i in (0, 1))
    return rows, cols


def _made(cls: type[Window], height: int, width: int, words: int, lanes: int, type: IntType, loops: tuple[Loop, ...],
          origin: Triple = (0, 0, 0), insert: Pair = (1, 1), **options: Any) -> Window:
    """A window without loops of one iteration, and with short rows.

    Where the frame has one row, its pixels become the rows (and the words of its one pixel, if there is only one): the
    stream is the same, and the memory holds a few pixels instead of whole frames.
    """
    used = tuple(loop for loop in loops if loop.count != 1) or loops[:1]
    while height == 1 and width * words > 1 and insert[0] == 1 and not origin[0] and not any(loop.row for loop in used):
        height, width, words = width, words, 1
        used = tuple(replace(loop, row=loop.col, col=loop.word, word=0) for loop in used)
        origin, insert = (origin[1], origin[2], 0), (insert[1], 1)
    return cls(height, width, words, lanes, type, used, origin, insert, **options)

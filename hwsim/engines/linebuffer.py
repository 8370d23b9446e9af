"""`linebuffer`: a sliding-window unit that gives all taps of a window in one word.

It scans the padded frame, row by row.  A step inside the frame takes an input word, one in the padding takes none; the step
that meets the last tap of a window gives a word with all its taps.  What the window needs of earlier steps comes out of delay
lines: one, in a memory, for the rows above, and one for the columns to the left.

`window` gives one tap a cycle from one memory, so a window of T taps costs T cycles; here it costs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from intir import IntType

from ..schedule import Schedule
from .base import Actions, Engine, Word
from .cells import mixed
from .memories import STYLES, Memory
from .window import Pair, WindowError, output_size, padded_type, transposed_size

#: Longest delay made of registers; longer ones are memories.
MOST_REGISTERS = 2


@dataclass(frozen=True)
class Scan:
    """One axis of the scan, in positions from its first.

    Parameters
    ----------
    length : int
        Positions scanned.
    before : int
        Where the frame's first position lies: padding in front of it.
    seen : int
        Positions from the frame's first to its last, inserted ones included.
    insert : int
        The frame has one position in so many of these.
    first, last, stride : int
        Where windows end.
    """

    length: int
    before: int
    seen: int
    insert: int
    first: int
    last: int
    stride: int

    @property
    def after(self) -> int:
        """Padding behind the frame."""
        return self.length - self.before - self.seen

    def moved(self, by: int, length: int) -> Scan:
        """The same with every position `by` greater, over another length."""
        return Scan(length, self.before + by, self.seen, self.insert, self.first + by, self.last + by, self.stride)


@dataclass(frozen=True)
class LineBuffer(Engine):
    """Parameters of one line buffer.  The class methods give the usual ones.

    Parameters
    ----------
    height, width : int
        Of the frame.
    words : int
        Words per pixel: channels / lanes.
    lanes : int
        Channels a word.
    type : IntType
        The frame's elements.
    kernel : (int, int)
        Taps along height and width.
    outputs : (int, int)
        Windows along height and width.
    origin : (int, int)
        Row and column of the first window's first tap; negative in the padding.
    stride, dilation : (int, int)
    insert : (int, int)
        The frame is seen with one row in so many (one column in so many), padding between them; positions count those seen.
    pad_value : int
        What lies outside of the frame and between its rows.
    memory : str
        Where the rows are kept: one of `memories.STYLES`.

    Raises
    ------
    WindowError
        If a size is below 1, or the first window ends in the padding before the frame's first pixel: its word would go out
        before the frame comes.
    """

    kind: ClassVar[str] = "linebuffer"

    height: int
    width: int
    words: int
    lanes: int
    type: IntType
    kernel: Pair
    outputs: Pair
    origin: Pair = (0, 0)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    insert: Pair = (1, 1)
    pad_value: int = 0
    memory: str = "auto"

    def __post_init__(self) -> None:
        sizes = (self.height, self.width, self.words, self.lanes)
        if min(*sizes, *self.kernel, *self.outputs, *self.stride, *self.dilation, *self.insert) < 1:
            raise WindowError(f"a line buffer over {sizes} rows, columns, words and lanes, {self.outputs} windows "
                              f"of {self.kernel} taps, stride {self.stride}, dilation {self.dilation}, "
                              f"insert {self.insert}; every size must be 1 or more")
        if self.memory not in STYLES:
            raise WindowError(f"a line buffer's memory is '{self.memory}'; choose one of {', '.join(STYLES)}")
        end = tuple(self.origin[i] + self.dilation[i] * (self.kernel[i] - 1) for i in (0, 1))
        if end < (0, 0):
            raise WindowError(f"a line buffer's first window ends in row {end[0]} and column {end[1]} of the frame, before its "
                              "first pixel; use a window unit, or pad less")

    @classmethod
    def convolution(cls, height: int, width: int, words: int, lanes: int, type: IntType, *, kernel: Sequence[int],
                    stride: Sequence[int] = (1, 1), dilation: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 0, 0, 0),
                    **options: Any) -> LineBuffer:
        """The windows of a convolution or a pool; keywords `pad_value` and `memory` are passed on.

        Parameters
        ----------
        kernel, stride, dilation : two of int
            Along height, width.
        pads : four of int
            Top, left, bottom, right.

        Raises
        ------
        WindowError
            If the kernel does not fit the padded frame.
        """
        outputs = output_size((height, width), kernel, stride, dilation, pads)
        return cls(height, width, words, lanes, type, (kernel[0], kernel[1]), outputs, (-pads[0], -pads[1]),
                   (stride[0], stride[1]), (dilation[0], dilation[1]), **options)

    @classmethod
    def transposed(cls, height: int, width: int, words: int, lanes: int, type: IntType, *, kernel: Sequence[int],
                   stride: Sequence[int] = (1, 1), dilation: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 0, 0, 0),
                   extra: Sequence[int] = (0, 0), **options: Any) -> LineBuffer:
        """The windows of a transposed convolution: a convolution over the frame with zeros inserted, its taps in reverse.

        Tap (a, b) of the word is tap (KH - 1 - a, KW - 1 - b) of the operation.

        Parameters
        ----------
        pads : four of int
            Rows and columns cut off at top, left, bottom, right.
        extra : two of int
            Rows and columns added at bottom and right.

        Raises
        ------
        WindowError
            If nothing is left of the output.
        """
        outputs = transposed_size((height, width), kernel, stride, dilation, pads, extra)
        origin = (pads[0] - dilation[0] * (kernel[0] - 1), pads[1] - dilation[1] * (kernel[1] - 1))
        return cls(height, width, words, lanes, type, (kernel[0], kernel[1]), outputs, origin, (1, 1), (dilation[0], dilation[1]),
                   (stride[0], stride[1]), **options)

    @property
    def taps(self) -> int:
        """Of a window."""
        return self.kernel[0] * self.kernel[1]

    @property
    def word_in(self) -> Word:
        return Word(self.lanes, self.type)

    @property
    def word_out(self) -> Word:
        """(tap row, tap column, lane); of the input's type, or the least that holds the pad value, too, if padding is met."""
        return Word(self.taps * self.lanes, self.kept_type)

    @cached_property
    def kept_type(self) -> IntType:
        """Elements in the memories, padding among them."""
        return padded_type(self.type, self.pad_value) if self.has_pads else self.type

    @property
    def has_pads(self) -> bool:
        """Whether some step takes no word."""
        return self.scan_pixels > self.height * self.width

    def _axis(self, axis: int) -> Scan:
        """An axis with all of its padding."""
        size = (self.height, self.width)[axis]
        before, seen = max(0, -self.origin[axis]), (size - 1) * self.insert[axis] + 1
        first = before + self.origin[axis] + self.dilation[axis] * (self.kernel[axis] - 1)
        last = first + (self.outputs[axis] - 1) * self.stride[axis]
        return Scan(max(before + seen, last + 1), before, seen, self.insert[axis], first, last, self.stride[axis])

    @cached_property
    def shared(self) -> int:
        """Columns of padding behind a row that are also padding in front of the next: they are scanned once."""
        cols = self._axis(1)
        return min(cols.before, cols.after, self.dilation[1] * (self.kernel[1] - 1))

    @cached_property
    def rows(self) -> Scan:
        """Rows of the scan.  Where padding is shared, a row goes before that has the shared columns only."""
        rows, lead = self._axis(0), min(self.shared, 1)
        return rows.moved(lead, rows.length + lead)

    @cached_property
    def cols(self) -> Scan:
        """Columns of a row of the scan."""
        cols = self._axis(1)
        return cols.moved(-self.shared, cols.length - self.shared)

    @property
    def start(self) -> int:
        """Column at which the first row of the scan begins."""
        return self.cols.length - self.shared if self.shared else 0

    @property
    def scan_pixels(self) -> int:
        """Pixels and pads of a frame."""
        return self.rows.length * self.cols.length - self.start

    @property
    def row_delay(self) -> int:
        """Steps from a word to the one below it in a window: the depth of the memory."""
        return self.dilation[0] * self.cols.length * self.words

    @property
    def col_delay(self) -> int:
        """Steps from a word to the one to the right of it in a window."""
        return self.dilation[1] * self.words

    @cached_property
    def schedule(self) -> Schedule:
        """The scan of a frame; latency 2 (memory, output).

        With H rows (those seen, and padding) and W columns of frame and insertions between pads of L and R, a period is
        ``(H * (W + L + R - S) + S) * words`` where S = min(L, R, dilation * (kernel - 1)) columns are shared.
        """
        needs: NDArray[np.bool_] = np.ones((1, 1), np.bool_)
        emits = needs
        for axis, scan in enumerate((self.rows, self.cols)):
            at = np.arange(scan.length)
            place = at - scan.before
            inside = (place >= 0) & (place < scan.seen) & (place % scan.insert == 0)
            ends = (at >= scan.first) & (at <= scan.last) & ((at - scan.first) % scan.stride == 0)
            shape = (-1, 1) if axis == 0 else (1, -1)
            needs, emits = needs & inside.reshape(shape), emits & ends.reshape(shape)
        return Schedule(np.repeat(needs.ravel()[self.start:], self.words), np.repeat(emits.ravel()[self.start:], self.words), 2)

    def paced_cycles(self, vectors: int, inner: int, outer: int) -> int:
        """Least cycles per frame in front of a unit that takes its words more slowly.

        Nothing stands between the two, so from one word to the next it takes as long as the slower one.

        Parameters
        ----------
        vectors : int
            In which the unit takes the words of a pixel.
        inner, outer : int
            Its cycles from a word to the next of a vector; from a vector's last word to the next vector's first.
        """
        (rows, cols), line = self.outputs, self.cols.length
        reach = (cols - 1) * self.stride[1]
        gaps = [(self.stride[1], rows * (cols - 1)), (line * self.stride[0] - reach, rows - 1),
                (self.scan_pixels - (rows - 1) * self.stride[0] * line - reach, 1)]  # pixels from window to window, how often
        counted = sum(count * max(outer, 1 + (gap - 1) * self.words) for gap, count in gaps)
        return counted + rows * cols * ((vectors - 1) * outer + (self.words - vectors) * inner)

    @property
    def actions(self) -> Actions:
        moved = self.scan_pixels * self.words * (self.line_bits + self.column_bits)
        return Actions(buffer_bits_read=moved, buffer_bits_written=moved)

    @property
    def line_bits(self) -> int:
        """Width of the memory of rows."""
        return (self.kernel[0] - 1) * self.lanes * self.kept_type.bits

    @property
    def column_bits(self) -> int:
        """Width of the memory of columns."""
        return (self.kernel[1] - 1) * self.kernel[0] * self.lanes * self.kept_type.bits

    @property
    def memories(self) -> tuple[Memory, ...]:
        """Of the rows and of the columns; delays of 1 or 2 are registers."""
        delays = ((self.row_delay, self.line_bits, self.memory), (self.col_delay, self.column_bits, "auto"))
        return tuple(Memory(delay, bits, "ram", style) for delay, bits, style in delays if delay > MOST_REGISTERS and bits)

    def logic_luts(self, family: str) -> int:
        """Counters; padding resets what is kept in registers."""
        control = 2 * self.words.bit_length() + self.lanes * (self.kept_type != self.type)
        for scan in (self.rows, self.cols):
            control += 2 * (scan.length - 1).bit_length() + 2 * (scan.stride * scan.insert - 1).bit_length()
        return mixed(control + sum(2 * one.depth.bit_length() for one in self.memories), family)

"""The windows of convolutions and pools over a frame, and the two units that lay them out.

`window` gives some channels of one tap a cycle, `linebuffer` some channels of all taps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from intir import Conv2d, ConvTranspose2d, IntType, L1Conv2d, MaxPool2d, SumPool2d

from ..engines.cells import mixed
from ..engines.linebuffer import LineBuffer
from ..engines.memories import Memory
from ..engines.window import Window, WindowError
from .base import Builder, Flow

#: LUTs of a window unit's counters; its memory comes on top.
CONTROL_LUTS = 80


@dataclass(frozen=True)
class Taps:
    """The windows of an operation.

    Parameters
    ----------
    op : Conv2d, L1Conv2d, ConvTranspose2d, MaxPool2d or SumPool2d
    frame : (int, int, int)
        Rows, columns and channels of its input.
    positions : int
        Windows.
    type : IntType
        Elements of its input, as they travel.
    """

    op: Conv2d | L1Conv2d | ConvTranspose2d | MaxPool2d | SumPool2d
    frame: tuple[int, int, int]
    positions: int
    type: IntType

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns."""
        op = self.op
        rows, cols = op.kernel if isinstance(op, (MaxPool2d, SumPool2d)) else op.weights.shape[:2]
        return int(rows), int(cols)

    @property
    def count(self) -> int:
        """Taps of a window."""
        return self.kernel[0] * self.kernel[1]

    @cached_property
    def has_lines(self) -> bool:
        """Whether a line buffer can lay them out."""
        try:
            self.line(1)
        except WindowError:  # all of a window in the padding before the frame
            return False
        return self.count > 1

    def line(self, lanes: int, memory: str = "auto") -> LineBuffer:
        """The line buffer for some channels of all taps."""
        size, options = self._parameters(lanes, memory)
        return (LineBuffer.transposed if isinstance(self.op, ConvTranspose2d) else LineBuffer.convolution)(*size, **options)

    def window(self, lanes: int, groups: int, memory: str = "auto") -> Window:
        """The window unit for some channels of one tap: group by group of channels, in each tap by tap."""
        size, options = self._parameters(lanes, memory)
        make = Window.transposed if isinstance(self.op, ConvTranspose2d) else Window.convolution
        return make(*size, **options, groups=groups)

    def window_cycles(self, lanes: int) -> int:
        """Least cycles a frame of the window unit."""
        height, width, channels = self.frame
        return max(self.positions * self.count, height * width) * channels // lanes

    @property
    def taps_choices(self) -> list[int]:
        """Taps at a time for a unit that keeps channels apart."""
        return [1, self.count] if self.has_lines else [1]

    def cycles(self, lanes: int, lined: bool) -> int:
        """Least cycles a frame in front of a unit that takes a word in every cycle."""
        return self.line(lanes).paced_cycles(1, 1, 1) if lined else self.window_cycles(lanes)

    def luts(self, lanes: int, lined: bool, family: str) -> int:
        """Estimated LUTs of either unit; without making a window unit, which takes time for large frames."""
        if lined:
            return self.line(lanes).resources(family).luts
        height, width, channels = self.frame
        rows = self.kernel[0] * (1 if isinstance(self.op, ConvTranspose2d) else self.op.dilation[0]) + 1
        stored = Memory(min(rows, height) * width * channels // lanes, lanes * self.type.bits, "ram")
        return mixed(CONTROL_LUTS, family) + stored.luts(family)

    def laid_out(self, builder: Builder, flow: Flow, groups: int | None, memory: str | None) -> Flow:
        """The stream of windows: of a window unit, in so many groups of channels; of a line buffer where there is no number."""
        memory = memory or "auto"
        words = self.positions * self.frame[2] // flow.word.lanes
        if groups is None:
            return builder.block("lines", self.line(flow.word.lanes, memory), [flow], words, 1)
        return builder.block("window", self.window(flow.word.lanes, groups, memory), [flow], words * self.count, 1)

    def by_channel(self, builder: Builder, flow: Flow, lined: bool, memory: str | None) -> Flow:
        """The same for a unit that keeps channels apart: all taps of a word's channels before the next word's."""
        return self.laid_out(builder, flow, None if lined else self.frame[2] // flow.word.lanes, memory)

    def _parameters(self, lanes: int, memory: str) -> tuple[tuple[int, int, int, int, IntType], dict[str, Any]]:
        op, (height, width, channels) = self.op, self.frame
        options: dict[str, Any] = {"kernel": self.kernel, "stride": op.stride, "dilation": op.dilation, "pads": op.pads,
                                   "memory": memory}
        if isinstance(op, ConvTranspose2d):
            options["extra"] = op.extra
        else:  # a maximum is padded with the least value, which never wins
            options["pad_value"] = self.type.lo if isinstance(op, MaxPool2d) else op.pad_value
        return (height, width, channels // lanes, lanes, self.type), options

"""The window unit in Amaranth's simulator: the words of plain numpy, the cycles of hwsim, under every stall pattern."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.blocks.window import WindowBlock
from codegen.platform import VerilogPlatform
from codegen.templates import render
from codegen.verilog import convert
from codegen.yosys import synthesize
from hwsim.engines.window import Loop, Window
from intir import BIPOLAR, TERNARY, ConvTranspose2d, IntType, signed, unsigned
from intir.ranges import Range
from tests.codegen.harness import check
from tests.codegen.test_rtl import lint
from tests.networks import draw

Int64 = NDArray[np.int64]
FRAMES = 3


def im2col(x: Int64, lanes: int, kernel: tuple, stride: tuple = (1, 1), dilation: tuple = (1, 1), pads: tuple = (0, 0, 0, 0),
           pad_value: int = 0, channels_first: bool = False) -> Int64:
    """Frames (N, H, W, C) as the words of all windows, pixel by pixel."""
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=pad_value)
    found = []
    for frame in x:
        for row in range(0, frame.shape[0] - dilation[0] * (kernel[0] - 1), stride[0]):
            for col in range(0, frame.shape[1] - dilation[1] * (kernel[1] - 1), stride[1]):
                window = frame[row:row + dilation[0] * (kernel[0] - 1) + 1:dilation[0],
                               col:col + dilation[1] * (kernel[1] - 1) + 1:dilation[1]]
                words = window.reshape(*kernel, -1, lanes)
                found.append((words.transpose(2, 0, 1, 3) if channels_first else words).ravel())
    return np.concatenate(found)


CONVOLUTIONS = {
    "3x3": ((5, 4, 4), 2, {"kernel": (3, 3)}),
    "one_word_a_pixel": ((5, 5, 2), 2, {"kernel": (3, 3)}),
    "one_lane": ((4, 5, 3), 1, {"kernel": (2, 2)}),
    "padded": ((4, 4, 2), 2, {"kernel": (3, 3), "pads": (1, 1, 1, 1)}),
    "uneven_pads": ((3, 2, 2), 1, {"kernel": (3, 2), "pads": (2, 0, 1, 3)}),
    "strided": ((7, 7, 2), 2, {"kernel": (3, 3), "stride": (2, 2)}),
    "strided_rest": ((8, 6, 1), 1, {"kernel": (3, 3), "stride": (2, 2), "pads": (1, 1, 0, 0)}),
    "stride_above_kernel": ((8, 7, 2), 1, {"kernel": (2, 1), "stride": (3, 4)}),
    "stride_above_kernel_padded": ((8, 7, 1), 1, {"kernel": (2, 2), "stride": (3, 3), "pads": (1, 2, 0, 0)}),
    "dilated": ((7, 6, 1), 1, {"kernel": (2, 3), "dilation": (3, 2), "pads": (1, 1, 1, 1)}),
    "kernel_above_input": ((2, 3, 1), 1, {"kernel": (5, 5), "pads": (2, 1, 2, 2)}),
    "windows_of_padding": ((2, 2, 2), 2, {"kernel": (1, 2), "pads": (2, 3, 1, 0)}),
    "1x1_strided": ((5, 4, 2), 1, {"kernel": (1, 1), "stride": (2, 2)}),
    "whole_frame": ((3, 4, 2), 2, {"kernel": (3, 4)}),
    "one_dimension": ((1, 11, 2), 2, {"kernel": (1, 3), "pads": (0, 2, 0, 1)}),
    "one_column": ((9, 1, 2), 1, {"kernel": (3, 1), "stride": (2, 1), "pads": (1, 0, 1, 0)}),
    "one_pixel": ((1, 1, 1), 1, {"kernel": (1, 1)}),
    "one_pixel_padded": ((1, 1, 2), 1, {"kernel": (3, 3), "pads": (1, 1, 1, 1)}),
}
KINDS = [unsigned(3), BIPOLAR, signed(4), TERNARY, IntType(-3, 3, 2), IntType(5, 9)]


DEPTHWISE = ["3x3", "padded", "strided_rest", "dilated", "kernel_above_input", "one_dimension"]


@pytest.mark.parametrize(("name", "order"), [*((name, "convolution") for name in CONVOLUTIONS), *((name, "depthwise") for name in DEPTHWISE)])
def test_convolutions(name: str, order: str) -> None:
    (height, width, channels), lanes, options = CONVOLUTIONS[name]
    number = list(CONVOLUTIONS).index(name) + (order == "depthwise")
    kind = KINDS[number % len(KINDS)]
    pad_value = [kind.lo, kind.hi, 0][number % 3]
    x = draw(kind, (FRAMES, height, width, channels), np.random.default_rng(number))
    engine = getattr(Window, order)(height, width, channels // lanes, lanes, kind, **options, pad_value=pad_value)
    check(WindowBlock(engine), engine, x, im2col(x, lanes, **options, pad_value=pad_value, channels_first=order == "depthwise"), number)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("pad_value", [-1, 0, 7])
def test_a_pad_value_widens_the_words(kind: IntType, pad_value: int) -> None:
    """Of zeros around binary pixels come ternary words; the memory holds the binary ones."""
    x = draw(kind, (2, 3, 2, 2), np.random.default_rng(0))
    engine = Window.convolution(3, 2, 1, 2, kind, kernel=(2, 2), pads=(1, 0, 0, 1), pad_value=pad_value)
    assert engine.word_in.type == kind
    assert engine.word_out.type == kind.union(IntType(pad_value, pad_value))
    check(WindowBlock(engine), engine, x, im2col(x, 2, (2, 2), pads=(1, 0, 0, 1), pad_value=pad_value))


@pytest.mark.parametrize(("rows", "width", "words"), [(3, 4, 1), (4, 3, 3), (5, 13, 2), (13, 3, 1), (9, 8, 2)])
def test_any_number_of_rows_gives_the_same_words(rows: int, width: int, words: int) -> None:
    """Depths that are powers of two and such that are not; more rows than two frames have."""
    frames = 2 if words == 2 else 5
    x = draw(unsigned(4), (frames, 5, width, words), np.random.default_rng(rows))
    engine = Window.convolution(5, width, words, 1, unsigned(4), kernel=(3, 1), stride=(2, 1), rows=rows)
    assert engine.kept_rows == rows
    assert engine.depth == {3: 16, 4: 64, 5: 130, 9: 144, 13: 64}[rows]
    check(WindowBlock(engine), engine, x, im2col(x, 1, (3, 1), (2, 1)), rows)


TRANSPOSED = [
    ((3, 2, 2), 2, {"kernel": (4, 4), "stride": (2, 2), "pads": (1, 1, 1, 1)}),
    ((2, 2, 2), 1, {"kernel": (3, 2), "stride": (3, 2), "extra": (1, 1)}),
    ((3, 2, 1), 1, {"kernel": (2, 3), "stride": (1, 2), "dilation": (2, 3), "pads": (0, 2, 2, 0)}),
    ((3, 2, 1), 1, {"kernel": (1, 1), "stride": (3, 5)}),
    ((1, 6, 2), 2, {"kernel": (1, 3), "stride": (1, 2), "pads": (0, 1, 0, 0)}),
]


@pytest.mark.parametrize(("shape", "lanes", "options"), TRANSPOSED)
def test_transposed_convolutions(shape: tuple, lanes: int, options: dict) -> None:
    """Held to the operation of the IR: a weight of 1 at one tap gives what that tap reads, and no flipping."""
    height, width, channels = shape
    x = draw(signed(4), (FRAMES, *shape), np.random.default_rng(width))
    kh, kw = options["kernel"]
    others = {name: value for name, value in options.items() if name != "kernel"}
    taps = []
    for tap in range(kh * kw):
        weights = np.zeros((kh * kw, channels, channels), np.int64)
        weights[tap] = np.eye(channels)
        op = ConvTranspose2d(weights.reshape(kh, kw, channels, channels), **others)
        taps.append(op.evaluate(x, ranges=[Range.of(signed(4), channels)]))
    y = np.stack(taps, axis=3).astype(np.int64)  # (N, OH, OW, taps, C)
    engine = Window.transposed(height, width, channels // lanes, lanes, signed(4), **options)
    check(WindowBlock(engine), engine, x, y, width)


@pytest.mark.parametrize(("shape", "lanes", "factor"), [((3, 2, 4), 2, (2, 3)), ((2, 3, 1), 1, (1, 2)), ((1, 4, 2), 1, (1, 3)), ((2, 2, 3), 3, (3, 1))])
def test_upsample(shape: tuple, lanes: int, factor: tuple) -> None:
    height, width, channels = shape
    x = draw(BIPOLAR, (FRAMES, *shape), np.random.default_rng(lanes))
    engine = Window.upsample(height, width, channels // lanes, lanes, BIPOLAR, factor=factor)
    check(WindowBlock(engine), engine, x, x.repeat(factor[0], axis=1).repeat(factor[1], axis=2), lanes)


@pytest.mark.parametrize(("start", "stop", "step"), [
    ((0, 0, 0), (5, 4, 3), (1, 1, 1)), ((1, 1, 1), (4, 3, 2), (1, 1, 1)), ((0, 1, 0), (5, 4, 3), (2, 2, 2)), ((4, 3, 2), (5, 4, 3), (1, 1, 1)),
    ((0, 0, 0), (1, 1, 1), (1, 1, 1)), ((3, 0, 1), (5, 4, 3), (3, 3, 1))])
def test_slice(start: tuple, stop: tuple, step: tuple) -> None:
    x = draw(signed(5), (FRAMES, 5, 4, 6), np.random.default_rng(stop[0]))
    engine = Window.slice(5, 4, 3, 2, signed(5), start=start, stop=stop, step=step)
    words = x.reshape(FRAMES, 5, 4, 3, 2)
    check(WindowBlock(engine), engine, x, words[:, *map(slice, start, stop, step)], stop[0])


@pytest.mark.parametrize(("before", "after"), [((1, 1, 0), (1, 1, 0)), ((0, 2, 0), (3, 0, 0)), ((0, 0, 1), (0, 0, 2)), ((2, 0, 0), (0, 0, 0)),
                                               ((0, 0, 0), (1, 2, 1))])
def test_pad(before: tuple, after: tuple) -> None:
    x = draw(unsigned(2), (FRAMES, 2, 3, 2), np.random.default_rng(0))
    engine = Window.pad(2, 3, 2, 1, unsigned(2), before=before, after=after, pad_value=2)
    y = np.pad(x, ((0, 0), *zip(before, after, strict=True)), constant_values=2)
    check(WindowBlock(engine), engine, x, y, after[0])


@pytest.mark.parametrize("shape", [(2, 3, 2), (1, 1, 6), (1, 1, 1)])
def test_repeated(shape: tuple) -> None:
    x = draw(unsigned(2), (FRAMES, *shape), np.random.default_rng(0))
    engine = Window.repeated(*shape, 1, unsigned(2), times=3)
    check(WindowBlock(engine), engine, x, np.stack([x] * 3, axis=1))


def test_loops_of_any_kind() -> None:
    """Backwards, with an outermost loop over channels, and with one that moves row and column at once."""
    x = draw(unsigned(4), (FRAMES, 3, 4, 2), np.random.default_rng(0))
    flipped = Window(3, 4, 2, 1, unsigned(4), (Loop(3, row=-1), Loop(4, col=-1), Loop(2, word=1)), (2, 3, 0))
    check(WindowBlock(flipped), flipped, x, x[:, ::-1, ::-1])
    planes = Window(3, 4, 2, 1, unsigned(4), (Loop(2, word=1), Loop(3, row=1), Loop(4, col=1)))
    check(WindowBlock(planes), planes, x, x.transpose(0, 3, 1, 2))
    diagonal = Window(3, 4, 2, 1, unsigned(4), (Loop(1), Loop(3, row=1, col=1), Loop(2, word=1)), (0, 1, 0))
    check(WindowBlock(diagonal), diagonal, x, x[:, range(3), range(1, 4)])


def files(engine: Window) -> dict[str, str]:
    texts = convert({"win": WindowBlock(engine)}, VerilogPlatform())
    return {"win.v": f"`default_nettype none\n{texts['win']}`default_nettype wire\n", "bw_ram.v": render("bw_ram.v.j2", header="//")}


def test_verilog_is_lint_clean(tmp_path: Path) -> None:
    engine = Window.transposed(4, 5, 2, 3, signed(4), kernel=(4, 3), stride=(2, 3), pads=(1, 1, 1, 1), memory="distributed")
    (tmp_path / "rtl").mkdir()
    for name, text in files(engine).items():
        (tmp_path / "rtl" / name).write_text(text)
    (tmp_path / "win.f").write_text("rtl/win.v\nrtl/bw_ram.v\n")
    (tmp_path / "lint.vlt").write_text(render("lint.vlt.j2", files={"bw_ram.v"}, generated=["win.v"], interrupt=""))
    done = lint(tmp_path, "win")
    assert (done.returncode, done.stderr) == (0, "")


def padded(memory: str) -> Window:
    return Window.convolution(6, 6, 2, 3, unsigned(4), kernel=(3, 3), pads=(1, 1, 1, 1), pad_value=5, memory=memory)


def test_the_memory_is_where_the_plan_wants_it() -> None:
    """Synthesis would take LUT RAM for so few words."""
    cells = synthesize(files(padded("block")), "win", "xilinx")
    assert (cells.lutrams, cells.brams, cells.dsps) == (0, 1, 0)
    assert 0.8 < cells.luts / padded("block").resources("xilinx").luts < 1.25
    for memory in ("auto", "distributed"):
        assert (f'.STYLE("{memory}")' in files(padded(memory))["win.v"]) == (memory == "distributed")

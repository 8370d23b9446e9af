"""The line buffer in Amaranth's simulator: the words of plain numpy, the cycles of hwsim, under every stall pattern."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codegen.blocks.linebuffer import LineBufferBlock
from codegen.platform import VerilogPlatform
from codegen.templates import render
from codegen.verilog import convert
from codegen.yosys import synthesize
from hwsim.dataflow import simulate
from hwsim.engines.linebuffer import LineBuffer
from hwsim.engines.window import WindowError
from hwsim.schedule import Schedule
from intir import BIPOLAR, ConvTranspose2d, IntType, signed, unsigned
from intir.ranges import Range
from tests.codegen.harness import check
from tests.codegen.test_rtl import lint
from tests.codegen.test_window import CONVOLUTIONS, KINDS, TRANSPOSED, im2col
from tests.networks import draw

Int64 = NDArray[np.int64]
FRAMES = 3
#: Windows that end before the frame begins are for the window unit.
TOO_MUCH_PADDING = ["stride_above_kernel_padded", "windows_of_padding"]
SHAPES = {name: shape for name, shape in CONVOLUTIONS.items() if name not in TOO_MUCH_PADDING} | {
    "dilated_wide": ((5, 7, 2), 1, {"kernel": (2, 3), "dilation": (2, 3), "pads": (0, 3, 1, 4)}),
    "pads_above_the_kernel": ((3, 3, 2), 1, {"kernel": (2, 2), "pads": (0, 5, 4, 3)}),
    "no_row_left": ((6, 5, 1), 1, {"kernel": (2, 2), "stride": (4, 3)}),
    "one_column_padded": ((6, 1, 1), 1, {"kernel": (3, 3), "pads": (1, 1, 1, 1)}),
    "one_column_without_pads": ((6, 1, 1), 1, {"kernel": (3, 1)}),
    "one_column_dilated": ((7, 1, 1), 1, {"kernel": (3, 1), "dilation": (2, 1)}),
    "1x1": ((3, 3, 4), 2, {"kernel": (1, 1)}),
    "1x1_padded": ((3, 2, 2), 1, {"kernel": (1, 1), "pads": (0, 0, 1, 1)}),
    "stride_three": ((8, 9, 2), 2, {"kernel": (3, 3), "stride": (3, 3), "pads": (1, 1, 1, 1)}),
}


def pixel_major(x: Int64, lanes: int, options: dict, pad_value: int) -> Int64:
    """The windows as the line buffer's words: (position, channel word, tap row, tap column, lane)."""
    kernel = options["kernel"]
    words = im2col(x, lanes, **options, pad_value=pad_value)
    return words.reshape(-1, kernel[0] * kernel[1], x.shape[-1] // lanes, lanes).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("name", SHAPES)
def test_convolutions(name: str) -> None:
    (height, width, channels), lanes, options = SHAPES[name]
    number = list(SHAPES).index(name)
    kind = KINDS[number % len(KINDS)]
    pad_value = [kind.lo, kind.hi, 0][number % 3]
    x = draw(kind, (FRAMES, height, width, channels), np.random.default_rng(number))
    engine = LineBuffer.convolution(height, width, channels // lanes, lanes, kind, **options, pad_value=pad_value)
    assert engine.schedule.words_in == height * width * channels // lanes
    check(LineBufferBlock(engine), engine, x, pixel_major(x, lanes, options, pad_value), number)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("pad_value", [-1, 0, 7])
def test_a_pad_value_widens_the_words(kind: IntType, pad_value: int) -> None:
    x = draw(kind, (2, 3, 2, 2), np.random.default_rng(0))
    options = {"kernel": (2, 2), "pads": (1, 0, 0, 1)}
    engine = LineBuffer.convolution(3, 2, 1, 2, kind, **options, pad_value=pad_value)
    assert engine.word_in.type == kind
    assert engine.word_out.type == kind.union(IntType(pad_value, pad_value))
    check(LineBufferBlock(engine), engine, x, pixel_major(x, 2, options, pad_value))


@pytest.mark.parametrize(("shape", "lanes", "options"), TRANSPOSED)
def test_transposed_convolutions(shape: tuple, lanes: int, options: dict) -> None:
    """Held to the operation of the IR: a weight of 1 at one tap gives what that tap reads, and taps come in reverse."""
    height, width, channels = shape
    x = draw(signed(4), (FRAMES, *shape), np.random.default_rng(width))
    kh, kw = options["kernel"]
    others = {name: value for name, value in options.items() if name != "kernel"}
    taps = []
    for tap in reversed(range(kh * kw)):
        weights = np.zeros((kh * kw, channels, channels), np.int64)
        weights[tap] = np.eye(channels)
        op = ConvTranspose2d(weights.reshape(kh, kw, channels, channels), **others)
        taps.append(op.evaluate(x, ranges=[Range.of(signed(4), channels)]))
    y = np.stack(taps, axis=3).astype(np.int64)  # (N, OH, OW, taps, C)
    y = y.reshape(*y.shape[:4], channels // lanes, lanes).swapaxes(3, 4)
    engine = LineBuffer.transposed(height, width, channels // lanes, lanes, signed(4), **options)
    check(LineBufferBlock(engine), engine, x, y, width)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[tuple[int, int, int], int, dict]:
    """Any convolution with a window that fits."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    height, width, words, lanes = (draw(st.integers(1, most)) for most in (6, 6, 4, 2))
    kernel, stride, dilation = draw(pair), draw(pair), draw(pair)
    pads = draw(st.tuples(*[st.integers(0, 4)] * 4))
    pads = (min(pads[0], dilation[0] * (kernel[0] - 1)), min(pads[1], dilation[1] * (kernel[1] - 1)), *pads[2:])
    lacking = [max(0, dilation[i] * (kernel[i] - 1) + 1 - (height, width)[i] - pads[i] - pads[i + 2]) for i in (0, 1)]
    pads = (pads[0], pads[1], pads[2] + lacking[0], pads[3] + lacking[1])
    return (height, width, words * lanes), lanes, {"kernel": kernel, "stride": stride, "dilation": dilation, "pads": pads}


@given(shapes())
@settings(max_examples=40, deadline=None)
def test_any_shape(shape: tuple) -> None:
    (height, width, channels), lanes, options = shape
    x = draw(unsigned(3), (2, height, width, channels), np.random.default_rng(channels))
    engine = LineBuffer.convolution(height, width, channels // lanes, lanes, unsigned(3), **options, pad_value=5)
    check(LineBufferBlock(engine), engine, x, pixel_major(x, lanes, options, 5), height)


def formula(engine: LineBuffer, pads: tuple, kernel: tuple, dilation: tuple = (1, 1)) -> int:
    """Cycles of a frame as the documentation says, where every row and column of the padded frame is needed."""
    top, left, bottom, right = pads
    shared = min(left, right, dilation[1] * (kernel[1] - 1))
    return ((engine.height + top + bottom) * (engine.width + left + right - shared) + shared) * engine.words


@pytest.mark.parametrize(("kernel", "pads", "cycles"), [
    ((3, 3), (1, 1, 1, 1), 34 * 33 + 1), ((3, 3), (0, 0, 0, 0), 32 * 32), ((5, 5), (2, 2, 2, 2), 36 * 34 + 2), ((2, 2), (0, 0, 1, 1), 33 * 33),
    ((2, 2), (1, 1, 0, 0), 33 * 33), ((4, 4), (1, 1, 2, 2), 35 * 34 + 1)])
def test_cycles_of_a_frame(kernel: tuple, pads: tuple, cycles: int) -> None:
    """Padding behind a row is padding in front of the next."""
    engine = LineBuffer.convolution(32, 32, 2, 2, unsigned(4), kernel=kernel, pads=pads)
    assert engine.schedule.period_cycles == 2 * cycles == formula(engine, pads, kernel)


@given(shapes(), st.integers(1, 3), st.integers(1, 4), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_a_slow_reader_sets_the_pace_as_stated(shape: tuple, groups: int, inner: int, rest: int) -> None:
    """Two frames of the two blocks, simulated: from one frame's last word to the next one's, as long as `paced_cycles` says."""
    (height, width, channels), lanes, options = shape
    words = channels // lanes * groups
    engine = LineBuffer.convolution(height, width, words, lanes, unsigned(3), **options)
    steps = np.zeros(words // groups * inner + rest - 1, np.bool_)
    steps[:words // groups * inner:inner] = True
    reader = Schedule(steps, steps, 1)
    frames, each = 4, words * engine.outputs[0] * engine.outputs[1]
    trace = simulate([engine.schedule, reader], frames * height * width * words, frames * each)
    ends = trace.out_cycles[each - 1::each]
    assert ends[-1] - ends[-2] == engine.paced_cycles(groups, inner, inner + rest - 1)


@pytest.mark.parametrize("name", TOO_MUCH_PADDING)
def test_no_word_goes_out_before_its_frame_comes(name: str) -> None:
    (height, width, channels), lanes, options = CONVOLUTIONS[name]
    with pytest.raises(WindowError, match="before its first pixel; use a window unit, or pad less$"):
        LineBuffer.convolution(height, width, channels // lanes, lanes, unsigned(4), **options)


def test_sizes_that_do_not_fit() -> None:
    for wrong in ({"kernel": (0, 1), "outputs": (1, 1)}, {"kernel": (1, 1), "outputs": (1, 0)}):
        with pytest.raises(WindowError, match="every size must be 1 or more"):
            LineBuffer(2, 2, 1, 1, unsigned(1), **wrong)
    with pytest.raises(WindowError, match="a line buffer's memory is 'lut'; choose one of auto, distributed, block"):
        LineBuffer(2, 2, 1, 1, unsigned(1), (1, 1), (2, 2), memory="lut")
    with pytest.raises(WindowError, match=r"a kernel of \(3, 3\) with dilation \(1, 1\) does not fit a frame of \(2, 2\)"):
        LineBuffer.convolution(2, 2, 1, 1, unsigned(1), kernel=(3, 3))


def files(engine: LineBuffer) -> dict[str, str]:
    texts = convert({"lines": LineBufferBlock(engine)}, VerilogPlatform())
    return {"lines.v": f"`default_nettype none\n{texts['lines']}`default_nettype wire\n", "bw_ram.v": render("bw_ram.v.j2", header="//")}


@pytest.mark.parametrize("engine", [
    LineBuffer.transposed(4, 5, 2, 3, signed(4), kernel=(4, 3), stride=(2, 3), pads=(1, 1, 1, 1), memory="distributed"),
    LineBuffer.convolution(5, 5, 3, 2, BIPOLAR, kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1)),
    LineBuffer.convolution(5, 5, 1, 2, BIPOLAR, kernel=(1, 1), stride=(2, 2)),
])
def test_verilog_is_lint_clean(engine: LineBuffer, tmp_path: Path) -> None:
    (tmp_path / "rtl").mkdir()
    for name, text in files(engine).items():
        (tmp_path / "rtl" / name).write_text(text)
    (tmp_path / "lines.f").write_text("rtl/lines.v\nrtl/bw_ram.v\n" if engine.taps > 1 else "rtl/lines.v\n")
    (tmp_path / "lint.vlt").write_text(render("lint.vlt.j2", files={"bw_ram.v"}, generated=["lines.v"], interrupt=""))
    done = lint(tmp_path, "lines")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_memory_is_where_the_plan_wants_it() -> None:
    for memory, brams in (("block", 1), ("distributed", 0)):
        engine = LineBuffer.convolution(12, 12, 2, 2, unsigned(4), kernel=(3, 3), pads=(1, 1, 1, 1), memory=memory)
        cells = synthesize(files(engine), "lines", "xilinx")
        assert (cells.brams, cells.dsps) == (brams, 0)
        assert 0.7 < cells.luts / engine.resources("xilinx").luts < 1.3

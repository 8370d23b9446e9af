"""The window engine by itself: it never waits for ever, gives the words of plain numpy, and keeps to what its rules say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.dataflow import ALWAYS, SimulationError, simulate
from hwsim.engines.window import Loop, Window, WindowError
from hwsim.schedule import Buffer
from intir import BIPOLAR, TERNARY, IntType, unsigned

AXES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))


@st.composite
def nests(draw: st.DrawFn) -> Window:
    """Any loops at all over a small frame; channel words inside of it or not."""
    frame = draw(AXES)
    insert = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    steps = st.tuples(*[st.integers(-3, 3)] * 3)
    loops = tuple(Loop(draw(st.integers(1, 4)), *draw(steps)) for _ in range(draw(st.integers(1, 4))))
    origin = draw(st.tuples(*[st.integers(-4, 8)] * 3))
    return Window(*frame, 1, unsigned(4), loops, origin, insert)


def plain_gather(window: Window) -> list[int]:
    """The input word of every output word, loop by loop."""
    found = []
    for iteration in itertools.product(*(range(loop.count) for loop in window.loops)):
        row, col, word = (start + sum(n * loop.step[axis] for n, loop in zip(iteration, window.loops, strict=True))
                          for axis, start in enumerate(window.origin))
        inside = row % window.insert[0] == 0 and col % window.insert[1] == 0
        row, col = row // window.insert[0], col // window.insert[1]
        inside = inside and 0 <= row < window.height and 0 <= col < window.width and 0 <= word < window.words
        found.append((row * window.width + col) * window.words + word if inside else -1)
    return found


def plain_room(window: Window) -> list[int]:
    """When each input word may come in, from the rule in words: for a row of the frame, the row whose place it takes lies so
    many rows before it, in this frame or one before; it is dead as soon as no later iteration reads it."""
    rounds = len(window.gather)
    inner = rounds // window.loops[0].count
    rows = [{at // window.row_words for at in part if at >= 0} for part in np.split(window.gather, window.loops[0].count)]
    found = []
    for row in range(window.height):
        frame, dying = 0, row - window.kept_rows
        while dying < 0:
            frame, dying = frame - 1, dying + window.height
        dead = next(n for n in range(len(rows) + 1) if all(one > dying for later in rows[n:] for one in later))
        found += [frame * rounds + dead * inner] * window.row_words
    return found


def finishes(window: Window, frames: int = 3) -> bool:
    timing = window.schedule
    try:
        simulate([timing], frames * timing.words_in, frames * timing.words_out)
    except SimulationError:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(nests())
def test_any_nest_gathers_what_its_loops_say_and_keeps_its_rows_as_long_as_needed(window: Window) -> None:
    assert window.gather.tolist() == plain_gather(window)
    assert window.schedule.available.tolist() == [max(at, 0) + 1 for at in window.gather]
    assert window.schedule.room.tolist() == plain_room(window)
    assert finishes(window)


@settings(max_examples=100, deadline=None)
@given(nests(), st.integers(0, 3), st.lists(st.booleans(), min_size=1, max_size=8))
def test_no_word_is_overwritten_before_its_last_use(window: Window, more: int, source: list[bool]) -> None:
    """The words of a circular memory of the kept rows, written and read when the simulator says, are the right ones."""
    window = replace(window, rows=window.least_rows + more)
    timing, frames = window.schedule, 3
    trace = simulate([timing], frames * timing.words_in, frames * timing.words_out, source=np.array([*source, True]))
    memory = [-1] * window.kept_rows * window.row_words
    written = 0
    for number, left in enumerate(trace.out_cycles.tolist()):
        while written < len(trace.in_cycles) and trace.in_cycles[written] < left - timing.latency_cycles:
            memory[written % len(memory)] = written
            written += 1
        frame, at = divmod(number, timing.words_out)
        if window.gather[at] >= 0:
            wanted = frame * timing.words_in + int(window.gather[at])
            assert memory[wanted % len(memory)] == wanted


@settings(max_examples=100, deadline=None)
@given(nests())
def test_one_row_less_than_the_least_waits_for_ever(window: Window) -> None:
    if window.least_rows > 1:
        with pytest.raises(WindowError, match=rf"^a window that keeps {window.least_rows - 1} rows of its input would wait for ever; "
                                              rf"it needs {window.least_rows} or more$"):
            replace(window, rows=window.least_rows - 1)
        few = replace(window)
        few.__dict__["least_rows"] = window.least_rows - 2  # keeps one row more than it takes for the least
        assert few.kept_rows == window.least_rows - 1
        assert not finishes(few)


def settled(window: Window) -> int:
    """Cycles from frame to frame."""
    timing = window.schedule
    trace = simulate([timing], 5 * timing.words_in, 5 * timing.words_out)
    ends = trace.out_cycles[timing.words_out - 1::timing.words_out]
    return int(ends[-1] - ends[-2])


def square(size: int, words: int = 1, **options: object) -> Window:
    return Window.convolution(size, size, words, 8, BIPOLAR, **options)


def test_a_convolution_of_cnv() -> None:
    """30 x 30 x 64 pixels, kernel 3: three rows are read at a time, a fourth comes in; as deep as LUT RAM of 128 words."""
    one = square(30, kernel=(3, 3))
    assert (one.least_rows, one.kept_rows, one.depth) == (3, 4, 128)
    assert (one.schedule.words_in, one.schedule.words_out, one.schedule.period_cycles) == (900, 28 * 28 * 9, 28 * 28 * 9)
    first = simulate([one.schedule], 900, 28 * 28 * 9)
    # Words 0, 1, 2 as they come, then row 1 a row later, and row 2.
    assert first.out_cycles[:9].tolist() == [3, 4, 5, 33, 34, 35, 63, 64, 65]
    assert settled(one) == 28 * 28 * 9 + 25  # a frame begins with one row of it there, and waits for two
    assert settled(square(30, kernel=(3, 3), rows=5)) == 28 * 28 * 9


@pytest.mark.parametrize(("size", "kernel", "words"), [(12, 5, 1), (9, 3, 2), (16, 7, 1)])
def test_with_twice_the_least_rows_less_one_no_frame_waits(size: int, kernel: int, words: int) -> None:
    outputs = (size - kernel + 1)**2 * kernel**2 * words
    assert settled(square(size, words, kernel=(kernel, kernel), rows=2 * kernel - 1)) == outputs
    assert settled(square(size, words, kernel=(kernel, kernel), rows=kernel + 1)) > outputs


@pytest.mark.parametrize(("window", "least", "cycles"), [
    (Window.depthwise(28, 28, 1, 8, BIPOLAR, kernel=(2, 2), stride=(2, 2)), 2, 784),
    (square(32, kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1), pad_value=1), 3, 16 * 16 * 9),
    (square(8, kernel=(3, 3), dilation=(3, 3)), 7, 64),
    (Window.upsample(8, 8, 1, 8, BIPOLAR, factor=(2, 2)), 1, 256),
    (Window.pad(8, 8, 1, 8, BIPOLAR, before=(1, 1, 0), after=(1, 1, 0), pad_value=1), 1, 100),
    (Window.slice(8, 8, 1, 8, BIPOLAR, start=(1, 1, 0), stop=(7, 7, 1)), 1, 64),
    (Window.transposed(8, 8, 1, 8, BIPOLAR, kernel=(4, 4), stride=(2, 2), pads=(1, 1, 1, 1)), 2, 16 * 16 * 16),
    (Window.repeated(4, 4, 1, 8, BIPOLAR, times=3), 4, 48)])
def test_rows_and_rates(window: Window, least: int, cycles: int) -> None:
    """A unit moves a word in every cycle at the busier of its ports."""
    assert window.least_rows == least
    assert window.schedule.period_cycles <= cycles
    assert cycles <= settled(window) <= cycles + 4 * window.row_words


def test_a_row_of_pixels_keeps_pixels_and_a_pixel_keeps_words() -> None:
    row = Window.convolution(1, 100, 4, 2, unsigned(4), kernel=(1, 5), pads=(0, 2, 0, 2))
    assert (row.frame, row.kept_rows, row.depth) == ((100, 4, 1), 6, 32)
    column = Window.convolution(100, 1, 4, 2, unsigned(4), kernel=(5, 1), pads=(2, 0, 2, 0))
    assert (column.gather == row.gather).all()
    vector = Window.slice(1, 1, 40, 2, unsigned(4), start=(0, 0, 3), stop=(1, 1, 30))
    assert (vector.frame, vector.depth) == ((40, 1, 1), 2)
    assert vector.gather.tolist() == list(range(3, 30))
    padded = Window.convolution(1, 6, 1, 1, unsigned(4), kernel=(3, 3), pads=(1, 1, 1, 1))
    assert padded.frame == (1, 6, 1)  # rows of padding are rows


def test_nothing_goes_out_before_a_frame_begins() -> None:
    one = square(4, kernel=(3, 3), pads=(1, 1, 1, 1), pad_value=1)
    trace = simulate([one.schedule], 32, 288, source=np.array([False] * 400 + [True]))
    second = trace.in_cycles[16]
    assert trace.out_cycles[144] == second + 3
    assert trace.out_cycles[143] < second


def test_a_frame_flows_in_while_the_last_rows_of_the_one_before_go_out() -> None:
    one = square(6, kernel=(3, 3))
    trace = simulate([one.schedule], 72, 288)
    assert trace.in_cycles[36 + 5] < trace.out_cycles[143]


def test_words_are_as_wide_as_what_they_carry() -> None:
    zeros = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    assert square(4, kernel=(3, 3)).word_out.type == BIPOLAR  # no padding, so its value does not matter
    assert (square(4, **zeros).word_in.type, square(4, **zeros).word_out.type) == (BIPOLAR, TERNARY)
    assert square(4, **zeros, pad_value=1).word_out.type == BIPOLAR
    assert Window.convolution(4, 4, 1, 1, IntType(3, 9), **zeros, pad_value=-2).word_out.type == IntType(-2, 9)


def test_actions_count_words_read_and_written() -> None:
    one = square(4, words=2, kernel=(3, 3), pads=(1, 1, 1, 1), pad_value=1)
    assert one.actions.buffer_bits_written == 4 * 4 * 2 * 8
    assert one.actions.buffer_bits_read == 10 * 10 * 2 * 8  # along an axis, 2 + 3 + 3 + 2 taps meet the frame
    assert one.memory_bits == 0


def test_the_memory_is_chosen() -> None:
    assert not square(30, kernel=(3, 3)).memories[0].is_block("xilinx")
    assert Window.convolution(30, 30, 1, 64, BIPOLAR, kernel=(3, 3)).memories[0].is_block("xilinx")
    assert square(30, kernel=(3, 3), memory="distributed").resources("xilinx").luts > square(
        30, kernel=(3, 3), memory="block").resources("xilinx").luts
    assert Window.convolution(28, 28, 1, 64, BIPOLAR, kernel=(5, 5)).depth == 6 * 28


BAD = [
    (lambda: square(0, kernel=(1, 1)), r"a kernel of \(1, 1\) with dilation \(1, 1\) does not fit a frame of \(0, 0\) with pads \(0, 0, 0, 0\); "
                                       "pad more or shrink the kernel"),
    (lambda: square(4, kernel=(3, 3), dilation=(2, 2)), r"a kernel of \(3, 3\) with dilation \(2, 2\) does not fit a frame of \(4, 4\) with pads "
                                                        r"\(0, 0, 0, 0\); pad more or shrink the kernel"),
    (lambda: Window.slice(4, 4, 2, 1, BIPOLAR, start=(0, 0, 1), stop=(4, 4, 3)),
     r"a slice from \(0, 0, 1\) to \(4, 4, 3\) of a frame of \(4, 4, 2\) rows, columns and channel words; it needs start < stop <= size"),
    (lambda: Window(4, 4, 0, 1, BIPOLAR, (Loop(1),)), r"a window over 4 x 4 pixels of 0 words of 1 lanes, insert \(1, 1\), loops of \[1\]; every "
                                                      "size must be 1 or more"),
    (lambda: Window.transposed(2, 2, 1, 1, BIPOLAR, kernel=(2, 2), pads=(2, 0, 1, 0)), r".* loops of \[0, 3, 2, 2\]; every size must be 1 or more"),
    (lambda: Window(4, 4, 1, 1, BIPOLAR, ()), r".* loops of \[\]; every size must be 1 or more"),
    (lambda: square(4, kernel=(1, 1), memory="bram"), "a window's memory is 'bram'; choose one of auto, distributed, block")]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_parameters_are_named(make: object, message: str) -> None:
    with pytest.raises(WindowError, match=f"^{message}$"):
        make()


def test_the_schedule_is_a_buffer_and_stalls_nothing_by_itself() -> None:
    assert isinstance(square(4, kernel=(3, 3)).schedule, Buffer)
    assert simulate([square(4, kernel=(1, 1)).schedule], 16, 16, source=ALWAYS, sink=ALWAYS).out_cycles.tolist() == list(range(3, 19))

"""The cycle-exact simulator against a naive per-cycle model, and its errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.dataflow import ALWAYS, Fifo, Fork, SimulationError, Wires, row, simulate
from hwsim.schedule import Buffer, Schedule, Task
from tests.hwsim import naive


def schedule(needs: list[int], emits: list[int], latency: int = 1) -> Schedule:
    return Schedule(np.array(needs, np.bool_), np.array(emits, np.bool_), latency)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    steps = draw(st.integers(1, 6))
    bits = st.lists(st.booleans(), min_size=steps, max_size=steps)
    needs, emits = draw(bits), draw(bits)
    needs[draw(st.integers(0, steps - 1))] = True  # else it runs by itself
    emits[draw(st.integers(0, steps - 1))] = True
    return Schedule(np.array(needs), np.array(emits), draw(st.integers(1, 5)))


@st.composite
def joins(draw: st.DrawFn, inputs: int) -> Schedule:
    """A sequencer with several input streams, none of which it forgets."""
    steps = draw(st.integers(1, 5))
    needs = np.array(draw(st.lists(st.lists(st.booleans(), min_size=inputs, max_size=inputs), min_size=steps, max_size=steps)))
    for n in range(inputs):
        needs[draw(st.integers(0, steps - 1)), n] = True
    emits = np.array(draw(st.lists(st.booleans(), min_size=steps, max_size=steps)))
    emits[draw(st.integers(0, steps - 1))] = True
    return Schedule(needs, emits, draw(st.integers(1, 5)))


@st.composite
def buffers(draw: st.DrawFn) -> Buffer:
    words_in, words_out = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    available = draw(st.lists(st.integers(0, words_in), min_size=words_out, max_size=words_out))
    room = draw(st.lists(st.integers(-2 * words_out, words_out // 2), min_size=words_in, max_size=words_in))
    return Buffer(np.array(available), np.array(room), draw(st.integers(1, 4)))


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    frames = draw(st.lists(st.integers(1, 30).flatmap(lambda busy: st.tuples(st.integers(0, busy), st.just(busy))), min_size=1, max_size=4))
    open_at, busy = np.array(frames).T
    return Task(draw(st.integers(1, 6)), draw(st.integers(1, 6)), open_at, busy, draw(st.integers(0, 12)), draw(st.integers(1, 4)))


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list, list[Wires]]:
    """Blocks that fork and join: a graph of one input and one output."""
    blocks, wires, unread, streams = [], [], [0], 1
    for _ in range(draw(st.integers(1, 7))):
        which = draw(st.sampled_from(["one", "one", "fork", "join"]))
        reads = [unread.pop(draw(st.integers(0, len(unread) - 1))) for _ in range(min(len(unread), draw(st.integers(2, 3)) if which == "join" else 1))]
        makes = draw(st.integers(2, 3)) if which == "fork" else 1
        block = Fork() if which == "fork" else draw(joins(len(reads)) if which == "join" else ANY)
        blocks.append(block)
        wires.append(Wires(tuple(reads), tuple(range(streams, streams + makes))))
        unread += range(streams, streams + makes)
        streams += makes
    if len(unread) > 1:
        blocks.append(draw(joins(len(unread))))
        wires.append(Wires(tuple(unread), (streams,)))
    return blocks, wires


PATTERNS = st.lists(st.booleans(), min_size=1, max_size=12).map(lambda bits: np.array([*bits, True]))
ANY = st.one_of(schedules(), st.builds(Fifo, st.integers(1, 4)), buffers(), tasks())
ROWS = st.lists(ANY, min_size=1, max_size=5)


def agrees(blocks: list, wires: list[Wires], words_in: int, source: np.ndarray, sink: np.ndarray) -> int:
    """Every transfer and every counter is that of the naive model, to the last word and to the deadlock behind it."""
    idle = len(source) + len(sink) + sum(b.period_cycles + b.latency_cycles for b in blocks if isinstance(b, (Schedule, Buffer, Task))) + 20
    witness = naive.run(blocks, words_in, source, sink, idle, wires)
    assert witness.out_words == list(range(len(witness.out_words)))
    if witness.out_words:
        trace = simulate(blocks, words_in, len(witness.out_words), wires=wires, source=source, sink=sink)
        assert trace.out_cycles.tolist() == witness.out_cycles
        assert trace.in_cycles.tolist() == [cycle for cycle in witness.in_cycles if cycle <= witness.out_cycles[-1]]
        assert np.stack([trace.fired, trace.starved, trace.blocked, trace.peak_words], axis=1).tolist() == witness.counters[-1]
        assert trace.total_cycles == witness.out_cycles[-1] + 1
        drained = simulate(blocks, words_in, len(witness.out_words), wires=wires, source=source, sink=sink, drains=True)
        assert (drained.out_cycles.tolist(), drained.in_cycles.tolist()) == (witness.out_cycles, witness.in_cycles)
    with pytest.raises(SimulationError, match=rf"^the design stops after {len(witness.out_words)} of {len(witness.out_words) + 1} output"
                                              rf" words and takes no more input \({len(witness.in_cycles)} of {words_in} words\); "):
        simulate(blocks, words_in, len(witness.out_words) + 1, wires=wires, source=source, sink=sink)
    return len(witness.out_words)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.integers(1, 40), PATTERNS, PATTERNS)
def test_equals_the_naive_model(blocks: list, words_in: int, source: np.ndarray, sink: np.ndarray) -> None:
    agrees(blocks, row(blocks), words_in, source, sink)


@settings(max_examples=250, deadline=None)
@given(graphs(), st.integers(1, 40), PATTERNS, PATTERNS)
def test_graphs_equal_the_naive_model(graph: tuple[list, list[Wires]], words_in: int, source: np.ndarray, sink: np.ndarray) -> None:
    agrees(*graph, words_in, source, sink)


def residual(depth: int) -> tuple[list, list[Wires]]:
    """A fork, a path of 6 cycles that takes 3 words before it gives one, and beside it a queue."""
    slow = schedule([1, 1, 1, 0, 0], [0, 0, 1, 1, 1], 6)
    add = Schedule(np.ones((1, 2), np.bool_), np.ones(1, np.bool_), 1)
    return [Fork(), slow, Fifo(depth), add], [Wires((0,), (1, 2)), Wires((1,), (3,)), Wires((2,), (4,)), Wires((3, 4), (5,))]


@pytest.mark.parametrize(("depth", "words_out"), [(1, 0), (2, 12), (3, 12), (8, 12)])
def test_a_queue_beside_a_slow_path_must_hold_what_the_path_holds(depth: int, words_out: int) -> None:
    """Three words: the queue's two, and one that waits in front of it, at the fork."""
    blocks, wires = residual(depth)
    assert agrees(blocks, wires, 12, ALWAYS, ALWAYS) == words_out


def test_a_join_takes_its_words_together() -> None:
    """The first stream's word waits for the second's, which is three cycles longer under way."""
    delay = schedule([1], [1], 3)
    add = Schedule(np.array([[True, True], [False, True]]), np.ones(2, np.bool_), 1)
    wires = [Wires((0,), (1, 2)), Wires((1,), (3,)), Wires((2,), (4,)), Wires((4, 3), (5,))]
    trace = simulate([Fork(), delay, Fifo(8), add], 4, 4, wires=wires)
    assert trace.in_cycles.tolist() == [0, 1, 2, 3]
    assert trace.out_cycles.tolist() == [4, 5, 6, 7]
    assert trace.fired.tolist() == [4, 4, 2, 4]


def test_readers_of_a_fork_take_its_word_each_in_its_own_time() -> None:
    """One reader takes a word in every third cycle, the other keeps up; the join takes one of three from the second."""
    slow = schedule([1, 0, 0], [1, 0, 0])
    drop = Schedule(np.array([[True, True]]), np.ones(1, np.bool_), 1)
    wires = [Wires((0,), (1, 2)), Wires((1,), (3,)), Wires((2,), (4,)), Wires((3, 4), (5,))]
    trace = simulate([Fork(), slow, Fifo(2), drop], 4, 4, wires=wires)
    assert trace.in_cycles.tolist() == [0, 3, 6, 9]
    assert trace.peak_words.tolist() == [0, 0, 1, 0]


def test_a_buffer_follows_its_tables() -> None:
    """Gives a pair of words backwards; keeps four words, so the next pair comes in while the first goes out."""
    swap = Buffer(np.array([2, 1]), np.array([-2, -1]), 1)
    trace = simulate([swap], 6, 6)
    assert trace.in_cycles.tolist() == [0, 1, 2, 3, 4, 5]
    assert trace.out_cycles.tolist() == [3, 4, 5, 6, 7, 8]
    tight = Buffer(np.array([2, 1]), np.array([0, 0]), 1)
    assert simulate([tight], 4, 4).in_cycles.tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize("latency", [1, 2, 7, 62])
def test_one_word_takes_the_latency(latency: int) -> None:
    trace = simulate([schedule([1], [1], latency)], 3, 3)
    assert trace.in_cycles.tolist() == [0, 1, 2]
    assert trace.out_cycles.tolist() == [latency, latency + 1, latency + 2]


def test_a_queue_adds_one_cycle_and_of_depth_one_halves_the_rate() -> None:
    assert simulate([Fifo(2)], 4, 4).out_cycles.tolist() == [1, 2, 3, 4]
    assert simulate([Fifo(1)], 4, 4).out_cycles.tolist() == [1, 3, 5, 7]


def test_the_source_holds_its_word_until_it_is_taken() -> None:
    """Offered in cycle 0 only by the pattern, but the block needs nothing before its third step."""
    once = np.array([True] + [False] * 20)
    assert simulate([schedule([0, 0, 1], [0, 0, 1])], 1, 1, source=once).in_cycles.tolist() == [2]


def test_a_stalled_pipeline_fills_up_only_as_far_as_it_moves_as_one() -> None:
    """Registers advance together: with the sink shut, a word stops at the output and bubbles behind it stay."""
    sparse = np.array([True, False, False])
    trace = simulate([schedule([1], [1], 4)], 5, 5, source=sparse, sink=np.array([False] * 40 + [True] * 40))
    assert trace.in_cycles.tolist() == [0, 3, 40, 42, 45]
    assert trace.out_cycles.tolist() == [40, 43, 44, 46, 49]
    assert trace.blocked.tolist() == [36]


def test_no_output_is_a_deadlock_and_names_what_moved() -> None:
    with pytest.raises(SimulationError) as caught:
        simulate([schedule([1, 1], [0, 1])], 3, 2)
    assert str(caught.value) == ("the design stops after 1 of 2 output words and takes no more input (3 of 3 words); offer whole frames, "
                                 "or deepen its FIFOs")


def test_a_shut_port_is_a_deadlock() -> None:
    never = np.zeros(5, np.bool_)
    for patterns in ({"source": never}, {"sink": never}):
        with pytest.raises(SimulationError, match="^the design stops after 0 of 1 output words"):
            simulate([schedule([1], [1])], 1, 1, **patterns)


def test_the_limit_is_kept_and_named() -> None:
    with pytest.raises(SimulationError) as caught:
        simulate([schedule([1], [1])], 10, 10, limit_cycles=7)
    assert str(caught.value) == "the design made 6 of 10 output words in 7 cycles; raise the limit or check the stall patterns"
    assert simulate([schedule([1], [1])], 10, 10, limit_cycles=11).total_cycles == 11


def test_a_long_pause_is_no_deadlock() -> None:
    pause = np.array([False] * 500 + [True])
    trace = simulate([schedule([1], [1]), Fifo(2)], 2, 2, source=pause, sink=pause)
    assert trace.in_cycles.tolist() == [500, 1001]
    assert trace.out_cycles.tolist() == [1001, 1502]


@pytest.mark.parametrize("depth", [0, -1])
def test_a_queue_of_no_words_is_refused(depth: int) -> None:
    with pytest.raises(SimulationError, match=f"^a queue of {depth} words; give it 1 or more$"):
        Fifo(depth)


def test_patterns_repeat() -> None:
    third = np.array([False, False, True])
    assert simulate([Fifo(2)], 4, 4, source=third).in_cycles.tolist() == [2, 5, 8, 11]
    assert simulate([Fifo(2)], 4, 4, sink=third).out_cycles.tolist() == [2, 5, 8, 11]
    assert simulate([Fifo(2)], 4, 4, source=ALWAYS, sink=ALWAYS).out_cycles.tolist() == [1, 2, 3, 4]

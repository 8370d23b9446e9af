"""The cycle-exact simulator against a naive per-cycle model, and its errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.dataflow import ALWAYS, Fifo, SimulationError, simulate
from hwsim.schedule import Schedule
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


PATTERNS = st.lists(st.booleans(), min_size=1, max_size=12).map(lambda bits: np.array([*bits, True]))
ROWS = st.lists(st.one_of(schedules(), st.builds(Fifo, st.integers(1, 4))), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.integers(1, 40), PATTERNS, PATTERNS)
def test_equals_the_naive_model(blocks: list, words_in: int, source: np.ndarray, sink: np.ndarray) -> None:
    idle = 4 * (len(source) + len(sink) + sum(len(b.needs) + b.latency_cycles for b in blocks if isinstance(b, Schedule))) + 20
    witness = naive.run(blocks, words_in, source, sink, idle)
    assert witness.out_words == list(range(len(witness.out_words)))
    if witness.out_words:
        trace = simulate(blocks, words_in, len(witness.out_words), source=source, sink=sink)
        assert trace.out_cycles.tolist() == witness.out_cycles
        assert trace.in_cycles.tolist() == [cycle for cycle in witness.in_cycles if cycle <= witness.out_cycles[-1]]
        assert np.stack([trace.fired, trace.starved, trace.blocked, trace.peak_words], axis=1).tolist() == witness.counters[-1]
        assert trace.total_cycles == witness.out_cycles[-1] + 1
    with pytest.raises(SimulationError, match=rf"^the design stops after {len(witness.out_words)} of {len(witness.out_words) + 1} output"
                                              rf" words and takes no more input \({len(witness.in_cycles)} of {words_in} words\); "):
        simulate(blocks, words_in, len(witness.out_words) + 1, source=source, sink=sink)


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

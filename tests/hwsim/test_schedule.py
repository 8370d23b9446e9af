"""Schedules of every engine: words per round, period, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.engines.argmax import Argmax
from hwsim.engines.fifo import StreamFifo
from hwsim.engines.mvu import ORDERS, Mvu
from hwsim.engines.thresholding import Thresholding
from hwsim.engines.width import Width, converters
from hwsim.schedule import MAX_LATENCY_CYCLES, Schedule
from intir import BIPOLAR, IntType, unsigned


def test_the_properties_count_steps_and_words() -> None:
    one = Schedule(np.array([1, 1, 0, 0, 0], np.bool_), np.array([0, 0, 0, 1, 1], np.bool_), 3)
    assert (one.period_cycles, one.words_in, one.words_out, one.latency_cycles) == (5, 2, 2, 3)


@pytest.mark.parametrize(("needs", "emits"), [([], []), ([True], []), ([True], [True, False])])
def test_steps_must_pair_up(needs: list[bool], emits: list[bool]) -> None:
    with pytest.raises(ValueError, match=f"^a schedule of {len(needs)} needs and {len(emits)} emits; give both per step$"):
        Schedule(np.array(needs, np.bool_), np.array(emits, np.bool_), 1)


@pytest.mark.parametrize("latency", [-1, 0, MAX_LATENCY_CYCLES + 1])
def test_latency_has_bounds(latency: int) -> None:
    with pytest.raises(ValueError, match=f"^a latency of {latency} cycles; a block has 1 to 62$"):
        Schedule(np.ones(1, np.bool_), np.ones(1, np.bool_), latency)


def unit(pe: int, simd: int, order: str = "outputs", inputs: int = 12, outputs: int = 8) -> Mvu:
    acc = IntType(-inputs, inputs, 2)
    return Mvu(inputs, outputs, pe, simd, BIPOLAR, BIPOLAR, acc, 1, IntType(0, inputs), BIPOLAR, order=order)


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 3, 4, 6, 12]), st.sampled_from(ORDERS))
def test_a_matrix_vector_unit_takes_the_vector_once_and_gives_every_output(pe: int, simd: int, order: str) -> None:
    one = unit(pe, simd, order).schedule
    assert (one.words_in, one.words_out, one.period_cycles) == (12 // simd, 8 // pe, (12 // simd) * (8 // pe))
    # No output is complete before the last word of the vector is there.
    assert np.flatnonzero(one.emits)[0] >= np.flatnonzero(one.needs)[-1]


def test_the_orders_place_inputs_and_outputs() -> None:
    first, second = unit(4, 4, "outputs").schedule, unit(4, 4, "inputs").schedule
    assert first.needs.tolist() == [True, True, True, False, False, False]
    assert first.emits.tolist() == [False, False, True, False, False, True]
    assert second.needs.tolist() == [True, False, True, False, True, False]
    assert second.emits.tolist() == [False, False, False, False, True, True]
    assert (first.latency_cycles, second.latency_cycles) == (5, 4)


def test_only_replayed_vectors_take_the_fifth_register() -> None:
    assert [unit(pe, simd, order).latency_cycles for order in ORDERS for pe, simd in [(8, 12), (8, 4), (4, 12), (4, 4)]] \
        == [4, 4, 5, 5, 4, 4, 4, 4]
    assert [unit(4, simd, order).keeps_sums for order in ORDERS for simd in (12, 4)] == [False, False, False, True]


@pytest.mark.parametrize(("common", "pe", "latency"), [(True, 2, 1), (True, 8, 1), (False, 8, 1), (False, 2, 2)])
def test_thresholding_moves_a_word_in_every_step(common: bool, pe: int, latency: int) -> None:
    one = Thresholding(8, pe, unsigned(8), BIPOLAR, 1, common, unsigned(9)).schedule
    assert one.needs.tolist() == one.emits.tolist() == [True] * (8 // pe)
    assert one.latency_cycles == latency


def test_argmax_decides_in_the_last_step() -> None:
    one = Argmax(10, 2, unsigned(4), unsigned(4)).schedule
    assert one.needs.tolist() == [True] * 5
    assert one.emits.tolist() == [False] * 4 + [True]
    assert one.latency_cycles == 2


@pytest.mark.parametrize(("lanes_in", "lanes_out", "needs", "emits"), [
    (2, 6, [1, 1, 1], [0, 0, 1]), (6, 2, [1, 0, 0], [1, 1, 1])])
def test_a_width_converter_moves_its_narrow_side_in_every_step(lanes_in: int, lanes_out: int, needs: list, emits: list) -> None:
    one = Width(lanes_in, lanes_out, BIPOLAR).schedule
    assert one.needs.tolist() == [bool(bit) for bit in needs]
    assert one.emits.tolist() == [bool(bit) for bit in emits]
    assert one.latency_cycles == 1


@given(st.integers(1, 60), st.integers(1, 60))
def test_converters_lead_from_one_width_to_the_other(lanes_in: int, lanes_out: int) -> None:
    chain = converters(lanes_in, lanes_out, BIPOLAR)
    widths = [lanes_in, *(one.lanes_out for one in chain)]
    assert [one.lanes_in for one in chain] == widths[:-1]
    assert widths[-1] == lanes_out
    assert len(chain) == (0 if lanes_in == lanes_out else 1 if max(lanes_in, lanes_out) % min(lanes_in, lanes_out) == 0 else 2)
    for one in chain:
        wide, narrow = max(one.lanes_in, one.lanes_out), min(one.lanes_in, one.lanes_out)
        assert wide % narrow == 0
        assert (one.ratio, one.schedule.period_cycles) == (wide // narrow, wide // narrow)


def test_a_queue_has_no_schedule() -> None:
    with pytest.raises(TypeError, match=r"^a queue has no schedule; the simulator treats it by its depth$"):
        _ = StreamFifo(1, BIPOLAR, 4).schedule

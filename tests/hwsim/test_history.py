"""Histories: bins add up to what a run without them counts, whatever their length, and frames pass blocks when words do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.dataflow import SimulationError, simulate
from hwsim.design import Design
from hwsim.history import BINS, history_of
from hwsim.report import simulate_report
from intir import BIPOLAR, unsigned
from tests.networks import folded, make_design, mlp


def design() -> Design:
    graph = mlp((12, 8, 10), x=unsigned(8), quantize=BIPOLAR, head="argmax")
    return make_design(graph, folded(graph, [(4, 6), (5, 2)], ["outputs", "inputs"]))


@pytest.fixture(scope="module")
def made() -> Design:
    return design()


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 40), bins=st.sampled_from([2, 4, 32, 64, 4096]), seed=st.integers(0, 1000))
def test_bins_add_up(frames: int, bins: int, seed: int) -> None:
    """Against a run without bins; stalls at both ends."""
    rng, made = np.random.default_rng(seed), design_once()
    patterns = {"source": rng.random(7) < 0.7, "sink": rng.random(5) < 0.7}
    patterns["source"][0] = patterns["sink"][0] = True
    plain, binned = made.simulate(frames, **patterns), made.simulate(frames, bins=bins, **patterns)
    assert plain.bins is None and binned.bins is not None
    for name in ("in_cycles", "out_cycles", "fired", "starved", "blocked", "peak_words"):
        assert np.array_equal(getattr(plain, name), getattr(binned, name)), name
    for name in ("fired", "starved", "blocked"):
        assert np.array_equal(getattr(binned.bins, name).sum(axis=0), getattr(plain, name)), name
    assert np.array_equal(binned.bins.peak_words.max(axis=0), plain.peak_words)
    length, total = binned.bins.bin_cycles, plain.total_cycles
    assert length & (length - 1) == 0
    assert len(binned.bins.fired) == -(-total // length) <= bins
    assert length == 1 or total > bins * length // 2  # no longer than it must be


_DESIGN: list[Design] = []


def design_once() -> Design:
    if not _DESIGN:
        _DESIGN.append(design())
    return _DESIGN[0]


def test_joined_bins_are_the_short_ones_joined(made: Design) -> None:
    fine, coarse = made.simulate(9, bins=4096).bins, made.simulate(9, bins=16).bins
    assert fine is not None and coarse is not None and fine.bin_cycles == 1 < coarse.bin_cycles
    starts = np.arange(0, len(fine.fired), coarse.bin_cycles)
    for name in ("fired", "starved", "blocked"):
        assert np.array_equal(np.add.reduceat(getattr(fine, name), starts), getattr(coarse, name)), name
    assert np.array_equal(np.maximum.reduceat(fine.peak_words, starts), coarse.peak_words)


def test_work_and_waits_are_all_cycles(made: Design) -> None:
    report = simulate_report(made, 7, history=True)
    history, trace = report.history, made.simulate(7)
    assert history is not None and history.total_cycles == trace.total_cycles and history.bin_cycles == 1
    for number, (stage, block) in enumerate(zip(made.stages, report.blocks, strict=True)):
        parts = [int(one[:, number].sum()) for one in (history.busy, history.starved, history.blocked)]
        if block.engine in ("fifo", "fork"):
            assert parts == [0, 0, 0]
        else:
            assert parts == [trace.fired[number], block.starved_cycles, block.blocked_cycles], stage.name
            assert sum(parts) == trace.total_cycles
    assert np.array_equal(history.peak_words.max(axis=0), trace.peak_words)
    assert history.bin_ends[-1] == trace.total_cycles


def test_frames_pass_the_blocks_in_order(made: Design) -> None:
    report = simulate_report(made, 6, history=True)
    history = report.history
    assert history is not None
    spans = history.frame_cycles
    assert spans.shape == (len(made.stages), 6, 2) and (spans >= 0).all()
    assert (spans[:, :, 0] < spans[:, :, 1]).all() and (spans[:, 1:, 0] >= spans[:, :-1, 1]).all()
    assert (np.diff(spans[:, :, 0], axis=0) >= 0).all() and (np.diff(spans[:, :, 1], axis=0) >= 0).all()  # the blocks stand in a row
    (unit,) = [n for n, stage in enumerate(made.stages) if stage.name == "l1_mvu"]
    assert [int(last - first) for first, last in spans[unit, 2:]] == [report.initiation_interval_cycles] * 4 \
        or made.stages[unit].cycles_per_frame < report.initiation_interval_cycles
    trace = made.simulate(6)
    assert history.port_cycles[:, 1].tolist() == trace.out_cycles[made.words_out - 1::made.words_out].tolist()
    assert history.port_cycles[:, 0].tolist() == trace.in_cycles[::made.words_in].tolist()
    # The last queue gives a word in the cycle of the last output transfer.
    assert spans[-1, :, 1].tolist() == [last + 1 for last in history.port_cycles[:, 1]]


def test_a_long_run_keeps_a_bounded_history(made: Design) -> None:
    history = simulate_report(made, 3000, history=True).history
    assert history is not None and len(history.busy) <= BINS and history.bin_cycles > 1
    (unit,) = [n for n, stage in enumerate(made.stages) if stage.name == "l1_mvu"]
    assert int(history.busy[:, unit].sum()) == 3000 * made.stages[unit].cycles_per_frame


def test_a_history_needs_bins(made: Design) -> None:
    with pytest.raises(SimulationError, match="a history needs a trace with bins; simulate with bins=4096"):
        history_of(made.stages, made.simulate(2), made.words_in, made.words_out)


def test_a_history_changes_no_report(made: Design) -> None:
    plain, full = simulate_report(made, 4), simulate_report(made, 4, history=True)
    assert plain == full and plain.history is None and full.history is not None
    assert plain.as_dict() == full.as_dict() and "history" not in full.as_dict()


def test_one_bin_is_no_history() -> None:
    made = design_once()
    trace = simulate([stage.timing for stage in made.stages], made.words_in, made.words_out, wires=[stage.wires for stage in made.stages])
    assert trace.bins is None

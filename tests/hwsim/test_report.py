"""Reports: every total is the sum of its parts, and the parts are what a count by hand gives."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hwsim.dataflow import SimulationError
from hwsim.design import Design
from hwsim.report import SUMMED, SimulationReport, simulate_report
from intir import BIPOLAR, unsigned
from tests.networks import folded, make_design, mlp


def design(**options: object) -> Design:
    graph = mlp((12, 8, 10), x=unsigned(8), quantize=BIPOLAR, head="argmax", **options)
    return make_design(graph, folded(graph, [(4, 6), (5, 2)], ["outputs", "inputs"]))


@pytest.fixture(scope="module")
def report() -> SimulationReport:
    return simulate_report(design(), frames=7)


def test_totals_are_sums_of_their_parts(report: SimulationReport) -> None:
    assert set(report.totals) == set(SUMMED)
    for key in SUMMED:
        assert report.totals[key] == sum(getattr(block, key) for block in report.blocks), key
        assert key in {"threshold_read_bytes", "brams", "dsps"} or report.totals[key] > 0, f"{key} is not exercised"


def test_blocks_are_the_designs_stages(report: SimulationReport) -> None:
    stages = design().stages
    assert [(block.name, block.engine, block.layer, block.cycles) for block in report.blocks] \
        == [(stage.name, stage.engine.kind, stage.layer, stage.cycles_per_frame) for stage in stages]
    assert report.sum_of_layers_cycles == 4 + 8 == sum(block.cycles for block in report.blocks if block.engine == "mvu")


def test_a_matrix_unit_by_hand(report: SimulationReport) -> None:
    """12 x 8, binary, pe 4, simd 6: 4 steps of 24 weights; the second group of outputs reads the 12 inputs again."""
    (unit,) = [block for block in report.blocks if block.layer == "fc0" and block.engine == "mvu"]
    assert (unit.pe, unit.simd, unit.cycles, unit.operations, unit.accumulator_bits) == (4, 6, 4, 96, 4)
    assert (unit.weight_bytes, unit.weight_read_bytes) == (12, 12)
    assert (unit.buffer_write_bytes, unit.buffer_read_bytes) == (1.5, 1.5)
    assert (unit.stream_in_bytes, unit.stream_out_bytes) == (1.5, 1)
    assert unit.threshold_bytes == unit.threshold_read_bytes == 8 * 4 / 8
    assert unit.utilisation == 4 / report.initiation_interval_cycles


def test_a_unit_that_keeps_its_sums_by_hand(report: SimulationReport) -> None:
    """8 x 10, pe 5, simd 2: in each of 4 steps over the inputs 10 sums are written, and in all but the first read."""
    (unit,) = [block for block in report.blocks if block.layer == "fc1" and block.engine == "mvu"]
    assert (unit.buffer_write_bytes, unit.buffer_read_bytes) == (4 * 10 * unit.accumulator_bits / 8, 3 * 10 * unit.accumulator_bits / 8)
    assert (unit.threshold_bytes, unit.threshold_read_bytes) == (0, 0)


def test_what_crosses_the_ports(report: SimulationReport) -> None:
    assert report.input_bytes == 12 == report.blocks[0].stream_in_bytes
    assert report.output_bytes == report.blocks[-1].stream_out_bytes == 4 / 8


def test_streams_lose_nothing(report: SimulationReport) -> None:
    for before, after in zip(report.blocks[:-1], report.blocks[1:], strict=True):
        assert before.stream_out_bytes == after.stream_in_bytes


def test_times_follow_from_cycles(report: SimulationReport) -> None:
    ii, latency = design().rate()
    trace = design().simulate(7)
    assert (report.initiation_interval_cycles, report.first_output_latency_cycles) == (ii, latency)
    assert report.frames_per_second == 100e6 / ii
    assert report.latency_us == latency / 100
    assert report.total_cycles == trace.out_cycles[-1] - trace.in_cycles[0] + 1 == latency + 6 * ii + 1
    assert [block.starved_cycles for block in report.blocks] == trace.starved.tolist()
    assert [block.blocked_cycles for block in report.blocks] == trace.blocked.tolist()


def test_the_clock_scales_times_only() -> None:
    slow, made = simulate_report(design()), design()
    fast = simulate_report(replace(made, plan=replace(made.plan, clock_mhz=250.0)))
    assert fast.frames_per_second == pytest.approx(2.5 * slow.frames_per_second)
    assert fast.total_cycles == slow.total_cycles
    assert fast.totals == slow.totals


def test_the_report_is_plain_data(report: SimulationReport) -> None:
    data = json.loads(json.dumps(report.as_dict()))
    assert data["totals"] == report.totals
    assert [block["name"] for block in data["blocks"]] == [block.name for block in report.blocks]
    assert data["frames"] == 7


@pytest.mark.parametrize("frames", [0, -1])
def test_no_frames_is_refused(frames: int) -> None:
    with pytest.raises(SimulationError) as caught:
        simulate_report(design(), frames)
    assert str(caught.value) == f"{frames} frames to simulate; give 1 or more"

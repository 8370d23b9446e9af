"""Generated designs as machines: the exact simulator's cycles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from hwsim.report import simulate_report
from hwsim.systems.dataflow_machine import simulate_graph
from hwsim.systems.machine_file import load_machine
from hwsim.systems.memory import RunError
from tests.networks import mlp


def test_cycles_are_those_of_the_exact_simulator_and_dram_is_at_both_ends() -> None:
    graph = mlp([64, 32, 10])
    machine = load_machine("pynq_z1")
    design = make_design(graph, auto_plan(graph, clock_mhz=machine.clock_mhz, device=machine.array.device))
    for batch in (1, 5, 40):
        report, exact = simulate_graph(graph, machine, batch=batch), simulate_report(design, min(batch, 5))
        total = exact.total_cycles + max(0, batch - 5) * exact.initiation_interval_cycles
        assert total <= report.cycles <= total + machine.dram.latency_ns * machine.clock_mhz / 1e3 + 1
        assert report.dram_bytes == batch * (exact.input_bytes + exact.output_bytes)
        assert report.macs == batch * (64 * 32 + 32 * 10)
        for layer in report.layers:
            assert layer.array_cycles + sum(layer.stall_cycles.values()) == layer.cycles == report.cycles
        assert report.total_pj > 0


def test_a_slow_dram_stretches_the_run() -> None:
    graph = mlp([64, 32, 10])
    machine = load_machine("pynq_z1")
    slow = replace(machine, dram=replace(machine.dram, gb_per_s=1e-4))
    report = simulate_graph(graph, slow, batch=4)
    assert report.dram_bytes / report.seconds == pytest.approx(1e5, rel=0.01)
    assert all(layer.stall_cycles["dram_read"] > 0 for layer in report.layers)


def test_another_kind_of_machine_is_a_sentence() -> None:
    with pytest.raises(RunError, match="machine edge_npu_int8 is of the kind systolic; give one of the kind dataflow"):
        simulate_graph(mlp([4, 2]), load_machine("edge_npu_int8"))

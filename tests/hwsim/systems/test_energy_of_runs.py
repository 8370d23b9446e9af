"""Energy of whole runs: totals are sums of parts, and they scale as they must with clock, batch, width and technology."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.energy import energy_table
from hwsim.energy.scaling import scale
from hwsim.systems.machine_file import load_machine
from hwsim.systems.run import simulate
from hwsim.systems.topologies import topology

machines = st.sampled_from(["eyeriss", "xnor_64", "ternary_64", "tpu_v1", "float16_32"])
runs = settings(max_examples=12, deadline=None)
LENET = topology("lenet5")


def run(machine: str, batch: int = 1, **changes: object):
    return simulate(LENET, replace(load_machine(machine), **changes), batch=batch)


def products(report):
    return sum(count for layer in report.layers for action, count in layer.actions.get("array", {}).items()
               if action.name.endswith("multiply") or action.name == "binary_accumulate")


@runs
@given(machines, st.integers(1, 4))
def test_totals_are_the_sums_of_their_parts(machine: str, batch: int) -> None:
    report = run(machine, batch)
    table = energy_table(load_machine(machine).energy)
    for layer in report.layers:
        assert layer.energy_pj == table.price(layer.actions)
        assert layer.total_pj == pytest.approx(sum(count * table.action_pj(action) for actions in layer.actions.values() for action, count in actions.items()))
    assert report.total_pj == pytest.approx(sum(layer.total_pj for layer in report.layers)) == pytest.approx(sum(report.energy_pj.values()))


@runs
@given(machines, st.floats(0.2, 5))
def test_the_clock_changes_no_product_and_no_leakage_a_second(machine: str, factor: float) -> None:
    base = run(machine)
    other = run(machine, clock_mhz=base.clock_mhz * factor)
    # what moves may change with the tiling, where DRAM is relatively faster or slower; the products are the same
    assert products(other) == products(base)
    leakage = [one.energy_pj.get("leakage", 0.0) / one.seconds for one in (base, other)]
    assert leakage[0] == pytest.approx(leakage[1], rel=1e-6)


@runs
@given(machines, st.integers(2, 4))
def test_a_batch_computes_that_many_times_as_much(machine: str, batch: int) -> None:
    one, many = run(machine), run(machine, batch)
    assert products(many) == pytest.approx(batch * products(one))
    assert many.total_pj > one.total_pj
    assert many.energy_pj["dram"] <= batch * one.energy_pj["dram"] * 1.2  # weights are shared


@runs
@given(machines, st.sampled_from([(28, 0.9), (65, 1.0), (16, 0.8)]))
def test_technology_scales_the_chip_and_leaves_dram(machine: str, to: tuple[float, float]) -> None:
    table = energy_table("45nm")
    one, other = (simulate(LENET, load_machine(machine), table=each) for each in (table, table.scaled(*to)))
    factor = scale(45, 0.9, *to)
    for component, energy in one.energy_pj.items():
        assert other.energy_pj[component] == pytest.approx(energy * (1 if component == "dram" else factor))


def test_wider_operands_take_more() -> None:
    narrow = load_machine("tpu_v1")
    wide = replace(narrow, array=replace(narrow.array, activation_bits=16, weight_bits=16))
    one, other = simulate(LENET, narrow), simulate(LENET, wide)
    assert other.energy_pj["array"] > one.energy_pj["array"]

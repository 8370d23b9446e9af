"""One network on machines and as a design: what runs, at which rate, and why something does not."""

from __future__ import annotations

import numpy as np
import pytest

import intir
from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from hwsim.explore.targets import CLOCK_MHZ, as_design, default_rate, on_machines
from hwsim.systems.machine_file import load_machine
from hwsim.systems.run import simulate
from hwsim.systems.workload import workload_of


def network(values: int, density: float, *, size: int = 128) -> intir.Graph:
    rng = np.random.default_rng(0)
    weights = np.where(rng.random((size, size)) < density, rng.integers(1, values + 1, (size, size)), 0)
    builder = intir.GraphBuilder("g")
    builder.output(builder.node(intir.MatMul(weights), builder.input("x", (size,), intir.unsigned(8))))
    return builder.build()


def test_machines_say_what_they_say_alone() -> None:
    graph = network(15, 0.1)
    for one in on_machines(graph, ("edge_npu_int8", "xnor_64", "eie_64")):
        report = simulate(workload_of(graph), load_machine(one.machine))
        assert (one.latency_us, one.energy_uj, one.why_not) == (1e6 * report.seconds, report.total_pj / 1e6, "")


@pytest.mark.parametrize(("machine", "most"), [("eie_64", 15), ("eie_64_int8", 255)])
def test_how_many_values_eie_holds(machine: str, most: int) -> None:
    fits, does_not = (on_machines(network(values, 0.5), (machine,))[0] for values in (most, most + 1))
    assert fits.latency_us is not None and fits.why_not == ""
    assert does_not.latency_us is None and f"has {most + 1} values besides 0" in does_not.why_not


def test_wider_codes_cost_where_they_are_needed() -> None:
    """The same cycles, which depend on where values are; entries of 12 bits for 8, so more is read."""
    few, many = ([on_machines(network(values, 0.5), (machine,))[0] for machine in ("eie_64", "eie_64_int8")] for values in (15, 200))
    assert (few[0].latency_us, few[0].energy_uj) == (few[1].latency_us, few[1].energy_uj)
    assert many[0].latency_us is None
    energies = few[1].energy_uj, many[1].energy_uj
    assert energies[0] is not None and energies[1] is not None and energies[0] < energies[1]


def test_a_machine_that_cannot_says_why() -> None:
    (one,) = on_machines(network(3, 0.5), ("zcu104x",))
    assert one.latency_us is None and "zcu104x" in one.why_not


def test_designs_keep_to_the_rate_and_have_no_multipliers_in_dsps() -> None:
    graph = network(100, 1.0)
    fps = default_rate(graph) / 4
    made = as_design(graph, fps)
    assert made.resources is not None and made.interval_cycles is not None
    assert made.interval_cycles <= CLOCK_MHZ * 1e6 / fps
    assert made.resources.dsps == 0 and made.engines == "dense"
    faster = as_design(graph, 4 * fps)
    assert faster.resources is not None and faster.resources.luts > made.resources.luts


def test_a_pruned_network_goes_to_a_sparse_engine_where_that_is_smaller() -> None:
    dense, sparse = (as_design(network(15, density, size=1024), 20_000) for density in (1.0, 0.01))
    assert (dense.engines, sparse.engines) == ("dense", "sparse")
    assert dense.resources is not None and sparse.resources is not None and sparse.resources.brams < dense.resources.brams


def test_a_rate_beyond_reach_is_no_design() -> None:
    made = as_design(network(3, 1.0), 1e9)
    assert made.resources is None and "lower the rate" in made.why_not


def test_the_rate_of_a_residual_network() -> None:
    """Whose smallest queues would stop it."""
    builder = intir.GraphBuilder("r")
    x = builder.input("x", (12, 12, 4), intir.unsigned(4))
    inner = builder.node(intir.Conv2d(np.ones((3, 3, 4, 4), np.int64), pads=(1, 1, 1, 1)), x)
    builder.output(builder.node(intir.Add(), inner, x))
    graph = builder.build()
    assert default_rate(graph) == CLOCK_MHZ * 1e6 / make_design(graph, auto_plan(graph)).rate()[0]

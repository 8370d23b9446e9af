"""Plans with sparse engines: what they say, what is refused, and what the report tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwsim import plan as plans
from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from hwsim.plan import Plan, PlanError
from hwsim.report import simulate_report
from intir import Graph, unsigned
from tests.networks import mlp, sparse_mlp


def changed(plan: Plan, **options: Any) -> Plan:
    return replace(plan, layers={name: replace(entry, **options) for name, entry in plan.layers.items()})


@pytest.fixture(scope="module")
def graph() -> Graph:
    return sparse_mlp((40, 24, 32, 10), post="scaled")


def test_a_plan_is_written_and_read(graph: Graph) -> None:
    plan = changed(auto_plan(graph, sparse=8), queue_depth=4, index_bits=3, code_bits=5, read_entries=4, entries=300, weights="loaded")
    design = make_design(graph, plan)
    assert plans.loads(plans.dumps(design.plan)) == design.plan
    engine = design.stages[0].engine
    assert (engine.pes, engine.lanes, engine.queue_depth, engine.index_bits, engine.code_bits, engine.read_entries, engine.entries, engine.loaded) \
        == (8, 8, 4, 3, 5, 4, 300, True)


@pytest.mark.parametrize(("options", "match"), [
    ({"simd": 3}, r"^layer 'fc0': simd, the elements that the sparse engine scans and drains at a time, is 3, which does not divide its 8 PEs; "
                  r"give a divisor of pe, like 2$"),
    ({"simd": None}, "is missing; give a divisor of pe, like 1$"),
    ({"pe": 512, "simd": 1}, r"^layer 'fc0': pe = 512, but a sparse engine has at most 256 PEs; give 256 or fewer$"),
    ({"read_entries": 6}, r"^layer 'fc0': read_entries = 6 is no power of two; give 4 or 8$"),
    ({"code_bits": 3}, r"^layer 'fc0' has 15 different weights besides 0, but codes of 3 bits name 7; share its weights .* or give code_bits = 4$"),
    ({"entries": 20}, r"^layer 'fc0': PE \d stores \d+ entries, padding included, but the plan gives room for entries = 20; give \d+, or more "
                      r"PEs \(pe = 16 makes it about \d+\)$"),
    ({"order": "inputs"}, r"^layer 'fc0': the engine 'eie' has no order, but the plan says 'inputs'; remove that line$"),
    ({"through": "nowhere"}, r"nowhere"),
    ({"through": "act0"}, r"^layer 'fc0': through = 'act0' is a Requant, but the sparse engine ends with a MatMul; what follows has a layer of its "
                          r"own; write through = 'fc0'$"),
])
def test_what_does_not_work_is_refused(graph: Graph, options: dict[str, Any], match: str) -> None:
    with pytest.raises(PlanError, match=match):
        make_design(graph, changed(auto_plan(graph, sparse=8), **options))


def test_networks_without_pruned_products() -> None:
    with pytest.raises(PlanError, match=r"^no MatMul of 'mlp' is for a sparse engine, which wants up to 50% nonzero weights of up to 255 different "
                                        r"values, and activations that can be 0; it has 'fc0' 100% of 2 values, 'fc1' 100% of 2 values; prune"):
        auto_plan(mlp((16, 8, 4)), sparse=8)


def test_a_device_that_is_too_small_names_a_folding_that_fits() -> None:
    graph = sparse_mlp((512, 512), density=0.1, x=unsigned(8))
    plan = replace(auto_plan(graph, sparse=128), device="xc7z010")
    with pytest.raises(PlanError, match=r"layer 'fc0' takes the most, [\d,]+ with pe = 128, simd = 16: it fits with pe = (\d+), simd = 16, [\d,]+ cycles a"
                                        " frame instead of") as caught:
        make_design(graph, plan)
    pes = int(str(caught.value).split("it fits with pe = ")[1].split(",")[0])
    make_design(graph, replace(auto_plan(graph, sparse=pes), device="xc7z010"))


def test_the_report_depends_on_the_data(graph: Graph) -> None:
    design = make_design(graph, auto_plan(graph, sparse=8))
    x = np.random.default_rng(0).integers(0, 16, (6, 40)) * (np.arange(6) % 2)[:, None]
    dense, real = simulate_report(design), simulate_report(design, x=x)
    assert real.frames == 6
    assert real.initiation_interval_cycles < dense.initiation_interval_cycles
    first = real.sparse[0]
    assert first.activation_density == np.count_nonzero(x) / x.size
    assert (dense.sparse[0].activation_density, [one.name for one in dense.sparse]) == (1.0, ["fc0", "fc1", "fc2"])
    (block,) = (one for one in real.blocks if one.engine == "eie")
    assert block.weight_bytes == sum(one.stored_bits for one in real.sparse) / 8
    assert block.operations == pytest.approx(sum(one.ideal_cycles * 8 - one.padding_worked for one in real.sparse), abs=1)

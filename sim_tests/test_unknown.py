"""Whole designs under Icarus, whose registers and memories begin as X: one cycle of reset is enough, and nothing unknown comes out.

The bundle's own harness watches the ports: an unknown valid or ready counts with the differing bits, and so does an unknown bit
of a beat that moves.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.bundle import Bundle, build
from codegen.cosim import FAULTS, run_bench
from hwsim.autoplan import auto_plan
from hwsim.plan import Plan
from intir import Graph, signed, unsigned
from sim_tests.test_graphs import residual, shuffle
from tests.codegen.conftest import every_block
from tests.networks import folded, mlp, sparse_mlp

pytestmark = pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")


def whole(graph: Graph) -> tuple[Graph, Plan]:
    return graph, auto_plan(graph)


def sparse() -> tuple[Graph, Plan]:
    graph = sparse_mlp((12, 8, 6), density=0.4, name="sparse")
    return graph, auto_plan(graph, sparse=2)


def unrolled() -> tuple[Graph, Plan]:
    graph = mlp((7, 9, 5), x=signed(4), w=signed(5), act=unsigned(3), name="unrolled")
    return graph, folded(graph, [(9, 7), (5, 9)])


DESIGNS: dict[str, Callable[[], tuple[Graph, Plan]]] = {
    "dense": every_block, "residual": lambda: whole(residual()), "shuffle": lambda: whole(shuffle()), "sparse": sparse, "unrolled": unrolled}


#: Changes to a bundle's bench.  The step of the clock from X to 0 counts as a falling edge, and one of those is all that `reset`
#: waits for: without the rising edge before it the harness would see no reset, and never end.
ONE_CYCLE = {"    await reset(dut, 3)\n": "    dut.aresetn.value = 0\n    await RisingEdge(dut.aclk)\n    await reset(dut, 1)\n",
             "@cocotb.test()\n": '@cocotb.test(timeout_time=100, timeout_unit="us")\n'}


def simulated(folder: Path, patterns: list[str]) -> dict[str, dict[str, Any]]:
    """Each stall pattern in a simulation of its own, behind a single cycle of reset."""
    bench = folder / "tb" / "bench.py"
    text = bench.read_text()
    for before, after in ONE_CYCLE.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    bench.write_text(text)
    vectors = json.loads((folder / "tb" / "vectors.json").read_text())
    found = {}
    for pattern in patterns:
        found |= run_bench(folder, vectors | {"patterns": {pattern: vectors["patterns"][pattern]}}, "icarus")
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """A design's bundle, built when it is first wanted."""

    @cache
    def bundle(name: str) -> Bundle:
        graph, plan = DESIGNS[name]()
        shape = graph.values[graph.input.value].shape
        kind = graph.values[graph.input.value].type
        frames = np.random.default_rng(1).integers(0, kind.levels, (3, *shape)) * kind.step + kind.lo
        return build(graph, plan, tmp_path_factory.mktemp(name) / "bundle", samples=frames)

    return bundle


@pytest.mark.parametrize("name", DESIGNS)
def test_one_cycle_of_reset_is_enough(name: str, built: Callable[[str], Bundle], tmp_path: Path) -> None:
    made = built(name)
    shutil.copytree(made.path, tmp_path / "copy")
    for pattern, result in simulated(tmp_path / "copy", ["unstalled", "stalling_both"]).items():
        assert {fault: result[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0), (pattern, result["first_difference"])
        assert result["beats"] == 3 * made.design.words_out


def edited(made: Bundle, folder: Path, file: str, change: Callable[[str], str]) -> Path:
    """A copy of a bundle with a change in one file of its RTL."""
    shutil.copytree(made.path, folder / "copy")
    path = folder / "copy" / "rtl" / file
    before = path.read_text()
    after = change(before)
    assert after != before
    path.write_text(after)
    return folder / "copy"


def test_a_valid_that_is_not_reset_is_found(built: Callable[[str], Bundle], tmp_path: Path) -> None:
    """Of the last block, so that nothing behind it hides it."""
    made = built("dense")
    instance = re.search(rf"^    (\w+) {made.design.stages[-1].name} \($", (made.path / "rtl" / f"{made.top}.v").read_text(), re.MULTILINE)
    assert instance
    (result,) = simulated(edited(made, tmp_path, f"{instance[1]}.v", lambda text: re.sub(r"\bif \(rst\)", "if (1'b0)", text)), ["unstalled"]).values()
    assert result["differing_bits"] > 0
    assert "is unknown in cycle 0" in result["first_difference"]


def test_a_payload_bit_that_is_unknown_is_found(built: Callable[[str], Bundle], tmp_path: Path) -> None:
    made = built("unrolled")
    folder = edited(made, tmp_path, f"{made.top}.v", lambda text: re.sub(r"(assign m_axis_tdata = )(.*);", r"\1(\2) ^ 1'bx;", text, count=1))
    (result,) = simulated(folder, ["unstalled"]).values()
    assert result["differing_bits"] >= result["beats"]
    assert result["differing_cycles"] == 0

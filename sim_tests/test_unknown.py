"""Whole designs under Icarus, whose registers and memories begin as X: one cycle of reset is enough, and nothing unknown comes out.

The bundle's own harness watches the ports: an unknown valid or ready counts with the differing bits, and so does an unknown bit
of a beat that moves.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
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


def simulated(folder: Path, patterns: list[str], change: Callable[[str], str] = lambda text: text) -> dict[str, dict[str, Any]]:
    """Each stall pattern in a simulation of its own, behind a single cycle of reset; `change` is made to the top."""
    bench = folder / "tb" / "bench.py"
    text = bench.read_text()
    assert "await reset(dut, 3)" in text
    bench.write_text(text.replace("await reset(dut, 3)", "await reset(dut, 1)"))
    vectors = json.loads((folder / "tb" / "vectors.json").read_text())
    found = {}
    for pattern in patterns:
        found |= run_bench(folder, vectors | {"patterns": {pattern: vectors["patterns"][pattern]}}, "icarus")
    return found


def bundle(name: str, folder: Path) -> Bundle:
    graph, plan = DESIGNS[name]()
    shape = graph.values[graph.input.value].shape
    kind = graph.values[graph.input.value].type
    frames = np.random.default_rng(1).integers(0, kind.levels, (3, *shape)) * kind.step + kind.lo
    return build(graph, plan, folder / "bundle", samples=frames)


@pytest.mark.parametrize("name", DESIGNS)
def test_one_cycle_of_reset_is_enough(name: str, tmp_path: Path) -> None:
    made = bundle(name, tmp_path)
    for pattern, result in simulated(made.path, ["unstalled", "stalling_both"]).items():
        assert {fault: result[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0), (pattern, result["first_difference"])
        assert result["beats"] == 3 * made.design.words_out


def edited(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    after = change(before)
    assert after != before
    path.write_text(after)


def test_a_valid_that_is_not_reset_is_found(tmp_path: Path) -> None:
    """Of the last block, so that nothing behind it hides it."""
    made = bundle("dense", tmp_path)
    last = made.design.stages[-1].name
    edited(made.path / "rtl" / f"{made.top}_{last}.v" if (made.path / "rtl" / f"{made.top}_{last}.v").exists()
           else next((made.path / "rtl").glob("bw_fifo_*.v")), lambda text: re.sub(r"\bif \(rst\)", "if (1'b0)", text))
    (result,) = simulated(made.path, ["unstalled"]).values()
    assert result["differing_bits"] > 0
    assert "is unknown in cycle 0" in result["first_difference"]


def test_a_payload_bit_that_is_unknown_is_found(tmp_path: Path) -> None:
    made = bundle("unrolled", tmp_path)
    edited(made.path / "rtl" / f"{made.top}.v", lambda text: re.sub(r"(assign m_axis_tdata = )(.*);", r"\1(\2) ^ 1'bx;", text, count=1))
    (result,) = simulated(made.path, ["unstalled"]).values()
    assert result["differing_bits"] >= result["beats"]
    assert result["differing_cycles"] == 0

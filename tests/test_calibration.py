"""Estimates of a small design hold against Yosys; `make bench-calibration` holds the bundled ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.calibration.designs import FAMILIES
from benchmarks.calibration.measure import measure
from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from intir import Graph, GraphBuilder, MatMul, Threshold, unsigned


def network() -> Graph:
    """64 values of 4 bits to 24, with thresholds, and to 10."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("small")
    x = build.input("x", (64,), unsigned(4))
    x = build.node(MatMul(rng.integers(-7, 8, (64, 24))), x, name="first")
    rows = np.sort(rng.integers(-900, 900, (24, 3)), axis=1)
    x = build.node(Threshold(rows, unsigned(2)), x)
    build.output(build.node(MatMul(rng.integers(-1, 2, (24, 10))), x, name="second"))
    return build.build()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_design(family: str) -> None:
    graph = network()
    plan = replace(auto_plan(graph, family=family, folding=[(4, 4), (2, 4)]), control="none")
    found = measure("small", make_design(graph, plan))
    assert found.is_met, found.as_dict()
    whole = found.whole
    assert (whole.estimated["block RAMs"], whole.estimated["DSPs"]) == (whole.brams, whole.dsps)
    assert sum(part.luts for part in found.blocks) == whole.luts > 200

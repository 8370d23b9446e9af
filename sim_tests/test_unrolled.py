"""Networks with their weights built in, under Verilator: one frame a cycle, bits and cycles as predicted."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwsim.autoplan import auto_plan
from hwsim.engines.unrolled import Unrolled
from intir import BIPOLAR, TERNARY, Conv2d, Graph, GraphBuilder, MatMul, Threshold, signed, unsigned
from sim_tests.harness import co_verify
from tests.networks import mlp


def six_bits(sizes: tuple[int, ...], seed: int = 0) -> Graph:
    """Random six-bit weights; activations are sums rounded to a power of two and held to six bits."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("six_bits")
    value = build.input("x", (sizes[0],), signed(6))
    sample = rng.integers(-32, 32, (500, sizes[0]))
    for number, shape in enumerate(itertools.pairwise(sizes)):
        weights = rng.integers(-32, 32, shape)
        value, sample = build.node(MatMul(weights), value, name=f"fc{number}"), sample @ weights
        if number < len(sizes) - 2:
            shift = int(np.ceil(np.log2(3 * sample.std() / 64)))
            rows = (np.arange(1, 64) << shift) - (1 << shift - 1)
            value = build.node(Threshold(rows[None], unsigned(6)), value, name=f"act{number}")
            sample = np.searchsorted(rows, sample, side="right")
    build.output(value)
    return build.build()


NETWORKS = {
    "six_bits": six_bits((16, 64, 32, 32, 5)),
    "binary": mlp((96, 32, 32, 10)),
    "ternary": mlp((40, 16, 6), x=TERNARY, w=TERNARY, act=TERNARY, head="levels"),
    "rows": mlp((12, 8, 4), rows=5, x=unsigned(2), w=signed(4), act=unsigned(3)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_unrolled_network(name: str, tmp_path: Path) -> None:
    graph = NETWORKS[name]
    whole = [node.op.weights.shape[::-1] for node in graph.nodes if isinstance(node.op, MatMul)]
    bundle, result = co_verify(graph, auto_plan(graph, folding=whole), tmp_path, frames=20)
    units = [stage.engine for stage in bundle.design.stages if isinstance(stage.engine, Unrolled)]
    assert len(units) == len(whole)
    assert not list((bundle.path / "mem").glob("*weights*"))
    ii, latency = bundle.design.rate()
    assert ii == {"six_bits": 1, "binary": 1, "ternary": 1, "rows": 5}[name]
    assert result.patterns["unstalled"]["first_output_cycle"] == latency


def test_unrolled_convolution(tmp_path: Path) -> None:
    """Behind a window unit: one position a cycle."""
    rng = np.random.default_rng(1)
    build = GraphBuilder("convolution")
    value = build.node(Conv2d(rng.choice([-1, 0, 1], (3, 3, 2, 4)), pads=(1, 1, 1, 1)), build.input("x", (5, 5, 2), unsigned(2)))
    build.output(build.node(Threshold(np.sort(rng.integers(-9, 9, (4, 1)), axis=1), BIPOLAR), value))
    graph = build.build()
    bundle, _ = co_verify(graph, auto_plan(graph, folding=[(4, 18)]), tmp_path, frames=4)
    (unit,) = [stage for stage in bundle.design.stages if isinstance(stage.engine, Unrolled)]
    assert unit.rounds == 25


def test_a_depthwise_convolution_is_no_matrix(tmp_path: Path) -> None:
    """All taps of all channels at a time: as many outputs and inputs as its weights have, but each channel has taps of its own."""
    rng = np.random.default_rng(2)
    build = GraphBuilder("depthwise")
    op = Conv2d(rng.choice([-1, 0, 1], (3, 1, 1, 3)), pads=(1, 0, 1, 0), groups=3)
    build.output(build.node(op, build.input("x", (4, 3, 3), unsigned(2))))
    graph = build.build()
    plan = auto_plan(graph)
    bundle, _ = co_verify(graph, replace(plan, layers={name: replace(entry, pe=3, simd=3) for name, entry in plan.layers.items()}), tmp_path)
    assert [stage.engine.kind for stage in bundle.design.stages if stage.layer][:2] == ["linebuffer", "vvu"]

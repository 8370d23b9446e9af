"""Sparse engines in whole designs: the RTL's bits are the reference's and its cycles hwsim's, which depend on the data."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.lenet300 import model as lenet300
from hwsim.autoplan import auto_plan
from hwsim.plan import Plan
from intir import Conv2d, Graph, GraphBuilder, IntType, MatMul, Requant, Reshape, unsigned
from quant.data import mnist_digits
from quant.lower import host_input
from sim_tests.harness import co_verify
from tests.networks import draw, sparse_mlp


def planned(graph: Graph, pes: int, lanes: int, **options: Any) -> Plan:
    """All products on one engine."""
    plan = auto_plan(graph, sparse=pes)
    return replace(plan, layers={name: replace(entry, simd=lanes, **options) if entry.engine == "eie" else entry
                                 for name, entry in plan.layers.items()})


def frames(graph: Graph, density: float, count: int = 4) -> np.ndarray:
    """Random inputs, of which the first one is all zero and the last one has no zero."""
    kind, shape = graph.values[graph.input.value].type, graph.values[graph.input.value].shape
    rng = np.random.default_rng(1)
    x = draw(kind, (count, *shape), rng) * (rng.random((count, *shape)) < density)
    x[0], x[-1] = 0, kind.hi
    return x


@pytest.mark.parametrize(("sizes", "post", "pes", "lanes", "options"), [
    ((40, 24, 32, 10), "scaled", 8, 8, {}),
    ((45, 31, 7), "requant", 4, 2, {"queue_depth": 2, "index_bits": 1, "read_entries": 1}),
    ((16, 12, 20, 9), "thresholds", 12, 6, {"queue_depth": 3, "index_bits": 3, "read_entries": 4}),
    ((30, 50, 6), "clip", 1, 1, {"read_entries": 16}),
    ((33, 5), "requant", 16, 16, {"code_bits": 6}),
    ((12, 5, 3, 7), "scaled", 16, 16, {}),  # more lanes than an inner layer has outputs
])
def test_engines(sizes: tuple[int, ...], post: str, pes: int, lanes: int, options: dict[str, int], tmp_path: Path) -> None:
    graph = sparse_mlp(sizes, post=post, seed=sum(sizes), name=f"sparse_{pes}_{post}")
    bundle, result = co_verify(graph, planned(graph, pes, lanes, **options), tmp_path, x=frames(graph, 0.4))
    assert [stage.engine.kind for stage in bundle.design.stages].count("eie") == 1
    unstalled, trace = result.patterns["unstalled"], bundle.design.with_frames(frames(graph, 0.4)).simulate(4, drains=True)
    assert unstalled["last_output_cycle"] == trace.out_cycles[-1] < bundle.design.simulate(4).out_cycles[-1]


def test_loaded_weights(tmp_path: Path) -> None:
    """Weights come over a port of their own, before the frames of every stall pattern; other weights give other results."""
    graph = sparse_mlp((40, 24, 32, 10), post="scaled", name="loaded")
    bundle, _ = co_verify(graph, planned(graph, 8, 4, weights="loaded"), tmp_path, x=frames(graph, 0.4))
    assert [path.name for path in (bundle.path / "mem").iterdir()] == ["loaded_l0_eie_weights.mem"]
    vectors = json.loads((bundle.path / "tb" / "vectors.json").read_text())
    (words,) = vectors["weights"]
    assert words == [f"{int(line, 16):x}" for line in (bundle.path / "mem" / "loaded_l0_eie_weights.mem").read_text().split()]
    engine = bundle.design.stages[0].engine
    memories = (*engine.pointer_memories, engine.matrix_memory)
    book = engine.pes * sum(memory.depth for memory in memories)
    for place in range(book + 1, book + 16):  # the first layer's values, behind the padding's 0
        vectors["weights"][0][place] = f"{int(words[place], 16) ^ 1 << engine.w_type.bits - 1:x}"
    (tmp_path / "other.json").write_text(json.dumps(vectors))
    done = subprocess.run([sys.executable, bundle.path / "tb" / "run.py", "--vectors", tmp_path / "other.json", "--results", tmp_path / "results.json",
                           "--build-dir", tmp_path / "build"], capture_output=True, text=True, check=False)
    results = json.loads((tmp_path / "results.json").read_text())
    assert done.returncode and sum(results["unstalled"][fault] for fault in ("differing_bits", "differing_cycles")) > 0


def test_64_elements_on_1024_by_1024(tmp_path: Path) -> None:
    graph = sparse_mlp((1024, 1024), density=0.1, x=unsigned(8), name="sparse_1024")
    bundle, _ = co_verify(graph, planned(graph, 64, 16), tmp_path, x=frames(graph, 0.35, 3))
    assert bundle.design.stages[0].engine.pes == 64


def test_convolution_before_a_sparse_engine_and_a_dense_product_behind(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    build = GraphBuilder("mixed")
    value = build.input("x", (6, 6, 2), unsigned(4))
    weights = draw(IntType(-3, 3), (3, 3, 2, 4), rng)
    value = build.node(Conv2d(weights), value, name="conv")
    value = build.node(Requant(np.ones(1, np.int64), np.full(1, 3), np.zeros(1, np.int64), "floor", unsigned(4)), value, name="relu")
    value = build.node(Reshape((64,)), value, name="flat")
    pruned = rng.choice([-9, -4, 5, 7], (64, 24)) * (rng.random((64, 24)) < 0.15)
    value = build.node(MatMul(pruned), value, name="pruned")
    value = build.node(Requant(np.ones(1, np.int64), np.full(1, 4), np.zeros(1, np.int64), "half_up", unsigned(4)), value, name="act")
    build.output(build.node(MatMul(draw(IntType(-7, 7), (24, 5), rng)), value, name="dense"))
    graph = build.build()
    plan = auto_plan(graph, sparse=4)
    assert {name: entry.engine for name, entry in plan.layers.items()} == {
        "conv": "mvu", "relu": "requant", "pruned": "eie", "act": "requant", "dense": "mvu"}
    co_verify(graph, plan, tmp_path, x=frames(graph, 0.5))


def test_lenet_300_100_on_64_elements(tmp_path: Path) -> None:
    graph = lenet300.graph()
    x = host_input(graph, mnist_digits().test_images[:3])
    bundle, result = co_verify(graph, planned(graph, 64, 16), tmp_path, x=x)
    assert bundle.design.stages[0].engine.sizes == (784, 300, 100, 10)
    assert result.patterns["unstalled"]["last_output_cycle"] == bundle.design.with_frames(x).simulate(3).out_cycles[-1]

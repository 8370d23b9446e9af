"""Random graphs: the reference and an unmodified onnxruntime compute the same bits.

``BITWRIGHT_GRAPHS`` sets how many (default 2000), ``BITWRIGHT_SEED`` the first seed.  A graph that fails is shrunk and
written to a file that the message names.
"""


from __future__ import annotations

import collections
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from intir import OPS, Graph, run_all, save
from intir.random_graph import random_graph, random_inputs, shrink

GRAPHS = int(os.environ.get("BITWRIGHT_GRAPHS", "2000"))
SEED = int(os.environ.get("BITWRIGHT_SEED", "0"))
BATCH = 5

Stock = Callable[[Graph, dict[str, NDArray[np.int64]]], list[NDArray[np.int64]]]


def disagreement(graph: Graph, stock: Stock) -> str:
    """Where the two differ, or where a value leaves its proven range; empty if nowhere."""
    inputs = random_inputs(graph, BATCH, 1)
    mine = run_all(graph, inputs, keep=tuple(graph.values))
    for name, values in mine.items():
        proven = graph.ranges[name]
        if (values < proven.lo).any() or (values > proven.hi).any() or ((values - proven.lo) % proven.step).any():
            return f"{name} leaves its range"
    theirs = stock(graph, inputs)
    for interface, value in zip(graph.outputs, theirs, strict=True):
        if not np.array_equal(mine[interface.value], value):
            return f"{interface.value} differs in {np.count_nonzero(mine[interface.value] != value)} values"
    return ""


def run_some(seeds: range, stock: Stock) -> collections.Counter[str]:
    used: collections.Counter[str] = collections.Counter()
    for seed in seeds:
        graph = random_graph(seed)
        used.update(node.op.kind for node in graph.nodes)
        if where := disagreement(graph, stock):
            small = shrink(graph, lambda one: bool(disagreement(one, stock)))
            path = Path(tempfile.gettempdir()) / f"bitwright-differential-{seed}.intir"
            save(small, path)
            pytest.fail(f"seed {seed}: {where}; shrunk to {[node.op.kind for node in small.nodes]} in {path}")
    return used


@pytest.mark.parametrize("part", range(8))
def test_reference_equals_onnxruntime(part: int, stock_onnx: Stock) -> None:
    seeds = range(SEED + part, SEED + GRAPHS, 8)
    print(f"seeds {seeds}")
    used = run_some(seeds, stock_onnx)
    if len(seeds) >= 200:
        assert set(used) == set(OPS)


def test_a_broken_operation_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch, stock_onnx: Stock) -> None:
    stock = stock_onnx
    from intir import MaxPool2d

    right = MaxPool2d.evaluate
    monkeypatch.setattr(MaxPool2d, "evaluate", lambda self, x, ranges: right(self, x, ranges=ranges) - 1)
    broken = next(graph for graph in map(random_graph, range(1000))
                  if any(node.op.kind == "MaxPool2d" for node in graph.nodes) and disagreement(graph, stock))
    small = shrink(broken, lambda one: bool(disagreement(one, stock)))
    assert [node.op.kind for node in small.nodes] == ["MaxPool2d"]

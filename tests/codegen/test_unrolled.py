"""The unrolled matrix-vector unit in Amaranth's simulator: weights and types of all kinds against numpy and hwsim."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.blocks.unrolled import UnrolledBlock
from hwsim.engines.unrolled import Unrolled
from intir import BIPOLAR, TERNARY, Graph, GraphBuilder, IntType, MatMul, Threshold, run, signed, unsigned
from tests.codegen.harness import check
from tests.networks import folded, make_design

FRAMES = 6
KINDS = [
    (BIPOLAR, BIPOLAR),
    (BIPOLAR, TERNARY),
    (unsigned(1), BIPOLAR),
    (unsigned(1), signed(4)),
    (TERNARY, TERNARY),
    (unsigned(2), signed(3)),
    (signed(4), IntType(-3, 3, 2)),
    (IntType(-3, 3, 2), IntType(-3, 3, 2)),
    (IntType(0, 6, 3), unsigned(2)),
    (unsigned(8), IntType(1, 1)),
    (IntType(3, 9), signed(9)),
    (IntType(5, 5), signed(3)),
]
LEVELS = {0: None, 1: BIPOLAR, 3: unsigned(2), 15: signed(4)}


def network(weights: np.ndarray, x: IntType, thresholds: int, seed: int) -> tuple[Graph, np.ndarray]:
    """One layer, and frames for it; some sums lie on a threshold."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("unit")
    value = build.node(MatMul(weights), build.input("x", (len(weights),), x), name="fc")
    frames = rng.integers(0, x.levels, (FRAMES, len(weights))) * x.step + x.lo
    out = LEVELS[thresholds]
    if out is not None:
        sums = np.concatenate([frames @ weights, (rng.integers(0, x.levels, (20, len(weights))) * x.step + x.lo) @ weights])
        value = build.node(Threshold(np.sort(sums[:thresholds].T, axis=1), out), value)
    build.output(value)
    return build.build(), frames


def unit(graph: Graph) -> Unrolled:
    op = graph.nodes[0].op
    engine = make_design(graph, folded(graph, [op.weights.shape[::-1]])).stages[0].engine  # type: ignore[attr-defined]
    assert isinstance(engine, Unrolled)
    return engine


@pytest.mark.parametrize("thresholds", LEVELS)
@pytest.mark.parametrize(("x_type", "w_type"), KINDS, ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(12, 6), (1, 1), (7, 1), (1, 5)])
def test_every_type(x_type: IntType, w_type: IntType, inputs: int, outputs: int, thresholds: int) -> None:
    rng = np.random.default_rng(inputs + thresholds)
    weights = rng.integers(0, w_type.levels, (inputs, outputs)) * w_type.step + w_type.lo
    graph, x = network(weights, x_type, thresholds, seed=thresholds)
    engine = unit(graph)
    check(UnrolledBlock(engine), engine, x, run(graph, x))

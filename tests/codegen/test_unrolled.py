"""The unrolled matrix-vector unit in Amaranth's simulator: weights and types of all kinds against numpy and hwsim."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.blocks.unrolled import UnrolledBlock
from codegen.generate import generate
from codegen.yosys import synthesize
from hwsim.engines.unrolled import Unrolled, unrolled
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


def test_out_of_reach_and_uniform_thresholds() -> None:
    """Thresholds far away on both sides, and evenly spaced ones, of sums that are added and subtracted."""
    rng = np.random.default_rng(9)
    weights = np.hstack([rng.integers(-20, 21, (9, 3)), np.zeros((9, 1), np.int64)])
    weights = np.hstack([weights, -weights, 4 * weights])
    x_type, out = unsigned(4), unsigned(4)
    x = rng.integers(0, 16, (30, 9))
    for rows in ((np.arange(15) - 7) << 5, (np.arange(15) << 4) + 3, (np.arange(15) << 40) - 5, np.sort(rng.integers(-900, 900, 15)),
                 np.array([-10**15] * 5 + [0] * 5 + [10**15] * 5)):
        engine = unrolled(weights, x_type, out, np.broadcast_to(rows, (12, 15)))
        check(UnrolledBlock(engine), engine, x, (((x @ weights)[..., None]) >= rows).sum(axis=-1))


@pytest.mark.parametrize("levels", [1, 2, 50])
def test_registers_every_so_many_levels(levels: int) -> None:
    rng = np.random.default_rng(10)
    weights, x = rng.choice([-1, 0, 1], (20, 5)), rng.integers(0, 4, (FRAMES, 20))
    engine = unrolled(weights, unsigned(2), signed(8), levels_per_stage=levels)
    assert (engine.latency_cycles == 1) == (levels == 50)
    check(UnrolledBlock(engine), engine, x, x @ weights)


def test_zero_and_repeated_weights_are_no_luts_after_yosys() -> None:
    """The estimate is what Yosys counts, and neither zeros nor repeated, negated and shifted columns add a LUT to the graph."""
    rng = np.random.default_rng(11)
    once = rng.integers(-8, 9, (8, 3))
    spread = np.zeros((16, 9), np.int64)
    spread[::2] = np.hstack([once, -once, 4 * once])[:, [0, 3, 6, 1, 4, 7, 2, 5, 8]]
    found = []
    for weights in (once, spread):
        build = GraphBuilder("matrix")
        build.output(build.node(MatMul(weights), build.input("x", (len(weights),), unsigned(4))))
        graph = build.build()
        design = make_design(graph, folded(graph, [weights.shape[::-1]]))
        engine = design.stages[0].engine
        assert isinstance(engine, Unrolled)
        rtl = generate(design, "0")
        result = synthesize({**rtl.verilog}, "matrix_l0_unrolled_graph", "xilinx")
        found.append(result.luts)
        assert engine.graph.node_luts == result.luts
    assert found[0] == found[1] > 0

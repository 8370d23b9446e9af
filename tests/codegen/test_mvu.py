"""The matrix-vector unit in Amaranth's simulator: every arithmetic, order and kind of folding against numpy and hwsim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codegen.blocks.mvu import MvuBlock
from hwsim.dataflow import Wires
from hwsim.design import Stage
from hwsim.engines.mvu import ORDERS, Mvu
from hwsim.layers import collect
from hwsim.plan import LayerPlan
from intir import BIPOLAR, TERNARY, Conv2d, Graph, GraphBuilder, IntType, MatMul, Threshold, run, signed, unsigned
from tests.codegen.harness import check
from tests.networks import draw, folded, make_design

INPUTS, OUTPUTS, FRAMES = 12, 6, 5
#: Whole, folded over inputs, over outputs, over both (powers of two and not), one by one.
FOLDINGS = [(6, 12), (6, 3), (2, 12), (3, 4), (2, 3), (1, 1)]
#: Levels of the output, by thresholds: all compared at once up to three, found by bisection from there on.
LEVELS = {0: None, 1: BIPOLAR, 3: unsigned(2), 6: IntType(-3, 3), 15: signed(4)}
KINDS = [
    (BIPOLAR, BIPOLAR),  # xnor
    (BIPOLAR, TERNARY),
    (unsigned(1), BIPOLAR),
    (unsigned(2), signed(3)),
    (signed(4), IntType(-3, 3, 2)),
    (IntType(-3, 3, 2), IntType(-3, 3, 2)),
    (IntType(0, 6, 3), unsigned(2)),
    (unsigned(8), IntType(1, 1)),
]


def network(x: IntType, w: IntType, thresholds: int, seed: int) -> tuple[Graph, np.ndarray]:
    """One layer, and frames for it; some sums lie on a threshold."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("unit")
    weights = draw(w, (INPUTS, OUTPUTS), rng)
    value = build.node(MatMul(weights), build.input("x", (INPUTS,), x), name="fc")
    frames = draw(x, (FRAMES, INPUTS), rng)
    out = LEVELS[thresholds]
    if out is not None:
        sums = np.concatenate([frames @ weights, draw(x, (20, INPUTS), rng) @ weights])
        value = build.node(Threshold(np.sort(sums[:thresholds].T, axis=1), out), value)
    build.output(value)
    return build.build(), frames


def unit(graph: Graph, pe: int, simd: int, order: str) -> Stage:
    (layer,) = collect(graph)
    if (pe, simd) == (layer.outputs, layer.inputs):  # a plan makes this an `unrolled` unit; the block can do it, too
        engine, rows = layer.unit(LayerPlan("mvu", pe, simd, order), "xilinx", layer.x_types[0])
        constants = {"weights": layer.weights} | ({} if rows is None else {"thresholds": rows})
        return Stage("whole", engine, layer.name, 1, Wires((0,), (1,)), constants)
    return make_design(graph, folded(graph, [(pe, simd)], order)).stages[0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("pe", "simd"), FOLDINGS)
@pytest.mark.parametrize("thresholds", LEVELS)
def test_every_folding(pe: int, simd: int, order: str, thresholds: int) -> None:
    graph, x = network(BIPOLAR, BIPOLAR, thresholds, seed=pe)
    stage = unit(graph, pe, simd, order)
    assert stage.engine.arithmetic == "xnor"
    assert stage.engine.thresholds == thresholds
    check(MvuBlock(stage.engine, stage.constants["weights"], stage.constants.get("thresholds"), "u"), stage.engine, x, run(graph, x), simd)


@pytest.mark.parametrize(("pe", "simd", "order", "thresholds"), [
    (2, 3, "outputs", 0), (2, 3, "outputs", 3), (2, 3, "inputs", 0), (2, 3, "inputs", 1), (6, 4, "outputs", 15), (2, 12, "inputs", 3)])
@pytest.mark.parametrize(("x_type", "w_type"), KINDS[1:], ids=str)
def test_every_arithmetic(x_type: IntType, w_type: IntType, pe: int, simd: int, order: str, thresholds: int) -> None:
    graph, x = network(x_type, w_type, thresholds, seed=thresholds)
    stage = unit(graph, pe, simd, order)
    assert stage.engine.arithmetic == ("integer" if w_type == IntType(1, 1) else "planes")
    assert (stage.engine.x_type, stage.engine.w_type) == (x_type, w_type)
    check(MvuBlock(stage.engine, stage.constants["weights"], stage.constants.get("thresholds"), "u"), stage.engine, x, run(graph, x))


@pytest.mark.parametrize("family", ["xilinx", "ecp5", "generic"])
def test_every_family_counts_alike(family: str) -> None:
    graph, x = network(BIPOLAR, BIPOLAR, 1, seed=1)
    plan = replace(folded(graph, [(2, 6)]), family=family)
    stage = make_design(graph, plan).stages[0]
    assert stage.engine.family == family
    check(MvuBlock(stage.engine, stage.constants["weights"], stage.constants.get("thresholds"), "u"), stage.engine, x, run(graph, x))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weights", ["ones", "minus ones", "zeros"])
def test_weights_of_one_value(weights: str, order: str) -> None:
    value = {"ones": 1, "minus ones": -1, "zeros": 0}[weights]
    build = GraphBuilder("unit")
    build.output(build.node(MatMul(np.full((4, 4), value)), build.input("x", (4,), BIPOLAR)))
    graph, x = build.build(), draw(BIPOLAR, (FRAMES, 4), np.random.default_rng(0))
    stage = unit(graph, 2, 2, order)
    check(MvuBlock(stage.engine, stage.constants["weights"], None, "u"), stage.engine, x, x @ np.full((4, 4), value))


def test_thresholds_out_of_reach() -> None:
    """Far beyond the sums on both sides: they are moved to the ends of the range, and the comparison stays narrow."""
    build = GraphBuilder("unit")
    weights = draw(BIPOLAR, (5, 4), np.random.default_rng(2))
    rows = np.array([[-10**9, 10**9, 10**12], [-5, 5, 6], [-6, 0, 1], [-10**15, -10**15, -10**15]])
    value = build.node(MatMul(weights), build.input("x", (5,), BIPOLAR))
    build.output(build.node(Threshold(rows, unsigned(2)), value))
    graph = build.build()
    x = draw(BIPOLAR, (40, 5), np.random.default_rng(3))
    x[:2] = weights[:, 1], -weights[:, 1]  # the extremes of channel 1
    stage = unit(graph, 2, 5, "outputs")
    assert stage.engine.threshold_type.bits <= 3
    levels = (x @ weights)[..., None] >= rows
    assert set(levels.sum(axis=-1)[:, 1].tolist()) == {1, 2}
    check(MvuBlock(stage.engine, stage.constants["weights"], stage.constants.get("thresholds"), "u"), stage.engine, x, levels.sum(axis=-1))


def test_the_accumulator_is_as_wide_as_the_range_and_no_wider() -> None:
    graph, _ = network(unsigned(8), signed(3), 0, seed=0)
    engine = unit(graph, 2, 3, "inputs").engine
    assert isinstance(engine, Mvu)
    bounds = graph.ranges["fc"]
    assert engine.accumulator_bits == IntType(int(bounds.lo.min()), int(bounds.hi.max())).bits


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("pe", "simd"), [(4, 3), (2, 3), (1, 1), (2, 1), (4, 1)])
@pytest.mark.parametrize(("x_type", "w_type"), [(BIPOLAR, BIPOLAR), (signed(3), TERNARY), (unsigned(3), signed(3))], ids=str)
def test_groups(x_type: IntType, w_type: IntType, pe: int, simd: int, order: str) -> None:
    """Three vectors of three inputs a round, each with a matrix for its four outputs, and thresholds of their own."""
    rng = np.random.default_rng(pe)
    weights = rng.integers(0, w_type.levels, (3, 12)) * w_type.step + w_type.lo
    build = GraphBuilder("unit")
    value = build.node(Conv2d(weights.reshape(1, 1, 3, 12), groups=3), build.input("x", (2, 2, 9), x_type), name="fc")
    bounds = build.ranges[value]
    rows = np.sort(rng.integers(bounds.lo[:, None], bounds.hi[:, None] + 2, (12, 3)), axis=1)
    build.output(build.node(Threshold(rows, unsigned(2)), value))
    graph, x = build.build(), draw(x_type, (FRAMES, 2, 2, 9), rng)
    stage = unit(graph, pe, simd, order)
    assert stage.engine.groups == 3
    check(MvuBlock(stage.engine, stage.constants["weights"], stage.constants["thresholds"], "u"), stage.engine, x, run(graph, x), simd)

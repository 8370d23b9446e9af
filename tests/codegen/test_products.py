"""The arithmetics of matrix-vector and depthwise units in Amaranth's simulator, against numpy and the IR."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codegen.blocks.mvu import MvuBlock
from codegen.blocks.vvu import VvuBlock
from hwsim.engines.mvu import Mvu
from hwsim.engines.products import Products
from hwsim.engines.vvu import Vvu
from intir import BIPOLAR, TERNARY, Conv2d, Graph, GraphBuilder, IntType, L1MatMul, MatMul, Op, Threshold, run, signed, unsigned
from intir.ops.windows import taps
from tests.codegen.harness import check

Int64 = np.ndarray
INPUTS, OUTPUTS, FRAMES = 12, 6, 5
#: (pe, simd, order, levels of the thresholds' output or None)
FOLDINGS = [(6, 12, "outputs", None), (2, 3, "outputs", unsigned(2)), (3, 4, "inputs", None), (2, 12, "inputs", BIPOLAR), (1, 1, "outputs", None)]
#: Operands, and the arithmetic they make.
KINDS = [
    (unsigned(1), unsigned(1), "planes"),
    (unsigned(1), BIPOLAR, "planes"),
    (TERNARY, BIPOLAR, "planes"),
    (BIPOLAR, TERNARY, "planes"),
    (TERNARY, TERNARY, "planes"),
    (TERNARY, unsigned(1), "planes"),
    (signed(5), BIPOLAR, "planes"),
    (unsigned(3), TERNARY, "planes"),
    (IntType(-6, 9, 3), BIPOLAR, "planes"),
    (IntType(-3, 3, 2), TERNARY, "planes"),
    (IntType(-20, 100), unsigned(1), "planes"),
    (signed(4), signed(3), "planes"),
    (BIPOLAR, signed(3), "planes"),
    (unsigned(2), IntType(-3, 3, 2), "planes"),
    (IntType(-6, 9, 3), IntType(-14, 14, 4), "planes"),
    (IntType(-3, 3, 2), unsigned(3), "planes"),
    (unsigned(2), IntType(-4, 2, 3), "integer"),
    (IntType(-7, 7, 2), IntType(-6, 6, 4), "planes"),
    (signed(4), IntType(-9, 9, 3), "integer"),
    (signed(5), signed(4), "integer"),
    (unsigned(8), signed(8), "integer"),
    (IntType(5, 5), BIPOLAR, "integer"),
]


def draw(kind: IntType, shape: tuple[int, ...], rng: np.random.Generator) -> Int64:
    return rng.integers(0, kind.levels, shape) * kind.step + kind.lo


def network(op: Op, kind: IntType, shape: tuple[int, ...], out: IntType | None, x: Int64, channels: int) -> tuple[Graph, Int64 | None]:
    """One layer, and its thresholds: sums that occur."""
    build = GraphBuilder("unit")
    value = build.node(op, build.input("x", shape, kind), name="sum")
    rows = None
    if out is not None:
        alone = GraphBuilder("sums")
        alone.output(alone.node(op, alone.input("x", shape, kind)))
        rows = np.sort(run(alone.build(), x).reshape(-1, channels)[:out.levels - 1].T, axis=1)
        value = build.node(Threshold(rows, out), value)
    build.output(value)
    return build.build(), rows


def engine(cls: type[Mvu], graph: Graph, rows: Int64 | None, out: IntType | None, w: Int64, w_type: IntType, pe: int, simd: int,
           kind: IntType, **more: object) -> tuple[Mvu, Int64 | None]:
    acc = graph.ranges["sum"].type
    unit = cls(len(w), w.shape[1], pe, simd, kind, w_type, acc, 0, acc, out or acc, **more)
    if rows is None:
        return unit, None
    if unit.arithmetic == "xnor":
        rows = -((-rows - unit.inputs) // 2)
    bounds = unit.counter_type
    rows = rows.clip(bounds.lo, bounds.hi + 1)
    kinds = IntType(min(bounds.lo, int(rows.min())), max(bounds.hi, int(rows.max())))
    return replace(unit, thresholds=rows.shape[1], threshold_type=kinds), rows


@pytest.mark.parametrize(("x_type", "w_type", "arithmetic", "folding"), [
    (*kind, FOLDINGS[(n + more) % 5]) for n, kind in enumerate(KINDS) for more in (0, 1)], ids=str)
def test_products(x_type: IntType, w_type: IntType, arithmetic: str, folding: tuple[int, int, str, IntType | None]) -> None:
    pe, simd, order, out = folding
    rng = np.random.default_rng(pe)
    weights, x = draw(w_type, (INPUTS, OUTPUTS), rng), draw(x_type, (FRAMES, INPUTS), rng)
    x[0], x[1] = x_type.lo, x_type.hi
    weights[:, 0], weights[:, 1] = w_type.lo, w_type.hi
    graph, rows = network(MatMul(weights), x_type, (INPUTS,), out, x, OUTPUTS)
    unit, rows = engine(Mvu, graph, rows, out, weights, w_type, pe, simd, x_type, order=order)
    assert unit.arithmetic == arithmetic
    check(MvuBlock(unit, weights, rows, "u"), unit, x, run(graph, x))


@pytest.mark.parametrize(("x_type", "w_type", "folding"), [
    (signed(4), signed(3), FOLDINGS[0]), (unsigned(2), signed(4), FOLDINGS[1]), (BIPOLAR, BIPOLAR, FOLDINGS[2]),
    (IntType(-3, 3, 2), TERNARY, FOLDINGS[3]), (unsigned(3), IntType(-9, 9, 3), FOLDINGS[4])], ids=str)
def test_distances(x_type: IntType, w_type: IntType, folding: tuple[int, int, str, IntType | None]) -> None:
    pe, simd, order, out = folding
    rng = np.random.default_rng(pe)
    weights, x = draw(w_type, (INPUTS, OUTPUTS), rng), draw(x_type, (FRAMES, INPUTS), rng)
    graph, rows = network(L1MatMul(weights), x_type, (INPUTS,), out, x, OUTPUTS)
    unit, rows = engine(Mvu, graph, rows, out, weights, w_type, pe, simd, x_type, order=order, distance=True)
    assert unit.arithmetic == "distance"
    check(MvuBlock(unit, weights, rows, "u"), unit, x, run(graph, x))


@pytest.mark.parametrize(("channels", "pe", "x_type", "w_type", "out"), [
    (1, 1, unsigned(4), signed(3), None),
    (6, 1, signed(4), signed(4), unsigned(2)),
    (6, 3, unsigned(8), BIPOLAR, signed(2)),
    (6, 6, TERNARY, TERNARY, None),
    (6, 2, BIPOLAR, BIPOLAR, BIPOLAR),
    (4, 2, BIPOLAR, BIPOLAR, None),
    (4, 2, IntType(-3, 3, 2), IntType(-3, 3, 2), unsigned(1)),
    (4, 1, unsigned(2), unsigned(1), None),
], ids=str)
def test_depthwise(channels: int, pe: int, x_type: IntType, w_type: IntType, out: IntType | None) -> None:
    """Against the IR's grouped convolution; windows come with all taps of `pe` channels after each other."""
    rng = np.random.default_rng(channels + pe)
    weights, x = draw(w_type, (2, 3, 1, channels), rng), draw(x_type, (2, 3, 5, channels), rng)
    weights[0, 0, 0, 0], weights[0, 1, 0, 0] = w_type.lo, w_type.hi
    op = Conv2d(weights, stride=(1, 2), groups=channels)
    graph, rows = network(op, x_type, x.shape[1:], out, x, channels)
    flat = weights.reshape(6, channels)
    unit, rows = engine(Vvu, graph, rows, out, flat, w_type, pe, 1, x_type)
    view = taps(x, (2, 3), (1, 2), (1, 1)).reshape(2, 2, 2, 6, channels // pe, pe).swapaxes(3, 4)
    assert unit.schedule.period_cycles == 6 * channels // pe
    check(VvuBlock(unit, flat, rows, "u"), unit, view, run(graph, x))


@pytest.mark.parametrize(("x_type", "w_type"), [(signed(8), BIPOLAR), (TERNARY, TERNARY), (unsigned(4), unsigned(1)), (IntType(-6, 9, 3), TERNARY)], ids=str)
def test_starts_by_hand(x_type: IntType, w_type: IntType) -> None:
    """sum x * w == step * sum of 2**b * agreements of bit b + start."""
    rng = np.random.default_rng(0)
    x, w = draw(x_type, (50, 9), rng), draw(w_type, (9, 1), rng)
    one = Products(9, x_type, w_type)
    codes = (x - one.x_origin) // x_type.step
    bits = codes[..., None] >> np.arange(x_type.bits) & 1
    agree = (bits == (w > 0)) & (w != 0)
    total = (agree.sum(axis=1) << np.arange(x_type.bits)).sum(axis=1) * x_type.step + one.start(w)
    assert total.tolist() == (x @ w)[:, 0].tolist()

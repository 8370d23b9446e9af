"""Pools in Amaranth's simulator: the bits of the IR's operations, the cycles of hwsim."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.blocks.pool import PoolBlock
from hwsim.engines.pool import Pool
from intir import BIPOLAR, TERNARY, Graph, GraphBuilder, IntType, run, signed, unsigned
from intir import ops as ir
from intir.ops.windows import taps
from tests.codegen.harness import check

FRAMES = 4
KINDS = [BIPOLAR, TERNARY, unsigned(1), signed(4), IntType(-3, 3, 2), IntType(-9, 12, 3), IntType(-200, -190)]
#: (channels, pe, order)
FOLDINGS = [(1, 1, "taps"), (6, 1, "taps"), (6, 6, "channels"), (6, 2, "channels"), (6, 2, "taps")]
#: Every type with one folding, every folding with one type.
CASES = [(kind, *FOLDINGS[3 + n % 2]) for n, kind in enumerate(KINDS)] + [(KINDS[4], *folding) for folding in FOLDINGS]


def network(op: ir.Op, kind: IntType, shape: tuple[int, ...]) -> Graph:
    build = GraphBuilder("unit")
    build.output(build.node(op, build.input("x", shape, kind), name="pool"))
    return build.build()


def inputs(kind: IntType, shape: tuple[int, ...], seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).integers(0, kind.levels, (FRAMES, *shape)) * kind.step + kind.lo
    x[0], x[1] = kind.lo, kind.hi
    return x


def windows(x: np.ndarray, op: ir.MaxPool2d | ir.SumPool2d, pad: int, pe: int, order: str) -> np.ndarray:
    """The words that a window block gives: per pixel, taps of `pe` channels after each other, or all channels of each tap."""
    top, left, bottom, right = op.pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=pad)
    view = taps(x, op.kernel, op.stride, op.dilation)
    view = view.reshape(*view.shape[:3], -1, view.shape[-1] // pe, pe)
    return view.swapaxes(3, 4) if order == "taps" else view


@pytest.mark.parametrize(("kind", "channels", "pe", "order"), CASES, ids=str)
def test_max_pool(kind: IntType, channels: int, pe: int, order: str) -> None:
    """Padding is the least value of the type: it never wins over the input that every window meets."""
    op = ir.MaxPool2d((2, 3), (1, 2), pads=(1, 1, 0, 2))
    x = inputs(kind, (2, 4, channels), pe)
    engine = Pool(channels, pe, 6, "max", kind, kind, order)
    check(PoolBlock(engine), engine, windows(x, op, kind.lo, pe, order), run(network(op, kind, x.shape[1:]), x))


@pytest.mark.parametrize(("kind", "channels", "pe", "order"), CASES, ids=str)
def test_sum_pool(kind: IntType, channels: int, pe: int, order: str) -> None:
    op = ir.SumPool2d((2, 2), (2, 2))
    x = inputs(kind, (4, 2, channels), pe)
    graph = network(op, kind, x.shape[1:])
    engine = Pool(channels, pe, 4, "sum", kind, graph.ranges["pool"].type, order)
    check(PoolBlock(engine), engine, windows(x, op, 0, pe, order), run(graph, x))


@pytest.mark.parametrize(("channels", "pe", "kind"), [
    (1, 1, signed(4)), (6, 1, BIPOLAR), (6, 2, unsigned(1)), (6, 6, IntType(-9, 12, 3)), (4, 2, signed(4))], ids=str)
def test_global_sum_pool(kind: IntType, channels: int, pe: int) -> None:
    """The frame as it comes is the window."""
    x = inputs(kind, (3, 3, channels), pe)
    graph = network(ir.GlobalSumPool(), kind, x.shape[1:])
    engine = Pool(channels, pe, 9, "sum", kind, graph.ranges["pool"].type, "channels")
    assert engine.keeps == (pe < channels)
    check(PoolBlock(engine), engine, x, run(graph, x))


@pytest.mark.parametrize("operation", ["max", "sum"])
def test_one_tap(operation: str) -> None:
    x = inputs(signed(4), (5, 4), 0)
    engine = Pool(4, 2, 1, operation, signed(4), signed(5), "channels")
    check(PoolBlock(engine), engine, x, x)


@pytest.mark.parametrize("out", [signed(9), IntType(-24, 36, 3), IntType(-60, 36, 1), IntType(-48, 48, 1)], ids=str)
def test_sums_in_wider_types(out: IntType) -> None:
    """A consumer's type may be wider than the range, with the same steps or none."""
    kind = IntType(-6, 9, 3)
    x = inputs(kind, (4, 4), 3)
    engine = Pool(4, 2, 4, "sum", kind, out, "channels")
    check(PoolBlock(engine), engine, x, x.sum(axis=1))

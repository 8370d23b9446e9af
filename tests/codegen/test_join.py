"""Joins in Amaranth's simulator: the bits of the IR's operations, the cycles of hwsim; each input stalls by itself."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.blocks.join import ArithmeticBlock, ConcatBlock
from hwsim.dataflow import Fifo, Fork, Wires, simulate
from hwsim.engines.join import Arithmetic, Concat
from hwsim.engines.mvu import Mvu
from intir import BIPOLAR, TERNARY, Graph, GraphBuilder, IntType, run, signed, unsigned
from intir import ops as ir
from tests.codegen.harness import check_join, naive_join, patterns

FRAMES = 4
OPS = {"add": ir.Add, "sub": ir.Sub, "rsub": ir.Sub, "mul": ir.Mul}


def halves(op: ir.Op, joined: np.ndarray, kinds: list[IntType], shapes: list[tuple[int, ...]], names: list[int]) -> tuple[Graph, np.ndarray]:
    """A graph that cuts its input into the inputs of an operation, and its results."""
    build = GraphBuilder("unit")
    domain = IntType(min(k.lo for k in kinds), max(k.hi for k in kinds))
    whole = build.input("x", joined.shape[1:], domain)
    parts, at = [], 0
    for kind, shape in zip(kinds, shapes, strict=True):
        size = int(np.prod(shape))
        part = build.node(ir.Reshape(shape), build.node(ir.Slice((at,), (at + size,), (1,)), whole))
        levels = np.array([kind.lo + kind.step * n for n in range(kind.levels)])
        # Each input is of its own type, steps included.
        table = levels[np.abs(np.arange(domain.lo, domain.hi + 1)[:, None] - levels).argmin(axis=1)]
        parts.append(build.node(ir.Lookup(table[None], domain), part))
        at += size
    build.output(build.node(op, *(parts[n] for n in names), name="join"))
    graph = build.build()
    return graph, run(graph, joined)


def draw(kind: IntType, shape: tuple[int, ...], seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).integers(0, kind.levels, (FRAMES, *shape)) * kind.step + kind.lo
    x[0], x[1] = kind.lo, kind.hi
    return x


@pytest.mark.parametrize(("operation", "lanes", "a", "b", "repeat"), [
    ("add", 1, signed(4), unsigned(3), "none"), ("add", 6, BIPOLAR, BIPOLAR, "none"), ("sub", 2, TERNARY, IntType(-3, 3, 2), "none"),
    ("mul", 3, signed(4), signed(3), "none"), ("mul", 2, BIPOLAR, IntType(-3, 3, 2), "none"), ("rsub", 2, unsigned(2), signed(3), "none"),
    ("mul", 2, signed(3), unsigned(4), "channels"), ("mul", 6, signed(3), unsigned(4), "channels"), ("rsub", 1, BIPOLAR, signed(3), "channels"),
    ("mul", 2, signed(3), unsigned(4), "pixels"), ("add", 6, BIPOLAR, TERNARY, "pixels"), ("sub", 3, signed(3), unsigned(4), "pixels")], ids=str)
def test_arithmetic(operation: str, lanes: int, a: IntType, b: IntType, repeat: str) -> None:
    shapes = [(2, 2, 6), {"none": (2, 2, 6), "channels": (2, 2, 1), "pixels": (1, 1, 6)}[repeat]]
    xs = [draw(kind, shape, n) for n, (kind, shape) in enumerate(zip((a, b), shapes, strict=True))]
    joined = np.concatenate([x.reshape(FRAMES, -1) for x in xs], axis=1)
    graph, y = halves(OPS[operation](), joined, [a, b], shapes, [1, 0] if operation == "rsub" else [0, 1])
    engine = Arithmetic(operation, 4, 6, lanes, a, b, graph.ranges["join"].type, repeat)
    check_join(ArithmeticBlock(engine), engine, xs, y)


@pytest.mark.parametrize("pixels", [1, 3])
def test_one_pixel_is_kept_for_none(pixels: int) -> None:
    xs = [draw(signed(3), (pixels, 4), 0), draw(signed(3), (1, 4), 1)]
    engine = Arithmetic("add", pixels, 4, 2, signed(3), signed(3), signed(4), "pixels")
    check_join(ArithmeticBlock(engine), engine, xs, xs[0] + xs[1])


@pytest.mark.parametrize(("axis", "shapes", "lanes"), [
    (2, [(2, 2, 4), (2, 2, 2)], 2), (2, [(2, 2, 3), (2, 2, 1), (2, 2, 2)], 1), (2, [(1, 3, 4), (1, 3, 4)], 4),
    (1, [(2, 1, 4), (2, 3, 4)], 2), (0, [(1, 2, 4), (2, 2, 4), (1, 2, 4)], 4)])
@pytest.mark.parametrize("mixed", [False, True])
def test_concat(axis: int, shapes: list[tuple[int, ...]], lanes: int, mixed: bool) -> None:
    kinds = [BIPOLAR, signed(3), unsigned(2)][:len(shapes)] if mixed else [IntType(-3, 3, 2)] * len(shapes)
    xs = [draw(kind, shape, n) for n, (kind, shape) in enumerate(zip(kinds, shapes, strict=True))]
    joined = np.concatenate([x.reshape(FRAMES, -1) for x in xs], axis=1)
    graph, y = halves(ir.Concat(axis), joined, kinds, shapes, list(range(len(shapes))))
    counts = tuple(int(np.prod(shape[axis:])) // lanes for shape in shapes)
    engine = Concat(lanes, counts, tuple(kinds), graph.ranges["join"].type)
    check_join(ConcatBlock(engine), engine, xs, y)


def test_the_harness_and_hwsim_agree() -> None:
    """On a sequencer with one input; and on a join behind a fork and deep queues, which is never short of words."""
    for source, sink in patterns(3):
        made = naive_join(Mvu(12, 8, 2, 3, BIPOLAR, BIPOLAR, signed(5), 0, signed(5), signed(5)).schedule, [12], 12, [source], sink)
        trace = simulate([Mvu(12, 8, 2, 3, BIPOLAR, BIPOLAR, signed(5), 0, signed(5), signed(5)).schedule], 12, 12, source=source, sink=sink)
        assert (made.out_cycles, made.taken) == (trace.out_cycles.tolist(), [trace.in_cycles.tolist()])
        schedule = Concat(1, (2, 3), (BIPOLAR, BIPOLAR), BIPOLAR).schedule
        wires = [Wires((0,), (1, 2)), Wires((1,), (3,)), Wires((2,), (4,)), Wires((3, 4), (5,))]
        trace = simulate([Fork(), Fifo(60), Fifo(60), schedule], 30, 50, wires=wires, sink=sink)
        late = np.arange(1000) > 0  # through a queue, words come a cycle later
        assert naive_join(schedule, [20, 30], 50, [late, late], sink).out_cycles == trace.out_cycles.tolist()


def test_wrong_bits_are_seen() -> None:
    engine = Concat(1, (1, 1), (BIPOLAR, BIPOLAR), BIPOLAR)
    xs = [draw(BIPOLAR, (1,), 0), draw(BIPOLAR, (1,), 1)]
    xs[0][2], xs[1][2] = 1, -1
    with pytest.raises(AssertionError):
        check_join(ConcatBlock(engine), engine, xs, np.concatenate(xs[::-1], axis=1))

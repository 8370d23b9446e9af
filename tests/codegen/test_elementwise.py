"""Element-wise blocks in Amaranth's simulator: the bits of the IR's operations, the cycles of hwsim."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.blocks.elementwise import ClipBlock, LookupBlock, ScaleBlock
from codegen.blocks.requant import RequantBlock
from hwsim.engines.elementwise import Clip, Lookup, Requant, Scale
from intir import BIPOLAR, TERNARY, Graph, GraphBuilder, IntType, run, signed, unsigned
from intir import ops as ir
from intir.ops.requant import NAMES
from tests.codegen.harness import check

Int64 = np.ndarray
FRAMES = 12


def frames(kind: IntType, channels: int, rng: np.random.Generator, count: int = FRAMES) -> Int64:
    """Values of a type, its ends and, where they are few, all of them."""
    x = rng.integers(0, kind.levels, (count, channels)) * kind.step + kind.lo
    x[0], x[1] = kind.lo, kind.hi
    return x


def network(op: ir.Op, kind: IntType, channels: int) -> Graph:
    build = GraphBuilder("unit")
    build.output(build.node(op, build.input("x", (channels,), kind), name="op"))
    return build.build()


def requant(channels: int, pe: int, kind: IntType, op: ir.Requant) -> tuple[RequantBlock, Requant]:
    types = [IntType.of(one) for one in (op.multiplier, op.shift, op.zero_point)]
    engine = Requant(channels, pe, kind, op.out, *types, op.rounding)
    return RequantBlock(engine, op.multiplier, op.shift, op.zero_point, "r"), engine


@pytest.mark.parametrize("rounding", NAMES)
@pytest.mark.parametrize(("channels", "pe", "kind"), [(6, 1, unsigned(7)), (6, 3, signed(10)), (4, 4, IntType(-63, 63, 2))], ids=str)
def test_requant(channels: int, pe: int, kind: IntType, rounding: str) -> None:
    """Multipliers of both signs, shifts that differ, ties and values that saturate on both sides."""
    rng = np.random.default_rng(channels + pe)
    low = 31 if rounding == "gemmlowp" else 0
    shift = low + rng.integers(0, 5, channels)
    multiplier = rng.integers(-7, 8, channels) << (low if low else 0)
    if low:
        multiplier += rng.integers(-2**20, 2**20, channels)
    op = ir.Requant(multiplier, shift, rng.integers(-9, 10, channels), rounding, IntType(-11, 9))
    x = frames(kind, channels, rng, 24)
    block, engine = requant(channels, pe, kind, op)
    assert engine.from_memory == (pe < channels)
    y = run(network(op, kind, channels), x)
    assert channels == 1 or {-11, 9} <= set(y.ravel().tolist())
    check(block, engine, x, y)


@pytest.mark.parametrize("rounding", NAMES)
@pytest.mark.parametrize("shift", [31, 40, 62])
def test_requant_where_all_channels_are_alike(rounding: str, shift: int) -> None:
    """Nothing is read from a memory; shifts as far as the product is wide and further."""
    kind = signed(8)
    op = ir.Requant(np.array([2**(shift - 3) + 2**max(0, shift - 40)]), np.array([shift]), np.array([3]), rounding, unsigned(4))
    x = np.arange(-128, 128)[:, None].repeat(2, axis=1)
    if shift < 54:
        block, engine = requant(2, 1, kind, op)
        assert (engine.from_memory, engine.schedule.latency_cycles) == (False, 4 if rounding == "gemmlowp" else 3)
        check(block, engine, x, run(network(op, kind, 2), x))
    small = ir.Requant(np.array([3]), np.array([shift]), np.array([3]), rounding, unsigned(4))
    block, engine = requant(2, 2, kind, small)
    check(block, engine, x, run(network(small, kind, 2), x))


@pytest.mark.parametrize("seed", range(20))
def test_requant_of_any_constants(seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels, pe = [(1, 1), (3, 1), (4, 2), (4, 4)][seed % 4]
    rounding = NAMES[seed % len(NAMES)]
    low, reach = (31, 2**34) if rounding == "gemmlowp" else (0, int(rng.choice([1, 2, 300])))
    columns = [rng.integers(lo, hi + 1, channels) for lo, hi in ((-reach, reach), (low, low + 9), (-20, 20))]
    lo, hi = np.sort(rng.integers(-300, 301, 2)).tolist()
    least, greatest = np.sort(rng.integers(-40, 41, 2)).tolist()
    kind, op = IntType(lo, hi), ir.Requant(*columns, rounding, IntType(least, greatest))
    x = frames(kind, channels, rng, 10)
    block, engine = requant(channels, pe, kind, op)
    check(block, engine, x, run(network(op, kind, channels), x))


@pytest.mark.parametrize(("kind", "channels", "pe", "alike"), [
    (signed(5), 6, 1, False), (signed(5), 6, 2, True), (unsigned(1), 6, 3, False), (BIPOLAR, 6, 6, False), (BIPOLAR, 6, 3, True),
    (IntType(-3, 3, 2), 6, 3, False), (IntType(-9, 9, 3), 4, 2, True), (TERNARY, 1, 1, False)], ids=str)
def test_scale(channels: int, pe: int, kind: IntType, alike: bool) -> None:
    """The result has the type that the ranges prove, steps included."""
    rng = np.random.default_rng(pe)
    size = 1 if alike else channels
    op = ir.ScaleChannels(rng.integers(-9, 10, size), rng.integers(-99, 100, size))
    graph, x = network(op, kind, channels), frames(kind, channels, rng)
    engine = Scale(channels, pe, kind, graph.ranges["op"].type, IntType.of(op.multiplier), IntType.of(op.offset))
    assert engine.schedule.latency_cycles == 2 + (not alike and pe < channels)
    check(ScaleBlock(engine, op.multiplier, op.offset, "s"), engine, x, run(graph, x))


@pytest.mark.parametrize(("lo", "hi", "kind"), [
    (-4, 3, signed(5)), (-100, 3, signed(5)), (0, 100, signed(5)), (-100, 100, signed(5)), (2, 2, signed(5)), (-1, 1, unsigned(4)),
    (-3, 3, IntType(-7, 7, 2)), (-2, 4, IntType(-7, 7, 2))], ids=str)
def test_clip(kind: IntType, lo: int, hi: int) -> None:
    op = ir.Clip(lo, hi)
    graph, x = network(op, kind, 4), frames(kind, 4, np.random.default_rng(0))
    engine = Clip(4, 2, kind, graph.ranges["op"].type, lo, hi)
    check(ClipBlock(engine), engine, x, run(graph, x))


@pytest.mark.parametrize(("kind", "channels", "pe", "common"), [
    (signed(4), 6, 2, False), (signed(4), 6, 2, True), (unsigned(3), 6, 1, False), (IntType(-3, 5, 2), 6, 6, False), (IntType(-5, 9), 6, 3, False),
    (BIPOLAR, 1, 1, False), (IntType(3, 3), 4, 2, False), (IntType(3, 3), 4, 2, True)], ids=str)
def test_lookup(kind: IntType, channels: int, pe: int, common: bool) -> None:
    rng = np.random.default_rng(pe)
    op = ir.Lookup(rng.integers(-30, 30, (1 if common else channels, kind.levels)) * 3, kind)
    graph, x = network(op, kind, channels), frames(kind, channels, rng, 2 * FRAMES)
    out = IntType.of(op.table)
    engine = Lookup(channels, pe, kind, out, common)
    check(LookupBlock(engine, op.table, "t"), engine, x, run(graph, x))


def test_wrong_bits_are_seen() -> None:
    op = ir.Requant(np.array([3]), np.array([2]), np.array([0]), "half_even", signed(6))
    block, engine = requant(1, 1, signed(5), op)
    x = np.arange(-16, 16)[:, None]
    other = ir.Requant(op.multiplier, op.shift, op.zero_point, "half_up", op.out)
    with pytest.raises(AssertionError):
        check(block, engine, x, run(network(other, signed(5), 1), x))

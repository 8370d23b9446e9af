"""The configurations that are measured: one or two small ones of every kind of block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from codegen.generate import BLOCKS
from hwsim.design import Stage
from hwsim.engines.argmax import Argmax
from hwsim.engines.elementwise import Clip, Lookup, Requant, Scale
from hwsim.engines.fifo import StreamFifo
from hwsim.engines.fork import Fork
from hwsim.engines.join import Arithmetic, Concat
from hwsim.engines.linebuffer import LineBuffer
from hwsim.engines.permute import Permute
from hwsim.engines.pool import Pool
from hwsim.engines.thresholding import Thresholding
from hwsim.engines.topk import TopK
from hwsim.engines.width import Width
from hwsim.engines.window import Window
from hwsim.plan import LayerPlan
from intir import BIPOLAR, Conv2d, GraphBuilder, IntType, Threshold, run, signed, unsigned
from intir import ops as ir
from tests.codegen import test_join, test_layers, test_linebuffer, test_mvu, test_permute, test_pool, test_unrolled, test_window

from . import engines, sparse
from .case import Case
from .models import Int64, forking, joining, plain
from .stimulus import beside, summed, values, walks

CASES: dict[str, Callable[[], Case]] = {}


def case(title: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Enter a case under its title, `KIND: configuration`; it is made when it is wanted."""
    def enter(make: Callable[[], Case]) -> Callable[[], Case]:
        CASES[title] = make
        return make

    return enter


def name(make: Callable[[], Case]) -> str:
    """The configuration part of a title."""
    return next(title for title, one in CASES.items() if one is make).partition(": ")[2]


def mvu(title: str, x_type: IntType, w_type: IntType, pe: int, simd: int, order: str, thresholds: int) -> None:
    """A product with a matrix of 12 x 6."""
    def make() -> Case:
        graph, _ = test_mvu.network(x_type, w_type, thresholds, seed=pe)
        operations = [node.op for node in graph.nodes]
        x = summed(x_type, operations[0].weights, operations[1].thresholds if thresholds else None, 3)
        stage = test_mvu.unit(graph, pe, simd, order)
        return plain(title, stage.engine, x, run(graph, x), weights=stage.constants["weights"], thresholds=stage.constants.get("thresholds"))

    CASES[f"mvu: {title}"] = make


mvu("xnor, pe 2, simd 3, outputs, 3 thresholds", BIPOLAR, BIPOLAR, 2, 3, "outputs", 3)
mvu("planes, pe 2, simd 3, inputs, sums", unsigned(2), signed(3), 2, 3, "inputs", 0)
mvu("integer, pe 3, simd 4, outputs, 15 thresholds", signed(4), IntType(-3, 3, 2), 3, 4, "outputs", 15)


def depthwise() -> Stage:
    """The unit of a depthwise 3 x 3 convolution of four channels."""
    rng = np.random.default_rng(5)
    build = GraphBuilder("unit")
    value = build.node(Conv2d(rng.integers(-3, 4, (3, 3, 1, 4)), groups=4), build.input("x", (4, 4, 4), unsigned(3)), name="op")
    bounds = build.ranges[value]
    middle = (bounds.lo + bounds.hi) // 2
    build.output(build.node(Threshold(middle[:, None] + np.arange(-6, 9, 5), unsigned(2)), value))
    graph = build.build()
    (stage,) = (one for one in test_layers.planned(graph, LayerPlan("vvu", 2, 1)).stages if one.engine.kind == "vvu")
    return replace(stage, constants={**stage.constants, "graph": graph})


def frames_beside(kind: IntType, weights: Int64, thresholds: Int64) -> Int64:
    """Frames of 4 x 4 pixels whose first windows lead to the least and greatest sums, and to those beside thresholds."""
    def frames(windows: Int64) -> Int64:
        x = values(kind, (len(windows), 4, 4, weights.shape[1]), 2)
        x[:, :3, :3] = windows.reshape(-1, 3, 3, weights.shape[1])
        return x

    def walked(seed: int, each: int) -> Int64:
        return np.stack([walks(kind, column[:, None], seed + n, each) for n, column in enumerate(weights.T)], axis=-1)

    pool = np.concatenate([walked(9, 40), values(kind, (1000, *weights.shape), 1)])
    near = pool[beside((pool * weights).sum(axis=1), thresholds)]
    return np.concatenate([values(kind, (12, 4, 4, weights.shape[1]), 1), frames(walked(1, 1)), frames(near)])


@case("vvu: 9 taps of 4 channels, pe 2, 3 thresholds")
def vvu() -> Case:
    stage = depthwise()
    constants = dict(stage.constants)
    graph = constants.pop("graph")
    x = frames_beside(unsigned(3), constants["weights"], constants["thresholds"])
    words = test_window.im2col(x, 2, (3, 3), channels_first=True)
    return plain(name(vvu), stage.engine, words, run(graph, x), **constants)


@case("unrolled: 12 x 6, planes, 3 thresholds")
def unrolled() -> Case:
    rng = np.random.default_rng(3)
    weights = rng.integers(-4, 4, (12, 6))
    graph, _ = test_unrolled.network(weights, unsigned(2), 3, seed=3)
    x = summed(unsigned(2), weights, graph.nodes[1].op.thresholds, 1)
    engine = test_unrolled.unit(graph)
    return plain(name(unrolled), engine, x, run(graph, x))


def fifo(depth: int) -> None:
    """A queue of three elements of five bits."""
    title = f"{depth} words of 15 bits"
    CASES[f"fifo: {title}"] = lambda: plain(title, StreamFifo(3, unsigned(5), depth), x := values(unsigned(5), (200, 3), depth), x)


fifo(5)
fifo(8)


def width(lanes_in: int, lanes_out: int) -> None:
    """Elements of four bits."""
    title = f"{lanes_in} to {lanes_out} elements of 4 bits"
    CASES[f"width: {title}"] = lambda: plain(title, Width(lanes_in, lanes_out, signed(4)), x := values(signed(4), (40, 12), lanes_in), x)


width(2, 6)
width(6, 2)


@case("fork: 3 readers of 6 bits")
def fork() -> Case:
    return forking(name(fork), Fork(2, signed(3), 3), values(signed(3), (120, 2), 1))


@case("fork: 2 readers of 40 bits")
def wide_fork() -> Case:
    return forking(name(wide_fork), Fork(10, signed(4), 2), values(signed(4), (120, 10), 1))


def arithmetic(title: str, operation: str, a: IntType, b: IntType, repeat: str, lanes: int) -> None:
    """Two inputs of 2 x 2 x 6 elements, or fewer of the second."""
    def make() -> Case:
        shapes = [(2, 2, 6), {"none": (2, 2, 6), "channels": (2, 2, 1), "pixels": (1, 1, 6)}[repeat]]
        xs = [values(kind, (16, *shape), n) for n, (kind, shape) in enumerate(zip((a, b), shapes, strict=True))]
        joined = np.concatenate([x.reshape(16, -1) for x in xs], axis=1)
        graph, y = test_join.halves(test_join.OPS[operation](), joined, [a, b], shapes, [0, 1])
        return joining(title, Arithmetic(operation, 4, 6, lanes, a, b, graph.ranges["join"].type, repeat), xs, y)

    CASES[f"arithmetic: {title}"] = make


arithmetic("sum of 2 elements of 4 and 3 bits", "add", signed(4), unsigned(3), "none", 2)
arithmetic("product with a pixel that is kept", "mul", signed(3), unsigned(3), "pixels", 2)


@case("concat: 3 inputs of 3, 1 and 2 words")
def concat() -> Case:
    kinds, shapes = [signed(6), signed(3), unsigned(4)], [(2, 2, 6), (2, 2, 2), (2, 2, 4)]
    xs = [values(kind, (16, *shape), n) for n, (kind, shape) in enumerate(zip(kinds, shapes, strict=True))]
    joined = np.concatenate([x.reshape(16, -1) for x in xs], axis=1)
    graph, y = test_join.halves(ir.Concat(2), joined, kinds, shapes, [0, 1, 2])
    return joining(name(concat), Concat(2, (3, 1, 2), tuple(kinds), graph.ranges["join"].type), xs, y)


@case("permute: 12 channels in 3 groups, 3 at a time")
def permute() -> Case:
    order = test_permute.shuffle(12, 3)
    x = values(signed(3), (40, 12), 1)
    return plain(name(permute), Permute(3, signed(3), tuple(order.tolist())), x, x[:, order])


def elementwise(op: ir.Op, kind: IntType, x: Int64) -> tuple[Int64, IntType]:
    """What an operation of the IR makes of elements, and the type that the ranges prove."""
    build = GraphBuilder("unit")
    build.output(build.node(op, build.input("x", x.shape[1:], kind), name="op"))
    graph = build.build()
    return run(graph, x), graph.ranges["op"].type


def requant(title: str, rounding: str, multiplier: Int64, shift: Int64, pe: int) -> None:
    """Of ten bits to [-11, 9]."""
    def make() -> Case:
        kind, op = signed(10), ir.Requant(multiplier, shift, np.arange(len(multiplier)) - 1, rounding, IntType(-11, 9))
        x = values(kind, (kind.levels + 5, len(multiplier)), 1)
        types = [IntType.of(one) for one in (op.multiplier, op.shift, op.zero_point)]
        engine = Requant(len(multiplier), pe, kind, op.out, *types, rounding)
        return plain(title, engine, x, elementwise(op, kind, x)[0], multiplier=op.multiplier, shift=op.shift, zero_point=op.zero_point)

    CASES[f"requant: {title}"] = make


requant("half to even, constants of 6 channels in memory", "half_even", np.array([3, -5, 7, 1, 0, -2]), np.array([6, 7, 6, 4, 8, 5]), 2)
requant("half up, constants of 2 channels built in", "half_up", np.array([3, -5]), np.array([7, 6]), 2)


@case("scale: 6 channels, 2 at a time, constants in memory")
def scale() -> Case:
    rng = np.random.default_rng(1)
    op, x = ir.ScaleChannels(rng.integers(-9, 10, 6), rng.integers(-99, 100, 6)), values(signed(5), (101, 6), 1)
    y, out = elementwise(op, signed(5), x)
    engine = Scale(6, 2, signed(5), out, IntType.of(op.multiplier), IntType.of(op.offset))
    return plain(name(scale), engine, x, y, multiplier=op.multiplier, offset=op.offset)


@case("clip: 6 bits to [-9, 12], 4 at a time")
def clip() -> Case:
    x = values(signed(6), (133, 4), 1)
    y, out = elementwise(ir.Clip(-9, 12), signed(6), x)
    return plain(name(clip), Clip(4, 4, signed(6), out, -9, 12), x, y)


@case("lookup: 16 entries for each of 6 channels, 2 at a time")
def lookup() -> Case:
    op, x = ir.Lookup(np.random.default_rng(1).integers(-60, 60, (6, 16)), signed(4)), values(signed(4), (53, 6), 1)
    y, _ = elementwise(op, signed(4), x)
    return plain(name(lookup), Lookup(6, 2, signed(4), IntType.of(op.table), False), x, y, table=op.table)


@case("linebuffer: 3 x 3 taps of 5 x 4 pixels, padded")
def linebuffer() -> Case:
    options = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    x = values(unsigned(3), (21, 5, 4, 2), 1)
    engine = LineBuffer.convolution(5, 4, 1, 2, unsigned(3), **options, pad_value=5)
    return plain(name(linebuffer), engine, x, test_linebuffer.pixel_major(x, 2, options, 5))


@case("linebuffer: 2 x 3 taps, strided, 2 words a pixel")
def strided_linebuffer() -> Case:
    options = {"kernel": (2, 3), "stride": (2, 1)}
    x = values(signed(3), (21, 6, 5, 2), 1)
    engine = LineBuffer.convolution(6, 5, 2, 1, signed(3), **options)
    return plain(name(strided_linebuffer), engine, x, test_linebuffer.pixel_major(x, 1, options, 0))


@case("window: 2 x 2 taps of 3 x 4 pixels, padded")
def window() -> Case:
    options = {"kernel": (2, 2), "pads": (1, 0, 0, 1)}
    x = values(unsigned(3), (21, 3, 4, 2), 1)
    engine = Window.convolution(3, 4, 2, 1, unsigned(3), **options, pad_value=5)
    return plain(name(window), engine, x, test_window.im2col(x, 1, **options, pad_value=5))


@case("window: pixels twice and three times")
def upsampling_window() -> Case:
    x = values(signed(4), (37, 3, 2, 2), 1)
    engine = Window.upsample(3, 2, 2, 1, signed(4), factor=(2, 3))
    return plain(name(upsampling_window), engine, x, x.repeat(2, axis=1).repeat(3, axis=2))


def pool(title: str, operation: str, order: str, kind: IntType, pe: int) -> None:
    """Windows of 2 x 3 taps, or of 2 x 2."""
    def make() -> Case:
        op = ir.MaxPool2d((2, 3), (1, 2), pads=(1, 1, 0, 2)) if operation == "max" else ir.SumPool2d((2, 2), (2, 2))
        x = values(kind, (37, 2, 4, 6), 1)
        y, out = elementwise(op, kind, x)
        words = test_pool.windows(x, op, kind.lo if operation == "max" else 0, pe, order)
        return plain(title, Pool(6, pe, 6 if operation == "max" else 4, operation, kind, out, order), words, y)

    CASES[f"pool: {title}"] = make


pool("greatest of 6 taps, 2 channels at a time", "max", "taps", signed(4), 2)
pool("sums of 4 taps of all channels", "sum", "channels", signed(4), 2)


def thresholding(title: str, common: bool, pe: int, out: IntType) -> None:
    """Of six bits."""
    def make() -> Case:
        rng, kind = np.random.default_rng(pe), signed(6)
        rows = np.sort(rng.integers(kind.lo, kind.hi + 2, (1 if common else 8, out.levels - 1)), axis=1)
        engine = Thresholding(8, pe, kind, out, out.levels - 1, common, IntType(kind.lo, kind.hi + 1))
        x = values(kind, (133, 8), 1)
        return plain(title, engine, x, out.lo + out.step * (x[..., None] >= rows).sum(axis=-1), thresholds=rows)

    CASES[f"thresholding: {title}"] = make


thresholding("8 channels, 2 at a time, 3 thresholds in memory", False, 2, unsigned(2))
thresholding("15 thresholds for all, 2 at a time", True, 2, signed(4))


def ranked(x: Int64) -> Int64:
    """The same, and frames with ties, with neighbours, rising and falling."""
    base = x[:, :1]
    return np.concatenate([x, x % 3, np.clip(base + x % 2, -16, 15), np.sort(x[::3], axis=1), -np.sort(-x[::3], axis=1)])


@case("argmax: 6 channels, 2 at a time")
def argmax() -> Case:
    x = values(signed(5), (101, 6), 1)
    x = ranked(x)
    return plain(name(argmax), Argmax(6, 2, signed(5), IntType(0, 5)), x, x.argmax(axis=1))


@case("topk: 3 of 6 channels")
def topk() -> Case:
    x = values(signed(5), (101, 6), 1)
    x = ranked(x)
    return plain(name(topk), TopK(6, 3, signed(5), IntType(0, 5)), x, elementwise(ir.TopK(3), signed(5), x)[0])


CASES |= sparse.CASES | engines.CASES
assert {title.partition(":")[0] for title in CASES} >= {engine.kind for engine in BLOCKS}, "a kind of block has no case"

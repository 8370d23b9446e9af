"""Convolutional, residual and other graphs under Verilator: the reference's bits and hwsim's cycles, under four stall patterns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen.yosys import run_yosys, synthesize
from hwsim import plan as plans
from hwsim.autoplan import auto_plan
from hwsim.engines.linebuffer import LineBuffer
from hwsim.engines.mvu import Mvu
from hwsim.layers import collect
from hwsim.plan import Plan
from intir import (
    BIPOLAR,
    TERNARY,
    Add,
    ArgMax,
    ChannelPermute,
    Clip,
    Concat,
    Conv2d,
    ConvTranspose2d,
    GlobalSumPool,
    Graph,
    GraphBuilder,
    IntType,
    L1Conv2d,
    L1MatMul,
    Lookup,
    MatMul,
    MaxPool2d,
    Mul,
    Pad,
    Requant,
    Reshape,
    ScaleChannels,
    Slice,
    Sub,
    SumPool2d,
    Threshold,
    TopK,
    Transpose,
    Upsample,
    signed,
    unsigned,
)
from sim_tests.harness import co_verify

WEIGHTS = signed(3)


class Net:
    """A graph in the making, with random constants."""

    def __init__(self, name: str, shape: tuple[int, ...], kind: IntType) -> None:
        self.build, self.rng = GraphBuilder(name), np.random.default_rng(len(name))
        self.x = self.build.input("x", shape, kind)

    def weights(self, kind: IntType, *shape: int) -> np.ndarray:
        return self.rng.integers(0, kind.levels, shape) * kind.step + kind.lo

    def conv(self, x: str, size: int, outputs: int, kind: IntType = WEIGHTS, *, stride: int = 1, pad: int = 0, groups: int = 1) -> str:
        depth = self.build.values[x].shape[-1] // groups
        return self.build.node(Conv2d(self.weights(kind, size, size, depth, outputs), (stride,) * 2, (1, 1), (pad,) * 4, 0, groups), x)

    def dense(self, x: str, outputs: int, kind: IntType = WEIGHTS) -> str:
        return self.build.node(MatMul(self.weights(kind, self.build.values[x].shape[-1], outputs)), x)

    def quantized(self, x: str, kind: IntType) -> str:
        """Thresholds inside what x can be, so that every level occurs."""
        bounds = self.build.ranges[x]
        middle, reach = (bounds.lo + bounds.hi) // 2, np.maximum((bounds.hi - bounds.lo) // 4, 2)
        rows = np.sort(self.rng.integers(-reach[:, None], reach[:, None], (len(reach), kind.levels - 1)) + middle[:, None], axis=1)
        return self.build.node(Threshold(rows, kind), x)

    def node(self, op: object, *inputs: str) -> str:
        return self.build.node(op, *inputs)

    def done(self, value: str) -> Graph:
        self.build.output(value)
        return self.build.build()


def lenet() -> Graph:
    n = Net("lenet", (12, 12, 1), unsigned(4))
    v = n.quantized(n.conv(n.x, 5, 6, signed(4), pad=2), unsigned(4))
    v = n.node(MaxPool2d((2, 2), (2, 2)), v)
    v = n.node(MaxPool2d((2, 2), (2, 2)), n.quantized(n.conv(v, 3, 8, signed(4)), unsigned(4)))
    v = n.quantized(n.dense(n.node(Reshape((32,)), v), 12), unsigned(4))
    return n.done(n.node(ArgMax(), n.dense(v, 10)))


def residual() -> Graph:
    """Binary, 2-bit and 8-bit parts; the shortcut has another scale."""
    n = Net("residual", (6, 6, 2), unsigned(8))
    a = n.quantized(n.conv(n.x, 3, 4, pad=1), unsigned(2))
    b = n.conv(n.quantized(n.conv(a, 3, 4, pad=1), unsigned(2)), 3, 4, TERNARY, pad=1)
    v = n.node(Add(), n.node(ScaleChannels(np.array([3]), np.array([1])), a), b)
    v = n.quantized(v, BIPOLAR)
    c = n.conv(n.quantized(n.conv(v, 3, 6, BIPOLAR, stride=2, pad=1), BIPOLAR), 3, 6, BIPOLAR, pad=1)
    v = n.node(Sub(), c, n.conv(v, 1, 6, BIPOLAR, stride=2))
    v = n.node(Requant(np.array([37]), np.array([5]), np.array([3]), "half_even", signed(8)), v)
    return n.done(n.dense(n.node(GlobalSumPool(), v), 3))


def mobile() -> Graph:
    n = Net("mobile", (7, 7, 4), unsigned(4))
    v = n.quantized(n.conv(n.x, 3, 4, signed(4), stride=2, pad=1, groups=4), unsigned(4))
    v = n.quantized(n.conv(v, 1, 8, signed(4)), unsigned(4))
    v = n.quantized(n.conv(v, 3, 8, signed(4), pad=1, groups=8), unsigned(4))
    return n.done(n.conv(v, 1, 4, signed(4)))


def shuffle() -> Graph:
    n = Net("shuffle", (4, 4, 4), unsigned(3))
    left, right = (n.node(Slice((0, 0, a), (4, 4, a + 2), (1, 1, 1)), n.x) for a in (0, 2))
    right = n.quantized(n.conv(n.quantized(n.conv(right, 1, 2), unsigned(3)), 3, 2, pad=1, groups=2), unsigned(3))
    v = n.node(ChannelPermute(np.array([0, 2, 1, 3])), n.node(Concat(-1), left, right))
    return n.done(n.conv(v, 1, 2))


def fire() -> Graph:
    n = Net("fire", (5, 5, 4), unsigned(4))
    s = n.quantized(n.conv(n.x, 1, 2), unsigned(4))
    v = n.node(Concat(-1), n.quantized(n.conv(s, 1, 4), unsigned(4)), n.quantized(n.conv(s, 3, 4, pad=1), unsigned(4)))
    return n.done(n.node(TopK(2), n.node(GlobalSumPool(), n.conv(v, 1, 5))))


def inception() -> Graph:
    """Binary; zero padding makes its inputs ternary; the last weights are ternary."""
    n = Net("inception", (5, 5, 2), BIPOLAR)
    parts = [n.quantized(n.conv(n.x, size, outputs, BIPOLAR, pad=size // 2), BIPOLAR) for size, outputs in ((1, 2), (3, 4))]
    v = n.node(Concat(-1), *parts, n.node(MaxPool2d((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), n.x))
    return n.done(n.conv(v, 3, 3, TERNARY))


def tbn() -> Graph:
    n = Net("tbn", (6, 6, 2), TERNARY)
    v = n.quantized(n.conv(n.x, 3, 8, BIPOLAR, pad=1), TERNARY)
    v = n.quantized(n.conv(v, 3, 8, BIPOLAR, stride=2, pad=1), TERNARY)
    return n.done(n.dense(n.node(Reshape((72,)), v), 4, BIPOLAR))


def adder() -> Graph:
    n = Net("adder", (6, 6, 2), signed(4))
    v = n.quantized(n.node(L1Conv2d(n.weights(signed(4), 3, 3, 2, 4), (1, 1), (1, 1), (1, 1, 1, 1), 0, 1), n.x), unsigned(2))
    v = n.node(Reshape((36,)), n.node(SumPool2d((2, 2), (2, 2)), v))
    return n.done(n.node(ArgMax(), n.node(L1MatMul(n.weights(signed(4), 36, 4)), v)))


def generator() -> Graph:
    n = Net("generator", (8,), signed(4))
    v = n.node(Reshape((3, 3, 2)), n.quantized(n.dense(n.x, 18), unsigned(2)))
    v = n.quantized(n.node(ConvTranspose2d(n.weights(signed(3), 3, 3, 2, 4), (2, 2), (1, 1), (1, 1, 1, 1), (1, 1)), v), unsigned(2))
    return n.done(n.conv(n.node(Upsample((2, 2)), v), 3, 1, pad=1))


def gated() -> Graph:
    """A squeeze-and-excite block: the input waits in its queue until its own mean has been through a table."""
    n = Net("gated", (4, 4, 4), unsigned(3))
    gate = n.node(Requant(np.array([5]), np.array([5]), np.array([0]), "half_even", unsigned(3)), n.node(GlobalSumPool(), n.x))
    gate = n.node(Reshape((1, 1, 4)), n.node(Lookup(n.rng.integers(0, 4, (1, 8)), unsigned(3)), gate))
    return n.done(n.conv(n.node(Clip(3, 12), n.node(Mul(), n.x, gate)), 3, 2))


def moves() -> Graph:
    n = Net("moves", (4, 6, 4), signed(4))
    v = n.node(Pad((1, 0, 2), (0, 2, 0), 3), n.x)
    v = n.node(Transpose((1, 0, 2)), v)
    v = n.node(Slice((1, 0, 0), (8, 5, 6), (2, 1, 3)), v)
    return n.done(n.node(Transpose((2, 0, 1)), v))


def unread() -> Graph:
    """The stride does not reach the last row, and the slice takes the first pixels only: frames end behind the last output."""
    n = Net("unread", (6, 5, 2), unsigned(3))
    v = n.quantized(n.conv(n.x, 3, 4, stride=2), unsigned(2))
    return n.done(n.node(Slice((0, 0, 0), (1, 2, 4), (1, 1, 1)), v))


def one_dimension() -> Graph:
    n = Net("keywords", (1, 16, 2), signed(4))
    v = n.quantized(n.node(Conv2d(n.weights(signed(3), 1, 3, 2, 4), (1, 2), (1, 2), (0, 2, 0, 2), 0, 1), n.x), unsigned(3))
    v = n.node(MaxPool2d((1, 2), (1, 2)), v)
    return n.done(n.dense(n.node(Reshape((16,)), v), 3))


def grouped() -> Graph:
    """Two groups; a channel multiplier; a transposed convolution of each channel; distances in groups."""
    n = Net("grouped", (6, 6, 4), unsigned(3))
    v = n.quantized(n.conv(n.x, 3, 6, pad=1, groups=2), BIPOLAR)
    v = n.quantized(n.conv(v, 2, 12, BIPOLAR, stride=2, groups=6), unsigned(2))
    v = n.quantized(n.node(ConvTranspose2d(n.weights(signed(3), 2, 2, 1, 12), (2, 2), (1, 1), (0, 1, 0, 1), (0, 0), 12), v), unsigned(2))
    return n.done(n.node(L1Conv2d(n.weights(signed(3), 1, 1, 4, 6), (1, 1), (1, 1), (0, 0, 0, 0), 0, 3), v))


NETWORKS: list[Callable[[], Graph]] = [
    lenet, residual, mobile, shuffle, fire, inception, tbn, adder, generator, gated, moves, unread, one_dimension, grouped,
]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_graph(make: Callable[[], Graph], tmp_path: Path) -> None:
    graph = make()
    bundle, _ = co_verify(graph, auto_plan(graph, fps=20_000), tmp_path)
    # Bit by bit there is no combinational loop, which the lint's waiver says.
    paths = [*(bundle.path / "rtl").glob("*.v"), *(bundle.path / "mem").glob("*.mem")]
    sources = {path.relative_to(bundle.path).as_posix(): path.read_text() for path in paths}
    reads = "\n".join(f"read_verilog -sv {name}" for name in sources if name.endswith(".v"))
    run_yosys(sources, f"{reads}\nhierarchy -check -top {bundle.top}\nproc\nflatten\ncheck -assert\nwrite_json out.json\n")


@pytest.mark.parametrize(("memory", "multiplier", "brams", "dsps"), [("distributed", "logic", False, False), ("block", "dsp", True, True)])
def test_memories_and_multipliers_follow_the_plan(memory: str, multiplier: str, brams: bool, dsps: bool, tmp_path: Path) -> None:
    """The same bits and cycles wherever weights, rows and products are; and Yosys puts them where the plan says."""
    n = Net("places", (6, 6, 2), unsigned(8))
    v = n.quantized(n.conv(n.x, 3, 4, signed(8), pad=1), unsigned(8))
    graph = n.done(n.conv(v, 3, 4, signed(8), groups=4))
    plan = auto_plan(graph, folding=[(1, 2)])
    layers = {name: replace(entry, weight_memory=memory, window_memory=memory, multiplier=multiplier) for name, entry in plan.layers.items()}
    bundle, _ = co_verify(graph, replace(plan, layers=layers), tmp_path)
    assert bundle.design.plan.layers == plans.load(bundle.path / "plan.toml").layers
    files = {str(path.relative_to(bundle.path)): path.read_text() for folder in ("rtl", "mem") for path in (bundle.path / folder).iterdir()}
    cells = synthesize(files, bundle.top, "xilinx")
    assert (cells.brams > 0, cells.dsps > 0) == (brams, dsps)


def all_taps(graph: Graph) -> Plan:
    """A plan in which every window that a line buffer can give comes from one, some channels at a time."""
    plan = auto_plan(graph, fps=20_000)
    entries = {}
    for layer in collect(graph):
        entry, lined = plan.layers[layer.name], [one for one in layer.simd_choices() if hasattr(layer, "is_lined")
                                                 and layer.is_lined(replace(plan.layers[layer.name], simd=one))]
        entries[layer.name] = replace(entry, simd=lined[(len(lined) - 1) // 2]) if lined else entry
    return replace(plan, layers=entries)


def lines() -> Graph:
    """Stride, dilation, uneven pads; zeros around bipolar pixels; depthwise, transposed, pools; one row at the end."""
    n = Net("lines", (9, 8, 4), BIPOLAR)
    v = n.quantized(n.conv(n.x, 3, 4, BIPOLAR, stride=2, pad=1), BIPOLAR)
    v = n.quantized(n.node(Conv2d(n.weights(BIPOLAR, 2, 2, 4, 4), (1, 1), (2, 2), (1, 0, 2, 3), 0, 1), v), unsigned(2))
    v = n.quantized(n.conv(v, 3, 4, pad=1, groups=4), unsigned(2))
    v = n.node(MaxPool2d((3, 2), (1, 2), (1, 1), (1, 0, 1, 1)), v)
    v = n.quantized(n.node(ConvTranspose2d(n.weights(signed(3), 3, 3, 4, 2), (2, 2), (1, 1), (1, 1, 1, 1), (1, 0)), v), unsigned(2))
    v = n.node(SumPool2d((2, 2), (2, 2), (1, 1), (0, 1, 0, 0), 1), v)
    return n.done(n.node(Conv2d(n.weights(signed(3), 1, 3, 2, 3), (1, 1), (1, 1), (0, 2, 0, 2), 0, 1), n.node(Reshape((1, 18, 2)), v)))


@pytest.mark.parametrize("make", [lines, lenet, mobile, grouped, one_dimension, inception], ids=lambda make: make.__name__)
def test_line_buffers(make: Callable[[], Graph], tmp_path: Path) -> None:
    graph = make()
    bundle, _ = co_verify(graph, all_taps(graph), tmp_path)
    found = {stage.layer: stage.engine for stage in bundle.design.stages if isinstance(stage.engine, LineBuffer)}
    assert len(found) == {"lines": 7, "lenet": 4, "mobile": 2, "grouped": 3, "one_dimension": 2, "inception": 3}[make.__name__]
    if make is lines:
        assert [engine.word_out.type for engine in found.values()][:2] == [TERNARY, TERNARY]


def test_arithmetic_follows_the_operands() -> None:
    from hwsim.design import make_design

    def arithmetics(graph: Graph) -> list[str]:
        stages = make_design(graph, auto_plan(graph, fps=20_000)).stages
        return [stage.engine.arithmetic for stage in stages if isinstance(stage.engine, Mvu)]

    assert arithmetics(tbn()) == ["planes"] * 3
    assert arithmetics(inception()) == ["xnor", "planes", "planes"]
    assert arithmetics(adder()) == ["distance", "distance"]
    assert set(arithmetics(lenet())) == {"planes"}


def test_one_word_less_in_a_queue_costs_cycles() -> None:
    """The shortcut of a residual network has to hold what its other branch is behind; with one word less, frames take longer,
    or a join waits for ever: at once, or when the source is slow."""
    from hwsim.design import make_design
    from hwsim.queues import stops

    for make in (residual, gated, inception):
        graph = make()
        design = make_design(graph, auto_plan(graph, fps=20_000))
        goal = design.rate()
        deep = {name: depth for name, depth in design.depths.items() if depth > 2}
        assert deep
        for name, depth in deep.items():
            shallow = design.with_depths({name: depth - 1})
            assert stops(shallow) or shallow.rate() > goal, (make.__name__, name)


def test_a_plan_that_stops_with_a_slow_source_is_refused() -> None:
    from hwsim.design import make_design
    from hwsim.plan import PlanError
    from hwsim.queues import stops

    graph = inception()
    design = make_design(graph, auto_plan(graph, fps=20_000))
    (depth,) = design.plan.layers["conv2d0"].fifo_depth or ()
    tight = design.with_depths({"l0_fifo": depth - 1})
    assert stops(tight) and tight.rate() == design.rate()  # at the full rate, as long as the source is quick
    layers = design.plan.layers | {"conv2d0": replace(design.plan.layers["conv2d0"], fifo_depth=(depth - 1,))}
    with pytest.raises(PlanError, match=f"layer 'conv2d0': fifo_depth is {depth - 1}, with which the design stops .* give {depth}"):
        make_design(graph, replace(design.plan, layers=layers))


def test_one_word_less_costs_cycles_on_the_rtl(tmp_path: Path) -> None:
    """The same network built with the depths that hwsim chose, and with one word less where the shortcut waits."""
    from hwsim.design import make_design

    graph = residual()
    chosen = make_design(graph, auto_plan(graph, fps=300_000)).plan
    name = max(chosen.layers, key=lambda name: max(chosen.layers[name].fifo_depth or (0,)))
    depths = list(chosen.layers[name].fifo_depth or ())
    depths[depths.index(max(depths))] -= 1
    shallow = replace(chosen, layers=chosen.layers | {name: replace(chosen.layers[name], fifo_depth=tuple(depths))})
    last = []
    for plan, folder in ((chosen, tmp_path / "chosen"), (shallow, tmp_path / "shallow")):
        folder.mkdir()
        _, result = co_verify(graph, plan, folder)
        last.append(result.patterns["unstalled"]["last_output_cycle"])
    assert last[1] > last[0]


def test_equal_blocks_are_one_module(tmp_path: Path) -> None:
    n = Net("twice", (5, 5, 4), unsigned(3))
    v = n.x
    for _ in range(2):
        v = n.node(MaxPool2d((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), v)
    graph = n.done(v)
    bundle, _ = co_verify(graph, auto_plan(graph), tmp_path)
    assert sorted(path.name for path in (bundle.path / "rtl").glob("twice_*.v")) == ["twice_control.v", "twice_l0_lines.v", "twice_l0_pool.v"]
    assert (bundle.path / "rtl" / "twice.v").read_text().count("twice_l0_lines ") == 2

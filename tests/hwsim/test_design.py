"""Designs: rates, queue depths that cost no cycle, and plans made for a wanted rate."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import bitwright
from hwsim.autoplan import auto_plan
from hwsim.design import Design, Stage, ample_design
from hwsim.engines.fifo import StreamFifo
from hwsim.engines.linebuffer import LineBuffer
from hwsim.engines.window import Window
from hwsim.layers import MappingError, collect, divisors
from hwsim.plan import Plan, PlanError
from hwsim.queues import LEAST_DEPTH
from intir import (
    BIPOLAR,
    Add,
    ArgMax,
    Conv2d,
    GlobalSumPool,
    Graph,
    GraphBuilder,
    IntType,
    MatMul,
    MaxPool2d,
    Reshape,
    Slice,
    Threshold,
    Transpose,
    signed,
    unsigned,
)
from tests.conftest import REPOSITORY
from tests.networks import folded, make_design, mlp, with_depths


@pytest.fixture(scope="module")
def tfc() -> Graph:
    return bitwright.lower(REPOSITORY / "examples" / "tfc" / "tfc_w1a1.onnx", input="u8/255").graph


#: FINN's public folding for this network.
FINN = [(16, 49), (8, 8), (8, 8), (10, 8)]


def test_finns_folding_of_tfc(tfc: Graph) -> None:
    """One frame every 64 cycles, and a first output long before the layers' cycles add up."""
    design = make_design(tfc, auto_plan(tfc, folding=FINN))
    ii, latency = design.rate()
    assert ii == design.bottleneck_cycles == 64
    assert latency < 200


def random_case(seed: int) -> tuple[Graph, Plan]:
    rng = np.random.default_rng(seed)
    sizes = [int(rng.choice([4, 6, 8, 12, 16, 24])) for _ in range(int(rng.integers(2, 5)))]
    pixels = bool(seed % 2)
    graph = mlp(sizes, x=unsigned(8) if pixels else BIPOLAR, quantize=BIPOLAR if pixels else None,
                head=["logits", "argmax", "levels"][seed % 3], seed=seed)
    folding = [(int(rng.choice(divisors(n))), int(rng.choice(divisors(k)))) for k, n in itertools.pairwise(sizes)]
    return graph, folded(graph, folding, [str(rng.choice(["inputs", "outputs"])) for _ in folding])


@pytest.mark.parametrize("seed", range(24))
def test_the_slowest_block_sets_the_interval_and_it_stays(seed: int) -> None:
    design = make_design(*random_case(seed))
    trace = design.simulate(30)
    ends = trace.out_cycles[design.words_out - 1::design.words_out]
    assert np.diff(ends)[4:].tolist() == [design.bottleneck_cycles] * 25
    assert design.rate() == (design.bottleneck_cycles, trace.out_cycles[0] - trace.in_cycles[0])


def open_queues(design: Design) -> dict[str, int]:
    return {stage.layer: stage.engine.depth for stage in design.stages if isinstance(stage.engine, StreamFifo)}


#: Cases in which a queue of more than the least depth pays.
DEEP = (9, 15, 19, 20, 21, 33, 39)


@pytest.mark.parametrize("seed", [*range(8), *DEEP])
def test_chosen_queues_cost_no_cycle_and_one_word_less_would(seed: int) -> None:
    graph, plan = random_case(seed)
    design = make_design(graph, plan)
    goal = ample_design(graph, plan).rate()
    assert design.rate() == goal
    for layer, depth in open_queues(design).items():
        assert depth >= LEAST_DEPTH
        if depth > LEAST_DEPTH:
            shallow = make_design(graph, with_depths(plan, open_queues(design) | {layer: depth - 1})).rate()
            assert shallow != goal
            assert shallow[0] >= goal[0]
            assert shallow[1] >= goal[1]


def test_some_queues_are_deeper_than_the_least(tfc: Graph) -> None:
    """Else the test above would not test its second half."""
    assert all(max(open_queues(make_design(*random_case(seed))).values()) > LEAST_DEPTH for seed in DEEP)
    assert max(open_queues(make_design(tfc, auto_plan(tfc, folding=FINN))).values()) > LEAST_DEPTH


def test_depths_of_the_plan_are_kept() -> None:
    graph, plan = random_case(3)
    wanted = dict.fromkeys(plan.layers, 9)
    design = make_design(graph, with_depths(plan, wanted))
    assert open_queues(design) == wanted
    assert {name: layer.fifo_depth for name, layer in design.plan.layers.items()} == {name: (depth,) for name, depth in wanted.items()}


def test_a_design_fills_in_its_plan() -> None:
    graph, plan = random_case(4)
    assert all(layer.fifo_depth is None for layer in plan.layers.values())
    design = make_design(graph, plan)
    assert {name: layer.fifo_depth for name, layer in design.plan.layers.items()} == {name: (depth,) for name, depth in open_queues(design).items()}
    assert make_design(graph, design.plan).rate() == design.rate()


def test_the_queue_stands_where_words_are_widest() -> None:
    """96 -> pe 32, simd 24: up to 96 elements, the queue, down to 24."""
    graph = mlp((8, 96, 4))
    design = make_design(graph, folded(graph, [(32, 8), (4, 24)]))
    assert [stage.name for stage in design.stages] == ["l0_mvu", "l1_width", "l0_fifo", "l1_width1", "l1_mvu", "l1_fifo"]
    lanes = [(stage.engine.word_in.lanes, stage.engine.word_out.lanes) for stage in design.stages]
    assert lanes == [(8, 32), (32, 96), (96, 96), (96, 24), (24, 4), (4, 4)]
    assert [stage.rounds for stage in design.stages] == [1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("seed", range(8))
def test_words_of_neighbours_fit(seed: int) -> None:
    graph, plan = random_case(seed)
    stages = make_design(graph, plan).stages

    def elements(stage: Stage, side: str) -> int:
        """Per frame, at the input or the output."""
        words = 1 if isinstance(stage.engine, StreamFifo) else getattr(stage.engine.schedule, f"words_{side}")
        return stage.rounds * words * getattr(stage.engine, f"word_{side}").lanes

    for before, after in itertools.pairwise(stages):
        assert before.engine.word_out == after.engine.word_in
        assert elements(before, "out") == elements(after, "in")
    assert elements(stages[0], "in") == graph.values["x"].elements
    assert elements(stages[-1], "out") == graph.values[graph.output.value].elements
    assert len({stage.name for stage in stages}) == len(stages)


@pytest.mark.parametrize("fps", [1, 1e4, 3e5, 1.1e6, 5e6, 2e7, 1e8])
@pytest.mark.parametrize("kind", ["tfc", "argmax", "rows"])
def test_the_wanted_rate_is_reached(fps: float, kind: str, tfc: Graph) -> None:
    graph = {"tfc": tfc, "argmax": mlp((24, 16, 10), x=unsigned(8), quantize=BIPOLAR, head="argmax"),
             "rows": mlp((16, 8, 8), rows=8, head="argmax")}[kind]
    if kind == "rows" and fps == 1e8:
        with pytest.raises(PlanError, match=r"^1e\+08 frames per second at 100 MHz leave 1 cycles per frame, but the network takes at "
                                            r"least 8; lower the rate to 12,500,000 or raise the clock$"):
            auto_plan(graph, fps=fps)
    elif kind == "rows" and fps == 2e7:
        with pytest.raises(PlanError, match=r"leave 5 cycles per frame, but the network takes at least 8"):
            auto_plan(graph, fps=fps)
    else:
        ii, _ = make_design(graph, auto_plan(graph, fps=fps)).rate()
        assert 100e6 / ii >= fps


def test_a_faster_plan_is_larger_and_a_faster_clock_makes_it_smaller(tfc: Graph) -> None:
    def synapses(plan: Plan) -> int:
        return sum(layer.pe * layer.simd for layer in plan.layers.values() if layer.simd)

    slow, fast = auto_plan(tfc, fps=1e4), auto_plan(tfc, fps=1e6)
    assert synapses(slow) < synapses(fast)
    assert synapses(auto_plan(tfc, fps=1e6, clock_mhz=400)) < synapses(fast)


@pytest.mark.parametrize(("options", "sentence"), [
    ({"fps": 0}, "0 frames per second wanted; give a positive rate"),
    ({"fps": -5.0}, "-5.0 frames per second wanted; give a positive rate"),
    ({"fps": float("nan")}, "nan frames per second wanted; give a positive rate"),
    ({"fps": float("inf")}, "inf frames per second at 100 MHz leave 0 cycles per frame, but the network takes at least 1; lower the rate to 100,000,000 or "
                            "raise the clock"),
    ({"fps": 2e8}, "2e+08 frames per second at 100 MHz leave 0 cycles per frame, but the network takes at least 1; lower the rate to 100,000,000 or "
                   "raise the clock"),
    ({"folding": [(1, 1), (1, 1)], "fps": 2e6}, "layer 'fc0' with pe = 1, simd = 1 takes 96 cycles per frame, but 2e+06 frames per second at "
                                                "100 MHz leave 50; fold it less, or give no rate"),
    ({"folding": [(1, 1)]}, "1 foldings given, but the network has 2 matrix layers (fc0, fc1); give one PE,SIMD for each"),
    ({"folding": [(3, 1), (1, 1)]}, "layer 'fc0': pe = 3 does not divide its 8 outputs; the nearest that do are 2 and 4"),
    ({"folding": [(1, 5), (1, 1)]}, "layer 'fc0': simd = 5 does not divide its 12 inputs; the nearest that do are 4 and 6"),
    ({"clock_mhz": 0.0}, "a clock of 0 MHz; give one between 0.001 and 10000"),
    ({"clock_mhz": float("nan"), "fps": 1.0}, "a clock of nan MHz; give one between 0.001 and 10000"),
    ({"clock_mhz": -1.0}, "a clock of -1 MHz; give one between 0.001 and 10000"),
    ({"clock_mhz": 1e5}, "a clock of 100000 MHz; give one between 0.001 and 10000"),
    ({"family": "ice40"}, "the FPGA family is 'ice40'; choose one of xilinx, ecp5, generic"),
])
def test_plans_that_cannot_be_made(options: dict, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        auto_plan(mlp((12, 8, 4)), **options)
    assert str(caught.value) == sentence


def test_the_slowest_rate_there_is() -> None:
    graph = mlp((12, 8, 4))
    plan = auto_plan(graph, fps=1e-310)
    assert [(layer.pe, layer.simd) for layer in plan.layers.values()] == [(1, 1), (1, 1)]


def chain(*ops: object, shape: tuple[int, ...] = (4,), kind: IntType = BIPOLAR) -> Graph:
    build = GraphBuilder("chain")
    value = build.input("x", shape, kind)
    for op in ops:
        value = build.node(op, value)
    build.output(value)
    return build.build()


@pytest.mark.parametrize(("cycles", "lined"), [(307, True), (650, True), (2400, False)])
def test_windows_come_from_what_is_smallest_at_the_wanted_rate(cycles: int, lined: bool) -> None:
    """16 x 16 pixels, 256 windows of 9 taps and 8 channels: a window unit takes 2,304 cycles or more, a line buffer 307."""
    weights = np.random.default_rng(0).integers(-4, 4, (3, 3, 8, 8))
    graph = chain(Conv2d(weights, (1, 1), (1, 1), (1, 1, 1, 1), 0, 1), MaxPool2d((3, 3), (2, 2)), shape=(16, 16, 8), kind=unsigned(3))
    with pytest.raises(PlanError, match="leave 306 cycles per frame, but the network takes at least 307; lower the rate to 325,732 or raise the clock"):
        auto_plan(graph, fps=100e6 / 306)
    design = ample_design(graph, auto_plan(graph, fps=100e6 / cycles))
    assert design.rate()[0] <= cycles
    engines = [type(stage.engine) for stage in design.stages if stage.layer == "conv2d0"]
    assert (LineBuffer in engines, Window in engines) == (lined, not lined)


def test_layers_take_thresholds_along_and_skip_reshapes() -> None:
    found = collect(chain(MatMul(np.ones((4, 6), np.int64)), Threshold(np.zeros((6, 1), np.int64), BIPOLAR), Reshape((2, 3)),
                         Threshold(np.zeros((3, 1), np.int64), BIPOLAR), Reshape((6,)), ArgMax()))
    assert [(layer.name, layer.engine, len(layer.nodes), layer.shape_in, layer.shape) for layer in found] == [
        ("matmul0", "mvu", 2, (4,), (6,)), ("threshold1", "thresholding", 1, (2, 3), (2, 3)), ("argmax0", "argmax", 1, (6,), (1,))]


def test_what_no_engine_runs() -> None:
    empty = GraphBuilder("empty")
    empty.output(empty.input("x", (4,), BIPOLAR))
    deep = chain(Transpose((3, 0, 1, 2)), shape=(2, 2, 2, 2))
    build = GraphBuilder("bias")
    x = build.input("x", (3, 2, 4), BIPOLAR)
    row = build.node(Slice((0, 0, 0), (1, 2, 4), (1, 1, 1)), x)
    build.output(build.node(Add(), x, row))
    unread = GraphBuilder("unread")
    unread.output(unread.node(Threshold(np.zeros((1, 1), np.int64), BIPOLAR), unread.input("y", (4,), signed(4))))
    unread.node(Reshape((2, 2)), unread.node(MatMul(np.ones((4, 4), np.int64)), "y", name="lost"))
    for graph, start in [
            (unread.build(), "node 'reshape0' (Reshape) makes 'reshape0', which no node reads and which is no output; remove the node"),
            (deep, "node 'transpose0' (Transpose) moves a tensor of shape (2, 2, 2, 2); hardware moves (rows, columns, channels)"),
            (build.build(), "node 'add0' (Add) joins tensors of shapes (3, 2, 4) and (1, 2, 4); hardware repeats one of them along all"),
            (empty.build(), "graph 'empty' computes nothing: its output is its input; lower a network with layers")]:
        with pytest.raises(MappingError) as caught:
            collect(graph)
        assert str(caught.value).startswith(start)


def test_depths_are_given_for_each_reader() -> None:
    build = GraphBuilder("fork")
    x = build.input("x", (4,), signed(4))
    a = build.node(MatMul(np.ones((4, 4), np.int64)), x)
    build.output(build.node(Add(), a, build.node(MatMul(np.ones((4, 4), np.int64)), a)))
    graph = build.build()
    plan = auto_plan(graph, folding=[(1, 1), (1, 1)])
    first = graph.nodes[0].name
    deep = replace(plan, layers=plan.layers | {first: replace(plan.layers[first], fifo_depth=(3, 40))})
    design = make_design(graph, deep)
    assert design.depths["l0_fifo"] == 3
    assert design.depths["l0_fifo1"] == 40
    wrong = replace(plan, layers=plan.layers | {first: replace(plan.layers[first], fifo_depth=(3,))})
    with pytest.raises(PlanError, match=r"^layer 'matmul0': fifo_depth has 1 depth for 2 readers \(matmul1, add0\); give one depth for each$"):
        make_design(graph, wrong)


def test_queues_too_shallow_for_a_join() -> None:
    """The pixels of a shortcut wait for a convolution's rows; with no room for them nothing moves, and the error says which queue."""
    build = GraphBuilder("shortcut")
    a = build.node(Threshold(np.arange(3)[None], unsigned(2)), build.input("x", (6, 6, 1), signed(4)), name="a")
    b = build.node(Conv2d(np.ones((3, 3, 1, 1), np.int64), pads=(1, 1, 1, 1)), a, name="b")
    build.output(build.node(Add(), a, b, name="sum"))
    graph = build.build()
    plan = auto_plan(graph, folding=[(1, 1)])
    made = make_design(graph, plan)
    by_reader = made.plan.layers["a"].fifo_depth
    assert by_reader is not None
    assert max(by_reader) > LEAST_DEPTH
    shallow = replace(plan, layers={name: replace(entry, fifo_depth=(2,) * (1 + (name == "a"))) for name, entry in plan.layers.items()})
    with pytest.raises(PlanError, match=rf"^layer 'a': fifo_depth is \[2, 2\], with which the design stops for ever: a join waits for words "
                                        rf"that a full queue keeps back; give \[{by_reader[0]}, {by_reader[1]}\], which costs no cycle, or"):
        make_design(graph, shallow)
    mended = replace(shallow, layers=shallow.layers | {"a": replace(shallow.layers["a"], fifo_depth=by_reader)})
    assert make_design(graph, mended).rate() == made.rate()


def test_what_a_layer_or_the_input_has_not() -> None:
    graph = chain(MatMul(np.ones((4, 6), np.int64)), Reshape((2, 3)), GlobalSumPool())
    plan = auto_plan(graph)
    for name in plan.layers:
        wrong = replace(plan, layers=plan.layers | {name: replace(plan.layers[name], window_memory="block")})
        with pytest.raises(PlanError, match=f"^layer '{name}': window_memory is 'block', but the layer keeps no rows for windows; remove"):
            make_design(graph, wrong)
    with pytest.raises(PlanError, match="^the plan: input_fifo_depth is given, but only layer 'matmul0' reads the input, which has no queue"):
        make_design(graph, replace(plan, input_fifo_depth=(2,)))


def test_weights_too_many_to_build_in() -> None:
    """Said at once: the search for the adders of so many would take minutes."""
    graph = chain(MatMul(np.random.default_rng(0).integers(-8, 8, (1024, 512))), shape=(1024,), kind=unsigned(4))
    with pytest.raises(PlanError, match=r"^layer 'matmul0': pe = 512, simd = 1024 builds all 524,288 weights into logic, about [\d,]+ LUTs, more "
                                        r"than any device has; pe = 256 keeps them in memories$"):
        auto_plan(graph, folding=[(512, 1024)])


def test_equal_plans_make_equal_designs() -> None:
    graph, plan = random_case(7)
    one, two = make_design(graph, plan), make_design(graph, replace(plan))
    assert [(stage.name, stage.engine) for stage in one.stages] == [(stage.name, stage.engine) for stage in two.stages]

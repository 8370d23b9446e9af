"""Layers of convolutions and pools, built from their blocks: any shape, any folding, against the reference of the IR."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.generate import _component
from hwsim.dataflow import ALWAYS
from hwsim.design import Design, make_design
from hwsim.engines.linebuffer import LineBuffer
from hwsim.engines.mvu import ORDERS
from hwsim.engines.window import Window
from hwsim.layers import collect
from hwsim.plan import LayerPlan, Plan, PlanError, fingerprint
from intir import (
    BIPOLAR,
    TERNARY,
    Conv2d,
    ConvTranspose2d,
    Graph,
    GraphBuilder,
    IntType,
    L1Conv2d,
    MaxPool2d,
    Op,
    SumPool2d,
    Threshold,
    run,
    signed,
    unsigned,
)
from tests.codegen.harness import Driver, packed, unpacked
from tests.networks import draw

Int64 = NDArray[np.int64]
FRAMES = 2


def network(op: Op, shape: tuple[int, ...], kind: IntType, levels: IntType | None = None) -> Graph:
    build = GraphBuilder("unit")
    value = build.node(op, build.input("x", shape, kind), name="op")
    if levels is not None:
        bounds = build.ranges[value]
        middle = (bounds.lo + bounds.hi) // 2
        value = build.node(Threshold(middle[:, None] + np.arange(levels.levels - 1), levels), value)
    build.output(value)
    return build.build()


def planned(graph: Graph, entry: LayerPlan) -> Design:
    return make_design(graph, Plan(graph.name, fingerprint(graph), {"op": entry}))


def computed(design: Design, x: Int64) -> Int64:
    """What the blocks of a design make of frames, one block after the other."""
    words, word = packed(x, design.word_in), design.word_in
    for stage in design.stages:
        rounds = stage.timing.words_out if hasattr(stage.timing, "words_out") else 1
        driver = Driver(_component(stage, stage.name))
        words = driver.run(words, FRAMES * stage.rounds * rounds, ALWAYS, ALWAYS).out_words
        word = stage.engine.word_out
    return unpacked(words, word).reshape(len(x), -1)


def check(graph: Graph, entry: LayerPlan, seed: int = 0) -> Design:
    """The blocks give the reference's integers, at the rate that the layer states."""
    shape, kind = graph.values["x"].shape, graph.values["x"].type
    x = draw(kind, (FRAMES, *shape), np.random.default_rng(seed))
    design = planned(graph, entry)
    assert computed(design, x).tolist() == run(graph, x).reshape(FRAMES, -1).tolist()
    (layer,) = collect(graph)
    ii, _ = design.rate()
    if any(isinstance(stage.engine, LineBuffer) for stage in design.stages):
        assert ii == layer.cycles(entry)
    else:
        assert ii >= layer.cycles(entry)
    return design


KINDS = [(unsigned(3), signed(3)), (BIPOLAR, BIPOLAR), (TERNARY, BIPOLAR), (unsigned(2), TERNARY), (signed(3), IntType(-3, 3, 2))]


def convolution(rng: np.random.Generator) -> tuple[Graph, LayerPlan]:
    """A convolution of any kind and groups, thresholds behind some, and one of its foldings."""
    def one(*choices: object) -> object:
        return choices[rng.integers(len(choices))]

    groups, each, outputs = one(1, 1, 2, 3), one(1, 2, 4), one(1, 2, 3)
    height, width = (int(n) for n in rng.integers(1, 6, 2))
    kernel, stride, dilation = (tuple(rng.integers(1, 4, 2).tolist()) for _ in range(3))
    dilation = one((1, 1), (1, 1), dilation)
    kind, w_kind = one(*KINDS)
    weights = rng.integers(0, w_kind.levels, (*kernel, each, groups * outputs)) * w_kind.step + w_kind.lo
    operation = one(Conv2d, Conv2d, ConvTranspose2d, L1Conv2d)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if operation is ConvTranspose2d:
        cuts = [min(r, int(rng.integers(2))) for r in (*reach, *reach)]
        size = [(n - 1) * s + r + 1 - cuts[i] - cuts[i + 2] for i, (n, s, r) in enumerate(zip((height, width), stride, reach, strict=True))]
        op: Op = ConvTranspose2d(weights, stride, dilation, tuple(cuts) if min(size) > 0 else (0, 0, 0, 0),
                                 (one(0, stride[0] - 1), 0), groups)
    else:
        lack = [max(0, r + 1 - n) for r, n in zip(reach, (height, width), strict=True)]
        pads = rng.integers(0, 3, 4).tolist() if one(True, True, False) else [0] * 4
        op = operation(weights, stride, dilation, (pads[0], pads[1], pads[2] + lack[0], pads[3] + lack[1]), one(0, kind.lo, 1), groups)
    graph = network(op, (height, width, groups * each), kind, one(None, BIPOLAR, unsigned(2)))
    (layer,) = collect(graph)
    entries = layer.foldings()
    if one(True, False):  # as many line buffers as windows
        entries = [entry for entry in entries if layer.is_lined(entry)] or entries
    entry = one(*entries)
    return graph, LayerPlan(entry.engine, entry.pe, entry.simd, one(*ORDERS) if layer.has_simd else None)


@pytest.mark.parametrize("seed", range(60))
def test_any_convolution(seed: int) -> None:
    check(*convolution(np.random.default_rng(seed)), seed)


POOLS = [
    (MaxPool2d((2, 2), (2, 2)), (4, 6, 4)),
    (MaxPool2d((3, 2), (1, 2), (1, 2), (1, 1, 1, 1)), (4, 5, 2)),
    (SumPool2d((3, 3), (2, 1), (1, 1), (1, 0, 1, 2), -2), (3, 4, 2)),
    (SumPool2d((1, 3), (1, 2)), (1, 9, 2)),
]


@pytest.mark.parametrize("kind", [unsigned(3), BIPOLAR, IntType(-3, 3, 2)], ids=str)
@pytest.mark.parametrize("pe", [1, 2])
@pytest.mark.parametrize("number", range(len(POOLS)))
def test_pools_of_all_taps(number: int, pe: int, kind: IntType) -> None:
    op, shape = POOLS[number]
    graph = network(op, shape, kind)
    taps = op.kernel[0] * op.kernel[1]
    engines = [type(stage.engine) for stage in check(graph, LayerPlan("pool", pe, taps)).stages]
    assert LineBuffer in engines
    assert Window not in engines
    assert planned(graph, LayerPlan("pool", pe, 1)).rate() == planned(graph, LayerPlan("pool", pe)).rate()


def test_the_vector_of_a_line_buffer_is_as_wide_as_the_plan_says() -> None:
    graph = network(Conv2d(np.ones((3, 3, 4, 6), np.int64), (1, 1), (1, 1), (1, 1, 1, 1), 0, 1), (8, 8, 4), unsigned(3))
    for simd, cycles in ((36, 10 * 9 + 1), (18, 2 * (10 * 9 + 1)), (4, 8 * 8 * 9)):
        design = check(graph, LayerPlan("mvu", 6, simd, "outputs"))
        engine = next(stage.engine for stage in design.stages if stage.engine.kind in ("mvu", "unrolled"))
        assert (engine.word_in.lanes, collect(graph)[0].cycles(LayerPlan("mvu", 6, simd))) == (simd, cycles)


CONV = network(Conv2d(np.ones((3, 3, 4, 6), np.int64), (1, 1), (1, 1), (0, 0, 0, 0), 0, 2), (5, 5, 8), unsigned(3))
DEPTHWISE = network(Conv2d(np.ones((3, 3, 1, 4), np.int64), (1, 1), (1, 1), (0, 0, 0, 0), 0, 4), (5, 5, 4), unsigned(3))
ALL_PADS = network(SumPool2d((2, 2), (1, 1), (1, 1), (2, 0, 0, 0)), (5, 5, 4), unsigned(3))


@pytest.mark.parametrize(("graph", "entry", "sentence"), [
    (CONV, LayerPlan("mvu", 3, 12), "layer 'op': its windows cannot give simd = 12 inputs at a time; the nearest that they can is 9 or 18"),
    (CONV, LayerPlan("mvu", 2, 12), "layer 'op': pe = 2 does not divide its 3 outputs of a group; the nearest that do are 1 and 3"),
    (CONV, LayerPlan("mvu", 3), "layer 'op' has no simd; give one that divides its 36 inputs"),
    (DEPTHWISE, LayerPlan("vvu", 2, 3), "layer 'op': simd = 3, but the engine 'vvu' takes so many taps of its windows at a time: 1 or 9"),
    (DEPTHWISE, LayerPlan("vvu", 2, 9, "inputs"), "layer 'op': the engine 'vvu' has no order, but the plan says 'inputs'; remove that line"),
    (ALL_PADS, LayerPlan("pool", 2, 4), "layer 'op': simd = 4, but the engine 'pool' takes so many taps of its windows at a time: 1"),
])
def test_foldings_that_no_window_gives(graph: Graph, entry: LayerPlan, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        planned(graph, entry)
    assert str(caught.value) == sentence

"""Small designs that have every kind of block between them, for lint, Yosys and byte-for-byte comparisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hwsim.autoplan import auto_plan
from hwsim.layers import collect
from hwsim.plan import Plan
from intir import (
    BIPOLAR,
    Add,
    ChannelPermute,
    Clip,
    Concat,
    Conv2d,
    GlobalSumPool,
    Graph,
    GraphBuilder,
    IntType,
    Lookup,
    MatMul,
    MaxPool2d,
    Requant,
    ScaleChannels,
    Threshold,
    TopK,
    signed,
    unsigned,
)
from tests.codegen.conftest import every_block
from tests.networks import draw, folded, mlp, sparse_mlp

Case = tuple[Graph, Plan]


def dense() -> Case:
    """Binary layers in both orders, thresholds in memory, queues, converters up and down, argmax."""
    return every_block("dense")


def unrolled() -> Case:
    """All weights built in: adder graphs, popcounts."""
    graph = mlp((7, 9, 5), x=signed(4), w=signed(5), act=unsigned(3), name="unrolled")
    return graph, folded(graph, [(9, 7), (5, 9)])


def integers() -> Case:
    """Weights and activations of several bits, folded: bit planes and multipliers."""
    graph = mlp((12, 8, 6), x=signed(4), w=IntType(-3, 3, 2), act=unsigned(2), name="integers")
    return graph, folded(graph, [(2, 3), (3, 4)], "inputs")


def sparse() -> Case:
    """A sparse engine with its weights built in."""
    graph = sparse_mlp((12, 16, 6))
    return graph, auto_plan(graph, sparse=2)


def loaded() -> Case:
    """A sparse engine whose weights come over a port."""
    graph = sparse_mlp((12, 8), name="loaded")
    plan = auto_plan(graph, sparse=2)
    return graph, replace(plan, layers={name: replace(layer, weights="loaded") for name, layer in plan.layers.items()})


def convolutions() -> Case:
    """A window, a line buffer, a depthwise convolution, a pool, a fork that joins again, and what is applied to single elements."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("convolutions")
    x = build.input("x", (6, 6, 2), BIPOLAR)

    def weights(*shape: int) -> np.ndarray:
        return draw(signed(3), shape, rng)

    def conv(value: str, inputs: int, outputs: int, name: str, groups: int = 1) -> str:
        made = build.node(Conv2d(weights(3, 3, inputs // groups, outputs), (1, 1), (1, 1), (1, 1, 1, 1), 0, groups), value, name=name)
        return build.node(Threshold(np.sort(rng.integers(-6, 6, (outputs, 3)), axis=1), unsigned(2)), made, name=f"{name}_act")

    value = conv(x, 2, 4, "first")
    other = conv(value, 4, 4, "depthwise", groups=4)
    value = build.node(Add(), value, other, name="sum")
    value = build.node(MaxPool2d((2, 2), (2, 2), (1, 1), (0, 0, 0, 0)), value, name="pool")
    value = build.node(Concat(2), value, conv(value, 4, 2, "third"), name="both")
    value = build.node(ScaleChannels(np.array([3, 2, 1, 5, 4, 2]), np.array([0, 1, -2, 3, 0, 1])), value, name="scale")
    value = build.node(Clip(0, 20), value, name="clip")
    value = build.node(Requant(np.full(1, 5), np.full(1, 3), np.zeros(1, np.int64), "half_even", unsigned(3)), value, name="requant")
    value = build.node(Lookup(np.arange(8)[None, ::-1].copy(), unsigned(3)), value, name="table")
    value = build.node(ChannelPermute(np.array([3, 0, 5, 1, 4, 2])), value, name="shuffled")
    value = build.node(GlobalSumPool(), value, name="mean")
    build.output(build.node(TopK(2), build.node(MatMul(weights(6, 5)), value, name="last"), name="best"))
    graph = build.build()
    plan = auto_plan(graph, fps=20_000)
    layer = next(layer for layer in collect(graph) if layer.name == "third")
    line = next(simd for simd in layer.simd_choices() if layer.is_lined(replace(plan.layers["third"], simd=simd)))
    return graph, replace(plan, layers=plan.layers | {"third": replace(plan.layers["third"], simd=line)})


def dead() -> Case:
    """Outputs that are always or never on: comparisons with constants at the ends of the range."""
    build = GraphBuilder("dead")
    value = build.node(MatMul(np.random.default_rng(5).choice([-1, 1], (6, 4))), build.input("x", (6,), BIPOLAR), name="fc")
    build.output(build.node(Threshold(np.array([[-100], [100], [0], [2]]), BIPOLAR), value, name="act"))
    graph = build.build()
    return graph, folded(graph, [(4, 3)])


DESIGNS: dict[str, Callable[[], Case]] = {make.__name__: make for make in (dense, unrolled, integers, sparse, loaded, convolutions, dead)}

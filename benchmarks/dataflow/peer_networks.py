"""The networks that peers build, too: the shapes of the published comparison, random integer weights, power-of-two requantizers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from intir import (
    BIPOLAR,
    Conv2d,
    Graph,
    GraphBuilder,
    IntType,
    MatMul,
    MaxPool2d,
    Op,
    Requant,
    Reshape,
    Threshold,
    signed,
    unsigned,
)


def _weights(rng: np.random.Generator, kind: IntType, shape: Sequence[int]) -> NDArray[np.int64]:
    return kind.lo + kind.step * rng.integers(0, kind.levels, tuple(shape))


def _requant(fan_in: int, weights: IntType, source: IntType, out: IntType) -> Requant:
    """A shift that brings most sums of random weights and inputs into the output's range."""
    spread = np.sqrt(fan_in) * max(abs(weights.lo), weights.hi) * max(abs(source.lo), source.hi) / 2
    shift = max(0, int(np.ceil(np.log2(spread / out.hi))))
    return Requant(np.array([1]), np.array([shift]), np.array([0]), "half_up", out)


def mlp(name: str, sizes: Sequence[int], source: IntType, weights: IntType, out: IntType, seed: int = 0) -> Graph:
    """A multilayer perceptron; bipolar activations are signs with thresholds, others requantized sums."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder(name)
    value, kind = build.input("x", (sizes[0],), source), source
    for inputs, outputs in itertools.pairwise(sizes):
        value = build.node(MatMul(_weights(rng, weights, (inputs, outputs))), value)
        if outputs != sizes[-1]:
            binary: Op = Threshold(rng.integers(-10, 11, (outputs, 1)), BIPOLAR)
            value = build.node(binary if out == BIPOLAR else _requant(inputs, weights, kind, out), value)
            kind = out
    build.output(value)
    return build.build()


def lenet(seed: int = 0) -> Graph:
    """6@5x5, pool, 16@5x5, pool, 120-84-10 on 28x28, without padding; int8 weights, activations of 0 to 127."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("lenet_int8")
    kind, weights = unsigned(7), signed(8)
    value = build.input("x", (28, 28, 1), kind)
    for inputs, outputs in ((1, 6), (6, 16)):
        value = build.node(Conv2d(_weights(rng, weights, (5, 5, inputs, outputs))), value)
        value = build.node(_requant(25 * inputs, weights, kind, kind), value)
        value = build.node(MaxPool2d((2, 2), (2, 2)), value)
    value = build.node(Reshape((256,)), value)
    for inputs, outputs in ((256, 120), (120, 84), (84, 10)):
        value = build.node(MatMul(_weights(rng, weights, (inputs, outputs))), value)
        if outputs != 10:
            value = build.node(_requant(inputs, weights, kind, kind), value)
    build.output(value)
    return build.build()


NETWORKS = {
    "mlp_w1": partial(mlp, "mlp_w1", (784, 64, 64, 10), BIPOLAR, BIPOLAR, BIPOLAR),
    "mlp_int8": partial(mlp, "mlp_int8", (784, 64, 64, 10), signed(8), signed(8), unsigned(7)),
    "mlp_6bit": partial(mlp, "mlp_6bit", (16, 64, 32, 32, 5), unsigned(6), signed(6), unsigned(6)),
    "lenet_int8": lenet,
}

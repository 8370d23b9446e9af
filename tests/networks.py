"""Small networks for tests: multilayer perceptrons with random weights and thresholds that split what occurs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwsim.autoplan import auto_plan
from hwsim.design import make_design as make_design
from hwsim.plan import Plan
from intir import BIPOLAR, ArgMax, Clip, Graph, GraphBuilder, IntType, MatMul, Requant, ScaleChannels, Threshold, unsigned

Int64 = NDArray[np.int64]
U4 = unsigned(4)


def draw(kind: IntType, shape: Sequence[int], rng: np.random.Generator) -> Int64:
    """Integers of a type; both its bounds occur, so that `IntType.of` finds the type again."""
    values = rng.integers(0, kind.levels, tuple(shape)) * kind.step + kind.lo
    values.ravel()[:2] = kind.lo, kind.hi
    return values


def mlp(sizes: Sequence[int], *, x: IntType = BIPOLAR, w: IntType = BIPOLAR, act: IntType = BIPOLAR, quantize: IntType | None = None,
        head: str = "logits", rows: int | None = None, seed: int = 0, name: str = "mlp") -> Graph:
    """A multilayer perceptron.

    Parameters
    ----------
    sizes : inputs, then outputs of each layer
    x, w, act : IntType
        Input, weights, activations.
    quantize : IntType, optional
        Begin with a quantizer of the input, one row of thresholds for all elements, to this type.
    head : ``logits``, ``argmax`` or ``levels`` (thresholds behind the last layer, too)
    rows : int, optional
        Vectors per frame; by default the input has one axis.
    """
    rng = np.random.default_rng(seed)
    build = GraphBuilder(name)
    shape = (sizes[0],) if rows is None else (rows, sizes[0])
    value, sample = build.input("x", shape, x), draw(x, (64, *shape), rng)

    def threshold(at: str, levels: Int64, out: IntType, name: str) -> str:
        nonlocal sample
        sample = out.lo + out.step * (sample[..., None] >= levels).sum(axis=-1)
        return build.node(Threshold(levels, out), at, name=name)

    if quantize is not None:
        value = threshold(value, np.sort(rng.choice(sample.ravel(), (1, quantize.levels - 1)), axis=1), quantize, "quantizer")
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weights = draw(w, (inputs, outputs), rng)
        value, sample = build.node(MatMul(weights), value, name=f"fc{number}"), sample @ weights
        if number < len(sizes) - 2 or head == "levels":
            seen = rng.permuted(sample.reshape(-1, outputs), axis=0)[:act.levels - 1]  # random frames lie on both sides
            value = threshold(value, np.sort(seen.T, axis=1), act, f"act{number}")
    if head == "argmax":
        value = build.node(ArgMax(), value, name="top")
    build.output(value)
    return build.build()


def sparse_mlp(sizes: Sequence[int], *, density: float = 0.2, codes: int = 15, x: IntType = U4, act: IntType = U4,
               post: str = "requant", seed: int = 0, name: str = "sparse") -> Graph:
    """A multilayer perceptron with pruned, shared weights.

    Parameters
    ----------
    sizes, x, act
        As for `mlp`.
    density : float
        Share of nonzero weights.
    codes : int
        Different values of those, at most, in each layer.
    post : ``requant``, ``scaled`` (ScaleChannels and Requant), ``thresholds`` or ``clip`` (ReLU alone), behind inner products
    """
    rng = np.random.default_rng(seed)
    build = GraphBuilder(name)
    value, sample = build.input("x", (sizes[0],), x), draw(x, (64, sizes[0]), rng) * (rng.random((64, sizes[0])) < 0.6)
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        book = rng.choice(np.setdiff1d(np.arange(-100, 100), [0]), codes, replace=False)
        weights = rng.choice(book, (inputs, outputs)) * (rng.random((inputs, outputs)) < density)
        value, sample = build.node(MatMul(weights), value, name=f"fc{number}"), sample @ weights
        if number == len(sizes) - 2:
            break
        if post == "clip":
            value, sample = build.node(Clip(0, 2**16), value, name=f"relu{number}"), np.clip(sample, 0, 2**16)
            continue
        if post == "thresholds":
            levels = np.sort(rng.permuted(sample, axis=0)[:act.levels - 1].T, axis=1)
            value, sample = build.node(Threshold(levels, act), value, name=f"act{number}"), act.lo + act.step * (sample[..., None] >= levels).sum(axis=-1)
            continue
        if post == "scaled":
            scale = ScaleChannels(rng.integers(1, 9, outputs), rng.integers(-200, 200, outputs))
            value, sample = build.node(scale, value, name=f"scale{number}"), sample * scale.multiplier + scale.offset
        shift = np.maximum(0, np.ceil(np.log2((np.abs(sample).max(axis=0) + 1) / act.hi))).astype(np.int64)
        requant = Requant(np.ones(1, np.int64), shift, np.zeros(1, np.int64), "half_even", act)
        value, sample = build.node(requant, value, name=f"act{number}"), np.clip(sample >> shift, act.lo, act.hi)
    build.output(value)
    return build.build()


def folded(graph: Graph, folding: Sequence[tuple[int, int]], orders: Sequence[str] | str = "outputs") -> Plan:
    """A plan with a folding and an order for each matrix layer."""
    plan = auto_plan(graph, folding=folding)
    orders = [orders] * len(folding) if isinstance(orders, str) else orders
    products = [layer for layer, entry in plan.layers.items() if entry.engine == "mvu"]
    changed = {layer: replace(plan.layers[layer], order=order) for layer, order in zip(products, orders, strict=True)}
    return replace(plan, layers=plan.layers | changed)


def with_depths(plan: Plan, depths: dict[str, int | None]) -> Plan:
    """A plan with other queue depths."""
    return replace(plan, layers={name: replace(layer, fifo_depth=(depths[name],) if depths.get(name) else layer.fifo_depth) for name, layer in plan.layers.items()})


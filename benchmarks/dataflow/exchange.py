"""An IR graph in the form that the peers' scripts read: layers with integer weights, each with one requantizer.

A layer computes ``act(round((x * weights + bias) * multiplier / 2**shift))`` and perhaps a maximum over windows.  Peers have
requantizers of their own, so `describe` says this for every chain of nodes that is near enough: power-of-two gains come out
exactly, others with multipliers of eight bits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environments import PeerError
from intir import (
    BIPOLAR,
    ArgMax,
    Clip,
    Conv2d,
    Graph,
    IntType,
    MatMul,
    MaxPool2d,
    Node,
    Requant,
    Reshape,
    ScaleChannels,
    Threshold,
)
from intir.reference import run_all

MULTIPLIER_BITS = 8


@dataclass
class _Layer:
    """A product, and what follows up to the next: ``gain * accumulator + offset``, then the activation."""

    weights: NDArray[np.int64]
    options: dict[str, Any]
    gain: NDArray[np.float64] = field(init=False)
    offset: NDArray[np.float64] = field(init=False)
    activation: str = ""
    out: IntType | None = None

    def __post_init__(self) -> None:
        outputs = self.weights.shape[-1]
        self.gain, self.offset = np.ones(outputs), np.zeros(outputs)

    def scale(self, gain: NDArray[Any], offset: NDArray[Any]) -> None:
        self.gain, self.offset = self.gain * gain, self.offset * gain + offset

    def close(self, activation: str, out: IntType, node: Node) -> None:
        if self.activation:
            raise PeerError(f"'{node.name}' is the second requantizer after one product, which the peers' layers do not have")
        self.activation, self.out = activation, out


def describe(graph: Graph, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Arrays for ``np.savez``: the network, one input ``x`` and, for comparison, what the reference makes of it.

    Parameters
    ----------
    graph : Graph
        A chain of `MatMul` and `Conv2d`, each followed by thresholds, a requantizer or neither, and maximum pools.  A
        quantizer of the input and an argmax of the output are left out of what the peers build.
    seed : int
        Of the input.

    Raises
    ------
    PeerError
        If a node has no counterpart.
    """
    layers: list[_Layer] = []
    start = graph.inputs[0].value
    for node in graph.nodes:
        op = node.op
        if isinstance(op, (MatMul, Conv2d)):
            layers.append(_Layer(np.asarray(op.weights), _conv_options(op, node) if isinstance(op, Conv2d) else {}))
        elif isinstance(op, (Reshape, ArgMax)):
            continue
        elif not layers and isinstance(op, (Threshold, Requant, Clip)):
            start = node.output
        elif not layers:
            raise PeerError(f"'{node.name}' ({type(op).__name__}) comes before the first product")
        elif isinstance(op, MaxPool2d):
            layers[-1].options["pool"] = [list(op.kernel), list(op.stride)]
        else:
            _absorb(layers[-1], node)
    if not layers:
        raise PeerError(f"'{graph.name}' has no matrix product")
    source = graph.values[start]
    given = graph.values[graph.inputs[0].value]
    inputs = {given.name: _sample(given.type, (1, *given.shape), seed)}
    last = next(node.inputs[0] if isinstance(node.op, ArgMax) else node.output for node in reversed(graph.nodes))
    values = inputs | run_all(graph, inputs, keep=(start, last))
    described = {"input": {"shape": list(source.shape), **_kind(source.type)}, "layers": []}
    arrays: dict[str, NDArray[Any]] = {"x": values[start][0], "ours": values[last][0]}
    for number, layer in enumerate(layers):
        entry, constants = _constants(layer)
        described["layers"].append(entry)
        arrays |= {f"{name}{number}": array for name, array in constants.items()}
    return arrays | {"network": np.array(json.dumps(described))}


def _kind(kind: IntType) -> dict[str, Any]:
    return {"bits": kind.bits, "signed": bool(kind.signed) and kind != BIPOLAR, "bipolar": kind == BIPOLAR}


def _sample(kind: IntType, shape: tuple[int, ...], seed: int) -> NDArray[np.int64]:
    return kind.lo + kind.step * np.random.default_rng(seed).integers(0, kind.levels, shape)


def _conv_options(op: Conv2d, node: Node) -> dict[str, Any]:
    if op.groups != 1 or op.dilation != (1, 1) or (any(op.pads) and op.pad_value):
        raise PeerError(f"'{node.name}' has groups, dilation or a padding value, which the peers' convolution does not have")
    top, left, bottom, right = op.pads
    return {"stride": list(op.stride), "pads": [top, bottom, left, right]}


def _absorb(layer: _Layer, node: Node) -> None:
    """Take what follows a product into its layer."""
    op = node.op
    if isinstance(op, ScaleChannels) and not layer.activation:
        layer.scale(op.multiplier, op.offset)
    elif isinstance(op, Requant):
        gain = op.multiplier / 2.0**op.shift
        layer.scale(gain, op.zero_point - 0.5 * (op.rounding == "floor"))
        layer.close("relu" if op.out.lo >= 0 else "clip", op.out, node)
    elif isinstance(op, Clip) and not layer.activation:
        layer.close("relu" if op.lo >= 0 else "clip", IntType(op.lo, op.hi), node)
    elif isinstance(op, Threshold) and op.out == BIPOLAR:
        layer.scale(np.ones(1), 1 - op.thresholds[:, 0])
        layer.close("sign", op.out, node)
    elif isinstance(op, Threshold) and op.out.step == 1 and op.out.levels > 2:
        gain = (op.thresholds.shape[1] - 1) / np.maximum(op.thresholds[:, -1] - op.thresholds[:, 0], 1)
        layer.scale(gain, op.out.lo + 0.5 - op.thresholds[:, 0] * gain)
        layer.close("relu" if op.out.lo >= 0 else "clip", op.out, node)
    else:
        raise PeerError(f"'{node.name}' ({type(op).__name__}) has no counterpart in the peers' layers")


def _constants(layer: _Layer) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """A layer's entry and its integer constants."""
    mantissas, exponents = np.frexp(layer.gain)
    shift = 0 if layer.activation == "sign" else MULTIPLIER_BITS - int(exponents.max())
    if (mantissas == 0.5).all() and len(set(exponents)) == 1:
        shift = 1 - int(exponents[0])
    if shift < 0:
        raise PeerError(f"a requantizer with a gain of {layer.gain.max():g} is beyond the peers' shifts to the right")
    multiplier = np.round(layer.gain * 2.0**shift).astype(np.int64)
    binary = set(np.unique(layer.weights)) <= {-1, 1}
    out = _kind(layer.out) if layer.out is not None else {"bits": 0, "signed": True, "bipolar": False}
    entry = {"activation": layer.activation, "shift": shift, "weight_bits": 1 if binary else IntType.of(layer.weights).bits,
             **out, **layer.options}
    bias = np.round(layer.offset / layer.gain).astype(np.int64)
    return entry, {"weights": layer.weights.astype(np.int64), "bias": bias, "multiplier": multiplier}

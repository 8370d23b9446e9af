"""From a compressed network to integers: quantize what is still float, export, lower, and count right classes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

import intir
from intir import Graph
from quant.lower import host_input, lower
from quant.nn import Quantizer, SharedQuant, export_qonnx
from quant.nn.fold import NORMS
from quant.nn.layers import QuantWeights

from ..training import accuracy_percent, evaluate
from .job import Job, Made

FLOAT_BITS: Final = 32


@dataclass(frozen=True, eq=False)
class Integers:
    """A compressed network, lowered.

    Members
    -------
    graph
        The integer-only network.
    onnx
        The QONNX file that it was lowered from.
    accuracy_percent
        Of the integers, on the test samples.
    other_bits
        What a file holds beside the weights: scales, biases and normalizations, at 32 bits each.
    weight_bits
        What it holds instead of the weights, where these are computed from fewer numbers.
    """

    graph: Graph
    onnx: bytes
    accuracy_percent: float
    other_bits: int
    weight_bits: int | None = None


def to_integers(job: Job, made: nn.Module | Made) -> Integers:
    """Lower what a method made; float networks are calibrated to 8 bits first.

    Raises
    ------
    QuantizationError, ExportError, LoweringError
        The network isn't one that hardware can compute.
    """
    network, weight_bits = (made.network, made.weight_bits) if isinstance(made, Made) else (made, None)
    network = _quantized(job, network)
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        path = Path(folder) / "network.onnx"
        graph = _lowered(job, network, path)
        onnx = path.read_bytes()
    logits = intir.to_source(intir.run(graph, host_input(graph, job.data.test_images)), graph)
    percent = accuracy_percent(logits.reshape(len(logits), -1), job.data.test_labels)
    return Integers(graph, onnx, percent, _other_bits(network), weight_bits)


def graph_of(job: Job, network: nn.Module) -> Graph:
    """A float or a quantized network in integers, and nothing more.  Raises as `to_integers`."""
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        return _lowered(job, _quantized(job, network), Path(folder) / "network.onnx")


def layer_matrices(network: nn.Module) -> dict[str, NDArray[np.bool_]]:
    """Which weights of each layer aren't 0, shape (outputs, terms), terms in the order in which lowered layers have them."""
    return {name: layer.weight.detach().movedim(1, -1).flatten(1).numpy() != 0 for name, layer in network.named_modules()
            if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d))}


def _quantized(job: Job, network: nn.Module) -> nn.Module:
    if not any(isinstance(part, Quantizer) for part in network.modules()):
        network = job.quantized(network)
    return network.eval()


def _lowered(job: Job, network: nn.Module, path: Path) -> Graph:
    export_qonnx(network, job.images[:1], path, input_name="x", output_name="logits")
    return lower(path, input_spec=job.data.input_integers).graph


def float_accuracy_percent(job: Job) -> float:
    """Of the network as it was given."""
    return accuracy_percent(evaluate(job.network, job.data.test_images), job.data.test_labels)


def float_bits(network: nn.Module) -> int:
    """Of all parameters at 32 bits; statistics of batch norms are folded, and don't count."""
    return FLOAT_BITS * sum(one.numel() for one in network.parameters())


def _other_bits(network: nn.Module) -> int:
    """Of all numbers but the weights themselves; a codebook counts with the weights."""
    bits, seen = 0, set[int]()
    for part in network.modules():
        if isinstance(part, QuantWeights):
            quantizer = part.weight_quant
            bits += FLOAT_BITS if isinstance(quantizer, SharedQuant) else quantizer.constant_bits(part.weight)
            seen |= {id(one) for one in (part.weight, *quantizer.parameters())}
        elif isinstance(part, NORMS):
            bits += 2 * FLOAT_BITS * part.num_features  # a factor and a summand
            seen |= {id(one) for one in part.parameters()}
        elif isinstance(part, Quantizer):
            bits += FLOAT_BITS
            seen |= {id(one) for one in part.parameters()}
    return bits + FLOAT_BITS * sum(one.numel() for one in network.parameters() if id(one) not in seen)

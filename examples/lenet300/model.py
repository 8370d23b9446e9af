"""LeNet-300-100 in float, and its compressed form: pruned, with shared weights, 8-bit entries and 8-bit activations."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from examples.digits import load_weights
from intir import Graph
from quant.data import CLASSES
from quant.lower import lower
from quant.nn import QuantLinear, SharedQuant, quantize, share_weights

HERE: Final = Path(__file__).resolve().parent
WEIGHTS: Final = HERE / "lenet300.npz"
PRUNED: Final = HERE / "lenet300_pruned.npz"
COMPRESSED: Final = HERE / "lenet300_compressed.npz"
QONNX: Final = HERE / "lenet300_compressed.onnx"
#: Which integers stand for the float input.
INPUT: Final = "u8/255"
CALIBRATION_DIGITS: Final = 500
#: Part of all weights that pruning keeps.
DENSITY: Final = 0.08
#: Values of a layer's nonzero weights: with 0, which the sparse engine pads with, 16 codes of 4 bits.
CODES: Final = 15
#: Of such a value.
ENTRY_BITS: Final = 8


class LeNet300(nn.Sequential):
    """Linear layers of 300, 100 and 10 outputs, with ReLU between them.

    Input: float32, shape (N, 1, 28, 28), pixel / 255.  Output: logits, float32, shape (N, 10).
    """

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(28 * 28, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, CLASSES))


def trained(path: Path = WEIGHTS) -> LeNet300:
    """The trained float network, in evaluation mode."""
    return load_weights(LeNet300(), path)


def pruned(path: Path = PRUNED) -> LeNet300:
    """The pruned and retrained float network, in evaluation mode; pruned weights are 0."""
    return load_weights(LeNet300(), path)


def compressed(path: Path = COMPRESSED) -> nn.Module:
    """The network that `QONNX` was exported from, in evaluation mode."""
    return load_weights(_quantized(LeNet300(), torch.ones(1, 1, 28, 28)), path)  # the file has the scales, too


def graph(path: Path = QONNX) -> Graph:
    """The compressed network in integers."""
    return lower(path, input_spec=INPUT).graph


def share(network: LeNet300, images: Tensor) -> nn.Module:
    """A pruned network with clustered weights, and 8-bit activations that are calibrated on images (N, 1, 28, 28)."""
    result = _quantized(network, images)
    share_weights(result)
    return result


def _quantized(network: LeNet300, images: Tensor) -> nn.Module:
    """A network with quantizers that are still to find their shared weights; activations' scales are powers of two."""
    result = quantize(network, images[:1], images, per_channel=False, power_of_two=True, input_integers=INPUT)
    for name, layer in list(result.named_modules()):
        if isinstance(layer, QuantLinear):
            result.set_submodule(f"{name}.weight_quant", SharedQuant(CODES, entry_bits=ENTRY_BITS))
    return result

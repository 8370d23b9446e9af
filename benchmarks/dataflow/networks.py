"""Networks of realistic size as IR graphs, each made the way a user makes it: PyTorch, `quant.nn`, QONNX, lowering.

`NETWORKS[name].make()` gives the graph, the same one each time, within seconds; `NETWORKS[name].frames(graph, count)` gives
inputs for it made of real digits that no calibration saw.  Networks that aren't trained have drawn weights, and batch
normalizations, and with them thresholds, that are calibrated on real digits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from examples.lenet.model import INPUT, INT8, W4A4
from intir import Graph
from quant.data import mnist_digits
from quant.lower import host_input, lower
from quant.lower.spec import InputSpec
from quant.nn import export_qonnx

from . import topologies
from .blocks import FEATURES, PIXELS, calibrate, simplify_norms
from .frames import Digits, Int64, codes, feature_maps, resized
from .stored import load

CALIBRATION_DIGITS: Final = 64
BATCH: Final = 32


@dataclass(frozen=True)
class Network:
    """How a graph is made.

    Members
    -------
    description
        Topology, arithmetic, where the weights come from.
    source
        Makes the PyTorch module; or the QONNX file.
    inputs
        Of digits (N, 1, 28, 28), the network's input as integers, (N, *shape in PyTorch's layout).
    input
        Which integers those are, as `bitwright lower --input`.
    weights
        File of trained weights, if it has any.
    """

    description: str
    source: Callable[[], nn.Module] | Path
    inputs: Callable[[Digits], Int64]
    input: str = PIXELS
    weights: Path | None = None

    def make(self, name: str | None = None) -> Graph:
        """The graph; by default it is called as in `NETWORKS`."""
        name = name or next(one for one, network in NETWORKS.items() if network is self)
        if isinstance(self.source, Path):
            return replace(lower(self.source, input_spec=self.input).graph, name=name)
        module = self.module()
        example = self.floats(mnist_digits().train_images[:1])
        with tempfile.TemporaryDirectory(prefix="bitwright_") as folder:
            path = Path(folder) / f"{name}.onnx"
            export_qonnx(module, example, path)
            return replace(lower(path, input_spec=self.input).graph, name=name)

    def module(self) -> nn.Module:
        """The PyTorch module in evaluation mode: trained, or initialized and calibrated."""
        assert not isinstance(self.source, Path)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.source()
            if self.weights is not None:
                load(module, self.weights)
            else:
                digits = mnist_digits().train_images[:CALIBRATION_DIGITS]
                calibrate(module, list(torch.split(self.floats(digits), BATCH)))
            simplify_norms(module)
        return module.eval()

    def floats(self, digits: Digits) -> torch.Tensor:
        """The network's input as PyTorch takes it, float32."""
        return torch.from_numpy((self.inputs(digits) * float(InputSpec.parse(self.input).scale)).astype(np.float32))

    def frames(self, graph: Graph, count: int) -> Int64:
        """Inputs made of the first test digits: (count, *input shape of the graph)."""
        return host_input(graph, self.inputs(mnist_digits().test_images[:count]))


def _cifar(digits: Digits) -> Int64:
    return resized(digits, 32, 3)


def _plain(digits: Digits) -> NDArray[np.int64]:
    return digits.astype(np.int64)


TRAINED: Final = Path(__file__).resolve().parent / "trained"
DRAWN: Final = "drawn weights, calibrated"
NETWORKS: Final[dict[str, Network]] = {
    "lenet_int8": Network("LeNet-5, int8, trained on the digits (98.6%)", INT8, _plain, INPUT),
    "lenet_w4a4": Network("LeNet-5, 4-bit weights and activations, trained on the digits (98.3%)", W4A4, _plain, INPUT),
    "cnv_w1a1": Network(f"FINN's CNV, 32x32x3, 1-bit weights and activations; {DRAWN}", partial(topologies.cnv, 1, 1), _cifar),
    "cnv_w1a2": Network(f"CNV, 1-bit weights, 2-bit activations; {DRAWN}", partial(topologies.cnv, 1, 2), _cifar),
    "cnv_w2a2": Network(f"CNV, 2-bit weights and activations; {DRAWN}", partial(topologies.cnv, 2, 2), _cifar),
    "resnet8": Network(f"ResNet-8, 32x32x3: 8-bit stem and stack, 2-bit stack, binary stack; {DRAWN}", topologies.resnet8, _cifar),
    "mobilenet_w4a4": Network(f"MobileNetV1 0.25, 48x48x3, 13 depthwise-separable blocks, w4a4; {DRAWN}", topologies.mobilenet,
                              lambda digits: resized(digits, 48, 3)),
    "shufflenet": Network(f"ShuffleNet v2 0.5x, a stride-2 and a stride-1 unit, 28x28x24, w4a4; {DRAWN}", topologies.shufflenet,
                          lambda digits: feature_maps(digits, 28, 24), FEATURES),
    "shufflenet_v1": Network(f"ShuffleNet v1 unit, 14x14x60, 1x1 convolutions in 3 groups, w4a4; {DRAWN}", topologies.shufflenet_v1,
                             lambda digits: feature_maps(digits, 14, 60), FEATURES),
    "squeezenet_fire": Network(f"SqueezeNet fire2, 55x55x96, squeeze 16, expand 64 + 64, w4a4; {DRAWN}", topologies.squeezenet_fire,
                               lambda digits: feature_maps(digits, 55, 96), FEATURES),
    "inception": Network(f"Inception 3a at 14x14x192: 1x1, 3x3, 5x5 and pool branches, w4a4; {DRAWN}", topologies.inception,
                         lambda digits: feature_maps(digits, 14, 192), FEATURES),
    "tbn": Network(f"TBN, VGG 32-32-64-64-128-128, 32x32x3, ternary activations, binary weights, zero pads; {DRAWN}",
                   topologies.tbn, _cifar),
    "addernet": Network(f"AdderNet's ResNet-20 block, 32x32x16, two layers of L1 distances, 8 bits; {DRAWN}", topologies.addernet,
                        lambda digits: feature_maps(digits, 32, 16, 7), "u7/32"),
    "generator": Network(f"DCGAN generator, 32 numbers to 32x32x3 by transposed convolutions, w4a4; {DRAWN}", topologies.generator,
                         lambda digits: codes(digits, 32), "s4/4"),
    "mlp_w1": Network("784-64-64-10, 1-bit weights and activations, trained on the digits (92.9%)", topologies.Binary784, _plain,
                      weights=TRAINED / "mlp_w1.npz"),
    "mlp_int8": Network("784-64-64-10, int8, trained on the digits (96.8%)", topologies.mlp_int8, _plain,
                        weights=TRAINED / "mlp_int8.npz"),
    "mlp_6bit": Network("16-64-32-32-5, 6 bits, trained on digits of 4x4 pixels in 5 classes, 0 or 1 to 8 or 9 (92.0%)",
                        topologies.mlp_6bit, lambda digits: resized(digits, 4), weights=TRAINED / "mlp_6bit.npz"),
}

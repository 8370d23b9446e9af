"""A pruned float network on its way to integers: what was pruned is 0 in the IR, at its place."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from intir import Conv2d, MatMul
from quant.lower import lower
from quant.nn import export_qonnx, quantize


def small_network(seed=0):
    """Grouped, strided, padded, dilated; a depthwise one; norms; a flatten of 2 x 2 positions."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 2, dilation=2, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(48, 16), nn.ReLU(),
        nn.Linear(16, 5, bias=False))
    network.train()(torch.randn(200, 2, 8, 8))
    return network.eval()


LAYERS = ("0", "3", "6", "9", "11")


def images(count=200, seed=1):
    """For `small_network`: smooth, so that neighbouring inputs of a layer depend on each other."""
    x = torch.randn(count, 2, 10, 10, generator=torch.Generator().manual_seed(seed))
    return nn.functional.avg_pool2d(x, 3, stride=1) * 3


def integers(network, x, folder):
    """The weights of `small_network` in the IR, by layer, as PyTorch orders them."""
    export_qonnx(quantize(network, x[:1], x), x[:1], folder / "pruned.onnx")
    found = [np.asarray(node.op.weights) for node in lower(folder / "pruned.onnx").graph.nodes if isinstance(node.op, (Conv2d, MatMul))]
    assert len(found) == len(LAYERS)
    back = [one.transpose(3, 2, 0, 1) if one.ndim == 4 else one.T for one in found]
    back[3] = back[3].reshape(16, 2, 2, 12).transpose(0, 3, 1, 2).reshape(16, 48)
    return dict(zip(LAYERS, back, strict=True))


def check_way_down(network, x, folder):
    """Zeros are zeros, and the others are the weights in the main."""
    lowered = integers(network, x, folder)
    for name, one in lowered.items():
        weight = network.get_submodule(name).weight.detach().numpy()
        assert one.shape == weight.shape
        assert not one[weight == 0].any(), name
        assert np.count_nonzero(one) > 0.9 * np.count_nonzero(weight), name
    return lowered

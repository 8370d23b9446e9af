"""Layers of real networks as products of matrices, with the activations that real digits give there, and the reference's sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks.dataflow.frames import feature_maps
from benchmarks.dataflow.networks import NETWORKS
from intir import Conv2d, IntType, MatMul, run_all, unsigned
from quant.data import mnist_digits

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Layer:
    """X (M, K) times W (K, N).

    Parameters
    ----------
    name : str
    x, w : int64
    y : int64 (M, N)
        Of the IR's reference, which has its own convolution; for layers that are not of a network, numpy's.
    """

    name: str
    x: Int64
    w: Int64
    y: Int64

    @property
    def macs(self) -> int:
        return self.x.shape[0] * self.w.size

    @property
    def shape(self) -> tuple[int, int, int]:
        """M, K, N."""
        return *self.x.shape, self.w.shape[1]


def windows(x: Int64, op: Conv2d) -> Int64:
    """The matrix of a convolution's windows (im2col): (frames * pixels, KH * KW * channels)."""
    top, left, bottom, right = op.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=op.pad_value)
    reach = [(size - 1) * step + 1 for size, step in zip(op.kernel, op.dilation, strict=True)]
    seen = sliding_window_view(padded, reach, axis=(1, 2))[:, ::op.stride[0], ::op.stride[1], :, ::op.dilation[0], ::op.dilation[1]]
    return seen.transpose(0, 1, 2, 4, 5, 3).reshape(-1, op.kernel[0] * op.kernel[1] * x.shape[3])


def network_layers(name: str, frames: int, x_type: IntType, w_type: IntType) -> Iterator[Layer]:
    """Those layers of a network whose operands are of the array's types, padding included."""
    graph = NETWORKS[name].make()
    nodes = [node for node in graph.nodes if isinstance(node.op, (Conv2d, MatMul))]
    values = run_all(graph, {graph.input.value: NETWORKS[name].frames(graph, frames)},
                     keep=tuple({*(node.inputs[0] for node in nodes), *(node.output for node in nodes)}))
    for node in nodes:
        op, x = node.op, values[node.inputs[0]]
        if isinstance(op, Conv2d) and op.groups > 1:
            continue
        matrix = windows(x, op) if isinstance(op, Conv2d) else x.reshape(-1, x.shape[-1])
        weights = op.weights.reshape(-1, op.weights.shape[-1])
        if x_type.holds(matrix) and w_type.holds(weights) and graph.values[node.inputs[0]].type.levels > 1:
            yield Layer(f"{name} {node.name}", matrix, weights, values[node.output].reshape(-1, weights.shape[1]))


#: Name, side and channels of the input, kernel, outputs: layers of ResNet-18 (He and others, CVPR 2016) and AlexNet (Krizhevsky and
#: others, NIPS 2012; one of the two groups of its second layer).
LARGE = (
    ("ResNet-18 conv2_x", 56, 64, 3, 64), ("ResNet-18 conv3_x", 28, 128, 3, 128), ("ResNet-18 conv4_x", 14, 256, 3, 256),
    ("ResNet-18 conv5_x", 7, 512, 3, 512), ("AlexNet conv2", 27, 48, 5, 128), ("AlexNet conv3", 13, 256, 3, 384),
)


def large_layers(only: str = "") -> Iterator[Layer]:
    """Layers of that size: feature maps of a real digit, drawn weights."""
    for name, side, channels, kernel, outputs in LARGE:
        if only and only not in name:
            continue
        rng = np.random.RandomState(0)
        maps = feature_maps(mnist_digits().test_images[:1], side, channels, 8).transpose(0, 2, 3, 1)
        weights = rng.randint(-127, 128, (kernel, kernel, channels, outputs)).astype(np.int64)
        pad = kernel // 2
        x = windows(maps, Conv2d(weights, pads=(pad, pad, pad, pad)))
        matrix = weights.reshape(-1, outputs)
        assert unsigned(8).holds(x)
        yield Layer(name, x, matrix, x @ matrix)

"""The two networks of the benchmark, each as QONNX and as IR with the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from intir import BIPOLAR, Conv2d, Graph, GraphBuilder, MatMul, MaxPool2d, Op, Reshape, Threshold, to_real, unsigned
from quant.lower import host_input, lower


@dataclass(frozen=True)
class Case:
    """One network in both forms.

    Parameters
    ----------
    name : str
    graph : Graph
    qonnx : callable batch -> ModelProto with that batch
    images : callable n -> (integers for the IR, floats for QONNX), n of each
    real : callable
        Brings the IR's output integers to what the QONNX network gives.
    """

    name: str
    graph: Graph
    qonnx: Callable[[int], onnx.ModelProto]
    images: Callable[[int], tuple[NDArray[np.int64], NDArray[np.float32]]]
    real: Callable[[NDArray[np.int64]], NDArray[np.float64]]


@dataclass
class _Qonnx:
    """A QONNX graph in the making: channels first, BipolarQuant weights, BatchNormalization before BipolarQuant."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def const(self, array: NDArray[Any]) -> str:
        name = f"c{len(self.initializers)}"
        dtype = np.float32 if array.dtype.kind == "f" else np.int64
        self.initializers.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

    def bipolar(self, x: str) -> str:
        return self.node("BipolarQuant", x, self.const(np.array(1.0)), domain="qonnx.custom_op.general")

    def binarized(self, x: str, thresholds: NDArray[np.int64]) -> str:
        """+1 where x reaches the threshold: a normalisation whose mean lies half below it, then the sign."""
        ones, zeros = np.ones(len(thresholds)), np.zeros(len(thresholds))
        statistics = [self.const(a) for a in (ones, zeros, thresholds - 0.5, ones)]
        return self.bipolar(self.node("BatchNormalization", x, *statistics, epsilon=0.0))

    def model(self, shape: tuple[int, ...], out: str, out_shape: tuple[int, ...]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "qonnx", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                                  [helper.make_tensor_value_info(out, TensorProto.FLOAT, out_shape)], self.initializers)
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = 8
        return model


def _sequential(name: str, shape: tuple[int, int, int], layers: list[tuple[str, int]], seed: int) -> Case:
    """A binary network: (`conv` or `dense`, outputs) with thresholds, ``pool``; the last dense layer gives the result."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder(name)
    x = build.input("x", shape, unsigned(8))
    plan: list[tuple[str, NDArray[np.int64], NDArray[np.int64] | None]] = []

    def close(y: str) -> NDArray[np.int64]:
        middle = (build.ranges[y].lo + build.ranges[y].hi) // 2
        thresholds: NDArray[np.int64] = middle + rng.integers(-20, 21, len(middle))
        return thresholds

    for number, (kind, outputs) in enumerate(layers):
        if kind == "pool":
            x = build.node(MaxPool2d((2, 2), (2, 2)), x)
            plan.append((kind, np.zeros(0, np.int64), None))
            continue
        current = build.values[x].shape
        if kind == "dense" and len(current) > 1:
            x = build.node(Reshape((int(np.prod(current)),)), x)
        channels = build.values[x].shape[-1]
        weights = rng.choice([-1, 1], (3, 3, channels, outputs) if kind == "conv" else (channels, outputs))
        op: Op = Conv2d(weights) if kind == "conv" else MatMul(weights)
        x = build.node(op, x)
        thresholds = close(x) if number < len(layers) - 1 else None
        plan.append((kind, weights, thresholds))
        if thresholds is not None:
            x = build.node(Threshold(thresholds[:, None], BIPOLAR), x)
    build.output(x)
    graph = build.build()

    def qonnx(batch: int) -> onnx.ModelProto:
        q = _Qonnx()
        y, flat = "x", False
        for kind, weights, thresholds in plan:
            if kind == "pool":
                y = q.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
                continue
            if kind == "conv":
                y = q.node("Conv", y, q.bipolar(q.const(weights.transpose(3, 2, 0, 1).astype(np.float32))))
            else:
                y = y if flat else q.node("Reshape", y, q.const(np.array([batch, -1])))
                flat = True
                y = q.node("MatMul", y, q.bipolar(q.const(weights.astype(np.float32))))
            y = y if thresholds is None else q.binarized(y, thresholds)
        return q.model((batch, shape[2], *shape[:2]), y, (batch, layers[-1][1]))

    def images(n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        x = np.random.default_rng(1).integers(0, 256, (n, *shape))
        return x, np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32)

    return Case(name, graph, qonnx, images, lambda y: y.astype(np.float64))


def cnv() -> Case:
    """Six 3x3 convolutions 64-64-128-128-256-256 without padding, two 2x2 pools, then 512-512-10; w1a1, 32x32x3 input."""
    convs = [("conv", 64), ("conv", 64), ("pool", 0), ("conv", 128), ("conv", 128), ("pool", 0), ("conv", 256), ("conv", 256)]
    return _sequential("CNV_1W1A", (32, 32, 3), [*convs, ("dense", 512), ("dense", 512), ("dense", 10)], seed=0)


def tfc(shared: Path) -> Case:
    """The trained TFC_1W1A where its file is present, else a network of the same layers built in code."""
    path = shared / "models" / "TFC_1W1A.onnx"
    if not path.is_file():
        return _sequential("TFC_built", (28, 28, 1), [*[("dense", 64)] * 3, ("dense", 10)], seed=0)

    graph = lower(str(path)).graph

    def qonnx(batch: int) -> onnx.ModelProto:
        if batch != 1:
            raise ValueError("the file has a batch of one")
        return onnx.load(str(path))

    def images(n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        x = (np.random.default_rng(1).integers(0, 256, (n, 1, 28, 28)) / 255).astype(np.float32)
        return host_input(graph, x), x

    return Case("TFC_1W1A", graph, qonnx, images, lambda y: to_real(y, graph.output.affine))

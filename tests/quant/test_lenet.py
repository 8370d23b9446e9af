"""The committed LeNets: they lower, and their integers are as accurate as the README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import intir
from intir import Conv2d, MatMul, Node
from quant.data import mnist_digits
from quant.lower import host_input, lower
from quant.qonnx_exec import execute

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "lenet"
SHAPES = [(5, 5, 1, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, 10)]


def weights(node: Node) -> np.ndarray:
    assert isinstance(node.op, (Conv2d, MatMul))
    return node.op.weights


@pytest.mark.parametrize(("name", "bits", "correct"), [("lenet_int8", 8, 986), ("lenet_w4a4", 4, 983)])
def test_the_integers_are_as_accurate_as_stated(name: str, bits: int, correct: int) -> None:
    path = FOLDER / f"{name}.onnx"
    graph = lower(path, input_spec="u8/255").graph
    products = [node for node in graph.nodes if isinstance(node.op, (Conv2d, MatMul))]
    assert [weights(node).shape for node in products] == SHAPES
    assert all(int(np.abs(weights(node)).max()) <= 2**(bits - 1) for node in products)
    assert all(graph.values[node.inputs[0]].type.bits <= bits for node in products[1:])

    digits = mnist_digits()
    integers = intir.to_source(intir.run(graph, host_input(graph, digits.test_images)), graph)
    assert int(np.sum(integers.argmax(axis=1) == digits.test_labels)) == correct

    few = digits.test_images[:20]
    floats = execute(path, (few / np.float32(255)).astype(np.float32))
    np.testing.assert_allclose(floats, integers[:20], rtol=1e-4, atol=1e-4)

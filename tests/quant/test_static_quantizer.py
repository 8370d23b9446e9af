"""A float CNN trained on the digits, quantized to int8 by onnxruntime's static quantizer: exact and as onnxruntime computes it."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import intir
from quant.check import real_outputs
from quant.data import mnist_digits
from quant.exact import ExactNetwork, equal, of_array
from quant.lower import explain, host_input, lower
from tests.quant.runtime_models import same, statically, stock
from tests.quant.test_semantics_onnxruntime import in_float

f32 = np.float32
FLOAT_ONNX = Path(__file__).parents[2] / "examples" / "digits_cnn" / "digits_cnn_float.onnx"
#: What makes or reads a tensor with two readers, which stays int8.
FLOAT_CONVOLUTIONS = {"down1.conv/Conv", "residual1.first.conv/Conv", "down2.conv/Conv", "residual2.first.conv/Conv"}


@pytest.fixture(scope="module")
def digits():
    """Pixels / 255 as float32: 200 train digits, 1,000 test digits and their labels."""
    data = mnist_digits()
    train, test = (images.reshape(-1, 1, 28, 28).astype(f32) / f32(255) for images in (data.train_images[:200], data.test_images))
    return train, test, data.test_labels


@pytest.mark.parametrize("fmt,per_channel", [("QDQ", True), ("QOperator", False)])
def test_digits(fmt, per_channel, digits, tmp_path):
    train, test, labels = digits
    network = onnx.load(FLOAT_ONNX)
    if fmt == "QOperator":  # its 7 x 7 average, in float32, has sums that round one way or the other with their order
        (pool,) = (node for node in network.graph.node if node.op_type == "AveragePool")
        pool.op_type = "GlobalAveragePool"
        del pool.attribute[:]
    model = statically(network, train, tmp_path, fmt, "QUInt8", "QInt8", per_channel)
    wanted = stock(model, test)
    assert wanted.shape == (1000, 10)
    assert (wanted.argmax(axis=1) == labels).mean() >= 0.985  # 99.1% in float

    graph = lower(model, semantics="onnxruntime").graph
    got = intir.to_source(intir.run(graph, host_input(graph, test)), graph)
    assert same(got.astype(f32), wanted)  # 10,000 outputs

    exact = lower(model).graph
    integers = intir.run(exact, host_input(exact, test))
    reals = real_outputs(exact, integers)
    differs = np.argwhere(intir.to_source(integers, exact).astype(f32) != wanted)
    assert len(differs) <= 10  # onnxruntime rounds in float32 now and then
    if fmt == "QDQ":  # there, exact arithmetic says that the IR is right
        chosen = np.unique(np.concatenate([differs[:, 0], np.arange(0, 1000, 50)]))
        (found,) = ExactNetwork(model).run(of_array(test[chosen]))
        flat = type(found)(found.integers.reshape(len(chosen), -1), found.unit.reshape(1, -1))
        assert equal(flat, type(found)(reals.integers[chosen], reals.unit)).all()
    assert (integers.argmax(axis=1) == labels).mean() >= 0.985


@pytest.mark.parametrize("per_channel", [False, True])
def test_digits_with_int8_activations(per_channel, digits, tmp_path):
    """The default options.  The sums stay in float32 and are reproduced; so do convolutions, whose float32 sums are not."""
    train, test, labels = digits
    model = statically(onnx.load(FLOAT_ONNX), train, tmp_path, "QDQ", "QInt8", "QInt8", per_channel)
    assert in_float(model, tmp_path / "optimized.onnx") == {*FLOAT_CONVOLUTIONS, "residual1/Add", "residual2/Add"}
    problems = explain(model, semantics="onnxruntime")
    assert {one.node for one in problems} == FLOAT_CONVOLUTIONS
    assert all("an int8 tensor becomes uint8 only where a single DequantizeLinear reads it" in str(one) for one in problems)

    wanted = stock(model, test, int8=True)  # with the session option under which these convolutions have kernels
    graph = lower(model, semantics="onnxruntime-int8").graph
    got = intir.to_source(intir.run(graph, host_input(graph, test)), graph)
    assert same(got.astype(f32), wanted)  # 10,000 outputs
    assert (wanted.argmax(axis=1) == labels).mean() >= 0.985

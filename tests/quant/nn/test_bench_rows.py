"""The benchmark's rows, on few digits: the whole way from training to integers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import intir
from benchmarks.quantizers.methods import METHODS
from benchmarks.quantizers.rows import BY_NAME, FLOAT_NAME, make_row, train_float, trained
from examples.digits import Recipe, as_input, evaluate, save_weights, train
from examples.digits_cnn.model import FLOAT_ONNX, DigitsCnn
from examples.digits_cnn.model import trained as trained_cnn
from quant.data import MnistDigits, mnist_digits
from quant.lower import host_input, lower
from quant.nn import export_qonnx

FEW_TRAIN, FEW_TEST = 400, 60


@pytest.fixture(autouse=True)
def torch_left_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def few() -> MnistDigits:
    digits = mnist_digits()
    return MnistDigits(digits.train_images[:FEW_TRAIN], digits.train_labels[:FEW_TRAIN], digits.test_images[:FEW_TEST],
                       digits.test_labels[:FEW_TEST])


def test_a_row_from_scratch_agrees_with_torch_and_with_exact_arithmetic(few: MnistDigits, tmp_path: Path) -> None:
    row = make_row("BNN", 1, few, None)
    assert row.measured.logits == 10 * FEW_TEST
    assert (row.measured.inexact, row.measured.differing) == (0, 0)
    assert row.measured.ir_percent == row.measured.torch_percent > 20
    assert row.weights.float32 == 32 * row.weights.quantized == 4 * 29_200

    # The same training gives the same network; its eager logits are the integers', logit by logit.
    network = trained(BY_NAME["BNN"], None, 1, few)
    export_qonnx(network, torch.zeros(1, 1, 28, 28), tmp_path / "bnn.onnx", input_name="image", output_name="logits")
    graph = lower(tmp_path / "bnn.onnx", input_spec="u8/255").graph
    integers = intir.run(graph, host_input(graph, few.test_images)).reshape(FEW_TEST, 10)
    scale, offset = (np.array([float(one) for one in part]) for part in (graph.output.affine.scale, graph.output.affine.offset))
    eager = evaluate(network, few.test_images)
    assert np.array_equal(np.rint((eager - offset) / scale).astype(np.int64), integers)
    assert np.ptp(integers, axis=0).min() > 0
    assert float(np.mean(eager.argmax(axis=1) == few.test_labels)) * 100 == row.measured.torch_percent


def test_a_row_that_starts_from_the_float_network(few: MnistDigits) -> None:
    float_row, state = train_float(1, few)
    assert float_row.measured.ir_percent is None
    row = make_row("int8, power-of-two scales", 1, few, state)
    assert row.measured.inexact == 0
    assert row.measured.differing == row.measured.rounded
    assert row.measured.ir_percent == row.measured.torch_percent > 20
    assert row.activations.float32 == float_row.activations.float32
    once, again = (trained(BY_NAME["int8, power-of-two scales"], state, 1, few).state_dict() for _ in range(2))
    assert once.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in once.items())


def test_every_method_has_a_name_of_its_own_and_starts_somewhere() -> None:
    assert len(BY_NAME) == len(METHODS)
    assert METHODS[0].name == FLOAT_NAME
    assert all((method.build is None) != (method.convert is None) for method in METHODS)


def test_the_digits_cnn_is_rebuilt_from_its_weights() -> None:
    digits = mnist_digits()
    logits = evaluate(trained_cnn(), digits.test_images[:200])
    assert float(np.mean(logits.argmax(axis=1) == digits.test_labels[:200])) >= 0.975

    import onnxruntime

    session = onnxruntime.InferenceSession(FLOAT_ONNX)
    for image, expected in zip(as_input(digits.test_images[:20]), logits[:20], strict=True):
        np.testing.assert_allclose(session.run(None, {"image": image[None]})[0][0], expected, rtol=1e-4, atol=1e-4)


def test_saved_weights_come_back_bit_for_bit(few: MnistDigits, tmp_path: Path) -> None:
    network = train(DigitsCnn, few.train_images[:200], few.train_labels[:200], Recipe(epochs=1, batch_digits=50), progress=False)
    save_weights(network, tmp_path / "w.npz")
    loaded = trained_cnn(tmp_path / "w.npz").state_dict()
    assert loaded.keys() == network.state_dict().keys()
    assert all(torch.equal(value, loaded[name]) for name, value in network.state_dict().items())

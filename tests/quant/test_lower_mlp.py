"""The networks of issue 2: the shared TFC models and random MLPs, against the qonnx package and exact arithmetic."""

import numpy as np
import pytest

from intir import BIPOLAR, TERNARY, run, to_real, unsigned
from quant.lower import LoweringError, host_input, lower
from quant.qonnx_exec import execute
from tests.quant.test_lower_oracle import batch_norm, exact, f32, network, node, quant, reals, same


@pytest.mark.parametrize("name", ["TFC_1W1A", "TFC_2W2A"])
@pytest.mark.parametrize("spec", ["u8/255", None])
def test_the_shared_networks_give_the_golden_logits(shared_models, name, spec):
    net = lower(shared_models / f"{name}.onnx", input_spec=spec)
    digit, logits = np.load(shared_models / "tfc_mnist_input.npy"), np.load(shared_models / f"{name}_logits.npy")
    x = host_input(net.graph, digit.astype(np.uint8) if spec else digit / np.float32(255))
    y = to_real(run(net.graph, x), net.graph.output.affine)
    np.testing.assert_allclose(y, logits, rtol=3e-7, atol=3e-7)  # float32 rounding
    assert y.argmax() == 7
    assert all(record.differing == 0 for record in net.report)


@pytest.mark.parametrize("name", ["TFC_1W1A", "TFC_2W2A"])
def test_the_shared_networks_agree_with_qonnx_on_random_images(shared_models, name):
    path = shared_models / f"{name}.onnx"
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (40, 1, 28, 28)) * (rng.random((40, 1, 28, 28)) < 0.3)
    images = images.astype(np.uint8)
    floats = images.astype(np.float32) / np.float32(255)
    expected = execute(path, floats)
    for spec, x in (("u8/255", images), (None, floats)):
        graph = lower(path, input_spec=spec).graph
        found = to_real(run(graph, host_input(graph, x)), graph.output.affine)
        np.testing.assert_allclose(found, expected, rtol=3e-7, atol=3e-7)


def test_types_of_the_shared_networks(shared_models):
    graph = lower(shared_models / "TFC_1W1A.onnx", input_spec="u8/255").graph
    assert [node.op.kind for node in graph.nodes] == ["Threshold", *["MatMul", "Threshold"] * 3, "MatMul"]
    assert graph.values[graph.input.value].shape == (784,)
    assert graph.values[graph.input.value].type == unsigned(8)
    assert graph.input.source_shape == (1, 28, 28)
    kinds = {str(graph.values[node.output].type) for node in graph.nodes if node.op.kind == "Threshold"}
    assert kinds == {"bipolar"}
    assert lower(shared_models / "TFC_2W2A.onnx").graph.values["input"].type == TERNARY
    assert lower(shared_models / "TFC_1W1A.onnx").graph.values["input"].type == BIPOLAR


def test_argmax_ends_with_the_class(shared_models):
    digit = np.load(shared_models / "tfc_mnist_input.npy").astype(np.uint8)
    graph = lower(shared_models / "TFC_1W1A.onnx", input_spec="u8/255", argmax=True).graph
    assert run(graph, host_input(graph, digit)).tolist() == [[7]]


def mlp(rng, bits, *, signed=1, narrow=1, zero=0.0, biased=True):
    """x (1, 2, 2, 3) -> flatten -> Gemm with a batch norm of both signs of gamma -> Quant -> MatMul with per-channel scales."""
    scale = f32(rng.uniform(0.05, 2, (5, 1)))
    bits_, zero_ = f32(bits), f32(zero)
    constants = {
        "s0": f32(0.37),
        "z": zero_,
        "b": bits_,
        "w1": f32(rng.normal(size=(5, 12)) * 2),
        "sw1": scale,
        "z0": f32(0),
        "b3": f32(3),
        "c1": f32(rng.normal(size=5)),
        "g": f32(rng.normal(size=5)),
        "be": f32(rng.normal(size=5)),
        "m": f32(rng.normal(size=5)),
        "v": f32(rng.uniform(0.1, 2, 5)),
        "s1": f32(0.11),
        "w2": f32(rng.normal(size=(5, 4)) * 2),
        "sw2": f32(rng.uniform(0.1, 1, (1, 4))),
        "k": f32(1.7),
        "d": f32(-0.3),
    }
    attributes = {"signed": signed, "narrow": narrow}
    nodes = [
        node("Quant", ["x", "s0", "z", "b"], "q0", **attributes),
        node("Flatten", ["q0"], "f"),
        node("Quant", ["w1", "sw1", "z0", "b3"], "w1q", signed=1, narrow=1),
        node("Gemm", ["f", "w1q", "c1"] if biased else ["f", "w1q"], "a1", transB=1),
        node("BatchNormalization", ["a1", "g", "be", "m", "v"], "n1", epsilon=1e-5),
        node("Quant", ["n1", "s1", "z", "b"], "q1", **attributes),
        node("Quant", ["w2", "sw2", "z0", "b3"], "w2q", signed=1, narrow=0),
        node("MatMul", ["q1", "w2q"], "a2"),
        node("Mul", ["a2", "k"], "a3"),
        node("Add", ["a3", "d"], "y"),
    ]
    model = network(nodes, (1, 2, 2, 3), (1, 4), constants)

    def meaning(x):
        c = constants
        q0 = quant(x, c["s0"], zero, bits, **attributes).reshape(len(x), 12)
        w1 = quant(exact(c["w1"]), c["sw1"], 0, 3, signed=1, narrow=1)
        a1 = q0 @ w1.T + (exact(c["c1"]) if biased else 0)
        q1 = quant(batch_norm(a1, c["g"], c["be"], c["m"], c["v"], 1e-5), c["s1"], zero, bits, **attributes)
        return q1 @ quant(exact(c["w2"]), c["sw2"], 0, 3, signed=1, narrow=0) * exact(c["k"]) + exact(c["d"])

    return model, meaning


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize(("signed", "narrow", "zero"), [(1, 1, 0.0), (0, 0, 3.0), (1, 0, 0.5), (0, 0, 2.25)])
def test_random_mlps_mean_what_the_float_graph_means(bits, signed, narrow, zero):
    rng = np.random.default_rng(bits * 10 + signed)
    model, meaning = mlp(rng, bits, signed=signed, narrow=narrow, zero=zero)
    floats = f32(rng.normal(size=(20, 2, 2, 3)) * 2)
    assert same(reals(lower(model), floats), meaning(exact(floats)))
    integers = rng.integers(0, 64, (20, 2, 2, 3))
    assert same(reals(lower(model, input_spec="u6/9"), integers), meaning(exact(integers) / 9))


def test_falling_channels_cost_nothing():
    model, _ = mlp(np.random.default_rng(3), 2)
    assert [one.op.kind for one in lower(model).graph.nodes] == ["Reshape", "MatMul", "Threshold", "MatMul"]


def test_a_flattened_image_permutes_weights_not_values():
    rng = np.random.default_rng(0)
    model, _ = mlp(rng, 4)
    graph = lower(model, input_spec="u8/255").graph
    assert graph.values[graph.input.value].shape == (2, 3, 2)  # (C, H, W) = (2, 2, 3), channels last
    assert graph.input.perm == (1, 2, 0)
    assert "Transpose" not in {one.op.kind for one in graph.nodes}


def test_a_quantizer_that_changes_nothing_is_dropped():
    nodes = [
        node("Quant", ["x", "s", "z", "b"], "q", signed=0, narrow=0),
        node("Relu", ["q"], "r"),
        node("Quant", ["r", "s", "z", "b"], "q2", signed=0, narrow=0),
        node("MatMul", ["q2", "w"], "y"),
    ]
    model = network(nodes, (1, 3), (1, 2), {"s": f32(1 / 128), "z": f32(0), "b": f32(8), "w": f32([[1, 2], [3, 4], [5, -6]])})
    graph = lower(model, input_spec="u8*1/128").graph
    assert [one.op.kind for one in graph.nodes] == ["MatMul"]
    x = np.arange(0, 255).reshape(-1, 3)
    assert same(reals(lower(model, input_spec="u8*1/128"), x), exact(x) / 128 @ exact([[1, 2], [3, 4], [5, -6]]))


def test_the_last_relu_is_exact():
    nodes = [node("MatMul", ["x", "w"], "a"), node("Add", ["a", "c"], "b"), node("Relu", ["b"], "y")]
    model = network(nodes, (1, 2), (1, 2), {"w": f32([[1, -2], [3, 4]]), "c": f32([-0.3, 7])})
    x = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), -1).reshape(-1, 2)
    wanted = np.maximum(exact(x) @ exact([[1, -2], [3, 4]]) + exact(f32([-0.3, 7])), 0)
    assert same(reals(lower(model, input_spec="s4"), x), wanted)


def test_argmax_brings_channels_to_one_unit():
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("Mul", ["a", "k"], "b"),
        node("Add", ["b", "c"], "t"),
        node("Softmax", ["t"], "p", axis=1),
        node("ArgMax", ["p"], "y", axis=1, keepdims=0),
    ]
    k, c = f32([0.3, -0.5, 0.11]), f32([0.25, 0, -0.5])
    model = network(nodes, (1, 2), (1,), {"w": f32([[1, -2, 3], [3, 4, -1]]), "k": k, "c": c})
    x = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), -1).reshape(-1, 2)
    wanted = (exact(x) @ exact([[1, -2, 3], [3, 4, -1]]) * exact(k) + exact(c)).argmax(axis=1)
    assert run(lower(model, input_spec="s4").graph, x).ravel().tolist() == wanted.tolist()


def test_two_quantizers_on_the_float_input_need_a_spec():
    nodes = [
        node("BipolarQuant", ["x", "one"], "p"),
        node("Quant", ["x", "one", "z", "b"], "q", signed=1, narrow=1),
        node("Add", ["p", "q"], "y"),
    ]
    model = network(nodes, (1, 3), (1, 3), {"one": f32(1), "z": f32(0), "b": f32(3)})
    with pytest.raises(LoweringError, match=r"several quantizers read the float input 'x'.*--input u8/255"):
        lower(model)

"""Weird but legal graphs, and the corners where an exact lowering could slip."""

from fractions import Fraction

import numpy as np
import pytest
from onnx import TensorProto, helper

from intir import run
from quant.lower import LoweringError, host_input, lower
from tests.quant.test_lower_oracle import batch_norm, conv, each, exact, f32, network, node, pool, quant, reals, same

BITS = {"z": f32(0), "b": f32(4), "one": f32(1), "s": f32(0.5)}


def grid(bits=4, channels=2):
    axes = [np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))] * channels
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, channels)


def relu(x):
    return each(x, lambda v: max(v, Fraction(0)))


def test_one_product_read_by_a_falling_a_rising_and_a_linear_reader():
    w = f32([[1, -2], [3, 5]])
    constants = BITS | {"w": w, "k": f32([-0.3, 0.7]), "j": f32([0.2, -0.9])}
    nodes = [
        node("MatMul", ["x", "w"], "m"),
        node("Mul", ["m", "k"], "a"),
        node("Quant", ["a", "s", "z", "b"], "qa", signed=1, narrow=0),
        node("Mul", ["m", "j"], "c"),
        node("Quant", ["c", "s", "z", "b"], "qc", signed=1, narrow=1),
        node("Add", ["qa", "qc"], "d"),
        node("Sub", ["d", "m"], "y"),
    ]
    x = grid()
    m = exact(x) @ exact(w)
    wanted = (
        quant(m * exact(constants["k"]), 0.5, 0, 4, signed=1, narrow=0)
        + quant(m * exact(constants["j"]), 0.5, 0, 4, signed=1, narrow=1)
        - m
    )
    assert same(reals(lower(network(nodes, (1, 2), (1, 2), constants), input_spec="s4"), x), wanted)


def test_zero_gammas_and_zero_factors_make_constants():
    constants = BITS | {
        "w": f32([[1, -2], [3, 5]]),
        "g": f32([0, -1]),
        "be": f32([0.8, 0.1]),
        "m": f32([1, 2]),
        "v": f32([1, 1]),
        "k": f32([0, 2]),
    }
    nodes = [
        node("MatMul", ["x", "w"], "t"),
        node("BatchNormalization", ["t", "g", "be", "m", "v"], "n", epsilon=0.0),
        node("Quant", ["n", "s", "z", "b"], "q", signed=1, narrow=0),
        node("Mul", ["q", "k"], "u"),
        node("MatMul", ["u", "w"], "y"),
    ]
    x = grid()
    q = quant(
        batch_norm(exact(x) @ exact(constants["w"]), *(constants[k] for k in ("g", "be", "m", "v")), 0.0),
        0.5,
        0,
        4,
        signed=1,
        narrow=0,
    )
    wanted = q * exact(constants["k"]) @ exact(constants["w"])
    assert same(reals(lower(network(nodes, (1, 2), (1, 2), constants), input_spec="s4"), x), wanted)


def test_several_inputs_and_outputs():
    nodes = [node("BipolarQuant", ["x", "one"], "p"), node("MatMul", ["p", "w"], "y"), node("Neg", ["p"], "y2")]
    model = network(nodes, (1, 2), (1, 2), BITS | {"w": f32([[1, -2], [3, 5]])})
    model.graph.output.append(helper.make_tensor_value_info("y2", TensorProto.FLOAT, (1, 2)))
    graph = lower(model).graph
    assert [one.affine.scale for one in graph.outputs] == [(1,), (-1,)]


def test_an_integer_input_needs_no_spec():
    nodes = [
        node("Cast", ["x"], "f", to=TensorProto.FLOAT),
        node("Div", ["f", "k"], "d"),
        node("BipolarQuant", ["d", "one"], "p"),
        node("MatMul", ["p", "w"], "y"),
    ]
    model = network(nodes, (1, 2), (1, 2), BITS | {"w": f32([[1, -2], [3, 5]]), "k": f32(255)})
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    net = lower(model)
    assert str(net.graph.values[net.graph.input.value].type) == "u8"


def test_batch_norm_of_negative_gammas_in_front_of_a_max_pool_costs_no_node():
    rng = np.random.default_rng(0)
    w = rng.integers(-3, 4, (3, 2, 2, 2))
    constants = BITS | {"w": f32(w), "g": f32([1, -1, -0.5]), "be": f32([0.1, 0.2, 3]), "m": f32([1, 2, 3]), "v": f32([1, 2, 3])}
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("BatchNormalization", ["c", "g", "be", "m", "v"], "n", epsilon=1e-5),
        node("Relu", ["n"], "r"),
        node("MaxPool", ["r"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Quant", ["p", "s", "z", "b"], "y", signed=0, narrow=0),
    ]
    net = lower(network(nodes, (1, 2, 5, 5), (1, 3, 2, 2), constants), input_spec="s4")
    assert [one.op.kind for one in net.graph.nodes] == ["Conv2d", "MaxPool2d", "Threshold"]
    x = rng.integers(-8, 8, (3, 2, 5, 5))
    for one in x:
        n = relu(batch_norm(conv(exact(one[None]), exact(w), None, {}), *(constants[k] for k in ("g", "be", "m", "v")), 1e-5))
        wanted = quant(pool(n, {"kernel_shape": [2, 2], "strides": [2, 2]}, max), 0.5, 0, 4, signed=0, narrow=0)
        assert same(reals(net, one[None]), wanted)


def test_per_channel_zero_points_under_a_padded_convolution():
    rng = np.random.default_rng(1)
    w = rng.integers(-3, 4, (2, 2, 3, 3))
    constants = {"w": f32(w), "s": f32([[[0.5]], [[0.25]]]), "z": f32([[[3]], [[5]]]), "b": f32(4)}
    nodes = [node("Quant", ["x", "s", "z", "b"], "q", signed=0, narrow=0), node("Conv", ["q", "w"], "y", pads=[1, 1, 1, 1])]
    x = rng.integers(-16, 16, (1, 2, 4, 4))
    wanted = conv(quant(exact(x) / 8, constants["s"], constants["z"], 4, signed=0, narrow=0), exact(w), None, {"pads": [1] * 4})
    assert same(reals(lower(network(nodes, (1, 2, 4, 4), (1, 2, 4, 4), constants), input_spec="s5/8"), x), wanted)


def test_thresholds_half_way_between_integers_and_on_them():
    """x - 2.5, x - 3 and -x + 3 against BipolarQuant's 0 -> +1 and Quant's ties."""
    for factor, summand in ((1, -2.5), (1, -3), (-1, 3), (2, -5), (-2, 5)):
        nodes = [node("Mul", ["x", "k"], "m"), node("Add", ["m", "c"], "a"), node("BipolarQuant", ["a", "one"], "y")]
        constants = BITS | {"k": f32(factor), "c": f32(summand)}
        x = np.arange(-8, 8)[:, None]
        found = reals(lower(network(nodes, (1, 1), (1, 1), constants), input_spec="s4"), x).ravel()
        assert found.tolist() == [1 if factor * one + summand >= 0 else -1 for one in range(-8, 8)]


def test_falling_quantizers_of_the_float_input():
    nodes = [node("Neg", ["x"], "n"), node("Quant", ["n", "s", "z", "b"], "q", signed=1, narrow=0), node("MatMul", ["q", "w"], "y")]
    model = network(nodes, (1, 2), (1, 2), BITS | {"w": f32([[1, -2], [3, 5]])})
    x = np.array([[0.25, -0.25], [0.75, -0.75], [0.2501, 9], [-9, 3.75], [4.25, -3.25], [1e30, -1e30], [0, -0.0]], np.float32)
    wanted = quant(-exact(x), 0.5, 0, 4, signed=1, narrow=0) @ exact([[1, -2], [3, 5]])
    assert same(reals(lower(model), x), wanted)


def test_constants_from_subgraphs():
    """Scale = max / (2**(bits-1) - 1) from nodes, weights through Transpose and Reshape, a reshape from Shape."""
    nodes = [
        node("Shape", ["x"], "sh"),
        node("Gather", ["sh", "zero"], "n", axis=0),
        node("Unsqueeze", ["n", "axes"], "n1"),
        node("Concat", ["n1", "minus"], "target", axis=0),
        node("Reshape", ["x", "target"], "f"),
        node("Constant", [], "seven", value=helper.make_tensor("v", TensorProto.FLOAT, [], [7.0])),
        node("Div", ["top", "seven"], "ws"),
        node("Quant", ["wf", "ws", "z", "b"], "wq", signed=1, narrow=1),
        node("Transpose", ["wq"], "wt", perm=[1, 0]),
        node("Mul", ["wt", "two"], "w2"),
        node("MatMul", ["f", "w2"], "y"),
    ]
    wf = f32(np.random.default_rng(0).normal(size=(3, 4)))
    constants = BITS | {
        "zero": np.array(0),
        "axes": np.array([0]),
        "minus": np.array([-1]),
        "top": f32(2.6),
        "wf": wf,
        "two": f32([2, 3, 5]),
    }
    model = network(nodes, (1, 2, 2), (1, 3), constants)
    x = np.random.default_rng(1).integers(-8, 8, (9, 2, 2))
    w = quant(exact(wf), Fraction(float(np.float32(2.6))) / 7, 0, 4, signed=1, narrow=1).T * exact([2, 3, 5])
    assert same(reals(lower(model, input_spec="s4"), x), exact(x.reshape(9, 4)) @ w)


def test_quantized_weights_on_exact_ties():
    """Weights on k + 1/2 of a power-of-two scale, for all modes: the exact path decides."""
    wf = f32(np.arange(-12, 12).reshape(1, 24) / 4)
    for mode in ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"):
        nodes = [node("Quant", ["wf", "s", "z", "b"], "w", signed=1, narrow=0, rounding_mode=mode), node("MatMul", ["x", "w"], "y")]
        net = lower(network(nodes, (1, 1), (1, 24), BITS | {"wf": wf}), input_spec="s2")
        assert same(reals(net, np.array([[1]])), quant(exact(wf), 0.5, 0, 4, signed=1, narrow=0, rounding_mode=mode))


def test_a_float32_rounding_of_the_executor_is_told_from_the_exact_value():
    """0.1f + 0.2f in float32 is not the exact sum: the lowering follows the exact one."""
    nodes = [node("Mul", ["x", "tenth"], "m"), node("Sub", ["m", "c"], "a"), node("BipolarQuant", ["a", "one"], "y")]
    tenth = np.float32(0.1)
    c = np.float32(np.float32(3) * tenth)  # rounded: larger than 3 * 0.1f exactly
    assert Fraction(float(c)) > 3 * Fraction(float(tenth))
    net = lower(network(nodes, (1, 1), (1, 1), BITS | {"tenth": tenth, "c": c}), input_spec="s4")
    assert reals(net, np.array([[3]])).item() == -1


def test_softmax_over_channels_of_an_image_then_argmax():
    constants = {"w": f32(np.random.default_rng(0).integers(-3, 4, (3, 2, 1, 1)))}
    nodes = [node("Conv", ["x", "w"], "c"), node("Softmax", ["c"], "p", axis=1), node("ArgMax", ["p"], "y", axis=1, keepdims=1)]
    x = np.random.default_rng(1).integers(-8, 8, (4, 2, 3, 3))
    graph = lower(network(nodes, (1, 2, 3, 3), (1, 1, 3, 3), constants), input_spec="s4").graph
    wanted = np.concatenate([conv(exact(one[None]), exact(constants["w"]), None, {}).argmax(axis=1) for one in x])
    assert np.array_equal(run(graph, host_input(graph, x))[..., 0], wanted)
    wrong = network([*nodes[:2], node("ArgMax", ["p"], "y", axis=2)], (1, 2, 3, 3), (1, 3, 1, 3), constants)
    with pytest.raises(LoweringError, match="Softmax"):
        lower(wrong, input_spec="s4")


def test_topk_and_its_ties():
    topk = helper.make_node("TopK", ["m", "k"], ["values", "y"], name="top", axis=1)
    constants = {"w": f32([[1, -2, 3, 1], [3, 4, -1, 3]]), "k": np.array([3])}
    model = network([node("MatMul", ["x", "w"], "m"), topk], (1, 2), (1, 3), constants)
    x = grid()
    wanted = np.argsort(-(x @ constants["w"].astype(int)), axis=1, kind="stable")[:, :3]
    assert np.array_equal(run(lower(model, input_spec="s4").graph, x), wanted)
    model.graph.output[0].name = "values"
    with pytest.raises(LoweringError, match="values"):
        lower(model, input_spec="s4")


@pytest.mark.parametrize("argmax", [False, True])
def test_unused_second_outputs(argmax):
    """Dropout's mask is declared, but nothing reads it."""
    dropout = helper.make_node("Dropout", ["p"], ["d", "mask"], name="drop")
    model = network(
        [node("BipolarQuant", ["x", "one"], "p"), dropout, node("MatMul", ["d", "w"], "y")],
        (1, 2),
        (1, 2),
        BITS | {"w": f32([[1, -2], [3, 5]])},
    )
    assert len(lower(model, argmax=argmax).graph.nodes) == 1 + argmax
    model.graph.node[2].input[0] = "mask"
    with pytest.raises(LoweringError, match="output 1"):
        lower(model)

"""The exact executor against definitions in plain fractions, and against float executions where those are exact."""

import math
from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.exact import ExactError, ExactNetwork, of_array, whole
from quant.exact.products import bilinear
from quant.exact.rational import of_fractions
from quant.qonnx_exec import execute
from tests.quant.test_lower_oracle import batch_norm, conv, conv_transpose, exact, f32, network, node, pool, quant

RNG = np.random.default_rng(0)


def run_one(nodes, x, out_shape, constants, opset=13):
    """The exact outputs of a graph for samples x (S, *shape), as fractions (S, 1, *shape)."""
    model = network(nodes, (1, *x.shape[1:]), out_shape, constants, opset)
    (y,) = ExactNetwork(model).run(of_array(x))
    return y.fractions()


def assert_same(found, wanted):
    assert found.shape == wanted.shape
    assert (found == wanted).all()


@pytest.mark.parametrize("values", [[0.1, -3.0, 1e-30, 7e20], [0.0, 0.0], [1.5, 2.5, -0.25], [np.float32(0.1)] * 3, [2.0**-149, 2.0**127]])
def test_floats_are_the_rationals_they_are(values):
    assert of_array(np.array([values])).fractions()[0].tolist() == [Fraction(float(v)) for v in values]


def test_no_number_is_refused():
    with pytest.raises(ExactError, match="holds nan, which is no number"):
        of_array(np.array([[1.0, np.nan]]))


@pytest.mark.parametrize(("a", "b"), [(3, 3), (2**40, 5), (2**61, 2**61), (2**90, 2**70), (7, 2**80)])
def test_products_are_exact_whatever_their_size(a, b):
    """Through floats, through limbs in int64, through limbs in Python's integers."""
    x = np.array([[int(v) for v in row] for row in RNG.integers(-9, 10, (5, 33))], object) * a // 9
    w = np.array([[int(v) for v in row] for row in RNG.integers(-9, 10, (33, 4))], object) * b // 9
    x, w = (v if np.abs(v).max() >= 2**62 else v.astype(np.int64) for v in (x, w))
    assert_same(bilinear(np.matmul, x, w, 33), x.astype(object) @ w.astype(object))


MODES = ["ROUND", "HALF_EVEN", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN", "ROUND_TO_ZERO"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("signed", "narrow"), [(1, 0), (1, 1), (0, 0), (0, 1)])
@pytest.mark.parametrize(("scale", "zero"), [(0.5, 1.0), (0.1, 0.0), ([0.3, 0.7, 1.1], [2.0, 0.0, -1.0]), (-0.25, 0.0)])
def test_quant_follows_its_definition(mode, signed, narrow, scale, zero):
    scale, zero = (f32(v).reshape(1, -1, 1) if np.ndim(v) else f32(v) for v in (scale, zero))
    grid = np.arange(-40, 41, dtype=np.float32) / 8
    x = np.stack([grid * np.float32(np.ravel(scale)[i % scale.size]) for i in range(3)])[None]  # ties and all between
    attributes = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
    found = run_one([node("Quant", ["x", "s", "z", "b"], "y", **attributes)], x, (1, 3, 81), {"s": scale, "z": zero, "b": f32(3)})
    if mode == "ROUND_TO_ZERO":
        attributes["rounding_mode"] = "DOWN"
    assert_same(found, quant(exact(x)[None], scale, zero, 3, **attributes))


def test_one_bit_signed_is_the_sign_with_zero_up():
    x = f32([[-1e-30, 0, 1e-30, 5]])
    found = run_one([node("Quant", ["x", "s", "z", "b"], "y", signed=1, narrow=1, rounding_mode="ROUND")], x, (1, 4),
                    {"s": f32(0.1), "z": f32(0), "b": f32(1)})
    step = Fraction(float(np.float32(0.1)))
    assert found.ravel().tolist() == [-step, step, step, step]


GEOMETRIES = [
    ((1, 4, 7), (6, 4, 3), {}),
    ((1, 4, 9), (4, 1, 3), {"group": 4, "strides": [2], "pads": [2, 0], "dilations": [2]}),
    ((1, 3, 6, 5), (4, 3, 3, 2), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ((1, 4, 6, 6), (6, 2, 2, 3), {"group": 2, "dilations": [2, 1], "pads": [0, 1, 1, 0]}),
]


@pytest.mark.parametrize(("shape", "kernel", "attributes"), GEOMETRIES)
@pytest.mark.parametrize("big", [False, True])
def test_conv_follows_its_definition(shape, kernel, attributes, big):
    x = RNG.integers(-9, 10, shape).astype(np.float32) * (np.float32(1.1) if big else 1)
    w = RNG.normal(size=kernel).astype(np.float32) if big else RNG.integers(-3, 4, kernel).astype(np.float32)
    bias = RNG.normal(size=kernel[0]).astype(np.float32)
    wanted = conv(exact(x), exact(w), exact(bias), attributes)
    assert_same(run_one([node("Conv", ["x", "w", "b"], "y", **attributes)], x, wanted.shape, {"w": w, "b": bias})[0], wanted)


def test_conv_of_channels_with_their_own_scales():
    """A scale per channel on both sides of a depthwise and of a dense convolution."""
    x, scale = f32(RNG.integers(-9, 10, (1, 4, 5, 5))), f32([0.1, 0.3, 0.7, 1.1]).reshape(1, 4, 1, 1)
    quantizer = node("Quant", ["x", "s", "z", "b"], "q", signed=1, narrow=0, rounding_mode="ROUND")
    q = quant(exact(x), scale, 0, 6, signed=1, narrow=0)
    for kernel, group in (((4, 1, 3, 3), 4), ((2, 4, 3, 3), 1), ((6, 2, 2, 2), 2)):
        w = f32(RNG.integers(-3, 4, kernel))
        wanted = conv(q, exact(w), None, {"group": group})
        found = run_one([quantizer, node("Conv", ["q", "w"], "y", group=group)], x, wanted.shape,
                        {"s": scale, "z": f32(0), "b": f32(6), "w": w})
        assert_same(found[0], wanted)


@pytest.mark.parametrize(("shape", "kernel", "attributes"), [
    ((1, 4, 5), (4, 3, 3), {"strides": [2], "pads": [1, 0], "output_padding": [1]}),
    ((1, 4, 4, 3), (4, 2, 3, 2), {"group": 2, "strides": [2, 3], "dilations": [1, 2], "pads": [1, 0, 0, 2]}),
])
def test_conv_transpose_follows_its_definition(shape, kernel, attributes):
    x, w = f32(RNG.integers(-9, 10, shape)), RNG.normal(size=kernel).astype(np.float32)
    wanted = conv_transpose(exact(x), exact(w), None, attributes)
    assert_same(run_one([node("ConvTranspose", ["x", "w"], "y", **attributes)], x, wanted.shape, {"w": w})[0], wanted)


@pytest.mark.parametrize("attributes", [{"kernel_shape": [2, 2], "strides": [2, 2]},
                                        {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "dilations": [1, 2]}])
def test_pools_follow_their_definition(attributes):
    x = RNG.normal(size=(1, 3, 6, 7)).astype(np.float32)
    for op, options in (("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1})):
        all_options = {**attributes, **options}
        if op == "AveragePool":
            all_options.pop("dilations", None)
        wanted = pool(exact(x), all_options, max if op == "MaxPool" else sum, count_pads="count_include_pad" in options)
        assert_same(run_one([node(op, ["x"], "y", **all_options)], x, wanted.shape, {}, opset=19)[0], wanted)


def test_batch_norm_divides_by_the_float32_root():
    x, (gamma, beta, mean) = f32(RNG.normal(size=(1, 5, 2, 2))), (f32(RNG.normal(size=5)) for _ in range(3))
    var = f32(RNG.uniform(0.1, 2, 5))
    wanted = batch_norm(exact(x), gamma, beta, mean, var, 1e-3)
    found = run_one([node("BatchNormalization", ["x", "g", "b", "m", "v"], "y", epsilon=1e-3)], x, x.shape,
                    {"g": gamma, "b": beta, "m": mean, "v": var})
    assert_same(found[0], wanted)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fractions(-9, 9, max_denominator=40), min_size=1, max_size=12),
       st.lists(st.fractions(-9, 9, max_denominator=40), min_size=1, max_size=12))
def test_sums_and_products_are_those_of_fractions(a, b):
    a, b = np.array(a, object)[None, :, None], np.array(b, object)[None, None, :]
    from quant.exact.rational import add, divide, equal, least, multiply
    x, y = of_fractions(a), of_fractions(b)
    assert_same(add(x, y).fractions(), a + b)
    assert_same(add(x, y, -1).fractions(), a - b)
    assert_same(multiply(x, y).fractions(), a * b)
    assert_same(least(x, y).fractions(), np.minimum(a, b))
    assert (equal(x, y) == (a == b)).all()
    if (b != 0).all():
        assert_same(divide(x, y).fractions(), np.array([Fraction(u) / v for u in a.ravel() for v in b.ravel()]).reshape(1, a.size, -1))


#: Operators on small integers, where float32 is exact: stock onnxruntime is the witness.
STOCK = {
    "relu, clip": ([node("Relu", ["x"], "a"), node("Clip", ["a", "lo", "hi"], "y")], {"lo": f32(1), "hi": f32(5)}, 13),
    "leaky": ([node("LeakyRelu", ["x"], "y", alpha=0.25)], {}, 13),
    "prelu": ([node("PRelu", ["x", "s"], "y")], {"s": f32([0.5, 2, -1, 0.25]).reshape(4, 1, 1)}, 13),
    "reshape, transpose": ([node("Transpose", ["x"], "a", perm=[0, 2, 3, 1]), node("Reshape", ["a", "s"], "y")], {"s": np.array([0, -1, 2])}, 13),
    "slice": ([node("Slice", ["x", "b", "e", "a", "s"], "y")], {"b": np.array([-1, 0]), "e": np.array([-9, 3]), "a": np.array([2, 3]), "s": np.array([-2, 1])}, 13),
    "gather": ([node("Gather", ["x", "i"], "y", axis=1)], {"i": np.array([[3, -1], [0, 0]])}, 13),
    "flatten": ([node("Flatten", ["x"], "y")], {}, 13),
    "squeeze": ([node("Unsqueeze", ["x", "u"], "a"), node("Squeeze", ["a", "u"], "y")], {"u": np.array([2, -1])}, 13),
    "expand": ([node("Slice", ["x", "b", "e", "a"], "c"), node("Expand", ["c", "s"], "y")], {"b": np.array([0]), "e": np.array([1]), "a": np.array([1]), "s": np.array([3, 1, 1])}, 13),
    "pad": ([node("Pad", ["x", "p", "v"], "y")], {"p": np.array([0, 1, 0, 2, 0, 0, 1, 0]), "v": f32(-1.5)}, 13),
    "resize": ([node("Resize", ["x", "", "s"], "y", mode="nearest")], {"s": f32([1, 1, 2, 1.5])}, 13),
    "resize, asymmetric": ([node("Resize", ["x", "", "", "n"], "y", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")], {"n": np.array([1, 4, 7, 3])}, 13),
    "depth to space": ([node("DepthToSpace", ["x"], "y", blocksize=2)], {}, 13),
    "depth to space, crd": ([node("DepthToSpace", ["x"], "y", blocksize=2, mode="CRD")], {}, 13),
    "space to depth": ([node("SpaceToDepth", ["x"], "y", blocksize=2)], {}, 13),
    "concat": ([node("Mul", ["x", "h"], "a"), node("Concat", ["x", "a"], "y", axis=1)], {"h": f32(0.5)}, 13),
    "mean": ([node("Mul", ["x", "h"], "a"), node("GlobalAveragePool", ["a"], "y")], {"h": f32(24)}, 13),
    "sums": ([node("ReduceSum", ["x", "a"], "y", keepdims=0)], {"a": np.array([1, 3])}, 13),
    "max": ([node("ReduceMax", ["x"], "y", axes=[2])], {}, 13),
    "argmax": ([node("ArgMax", ["x"], "i", axis=1), node("Cast", ["i"], "y", to=1)], {}, 13),
    "argmax, last": ([node("ArgMax", ["x"], "i", axis=1, select_last_index=1, keepdims=0), node("Cast", ["i"], "y", to=1)], {}, 13),
    "softmax, argmax": ([node("Softmax", ["x"], "s", axis=1), node("ArgMax", ["s"], "i", axis=1), node("Cast", ["i"], "y", to=1)], {}, 13),
    "gemm": ([node("Flatten", ["x"], "a"), node("Gemm", ["a", "w", "c"], "y", transB=1, alpha=0.5, beta=2.0)], {"w": f32(RNG.integers(-3, 4, (5, 96))), "c": f32(np.arange(5))}, 13),
    "matmul": ([node("MatMul", ["x", "w"], "y")], {"w": f32(RNG.integers(-3, 4, (6, 5)))}, 13),
    "matmul from the left": ([node("MatMul", ["w", "x"], "y")], {"w": f32(RNG.integers(-3, 4, (5, 4)))}, 13),
    "averages, ceil": ([node("AveragePool", ["x"], "y", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1])], {}, 13),
    "max, ceil": ([node("MaxPool", ["x"], "y", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}, 13),
    "same upper": ([node("Conv", ["x", "w"], "y", auto_pad="SAME_UPPER", strides=[2, 2])], {"w": f32(RNG.integers(-3, 4, (2, 4, 3, 3)))}, 13),
    "sign, neg, abs": ([node("Neg", ["x"], "a"), node("Sign", ["a"], "b"), node("Abs", ["x"], "c"), node("Sub", ["b", "c"], "y")], {}, 13),
    "quantize": ([node("QuantizeLinear", ["x", "s", "z"], "q"), node("DequantizeLinear", ["q", "s", "z"], "y")], {"s": f32(2), "z": np.array(3, np.uint8)}, 13),
    "quantize, per channel": ([node("QuantizeLinear", ["x", "s", "z"], "q", axis=1), node("DequantizeLinear", ["q", "s", "z"], "y", axis=1)], {"s": f32([2, 0.5, 4, 8]), "z": np.array([0, -5, 1, 100], np.int8)}, 13),
}


@pytest.mark.parametrize("name", STOCK)
def test_operators_agree_with_stock_onnxruntime(name):
    nodes, constants, opset = STOCK[name]
    x = f32(RNG.integers(-9, 10, (3, 4, 4, 6)))
    model = network(nodes, (1, 4, 4, 6), None, constants, opset)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = ExactNetwork(model).run(of_array(x))
    for i in range(len(x)):
        assert_same(found.fractions()[i], exact(session.run(None, {"x": x[i:i + 1]})[0]))


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL"])
def test_trunc_agrees_with_the_qonnx_package(mode):
    x = np.arange(-40, 40, dtype=np.float32)[None] / 4
    constants = {"s": f32(0.25), "z": f32(2), "i": f32(8), "o": f32(5)}
    model = network([node("Trunc", ["x", "s", "z", "i", "o"], "y", rounding_mode=mode)], (1, 80), (1, 80), constants)
    assert_same(ExactNetwork(model).run(of_array(x))[0].fractions()[0], exact(execute(model, x)))


def test_multithreshold_agrees_with_the_qonnx_package():
    x = f32(RNG.integers(-9, 10, (1, 3, 4, 4)))
    constants = {"t": f32(np.sort(RNG.integers(-9, 10, (3, 7)), axis=1))}
    model = network([node("MultiThreshold", ["x", "t"], "y", out_dtype="INT4", out_scale=0.5, out_bias=-2.0)], x.shape, x.shape, constants)
    assert_same(ExactNetwork(model).run(of_array(x))[0].fractions()[0], exact(execute(model, x)))


@pytest.mark.parametrize(("op", "function"), [("Sigmoid", lambda x: 1 / (1 + math.exp(-x))), ("Tanh", math.tanh), ("Softplus", lambda x: math.log1p(math.exp(x))),
                                              ("Elu", lambda x: x if x >= 0 else math.expm1(x))])
def test_a_quantizer_decides_irrational_numbers(op, function):
    """Far from a boundary the float function knows the level; at 0 the value is rational and lies on a tie."""
    x = np.linspace(-6, 6, 97, dtype=np.float32)[None]
    quantizer = node("Quant", ["f", "s", "z", "b"], "y", signed=1, narrow=0, rounding_mode="ROUND")
    model = network([node(op, ["x"], "f"), quantizer], (1, 97), (1, 97), {"s": f32(2**-4), "z": f32(0), "b": f32(8)})
    found = ExactNetwork(model).run(of_array(x))[0].fractions()[0, 0]
    assert [int(v * 16) for v in found] == [round(function(float(v)) * 16) for v in x[0]]


def test_irrational_numbers_without_a_quantizer_are_refused():
    model = network([node("Sigmoid", ["x"], "y")], (1, 3), (1, 3), {})
    with pytest.raises(ExactError, match="output 'y' is irrational; quantize it"):
        ExactNetwork(model).run(whole(np.array([[1, 2, 3]])))
    model = network([node("Sigmoid", ["x"], "s"), node("MatMul", ["s", "w"], "y")], (1, 3), (1, 2), {"w": f32(np.ones((3, 2)))})
    with pytest.raises(ExactError, match=r"node 'MatMul_y' \(MatMul\) reads irrational numbers that no quantizer has rounded"):
        ExactNetwork(model).run(whole(np.array([[1, 2, 3]])))


def test_an_unknown_operator_is_named():
    with pytest.raises(ExactError, match="node 'LSTM_y': there is no exact rule for operator LSTM"):
        ExactNetwork(network([node("LSTM", ["x"], "y")], (1, 3), (1, 3), {})).run(whole(np.array([[1, 2, 3]])))


def test_an_input_of_another_shape_is_refused():
    with pytest.raises(ExactError, match=r"'x' takes samples of shape \(3,\), not \(4,\)"):
        ExactNetwork(network([node("Relu", ["x"], "y")], (1, 3), (1, 3), {})).run(whole(np.ones((2, 4), np.int64)))

"""QLinear operators and integer products under exact semantics, QDQ and QCDQ variants, and what is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import intir
from quant.check import real_outputs
from quant.exact import ExactNetwork, equal, of_array
from quant.lower import LoweringError, explain, host_input, lower
from tests.quant.runtime_models import float_cnn, lowered, model_of, same, statically, stock
from tests.quant.test_semantics_onnxruntime import calibration

u8, s8, i32, f32 = np.uint8, np.int8, np.int32, np.float32


def exactly(model, x, semantics="exact"):
    """True if the IR's outputs are the model's in exact arithmetic, as rationals."""
    graph = lower(model, semantics=semantics).graph
    mine = real_outputs(graph, intir.run(graph, host_input(graph, x)))
    (found,) = ExactNetwork(model).run(of_array(x))
    return bool(equal(type(found)(found.integers.reshape(len(x), -1), found.unit.reshape(1, -1)), mine).all())


OPERATORS = {
    "QLinearConv": ((3, 4, 5), "Conv", {"pads": [1, 1, 0, 1], "strides": [2, 1]}),
    "QLinearMatMul": ((6,), "MatMul", {}),
    "QGemm": ((6,), "Gemm", {"transB": 1}),
    "QLinearLeakyRelu": ((6,), "LeakyRelu", {"alpha": 0.2}),
    "QLinearSigmoid": ((6,), "Sigmoid", {}),
    "QLinearAveragePool": ((2, 4, 6), "AveragePool", {"kernel_shape": [2, 3]}),
    "QLinearGlobalAveragePool": ((2, 4, 6), "GlobalAveragePool", {}),
}


@pytest.mark.parametrize("kind", [u8, s8])
@pytest.mark.parametrize("op", OPERATORS)
def test_exact_operators(op, kind):
    """The same as dequantize, operator, quantize on rationals."""
    shape, real_op, attributes = OPERATORS[op]
    rng = np.random.default_rng(len(op))
    info = np.iinfo(kind)
    constants = {"xs": f32(0.037), "xz": kind(11), "ys": f32(0.0045 if op == "QLinearSigmoid" else 0.09), "yz": kind(5)}
    names, inner = ["x", "xs", "xz"], ["xd"]
    nodes = [("DequantizeLinear", ["x", "xs", "xz"], "xd", {})]
    channels = {"QLinearConv": 4, "QLinearMatMul": 4, "QGemm": 4}.get(op, 1)
    if channels > 1:
        axis = {"QLinearConv": 0, "QGemm": 0}.get(op, 1)
        w_shape = {"QLinearConv": (4, 3, 3, 3), "QGemm": (4, 6)}.get(op, (6, 4))
        constants |= {"w": rng.integers(-128, 128, w_shape).astype(s8), "ws": rng.uniform(0.01, 0.02, 4).astype(f32),
                      "wz": np.zeros(4, s8)}
        nodes.append(("DequantizeLinear", ["w", "ws", "wz"], "wd", {"axis": axis}))
        names += ["w", "ws", "wz"]
        inner.append("wd")
    if op == "QGemm":
        names.append("b")
    names += ["ys", "yz"]
    if op in ("QLinearConv", "QGemm"):  # scales of powers of two: float32 holds their product, which is the bias's scale
        constants |= {"xs": f32(1 / 32), "ws": f32(2.0) ** rng.integers(-7, -5, 4).astype(f32)}
        constants |= {"b": rng.integers(-2000, 2000, 4).astype(i32), "bs": constants["xs"] * constants["ws"]}
        names += ["b"] if op == "QLinearConv" else []
        nodes.append(("DequantizeLinear", ["b", "bs"], "bd", {"axis": 0}))
        inner.append("bd")
    x = rng.integers(info.min, info.max + 1, (300, *shape)).astype(kind)
    typed = {"x": (kind, ["n", *shape])}
    out_shape = {"QLinearConv": [4, 2, 5], "QLinearMatMul": [4], "QGemm": [4], "QLinearAveragePool": [2, 3, 4],
                 "QLinearGlobalAveragePool": [2, 1, 1]}.get(op, [*shape])
    model = model_of([(op, names, "y", attributes)], typed, {"y": (kind, ["n", *out_shape])},
                     {name: value for name, value in constants.items() if name in names})
    nodes += [(real_op, inner, "r", attributes), ("QuantizeLinear", ["r", "ys", "yz"], "y", {})]
    apart = model_of(nodes, typed, {"y": (kind, ["n", *out_shape])}, constants)
    graph = lower(model).graph
    mine = real_outputs(graph, intir.run(graph, host_input(graph, x)))
    (found,) = ExactNetwork(apart).run(of_array(x))
    assert len(np.unique(found.integers)) > 20
    assert equal(type(found)(found.integers.reshape(len(x), -1), found.unit.reshape(1, -1)), mine).all()


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul", "QLinearConcat"])
def test_exact_joins(op):
    rng = np.random.default_rng(3)
    constants = {"as": f32(0.037), "az": u8(9), "bs": f32(0.081), "bz": u8(130), "ys": f32(0.11), "yz": u8(60),
                 "first": np.array([0]), "half": np.array([3]), "end": np.array([6]), "axis": np.array([1])}
    split = [("Slice", ["x", "first", "half", "axis"], "a", {}), ("Slice", ["x", "half", "end", "axis"], "b", {})]
    names = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]
    names, attributes = (["ys", "yz", *names[:6]], {"axis": 1}) if op == "QLinearConcat" else (names, {})
    width = 6 if op == "QLinearConcat" else 3
    x = rng.integers(0, 256, (2000, 6)).astype(u8)
    typed, out = {"x": (u8, ["n", 6])}, {"y": (u8, ["n", width])}
    model = model_of([*split, (op, names, "y", attributes)], typed, out, constants)
    apart = model_of([*split, ("DequantizeLinear", ["a", "as", "az"], "ad", {}), ("DequantizeLinear", ["b", "bs", "bz"], "bd", {}),
                      (op.removeprefix("QLinear"), ["ad", "bd"], "r", attributes), ("QuantizeLinear", ["r", "ys", "yz"], "y", {})],
                     typed, out, constants)
    (found,) = ExactNetwork(apart).run(of_array(x))
    assert same(lowered(model, x), found.integers.reshape(len(x), -1) * int(found.unit.ravel()[0]))


@pytest.mark.parametrize("semantics", ["exact", "onnxruntime", "tflite"])
def test_integer_products(semantics):
    """ConvInteger and MatMulInteger are exact int32 in every runtime."""
    rng = np.random.default_rng(4)
    constants = {"w": rng.integers(0, 256, (4, 3, 3, 3)).astype(u8), "xz": u8(7), "wz": u8(120)}
    model = model_of([("ConvInteger", ["x", "w", "xz", "wz"], "y", {"pads": [1, 1, 1, 1]})], {"x": (u8, ["n", 3, 5, 4])},
                     {"y": (i32, ["n", 4, 5, 4])}, constants)
    x = rng.integers(0, 256, (100, 3, 5, 4)).astype(u8)
    assert same(lowered(model, x, semantics), stock(model, x))
    constants = {"w": rng.integers(-128, 128, (6, 5)).astype(s8), "xz": u8(200)}
    model = model_of([("MatMulInteger", ["x", "w", "xz"], "y", {})], {"x": (u8, ["n", 6])}, {"y": (i32, ["n", 5])}, constants)
    x = rng.integers(0, 256, (100, 6)).astype(u8)
    assert same(lowered(model, x, semantics), stock(model, x))


@pytest.mark.parametrize("fmt,activations,weights", [("QDQ", "QUInt8", "QInt8"), ("QDQ", "QInt8", "QInt8"), ("QOperator", "QUInt8", "QInt8")])
def test_static_networks_exactly(fmt, activations, weights, tmp_path):
    """QDQ against exact arithmetic; QOperator gives the integers of its QDQ twin."""
    network = float_cnn(seed=2)
    x = np.random.default_rng(7).random((200, 1, 12, 12), f32)
    twin = statically(network, calibration(), tmp_path, "QDQ", activations, weights, True)
    if fmt == "QDQ":
        assert exactly(batch_of_one(twin), x)
    else:
        model = statically(network, calibration(), tmp_path, fmt, activations, weights, True)
        differing = lowered(model, x) != lowered(twin, x)
        assert differing.mean() < 0.002  # in QDQ the bias has a float32 scale of its own


def batch_of_one(model):
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return made


@pytest.mark.parametrize("bits", [16, 4])
def test_other_widths(bits, tmp_path):
    """int16 activations; 4-bit weights, in a graph written by hand, since onnxruntime's quantizer packs them for MatMul alone."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(100, 6)).astype(f32)
    constants = {"s": f32(0.0003 if bits == 16 else 0.05), "z": np.int16(100) if bits == 16 else u8(128), "t": f32(0.001), "o": np.int16(0),
                 "ws": rng.uniform(0.05, 0.1, 4).astype(f32)}
    nodes = [("QuantizeLinear", ["x", "s", "z"], "q", {}), ("DequantizeLinear", ["q", "s", "z"], "d", {}),
             ("DequantizeLinear", ["w", "ws", "wz"], "wd", {"axis": 1}), ("MatMul", ["d", "wd"], "m", {}),
             ("QuantizeLinear", ["m", "t", "o"], "r", {}), ("DequantizeLinear", ["r", "t", "o"], "y", {})]
    if bits == 16:
        constants |= {"w": rng.integers(-128, 128, (6, 4)).astype(s8), "wz": np.zeros(4, s8)}
    model = model_of(nodes, {"x": (f32, ["n", 6])}, {"y": (f32, ["n", 4])}, constants, opset=21)
    if bits == 4:
        values = rng.integers(-8, 8, 24).tolist()
        for name, dims, data in (("w", [6, 4], values), ("wz", [4], [0] * 4)):
            model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT4, dims, data))
    model.ir_version = 10
    assert exactly(batch_of_one(model), x)
    assert "MatMul" in [one.op_type for one in explain(model, semantics="onnxruntime")]


def test_clip_between_quantizer_and_dequantizer():
    """QCDQ, as Brevitas writes it: int4 weights and u6 activations, under every semantics."""
    rng = np.random.default_rng(8)
    constants = {"wf": rng.normal(size=(4, 3, 3, 3)).astype(f32) / 3, "ws": rng.uniform(0.08, 0.1, 4).astype(f32), "wz": np.zeros(4, s8),
                 "wl": s8(-7), "wh": s8(7), "s": f32(0.05), "z": u8(0), "l": u8(0), "h": u8(63), "t": f32(0.11)}
    nodes = [("QuantizeLinear", ["wf", "ws", "wz"], "wq", {"axis": 0}), ("Clip", ["wq", "wl", "wh"], "wc", {}),
             ("DequantizeLinear", ["wc", "ws", "wz"], "wd", {"axis": 0}),
             ("QuantizeLinear", ["x", "s", "z"], "q", {}), ("Clip", ["q", "l", "h"], "c", {}), ("DequantizeLinear", ["c", "s", "z"], "d", {}),
             ("Conv", ["d", "wd"], "m", {}), ("Relu", ["m"], "r", {}), ("QuantizeLinear", ["r", "t", "z"], "p", {}),
             ("Clip", ["p", "l", "h"], "pc", {}), ("DequantizeLinear", ["pc", "t", "z"], "y", {})]
    model = model_of(nodes, {"x": (f32, ["n", 3, 5, 5])}, {"y": (f32, ["n", 4, 3, 3])}, constants)
    x = rng.normal(size=(500, 3, 5, 5)).astype(f32) * 2
    assert exactly(batch_of_one(model), x)
    wanted = stock(model, x)
    assert len(np.unique(wanted)) == 64
    assert same(lowered(model, x, "onnxruntime").astype(f32), wanted)
    assert not explain(model, semantics="tflite")


def refused(nodes, match, inputs=None, outputs=None, constants=None, semantics="exact"):
    model = model_of(nodes, inputs or {"x": (u8, ["n", 4])}, outputs or {"y": (u8, ["n", 4])}, constants or {})
    with pytest.raises(LoweringError, match=match) as caught:
        lower(model, semantics=semantics)
    assert "\n" not in str(caught.value) and "'y'" in str(caught.value)


GOOD = {"s": f32(0.1), "z": u8(3), "w": np.ones((4, 4), s8), "wz": s8(0)}


@pytest.mark.parametrize("name,value,match", [
    ("s", f32(0), "scale .input 1. holds 0.0; every scale must be a positive number"),
    ("s", f32(np.nan), "scale .input 1. holds nan"),
    ("s", f32(-1), "scale .input 1. holds -1.0"),
    ("s", np.ones(3, f32), "3 scales"),
    ("w", np.ones((4, 4), f32), "is a constant of type float32; it must hold integers"),
])
def test_bad_parameters(name, value, match):
    refused([("QLinearMatMul", ["x", "s", "z", "w", "s2", "wz", "t", "z"], "y", {})], match, semantics="onnxruntime",
            constants=GOOD | {"s2": f32(0.1), "t": f32(1), name: value})


def test_refusals():
    refused([("DynamicQuantizeLinear", ["x"], "y", {})], "scale is computed from the data", {"x": (f32, ["n", 4])})
    refused([("QLinearSoftmax", ["x", "s", "z", "s", "z"], "y", {"axis": 1, "opset": 13})], "end the network before it", constants=GOOD)
    wide = {"w": np.full((70_000, 1), 127, s8), "s": f32(0.1), "z": u8(0), "wz": s8(0)}
    refused([("QLinearMatMul", ["x", "s", "z", "w", "s", "wz", "s", "z"], "y", {})], "beyond int32, where the runtime wraps around",
            {"x": (u8, ["n", 70_000])}, {"y": (u8, ["n", 1])}, wide, "onnxruntime")
    split = [("Slice", ["x", "first", "half", "axis"], "a", {}), ("QLinearAdd", ["x", "s", "z", "a", "s", "z", "s", "z"], "y", {})]
    refused(split, "it adds tensors of shapes", constants=GOOD | {"first": np.array([0]), "half": np.array([1]), "axis": np.array([1])},
            semantics="onnxruntime")

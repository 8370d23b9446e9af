"""Semantics onnxruntime: the same integers as stock onnxruntime, near-ties included; what runs in float is refused."""

import numpy as np
import onnx
import pytest

from quant.lower import LoweringError, explain, lower
from tests.quant.runtime_models import float_cnn, lowered, model_of, same, session, statically, stock

u8, s8, i32, f32 = np.uint8, np.int8, np.int32, np.float32


def accumulators(multipliers, zero, low=0, high=255):
    """For each multiplier the accumulators next to k + 1/2, from both sides, and some others."""
    found = []
    for m in multipliers:
        ties = (np.arange(low - 3, high + 4) - zero + 0.5) / float(m)
        found.append(np.unique(np.concatenate([np.floor(ties) - 1, np.floor(ties), np.ceil(ties), np.ceil(ties) + 1])))
    return np.unique(np.concatenate(found)).astype(np.int64)


def digits(targets, inputs, zero):
    """uint8 inputs (inputs, N) whose sum weighted 1, 127, 127, ... (without zero point) is as near to each target as they can."""
    x = np.full((inputs, len(targets)), zero, np.int64)
    rest, x[0] = targets // 127, targets % 127 + zero
    for i in range(1, inputs):
        step = np.clip(rest, -zero, 255 - zero)
        x[i], rest = x[i] + step, rest - step
    return np.clip(x, 0, 255).astype(u8)


def qlinear_conv(channels, inputs, positions, weights, scales, out_zero, zero=100, bias=None, out=u8):
    constants = {"xs": f32(0.02), "xz": u8(zero), "w": weights, "ws": scales, "wz": np.zeros(len(scales), s8), "ys": f32(0.05),
                 "yz": out(out_zero)}
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    if bias is not None:
        constants["b"] = bias
        names.append("b")
    return model_of([("QLinearConv", names, "y", {})], {"x": (u8, ["n", inputs, 1, positions])},
                    {"y": (out, ["n", channels, 1, positions])}, constants)


@pytest.mark.parametrize("inputs,slope", [(3, 255 / 40_000), (3, 0.5), (3, 0.25), (40, 255 / 900_000)])
def test_convolutions_at_near_ties(inputs, slope):
    """Every accumulator next to a tie of every channel, in each channel; slopes 1/2 and 1/4 have true ties."""
    rng = np.random.default_rng(inputs)
    spread = np.array([1.0, 1.0, 1.0]) if slope in (0.5, 0.25) else rng.uniform(0.6, 1.0, 3)
    scales = (spread * slope * 0.05 / 0.02).astype(f32)
    if slope in (0.5, 0.25):
        scales = np.array([1, 2, 4], f32) * f32(slope)
    weights = np.full((3, inputs, 1, 1), 127, s8)
    weights[:, 0] = 1
    positions = digits(accumulators(scales * f32(0.02) / f32(0.05), 7), inputs, 100)
    model = qlinear_conv(3, inputs, positions.shape[1], weights, scales, 7)
    if slope in (0.5, 0.25):  # scales that divide exactly: powers of two
        for one in model.graph.initializer:
            if one.name in ("xs", "ys"):
                one.CopyFrom(onnx.numpy_helper.from_array(f32(0.5), one.name))
    x = positions[None, :, None, :]
    wanted = stock(model, x)
    assert len(np.unique(wanted)) > 200
    assert same(lowered(model, x, "onnxruntime"), wanted)


def test_accumulators_beyond_24_bits():
    """There float32 does not hold the accumulator: float64 or rational arithmetic differs from onnxruntime."""
    rng = np.random.default_rng(0)
    inputs, slope = 700, 255 / 2**25
    scales = (np.array([1.0, 0.93]) * slope * 0.05 / 0.02).astype(f32)
    weights = np.full((2, inputs, 1, 1), 127, s8)
    weights[:, 0] = 1
    targets = accumulators(scales * f32(0.02) / f32(0.05), 0, 0, 160)
    positions = digits(targets[rng.permutation(len(targets))][:900], inputs, 0)
    model = qlinear_conv(2, inputs, positions.shape[1], weights, scales, 0, zero=0)
    x = positions[None, :, None, :]
    wanted = stock(model, x)
    assert same(lowered(model, x, "onnxruntime"), wanted)
    assert not same(lowered(model, x, "exact"), wanted)


@pytest.mark.parametrize("kind", [u8, s8])
def test_sums_of_all_pairs(kind):
    """QLinearAdd: fma(a, ra, fma(b, rb, fixed)) in float32, on all 65,536 pairs."""
    rng = np.random.default_rng(1)
    info = np.iinfo(kind)
    every = np.arange(info.min, info.max + 1)
    pairs = np.stack([np.repeat(every, 256), np.tile(every, 256)], axis=1).astype(kind)  # (65536, 2)
    for trial in range(6):
        scale = f32(rng.uniform(0.01, 0.1))
        a, b = (scale / 2, scale / 4) if trial == 0 else (scale * f32(rng.uniform(0.2, 1.2)), scale * f32(rng.uniform(0.2, 1.2)))
        zeros = rng.integers(info.min, info.max + 1, 3)
        constants = {"sa": f32(a), "sb": f32(b), "sc": scale, "za": kind(zeros[0]), "zb": kind(zeros[1]), "zc": kind(zeros[2]),
                     "first": np.array([0]), "second": np.array([1]), "end": np.array([2]), "axis": np.array([1])}
        nodes = [("Slice", ["x", "first", "second", "axis"], "a", {}), ("Slice", ["x", "second", "end", "axis"], "b", {}),
                 ("QLinearAdd", ["a", "sa", "za", "b", "sb", "zb", "sc", "zc"], "y", {})]
        model = model_of(nodes, {"x": (kind, ["n", 2])}, {"y": (kind, ["n", 1])}, constants)
        assert same(lowered(model, pairs, "onnxruntime"), stock(model, pairs))


def two_inputs_of_one(op, kind, constants, shape=()):
    """x (n, 2, *shape) split in two operands."""
    more = {"first": np.array([0]), "second": np.array([1]), "end": np.array([2]), "axis": np.array([1])}
    nodes = [("Slice", ["x", "first", "second", "axis"], "a", {}), ("Slice", ["x", "second", "end", "axis"], "b", {}),
             (op, ["a", "sa", "za", "b", "sb", "zb", "sc", "zc"], "y", {})]
    return model_of(nodes, {"x": (kind, ["n", 2, *shape])}, {"y": (kind, ["n", 1, *shape])}, constants | more)


def test_products_of_all_pairs():
    rng = np.random.default_rng(2)
    every = np.arange(256)
    pairs = np.stack([np.repeat(every, 256), np.tile(every, 256)], axis=1).astype(u8)
    for trial in range(3):
        scales = [f32(0.5), f32(0.25), f32(8)] if trial == 0 else [f32(one) for one in rng.uniform(0.01, 0.05, 2)] + [f32(0.02)]
        zeros = rng.integers(0, 256, 3)
        constants = dict(zip(("sa", "sb", "sc"), scales, strict=True)) | {f"z{one}": u8(zero) for one, zero in zip("abc", zeros, strict=True)}
        model = two_inputs_of_one("QLinearMul", u8, constants)
        assert same(lowered(model, pairs, "onnxruntime"), stock(model, pairs))


@pytest.mark.parametrize("kind", [u8, s8])
@pytest.mark.parametrize("op", ["QLinearLeakyRelu", "QLinearSigmoid", "QLinearConcat"])
def test_tables(op, kind):
    rng = np.random.default_rng(3)
    info = np.iinfo(kind)
    x = np.arange(info.min, info.max + 1).astype(kind)[None]
    for trial in range(8):
        xs, ys = (f32(0.05), f32(0.1)) if trial == 0 else rng.uniform(0.01, 0.1, 2).astype(f32)
        zeros = rng.integers(info.min, info.max + 1, 2)
        constants = {"xs": xs, "xz": kind(zeros[0]), "ys": f32(ys / 20) if op == "QLinearSigmoid" else ys, "yz": kind(zeros[1])}
        names = ["x", "xs", "xz", "ys", "yz"]
        attributes = {"alpha": 0.3} if op == "QLinearLeakyRelu" else {}
        if op == "QLinearConcat":
            names, attributes = ["ys", "yz", "x", "xs", "xz", "x", "ys", "yz"], {"axis": 1}
        model = model_of([(op, names, "y", attributes)], {"x": (kind, ["n", 256])},
                         {"y": (kind, ["n", 512 if op == "QLinearConcat" else 256])}, constants)
        assert same(lowered(model, x, "onnxruntime"), stock(model, x))


@pytest.mark.parametrize("kind", [u8, s8])
def test_pools(kind):
    rng = np.random.default_rng(4)
    info = np.iinfo(kind)
    for trial in range(4):
        xs, ys = rng.uniform(0.01, 0.1, 2).astype(f32)
        zeros = rng.integers(info.min, info.max + 1, 2)
        constants = {"xs": xs, "xz": kind(zeros[0]), "ys": f32(ys / 4), "yz": kind(zeros[1])}
        x = rng.integers(info.min, info.max + 1, (400, 3, 5, 6)).astype(kind)
        model = model_of([("QLinearGlobalAveragePool", ["x", "xs", "xz", "ys", "yz"], "y", {})], {"x": (kind, ["n", 3, 5, 6])},
                         {"y": (kind, ["n", 3, 1, 1])}, constants)
        assert same(lowered(model, x, "onnxruntime"), stock(model, x)), trial
    constants |= {"xs": f32(0.0371), "ys": f32(0.0253)}
    average = [("QLinearAveragePool", ["x", "xs", "xz", "ys", "yz"], "y", {"kernel_shape": [2, 2], "strides": [1, 2]})]
    model = model_of(average, {"x": (kind, ["n", 3, 5, 6])}, {"y": (kind, ["n", 3, 4, 3])}, constants)
    assert same(lowered(model, x, "onnxruntime"), stock(model, x))
    constants["ys"] = constants["xs"]  # ties, which float32 sums decide by their order
    model = model_of(average, {"x": (kind, ["n", 3, 5, 6])}, {"y": (kind, ["n", 3, 4, 3])}, constants)
    with pytest.raises(LoweringError, match=r"'y'.*averages 4 values in float32.*depends on their order"):
        lower(model, semantics="onnxruntime")


def calibration(size=12, count=30):
    return np.random.default_rng(9).random((count, 1, size, size), f32)


CASES = [("QDQ", "QUInt8", "QInt8", True), ("QDQ", "QUInt8", "QUInt8", False), ("QOperator", "QInt8", "QInt8", False)]


@pytest.mark.parametrize("fmt,activations,weights,per_channel", CASES)
def test_static_quantizer_on_random_inputs(fmt, activations, weights, per_channel, tmp_path):
    model = statically(float_cnn(), calibration(), tmp_path, fmt, activations, weights, per_channel)
    x = np.random.default_rng(7).random((10_000, 1, 12, 12), f32)
    wanted = stock(model, x)
    got = lowered(model, x, "onnxruntime")
    assert wanted.size == 100_000 and len(np.unique(wanted)) > 60
    assert same(got.astype(f32), wanted)


def in_float(model, path):
    """Names of the nodes that stock onnxruntime's optimized graph computes in float32."""
    session(model, path)
    left = onnx.load(path).graph.node
    return {node.name for node in left if node.op_type in ("Conv", "FusedConv", "Add", "Mul", "Gemm", "MatMul", "Concat", "LeakyRelu",
                                                           "Relu", "Sigmoid", "GlobalAveragePool", "AveragePool", "FusedGemm")}


@pytest.mark.parametrize("activations,extra", [("QInt8", {}), ("QUInt8", {}), ("QInt8", {"ActivationSymmetric": True}),
                                               ("QUInt8", {"ActivationSymmetric": True}), ("QInt16", {})])
def test_what_runs_in_float_is_refused(activations, extra, tmp_path):
    """int8 tensors with two readers, clips that a zero point in the middle does not absorb, 16 bits."""
    model = statically(float_cnn(activations=("Relu",) * 3), calibration(), tmp_path, "QDQ", activations, "QInt8", True, **extra)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    # onnxruntime fuses Conv and Relu in float, too; the refusal names both
    wanted = in_float(model, tmp_path / "optimized.onnx")
    problems = explain(model, semantics="onnxruntime")
    kinds = {node.name: node.op_type for node in model.graph.node}
    found = {one.node for one in problems if kinds.get(one.node) != "Relu"}
    sums = {name for name in wanted if kinds.get(name) == "Add"}  # of 8-bit integers: reproduced, see test_float_leftovers
    assert sums == (set() if activations == "QUInt8" else {"d"})
    assert found == {name for name in wanted if kinds.get(name) != "Relu"} - (set() if activations == "QInt16" else sums)
    assert all("computes it in float32" in str(one) for one in problems)
    assert bool(problems) == (activations != "QUInt8")
    assert activations == "QInt16" or explain(model) == []  # 65,536 levels per channel take their time


def test_bias_in_float_becomes_int32_as_in_onnxruntime(tmp_path):
    """TensorRT's style: no DequantizeLinear on the bias."""
    model = statically(float_cnn(seed=3), calibration(), tmp_path, "QDQ", "QUInt8", "QInt8", True)
    quantized = {node.output[0]: node for node in model.graph.node}
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            dq = quantized[node.input[2]]
            real = (constants[dq.input[0]] * constants[dq.input[1]]).astype(f32) + f32(1e-4)
            name = f"{node.input[2]}_float"
            model.graph.initializer.append(onnx.numpy_helper.from_array(real, name))
            node.input[2] = name
    x = np.random.default_rng(7).random((500, 1, 12, 12), f32)
    assert same(lowered(model, x, "onnxruntime").astype(f32), stock(model, x))


def test_quantized_input_at_the_middle_between_levels():
    """float32 division decides: inputs at and next to every boundary, as floats and as integers of --input."""
    for scale, zero in ((0.1, 3), (1 / 255, 0), (0.0173, 128)):
        s = f32(scale)
        nodes = [("QuantizeLinear", ["x", "s", "z"], "y", {})]
        model = model_of(nodes, {"x": (f32, ["n", 7])}, {"y": (u8, ["n", 7])}, {"s": s, "z": u8(zero)})
        middle = ((np.arange(-2, 259) - zero - f32(0.5)) * s).astype(f32)
        x = np.stack([middle, *(np.nextafter(middle, f32(side)) for side in (-np.inf, np.inf)), middle * f32(1.0000002),
                      middle * f32(0.9999998), middle + s / 2, middle * 0], axis=1).astype(f32)
        assert same(lowered(model, x, "onnxruntime"), stock(model, x))
    pixels = np.arange(252, dtype=u8).reshape(-1, 7)
    model = model_of(nodes, {"x": (f32, ["n", 7])}, {"y": (u8, ["n", 7])}, {"s": f32(1 / 127.5), "z": u8(1)})
    wanted = stock(model, pixels.astype(f32) / f32(255))
    assert same(lowered(model, pixels, "onnxruntime", input_spec="u8/255"), wanted)


def test_unknown_semantics():
    with pytest.raises(LoweringError, match="semantics 'ort' are unknown; choose one of exact, onnxruntime, onnxruntime-int8, "):
        lower(float_cnn(), semantics="ort")
    with pytest.raises(LoweringError, match="computes it in float32"):
        lower(float_cnn(), semantics="onnxruntime")

"""Semantics tflite and tflite-single, against the reference kernels' integer arithmetic written out here in Python integers."""

import math

import numpy as np
import pytest
from onnx import helper, numpy_helper

from quant.lower import LoweringError, explain, lower
from tests.quant.runtime_models import float_cnn, lowered, model_of, same, statically
from tests.quant.test_semantics_onnxruntime import accumulators, calibration, digits, two_inputs_of_one

u8, s8, i32, f32 = np.uint8, np.int8, np.int32, np.float32
SINGLE = "tflite-single"


def quantized_multiplier(real):
    mantissa, exponent = math.frexp(real)
    fixed = math.floor(mantissa * (1 << 31) + 0.5)
    return (fixed // 2, exponent + 1) if fixed == 1 << 31 else (fixed, exponent)


def doubling_high_multiply(a, b):
    product = a * b
    nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    return int(math.copysign(1, nudged)) * (abs(nudged) >> 31)


def divide_by_power(x, exponent):
    mask = (1 << exponent) - 1
    return (x >> exponent) + int((x & mask) > (mask >> 1) + (x < 0))


def scale(x, real, semantics, dense=False):
    """MultiplyByQuantizedMultiplier of one Python integer; reference fully connected layers round once, half away."""
    return fixed_scale(x, *quantized_multiplier(real), semantics, dense)


def fixed_scale(x, fixed, shift, semantics, dense=False):
    total = 31 - shift
    if semantics == SINGLE:
        return (x * fixed + (1 << (total - 1))) >> total
    if dense:
        size = (abs(x) * fixed + (1 << (total - 1))) >> total
        return size if x >= 0 else -size
    return divide_by_power(doubling_high_multiply(x << max(shift, 0), fixed), max(-shift, 0))


def each(function, *arrays):
    return np.vectorize(lambda *values: function(*map(int, values)), otypes=[np.int64])(*arrays)


@pytest.mark.parametrize("semantics", ["tflite", SINGLE])
@pytest.mark.parametrize("slope", [0.5, 255 / 30_000, 255 / 65_536])
@pytest.mark.parametrize("dense", [False, True])
def test_products_at_near_ties(dense, slope, semantics):
    ws, xs, ys = (f32(0.5), f32(0.25), f32(0.125 / slope)) if slope == 0.5 else (f32(0.013), f32(0.0217), f32(0.013 * 0.0217 / slope))
    real = float(xs) * float(ws) / float(ys)
    x = digits(accumulators([real], 0, -128, 127), 3, 100)
    weights = np.array([1, 127, 127], s8)
    constants = {"xs": xs, "xz": u8(100), "ws": ws, "wz": s8(0), "ys": ys, "yz": s8(3)}
    if dense:
        constants["w"] = weights[:, None]
        model = model_of([("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], "y", {})], {"x": (u8, ["n", 3])},
                         {"y": (s8, ["n", 1])}, constants)
        batch = x.T
    else:
        constants["w"] = weights.reshape(1, 3, 1, 1)
        model = model_of([("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], "y", {})],
                         {"x": (u8, ["n", 3, 1, x.shape[1]])}, {"y": (s8, ["n", 1, 1, x.shape[1]])}, constants)
        batch = x[None, :, None, :]
    acc = weights.astype(np.int64) @ (x.astype(np.int64) - 100)
    wanted = np.clip(each(lambda n: scale(n, real, semantics, dense), acc) + 3, -128, 127)
    assert len(np.unique(wanted)) > 200
    assert same(lowered(model, batch, semantics), wanted)


@pytest.mark.parametrize("semantics", ["tflite", SINGLE])
def test_sums_and_products_of_pairs(semantics):
    rng = np.random.default_rng(1)
    every = np.arange(-128, 128)
    pairs = np.stack([np.repeat(every, 256), np.tile(every, 256)], axis=1).astype(s8)
    for trial in range(2):
        a, b, c = (0.5, 0.25, 1.0) if trial == 0 else rng.uniform(0.01, 0.1, 3)
        a, b, c = f32(a), f32(b), f32(c)
        za, zb, zc = (int(one) for one in rng.integers(-128, 128, 3))
        constants = {"sa": a, "sb": b, "sc": c, "za": s8(za), "zb": s8(zb), "zc": s8(zc)}
        twice = 2 * max(float(a), float(b))
        sides = [each(lambda n: scale((n - zero) << 20, float(one) / twice, semantics), every) for one, zero in ((a, za), (b, zb))]
        out = twice / (2**20 * float(c))
        wanted = np.clip(each(lambda n: scale(n, out, semantics), np.add.outer(*sides)) + zc, -128, 127)
        assert same(lowered(two_inputs_of_one("QLinearAdd", s8, constants), pairs, semantics), wanted)
        factor = float(a) * float(b) / float(c)
        wanted = np.clip(each(lambda n: scale(n, factor, semantics), np.multiply.outer(every - za, every - zb)) + zc, -128, 127)
        assert same(lowered(two_inputs_of_one("QLinearMul", s8, constants), pairs, semantics), wanted)


@pytest.mark.parametrize("semantics", ["tflite", SINGLE])
def test_tables_and_pools(semantics):
    rng = np.random.default_rng(2)
    every = np.arange(-128, 128)
    x = every.astype(s8)[None]
    xs, ys, xz, yz = f32(0.031), f32(0.044), 17, -40
    constants = {"xs": xs, "xz": s8(xz), "ys": ys, "yz": s8(yz)}
    names = ["x", "xs", "xz", "ys", "yz"]
    model = model_of([("QLinearLeakyRelu", names, "y", {"alpha": 0.2})], {"x": (s8, ["n", 256])}, {"y": (s8, ["n", 256])}, constants)
    below = float(xs) * float(f32(0.2)) / float(ys)
    wanted = each(lambda n: scale(n, float(xs) / float(ys) if n >= 0 else below, semantics), every - xz) + yz
    assert same(lowered(model, x, semantics), np.clip(wanted, -128, 127))

    sigmoid = constants | {"ys": f32(1 / 256), "yz": s8(-128)}
    model = model_of([("QLinearSigmoid", names, "y", {})], {"x": (s8, ["n", 256])}, {"y": (s8, ["n", 256])}, sigmoid)
    wanted = np.floor(256 / (1 + np.exp(-(every - xz) * float(xs))) + 0.5) - 128
    assert same(lowered(model, x, semantics), np.clip(wanted, -128, 127))
    with pytest.raises(LoweringError, match="sigmoid has 1/256"):
        lower(model_of([("QLinearSigmoid", names, "y", {})], {"x": (s8, ["n", 256])}, {"y": (s8, ["n", 256])}, constants),
              semantics=semantics)

    batch = rng.integers(-128, 128, (200, 2, 3, 5)).astype(s8)
    model = model_of([("QLinearGlobalAveragePool", names, "y", {})], {"x": (s8, ["n", 2, 3, 5])}, {"y": (s8, ["n", 2, 1, 1])}, constants)
    fixed, shift = quantized_multiplier(float(xs) / float(ys))
    fold = min(3, 31 + shift)  # 15 values have 4 bits
    total = batch.astype(np.int64).sum(axis=(2, 3)) - 15 * xz
    wanted = each(lambda n: fixed_scale(n, (fixed << fold) // 15, shift - fold, semantics), total) + yz
    assert same(lowered(model, batch, semantics), np.clip(wanted, -128, 127))

    alike = constants | {"ys": xs, "yz": s8(xz)}
    average = [("QLinearAveragePool", names, "y", {"kernel_shape": [2, 3]})]
    model = model_of(average, {"x": (s8, ["n", 2, 3, 5])}, {"y": (s8, ["n", 2, 2, 3])}, alike)
    windows = np.lib.stride_tricks.sliding_window_view(batch.astype(np.int64), (2, 3), axis=(2, 3))
    wanted = each(lambda n: (n + 3) // 6 if n > 0 else -((3 - n) // 6), windows.sum(axis=(4, 5)))
    assert same(lowered(model, batch, semantics), wanted)
    with pytest.raises(LoweringError, match="wants the same for both"):
        lower(model_of(average, {"x": (s8, ["n", 2, 3, 5])}, {"y": (s8, ["n", 2, 2, 3])}, constants), semantics=semantics)


class Interpreter:
    """A QOperator model, node by node, with TFLite's kernels."""

    def __init__(self, model, semantics):
        self.model, self.semantics = model, semantics
        self.constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}

    def run(self, x):
        values = dict(self.constants) | {"x": x}
        for node in self.model.graph.node:
            inputs = [values.get(name) for name in node.input]
            attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            values[node.output[0]] = getattr(self, node.op_type)(inputs, attributes)
        return values["y"]

    def finish(self, levels, zero):
        info = np.iinfo(zero.dtype)
        return np.clip(levels + int(zero), info.min, info.max)

    def QuantizeLinear(self, i, attributes):
        ratio = (i[0] / i[1]).astype(np.float64)
        return self.finish((np.sign(ratio) * np.floor(np.abs(ratio) + 0.5)).astype(np.int64), i[2])

    def DequantizeLinear(self, i, attributes):
        return (i[0] - int(i[2])) * float(i[1])

    def QLinearConv(self, i, attributes):
        x, w = i[0] - int(i[2]), i[3].astype(np.int64) - i[5].astype(np.int64).reshape(-1, 1, 1, 1)
        top, left, bottom, right = attributes.get("pads", [0] * 4)
        sh, sw = attributes.get("strides", [1, 1])
        groups, (outputs, depth, kh, kw) = attributes.get("group", 1), w.shape
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw]
        per = outputs // groups
        acc = np.concatenate([np.einsum("ncijab,ocab->noij", windows[:, g * depth:(g + 1) * depth], w[g * per:(g + 1) * per])
                              for g in range(groups)], axis=1)
        if len(i) > 8:
            acc = acc + i[8].astype(np.int64).reshape(1, -1, 1, 1)
        reals = np.broadcast_to(i[1].astype(np.float64) * i[4].astype(np.float64) / float(i[6]), (outputs,))
        levels = np.stack([each(lambda n: scale(n, real, self.semantics), acc[:, c]) for c, real in enumerate(reals)], axis=1)
        return self.finish(levels, i[7])

    def QGemm(self, i, attributes):
        w = i[3].astype(np.int64) - i[5].astype(np.int64).reshape((-1, 1) if attributes.get("transB") else (1, -1))
        acc = (i[0] - int(i[2])) @ (w.T if attributes.get("transB") else w) + i[6].astype(np.int64)
        reals = np.broadcast_to(i[1].astype(np.float64) * i[4].astype(np.float64) / float(i[7]), (acc.shape[1],))
        levels = np.stack([each(lambda n: scale(n, real, self.semantics, True), acc[:, c]) for c, real in enumerate(reals)], axis=1)
        return self.finish(levels, i[8])

    def QLinearAdd(self, i, attributes):
        twice = 2 * max(float(i[1]), float(i[4]))
        sides = [each(lambda n: scale(n << 20, float(i[k + 1]) / twice, self.semantics), i[k] - int(i[k + 2])) for k in (0, 3)]
        return self.finish(each(lambda n: scale(n, twice / (2**20 * float(i[6])), self.semantics), sides[0] + sides[1]), i[7])

    def QLinearConcat(self, i, attributes):
        parts = []
        for k in range(2, len(i), 3):
            same_scale = i[k + 1] == i[0] and i[k + 2] == i[1]
            parts.append(i[k] if same_scale else self.finish(each(lambda n: scale(n, float(i[k + 1]) / float(i[0]), self.semantics),
                                                                  i[k] - int(i[k + 2])), i[1]))
        return np.concatenate(parts, axis=1)

    def QLinearLeakyRelu(self, i, attributes):
        real, alpha = float(i[1]) / float(i[3]), attributes.get("alpha", float(f32(0.01)))
        below = float(i[1]) * alpha / float(i[3])
        return self.finish(each(lambda n: scale(n, real if n >= 0 else below, self.semantics), i[0] - int(i[2])), i[4])

    def MaxPool(self, i, attributes):
        n, c, h, w = i[0].shape
        return i[0][:, :, :h // 2 * 2, :w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))

    def QLinearGlobalAveragePool(self, i, attributes):
        count = i[0].shape[2] * i[0].shape[3]
        fixed, shift = quantized_multiplier(float(i[1]) / float(i[3]))
        fold = min(count.bit_length() - 1, 31 + shift)
        acc = i[0].sum(axis=(2, 3), keepdims=True) - count * int(i[2])
        return self.finish(each(lambda n: fixed_scale(n, (fixed << fold) // count, shift - fold, self.semantics), acc), i[4])

    def Reshape(self, i, attributes):
        return i[0].reshape(len(i[0]), -1)


@pytest.mark.parametrize("semantics", ["tflite", SINGLE])
@pytest.mark.parametrize("activations", ["QInt8", "QUInt8"])
def test_networks(activations, semantics, tmp_path):
    """QOperator and QDQ formats of one CNN: the same integers, those of the kernels above."""
    x = np.random.default_rng(7).random((60, 1, 12, 12), f32)
    network = float_cnn(activations=("Relu", "LeakyRelu", "Relu"))
    model = statically(network, calibration(), tmp_path, "QOperator", activations, "QInt8", True)
    wanted = Interpreter(model, semantics).run(x)
    assert len(np.unique(wanted)) > 30
    assert same(lowered(model, x, semantics), wanted)
    pairs = statically(network, calibration(), tmp_path, "QDQ", activations, "QInt8", True)
    assert same(lowered(pairs, x, semantics), wanted)
    assert not same(lowered(model, x, "exact"), wanted) or semantics == SINGLE


def test_relu_that_the_quantizer_does_not_absorb(tmp_path):
    """Symmetric int8 (TensorRT's style): the clip becomes the kernel's activation range; onnxruntime would compute it in float."""
    nodes = [("DequantizeLinear", ["w", "ws", "wz"], "wd", {"axis": 0}), ("QuantizeLinear", ["x", "s", "z"], "q", {}),
             ("DequantizeLinear", ["q", "s", "z"], "d", {}), ("Conv", ["d", "wd"], "c", {}), ("Clip", ["c", "low", "high"], "r", {}),
             ("QuantizeLinear", ["r", "t", "z"], "p", {}), ("DequantizeLinear", ["p", "t", "z"], "y", {})]
    rng = np.random.default_rng(0)
    w = rng.integers(-127, 128, (3, 2, 1, 1)).astype(s8)
    constants = {"w": w, "ws": np.array([0.01, 0.02, 0.03], f32), "wz": np.zeros(3, s8), "s": f32(0.05), "z": s8(0), "t": f32(0.1),
                 "low": f32(0), "high": f32(6)}
    model = model_of(nodes, {"x": (f32, ["n", 2, 4, 4])}, {"y": (f32, ["n", 3, 4, 4])}, constants)
    x = rng.normal(size=(200, 2, 4, 4)).astype(f32) * 3
    ratio = (x / f32(0.05)).astype(np.float64)
    q = np.clip(np.sign(ratio) * np.floor(np.abs(ratio) + 0.5), -128, 127).astype(np.int64)
    acc = np.einsum("ncij,oc->noij", q, w[:, :, 0, 0].astype(np.int64))
    reals = [float(f32(0.05)) * float(one) / float(f32(0.1)) for one in constants["ws"]]
    levels = np.stack([each(lambda n: scale(n, real, "tflite"), acc[:, c]) for c, real in enumerate(reals)], axis=1)
    wanted = np.clip(levels, 0, 60)
    assert 0 < (levels != wanted).mean() < 0.9
    assert same(lowered(model, x, "tflite").astype(f32), (wanted.astype(f32) * f32(0.1)))
    assert [one.op_type for one in explain(model, semantics="onnxruntime")][:1] == ["Conv"]

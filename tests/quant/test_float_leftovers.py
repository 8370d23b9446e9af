"""What onnxruntime leaves in float32 between 8-bit integers: sums, tables, joins; and pairs of quantizers that it merges."""

import numpy as np
import onnx
import pytest

from quant.lower import LoweringError, explain, lower
from tests.quant.runtime_models import float_cnn, lowered, model_of, same, session, statically, stock
from tests.quant.test_semantics_onnxruntime import in_float

u8, s8, f32 = np.uint8, np.int8, np.float32
KINDS = [(u8, u8), (u8, s8), (s8, u8), (s8, s8)]
CUT = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "axis": np.array([1])}
HALVES = [("Slice", ["x", "zero", "one", "axis"], "a", {}), ("Slice", ["x", "one", "two", "axis"], "b", {}),
          ("DequantizeLinear", ["a", "sa", "za"], "ad", {}), ("DequantizeLinear", ["b", "sb", "zb"], "bd", {})]
LIMITS = {"low": f32(-0.7), "high": f32(1.9)}


def behind(value, functions):
    """Nodes that apply functions (op_type, attributes) to a value and quantize the result."""
    nodes = []
    for i, (op, attributes) in enumerate(functions):
        nodes.append((op, [value, *(["low", "high"] if op == "Clip" else [])], f"f{i}", attributes))
        value = f"f{i}"
    return [*nodes, ("QuantizeLinear", [value, "sc", "zc"], "y", {})]


def zero_of(kind, rng):
    info = np.iinfo(kind)
    return kind(rng.integers(info.min, info.max + 1))


def every(kind):
    info = np.iinfo(kind)
    return np.arange(info.min, info.max + 1).astype(kind)


def stays_in_float(model, op, path):
    session(model, path)
    return op in {node.op_type for node in onnx.load(path).graph.node}


AFTER = [[], [("Relu", {})], [("Clip", {})], [("LeakyRelu", {"alpha": 0.1})], [("HardSigmoid", {})]]


@pytest.mark.parametrize("kind,out", KINDS)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_all_pairs(op, kind, out):
    rng = np.random.default_rng(len(op) + 7 * KINDS.index((kind, out)))
    pairs = np.stack([np.repeat(every(kind), 256), np.tile(every(kind), 256)], axis=1)  # (65536, 2)
    seen = 0
    for functions in [*AFTER, []]:
        scales = rng.uniform(0.01, 0.04, 3) * [1, 1, 1 / 3 if functions == AFTER[-1] else 2]
        scales = [0.5, 0.25, 0.5] if seen == 0 else scales  # ties
        constants = {f"s{one}": f32(scale) for one, scale in zip("abc", scales, strict=True)}
        constants |= {"za": zero_of(kind, rng), "zb": zero_of(kind, rng), "zc": zero_of(out, rng)}
        model = model_of([*HALVES, (op, ["ad", "bd"], "r", {}), *behind("r", functions)], {"x": (kind, ["n", 2])}, {"y": (out, ["n", 1])},
                         constants | CUT | LIMITS)
        wanted = stock(model, pairs)
        seen += len(np.unique(wanted))
        assert same(lowered(model, pairs, "onnxruntime"), wanted), functions
    assert seen > 400


CHAINS = [[("Relu", {})], [("LeakyRelu", {"alpha": 0.3})], [("LeakyRelu", {"alpha": -0.3})], [("HardSigmoid", {"alpha": 1 / 6})],
          [("Clip", {})], [("Sigmoid", {})], [("HardSigmoid", {"alpha": -0.3}), ("LeakyRelu", {})]]


@pytest.mark.parametrize("kind,out", KINDS)
@pytest.mark.parametrize("functions", CHAINS)
def test_tables(functions, kind, out):
    rng = np.random.default_rng(3)
    seen = set()
    for trial in range(8):
        scales = (0.125, 0.25) if trial == 0 else rng.uniform(0.01, 0.05, 2)
        constants = {"s": f32(scales[0]), "z": zero_of(kind, rng), "zc": zero_of(out, rng),
                     "sc": f32(scales[1] / (10 if "Sigmoid" in functions[0][0] else 1))}
        model = model_of([("DequantizeLinear", ["x", "s", "z"], "xd", {}), *behind("xd", functions)], {"x": (kind, ["n", 256])},
                         {"y": (out, ["n", 256])}, constants | LIMITS)
        wanted = stock(model, every(kind)[None])
        assert same(lowered(model, every(kind)[None], "onnxruntime"), wanted), trial
        seen |= set(wanted.ravel().tolist())
    assert len(seen) > 80


def test_concatenation_of_two_types(tmp_path):
    """int8 and uint8 with three scales: no kernel of onnxruntime takes them together.  Moves and a Relu follow."""
    rng = np.random.default_rng(4)
    nodes = [("DequantizeLinear", ["x", "sa", "za"], "xd", {}), ("LeakyRelu", ["xd"], "l", {"alpha": 0.5}),
             ("QuantizeLinear", ["l", "sb", "zb"], "q", {}), ("DequantizeLinear", ["q", "sb", "zb"], "b", {}),
             ("Concat", ["xd", "b"], "c", {"axis": 1}), ("Relu", ["c"], "r", {}),
             ("MaxPool", ["r"], "m", {"kernel_shape": [2, 2]}), ("Transpose", ["m"], "t", {"perm": [0, 1, 3, 2]}),
             ("QuantizeLinear", ["t", "sc", "zc"], "y", {})]
    constants = {"sa": f32(0.031), "za": s8(-20), "sb": f32(0.017), "zb": u8(99), "sc": f32(0.0223), "zc": u8(30)}
    model = model_of(nodes, {"x": (s8, ["n", 3, 4, 6])}, {"y": (u8, ["n", 6, 5, 3])}, constants)
    assert stays_in_float(model, "Concat", tmp_path / "o.onnx")
    x = rng.integers(-128, 128, (500, 3, 4, 6)).astype(s8)
    assert same(lowered(model, x, "onnxruntime"), stock(model, x))


@pytest.mark.parametrize("op,attributes", [("GlobalAveragePool", {}), ("AveragePool", {"kernel_shape": [2, 3]})])
def test_averages_of_another_type(op, attributes):
    """int8 to uint8 in float32: reproduced where no order of the additions changes a level, else refused."""
    constants = {"sa": f32(0.0371), "za": s8(9), "sc": f32(0.0253), "zc": u8(110)}
    nodes = [("DequantizeLinear", ["x", "sa", "za"], "xd", {}), (op, ["xd"], "p", attributes), ("QuantizeLinear", ["p", "sc", "zc"], "y", {})]
    x = np.random.default_rng(5).integers(-128, 128, (5000, 3, 2, 3)).astype(s8)
    model = model_of(nodes, {"x": (s8, ["n", 3, 2, 3])}, {"y": (u8, ["n", 3, 1, 1])}, constants)
    wanted = stock(model, x)
    assert len(np.unique(wanted)) > 150
    assert same(lowered(model, x, "onnxruntime"), wanted)
    constants["sc"] = constants["sa"]  # sums of 3 modulo 6 are ties
    model = model_of(nodes, {"x": (s8, ["n", 3, 2, 3])}, {"y": (u8, ["n", 3, 1, 1])}, constants)
    with pytest.raises(LoweringError, match=r"averages 6 values in float32.*depends on their order"):
        lower(model, semantics="onnxruntime")


def branching_cnn(seed):
    """Every tensor with two readers lies between element-wise operators: a hard swish, a residual sum, a concatenation."""
    rng = np.random.default_rng(seed)
    constants = {"flat": np.array([0, -1], np.int64)}

    def weights(name, *shape):
        constants[f"{name}_w"] = (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(f32)
        constants[f"{name}_b"] = rng.normal(size=shape[0]).astype(f32) / 4
        return [f"{name}_w", f"{name}_b"]

    nodes = [("Conv", ["x", *weights("c", 8, 1, 3, 3)], "a", {"pads": [1, 1, 1, 1], "strides": [2, 2]}), ("LeakyRelu", ["a"], "l", {}),
             ("HardSigmoid", ["l"], "h", {}), ("Mul", ["l", "h"], "m", {}), ("Conv", ["m", *weights("d", 8, 8, 1, 1)], "b", {}),
             ("Add", ["l", "b"], "s", {}), ("Relu", ["s"], "r", {}), ("Sigmoid", ["r"], "g", {}), ("Sub", ["r", "g"], "u", {}),
             ("Concat", ["r", "u"], "k", {"axis": 1}), ("MaxPool", ["k"], "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
             ("Conv", ["p", *weights("e", 6, 16, 3, 3)], "e", {"pads": [1, 1, 1, 1]}), ("Relu", ["e"], "er", {}),
             ("GlobalAveragePool", ["er"], "q", {}), ("Reshape", ["q", "flat"], "v", {}),
             ("Gemm", ["v", *weights("f", 10, 6)], "y", {"transB": 1})]
    return model_of(nodes, {"x": (f32, ["n", 1, 12, 12])}, {"y": (f32, ["n", 10])}, constants)


@pytest.mark.parametrize("per_channel,seed", [(False, 0), (True, 1)])
def test_default_options_of_the_static_quantizer(per_channel, seed, tmp_path):
    """QInt8 activations and weights: six operators stay in float32."""
    samples = np.random.default_rng(9).random((30, 1, 12, 12), f32)
    model = statically(branching_cnn(seed), samples, tmp_path, "QDQ", "QInt8", "QInt8", per_channel)
    assert len(in_float(model, tmp_path / "optimized.onnx")) >= 4
    assert explain(model, semantics="onnxruntime") == []
    x = np.random.default_rng(7).random((10_000, 1, 12, 12), f32)
    wanted = stock(model, x)
    got = lowered(model, x, "onnxruntime")
    assert wanted.size == 100_000 and len(np.unique(wanted)) > 60
    assert same(got.astype(f32), wanted)


@pytest.mark.parametrize("per_channel,extra", [(False, {}), (True, {}), (True, {"ActivationSymmetric": True})])
def test_the_session_option_for_int8(per_channel, extra, tmp_path):
    """session.qdqisint8allowed: convolutions of tensors with two readers are quantized kernels, too."""
    samples = np.random.default_rng(9).random((30, 1, 12, 12), f32)
    model = statically(float_cnn(1), samples, tmp_path, "QDQ", "QInt8", "QInt8", per_channel, **extra)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    x = np.random.default_rng(7).random((5000, 1, 12, 12), f32)
    wanted = stock(model, x, int8=True)
    assert len(np.unique(wanted)) > 60
    assert "b" in in_float(model, tmp_path / "default.onnx")
    session(model, tmp_path / "int8.onnx", int8=True)
    assert "Conv" not in {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert same(lowered(model, x, "onnxruntime-int8").astype(f32), wanted)
    with pytest.raises(LoweringError, match=r"computes it in float32.*session\.qdqisint8allowed.*semantics onnxruntime-int8"):
        lower(model, semantics="onnxruntime")


def twice(second, kind=u8, end=True):
    """Quantized with scale 0.1 and zero point 3, then with `second`; dequantized at the `end`."""
    constants = {"s": f32(0.1), "z": u8(3), "t": f32(second[0]), "o": kind(second[1])}
    nodes = [("QuantizeLinear", ["x", "s", "z"], "q", {}), ("DequantizeLinear", ["q", "s", "z"], "d", {}),
             ("QuantizeLinear", ["d", "t", "o"], "y" if not end else "r", {})]
    outputs = {"y": (f32 if end else kind, ["n", 300])}
    if end:
        nodes.append(("DequantizeLinear", ["r", "t", "o"], "y", {}))
    return model_of(nodes, {"x": (f32, ["n", 300])}, outputs, constants)


def test_two_pairs_in_a_row():
    """onnxruntime makes one pair of two, with a third scale; where it does not, both are reproduced."""
    x = np.linspace(-3, 30, 300, dtype=f32)[None]
    steps = np.clip(np.rint(x / f32(0.1)) + 3, 0, 255) - 3
    twofold = (np.clip(np.rint((steps.astype(f32) * f32(0.1)) / f32(0.07)) + 10, 0, 255) - 10).astype(f32) * f32(0.07)
    model = twice((0.07, 10))
    assert not same(stock(model, x), twofold)
    with pytest.raises(LoweringError, match=r"node 'r' \(QuantizeLinear\): it quantizes again what 'q' quantized with another scale"):
        lower(model, semantics="onnxruntime")
    assert [one.node for one in explain(model, semantics="onnxruntime")] == ["r"]
    for model in (twice((0.1, 3)), twice((0.07, 10), end=False), twice((0.07, -20), s8, end=False), twice((0.1, -125), s8)):
        assert same(lowered(model, x, "onnxruntime"), lowered(model, x, "exact"))
    for model in (twice((0.07, 10), end=False), twice((0.07, -20), s8, end=False)):
        assert same(lowered(model, x, "onnxruntime"), stock(model, x))

"""Smooth functions, Trunc, Lookup and Requant against exact or high-precision arithmetic."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from quant.lower import lower
from quant.qonnx_exec import execute
from tests.quant.test_lower_oracle import each, exact, f32, network, node, quant, reals, rounded, same


def layer(nodes, constants, *, spec="s8", channels=1):
    """Lower x (1, channels) -> nodes for every 8-bit x."""
    net = lower(network(nodes, (1, channels), (1, channels), constants), input_spec=spec)
    return net, np.repeat(np.arange(-128, 128)[:, None], channels, axis=1)


@pytest.mark.parametrize(
    ("op", "function"),
    [
        ("Sigmoid", lambda v: 1 / (1 + mpmath.exp(-v))),
        ("Tanh", mpmath.tanh),
        ("Softplus", lambda v: mpmath.log(1 + mpmath.exp(v))),
        ("Elu", lambda v: v if v >= 0 else mpmath.expm1(v)),
    ],
)
@pytest.mark.parametrize("factor", [0.03125, -0.05, [0.1, -0.01, 0.5]])
def test_smooth_functions_between_quantizers(op, function, factor):
    constants = {"k": f32(factor), "s": f32(1 / 16), "z": f32(0), "b": f32(6)}
    nodes = [node("Mul", ["x", "k"], "a"), node(op, ["a"], "c"), node("Quant", ["c", "s", "z", "b"], "y", signed=1, narrow=0)]
    net, x = layer(nodes, constants, channels=3)
    with mpmath.workdps(60):
        real = each(exact(x) * exact(f32(factor)), lambda v: function(mpmath.mpf(v.numerator) / v.denominator))
        # 60 digits as a fraction; at 0 the functions are exact
        real = each(real, lambda v: Fraction(int(mpmath.nint(v * 10**50)), 10**50))
    assert same(reals(net, x), quant(real, 1 / 16, 0, 6, signed=1, narrow=0))


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL", "HALF_UP", "DOWN"])
@pytest.mark.parametrize("zero", [0.0, 2.0])
@pytest.mark.parametrize("version", [1, 2])
def test_trunc_of_both_versions(version, mode, zero):
    constants = {"s": f32(0.25), "z": f32(zero), "i": f32(8), "o": f32(5), "os": f32(2)}
    inputs = ["x", "s", "z", "i", "o"] if version == 1 else ["x", "s", "z", "i", "os", "o"]
    nodes = [node("Trunc", inputs, "y", rounding_mode=mode, **({} if version == 1 else {"signed": 1, "narrow": 0}))]
    net, x = layer(nodes, constants, spec="s8/4")
    v = each(exact(x) / 4 / Fraction(1, 4) + Fraction(zero), lambda one: Fraction(round(one)))
    if version == 1:
        wanted = each(v / 8, lambda one: (rounded(one, mode) - Fraction(zero)) / 4)
    else:
        wanted = each(v / 8, lambda one: (rounded(min(max(one, Fraction(-16)), Fraction(15)), mode) - Fraction(zero) / 8) * 2)
    assert same(reals(net, x), wanted)


def test_trunc_version_1_agrees_with_the_qonnx_package():
    constants = {"s": f32(0.25), "z": f32(0), "i": f32(8), "o": f32(5)}
    model = network([node("Trunc", ["x", "s", "z", "i", "o"], "y", rounding_mode="FLOOR")], (1, 1), (1, 1), constants)
    x = np.arange(-128, 128)[:, None]
    assert same(reals(lower(model, input_spec="s8/4"), x), exact(execute(model, f32(x / 4))))


def test_a_boundary_at_the_centre_of_a_sigmoid_is_exact():
    constants = {"half": f32(0.5), "one": f32(1)}
    nodes = [node("Sigmoid", ["x"], "a"), node("Sub", ["a", "half"], "b"), node("BipolarQuant", ["b", "one"], "y")]
    net, x = layer(nodes, constants)
    assert reals(net, x).ravel().tolist() == [1 if one >= 0 else -1 for one in x.ravel()]
    assert math.prod(net.graph.nodes[0].op.thresholds.shape) == 1


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "CEIL", "HALF_UP", "HALF_DOWN", "UP", "DOWN"])
@pytest.mark.parametrize("summand", [0.0, 1.3, [0.7, -3.9, 11.0]])
@pytest.mark.parametrize("zero", [0.0, 3.0])
def test_eight_bit_outputs_are_requantized_exactly(mode, summand, zero):
    constants = {"k": f32([0.31, -0.17, 0.9]), "c": f32(summand), "s": f32(0.73), "z": f32(zero), "b": f32(6)}
    nodes = [
        node("Mul", ["x", "k"], "a"),
        node("Add", ["a", "c"], "d"),
        node("Relu", ["d"], "r"),
        node("Quant", ["r", "s", "z", "b"], "y", signed=0, narrow=0, rounding_mode=mode),
    ]
    net, x = layer(nodes, constants, spec="s10", channels=3)
    x = np.repeat(np.arange(-512, 512)[:, None], 3, axis=1)
    real = each(exact(x) * exact(constants["k"]) + exact(constants["c"]), lambda v: max(v, Fraction(0)))
    assert same(reals(net, x), quant(real, f32(0.73), zero, 6, signed=0, narrow=0, rounding_mode=mode))


def test_requant_is_chosen_for_wide_outputs_only():
    def kinds(bits):
        nodes = [node("Mul", ["x", "k"], "a"), node("Quant", ["a", "s", "z", "b"], "y", signed=1, narrow=0)]
        net, _ = layer(nodes, {"k": f32(0.3), "s": f32(0.7), "z": f32(0), "b": f32(bits)}, spec="s12")
        return [one.op.kind for one in net.graph.nodes]

    assert kinds(4) == ["Threshold"]
    assert kinds(8) == ["Requant"]


@pytest.mark.parametrize("zero", [0.0, 3.0])
@pytest.mark.parametrize("offset", [[0.0, 0.25, -1.5], [0.5, 7.75, 100.0], [1.0, -2.0, 3.0]])
@pytest.mark.parametrize("factor", [[0.25, 0.75, 0.015625], [0.5, 0.25, 1.25], [1.0, 0.5, 2.0]])
def test_halves_go_to_the_even_level_without_thresholds(factor, offset, zero):
    """Scales of few bits make halves occur: a Requant that rounds like the quantizer takes the place of 63 thresholds."""
    constants = {"k": f32(factor), "c": f32(offset), "s": f32(1), "z": f32(zero), "b": f32(6)}
    nodes = [node("Mul", ["x", "k"], "a"), node("Add", ["a", "c"], "d"), node("Quant", ["d", "s", "z", "b"], "y", signed=1, narrow=0)]
    net, x = layer(nodes, constants, spec="s10", channels=3)
    x = np.repeat(np.arange(-512, 512)[:, None], 3, axis=1)
    real = each(exact(x) * exact(f32(factor)) + exact(f32(offset)), lambda v: v)
    assert same(reals(net, x), quant(real, 1, zero, 6, signed=1, narrow=0))
    assert [one.op.kind for one in net.graph.nodes][-1] == "Requant"
    assert len(net.graph.nodes) <= 2


def qdq(nodes, constants, source, target, scale, zero, axis=None, clip=None):
    """QuantizeLinear, Clip, DequantizeLinear."""
    constants |= {f"{target}s": f32(scale), f"{target}z": zero}
    attributes = {} if axis is None else {"axis": axis}
    nodes.append(node("QuantizeLinear", [source, f"{target}s", f"{target}z"], f"{target}q", **attributes))
    last = f"{target}q"
    if clip:
        constants |= {f"{target}lo": np.array(clip[0], zero.dtype), f"{target}hi": np.array(clip[1], zero.dtype)}
        nodes.append(node("Clip", [last, f"{target}lo", f"{target}hi"], f"{target}c"))
        last = f"{target}c"
    nodes.append(node("DequantizeLinear", [last, f"{target}s", f"{target}z"], target, **attributes))
    low, high = clip or (np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max)

    def meaning(x):
        s, z = (np.broadcast_to(exact(one), x.shape) if axis is None else exact(one).reshape(1, -1) for one in (f32(scale), zero))
        return (
            each(each(x / s, lambda v: Fraction(round(v))) + z, lambda v: min(max(v, Fraction(int(low))), Fraction(int(high)))) * s
            - z * s
        )

    return meaning


@pytest.mark.parametrize("spec", ["s8/16", None])
@pytest.mark.parametrize(
    ("zero", "clip"), [(np.uint8(128), None), (np.int8(0), None), (np.int8(3), (-8, 7)), (np.uint8(7), (0, 15))]
)
def test_qdq_and_qcdq(spec, zero, clip):
    """QDQ of the input, of weights per channel, an int32 bias, and a QDQ of the output; ties included (scale 1/4)."""
    rng = np.random.default_rng(0)
    nodes, constants = [], {}
    first = qdq(nodes, constants, "x", "a", 0.25, zero, clip=clip)
    w, ws = rng.integers(-7, 8, (3, 4)).astype(np.int8), f32([0.5, 0.11, 0.25, 1.3])
    bias = rng.integers(-40, 40, 4).astype(np.int32)
    constants |= {"w8": w, "ws": ws, "wz": np.zeros(4, np.int8), "bias": bias, "bs": f32(0.125 * ws), "bz": np.zeros(4, np.int32)}
    nodes += [
        node("DequantizeLinear", ["w8", "ws", "wz"], "w", axis=1),
        node("DequantizeLinear", ["bias", "bs", "bz"], "c", axis=0),
        node("MatMul", ["a", "w"], "m"),
        node("Add", ["m", "c"], "t"),
    ]
    last = qdq(nodes, constants, "t", "y", 0.5, np.uint8(100))
    model = network(nodes, (1, 3), (1, 4), constants)
    x = rng.integers(-128, 128, (60, 3))
    wanted = last(first(exact(x) / 16) @ (exact(w) * exact(ws)) + exact(bias) * exact(f32(0.125 * ws)))
    found = reals(lower(model, input_spec=spec), x if spec else f32(x / 16))
    assert same(found, wanted)


def test_a_qdq_network_that_ends_in_quantized_integers():
    nodes, constants = [], {"s": f32(0.5), "z": np.uint8(3), "w": f32([[1, -2], [3, 1]])}
    meaning = qdq(nodes, constants, "x", "a", 0.25, np.int8(0))
    nodes += [node("MatMul", ["a", "w"], "m"), node("QuantizeLinear", ["m", "s", "z"], "y")]
    x = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), -1).reshape(-1, 2)
    wanted = each(meaning(exact(x) / 8) @ exact(constants["w"]) * 2, lambda v: Fraction(min(max(round(v) + 3, 0), 255)))
    assert same(reals(lower(network(nodes, (1, 2), (1, 2), constants), input_spec="s4/8"), x), wanted)


@pytest.mark.parametrize(("op", "python"), [("Max", max), ("Min", min)])
@pytest.mark.parametrize("bound", [0.0, 0.3, [[0.5, -0.25, 0.1]]])
def test_max_and_min_with_a_constant_are_clips(op, python, bound):
    constants = {"k": f32(bound), "s": f32(0.07), "z": f32(0), "b": f32(6)}
    nodes = [node(op, ["x", "k"], "a"), node("Quant", ["a", "s", "z", "b"], "y", signed=1, narrow=0)]
    net, x = layer(nodes, constants, channels=3, spec="s8/64")
    real = np.vectorize(python, otypes=[object])(exact(x) / 64, np.broadcast_to(exact(f32(bound)), x.shape))
    assert same(reals(net, x), quant(real, f32(0.07), 0, 6, signed=1, narrow=0))

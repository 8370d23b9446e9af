"""Property test: a quantized layer lowers exactly, for every accumulator value that can occur.

The oracle is written in Fractions from the operators' definitions (test_lower_oracle.py).
"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.lower import lower
from tests.quant.test_lower_oracle import batch_norm, each, exact, f32, network, node, quant, reals, same

MODES = ["ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]
CHANNELS = 3

# Powers of two and halves make ties; the others are what training leaves.
scales = st.one_of(st.sampled_from([1.0, 0.5, 0.25, 2.0, 3.0, 1.5]), st.floats(0.0078125, 8, width=32))
signed_scales = st.one_of(scales, scales.map(lambda s: -s))
offsets = st.one_of(st.sampled_from([0.0, 0.5, -0.5, 1.0, -2.25]), st.floats(-40, 40, width=32))


def per_channel(values):
    """One number, or one per channel."""
    return st.one_of(values.map(lambda v: [v]), st.lists(values, min_size=CHANNELS, max_size=CHANNELS))


@st.composite
def layers(draw):
    """Operators between the accumulator and the quantizer, each with what it means exactly."""
    steps = []
    for kind in draw(
        st.lists(st.sampled_from(["Mul", "Add", "Sub", "Div", "Relu", "Clip", "LeakyRelu", "PRelu", "Neg", "BN"]), max_size=4)
    ):
        factor = draw(per_channel(signed_scales))
        if kind in ("Add", "Sub"):
            factor = draw(per_channel(offsets))
        elif kind == "Clip":
            factor = sorted([draw(offsets), draw(offsets)])
        elif kind == "LeakyRelu":
            factor = [draw(st.floats(0, 2, width=32))]
        elif kind == "PRelu":
            factor = draw(per_channel(st.floats(0, 2, width=32)))
        elif kind == "BN":
            columns = (signed_scales, offsets, offsets, scales)
            factor = [draw(st.lists(column, min_size=CHANNELS, max_size=CHANNELS)) for column in columns]
        steps.append((kind, factor))
    return steps


def apply(steps, x):
    """The nodes and constants of `steps` behind tensor 't', and their exact values."""
    nodes, constants, name = [], {}, "t"
    for i, (kind, factor) in enumerate(steps):
        out, c = f"t{i}", f"c{i}"
        if kind in ("Relu", "Neg"):
            nodes.append(node(kind, [name], out))
            x = each(x, lambda v: max(v, Fraction(0))) if kind == "Relu" else -x
        elif kind == "Clip":
            constants |= {f"{c}lo": f32(factor[0]), f"{c}hi": f32(factor[1])}
            nodes.append(node(kind, [name, f"{c}lo", f"{c}hi"], out))
            lo, hi = exact(f32(factor))
            x = each(x, lambda v, lo=lo, hi=hi: min(max(v, lo), hi))
        elif kind == "LeakyRelu":
            nodes.append(node(kind, [name], out, alpha=float(np.float32(factor[0]))))
            slope = Fraction(float(np.float32(factor[0])))
            x = each(x, lambda v, slope=slope: v if v >= 0 else v * slope)
        elif kind == "BN":
            parts = [f32(column) for column in factor]
            constants |= {f"{c}{j}": part for j, part in enumerate(parts)}
            nodes.append(node("BatchNormalization", [name, *(f"{c}{j}" for j in range(4))], out, epsilon=1e-5))
            x = batch_norm(x, *parts, 1e-5)
        else:
            constants[c] = f32(factor)
            nodes.append(node(kind, [name, c], out))
            value = exact(f32(factor))
            if kind == "PRelu":
                x = np.where(x >= 0, x, x * value)
            else:
                x = {"Mul": lambda: x * value, "Add": lambda: x + value, "Sub": lambda: x - value, "Div": lambda: x / value}[kind]()
        name = out
    return nodes, constants, name, x


def whole_layer(steps, weights, quantizer, quantized, inputs=None):
    """Lower x @ diag(weights) -> steps -> quantizer for a u5 input, and compare on all 32 values of each channel."""
    nodes, constants, name, _ = apply(steps, exact(np.zeros((1, CHANNELS))))
    constants["w"] = f32(np.diag(weights))
    model = network([node("MatMul", ["x", "w"], "t"), *nodes, quantizer(name, constants)], (1, CHANNELS), (1, CHANNELS), constants)
    x = np.repeat(np.arange(32)[:, None], CHANNELS, axis=1)
    net = lower(model, input_spec="u5")
    wanted = quantized(apply(steps, exact(x) * exact(weights))[3])
    assert same(reals(net, x), wanted)
    return net


@settings(max_examples=50, deadline=None)
@given(
    steps=layers(),
    weights=st.lists(st.integers(-3, 3), min_size=CHANNELS, max_size=CHANNELS),
    scale=per_channel(signed_scales),
    zero=per_channel(st.one_of(st.just(0.0), st.integers(-4, 9).map(float), st.sampled_from([0.5, -1.5]))),
    bits=st.one_of(st.integers(1, 5).map(lambda b: [b]), st.lists(st.integers(2, 5), min_size=CHANNELS, max_size=CHANNELS)),
    signed=st.booleans(),
    narrow=st.booleans(),
    mode=st.sampled_from(MODES),
)
def test_quant_is_exact_on_every_accumulator_value(steps, weights, scale, zero, bits, signed, narrow, mode):
    if narrow and not signed and 1 in bits:
        bits = [2]  # a single level is refused
    kind = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": mode}

    def quantizer(name, constants):
        constants |= {"s": f32(scale), "z": f32(zero), "b": f32(bits)}
        return node("Quant", [name, "s", "z", "b"], "y", **kind)

    whole_layer(steps, weights, quantizer, lambda x: quant(x, f32(scale), f32(zero), bits, **kind))


@settings(max_examples=20, deadline=None)
@given(steps=layers(), weights=st.lists(st.integers(-3, 3), min_size=CHANNELS, max_size=CHANNELS), scale=scales)
def test_bipolar_quant_is_exact_and_bipolar(steps, weights, scale):
    def quantizer(name, constants):
        constants["s"] = f32(scale)
        return node("BipolarQuant", [name, "s"], "y")

    value = Fraction(float(np.float32(scale)))
    net = whole_layer(steps, weights, quantizer, lambda x: each(x, lambda v: value if v >= 0 else -value))
    assert net.graph.output.affine.offset == (0,)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("zero", [0.0, 0.5, -1.0])
@pytest.mark.parametrize(("factor", "summand"), [(0.5, 0.0), (-0.5, 0.25), (0.25, -1.0)])
def test_ties_fall_where_the_rounding_mode_says(mode, zero, factor, summand):
    kind = {"signed": 1, "narrow": 0, "rounding_mode": mode}

    def quantizer(name, constants):
        constants |= {"s": f32(0.5), "z": f32(zero), "b": f32(4)}
        return node("Quant", [name, "s", "z", "b"], "y", **kind)

    whole_layer([("Mul", [factor]), ("Add", [summand])], [1, -1, 2], quantizer, lambda x: quant(x, 0.5, zero, 4, **kind))


def test_sign_and_multithreshold():
    whole_layer(
        [("Add", [-5.0])],
        [1, -1, 2],
        lambda name, _: node("Sign", [name], "y"),
        lambda x: each(x, lambda v: Fraction((v > 0) - (v < 0))),
    )
    table = f32([[1, 5, 5], [-7.5, 0, 3], [9, 2, 30]])  # unsorted and repeated thresholds are legal

    def quantizer(name, constants):
        constants["table"] = table
        return node("MultiThreshold", [name, "table"], "y", out_dtype="INT4", out_scale=0.5, out_bias=-1.0)

    def wanted(x):
        return np.array(
            [[Fraction(sum(v >= Fraction(float(t)) for t in table[c]), 2) - 1 for c, v in enumerate(row)] for row in x], object
        )

    whole_layer([], [1, -1, 2], quantizer, wanted)


def test_types_are_the_cheapest():
    """Two opposite levels are bipolar whatever made them; a zero point does not cost bits."""

    def output_type(bits, signed, narrow, scale, zero, weights=(1, 1, 1), summand=-20.0):
        def quantizer(name, constants):
            constants |= {"s": f32(scale), "z": f32(zero), "b": f32(bits)}
            return node("Quant", [name, "s", "z", "b"], "y", signed=signed, narrow=narrow)

        net = whole_layer(
            [("Add", [summand])], weights, quantizer, lambda x: quant(x, scale, zero, bits, signed=signed, narrow=narrow)
        )
        return str(net.graph.values[net.graph.output.value].type)

    assert output_type(1, 1, 0, 1.0, 0.0) == "bipolar"
    assert output_type(1, 1, 1, 0.5, 0.0) == "bipolar"
    assert output_type(2, 1, 1, 1.0, 0.0) == "ternary"
    assert output_type(2, 1, 0, 1.0, 0.0) == "s2"
    assert output_type(2, 1, 0, 1.0, -0.5) == "[-3, 3] step 2"
    assert output_type(4, 0, 0, 0.5, 0.0) == "u4"
    assert output_type(4, 0, 0, 0.5, 3.0) == "u4"
    assert output_type(4, 0, 0, 0.5, 8.0) == "s4"


def test_one_per_channel_bit_width_may_be_wider():
    def quantizer(name, constants):
        constants |= {"s": f32(1), "z": f32(0), "b": f32([2, 4, 3])}
        return node("Quant", [name, "s", "z", "b"], "y", signed=1, narrow=0)

    whole_layer([("Add", [-20.0])], [1, 1, 1], quantizer, lambda x: quant(x, 1, 0, [2, 4, 3], signed=1, narrow=0))

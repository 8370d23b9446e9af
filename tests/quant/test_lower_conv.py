"""Convolutions, pools, joins and moves against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from quant.lower import lower
from tests.quant.test_lower_oracle import (
    batch_norm,
    conv,
    conv_transpose,
    each,
    exact,
    f32,
    network,
    node,
    pool,
    quant,
    reals,
    same,
)

ACTIVATIONS = {
    "bipolar": ({"bits": 1, "zero": 0.0}, {"signed": 1, "narrow": 1}),
    "u4": ({"bits": 4, "zero": 0.0}, {"signed": 0, "narrow": 0}),
    "asymmetric": ({"bits": 4, "zero": 5.0}, {"signed": 0, "narrow": 0}),
    "off grid": ({"bits": 3, "zero": 1.75}, {"signed": 0, "narrow": 0}),
    "s3": ({"bits": 3, "zero": 0.0}, {"signed": 1, "narrow": 1}),
}
SCALE = 0.37


def quantizer(kind, source, target, constants, scale=SCALE):
    numbers, attributes = ACTIVATIONS[kind]
    constants |= {f"{target}_s": f32(scale), f"{target}_z": f32(numbers["zero"]), f"{target}_b": f32(numbers["bits"])}
    made = node("Quant", [source, f"{target}_s", f"{target}_z", f"{target}_b"], target, **attributes)
    return made, lambda x: quant(x, f32(scale), numbers["zero"], numbers["bits"], **attributes)


def weights(rng, shape, constants, name="w", per=(-1, 1, 1, 1)):
    """3-bit weights with a scale per output channel: (node, exact values)."""
    constants |= {f"{name}f": f32(rng.normal(size=shape) * 1.5), f"{name}z": f32(0), f"{name}b": f32(3)}
    count = shape[per.index(-1)] if -1 in per else 1
    constants[f"{name}s"] = f32(rng.uniform(0.1, 1, count).reshape(per[: len(shape)]))
    made = node("Quant", [f"{name}f", f"{name}s", f"{name}z", f"{name}b"], name, signed=1, narrow=0)
    return made, quant(exact(constants[f"{name}f"]), constants[f"{name}s"], 0, 3, signed=1, narrow=0)


def check(nodes, shape, out_shape, constants, meaning, *, spec="s5/4", samples=2, opset=13, kinds=None):
    """Lower with and without an input spec (if a quantizer starts the network) and compare exactly."""
    model = network(nodes, shape, out_shape, constants, opset)
    rng = np.random.default_rng(5)
    x = rng.integers(-16, 16, (samples, *shape[1:]))
    wanted = np.concatenate([meaning(exact(one[None]) / 4) for one in x])
    net = lower(model, input_spec=spec)
    assert same(reals(net, x), wanted)
    assert same(reals(lower(model), f32(x / 4)), wanted)
    if kinds is not None:
        assert [one.op.kind for one in net.graph.nodes] == kinds
    return net


CONVS = {
    "plain": ((1, 3, 5, 4), (4, 3, 3, 2), {}),
    "padded": ((1, 3, 5, 4), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "asymmetric pads": ((1, 2, 5, 4), (3, 2, 3, 3), {"pads": [0, 2, 1, 0]}),
    "strided": ((1, 2, 6, 7), (3, 2, 3, 3), {"strides": [2, 3]}),
    "dilated": ((1, 2, 7, 7), (3, 2, 3, 2), {"dilations": [2, 3], "pads": [1, 0, 0, 1]}),
    "grouped": ((1, 4, 5, 4), (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "depthwise": ((1, 4, 5, 5), (4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "1-D": ((1, 3, 9), (4, 3, 3), {"pads": [2, 1], "strides": [2]}),
    "pointwise": ((1, 3, 4, 5), (5, 3, 1, 1), {}),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("name", CONVS)
def test_conv(name, kind):
    shape, kernel, attributes = CONVS[name]
    rng = np.random.default_rng(0)
    constants = {
        "bias": f32(rng.normal(size=kernel[0])),
        "g": f32(rng.normal(size=kernel[0])),
        "be": f32(rng.normal(size=kernel[0])),
        "m": f32(rng.normal(size=kernel[0])),
        "v": f32(rng.uniform(0.5, 2, kernel[0])),
    }
    first, q0 = quantizer(kind, "x", "q0", constants)
    made, w = weights(rng, kernel, constants)
    last, q1 = quantizer("u4", "n", "y", constants, 0.21)
    nodes = [
        first,
        made,
        node("Conv", ["q0", "w", "bias"], "c", kernel_shape=list(kernel[2:]), **attributes),
        node("BatchNormalization", ["c", "g", "be", "m", "v"], "bn", epsilon=1e-5),
        node("Relu", ["bn"], "n"),
        last,
    ]

    def meaning(x):
        c = conv(q0(x), w, exact(constants["bias"]), attributes)
        return q1(batch_norm(c, *(constants[k] for k in ("g", "be", "m", "v")), 1e-5))

    check(nodes, shape, [None] * len(shape), constants, meaning)


def test_a_bipolar_input_padded_with_zero_needs_no_other_grid():
    constants = {}
    first, q0 = quantizer("bipolar", "x", "q0", constants)
    made, w = weights(np.random.default_rng(0), (2, 2, 3, 3), constants)
    net = check(
        [first, made, node("Conv", ["q0", "w"], "y", pads=[1] * 4)],
        (1, 2, 4, 4),
        (1, 2, 4, 4),
        constants,
        lambda x: conv(q0(x), w, None, {"pads": [1] * 4}),
        kinds=["Threshold", "Conv2d"],
    )
    assert net.graph.nodes[1].op.pad_value == 0


def test_an_asymmetric_input_is_padded_with_its_zero_point():
    constants = {}
    first, q0 = quantizer("asymmetric", "x", "q0", constants)
    made, w = weights(np.random.default_rng(0), (2, 2, 3, 3), constants)
    net = check(
        [first, made, node("Conv", ["q0", "w"], "y", pads=[1] * 4)],
        (1, 2, 4, 4),
        (1, 2, 4, 4),
        constants,
        lambda x: conv(q0(x), w, None, {"pads": [1] * 4}),
        kinds=["Threshold", "Conv2d"],
    )
    assert net.graph.nodes[1].op.pad_value == 5


@pytest.mark.parametrize(("mode", "pads"), [("SAME_UPPER", [0, 1, 1, 1]), ("SAME_LOWER", [1, 1, 0, 1]), ("VALID", [0, 0, 0, 0])])
def test_auto_pad(mode, pads):
    constants = {}
    first, q0 = quantizer("u4", "x", "q0", constants)
    made, w = weights(np.random.default_rng(0), (2, 2, 2, 3), constants)
    check(
        [first, made, node("Conv", ["q0", "w"], "y", auto_pad=mode)],
        (1, 2, 4, 4),
        [None] * 4,
        constants,
        lambda x: conv(q0(x), w, None, {"pads": pads}),
    )


@pytest.mark.parametrize("kind", ["u4", "asymmetric", "bipolar"])
@pytest.mark.parametrize(
    ("shape", "kernel", "attributes"),
    [
        ((1, 2, 3, 4), (2, 3, 3, 2), {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]}),
        ((1, 4, 3, 3), (4, 2, 2, 2), {"group": 2, "strides": [2, 1]}),
        ((1, 2, 5), (2, 3, 3), {"strides": [2], "dilations": [2]}),
    ],
)
def test_conv_transpose(kind, shape, kernel, attributes):
    rng = np.random.default_rng(1)
    constants = {"bias": f32(rng.normal(size=kernel[1] * attributes.get("group", 1)))}
    first, q0 = quantizer(kind, "x", "q0", constants)
    made, w = weights(rng, kernel, constants, per=(1, -1, 1, 1) if attributes.get("group", 1) == 1 else (1, 1, 1, 1))
    check(
        [first, made, node("ConvTranspose", ["q0", "w", "bias"], "y", **attributes)],
        shape,
        [None] * len(shape),
        constants,
        lambda x: conv_transpose(q0(x), w, exact(constants["bias"]), attributes),
    )


@pytest.mark.parametrize("factor", [0.5, -0.5, [0.3, -0.7, 1.1]])
def test_max_pool_commutes_with_what_rises(factor):
    constants = {"k": f32(factor).reshape(-1, 1, 1), "c": f32(0.3)}
    first, q0 = quantizer("s3", "x", "q0", constants)
    last, q1 = quantizer("u4", "p", "y", constants, 0.15)
    attributes = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}
    nodes = [
        first,
        node("Mul", ["q0", "k"], "a"),
        node("Add", ["a", "c"], "b"),
        node("Relu", ["b"], "r"),
        node("MaxPool", ["r"], "p", **attributes),
        last,
    ]

    def meaning(x):
        r = each(q0(x) * exact(constants["k"]) + exact(constants["c"]), lambda v: max(v, Fraction(0)))
        return q1(pool(r, attributes, max))

    check(nodes, (1, 3, 5, 5), [None] * 4, constants, meaning)


@pytest.mark.parametrize("kind", ["u4", "asymmetric", "off grid"])
def test_average_pools(kind):
    constants = {}
    first, q0 = quantizer(kind, "x", "q0", constants)
    last, q1 = quantizer("u4", "p", "y", constants, 0.11)
    attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 1, 0, 0]}
    check(
        [first, node("AveragePool", ["q0"], "p", count_include_pad=1, **attributes), last],
        (1, 2, 5, 5),
        [None] * 4,
        constants,
        lambda x: q1(pool(q0(x), attributes, sum, count_pads=True)),
    )
    check(
        [first, node("GlobalAveragePool", ["q0"], "p"), last],
        (1, 2, 5, 3),
        [None] * 4,
        constants,
        lambda x: q1(q0(x).sum(axis=(2, 3), keepdims=True) / 15),
    )
    check(
        [first, node("ReduceMean", ["q0"], "p", axes=[2, 3], keepdims=0), last],
        (1, 2, 5, 3),
        [None] * 2,
        constants,
        lambda x: q1(q0(x).sum(axis=(2, 3)) / 15),
    )


def test_ceil_mode():
    constants = {}
    first, q0 = quantizer("u4", "x", "q0", constants)
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    check(
        [first, node("MaxPool", ["q0"], "y", ceil_mode=1, **attributes)],
        (1, 2, 5, 4),
        [None] * 4,
        constants,
        lambda x: pool(q0(x), attributes | {"pads": [0, 0, 1, 0]}, max),
    )


@pytest.mark.parametrize("op", ["Add", "Sub"])
@pytest.mark.parametrize("scale", [SCALE, SCALE * 2, -SCALE, 0.11])
def test_residual_branches_with_different_scales(op, scale):
    rng = np.random.default_rng(2)
    constants = {}
    first, q0 = quantizer("asymmetric", "x", "q0", constants)
    made, w = weights(rng, (3, 3, 3, 3), constants)
    middle, q1 = quantizer("off grid", "c", "q1", constants, scale)
    last, q2 = quantizer("s3", "a", "y", constants, 0.4)
    nodes = [first, made, node("Conv", ["q0", "w"], "c", pads=[1] * 4), middle, node(op, ["q0", "q1"], "a"), last]

    def meaning(x):
        a = q0(x)
        b = q1(conv(a, w, None, {"pads": [1] * 4}))
        return q2(a + b if op == "Add" else a - b)

    check(nodes, (1, 3, 4, 4), (1, 3, 4, 4), constants, meaning)


def test_sums_of_unquantized_products_and_of_one_with_itself():
    rng = np.random.default_rng(2)
    constants = {"k": f32([0.3, -0.2, 0.7]).reshape(3, 1, 1), "c": f32(rng.normal(size=3))}
    first, q0 = quantizer("u4", "x", "q0", constants)
    made, w = weights(rng, (3, 3, 1, 1), constants, per=(1, 1, 1, 1))
    last, q2 = quantizer("s3", "s", "y", constants, 0.4)
    nodes = [
        first,
        made,
        node("Conv", ["q0", "w", "c"], "c1"),
        node("Relu", ["c1"], "r"),
        node("Mul", ["q0", "k"], "m"),
        node("Sub", ["m", "r"], "a"),
        node("Add", ["a", "a"], "s"),
        last,
    ]

    def meaning(x):
        r = each(conv(q0(x), w, exact(constants["c"]), {}), lambda v: max(v, Fraction(0)))
        return q2(2 * (q0(x) * exact(constants["k"]) - r))

    check(nodes, (1, 3, 3, 3), (1, 3, 3, 3), constants, meaning)


def test_squeeze_and_excitation_multiplies_branches():
    constants = {}
    first, q0 = quantizer("asymmetric", "x", "q0", constants)
    middle, q1 = quantizer("u4", "p", "q1", constants, 0.3)
    nodes = [first, node("GlobalAveragePool", ["q0"], "p"), middle, node("Mul", ["q0", "q1"], "y")]
    check(nodes, (1, 3, 3, 3), (1, 3, 3, 3), constants, lambda x: q0(x) * q1(q0(x).sum(axis=(2, 3), keepdims=True) / 9))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat_of_differently_quantized_tensors(axis):
    rng = np.random.default_rng(4)
    constants = {}
    first, q0 = quantizer("u4", "x", "q0", constants)
    second, q1 = quantizer("off grid", "q0", "q1", constants, SCALE * 3)
    made, w = weights(rng, (2, 4 if axis == 1 else 2, 3, 3), constants)
    nodes = [first, second, made, node("Concat", ["q0", "q1"], "c", axis=axis), node("Conv", ["c", "w"], "y", pads=[1] * 4)]
    check(
        nodes,
        (1, 2, 4, 4),
        [None] * 4,
        constants,
        lambda x: conv(np.concatenate([q0(x), q1(q0(x))], axis=axis), w, None, {"pads": [1] * 4}),
    )


def test_channels_without_a_common_unit_are_brought_to_one():
    constants = {}
    first, q0 = quantizer("s3", "x", "q0", constants, [[[0.3]], [[0.7]]])
    made, w = weights(np.random.default_rng(1), (2, 2, 1, 1), constants)
    net = check(
        [first, made, node("Conv", ["q0", "w"], "y")], (1, 2, 3, 3), (1, 2, 3, 3), constants, lambda x: conv(q0(x), w, None, {})
    )
    assert [one.op.kind for one in net.graph.nodes] == ["Threshold", "ScaleChannels", "Conv2d"]

"""Sums and means over axes, distances (AdderNet), and weights of few magnitudes (TTQ), against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from quant.lower import LoweringError, lower
from tests.quant.test_lower_conv import check, quantizer
from tests.quant.test_lower_oracle import conv, each, exact, f32, network, node


@pytest.mark.parametrize("kind", ["u4", "asymmetric", "bipolar"])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean"])
@pytest.mark.parametrize("axes", [[1], [2, 3], [3], [1, 2, 3], [-2, 1]])
def test_sums_and_means_over_any_axes(op, axes, keep, kind):
    constants = {"axes": np.array(axes), "s": f32([0.5, 0.5, 0.25]).reshape(1, 3, 1, 1)}
    first, q0 = quantizer(kind, "x", "q0", constants)
    nodes = [first, node("Mul", ["q0", "s"], "m"), node(op, ["m", "axes"], "y", keepdims=keep)]
    shape = (1, 3, 2, 4)
    count = int(np.prod([shape[axis] for axis in axes])) if op == "ReduceMean" else 1

    def meaning(x):
        return (q0(x) * exact(constants["s"])).sum(axis=tuple(axes), keepdims=bool(keep)) / count

    check(nodes, shape, [None] * len(np.zeros(shape).sum(axis=tuple(axes), keepdims=bool(keep)).shape), constants, meaning, opset=18)


def test_the_batch_is_not_reduced():
    constants = {"axes": np.array([0, 1])}
    first, _ = quantizer("u4", "x", "q0", constants)
    with pytest.raises(LoweringError, match=r"reduces axes \[0, 1\] .* the batch axis can't be reduced"):
        lower(network([first, node("ReduceSum", ["q0", "axes"], "y")], (1, 3), (1, 1), constants, 18))


def test_xnor_nets_map_of_input_scales():
    """K = box filter of the mean magnitude over channels, times a binary convolution of the signs."""
    rng = np.random.default_rng(1)
    constants = {"axes": np.array([1]), "box": f32(np.full((1, 1, 3, 3), 1 / 9)), "one": f32(1), "w": f32(rng.choice([-1, 1], (4, 3, 3, 3))),
                 "alpha": f32(rng.uniform(0.1, 1, (1, 4, 1, 1)))}
    first, q0 = quantizer("s3", "x", "q0", constants, 0.5)
    last, q1 = quantizer("s3", "o", "y", constants, 0.71)
    nodes = [first, node("BipolarQuant", ["q0", "one"], "signs"), node("Conv", ["signs", "w"], "c", pads=[1] * 4),
             node("Abs", ["q0"], "a"), node("ReduceMean", ["a", "axes"], "mean", keepdims=1),
             node("Conv", ["mean", "box"], "k", pads=[1] * 4), node("Mul", ["c", "k"], "p"), node("Mul", ["p", "alpha"], "o"), last]

    def meaning(x):
        q = q0(x)
        signs = each(q, lambda v: Fraction(1 if v >= 0 else -1))
        mean = each(q, abs).sum(axis=1, keepdims=True) / 3
        padded = {"pads": [1] * 4}
        return q1(conv(signs, exact(constants["w"]), None, padded) * conv(mean, exact(constants["box"]), None, padded)
                  * exact(constants["alpha"]))

    check(nodes, (1, 3, 4, 4), (1, 4, 4, 4), constants, meaning, opset=18)


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize(("kind", "unit"), [("s3", 0.5), ("s3", 0.25), ("asymmetric", 0.5)])
def test_a_dense_layer_of_distances(kind, unit, outputs):
    rng = np.random.default_rng(2)
    constants = {"w": f32(rng.integers(-8, 8, (outputs, 6)) * unit), "axis": np.array([1]), "last": np.array([2])}
    first, q0 = quantizer(kind, "x", "q0", constants, 0.5)
    nodes = [first, node("Unsqueeze", ["q0", "axis"], "u"), node("Sub", ["u", "w"], "d"), node("Abs", ["d"], "a"),
             node("ReduceSum", ["a", "last"], "s", keepdims=0), node("Neg", ["s"], "y")]

    def meaning(x):
        return -each(q0(x)[:, None] - exact(constants["w"])[None], abs).sum(axis=2)

    net = check(nodes, (1, 6), (1, outputs), constants, meaning, opset=18)
    assert net.graph.nodes[-1].op.kind == "L1MatMul"


def distances(x, w, pads, stride):
    """-sum |patch - w| over windows of a padded image; w is (O, C, kh, kw)."""
    padded = np.pad(x, ((0, 0), (0, 0), *[(pads, pads)] * 2), constant_values=Fraction(0))
    count = (padded.shape[2] - w.shape[2]) // stride + 1
    out = np.empty((1, len(w), count, count), object)
    for i in range(count):
        for j in range(count):
            patch = padded[0, :, i * stride:i * stride + w.shape[2], j * stride:j * stride + w.shape[3]]
            out[0, :, i, j] = [-each(patch - one, abs).sum() for one in w]
    return out


@pytest.mark.parametrize(("pads", "stride", "unit"), [(0, 1, 0.5), (1, 1, 0.5), (1, 2, 0.25)])
@pytest.mark.parametrize("kind", ["s3", "asymmetric"])
def test_a_convolution_of_distances(pads, stride, unit, kind):
    rng = np.random.default_rng(2)
    w = f32(rng.integers(-8, 8, (4, 2, 3, 3)) * unit)
    size = (5 + 2 * pads - 3) // stride + 1
    constants = {"eye": f32(np.eye(18).reshape(18, 2, 3, 3)), "w": w.reshape(1, 4, 18, 1), "axis": np.array([2]),
                 "columns": np.array([1, 1, 18, size * size]), "image": np.array([1, 4, size, size])}
    first, q0 = quantizer(kind, "x", "q0", constants, 0.5)
    nodes = [first, node("Conv", ["q0", "eye"], "p", pads=[pads] * 4, strides=[stride] * 2), node("Reshape", ["p", "columns"], "u"),
             node("Sub", ["u", "w"], "d"), node("Abs", ["d"], "a"), node("ReduceSum", ["a", "axis"], "s", keepdims=0),
             node("Neg", ["s"], "n"), node("Reshape", ["n", "image"], "y")]
    net = check(nodes, (1, 2, 5, 5), (1, 4, size, size), constants, lambda x: distances(q0(x), exact(w), pads, stride), opset=18)
    assert net.graph.nodes[-1].op.kind == "L1Conv2d"
    assert "Conv2d" not in [one.op.kind for one in net.graph.nodes]


def test_distances_without_a_common_scale_are_refused():
    constants = {"w": f32(np.random.default_rng(0).normal(size=(4, 6))), "axis": np.array([1]), "last": np.array([2])}
    first, _ = quantizer("s3", "x", "q0", constants)
    nodes = [first, node("Unsqueeze", ["q0", "axis"], "u"), node("Sub", ["u", "w"], "d"), node("Abs", ["d"], "a"),
             node("ReduceSum", ["a", "last"], "y", keepdims=0)]
    with pytest.raises(LoweringError, match=r"node 'ReduceSum_y' .* have no common scale .* quantize both with one scale"):
        lower(network(nodes, (1, 6), (1, 4), constants, 18))


@pytest.mark.parametrize("per_channel", [False, True])
def test_trained_ternary_weights_of_two_float_magnitudes(per_channel):
    rng = np.random.default_rng(4)
    signs = rng.integers(-1, 2, (5, 2, 3, 3))
    up, down = (f32(rng.uniform(0.2, 2, (5, 1, 1, 1) if per_channel else ())) for _ in range(2))
    constants = {"plus": f32(signs > 0), "minus": f32(signs < 0), "up": up, "down": down, "g": f32(rng.normal(size=(1, 5, 1, 1))),
                 "h": f32(rng.normal(size=(1, 5, 1, 1)))}
    first, q0 = quantizer("asymmetric", "x", "q0", constants)
    last, q1 = quantizer("s3", "n", "y", constants, 0.51)
    nodes = [first, node("Mul", ["plus", "up"], "wp"), node("Mul", ["minus", "down"], "wn"), node("Sub", ["wp", "wn"], "w"),
             node("Conv", ["q0", "w"], "c", pads=[1] * 4), node("Mul", ["c", "g"], "m"), node("Add", ["m", "h"], "n"), last]

    def meaning(x):
        w = exact(constants["plus"]) * exact(up) - exact(constants["minus"]) * exact(down)
        return q1(conv(q0(x), w, None, {"pads": [1] * 4}) * exact(constants["g"]) + exact(constants["h"]))

    net = check(nodes, (1, 2, 4, 4), (1, 5, 4, 4), constants, meaning)
    products = [one.op for one in net.graph.nodes if one.op.kind == "Conv2d"]
    assert len(products) == 2
    assert all(set(np.unique(op.weights)) <= {-1, 0, 1} for op in products)


def test_a_dense_layer_of_two_float_magnitudes():
    rng = np.random.default_rng(4)
    w = np.where(rng.random((12, 5)) < 0.5, np.float32(0.731), np.float32(-0.127))
    constants = {"w": w}
    first, q0 = quantizer("u4", "x", "q0", constants)
    check([first, node("MatMul", ["q0", "w"], "y")], (1, 12), (1, 5), constants, lambda x: q0(x) @ exact(w))


def test_weights_are_still_tested_for_being_quantized():
    constants = {}
    first, _ = quantizer("u4", "x", "q0", constants)
    constants["w"] = f32(np.random.default_rng(0).normal(size=(12, 5)))
    with pytest.raises(LoweringError, match="it has float weights"):
        lower(network([first, node("MatMul", ["q0", "w"], "y")], (1, 12), (1, 5), constants))


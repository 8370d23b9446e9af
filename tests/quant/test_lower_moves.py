"""Pads, moves and splits in front of convolutions, against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from onnx import helper

from quant.lower import LoweringError, lower
from tests.quant.test_lower_conv import SCALE, check, quantizer, weights
from tests.quant.test_lower_oracle import conv, f32, network, node, pool


@pytest.mark.parametrize("value", [0.0, 0.3, SCALE])
def test_pad(value):
    constants = {"pads": np.array([0, 0, 1, 0, 0, 0, 0, 2]), "v": f32(value)}
    first, q0 = quantizer("asymmetric", "x", "q0", constants)
    padded = ((0, 0), (0, 0), (1, 0), (0, 2))
    check(
        [first, node("Pad", ["q0", "pads", "v"], "y")],
        (1, 2, 3, 3),
        (1, 2, 4, 5),
        constants,
        lambda x: np.pad(q0(x), padded, constant_values=Fraction(float(np.float32(value)))),
    )


def flattened(nodes, target, shape, move, *, axes=(2, 3)):
    """A move between a quantizer and a convolution or a dense layer."""
    rng = np.random.default_rng(6)
    constants = {
        "t0": np.array([1, -1]),
        "i": np.array([2, 0, 1]),
        "s2": np.array([1, 2]),
        "e2": np.array([4, 2**31]),
        "a2": np.array(axes),
        "st": np.array([2, 1]),
        "r4": np.array([1, 2, 2, 3, 4]),
        "r5": np.array(shape),
        "scales": f32([1, 1, 2, 3]),
    }
    first, q0 = quantizer("asymmetric", "x", "q0", constants)
    moved = move(np.zeros(shape))
    made, w = weights(rng, (2, moved.shape[1], 2, 1), constants)
    conv_nodes = [first, *nodes, made, node("Conv", [target, "w"], "y", pads=[1, 0, 0, 0])]
    check(conv_nodes, shape, [None] * 4, constants, lambda x: conv(move(q0(x)), w, None, {"pads": [1, 0, 0, 0]}))


def test_moves_in_front_of_a_convolution():
    shape = (1, 4, 3, 4)
    flattened([node("Transpose", ["q0"], "t", perm=[0, 1, 3, 2])], "t", shape, lambda v: v.transpose(0, 1, 3, 2))
    flattened([node("Slice", ["q0", "s2", "e2", "a2", "st"], "t")], "t", (1, 2, 5, 6), lambda v: v[:, :, 1:4:2, 2:])
    flattened(
        [node("DepthToSpace", ["q0"], "t", blocksize=2)],
        "t",
        shape,
        lambda v: v.reshape(1, 2, 2, 1, 3, 4).transpose(0, 3, 4, 1, 5, 2).reshape(1, 1, 6, 8),
    )
    flattened(
        [node("DepthToSpace", ["q0"], "t", blocksize=2, mode="CRD")],
        "t",
        (1, 8, 3, 4),
        lambda v: v.reshape(1, 2, 2, 2, 3, 4).transpose(0, 1, 4, 2, 5, 3).reshape(1, 2, 6, 8),
    )
    flattened(
        [node("SpaceToDepth", ["q0"], "t", blocksize=2)],
        "t",
        (1, 2, 4, 4),
        lambda v: v.reshape(1, 2, 2, 2, 2, 2).transpose(0, 3, 5, 1, 2, 4).reshape(1, 8, 2, 2),
    )
    flattened(
        [
            node(
                "Resize",
                ["q0", "", "scales"],
                "t",
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        "t",
        shape,
        lambda v: v.repeat(2, axis=2).repeat(3, axis=3),
    )
    shuffle = [
        node("Reshape", ["q0", "r4"], "a"),
        node("Transpose", ["a"], "b", perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["b", "r5"], "t"),
    ]
    flattened(shuffle, "t", shape, lambda v: v.reshape(1, 2, 2, 3, 4).transpose(0, 2, 1, 3, 4).reshape(shape))


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 2, 1), (2, 4, 1), (1, 4, 2), (3, 0, -1)])
def test_a_part_of_shuffled_channels(start, stop, step):
    """ShuffleNet v2: the next unit takes one half of what the shuffle before it gives."""
    shape = (1, 4, 3, 4)

    def move(v):
        return v[:, [1, 3, 0, 2]][:, start:stop:step]

    nodes = [node("Gather", ["q0", "order"], "a", axis=1), node("Slice", ["a", "from", "to", "ax", "by"], "t")]
    constants = {"order": np.array([1, 3, 0, 2]), "from": np.array([start]), "to": np.array([stop]), "ax": np.array([1]),
                 "by": np.array([step])}
    first, q0 = quantizer("asymmetric", "x", "q0", constants)
    made, w = weights(np.random.default_rng(6), (2, move(np.zeros(shape)).shape[1], 2, 1), constants)
    check([first, *nodes, made, node("Conv", ["t", "w"], "y")], shape, [None] * 4, constants, lambda x: conv(move(q0(x)), w, None, {}))


def test_split():

    constants = {"sizes": np.array([1, 3])}
    first, q0 = quantizer("u4", "x", "q0", constants)
    made, w = weights(np.random.default_rng(0), (2, 3, 1, 1), constants)
    split = helper.make_node("Split", ["q0", "sizes"], ["a", "b"], name="split", axis=1)
    nodes = [first, made, split, node("Conv", ["b", "w"], "c"), node("Add", ["c", "a"], "y")]
    check(nodes, (1, 4, 2, 2), (1, 2, 2, 2), constants, lambda x: conv(q0(x)[:, 1:], w, None, {}) + q0(x)[:, :1])


def test_nhwc_models_lose_their_transposes():
    constants = {}
    first, q0 = quantizer("u4", "a", "q0", constants)
    made, w = weights(np.random.default_rng(0), (2, 3, 2, 2), constants)
    nodes = [
        node("Transpose", ["x"], "a", perm=[0, 3, 1, 2]),
        first,
        made,
        node("Conv", ["q0", "w"], "c"),
        node("Transpose", ["c"], "y", perm=[0, 2, 3, 1]),
    ]
    check(
        nodes,
        (1, 4, 5, 3),
        (1, 3, 4, 2),
        constants,
        lambda x: conv(q0(x.transpose(0, 3, 1, 2)), w, None, {}).transpose(0, 2, 3, 1),
        kinds=["Threshold", "Conv2d"],
    )


@pytest.mark.parametrize("kind", ["u4", "asymmetric"])
@pytest.mark.parametrize("attributes", [{"pads": [1] * 4}, {"pads": [0, 1, 1, 0], "strides": [2, 2]}, {"pads": [1] * 4, "strides": [1, 3]}])
def test_average_pool_over_fewer_values_at_borders(kind, attributes):
    """Its scale varies from place to place: each element is a channel of its own."""
    attributes = {"kernel_shape": [3, 3], **attributes}
    constants = {}
    first, q0 = quantizer(kind, "x", "q0", constants)
    last, q1 = quantizer("s3", "p", "y", constants, 0.19)
    pooled = [first, node("AveragePool", ["q0"], "p", **attributes)]
    check([*pooled, last], (1, 2, 5, 5), [None] * 4, constants, lambda x: q1(pool(q0(x), attributes, sum)))
    check([*pooled, node("Identity", ["p"], "y")], (1, 2, 5, 5), [None] * 4, constants, lambda x: pool(q0(x), attributes, sum))


def test_average_pool_of_padding_alone_is_refused():
    constants = {}
    first, _ = quantizer("u4", "x", "q0", constants)
    pooled = node("AveragePool", ["q0"], "y", kernel_shape=[1, 1], pads=[1] * 4)
    with pytest.raises(LoweringError, match="windows that lie in the padding altogether"):
        lower(network([first, pooled], (1, 2, 4, 4), (1, 2, 6, 6), constants))

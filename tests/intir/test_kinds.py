"""Every arithmetic kind of the mission is expressible without loss: what the integers stand for is computed beside, in
rational numbers or plain loops, and onnxruntime gives the same integers."""


from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from intir import (
    BIPOLAR,
    TERNARY,
    Add,
    ChannelPermute,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Graph,
    GraphBuilder,
    IntType,
    L1Conv2d,
    L1MatMul,
    Lookup,
    MatMul,
    Mul,
    Requant,
    Reshape,
    ScaleChannels,
    Slice,
    SumPool2d,
    Threshold,
    run_all,
    signed,
    unsigned,
)
from intir.random_graph import random_inputs

Ints = NDArray[np.int64]
Stock = Callable[[Graph, dict[str, Ints]], list[Ints]]
RNG = np.random.default_rng(7)


def outputs(build: GraphBuilder, *values: str, stock: Stock) -> tuple[dict[str, Ints], list[Ints]]:
    """Inputs and outputs of the graph on 20 samples, onnxruntime agreeing."""
    for value in values:
        build.output(value)
    graph = build.build()
    inputs = random_inputs(graph, 20, 3)
    mine = run_all(graph, inputs)
    for interface, theirs in zip(graph.outputs, stock(graph, inputs), strict=True):
        np.testing.assert_array_equal(mine[interface.value], theirs)
    return inputs, [mine[one.value] for one in graph.outputs]


def rational(x: Ints) -> NDArray[np.object_]:
    return np.vectorize(Fraction, otypes=[object])(x)


@pytest.mark.parametrize(("kind", "levels"), [
    (BIPOLAR, [-1, 1]), (TERNARY, [-1, 0, 1]), (IntType(-3, 3, 2), [-3, -1, 1, 3]),
    *[(unsigned(bits), [0, 2**bits - 1, 1]) for bits in range(2, 9)], *[(signed(bits), [-2 ** (bits - 1), 2 ** (bits - 1) - 1]) for bits in
                                                                       range(2, 17)],
], ids=str)
def test_binary_ternary_dorefa_unsigned_signed(kind: IntType, levels: list[int], stock_onnx: Stock) -> None:
    weights = RNG.choice(levels, (9, 4))
    build = GraphBuilder("kind")
    x = build.input("x", (9,), kind)
    inputs, (y,) = outputs(build, build.node(MatMul(weights), x), stock=stock_onnx)
    np.testing.assert_array_equal(y, inputs["x"].astype(object) @ weights.astype(object))


def test_asymmetric_ternary_has_two_magnitudes(stock_onnx: Stock) -> None:
    # TTQ: w in {-wn, 0, +wp} with wp = 5/8, wn = 3/8 is the integers {-3, 0, 5} and a scale of 1/8.
    signs = RNG.choice([-1, 0, 1], (12, 5))
    real = np.where(signs > 0, Fraction(5, 8), np.where(signs < 0, Fraction(-3, 8), Fraction(0)))
    build = GraphBuilder("ttq")
    x = build.input("x", (12,), unsigned(4))
    inputs, (y,) = outputs(build, build.node(MatMul(np.where(signs > 0, 5, np.where(signs < 0, -3, 0))), x), stock=stock_onnx)
    assert (rational(inputs["x"]) @ real == rational(y) / 8).all()


def test_sums_of_scaled_binaries(stock_onnx: Stock) -> None:
    # HORQ and ABC-Net: sum of alpha_i * (binary_i . x); alphas 3/4, 1/4, 1/16 are 12, 4, 1 over 16.
    bases = [RNG.choice([-1, 1], (16, 3)) for _ in range(3)]
    build = GraphBuilder("abc")
    x = build.input("x", (16,), BIPOLAR)
    branches = [build.node(ScaleChannels(np.array([alpha]), np.array([0])), build.node(MatMul(base), x))
                for alpha, base in zip((12, 4, 1), bases, strict=True)]
    inputs, (y,) = outputs(build, build.node(Add(), build.node(Add(), *branches[:2]), branches[2]), stock=stock_onnx)
    real = sum(Fraction(alpha, 16) * rational(base) for alpha, base in zip((12, 4, 1), bases, strict=True))
    assert (rational(inputs["x"]) @ real == rational(y) / 16).all()


def test_xnor_net_scale_map(stock_onnx: Stock) -> None:
    build = GraphBuilder("xnor")
    x = build.input("x", (4, 4, 8), BIPOLAR)
    k = build.input("k", (4, 4, 1), unsigned(5))
    weights = RNG.choice([-1, 1], (1, 1, 8, 6))
    inputs, (y,) = outputs(build, build.node(Mul(), build.node(Conv2d(weights), x), k), stock=stock_onnx)
    np.testing.assert_array_equal(y, (inputs["x"] @ weights[0, 0]) * inputs["k"])


def test_per_channel_zero_points(stock_onnx: Stock) -> None:
    # real x = (q - z[c]) * s: the product of (q - z) with the weights is a product of q and an offset.
    zero, weights = RNG.integers(0, 256, 7), RNG.integers(-128, 128, (7, 3))
    build = GraphBuilder("zero")
    x = build.input("x", (7,), unsigned(8))
    shifted = build.node(ScaleChannels(np.array([1]), -zero), x)
    folded = build.node(ScaleChannels(np.array([1]), -zero @ weights), build.node(MatMul(weights), x))
    inputs, (a, b) = outputs(build, build.node(MatMul(weights), shifted), folded, stock=stock_onnx)
    np.testing.assert_array_equal(a, (inputs["x"] - zero) @ weights)
    np.testing.assert_array_equal(a, b)


def test_codebook_weights_and_lookup(stock_onnx: Stock) -> None:
    codebook = np.array([-113, -41, -7, 0, 5, 22, 64, 127])
    codes = RNG.integers(0, 8, (10, 4))
    build = GraphBuilder("codebook")
    x = build.input("x", (10,), unsigned(3))
    decoded = build.node(Lookup(codebook[None], unsigned(3)), x)
    inputs, (y,) = outputs(build, build.node(MatMul(codebook[codes]), decoded), stock=stock_onnx)
    np.testing.assert_array_equal(y, codebook[inputs["x"]] @ codebook[codes])


def test_l1_distance(stock_onnx: Stock) -> None:
    dense, conv = RNG.integers(-8, 8, (12, 5)), RNG.integers(-8, 8, (1, 1, 12, 4))
    build = GraphBuilder("adder")
    x = build.input("x", (1, 3, 12), signed(5))
    values = [build.node(L1MatMul(dense), x), build.node(L1Conv2d(conv), x)]
    inputs, (y, z) = outputs(build, *values, stock=stock_onnx)
    np.testing.assert_array_equal(y, -np.abs(inputs["x"][..., None] - dense).sum(axis=-2))
    np.testing.assert_array_equal(z, -np.abs(inputs["x"][..., None] - conv[0, 0]).sum(axis=-2))


@pytest.mark.parametrize(("rounding", "expected"), [("half_even", [0, 2, 2, 0, -2]), ("half_away", [1, 2, 3, -1, -3]),
                                                    ("half_up", [1, 2, 3, 0, -2]), ("floor", [0, 1, 2, -1, -3])])
def test_integer_average_pooling(rounding: str, expected: list[int], stock_onnx: Stock) -> None:
    build = GraphBuilder("average")
    x = build.input("x", (2, 2, 3), signed(6))
    total = build.node(SumPool2d((2, 2), (2, 2)), x)
    op = Requant(np.array([1]), np.array([2]), np.array([0]), rounding, signed(6))
    inputs, _ = outputs(build, build.node(op, total), stock=stock_onnx)
    assert inputs["x"].shape == (20, 2, 2, 3)
    ties = np.array([[2], [6], [10], [-2], [-10]])
    np.testing.assert_array_equal(op.evaluate(ties, ranges=[])[:, 0], expected)


def test_residual_adds_of_differently_scaled_branches(stock_onnx: Stock) -> None:
    # a * 1/6 + b * 1/4 = (2a + 3b) / 12
    build = GraphBuilder("residual")
    a, b = build.input("a", (5,), signed(4)), build.input("b", (5,), unsigned(3))
    scaled = [build.node(ScaleChannels(np.array([m]), np.array([0])), x) for m, x in ((2, a), (3, b))]
    inputs, (y,) = outputs(build, build.node(Add(), *scaled), stock=stock_onnx)
    assert (rational(inputs["a"]) / 6 + rational(inputs["b"]) / 4 == rational(y) / 12).all()


def test_channel_shuffle_and_split(stock_onnx: Stock) -> None:
    build = GraphBuilder("shuffle")
    x = build.input("x", (2, 2, 6), signed(4))
    left = build.node(Slice((0, 0, 0), (2, 2, 4), (1, 1, 1)), x)
    right = build.node(Slice((0, 0, 4), (2, 2, 6), (1, 1, 1)), x)
    joined = build.node(Concat(), left, right)
    inputs, (y,) = outputs(build, build.node(ChannelPermute(np.arange(6).reshape(2, 3).T.ravel()), joined), stock=stock_onnx)
    np.testing.assert_array_equal(y, inputs["x"].reshape(20, 2, 2, 2, 3).swapaxes(3, 4).reshape(20, 2, 2, 6))


def test_transposed_convolution(stock_onnx: Stock) -> None:
    weights = RNG.integers(-3, 4, (3, 2, 2, 3))
    op = ConvTranspose2d(weights, stride=(2, 3), dilation=(1, 2), pads=(1, 0, 0, 1), extra=(1, 2))
    build = GraphBuilder("up")
    x = build.input("x", (3, 2, 2), signed(4))
    inputs, (y,) = outputs(build, build.node(op, x), stock=stock_onnx)
    expected = np.zeros((20, 3 * 2 + 3, 2 * 3 + 5, 3), np.int64)
    for i, j, a, b in np.ndindex(3, 2, 3, 2):
        expected[:, i * 2 + a, j * 3 + b * 2] += inputs["x"][:, i, j] @ weights[a, b]
    np.testing.assert_array_equal(y, expected[:, 1:1 + y.shape[1], :y.shape[2]])


def test_one_dimensional_convolution(stock_onnx: Stock) -> None:
    weights = RNG.integers(-3, 4, (1, 3, 2, 4))
    build = GraphBuilder("audio")
    x = build.input("x", (10, 2), signed(8))
    y = build.node(Conv2d(weights, stride=(1, 2), pads=(0, 1, 0, 1)), build.node(Reshape((1, 10, 2)), x))
    inputs, (y,) = outputs(build, y, stock=stock_onnx)
    wide = np.pad(inputs["x"], ((0, 0), (1, 1), (0, 0)))
    for j in range(5):
        np.testing.assert_array_equal(y[:, 0, j], sum(wide[:, 2 * j + b] @ weights[0, b] for b in range(3)))


def test_thresholds_on_either_side_of_a_tie(stock_onnx: Stock) -> None:
    build = GraphBuilder("threshold")
    x = build.input("x", (3,), signed(10))
    thresholds = np.sort(RNG.integers(-512, 512, (3, 15)), axis=1)
    thresholds[1, 3] = thresholds[1, 4]
    inputs, (y,) = outputs(build, build.node(Threshold(thresholds, unsigned(4)), x), stock=stock_onnx)
    np.testing.assert_array_equal(y, (inputs["x"][..., None] >= thresholds).sum(axis=-1))

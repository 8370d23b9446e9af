"""Ways to compute convolutions: their operations are those of a real computation, their integers fit the stated bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.systems.arrays import product_cycles
from hwsim.systems.convolution import Way, direct, fft, im2col, side_by_side, ways, winograd
from hwsim.systems.machine import Array
from hwsim.systems.memory import RunError
from hwsim.systems.run import simulate
from hwsim.systems.work import Product
from intir import IntType
from tests.hwsim.systems.examples import S8, TABLE, conv, dense, machine, network

INT8 = Array("systolic", 32, 32)
INT16 = Array("systolic", 32, 32, activation_bits=16, weight_bits=16)
FLOAT = Array("systolic", 32, 32, arithmetic="float", activation_bits=16, weight_bits=16)
#: F(2x2, 3x3), the weights' transform times 2.
B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
G = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


class Counted:
    """Integers that count their additions and products."""

    adds = products = 0

    def __init__(self, value: int) -> None:
        self.value = value

    def __add__(self, other: Counted) -> Counted:
        Counted.adds += 1
        return Counted(self.value + other.value)

    def __sub__(self, other: Counted) -> Counted:
        Counted.adds += 1
        return Counted(self.value - other.value)

    def __mul__(self, other: Counted) -> Counted:
        Counted.products += 1
        return Counted(self.value * other.value)


def sandwich(matrix: Any, tile: Any) -> Any:
    """``matrix tile matrix^T``, with additions only for entries of -1 and 1."""

    def left(rows: Any) -> list[Any]:
        made = []
        for coefficients in matrix:
            total = None
            for factor, row in zip(coefficients, rows, strict=True):
                if factor:
                    total = row if total is None else [x + y if factor > 0 else x - y for x, y in zip(total, row, strict=True)]
                    assert factor > 0 or total is not row
            made.append(total)
        return made

    # Rows that begin with -1 are turned: a - b is b subtracted.
    ordered = [list(row) for row in tile]
    half = left(ordered)
    return [list(column) for column in zip(*left([list(column) for column in zip(*half, strict=True)]), strict=True)]


def direct_convolution(x: Any, w: Any) -> Any:
    """Valid, (H, W, C) with (3, 3, C, N)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))
    return np.einsum("hwcab,abcn->hwn", windows, w)


def winograd_convolution(x: Any, w: Any) -> tuple[Any, int, int, int]:
    """The same through F(2x2, 3x3), all in integers; products, and the greatest transformed input and weight."""
    height, width = x.shape[0] - 2, x.shape[1] - 2
    y = np.zeros((height, width, w.shape[3]), np.int64)
    u = np.einsum("ia,abcn,jb->ijcn", G, w, G)
    products, most = 0, 0
    for row in range(0, height, 2):
        for column in range(0, width, 2):
            v = np.einsum("ia,abc,jb->ijc", B, x[row:row + 4, column:column + 4], B)
            most = max(most, int(np.abs(v).max()))
            m = np.einsum("ijc,ijcn->ijn", v, u)
            products += 16 * v.shape[2] * w.shape[3]
            out = np.einsum("ai,ijn,bj->abn", A, m, A)
            assert not (out % 4).any()
            y[row:row + 2, column:column + 2] = out // 4
    return y, products, most, int(np.abs(u).max())


@given(height=st.sampled_from([2, 4, 6]), width=st.sampled_from([2, 8]), channels=st.integers(1, 5), filters=st.integers(1, 4),
       seed=st.integers(0, 99), bits=st.sampled_from([1, 4, 8]), signed=st.booleans())
@settings(max_examples=40, deadline=None)
def test_winograd_is_the_convolution_with_the_stated_products_and_widths(height: int, width: int, channels: int, filters: int, seed: int, bits: int,
                                                                         signed: bool) -> None:
    kind = IntType(-(2**(bits - 1)), 2**(bits - 1) - 1) if signed else IntType(0, 2**bits - 1)
    weights = IntType(-(2**(bits - 1)), max(0, 2**(bits - 1) - 1))
    random = np.random.default_rng(seed)
    x = random.choice([kind.lo, kind.hi], (height + 2, width + 2, channels))  # extremes
    w = random.choice([weights.lo, weights.hi], (3, 3, channels, filters))
    y, products, most_v, most_u = winograd_convolution(x, w)
    assert np.array_equal(y, direct_convolution(x, w))
    way = winograd(conv(size=(height + 2, width + 2), channels=channels, filters=filters, pad=0, a=kind, w=weights), INT16)
    assert isinstance(way, Way)
    assert way.macs == products
    assert most_v < 2**(way.activation_bits - 1) or (most_v == 2**(way.activation_bits - 1))
    assert most_u <= 2**(way.weight_bits - 1)


def test_the_stated_widths_are_reached() -> None:
    way = winograd(conv(), INT16)
    assert isinstance(way, Way)
    assert (way.activation_bits, way.weight_bits) == (10, 12)
    d = np.zeros((4, 4), np.int64)
    d[1:3, 1:3] = S8.lo
    assert (B @ d @ B.T).min() == -(2**9)
    assert (G @ np.full((3, 3), S8.lo) @ G.T).min() == -1152  # more than 11 bits hold


def test_winograd_takes_the_stated_additions() -> None:
    Counted.adds = 0
    positive = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, 1, -1, 0], [0, 1, 0, -1]])  # a row turned costs nothing
    sandwich(positive, [[Counted(1)] * 4 for _ in range(4)])
    assert Counted.adds == 32
    Counted.adds = 0
    sandwich(A, [[Counted(1)] * 4 for _ in range(4)])
    assert Counted.adds == 24
    way = winograd(conv(), INT16)
    assert isinstance(way, Way)
    assert (way.in_adds * 16, way.out_adds * 16) == (32, 24)


def test_the_vector_unit_does_the_transforms() -> None:
    work = replace(conv(), operations={})
    report = simulate(network(work), machine(INT16, algorithms=("winograd",)), table=TABLE)
    layer = report.layers[0]
    assert layer.algorithm == "winograd"
    adds = sum(count for action, count in layer.actions["vector"].items() if action.name == "int_add")
    assert adds == 49 * (32 * 64 + 24 * 64)
    assert sum(count for action, count in layer.actions["array"].items() if action.name == "int_multiply") == layer.macs * 16 / 36
    assert layer.bytes_at("dram", "read", "weights") == 64 * 64 * 16 * 12 / 8


def test_im2col_writes_the_matrix_that_numpy_makes() -> None:
    work = conv(size=(9, 8), channels=4, stride=(2, 1))
    x = np.zeros((11, 10, 4))
    matrix = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2]
    way = im2col(work, INT8)
    assert isinstance(way, Way)
    assert (way.pixels * way.terms, way.pixels) == (matrix.size, matrix.shape[0] * matrix.shape[1])
    layer = simulate(network(work), machine(algorithms=("im2col",)), table=TABLE).layers[0]
    assert layer.bytes_at("dram", "write", "activations") == matrix.size
    assert layer.bytes_at("dram", "read", "activations") >= matrix.size + 9 * 8 * 4


def test_a_1x1_convolution_is_its_own_matrix() -> None:
    work = conv(kernel=(1, 1), pad=0)
    made = [simulate(network(work), machine(algorithms=(one,)), table=TABLE).layers[0] for one in ("direct", "im2col")]
    assert made[0].cycles == made[1].cycles
    assert made[0].traffic == made[1].traffic


def test_fft_has_a_product_for_each_frequency_of_numpys() -> None:
    work = conv(size=(28, 28), channels=16, filters=8, kernel=(11, 11), pad=0)
    way = fft(work, FLOAT)
    assert isinstance(way, Way)
    spectrum = np.fft.rfft2(np.zeros((40, 40)))  # 38 is no product of 2, 3 and 5
    assert way.planes == spectrum.size
    assert way.macs == spectrum.size * 16 * 8 * 4
    x, w = np.random.default_rng(1).random((28, 28)), np.random.default_rng(2).random((11, 11))
    y = np.fft.irfft2(np.fft.rfft2(x, (40, 40)) * np.conj(np.fft.rfft2(w, (40, 40))), (40, 40))[:18, :18]
    assert np.allclose(y, np.einsum("hwab,ab->hw", np.lib.stride_tricks.sliding_window_view(x, (11, 11)), w))


@pytest.mark.parametrize(("work", "algorithm", "array", "why"), [
    (conv(stride=(2, 2)), winograd, INT8, r"a window of 3x3, stride \(2, 2\)"),
    (conv(kernel=(5, 5)), winograd, INT8, "5x5"),
    (conv(groups=64), winograd, INT8, "groups"),
    (conv(), winograd, Array("popcount", 8, 8, arithmetic="binary"), "more values than a binary array takes"),
    (conv(), fft, INT8, "not exact on integer arithmetic"),
    (dense(), winograd, INT8, "no convolution"),
    (dense(), im2col, INT8, "no convolution"),
])
def test_what_cannot_be_computed_says_why(work: Any, algorithm: Any, array: Array, why: str) -> None:
    made = algorithm(work, array)
    assert isinstance(made, str)
    import re
    assert re.search(why, made)


def test_winograd_on_narrow_integers_takes_passes_and_says_so() -> None:
    narrow = simulate(network(conv()), machine(algorithms=("winograd",)), table=TABLE)
    assert narrow.notes == ("conv (winograd): operands of 10 and 12 bits take 4 passes on an array of 8 x 8 bits",)
    both = simulate(network(conv()), machine(algorithms=("direct", "winograd")), table=TABLE)
    assert (both.layers[0].algorithm, both.notes) == ("direct", ())


def test_the_fastest_algorithm_is_taken() -> None:
    work = conv(size=(28, 28), channels=128, filters=128)
    runs = {one: simulate(network(work), machine(INT16, vector_lanes=256, algorithms=(one,)), table=TABLE).layers[0] for one in ("direct", "im2col", "winograd")}
    best = simulate(network(work), machine(INT16, vector_lanes=256, algorithms=("direct", "im2col", "winograd")), table=TABLE).layers[0]
    assert best.cycles == min(layer.cycles for layer in runs.values())
    assert best.algorithm == "winograd"
    slow = simulate(network(work), machine(INT16, vector_lanes=1, algorithms=("direct", "winograd")), table=TABLE).layers[0]
    assert slow.algorithm == "direct"


def test_a_layer_that_an_algorithm_cannot_compute_falls_back() -> None:
    net = network(conv("a"), conv("b", stride=(2, 2), inputs=("a",)))
    report = simulate(net, machine(INT16, algorithms=("direct", "winograd")), algorithm="winograd", table=TABLE)
    assert [layer.algorithm for layer in report.layers] == ["winograd", "direct"]
    assert report.notes == ("b: no winograd, a window of 3x3, stride (2, 2), dilation (1, 1) is not 3x3 with stride and dilation 1; computed directly",)


@pytest.mark.parametrize(("algorithm", "message"), [
    ("winograd", "machine test has no winograd; it has direct, im2col"),
    ("strassen", "there is no algorithm strassen; there is direct, im2col, winograd, fft"),
])
def test_an_algorithm_that_is_not_there_is_a_sentence(algorithm: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        simulate(network(conv()), machine(algorithms=("direct", "im2col")), algorithm=algorithm, table=TABLE)


def test_an_algorithm_for_none_of_the_layers_is_a_sentence() -> None:
    with pytest.raises(RunError, match="no layer of net can be computed with winograd on test; conv: no winograd, a window of 5x5"):
        simulate(network(conv(kernel=(5, 5))), machine(algorithms=("direct", "winograd")), algorithm="winograd", table=TABLE)


@given(groups=st.sampled_from([1, 2, 6, 32]), terms=st.integers(1, 20), filters=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_groups_side_by_side_take_no_longer_than_one_by_one(groups: int, terms: int, filters: int) -> None:
    for dataflow in ("output_stationary", "weight_stationary", "input_stationary"):
        array, product = Array("systolic", 16, 8, dataflow), Product(30, terms, filters, groups)
        merged = side_by_side(array, product)
        assert groups % merged == 0
        together = groups // merged * product_cycles(array, 30, terms * merged, filters * merged)
        assert together <= groups * product_cycles(array, 30, terms, filters)


def test_every_way_computes_all_of_the_layer() -> None:
    work = conv(size=(12, 12), channels=8, filters=16, groups=2)
    found, refused = ways(work, INT8, ("direct", "im2col", "winograd"))
    assert [way.algorithm for way in found] == ["direct", "im2col"]
    assert len(refused) == 1
    assert {way.macs for way in found} == {work.macs}
    assert direct(work, INT8).weight_elements == 9 * 4 * 16

"""Adder graphs: exact for any matrix, and nothing is paid for zero and repeated weights."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.engines.adder_graph import AdderGraph
from hwsim.engines.adder_search import adder_graph, digits
from hwsim.engines.unrolled import unrolled
from intir import BIPOLAR, signed, unsigned


def graph_of(weights: np.ndarray, hi: int) -> AdderGraph:
    """The graph, held to the product at random codes and at the extremes of each output."""
    graph = adder_graph(weights, [(0, hi)] * len(weights))
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.integers(0, hi + 1, (20, len(weights))), hi * (weights > 0).T, hi * (weights < 0).T])
    np.testing.assert_array_equal(graph.evaluate(codes), codes @ weights)
    return graph


@given(st.integers(-(2**40), 2**40))
def test_digits(weight: int) -> None:
    found = digits(weight)
    assert sum(sign << shift for shift, sign in found) == weight
    assert all(b[0] - a[0] > 1 for a, b in itertools.pairwise(found))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3, 100, 10**6]), st.floats(0, 1), st.sampled_from([1, 2, 5, 255]),
       st.integers(0, 2**32 - 1))
def test_any_matrix(inputs: int, outputs: int, most: int, zeros: float, hi: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-most, most + 1, (inputs, outputs)) * (rng.random((inputs, outputs)) >= zeros)
    weights[:, -1] = weights[:, 0] * rng.choice([0, 1, -1, 4, -6])  # repeated, negated, shifted
    weights[-1] = weights[0] * rng.choice([1, -1, 2, 3])
    graph_of(weights, hi)


@pytest.mark.parametrize(("levels", "hi"), [([-1, 1], 1), ([-1, 0, 1], 1), ([-1, 1], 3)])
def test_large_matrices_are_quick(levels: list[int], hi: int) -> None:
    weights = np.random.default_rng(3).choice(levels, (150, 24))
    graph = graph_of(weights, hi)
    assert graph.node_luts < 0.7 * np.count_nonzero(weights) * hi.bit_length()


def test_zero_and_repeated_weights_cost_nothing() -> None:
    rng = np.random.default_rng(4)
    weights = rng.integers(-8, 9, (10, 6))
    cost = graph_of(weights, 15).node_luts
    assert graph_of(np.zeros((10, 6), np.int64), 15).nodes == ()
    wide = np.hstack([weights, weights, -weights, 4 * weights, np.zeros_like(weights)])
    assert graph_of(wide, 15).node_luts == cost
    tall = np.zeros((40, 6), np.int64)
    tall[::4] = weights
    assert graph_of(tall, 15).node_luts == cost
    assert graph_of(weights * (rng.random(weights.shape) < 0.3), 15).node_luts < cost / 2
    assert graph_of(np.repeat(weights[:, :1], 6, axis=1), 15).node_luts < cost / 3


def test_powers_of_two_are_wires() -> None:
    assert graph_of(np.diag([1, -2, 4, 64]), 15).nodes == ()


def test_a_bit_beside_another_costs_nothing() -> None:
    assert graph_of(np.array([[1], [16]]), 15).node_luts == 0


def test_the_unit_says_when_and_how_large() -> None:
    weights = np.random.default_rng(5).choice([-1, 1], (64, 8))
    sums = unrolled(weights, BIPOLAR, signed(8))
    assert sums.schedule.period_cycles == 1
    assert sums.latency_cycles == -(-(max(sums.graph.levels) + 1) // sums.levels_per_stage)
    assert sums.resources("xilinx").luts > sums.graph.node_luts > 0
    assert sums.memory_bits == 0


def test_uniform_thresholds_are_a_shift() -> None:
    weights = np.random.default_rng(6).integers(-8, 9, (12, 3))
    rows = np.broadcast_to((np.arange(1, 16) << 4) - 8, (3, 15))
    unit = unrolled(weights, unsigned(4), unsigned(4), rows)
    assert [cuts.shift for cuts in unit.thresholds] == [4 - out.shift for out in unit.graph.outputs]
    odd = unrolled(weights, unsigned(4), unsigned(4), rows + (rows > 100))
    assert {cuts.shift for cuts in odd.thresholds} == {None}
    assert odd.resources("xilinx").luts > 1.5 * unit.resources("xilinx").luts


def test_the_same_graph_whatever_the_hash_seed() -> None:
    code = ("import numpy as np; from hwsim.engines.adder_search import adder_graph; rng = np.random.default_rng(7);"
            "print(adder_graph(rng.integers(-9, 9, (9, 9)), [(0, 7)] * 9), adder_graph(rng.choice([-1, 1], (30, 9)), [(0, 1)] * 30))")
    texts = {subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                            capture_output=True, text=True, check=True).stdout for seed in ("1", "2")}
    assert len(texts) == 1

"""Closed forms of arrays, against SCALE-Sim's counts and against a simulation of an array cycle by cycle."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.systems.arrays import MAPPED, axis, passes, product_cycles, skew
from hwsim.systems.machine import DATAFLOWS, Array
from hwsim.systems.run import simulate
from intir import IntType
from tests.hwsim.systems.examples import S8, TABLE, conv, dense, machine, network

SHORT = {"os": "output_stationary", "ws": "weight_stationary", "is": "input_stationary"}
#: Of SCALE-Sim 3.0.0, compute mode: array, dataflow, M, K, N and its count of cycles.
COUNTED = (
    (32, "os", 3025, 363, 96, 121124), (32, "os", 529, 2400, 256, 334831), (32, "os", 1, 512, 1000, 18367),
    (32, "os", 12100, 147, 64, 158421), (32, "os", 841, 64, 128, 13607),
)
RECORDED = next((path for parent in Path(__file__).resolve().parents
                 if (path := parent / "shared" / "reference" / "scalesim_layers.csv").is_file()), None)


@pytest.mark.parametrize(("side", "dataflow", "m", "k", "n", "cycles"), COUNTED)
def test_cycles_are_those_of_scale_sim_and_one_more(side: int, dataflow: str, m: int, k: int, n: int, cycles: int) -> None:
    assert product_cycles(Array("systolic", side, side, SHORT[dataflow]), m, k, n) == cycles + 1


@pytest.mark.skipif(RECORDED is None, reason="the recorded runs of SCALE-Sim are not here")
def test_cycles_are_those_of_scale_sim_in_all_recorded_layers() -> None:
    assert RECORDED is not None
    rows = list(csv.DictReader(RECORDED.read_text().splitlines()))
    found = [product_cycles(Array("systolic", *map(int, row["array"].split("x")), SHORT[row["dataflow"]]), int(row["M"]), int(row["K"]), int(row["N"]))
             for row in rows]
    assert len(rows) == 156
    assert found == [int(row["cycles"]) + 1 for row in rows]


def stepped(array: Array, a: Any, w: Any) -> tuple[Any, int]:
    """An array cycle by cycle: operands enter skewed, pass from element to element; its product and its cycles, untiled folds.

    Rows take the first operand, columns the second; what streams by enters row r (column c) r (c) cycles late.
    """
    rows, columns = array.rows, array.columns
    total, cycles = np.zeros((a.shape[0], w.shape[1]), np.int64), 0
    if array.dataflow == "output_stationary":
        for m in range(0, a.shape[0], rows):
            for n in range(0, w.shape[1], columns):
                left, top = a[m:m + rows], w[:, n:n + columns]
                sums = np.zeros((rows, columns), np.int64)
                moving_a, moving_w = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
                last = 0
                for cycle in range(10_000):
                    moving_a[:, 1:], moving_w[1:] = moving_a[:, :-1].copy(), moving_w[:-1].copy()
                    for r in range(rows):
                        inside = r < len(left) and 0 <= cycle - r < left.shape[1]
                        moving_a[r, 0] = left[r, cycle - r] if inside else 0
                    for c in range(columns):
                        inside = c < top.shape[1] and 0 <= cycle - c < top.shape[0]
                        moving_w[0, c] = top[cycle - c, c] if inside else 0
                    sums += moving_a * moving_w
                    if cycle == left.shape[1] - 1 + rows - 1 + columns - 1:  # the last pair is in the last element
                        last = cycle + 1
                        break
                cycles += last
                total[m:m + rows, n:n + columns] = sums[:len(left), :top.shape[1]]
        return total, cycles
    stays, moves = (w, a.T) if array.dataflow == "weight_stationary" else (a.T, w)  # (K, columns), (K, stream)
    made = np.zeros((moves.shape[1], stays.shape[1]), np.int64)
    for k in range(0, stays.shape[0], rows):
        for n in range(0, stays.shape[1], columns):
            held = np.zeros((rows, columns), np.int64)
            part = stays[k:k + rows, n:n + columns]
            held[:part.shape[0], :part.shape[1]] = part
            stream = moves[k:k + rows]
            cycles += rows  # loaded row by row
            moving, sums = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
            for cycle in range(10_000):
                moving[:, 1:], sums[1:] = moving[:, :-1].copy(), sums[:-1].copy()
                sums[0] = 0
                for r in range(rows):
                    inside = r < len(stream) and 0 <= cycle - r < stream.shape[1]
                    moving[r, 0] = stream[r, cycle - r] if inside else 0
                sums += moving * held
                for c in range(part.shape[1]):
                    out = cycle - (rows - 1) - c
                    if 0 <= out < stream.shape[1]:
                        made[out, n + c] += sums[rows - 1, c]
                if cycle == stream.shape[1] - 1 + rows - 1 + columns - 1:
                    cycles += cycle + 1
                    break
    return (made if array.dataflow == "weight_stationary" else made.T), cycles


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), m=st.integers(1, 9), k=st.integers(1, 9), n=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_cycles_are_those_of_an_array_cycle_by_cycle(dataflow: str, rows: int, columns: int, m: int, k: int, n: int) -> None:
    array = Array("systolic", rows, columns, dataflow)
    random = np.random.default_rng(m * 100 + k * 10 + n)
    a, w = random.integers(-9, 9, (m, k)), random.integers(-9, 9, (k, n))
    product, cycles = stepped(array, a, w)
    assert np.array_equal(product, a @ w)
    assert cycles == product_cycles(array, m, k, n)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(m=st.integers(1, 300), k=st.integers(1, 300), n=st.integers(1, 300), lanes=st.sampled_from([1, 4, 64]))
@settings(max_examples=40, deadline=None)
def test_an_overlapped_array_is_never_slower_and_works_as_long(dataflow: str, m: int, k: int, n: int, lanes: int) -> None:
    slow, fast = (Array("popcount", 8, 16, dataflow, lanes=lanes, overlapped=overlapped) for overlapped in (False, True))
    sizes = {"m": m, "n": n, "k": -(-k // lanes)}
    row, column, stream = MAPPED[dataflow]
    units = {"m": sizes["m"], "n": sizes["n"], "k": sizes["k"]}
    folds = -(-units[row] // 8) * -(-units[column] // 16)
    assert product_cycles(slow, m, k, n) == folds * (sizes[stream] + skew(slow))
    used = min(8, units[row])
    assert product_cycles(fast, m, k, n) == folds * max(sizes[stream], used) + skew(slow) - (8 - used)
    assert product_cycles(fast, m, k, n) <= product_cycles(slow, m, k, n) + 8


@given(size=st.integers(1, 500), tile=st.integers(1, 500), parts=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_an_axis_counts_its_tiles(size: int, tile: int, parts: int) -> None:
    array = Array("systolic", 8, 4, "weight_stationary")
    tile = min(tile, size)
    lengths = [min(tile, size - at) for at in range(0, size, tile)] * parts
    one = axis(array, "k", size * parts, np.array([tile]), 8, parts)
    if tile == size:  # whole parts may go together
        lengths = [size] * parts
    assert (one.count[0], one.folds[0], one.stream[0]) == (len(lengths), sum(-(-length // 8) for length in lengths), size * parts)
    assert one.late[0] == sum(max(0, 8 - length) for length in lengths)


def test_wide_operands_take_passes() -> None:
    assert passes(Array("systolic", 8, 8), 8, 8) == 1
    assert passes(Array("systolic", 8, 8), 10, 12) == 4
    assert passes(Array("popcount", 8, 8, activation_bits=1, weight_bits=1, arithmetic="binary"), 8, 2) == 16
    assert passes(Array("systolic", 8, 8, arithmetic="float"), 32, 32) == 1


def test_a_wide_layer_says_its_passes_and_takes_them() -> None:
    wide = dense("wide", 256, 32, pixels=32, a=IntType(-(2**15), 2**15 - 1))
    one, two = (simulate(network(work), machine(), table=TABLE) for work in (dense("wide", 256, 32, pixels=32), wide))
    assert two.layers[0].array_cycles == 2 * one.layers[0].array_cycles
    assert not one.notes
    assert two.notes == ("wide (gemm): operands of 16 and 8 bits take 2 passes on an array of 8 x 8 bits",)


def test_binary_layers_on_an_integer_array_say_so() -> None:
    report = simulate(network(conv(a=IntType(-1, 1, 2), w=IntType(-1, 1, 2))), machine(), table=TABLE)
    assert report.notes == ("conv: binary operands are stored packed and computed as integers of 8 bits",)
    assert report.layers[0].bytes_at("dram", "read", "weights") == 64 * 64 * 9 / 8
    wide = simulate(network(conv(a=S8, w=S8)), machine(), table=TABLE)
    assert report.layers[0].array_cycles == wide.layers[0].array_cycles


def test_a_popcount_array_takes_words_of_lanes() -> None:
    array = Array("popcount", 16, 16, lanes=64, arithmetic="binary", activation_bits=1, weight_bits=1, sum_bits=16)
    layer = simulate(network(conv(channels=128, a=IntType(-1, 1, 2), w=IntType(-1, 1, 2))), machine(array), table=TABLE).layers[0]
    assert layer.array_cycles == -(-196 // 16) * 4 * 128 * 9 // 64
    assert sum(count for action, count in layer.actions["array"].items() if action.name == "binary_accumulate") == layer.macs

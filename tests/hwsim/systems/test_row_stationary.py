"""Row-stationary mapping: the published chip's counts, small layers by hand, and what no mapping may break."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.energy import energy_table
from hwsim.systems.machine import Array, Dram, Machine, Sram
from hwsim.systems.row_stationary import (
    Chip,
    Mapping,
    MappingError,
    Shape,
    best_mapping,
    compressed,
    counts,
    fits,
    room_for,
    run_layer,
    shape_of,
)
from hwsim.systems.work import Product, Tensor, Window, Work
from intir import IntType

EYERISS = Machine("eyeriss", "", "", 65, 200.0, Array("row_stationary", 12, 14, activation_bits=16, weight_bits=16, sum_bits=16),
                  (Sram("buffer", 100 << 10, 64, 25, ("activations", "sums"), False), Sram("filters", 8 << 10, 64, 2, ("weights",), False)),
                  Dram("DDR3", 0.48), register_bytes=520, energy="eyeriss")
CHIP = Chip(12, 14, 224, 12, 24, 51200)


def work(channels: int, filters: int, size: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1, density: float = 1.0,
         bits: int = 16, dilation: int = 1) -> Work:
    out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    window = Window((kernel, kernel), (stride, stride), (dilation, dilation), (size, size), (out, out))
    product = Product(out * out, kernel * kernel * channels // groups, filters // groups, groups, window)
    kind = IntType(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return Work("layer", "product", ("",), (Tensor(channels * size * size, kind, density),), Tensor(filters * out * out, kind, density),
                product, Tensor(filters * channels // groups * kernel * kernel, kind), kind)


#: AlexNet, batch 4: mapping of the chip, then as it was measured: active elements, buffer accesses in MB, processing ms.
ALEXNET = [
    (work(3, 96, 227, 11, stride=4), Mapping(96, 1, 7, 16, 1, 1, 2), 154, 18.5, 16.5),
    (work(96, 256, 27, 5, padding=2, groups=2), Mapping(64, 1, 27, 16, 2, 1, 1), 135, 77.6, 39.2),
    (work(256, 384, 13, 3, padding=1), Mapping(64, 4, 13, 16, 3, 2, 2), 156, 50.2, 21.8),
    (work(384, 384, 13, 3, padding=1, groups=2), Mapping(64, 4, 13, 16, 3, 2, 2), 156, 37.4, 16.0),
    (work(384, 256, 13, 3, padding=1, groups=2), Mapping(64, 4, 13, 16, 3, 2, 2), 156, 24.9, 10.0),
]


@pytest.mark.parametrize(("layer", "mapping", "elements", "buffer_mb", "ms"), ALEXNET)
def test_the_chip_measured(layer: Work, mapping: Mapping, elements: int, buffer_mb: float, ms: float) -> None:
    assert Chip.of(EYERISS) == CHIP
    shape = shape_of(layer.product, 4, CHIP)
    took = counts(shape, mapping)
    assert fits(shape, CHIP, mapping) and took.active_elements == elements
    # all that was published of them, to the last digit; filters do not count there
    assert round((took.input_reads + took.sum_moves) * 2 / 1e6, 1) == buffer_mb
    assert (took.multiply_cycles + took.wait_cycles) / 200e3 == pytest.approx(ms, rel=0.125)


def test_all_layers_take_as_long_as_measured() -> None:
    took = [counts(shape_of(layer.product, 4, CHIP), mapping) for layer, mapping, *_ in ALEXNET]
    assert sum(one.multiply_cycles + one.wait_cycles for one in took) / 200e3 == pytest.approx(103.5, rel=0.02)


def test_the_search_finds_the_chips_way() -> None:
    for layer, mapping, elements, _, _ in ALEXNET:
        shape = shape_of(layer.product, 4, CHIP)
        best = best_mapping(shape, CHIP)
        assert counts(shape, best).active_elements == elements
        assert (best.e, best.p) == (mapping.e, mapping.p)
        assert counts(shape, best).cost(shape.macs) <= counts(shape, mapping).cost(shape.macs)


def test_a_layer_by_hand() -> None:
    # 2 filters of 2 channels, 2x2, on 3x3: a strip of 2 rows, 1 channel at a time, both filters in an element
    layer = work(2, 2, 3, 2)
    took = run_layer(layer, EYERISS, 1, Mapping(2, 1, 2, 2, 1, 1, 1))
    assert took.array_cycles == 2 * (2 * 2 * (2 + 1))  # passes x (columns x filters x (kernel columns + 1))
    assert took.fill_cycles == 2 * 2  # 8 weights at 4 a cycle; 16 sums take fewer cycles than products
    assert took.sram_bits == {("activations", "read"): 18 * 16, ("weights", "read"): 16 * 16, ("sums", "read"): 16 * 16, ("sums", "write"): 16 * 16}
    assert took.dram_bytes == {("activations", "read"): 36, ("weights", "read"): 32, ("outputs", "write"): 16}
    assert took.footprint_bytes == {"activations": 18, "weights": 16, "sums": 16}
    assert took.tiles == 1
    actions = {action.name + str(action.bytes): count for part in took.actions.values() for action, count in part.items()}
    assert actions == {"int_multiply0": 64, "int_add0": 64 + 16, "array_hop0": 2 * 4 * 3 + 2 * 4 * 4 + 16, "register_read24": 64, "register_read448": 64,
                       "register_read48": 64 + 16, "register_write48": 64, "register_write24": 24, "register_write448": 32}


def test_room() -> None:
    tall = Shape(1, 1, 1, 1, 5, 5, 27, 27, 1, 5, 31)
    assert [room_for(tall, CHIP, e) for e in (7, 13, 14, 15, 27, 28, 29)] == [4, 2, 2, 1, 1, 1, 0]


def test_what_is_wider_or_sparser() -> None:
    dense, sparse, wide = (run_layer(work(8, 8, 8, 3, density=density, bits=bits), EYERISS, 1) for density, bits in ((1.0, 16), (0.25, 16), (1.0, 20)))
    assert sparse.array_cycles == dense.array_cycles and wide.array_cycles == 4 * dense.array_cycles and wide.notes
    assert sparse.dram_bytes["activations", "read"] == pytest.approx(dense.dram_bytes["activations", "read"] * 0.25 * 64 / 48)
    prices = [energy_table("eyeriss").price(one.actions) for one in (dense, sparse)]
    assert prices[1]["array"] < prices[0]["array"] and prices[1]["registers"] < prices[0]["registers"]
    assert compressed(Tensor(1, IntType(0, 1), 0.9), 16) == 1.0
    assert run_layer(work(8, 8, 9, 3, dilation=2), EYERISS, 1).dram_bytes["activations", "read"] == 2 * 8 * 81


def test_kernels_that_are_too_large_are_cut() -> None:
    shape = shape_of(work(1, 4, 40, 25).product, 1, CHIP)
    assert (shape.kernel_rows, shape.kernel_columns, shape.channels) == (9, 9, 9) and best_mapping(shape, CHIP) is not None


def test_a_layer_that_does_not_fit() -> None:
    small = dataclasses.replace(EYERISS, srams=(Sram("buffer", 64, 64),))
    with pytest.raises(MappingError, match="^the layer 'layer' does not fit the machine 'eyeriss': even one row of one frame takes more than .* 16 of the buffer; enlarge"):
        run_layer(work(4, 4, 16, 3), small, 1)
    with pytest.raises(MappingError, match="m64 n4 e13 p16 q3 r2 t2 takes more than"):
        run_layer(ALEXNET[1][0], EYERISS, 4, Mapping(64, 4, 13, 16, 3, 2, 2))


layers = st.builds(lambda groups, channels, filters, size, kernel, stride, padding: work(channels * groups, filters * groups, size, kernel, stride=stride, padding=padding, groups=groups),
                   st.integers(1, 3), st.integers(1, 40), st.integers(1, 70), st.integers(7, 40), st.integers(1, 7), st.integers(1, 3), st.integers(0, 2))


@settings(max_examples=40, deadline=None)
@given(layers, st.integers(1, 5))
def test_no_mapping_does_the_impossible(layer: Work, batch: int) -> None:
    shape = shape_of(layer.product, batch, CHIP)
    assert shape.macs == layer.macs * batch
    best = best_mapping(shape, CHIP)
    took, run = counts(shape, best), run_layer(layer, EYERISS, batch)
    assert fits(shape, CHIP, best) and took.active_elements <= 168
    assert took.multiply_cycles * took.active_elements >= layer.macs * batch
    assert run.array_cycles >= layer.macs * batch / 168
    # every weight and every output moves once at least; no fewer products than there are
    assert run.dram_bytes["weights", "read"] >= layer.weights.bytes and run.dram_bytes["outputs", "write"] == layer.output.bytes * batch
    assert sum(count for action, count in run.actions["array"].items() if action.name == "int_multiply") == layer.macs * batch
    assert run.sram_bits["sums", "write"] >= layer.output.elements * batch * 16
    assert run.footprint_bytes["activations"] + run.footprint_bytes["sums"] <= 100 << 10
    assert sum(energy_table("eyeriss").price(run.actions).values()) > 5 * 1.38 * layer.macs * batch * 0.9


def test_the_search_is_a_minimum() -> None:
    shape = shape_of(work(6, 10, 12, 3).product, 2, CHIP)
    best = counts(shape, best_mapping(shape, CHIP)).cost(shape.macs)
    for m, n, e, p, q, r, t in itertools.product((4, 8, 10, 12), (1, 2), (5, 10), (2, 4, 5, 10), (1, 2, 3), (1, 2, 3), (1, 2)):
        mapping = Mapping(m, n, e, p, q, r, t)
        if m % (p * t) == 0 and fits(shape, CHIP, mapping):
            assert best <= counts(shape, mapping).cost(shape.macs)

"""Complexity: figures that follow from shapes and types alone, published ones, and the roofline's corners."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwsim.systems.complexity import SUMMED, ComplexityError, compare, complexity
from hwsim.systems.machine_file import load_machine
from hwsim.systems.topologies import parse_topology, topology, topology_names
from hwsim.systems.workload import workload_of
from intir import BIPOLAR, GraphBuilder, MatMul, Threshold, unsigned

HEADER = "layer,kind,height,width,channels,kernel,stride,padding,groups,filters,activation_bits,weight_bits,weight_density\n"


def test_a_layer_number_by_number() -> None:
    (layer,) = complexity(parse_topology(HEADER + "a,conv,10,10,8,3,1,0,2,16,4,2,0.25\n")).layers
    macs = 64 * 9 * 4 * 16
    assert (layer.parameters, layer.nonzero_parameters, layer.macs, layer.bit_operations) == (576, 144, macs, macs * 4 * 2)
    assert (layer.arithmetic, layer.binary_operations, layer.parallel_outputs) == ("integer", 0, 64 * 16)
    sums = 10 + 1  # 36 products of -2 to 1 and 0 to 15: -1080 to 540
    assert (layer.weight_bytes, layer.constant_bytes, layer.read_bytes) == (576 / 4, 16 * (sums + 1) / 8, 800 / 2)
    assert layer.written_bytes == 1024 * 12 / 8
    assert layer.traffic_bytes == layer.weight_bytes + layer.constant_bytes + layer.read_bytes + layer.written_bytes
    assert layer.macs_per_byte == macs / layer.traffic_bytes


def test_binary_operations_are_those_of_two_two_valued_operands() -> None:
    made = complexity(topology("cnv"))
    assert made.total("binary_operations") == made.total("macs") - made.layers[0].macs  # the first layer reads pixels
    assert made.total("bit_operations") == made.total("macs") + 7 * made.layers[0].macs
    assert complexity(topology("resnet18")).total("binary_operations") == 0


def test_published_complexity() -> None:
    """Parameters and memory: 32x for binary weights (XNOR-Net), 61 M parameters of AlexNet are 233 MiB as floats."""
    assert complexity(topology("cnv")).compression == 32
    alexnet = complexity(topology("alexnet"))
    assert 4 * alexnet.total("parameters") / 2**20 == pytest.approx(232.5, rel=0.001)
    assert alexnet.compression == 4
    vgg, resnet = complexity(topology("vgg16")), complexity(topology("resnet18"))
    ratios = {one.figure: one.ratio for one in compare(resnet, vgg)}
    assert ratios["parameters"] == pytest.approx(138.34 / 11.68, rel=0.001)
    assert ratios["multiply-accumulates"] == pytest.approx(15.47 / 1.814, rel=0.001)


@pytest.mark.parametrize("name", topology_names())
def test_totals_are_sums(name: str) -> None:
    made = complexity(topology(name), load_machine("edge_npu_int8"))
    data = json.loads(json.dumps(made.as_dict()))
    for figure in SUMMED:
        assert data["totals"][figure] == pytest.approx(math.fsum(layer[figure] for layer in data["layers"]))
    assert made.total("macs") == topology(name).macs
    assert made.roofline_seconds == pytest.approx(sum(layer.roofline.seconds for layer in made.layers if layer.roofline))
    assert made.compulsory_bytes <= made.total("traffic_bytes")
    assert made.peak_activation_bytes >= max(layer.written_bytes for layer in made.layers)


def test_a_network_against_itself_is_one() -> None:
    made = complexity(topology("mobilenet_v1"), load_machine("tpu_v1"))
    assert {one.ratio for one in compare(made, made)} == {1.0}
    assert [one.figure for one in compare(made, made)][-1] == "least time on the machine (speed-up)"


def test_the_same_network_with_fewer_bits_compresses_by_the_bits() -> None:
    rows = "a,conv,10,10,8,3,1,0,,16,{0},{1},\nb,conv,8,8,16,3,1,0,,16,{0},{1},\n"
    wide, narrow = (complexity(parse_topology(HEADER + rows.format(*bits))) for bits in ((8, 8), (2, 4)))
    ratios = {one.figure: one.ratio for one in compare(narrow, wide)}
    assert ratios["weight memory (compression)"] == 2
    assert ratios["bit-operations (speed-up of bit-serial hardware)"] == 64 / 8
    assert ratios["multiply-accumulates"] == ratios["parameters"] == 1


def test_peak_of_activations_follows_a_residual() -> None:
    table = parse_topology("layer,kind,height,width,channels,kernel,filters,activation_bits,weight_bits,reads\n"
                           "a,conv,4,4,2,1,8,8,8,\nb,conv,4,4,8,1,2,8,8,\nc,conv,4,4,2,1,8,8,8,b a\nd,dense,4,4,8,,1,8,8,\n")
    # Behind b: a still waits for c, which reads b and makes as much as a.
    assert complexity(table).peak_activation_bytes == 128 + 32 + 128


def test_an_ir_graph() -> None:
    b = GraphBuilder("g")
    x = b.input("x", (64,), BIPOLAR)
    weights = np.random.default_rng(0).choice([-1, 1], (64, 32))
    y = b.node(Threshold(np.zeros((1, 3), np.int64), unsigned(2)), b.node(MatMul(weights), x))
    b.output(y)
    made = complexity(workload_of(b.build()))
    assert (made.total("binary_operations"), made.total("weight_bytes"), made.input_bytes, made.output_bytes) == (2048, 256, 8, 8)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.integers(1, 256), bandwidth=st.floats(0.01, 1000), clock=st.floats(1, 5000), name=st.sampled_from(["alexnet", "cnv", "mobilenet_v1"]))
def test_the_roof_is_the_lower_one(rows: int, bandwidth: float, clock: float, name: str) -> None:
    machine = load_machine("edge_npu_int8", {"array.rows": rows, "dram.gb_per_s": bandwidth, "clock_mhz": clock})
    for layer in complexity(topology(name), machine).layers:
        roof = layer.roofline
        if roof is None:
            assert layer.parameters == 0
            continue
        assert roof.peak_macs_per_s == pytest.approx(rows * 32 * clock * 1e6)
        by_bytes = layer.traffic_bytes / (bandwidth * 1e9)
        assert roof.seconds == pytest.approx(max(by_bytes, layer.macs / roof.peak_macs_per_s))
        assert (roof.bound == "array") == (layer.macs / roof.peak_macs_per_s >= by_bytes) or by_bytes == pytest.approx(layer.macs / roof.peak_macs_per_s)


def test_wide_operands_take_passes() -> None:
    first, second = complexity(topology("cnv"), load_machine("xnor_64")).layers[:2]
    assert first.roofline is not None and second.roofline is not None
    assert second.roofline.peak_macs_per_s == 8 * first.roofline.peak_macs_per_s == 16_384 * 500e6  # 8-bit pixels


def test_a_dataflow_machine_has_no_roof() -> None:
    with pytest.raises(ComplexityError, match="machine zcu104 is folded for each network"):
        complexity(topology("cnv"), load_machine("zcu104"))

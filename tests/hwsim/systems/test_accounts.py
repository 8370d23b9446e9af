"""Nothing that has to move is forgotten: the network's outputs, constants, joined tensors, wide operands; and memories are not overfull."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwsim.systems.complexity import complexity
from hwsim.systems.machine_file import load_machine
from hwsim.systems.report import SystemReport
from hwsim.systems.run import simulate
from hwsim.systems.topologies import topology
from hwsim.systems.work import Tensor, Work
from hwsim.systems.workload import workload_of
from intir import Graph, IntType
from intir.ops import Reshape
from intir.random_graph import random_graph
from tests.hwsim.systems.examples import S8, TABLE, conv, dense, machine, network


def output_bytes(graph: Graph) -> float:
    """Of the network's outputs, each once, those that are inputs left out."""
    reshaped = {node.output: node.inputs[0] for node in graph.nodes if isinstance(node.op, Reshape)}
    made = set()
    for one in graph.outputs:
        value = one.value
        while value in reshaped:
            value = reshaped[value]
        made.add(value)
    made -= {one.value for one in graph.inputs}
    return sum(graph.values[value].elements * graph.values[value].type.bits / 8 for value in made)


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_outputs_that_other_layers_read_leave_too(first: int) -> None:
    seen = 0
    for seed in range(first, first + 20):
        graph = random_graph(seed)
        workload = workload_of(graph)
        wanted = output_bytes(graph)
        stated = complexity(workload)
        assert stated.compulsory_bytes - stated.input_bytes - stated.total("weight_bytes") - stated.total("constant_bytes") == pytest.approx(wanted)
        report = simulate(workload, machine(), table=TABLE)
        assert sum(layer.bytes_at("dram", "write") for layer in report.layers) >= wanted * (1 - 1e-9)
        seen += bool(workload.outputs)
    assert seen > 0


def read_of_constants(report: SystemReport, name: str) -> float:
    return next(layer for layer in report.layers if layer.name == name).bytes_at("dram", "read", "weights")


@pytest.mark.parametrize("name", ["edge_npu_int8", "eyeriss"])
def test_constants_come_from_dram_on_every_array(name: str) -> None:
    product = conv(constant_bits=8 * 640)
    scales = Work("scales", "elementwise", ("conv",), (product.output,), product.output, operations={"multiply": product.output.elements}, constant_bits=8 * 128)
    report = simulate(network(product, scales), load_machine(name))
    assert product.weights is not None
    assert read_of_constants(report, "conv") >= product.weights.bytes + 640
    assert read_of_constants(report, "scales") == 128


def test_a_joined_tensor_is_read_from_its_memory() -> None:
    alone = conv()
    joined = replace(alone, inputs=("", ""), reads=(*alone.reads, Tensor(alone.output.elements, S8)))
    size = alone.output.elements
    for made in (machine(), load_machine("eyeriss"), load_machine("eie_64")):
        one, two = (simulate(network(work), made, table=TABLE).layers[0] for work in (alone, joined))
        level = next(sram.name for sram in made.srams if "activations" in sram.holds)
        assert two.bytes_at(level, "read", "activations") == pytest.approx(one.bytes_at(level, "read", "activations") + size)
    narrow = machine()  # the port has to bring it as well
    narrow = replace(narrow, srams=tuple(replace(one, width_bits=8, banks=1) if one.name == "acts" else one for one in narrow.srams))
    one, two = (simulate(network(work), narrow, table=TABLE).layers[0] for work in (alone, joined))
    assert two.cycles >= one.cycles + 0.9 * size


@pytest.mark.parametrize("name", ["eyeriss", "eie_64", "edge_npu_int8"])
@pytest.mark.parametrize("batch", [1, 3])
def test_no_memory_holds_more_than_it_has(name: str, batch: int) -> None:
    made = load_machine(name)
    for layer in simulate(topology("alexnet"), made, batch=batch).layers:
        for sram in made.srams:
            assert layer.footprint_bytes.get(sram.name, 0.0) <= sram.bytes


def test_operands_wider_than_a_row_stationary_array_move_whole() -> None:
    wide = IntType(-(2**23), 2**23 - 1)
    made = load_machine("eyeriss")
    for work in (conv(a=wide), conv(w=wide), dense(a=wide)):
        layer = simulate(network(work), made).layers[0]
        assert work.weights is not None
        assert layer.bytes_at("dram", "read", "activations") >= work.reads[0].bytes
        assert layer.bytes_at("dram", "read", "weights") >= work.weights.bytes
        assert layer.bytes_at("dram", "write", "outputs") >= work.output.bytes

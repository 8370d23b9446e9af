"""IR graphs as layers: nothing is lost or counted twice, on random graphs, on real networks, and number by number on small ones."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from hwsim.systems.topologies import topology
from hwsim.systems.work import Workload
from hwsim.systems.workload import ELEMENTWISE, PRODUCTS, constant_bits_of, matrix_of, operations_of, product_of, workload_of
from intir import (
    BIPOLAR,
    TERNARY,
    Add,
    ArgMax,
    Clip,
    Concat,
    Conv2d,
    ConvTranspose2d,
    GlobalSumPool,
    Graph,
    GraphBuilder,
    IntType,
    L1Conv2d,
    L1MatMul,
    Lookup,
    MatMul,
    MaxPool2d,
    Mul,
    Requant,
    Reshape,
    ScaleChannels,
    Slice,
    SumPool2d,
    Threshold,
    TopK,
    Upsample,
    unsigned,
)
from intir.ops.base import OPS
from intir.random_graph import random_graph
from intir.ranges import Range

U4 = unsigned(4)


def macs_of(graph: Graph) -> int:
    """Multiply-accumulates, from the operations alone."""
    total = 0
    for node in graph.nodes:
        given, made = graph.values[node.inputs[0]], graph.values[node.output]
        if isinstance(node.op, ConvTranspose2d):  # each input pixel meets each tap of each of its group's filters
            total += math.prod(given.shape[:2]) * node.op.weights.size
        elif isinstance(node.op, PRODUCTS):
            total += made.elements * node.op.weights[..., 0].size
    return total


def conserved(graph: Graph, workload: Workload) -> None:
    """Every node is in one layer, every tensor that is read was made, and only what one layer reads alone never travels."""
    assert workload.macs == macs_of(graph)
    operations: Counter[str] = Counter()
    for node in graph.nodes:
        operations.update(operations_of(node, graph))
    assert sum((Counter(work.operations) for work in workload.works), Counter()) == +operations
    assert sum(work.constant_bits for work in workload.works) == sum(constant_bits_of(node, graph) for node in graph.nodes)

    names = [work.name for work in workload.works]
    assert len(set(names)) == len(names)
    made = {work.name: work.output for work in workload.works}
    inputs = {(graph.values[one.value].elements, graph.values[one.value].type) for one in graph.inputs}
    for position, work in enumerate(workload.works):
        assert len(work.inputs) == len(work.reads) >= 1
        assert work.kind in ("product", "pool", "elementwise", "move")
        for source, read in zip(work.inputs, work.reads, strict=True):
            if source:
                assert source in names[:position]
            if isinstance(ops(graph)[work.name], Slice):
                assert read.elements == work.output.elements
                continue
            assert (read.elements, read.type) in ({(made[source].elements, made[source].type)} if source else inputs)
        if work.product:
            assert work.sums is not None and work.matrix is not None and work.weights is not None
            assert work.matrix.shape == (work.product.groups * work.product.filters, work.product.terms)
            assert work.weights.type.holds(work.matrix) and work.weights.elements == work.matrix.size

    # What travels: all that more than one node reads, and all outputs; the others are alone in their layer or moved.
    free = {node.output for node in graph.nodes if isinstance(node.op, Reshape)}
    uses = Counter(value for node in graph.nodes for value in node.inputs)
    wanted = {one.value for one in graph.outputs} | {value for value, count in uses.items() if count > 1}
    kept = Counter((value.elements, value.type) for value in graph.values.values() if value.name in wanted - free
                   and value.name in ops(graph))
    assert not kept - Counter((work.output.elements, work.output.type) for work in workload.works)


def ops(graph: Graph) -> dict[str, object]:
    return {node.output: node.op for node in graph.nodes}


def test_random_graphs_are_conserved() -> None:
    seen: set[str] = set()
    layers = nodes = 0
    for seed in range(400):
        graph = random_graph(seed, 14)
        workload = workload_of(graph)
        conserved(graph, workload)
        seen |= {node.op.kind for node in graph.nodes}
        layers, nodes = layers + len(workload.works), nodes + len(graph.nodes)
    assert seen == set(OPS)
    assert layers < nodes


@pytest.mark.parametrize("name", ["lenet_w4a4", "shufflenet_v1"])
def test_networks_are_conserved(name: str) -> None:
    networks = pytest.importorskip("benchmarks.dataflow.networks")
    graph = networks.NETWORKS[name].make()
    workload = workload_of(graph)
    conserved(graph, workload)
    # Everything element-wise behind a product is in its layer.
    assert {work.kind for work in workload.works} <= {"product", "pool", "move"}


def build(*shape: int, kind: IntType = U4) -> tuple[GraphBuilder, str]:
    b = GraphBuilder("g")
    return b, b.input("x", shape, kind)


def layers(b: GraphBuilder, *outputs: str) -> Workload:
    for value in outputs:
        b.output(value)
    return workload_of(b.build())


def weights(*shape: int, values: tuple[int, ...] = (-1, 1)) -> np.ndarray:
    made = np.random.default_rng(0).choice(values, shape)
    made.ravel()[:len(values)] = values
    return made


def test_a_product_takes_what_is_computed_on_its_sums() -> None:
    b, x = build(6, 6, 3)
    y = b.node(Conv2d(weights(3, 3, 3, 8)), x, name="conv")
    y = b.node(ScaleChannels(np.array([3]), np.arange(8)), y)
    y = b.node(Reshape((16, 8)), y)
    y = b.node(Clip(-100, 100), y)
    y = b.node(Requant(np.array([5]), np.array([3]), np.array([0]), "floor", IntType(-7, 7)), y)
    y = b.node(Lookup(np.arange(15)[None] - 7, IntType(-7, 7)), y)
    y = b.node(Threshold(np.array([[-2, 0, 3]]), unsigned(2)), y)
    (work,) = layers(b, y).works
    assert (work.name, work.kind, work.inputs, work.output.elements, work.output.type) == ("conv", "product", ("",), 128, unsigned(2))
    assert work.operations == {"multiply": 256, "add": 256, "compare": 128 * (2 + 2 + 2), "lookup": 128}
    # 8 offsets of 3 bits, a multiplier of 2; two ends of 8 bits; a multiplier of 3, a shift of 2; 15 entries of 4; 3 thresholds of 4
    assert work.constant_bits == (8 * 3 + 2) + 2 * 8 + (3 + 2) + 15 * 4 + 3 * 4
    assert work.sums is not None and work.sums.bits == 10  # 27 products up to 15


def test_sums_that_two_layers_read_travel() -> None:
    b, x = build(6, 6, 3)
    y = b.node(Conv2d(weights(1, 1, 3, 3)), x, name="conv")
    a = b.node(Threshold(np.array([[0]]), BIPOLAR), y, name="a")
    c = b.node(Clip(0, 5), y, name="c")
    conv, first, second = layers(b, a, c).works
    assert (conv.output.type, conv.operations) == (conv.sums, {})
    assert [(one.name, one.kind, one.inputs) for one in (first, second)] == [("a", "elementwise", ("conv",)), ("c", "elementwise", ("conv",))]


def test_an_output_travels_even_if_it_is_read() -> None:
    b, x = build(4)
    y = b.node(MatMul(weights(4, 4)), x, name="fc")
    z = b.node(Clip(0, 3), y, name="clip")
    assert [work.name for work in layers(b, y, z).works] == ["fc", "clip"]


def test_a_residual_goes_to_the_product_that_runs_last() -> None:
    b, x = build(6, 6, 4)
    main = b.node(Conv2d(weights(3, 3, 4, 4), pads=(1, 1, 1, 1)), x, name="main")
    shortcut = b.node(Conv2d(weights(1, 1, 4, 4)), x, name="shortcut")
    y = b.node(Clip(0, 15), b.node(Add(), main, shortcut))
    first, last = layers(b, y).works
    assert (first.name, first.inputs, first.operations) == ("main", ("",), {})
    assert (last.name, last.inputs, last.operations) == ("shortcut", ("", "main"), {"add": 144, "compare": 288})
    assert last.reads[1].type == first.sums


def test_a_product_waits_for_what_is_added_to_it() -> None:
    b, x = build(6, 6, 4)
    main = b.node(Conv2d(weights(1, 1, 4, 4)), x, name="main")
    pool = b.node(MaxPool2d((3, 3), (1, 1), pads=(1, 1, 1, 1)), x, name="pool")
    works = layers(b, b.node(Add(), pool, main)).works
    assert [(work.name, work.inputs) for work in works] == [("pool", ("",)), ("main", ("", "pool"))]


def test_a_factor_for_each_channel_is_read_with_the_sums() -> None:
    b, x = build(6, 6, 4)
    small = b.node(Reshape((1, 1, 4)), b.node(GlobalSumPool(), x, name="sum"))
    main = b.node(Conv2d(weights(1, 1, 4, 4)), x, name="main")
    works = layers(b, b.node(Mul(), main, small)).works
    assert [(work.name, work.inputs, work.operations) for work in works] == [
        ("sum", ("",), {"add": 140}), ("main", ("", "sum"), {"multiply": 144})]
    # The other way round the product is the small one, and what it is spread over can't be in its layer.
    b, x = build(6, 6, 4)
    factor = b.node(Reshape((1, 1, 4)), b.node(MatMul(weights(4, 4)), b.node(GlobalSumPool(), x), name="fc"))
    works = layers(b, b.node(Mul(), x, factor, name="scale")).works
    assert [(work.name, work.inputs) for work in works][-1] == ("scale", ("", "fc"))


def test_the_same_value_twice() -> None:
    b, x = build(4)
    y = b.node(MatMul(weights(4, 4)), x, name="fc")
    works = layers(b, b.node(Add(), y, y, name="twice")).works
    assert [(work.name, work.inputs, len(work.reads)) for work in works] == [("fc", ("",), 1), ("twice", ("fc", "fc"), 2)]


def test_what_moves_is_a_layer_and_a_reshape_is_none() -> None:
    b, x = build(4, 4, 2)
    up = b.node(Upsample((2, 2)), x, name="up")
    both = b.node(Concat(), up, up, name="both")
    flat = b.node(Reshape((256,)), both)
    cut = b.node(Slice((0,), (256,), (4,)), flat, name="cut")
    works = layers(b, cut).works
    assert [(work.name, work.kind, work.inputs, [read.elements for read in work.reads], work.output.elements) for work in works] == [
        ("up", "move", ("",), [32], 128), ("both", "move", ("up", "up"), [128, 128], 256), ("cut", "move", ("both",), [64], 64)]


def test_only_a_reshape() -> None:
    b, x = build(4, 4)
    assert layers(b, b.node(Reshape((16,)), x)).works == ()


def test_several_inputs() -> None:
    b, x = build(4, kind=U4)
    z = b.input("z", (4,), IntType(-3, 1))
    workload = layers(b, b.node(Add(), b.node(MatMul(weights(4, 4)), x, name="fc"), z))
    assert (workload.input.elements, workload.input.type) == (8, IntType(-3, 15))
    assert [(work.inputs, work.reads[1].type) for work in workload.works] == [(("", ""), IntType(-3, 1))]


def test_products_by_shape() -> None:
    b, x = build(8, 10, 6)
    conv = b.node(Conv2d(weights(3, 2, 2, 9), (2, 1), (1, 2), (1, 0, 0, 0), groups=3), x, name="grouped")
    deep = b.node(Conv2d(weights(3, 3, 1, 12), groups=6), x, name="depthwise")
    l1 = b.node(L1Conv2d(weights(3, 3, 6, 4)), x, name="l1")
    flat = b.node(Reshape((80, 6)), x)
    dense = b.node(MatMul(weights(6, 5)), flat, name="dense")
    far = b.node(L1MatMul(weights(6, 5)), flat, name="far")
    found = {work.name: work.product for work in layers(b, conv, deep, l1, dense, far).works}

    def shape(name: str) -> tuple[object, ...]:
        product = found[name]
        assert product is not None
        return product.pixels, product.terms, product.filters, product.groups, product.distance, product.macs

    assert shape("grouped") == (32, 12, 3, 3, False, 32 * 12 * 9)  # (8 + 1 - 3) // 2 + 1 rows, 10 - 2 columns
    assert shape("depthwise") == (48, 9, 2, 6, False, 48 * 9 * 12)
    assert shape("l1") == (48, 54, 4, 1, True, 48 * 54 * 4)
    assert shape("dense") == (80, 6, 5, 1, False, 2400)
    assert shape("far") == (80, 6, 5, 1, True, 2400)
    grouped = found["grouped"]
    assert grouped is not None and grouped.window is not None and found["dense"].window is None  # type: ignore[union-attr]
    assert (grouped.window.kernel, grouped.window.stride, grouped.window.dilation) == ((3, 2), (2, 1), (1, 2))
    assert (grouped.window.in_size, grouped.window.out_size) == ((8, 10), (4, 8))


def test_one_dimension_has_height_one() -> None:
    b, x = build(1, 50, 4)
    (work,) = layers(b, b.node(Conv2d(weights(1, 7, 4, 3), (1, 2)), x)).works
    assert work.product is not None and work.product.window is not None
    assert (work.product.pixels, work.product.terms, work.product.window.kernel, work.product.window.out_size) == (22, 28, (1, 7), (1, 22))


@pytest.mark.parametrize(("stride", "kernel"), [((1, 1), (3, 3)), ((2, 2), (4, 4)), ((3, 2), (2, 5))])
def test_transposed_products_are_those_that_meet_an_input(stride: tuple[int, int], kernel: tuple[int, int]) -> None:
    b, x = build(4, 5, 6)
    op = ConvTranspose2d(weights(*kernel, 3, 4), stride, groups=2)
    (work,) = layers(b, b.node(op, x)).works
    rows, cols = op.index((4, 5, 6))
    met = int((rows >= 0).sum() * (cols >= 0).sum()) * 3 * 4  # of each filter, the channels of its group
    assert (work.macs, work.product and work.product.window) == (met, None)
    # All results of all pixels but one for each output are additions.
    assert work.operations.get("add", 0) == max(0, met // 3 - work.output.elements)


@pytest.mark.parametrize("op", [
    MatMul(weights(12, 5, values=(-3, 0, 7))), Conv2d(weights(2, 3, 4, 6)), Conv2d(weights(2, 3, 2, 6), groups=2),
    Conv2d(weights(2, 3, 1, 8), groups=4), ConvTranspose2d(weights(3, 2, 4, 6)), ConvTranspose2d(weights(3, 2, 2, 6), groups=2),
], ids=str)
def test_the_matrix_computes_the_layer(op: MatMul | Conv2d | ConvTranspose2d) -> None:
    """With one pixel of output, or of input if transposed, the layer is a product with the rows of each group."""
    shape = (12,) if isinstance(op, MatMul) else (1, 1, 4) if isinstance(op, ConvTranspose2d) else (2, 3, 4)
    b, x = build(*shape)
    b.output(b.node(op, x, name="y"))
    graph = b.build()
    sample = np.random.default_rng(1).integers(0, 16, (1, *shape))
    wanted = op.evaluate(sample, ranges=[Range.of(U4, shape[-1])])[0]
    product, matrix = product_of(graph.nodes[0], graph), matrix_of(op)
    groups = [part.ravel() for part in np.split(sample[0], product.groups, axis=-1)]
    found = np.stack([matrix[g * product.filters:(g + 1) * product.filters] @ groups[g] for g in range(product.groups)])
    if isinstance(op, ConvTranspose2d):
        found = found.reshape(product.groups, *op.weights.shape[:2], -1).transpose(1, 2, 0, 3)
    assert np.array_equal(found.ravel(), np.asarray(wanted, np.int64).ravel())


@pytest.mark.parametrize(("values", "kind", "bits", "arithmetic"), [
    ((-1, 1), BIPOLAR, 1, "binary"), ((-3, 3), BIPOLAR, 1, "binary"), ((-1, 0, 1), BIPOLAR, 2, "ternary"), ((-4, 0, 4), TERNARY, 2, "ternary"),
    ((-1, 1), TERNARY, 1, "ternary"), ((-1, 1), U4, 1, "integer"), ((-8, 7), BIPOLAR, 1, "binary"), ((0, 1), unsigned(1), 1, "binary"),
    ((-128, 0, 127), U4, 8, "integer"),
])
def test_weights_by_their_levels(values: tuple[int, ...], kind: IntType, bits: int, arithmetic: str) -> None:
    b, x = build(30, kind=kind)
    (work,) = layers(b, b.node(MatMul(weights(30, 20, values=values)), x)).works
    assert work.weights is not None
    assert (work.weights.type.bits, work.arithmetic) == (bits, arithmetic)


def test_density_is_counted() -> None:
    matrix = np.zeros((10, 10), np.int64)
    matrix[:3, 0] = 5
    b, x = build(10)
    (work,) = layers(b, b.node(MatMul(matrix), x)).works
    assert work.weights is not None and work.weights.density == 0.03


def test_operations_of_pools_and_decisions() -> None:
    b, x = build(6, 6, 4)
    top = b.node(MaxPool2d((2, 3), (2, 3)), x, name="max")
    total = b.node(SumPool2d((3, 3), (1, 1)), x, name="sum")
    mean = b.node(Requant(np.array([1]), np.array([3]), np.array([2]), "half_up", U4), total)
    best = b.node(ArgMax(), x, name="best")
    three = b.node(TopK(3), x, name="three")
    works = {work.name: work for work in layers(b, top, mean, best, three).works}
    assert works["max"].operations == {"compare": 24 * 5}
    assert works["sum"].operations == {"add": 64 * 8 + 64, "compare": 2 * 64}  # a multiplier of 1 is none
    assert works["sum"].constant_bits == 2 + 2
    assert works["best"].operations == {"compare": 36 * 3} and works["three"].operations == {"compare": 3 * 36 * 3}
    assert [works[name].kind for name in ("max", "sum", "best", "three")] == ["pool", "pool", "elementwise", "elementwise"]


def test_thresholds_count_as_wide_as_their_accumulator() -> None:
    b, x = build(6, 6, 3)
    y = b.node(Conv2d(weights(3, 3, 3, 8)), x)
    y = b.node(Threshold(np.sort(np.arange(8 * 15).reshape(8, 15), axis=1), U4), y)
    (work,) = layers(b, y).works
    assert work.constant_bits == 8 * 15 * work.sums.bits  # type: ignore[union-attr]
    assert work.operations == {"compare": 128 * 4}  # 15 thresholds by bisection


def test_every_operation_is_sorted() -> None:
    assert set(ELEMENTWISE) | set(PRODUCTS) <= set(OPS.values())


def test_the_table_of_cnv_is_the_network() -> None:
    networks = pytest.importorskip("benchmarks.dataflow.networks")
    real, table = workload_of(networks.NETWORKS["cnv_w1a1"].make()), topology("cnv")
    assert [(one.macs, one.product, one.output.elements) for one in real.works] == [(one.macs, one.product, one.output.elements) for one in table.works]
    assert [(one.weights and one.weights.bytes, one.reads[0].bytes) for one in real.works] == [
        (one.weights and one.weights.bytes, one.reads[0].bytes) for one in table.works]

"""The reference executor: input checks, chunks, carriers, the two-in-one products."""


from __future__ import annotations

import itertools

import numpy as np
import pytest

from intir import (
    BIPOLAR,
    Add,
    Affine,
    Conv2d,
    Graph,
    GraphBuilder,
    GraphError,
    IntType,
    MatMul,
    Range,
    Threshold,
    reference,
    run,
    run_all,
    signed,
    to_real,
    unsigned,
)
from intir.ops import OPS
from intir.random_graph import random_graph, random_inputs

RNG = np.random.default_rng(0)


def tiny() -> Graph:
    build = GraphBuilder("tiny")
    x = build.input("x", (2,), unsigned(4))
    build.output(build.node(MatMul(np.array([[1], [-1]])), x, name="y"))
    return build.build()


@pytest.mark.parametrize(("x", "message"), [
    (np.zeros((3, 2)), r"input 'x' is an array of float64; the reference takes integers of type u4"),
    (np.zeros((3, 3), int), r"input 'x' has shape \(3, 3\); it must be \(N, 2\)"),
    (np.zeros(2, int), r"input 'x' has shape \(2,\); it must be \(N, 2\)"),
    (np.array([[0, 16]]), "input 'x' holds values from 0 to 16; the graph takes u4"),
    (np.array([[0, -1]]), "input 'x' holds values from -1 to 0; the graph takes u4"),
    (np.array([[0, 2**64 - 1]], np.uint64), "input 'x' holds values from 0 to 18446744073709551615; the graph takes u4"),
])
def test_bad_inputs_are_named(x: np.ndarray, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        run(tiny(), x)


def test_missing_unequal_and_unknown_names() -> None:
    build = GraphBuilder("two")
    build.output(build.node(Add(), build.input("a", (1,), BIPOLAR), build.input("b", (1,), BIPOLAR)))
    graph = build.build()
    one = np.ones((3, 1), int)
    with pytest.raises(GraphError, match=r"input 'b' is missing; pass an integer array of shape \(N, 1\)"):
        run_all(graph, {"a": one})
    with pytest.raises(GraphError, match="input 'b' has a batch of 2, another has 3; make them equal"):
        run_all(graph, {"a": one, "b": one[:2]})
    with pytest.raises(GraphError, match="'c' is no value of graph 'two'; keep only values that it has"):
        run_all(graph, {"a": one, "b": one}, keep=("c",))
    with pytest.raises(GraphError, match="graph 'two' has 2 inputs"):
        run(graph, one)
    with pytest.raises(GraphError, match="input 'a' holds values from 0 to 0; the graph takes bipolar"):
        run_all(graph, {"a": one * 0, "b": one})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.bool_])
@pytest.mark.parametrize("kind", [unsigned(1), IntType(1, 1), IntType(0, 4, 4), IntType(-4, 4, 4), IntType(-9, 9, 3), BIPOLAR], ids=str)
def test_inputs_may_have_any_integer_dtype(dtype: type, kind: IntType) -> None:
    if dtype is np.bool_:
        values = np.array([[0], [1]]) if kind in (unsigned(1),) else np.array([[1]] if kind.contains(IntType(1, 1)) else [[0]])
    else:
        values = np.arange(max(kind.lo, np.iinfo(dtype).min), kind.hi + 1)
        values = values[(values - kind.lo) % kind.step == 0][:, None]
    build = GraphBuilder("any")
    build.output(build.input("x", (1,), kind))
    np.testing.assert_array_equal(run(build.build(), values.astype(dtype)), values)
    for number in range(2 if dtype is np.bool_ else 10):
        if not kind.lo <= number <= kind.hi or (number - kind.lo) % kind.step:
            with pytest.raises(GraphError, match="input 'x' holds values"):
                run(build.build(), np.array([[number]], dtype))


def test_a_step_beyond_the_dtype_of_the_values_is_still_checked() -> None:
    assert not IntType(-100, 412, 512).holds(np.array([28], np.int8))
    assert IntType(-100, 412, 512).holds(np.array([-100], np.int8))


@pytest.mark.parametrize("seed", range(60))
def test_chunks_workers_and_batches_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(seed)
    inputs = random_inputs(graph, 11, seed)
    whole = run_all(graph, inputs, keep=tuple(graph.values))
    monkeypatch.setattr(reference, "CHUNK_BYTES", 4 * 3 * max(value.elements for value in graph.values.values()))
    calls: list[tuple[int, int]] = []
    for workers in (1, 3):
        calls.clear()
        parts = run_all(graph, inputs, progress=lambda done, total: calls.append((done, total)), workers=workers)
        done = [0, *(one for one, _ in calls)]
        assert done[-1] == 11 and all(0 < b - a <= 3 for a, b in itertools.pairwise(done)) and {total for _, total in calls} == {11}
        for name, values in parts.items():
            np.testing.assert_array_equal(values, whole[name])
    alone = run_all(graph, {name: x[4:5] for name, x in inputs.items()})
    for name, values in alone.items():
        np.testing.assert_array_equal(values, whole[name][4:5])
    none = run_all(graph, {name: x[:0] for name, x in inputs.items()})
    assert all(values.shape == (0, *graph.values[name].shape) for name, values in none.items())


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 9])
@pytest.mark.parametrize(("kind", "terms"), [(BIPOLAR, 64), (BIPOLAR, 2895), (BIPOLAR, 2897), (unsigned(2), 200), (signed(8), 70),
                                             (unsigned(16), 300), (signed(40), 70), (signed(55), 70)], ids=str)
def test_products_are_exact_at_every_carrier(kind: IntType, terms: int, batch: int) -> None:
    weights = RNG.choice([-1, 1], (terms, 3))
    x = RNG.choice([kind.lo, kind.hi], (batch, terms))
    x[0], x[-1] = np.where(weights[:, 0] > 0, kind.hi, kind.lo), np.where(weights[:, 0] < 0, kind.hi, kind.lo)
    bounds = [Range.of(kind, terms)]
    expected = x.astype(object) @ weights.astype(object)
    np.testing.assert_array_equal(MatMul(weights).evaluate(x, ranges=bounds).astype(np.int64), expected)
    conv = Conv2d(weights.reshape(1, 1, terms, 3)).evaluate(x[:, None, None], ranges=bounds)
    np.testing.assert_array_equal(conv.astype(np.int64)[:, 0, 0], expected)


def test_packing_two_products_in_one_ends_where_it_would_round() -> None:
    op = MatMul(np.ones((2047, 1), int))
    assert op.packing(1, 2047) == 4096 and MatMul(np.ones((4097, 1), int)).packing(1, 4097) == 0
    assert op.packing(3, 2047) == 0


def test_a_convolution_and_its_threshold_run_as_one_with_the_same_bits() -> None:
    build = GraphBuilder("fused")
    x = build.input("x", (6, 5, 8), BIPOLAR)
    y = build.node(Conv2d(RNG.choice([-1, 1], (3, 3, 8, 7)), pads=(1, 1, 1, 1), pad_value=1), x)
    z = build.node(Threshold(np.sort(RNG.integers(-9, 9, (7, 3)), axis=1), unsigned(2)), y)
    build.output(z)
    graph = build.build()
    inputs = random_inputs(graph, 9, 0)
    np.testing.assert_array_equal(run_all(graph, inputs)[z], run_all(graph, inputs, keep=(y,))[z])


def test_to_real_is_the_nearest_float() -> None:
    from fractions import Fraction

    affine = Affine((Fraction(1, 3), Fraction(2)), (Fraction(1, 7),))
    np.testing.assert_array_equal(to_real(np.array([[1, 2]]), affine), [[float(Fraction(1, 3) + Fraction(1, 7)), float(4 + Fraction(1, 7))]])


def test_graphs_travel_to_other_processes() -> None:
    import pickle

    for seed in range(20):
        graph = random_graph(seed)
        inputs = random_inputs(graph, 3, 0)
        run_all(graph, inputs)
        copy = pickle.loads(pickle.dumps(graph))
        assert copy == graph
        for name, values in run_all(copy, inputs).items():
            np.testing.assert_array_equal(values, run_all(graph, inputs)[name])
    assert OPS

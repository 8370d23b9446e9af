"""Where floats that carry integers end: sums, pads, comparisons and products just beyond what they hold."""

import numpy as np
import onnxruntime
import pytest

from intir import (
    Clip,
    Conv2d,
    FileFormatError,
    GlobalSumPool,
    Graph,
    GraphBuilder,
    GraphError,
    MatMul,
    Op,
    Reshape,
    SumPool2d,
    Threshold,
    load,
    run,
    unsigned,
)
from intir.onnx_export import to_onnx
from intir.reference import run_all
from intir.strict_json import parse

MOST = 2**53 - 1


def behind_a_product(weights: list[list[int]], op: Op, shape: tuple[int, ...]) -> Graph:
    """A product, whose sums the reference carries in floats, and an operation behind it."""
    build = GraphBuilder("edge")
    build.output(build.node(op, build.node(MatMul(np.array(weights)), build.input("x", shape, unsigned(1)))))
    return build.build()


@pytest.mark.parametrize(("op", "weights", "shape", "wanted"), [
    (Conv2d(np.ones((2, 2, 1, 1), np.int64), pads=(1, 1, 1, 1), pad_value=2**24 + 1), [[3], [0]], (2, 2, 2), 3 * (2**24 + 1) + 3),
    (SumPool2d((2, 2), (1, 1), (1, 1), (1, 1, 1, 1), 2**24 + 1), [[3], [0]], (2, 2, 2), 3 * (2**24 + 1) + 3),
    (GlobalSumPool(), [[MOST]], (7, 1, 1), 7 * MOST),
    (SumPool2d((3, 1), (1, 1)), [[MOST]], (7, 1, 1), 3 * MOST),
    (Conv2d(np.full((1, 1, 1, 1), 3)), [[MOST]], (1, 7, 1), 3 * MOST),
    (Threshold(np.array([[2**53 + 1]]), unsigned(1)), [[2**53]], (1,), 0),
], ids=["pad", "pool pad", "global sum", "sum", "product", "threshold"])
def test_beyond_what_floats_hold(op: Op, weights: list[list[int]], shape: tuple[int, ...], wanted: int) -> None:
    graph = behind_a_product(weights, op, shape)
    assert int(run(graph, np.ones((1, *shape), np.int64)).ravel()[0]) == wanted


def test_a_depthwise_product_beyond_what_floats_hold() -> None:
    graph = behind_a_product((np.eye(2, dtype=np.int64) * MOST).tolist(), Conv2d(np.full((1, 1, 1, 2), 3), groups=2), (1, 7, 2))
    assert (run(graph, np.ones((1, 1, 7, 2), np.int64)) == 3 * MOST).all()


@pytest.mark.parametrize("bounds", [(2**32, 2**33), (-2**33, -2**32)])
def test_a_clip_wholly_outside_its_input(bounds: tuple[int, int]) -> None:
    build = GraphBuilder("clip")
    build.output(build.node(Clip(*bounds), build.input("x", (3,), unsigned(8))))
    graph = build.build()
    x = np.array([[0, 7, 255]])
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString())
    seen = session.run(None, {session.get_inputs()[0].name: x.astype(np.uint8)})[0]
    assert np.array_equal(seen, run(graph, x))
    assert set(run(graph, x).ravel()) == {min(bounds, key=abs)}


def test_only_inputs_can_be_given() -> None:
    graph = behind_a_product([[2]], Threshold(np.array([[1]]), unsigned(1)), (1,))
    with pytest.raises(GraphError, match=r"'matmul0' is no input of graph 'edge'; its inputs are x"):
        run_all(graph, {"x": np.ones((1, 1), np.int64), "matmul0": np.array([[99]])})


def test_values_have_few_axes() -> None:
    build = GraphBuilder("deep")
    build.output(build.node(Reshape((1,) * 9), build.input("x", (1,), unsigned(1))))
    with pytest.raises(GraphError, match="has 9 axes; the limit is 8"):
        build.build()


def test_half_a_character_is_no_text() -> None:
    assert parse('{"a": "\\ud83d\\ude00"}', "it") == {"a": "\U0001f600"}
    with pytest.raises(FileFormatError, match="it is no valid JSON"):
        parse('{"a": "\\ud800"}', "it")


def test_a_missing_file_is_one_sentence(tmp_path) -> None:
    with pytest.raises(FileFormatError, match="nowhere"):
        load(tmp_path / "nowhere.intir")

"""The ONNX export: released operators, a dynamic batch, no floats; the bits are compared in test_differential."""


from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from intir import (
    Add,
    BitwrightError,
    Clip,
    Conv2d,
    GlobalSumPool,
    Graph,
    GraphBuilder,
    IntType,
    L1MatMul,
    MatMul,
    MaxPool2d,
    SumPool2d,
    TopK,
    onnx_export,
    run_all,
    signed,
    unsigned,
)
from intir.onnx_export import to_onnx
from intir.ops import Op
from intir.random_graph import random_graph, random_inputs

Stock = Callable[[Graph, dict[str, NDArray[np.int64]]], list[NDArray[np.int64]]]


@pytest.mark.parametrize("seed", range(40))
def test_models_are_valid_and_hold_no_float(seed: int) -> None:
    graph = random_graph(seed)
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 10 and [(one.domain, one.version) for one in model.opset_import] == [("", 18)]
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16}
    assert not {one.type.tensor_type.elem_type for one in (*inferred.value_info, *inferred.input, *inferred.output)} & floats
    assert not {one.data_type for one in inferred.initializer} & floats
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert [one.name for one in model.graph.input] == [one.value for one in graph.inputs]
    assert to_onnx(graph).SerializeToString() == model.SerializeToString()


def test_outputs_keep_their_names_where_they_can() -> None:
    build = GraphBuilder("names")
    x = build.input("x", (2,), unsigned(4))
    y = build.node(Clip(0, 3), x, name="y")
    for value in (x, y, y):
        build.output(value)
    assert [one.name for one in to_onnx(build.build()).graph.output] == ["x__0", "y", "y__2"]


def wide(op: Op, shape: tuple[int, ...], bits: int, stock: Stock) -> None:
    build = GraphBuilder("wide")
    values = [build.input(f"x{i}", shape, signed(bits)) for i in range(op.arity or 1)]
    build.output(build.node(op, *values))
    graph = build.build()
    inputs = random_inputs(graph, 16, 0)
    for mine, theirs in zip(run_all(graph, inputs).values(), stock(graph, inputs), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("bits", [8, 9, 31, 32, 33, 36, 40, 50, 55])
@pytest.mark.parametrize("op", [
    Clip(-2**31, 2**33), MaxPool2d((2, 3), (1, 1), pads=(1, 0, 0, 1)), SumPool2d((3, 3), (2, 2), pad_value=-1, pads=(1, 1, 1, 1)),
    GlobalSumPool(), TopK(4), Add(), MatMul(np.array([[3, -2], [1, 0], [-7, 1]] * 3)), L1MatMul(np.array([[3, -2], [1, 0], [-7, 1]] * 3)),
    Conv2d((np.arange(54) % 5 - 2).reshape(1, 3, 9, 2), pads=(0, 1, 0, 1), pad_value=5),
], ids=lambda op: op.kind)
def test_wide_integers_meet_no_kernel_that_is_wrong(op: Op, bits: int, stock_onnx: Stock) -> None:
    """onnxruntime 1.31 has wrong bits in Max, Min, ReduceMax (int64 beyond 2**32) and ReduceSum (beyond 2**53)."""
    wide(op, (8, 8, 9), bits, stock_onnx)


@pytest.mark.parametrize(("x_bits", "w"), [(8, 127), (8, -128), (8, 64), (8, 65), (7, 127), (1, 127)])
def test_eight_bit_products_do_not_saturate(x_bits: int, w: int, stock_onnx: Stock) -> None:
    for kind in (unsigned(x_bits), signed(x_bits)):
        build = GraphBuilder("saturate")
        x = build.input("x", (1, 5, 64), kind)
        build.output(build.node(MatMul(np.full((64, 3), w)), x))
        build.output(build.node(Conv2d(np.full((1, 3, 64, 3), w), pads=(0, 1, 0, 1)), x))
        graph = build.build()
        inputs = {"x": np.stack([np.full((1, 5, 64), kind.lo), np.full((1, 5, 64), kind.hi)])}
        for mine, theirs in zip(run_all(graph, inputs).values(), stock_onnx(graph, inputs), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_without_onnx_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "onnx", None)
    with pytest.raises(BitwrightError, match="the ONNX export needs the package 'onnx', which is not installed; run: pip install onnx"):
        to_onnx(random_graph(0))


@pytest.mark.parametrize("weight", [-7435, 7435, -128, -129, 128, 256, -1])
def test_products_with_one_sided_operands(weight: int, stock_onnx: Stock) -> None:
    for kind in (signed(4), unsigned(8), IntType(-300, -290), IntType(290, 300), IntType(-9, -5)):
        build = GraphBuilder("one_sided")
        x = build.input("x", (1, 3, 2), kind)
        build.output(build.node(MatMul(np.full((2, 3), weight)), x))
        build.output(build.node(Conv2d(np.full((1, 2, 2, 3), weight)), x))
        graph = build.build()
        inputs = random_inputs(graph, 4, 0)
        for mine, theirs in zip(run_all(graph, inputs).values(), stock_onnx(graph, inputs), strict=True):
            np.testing.assert_array_equal(mine, theirs)

"""Range rules: bounds are reached and steps hold, shown by running every input of small tensors."""


from __future__ import annotations

import itertools

import numpy as np
import pytest

from intir import (
    BIPOLAR,
    OPS,
    TERNARY,
    Add,
    ArgMax,
    ChannelPermute,
    Clip,
    Concat,
    Conv2d,
    ConvTranspose2d,
    GlobalSumPool,
    GraphError,
    IntType,
    L1Conv2d,
    L1MatMul,
    Lookup,
    MatMul,
    MaxPool2d,
    Mul,
    Op,
    Pad,
    Range,
    Requant,
    Reshape,
    ScaleChannels,
    Slice,
    Sub,
    SumPool2d,
    Threshold,
    TopK,
    Transpose,
    Upsample,
    signed,
    unsigned,
)

W = np.array

#: Operation, shapes of its inputs, ranges (lo, hi, step) of their channels; all inputs are enumerated.
CASES: list[tuple[Op, list[tuple[int, ...]], list[Range]]] = []


def case(op: Op, *inputs: tuple[tuple[int, ...], list[int], list[int], int]) -> None:
    CASES.append((op, [one[0] for one in inputs], [Range(W(lo), W(hi), step) for _, lo, hi, step in inputs]))


case(MatMul(W([[3, -2], [-5, 0], [1, 7]])), ((3,), [-2, 0, 3], [1, 4, 3], 1))
case(MatMul(W([[2, -4], [6, 2]])), ((2,), [-3, -1], [3, 1], 2))
case(MatMul(W([[2, -4], [6, 2]])), ((2,), [5, -7], [5, -7], 1))
case(L1MatMul(W([[3, -2], [0, 9]])), ((2,), [-2, 0], [4, 6], 2))
case(L1MatMul(W([[3, -2], [-5, 0], [1, 7]])), ((3,), [-2, 0, 3], [1, 4, 3], 1))
case(Conv2d(W([[[[3, -2]], [[1, 5]]]]), pads=(0, 1, 0, 1), pad_value=4), ((1, 3, 1), [-2], [1], 1))
case(Conv2d(W([[[[3, -2]]], [[[1, 5]]]]), stride=(2, 1), pads=(1, 0, 0, 0), pad_value=-9), ((3, 1, 1), [-2], [1], 1))
case(Conv2d(np.arange(-4, 4).reshape(2, 2, 1, 2), groups=2, dilation=(1, 2), pads=(0, 1, 1, 0)), ((1, 2, 2), [-1, 0], [1, 2], 1))
case(Conv2d(W([[[[1], [-1]]]])), ((2, 1, 2), [-1, -1], [1, 1], 2))
case(Conv2d(W([[[[3]], [[2]], [[4]]]]), pads=(0, 1, 0, 1), pad_value=1), ((1, 2, 1), [-3], [3], 3))
case(L1Conv2d(W([[[[3, -2]], [[1, 5]]]]), pads=(0, 1, 0, 1), pad_value=4), ((1, 3, 1), [-2], [1], 1))
case(L1Conv2d(np.arange(-4, 4).reshape(2, 2, 1, 2), groups=2, pads=(0, 1, 1, 0), pad_value=2), ((1, 2, 2), [-1, 0], [3, 2], 2))
case(ConvTranspose2d(np.arange(-3, 6).reshape(1, 3, 1, 3), stride=(1, 2), pads=(0, 1, 0, 0), extra=(0, 1)), ((1, 3, 1), [-2], [1], 1))
case(ConvTranspose2d(np.arange(-4, 4).reshape(2, 2, 1, 2), groups=2, dilation=(1, 2)), ((1, 2, 2), [-1, 0], [1, 2], 1))
case(Add(), ((2,), [-1, 0], [2, 4], 1), ((2,), [5, -7], [9, -7], 2))
case(Add(), ((2, 1), [-2], [2], 2), ((1, 2), [0, 4], [8, 4], 4))
case(Sub(), ((2,), [-1, 0], [2, 4], 1), ((2,), [5, -7], [9, -7], 2))
case(Mul(), ((2,), [-1, 0], [2, 4], 1), ((2,), [5, -7], [9, -7], 2))
case(Mul(), ((1, 2), [-4, 2], [4, 6], 2), ((2, 1), [-6], [3], 3))
case(ScaleChannels(W([3, -2]), W([1, 0])), ((2,), [-1, 0], [3, 4], 2))
case(ScaleChannels(W([0]), W([1, 5])), ((2,), [-1, 0], [3, 4], 2))
case(Clip(-1, 3), ((3,), [-5, 0, 7], [5, 2, 9], 1))
case(Clip(-1, 3), ((2,), [-6, 0], [6, 3], 3))
case(Clip(-2, 4), ((2,), [-6, -2], [6, 4], 2))
case(Threshold(W([[-2, 0, 3], [1, 1, 1]]), IntType(-3, 3, 2)), ((2,), [-4, 0], [5, 2], 1))
case(Lookup(W([[5, -3, 7, 1], [0, 0, 0, 9]]), unsigned(2)), ((2,), [1, 0], [3, 2], 1))
case(Lookup(W([[5, -3, 7]]), IntType(-4, 4, 4)), ((2,), [-4, 0], [4, 4], 4))
for _rounding in ("floor", "ceil", "toward_zero", "half_up", "half_away", "half_even"):
    case(Requant(W([3, -5]), W([2, 3]), W([1, 0]), _rounding, IntType(-4, 5)), ((2,), [-7, -8], [7, 9], 1))
case(Requant(W([3 << 30]), W([33]), W([1]), "gemmlowp", IntType(-4, 5)), ((2,), [-7, -8], [7, 9], 1))
case(MaxPool2d((2, 2), (1, 1), pads=(1, 0, 0, 0)), ((2, 2, 1), [-2], [2], 2))
case(SumPool2d((2, 2), (1, 1), pads=(1, 0, 0, 1), pad_value=5), ((2, 2, 1), [-2], [1], 1))
case(SumPool2d((1, 2), (1, 1)), ((1, 3, 1), [-2], [2], 2))
case(GlobalSumPool(), ((2, 2), [-2, 5], [1, 5], 1))
case(Reshape((3, 2)), ((2, 3), [-2, 0, 3], [1, 0, 3], 1))
case(Transpose((1, 0)), ((2, 2), [-2, 0], [1, 3], 1))
case(Transpose((1, 0, 2)), ((2, 1, 2), [-2, 0], [1, 3], 1))
case(Concat(), ((1,), [-2], [4], 2), ((2,), [0, 5], [9, 5], 3))
case(Concat(0), ((1, 1), [-2], [4], 2), ((2, 1), [1], [7], 3))
case(Slice((0, 1), (2, 3), (2, 2)), ((2, 3), [-2, 0, 3], [1, 0, 4], 1))
case(Pad((1, 0), (0, 1), 9), ((1, 2), [-2, 0], [1, 3], 1))
case(ChannelPermute(W([2, 0, 1])), ((3,), [-2, 0, 3], [1, 0, 4], 1))
case(Upsample((2, 1)), ((1, 1, 2), [-2, 0], [1, 3], 1))
case(ArgMax(), ((3,), [-2, 0, 1], [1, 3, 1], 1))
case(ArgMax(), ((3,), [2, 0, 1], [3, 2, 1], 1))
case(TopK(3), ((3,), [0, 0, 0], [2, 2, 2], 1))
case(TopK(2), ((3,), [3, 0, 0], [4, 2, 2], 1))


def every_input(shape: tuple[int, ...], bounds: Range) -> list[np.ndarray]:
    axes = [range(int(lo), int(hi) + 1, bounds.step) for lo, hi in zip(bounds.lo, bounds.hi, strict=True)]
    return [np.array(values).reshape(shape) for values in itertools.product(*axes * (int(np.prod(shape)) // shape[-1]))]


@pytest.mark.parametrize(("op", "shapes", "ranges"), CASES, ids=lambda item: item.kind if isinstance(item, Op) else "")
def test_bounds_are_reached_and_steps_hold(op: Op, shapes: list[tuple[int, ...]], ranges: list[Range]) -> None:
    singles = [every_input(shape, bounds) for shape, bounds in zip(shapes, ranges, strict=True)]
    batches = [np.stack(one) for one in zip(*itertools.product(*singles), strict=True)]
    assert 1 <= len(batches[0]) <= 200_000
    proven = op.range(*ranges, shapes=shapes)
    y = op.evaluate(*batches, ranges=ranges).astype(np.int64)
    assert y.shape[1:] == op.shape(*shapes)
    flat = y.reshape(-1, y.shape[-1])
    np.testing.assert_array_equal(flat.min(axis=0), proven.lo)
    np.testing.assert_array_equal(flat.max(axis=0), proven.hi)
    assert not ((flat - proven.lo) % proven.step).any()


def test_every_operation_is_enumerated() -> None:
    assert {op.kind for op, _, _ in CASES} == set(OPS)


@pytest.mark.parametrize(("op", "kind", "step"), [
    (MatMul(np.ones((5, 1), int)), BIPOLAR, 2),
    (MatMul(np.full((5, 1), 3)), BIPOLAR, 6),
    (Conv2d(np.ones((1, 1, 4, 1), int)), BIPOLAR, 2),
    (Conv2d(np.ones((3, 3, 1, 1), int), pads=(1, 1, 1, 1)), BIPOLAR, 1),  # zero padding of a binary input breaks the parity
    (Conv2d(np.ones((3, 3, 1, 1), int), pads=(1, 1, 1, 1), pad_value=-1), BIPOLAR, 2),
    (SumPool2d((2, 2), (2, 2)), BIPOLAR, 2),
    (Add(), BIPOLAR, 2),
    (L1MatMul(np.zeros((5, 1), int)), IntType(-3, 3, 2), 2),
])
def test_steps_are_found(op: Op, kind: IntType, step: int) -> None:
    channels = op.weights.shape[-2] if hasattr(op, "weights") else 5
    shape = (channels,) if isinstance(op, (MatMul, L1MatMul, Add)) else (4, 4, channels)
    proven = op.range(*[Range.of(kind, channels)] * op.arity, shapes=[shape] * op.arity)
    assert proven.step == step


@pytest.mark.parametrize(("op", "kinds", "shape", "message"), [
    (MatMul(np.full((4, 1), 2**60)), [signed(8)], (4,), "MatMul: a value can reach"),
    (Conv2d(np.full((1, 1, 4, 1), 2**60)), [signed(8)], (1, 1, 4), "Conv2d: a value can reach"),
    (ConvTranspose2d(np.full((1, 1, 4, 1), 2**60)), [signed(8)], (1, 1, 4), "ConvTranspose2d: a value can reach"),
    (L1MatMul(np.full((4, 1), 2**61)), [signed(8)], (4,), "L1MatMul: a value can reach"),
    (L1Conv2d(np.full((1, 1, 4, 1), 2**61)), [signed(8)], (1, 1, 4), "L1Conv2d: a value can reach"),
    (Conv2d(np.full((1, 1, 1, 1), 2**40), pads=(1, 1, 1, 1), pad_value=2**40), [signed(8)], (1, 1, 1), "padding with 1099511627776"),
    (Mul(), [signed(40), signed(40)], (1,), "Mul: a product can reach"),
    (Add(), [signed(62), signed(62)], (1,), "Add: a value can reach"),
    (Sub(), [signed(62), IntType(-2**62 + 1, 0)], (1,), "Sub: a value can reach"),
    (ScaleChannels(np.array([2**40]), np.array([0])), [signed(40)], (1,), "ScaleChannels: a value can reach"),
    (Requant(np.array([2**40]), np.array([3]), np.array([0]), "floor", signed(8)), [signed(40)], (1,), "is beyond 63 bits"),
    (SumPool2d((64, 64), (1, 1)), [signed(60)], (64, 64, 1), "SumPool2d: a sum can reach"),
    (GlobalSumPool(), [signed(60)], (64, 1), "GlobalSumPool: a sum can reach"),
    (Lookup(np.array([[1, 2]]), unsigned(1)), [TERNARY], (1,), "Lookup: the input can be ternary, but the table covers u1"),
])
def test_ranges_that_cannot_be_carried_are_refused(op: Op, kinds: list[IntType], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        op.range(*[Range.of(kind, shape[-1]) for kind in kinds], shapes=[shape] * len(kinds))

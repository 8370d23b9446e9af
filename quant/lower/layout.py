"""Bringing an activation into the layout in which an operator wants to read it.

Reshapes, transposes, slices and repetitions are lazy (`Act.where`), so here is the only place where values move.  What
an index map means is recognised, cheapest first: nothing, Reshape, ChannelPermute, Slice, Upsample, and Reshape -
Transpose - Reshape.  Anything else is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from intir import ChannelPermute, Op, Reshape, Slice, Transpose, Upsample

from .context import Context
from .errors import LoweringError
from .exact import Ints
from .inputs import canonical
from .tensors import Act, Carrier, Shape

MAX_ELEMENTS = 2**16  #: of a tensor whose elements are taken as channels


def arranged(ctx: Context, act: Act, shape: Shape, where: Ints) -> Act:
    """The activation over an IR value of `shape`, seen through `where`.

    Parameters
    ----------
    shape : tuple of int
        Of the IR value wanted.
    where : int64 array of the activation's ONNX shape
        A permutation of the elements of `shape`.

    Raises
    ------
    LoweringError
        If no IR operation moves values so.
    """
    act = trimmed(ctx, act)
    assert isinstance(act.carrier, Carrier)  # `settled` says so
    if act.carrier.shape == shape and np.array_equal(act.where, where):
        return act
    index = np.empty(math.prod(shape), np.int64)
    index[where.ravel()] = act.where.ravel()  # IR element -> element of the present carrier
    name = act.carrier.name()
    for op, form in _moves(index.reshape(shape), act.carrier.shape):
        name = ctx.emit(op, [name], act.trail, form)
    return replace(act, carrier=Carrier.made(name, shape), where=where)


def trimmed(ctx: Context, act: Act) -> Act:
    """The settled activation over an IR value without rows, columns and channels that it does not read.

    Slices are lazy, too; here one is made where what is read is a box of the carrier.
    """
    act = ctx.settled(act)
    assert isinstance(act.carrier, Carrier)
    source = act.carrier.shape
    seen = np.zeros(math.prod(source), bool)
    seen[act.where.ravel()] = True
    if seen.all():
        return act
    read = np.flatnonzero(seen)
    lines = [np.unique(coordinate) for coordinate in np.unravel_index(read, source)]
    box = tuple(line.size for line in lines)
    if math.prod(box) != read.size or any(np.unique(np.diff(line)).size > 1 for line in lines):
        return act
    name = act.carrier.name()
    for op, form in _cut_and_repeated(lines, source, box):
        name = ctx.emit(op, [name], act.trail, form)
    return replace(act, carrier=Carrier.made(name, box), where=np.searchsorted(read, act.where))


def in_own_layout(ctx: Context, act: Act) -> Act:
    """The activation over an IR value in the IR's own layout for its ONNX shape: channels last."""
    return arranged(ctx, act, own_shape(ctx, act), canonical(act.shape, ctx.channels_first))


def element_wise(ctx: Context, act: Act) -> Act:
    """The activation over a vector, so that each element is a channel of its own."""
    act = in_own_layout(ctx, act)
    shape = (act.where.size,)
    return arranged(ctx, act, shape, act.where)


def own_shape(ctx: Context, act: Act) -> Shape:
    """The IR's shape for an activation's ONNX shape."""
    if len(act.shape) > 3 or (len(act.shape) == 3 and ctx.channels_first):
        return (*act.shape[2:], act.shape[1])
    return act.shape[1:]


def _moves(index: Ints, source: Shape) -> Iterator[tuple[Op, str]]:
    """The operations that make element j of the result from element index[j] of an IR value of shape `source`."""
    size, shape = math.prod(source), tuple(index.shape)
    flat = index.ravel()
    if flat.size == size and np.array_equal(flat, np.arange(size)):
        yield Reshape(shape), f"Reshape to {shape}"
        return
    channels = shape[-1]
    if flat.size == size and source[-1] == channels:
        order = flat[:channels]
        if np.array_equal(np.sort(order), np.arange(channels)) and \
                np.array_equal(flat.reshape(-1, channels), np.arange(0, size, channels)[:, None] + order):
            yield ChannelPermute(order), "ChannelPermute"
            if shape != source:
                yield Reshape(shape), f"Reshape to {shape}"
            return
    if len(shape) == len(source):
        axes = _axes(index, source)
        if axes is not None:
            picked = axes[-1]
            strides = np.unique(np.diff(picked))
            if np.unique(picked).size == picked.size and (strides.size > 1 or bool((strides < 0).any())):
                # A part of shuffled channels: to the front with them, in their order.
                yield ChannelPermute(np.concatenate([picked, np.setdiff1d(np.arange(source[-1]), picked)])), "ChannelPermute"
                axes[-1] = np.arange(picked.size)
            yield from _cut_and_repeated(axes, source, shape)
            return
    digits = _digits(flat)
    if flat.size == size and digits is not None:
        by_stride = sorted(range(len(digits)), key=lambda i: -digits[i][1])
        if all(digits[a][1] == digits[b][0] * digits[b][1] for a, b in itertools.pairwise(by_stride)):
            inner = tuple(digits[i][0] for i in by_stride)
            perm = tuple(by_stride.index(i) for i in range(len(digits)))
            if inner != source:
                yield Reshape(inner), f"Reshape to {inner}"
            yield Transpose(perm), f"Transpose {perm}"
            if tuple(inner[axis] for axis in perm) != shape:
                yield Reshape(shape), f"Reshape to {shape}"
            return
    raise LoweringError(f"it needs the values of a tensor of shape {source} in an order that the IR's operations do not give (as "
                        f"{shape}); "
                        "move the operators that reorder values in front of a quantizer, or remove them")


def _axes(index: Ints, source: Shape) -> list[Ints] | None:
    """The source coordinate along each axis, where it depends on that axis alone."""
    found = []
    for axis, coordinate in enumerate(np.unravel_index(index, source)):
        line = np.moveaxis(coordinate, axis, 0).reshape(index.shape[axis], -1)
        if not bool((line == line[:, :1]).all()):
            return None
        found.append(line[:, 0])
    return found


def _cut_and_repeated(axes: list[Ints], source: Shape, shape: Shape) -> Iterator[tuple[Op, str]]:
    """Slice, then Upsample."""
    kept, repeats = [], []
    for line in axes:
        changes = np.flatnonzero(np.diff(line)) + 1
        repeat = int(changes[0]) if changes.size else (1 if line.size == 1 else line.size)
        single = line[::repeat]
        strides = np.diff(single)
        even = not strides.size or (strides[0] > 0 and bool((strides == strides[0]).all()))
        if not even or not np.array_equal(np.repeat(single, repeat), line):
            raise LoweringError(f"it picks positions {line[:8].tolist()} ... along an axis, which is neither a slice with a "
                                f"positive step nor "
                                "a repetition; hardware has no such order")
        kept.append((int(single[0]), int(single[-1]) + 1, int(strides[0]) if strides.size else 1))
        repeats.append(repeat)
    if any(triple != (0, size, 1) for triple, size in zip(kept, source, strict=True)):
        start, stop, step = zip(*kept, strict=True)
        yield Slice(start, stop, step), f"Slice {start} to {stop}"
    if any(repeat != 1 for repeat in repeats):
        if len(shape) != 3 or repeats[2] != 1:
            raise LoweringError(f"it repeats values {tuple(repeats)} times along the axes of {shape}; only rows and columns can be "
                                f"repeated")
        yield Upsample((repeats[0], repeats[1])), f"Upsample {repeats[0]} x {repeats[1]}"


def _digits(flat: Ints) -> list[tuple[int, int]] | None:
    """An index map as mixed-radix digits (size, stride), most significant first; None if it is none from 0 on."""
    digits: list[tuple[int, int]] = []
    while flat.size > 1:
        stride = int(flat[1] - flat[0])
        breaks = np.flatnonzero(np.diff(flat) != stride)
        run = int(breaks[0]) + 1 if breaks.size else flat.size
        if flat.size % run or stride <= 0 or not np.array_equal(flat.reshape(-1, run), flat[::run, None] + stride * np.arange(run)):
            return None
        digits.append((run, stride))
        flat = flat[::run]
    return digits[::-1] if flat.size and flat[0] == 0 else None

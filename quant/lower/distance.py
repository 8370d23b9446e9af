"""AdderNet layers: sums of distances between inputs and weights, written as Sub, Abs and ReduceSum.

A convolution of distances arrives as a Conv with one-hot kernels that lays out the windows' values (im2col), and the
distances to them; where the windows are not needed for anything else, both become one `L1Conv2d`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from intir import L1Conv2d, L1MatMul, ScaleChannels

from .chain import Leaky
from .context import Context
from .errors import LoweringError
from .exact import ZERO, Ints, filled, objects, rational_gcd
from .grid import MAX_WEIGHT_BITS
from .layout import arranged, trimmed
from .node import OnnxNode
from .realise import integers_of, on_grid
from .tensors import Act, Carrier, fresh, straight
from .windows import Windows


@dataclass(frozen=True, eq=False)
class Patches:
    """A convolution that only lays out its windows' values, one output channel per value.

    Parameters
    ----------
    source : str
        The IR value that it reads.
    taps : int64 (K, 3)
        Row, column and input channel of the value in each output channel.
    geometry : Windows
    pad_value : int
    """

    source: str
    taps: Ints
    geometry: Windows
    pad_value: int

    @classmethod
    def of(cls, source: str, kernel: NDArray[np.int64], geometry: Windows, pad_value: int) -> Patches | None:
        """A convolution with an integer kernel (KH, KW, C, K) as patches, if it is nothing else."""
        rows, columns, depth, outputs = kernel.shape
        flat = kernel.reshape(-1, outputs)
        taps = flat.argmax(axis=0)
        if outputs != len(flat) or not np.array_equal(np.sort(taps), np.arange(outputs)) or \
                int(np.abs(flat).sum()) != outputs or not bool((flat[taps, np.arange(outputs)] == 1).all()):
            return None
        return cls(source, np.stack(np.unravel_index(taps, (rows, columns, depth)), axis=1), geometry, pad_value)


def distance(ctx: Context, node: OnnxNode, act: Act, axes: list[int]) -> Act | None:
    """The sum over one axis of ``|x - w|``, axes kept, if it is that; None else."""
    if len(axes) != 1 or not act.chain or not isinstance(act.chain[-1], Leaky) or \
            any(slope != -1 for slope in act.chain[-1].params[0].ravel()):
        return None
    patches = act.carrier.patches if isinstance(act.carrier, Carrier) and not act.carrier.exists else None
    act = replace(act, chain=act.chain[:-1])
    if act.chain or patches is None:
        act, patches = integers_of(ctx, act, even=False), None
    found = _split(act, axes[0])
    if found is None:
        return None
    inputs, weights, axis = found
    (scale,) = act.scale.ravel()
    unit = rational_gcd([scale, *weights.ravel()])
    integers = objects(weights / unit)
    largest = max(abs(int(one)) for one in integers.ravel())
    if largest >= 2**MAX_WEIGHT_BITS:
        raise LoweringError(f"its inputs and its weights have no common scale (on their common grid, weights would need "
                            f"{largest.bit_length() + 1} bits, and the limit is {MAX_WEIGHT_BITS}); quantize both with one scale")
    matrix, factor = integers.astype(np.int64), int(scale / unit)
    others, (depth, outputs) = inputs.shape[1:-1], matrix.shape
    trail = (*act.trail, node.name)
    if patches is not None and np.array_equal(inputs.where.ravel(), np.arange(inputs.where.size)):
        name = _convolution(ctx, patches, matrix, factor, trail)
    else:
        inputs = arranged(ctx, trimmed(ctx, inputs), (*others, depth), straight((*others, depth)))
        if factor != 1:
            inputs = on_grid(ctx, inputs, objects([unit] * depth), objects([ZERO] * depth), "to the unit of inputs and weights")
        assert isinstance(inputs.carrier, Carrier)
        name = ctx.emit(L1MatMul(matrix), [inputs.carrier.name()], trail, f"L1MatMul {depth} x {outputs}")
    where = np.arange(math.prod(others) * outputs, dtype=np.int64).reshape((1, *others, outputs))
    kept = [i for i in range(len(act.shape)) if i not in (axes[0], axis)]
    order = [*kept, axis]
    where = np.expand_dims(where, 1) if axis == 0 else where  # a single output: its axis is anew
    view = np.empty([1 if i == axes[0] else size for i, size in enumerate(act.shape)], np.int64)
    view.transpose([*order, axes[0]])[..., 0] = where
    return fresh(name, ctx.builder.values[name].shape, view, filled(-unit, view.ndim))


def _split(act: Act, summed: int) -> tuple[Act, NDArray[np.object_], int] | None:
    """The inputs (1, ..., K), the weights (K, O), and the axis of the outputs O, of ``x - w`` over (1, ..., O, K, ...)."""
    if act.scale.size != 1:
        return None
    offset = np.broadcast_to(act.offset, act.shape)
    repeated = [axis for axis in range(1, len(act.shape)) if axis != summed and act.shape[axis] > 1 and
                bool((act.where == act.where.take([0], axis=axis)).all())]
    single = [axis for axis in range(1, len(act.shape)) if axis != summed and act.shape[axis] == 1]
    if len(repeated) > 1 or not (repeated or single):
        return None
    axis = (repeated or single)[0]
    kept = [i for i in range(len(act.shape)) if i not in (axis, summed)]
    weights = offset.transpose([*kept, summed, axis])
    first = weights.reshape(-1, *weights.shape[-2:])
    if not bool((first == first[:1]).all()):
        return None

    rows = act.where.transpose([*kept, summed, axis])[..., 0]
    inputs = replace(act, where=np.ascontiguousarray(rows), scale=filled(act.scale.item(), rows.ndim),
                     offset=filled(ZERO, rows.ndim), chain=())
    return inputs, objects([-Fraction(one) for one in first[0].ravel()], first[0].shape), axis


def _convolution(ctx: Context, patches: Patches, matrix: Ints, factor: int, trail: tuple[str, ...]) -> str:
    """Distances to windows' values, as one convolution."""
    name, geometry = patches.source, patches.geometry
    if factor != 1:
        name = ctx.emit(ScaleChannels(np.array([factor], np.int64), np.zeros(1, np.int64)), [name], trail,
                        "ScaleChannels, to the unit of inputs and weights")
    depth = int(patches.taps[:, 2].max()) + 1
    weights = np.zeros((*geometry.kernel, depth, matrix.shape[1]), np.int64)
    weights[tuple(patches.taps.T)] = matrix
    op = L1Conv2d(weights, geometry.stride, geometry.dilation, geometry.pads, patches.pad_value * factor)
    return ctx.emit(op, [name], trail, f"L1Conv2d {geometry.kernel[0]} x {geometry.kernel[1]}, {depth} to {matrix.shape[1]}")

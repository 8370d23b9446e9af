"""Operators that only move values: one numpy function each, for constants and activations alike.

Nothing is emitted here.  `Act.where` remembers the order, and `layout.py` moves what a reader can't take as it lies.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .context import Context
from .errors import LoweringError
from .load import MAX_ELEMENTS, MAX_RANK
from .node import OnnxNode, folds, lowers
from .tensors import Act, Const, Move, Shape

Rule = Callable[[OnnxNode, Shape], Move]


def moves(*op_types: str) -> Callable[[Rule], Rule]:
    """Enter a function (node, shape) -> numpy function, for constants and for activations."""
    def enter(rule: Rule) -> Rule:
        def fold(node: OnnxNode) -> Const:
            const = node.const(0, "tensor")
            return const.moved(rule(node, const.shape))

        def lower(ctx: Context, node: OnnxNode) -> Act:
            act = node.act()
            moved = act.moved(rule(node, act.shape))
            if moved.where.size == 0:
                raise LoweringError(f"it makes an empty tensor of shape {moved.shape} from {act.shape}; remove it")
            if not moved.shape or moved.shape[0] != 1:
                raise LoweringError(f"it makes a tensor of shape {moved.shape} from {act.shape}, which mixes the batch axis with "
                                    f"others; "
                                    "keep a batch of 1 in front")
            return moved

        folds(*op_types)(fold)
        lowers(*op_types)(lower)
        return rule
    return enter


@moves("Reshape")
def _reshape(node: OnnxNode, shape: Shape) -> Move:
    if node.has(1):
        target = node.const(1, "shape").integers("its shape")
    else:
        target = node.integers("shape") or []
    if not node.flag("allowzero"):
        target = [shape[i] if size == 0 and i < len(shape) else size for i, size in enumerate(target)]
    known = math.prod(size for size in target if size != -1)
    if target.count(-1) > 1 or any(size < -1 for size in target) or known == 0 or \
            (math.prod(shape) % known if -1 in target else math.prod(shape) != known):
        raise LoweringError(f"a tensor of shape {shape} cannot become {target}; export the network with a batch of 1")
    return lambda values: values.reshape(target)


@moves("Flatten")
def _flatten(node: OnnxNode, shape: Shape) -> Move:
    axis = node.integer("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return lambda values: values.reshape(math.prod(shape[:axis]), math.prod(shape[axis:]))


@moves("Transpose")
def _transpose(node: OnnxNode, shape: Shape) -> Move:
    perm = node.integers("perm") or list(range(len(shape)))[::-1]
    if sorted(perm) != list(range(len(shape))):
        raise LoweringError(f"its permutation {perm} does not fit a tensor of shape {shape}; export the network again")
    return lambda values: values.transpose(perm)


def _axes(node: OnnxNode, rank: int, position: int = 1) -> list[int] | None:
    const = node.optional(position, "axes")
    axes = const.integers("its axes") if const else node.integers("axes")
    if axes is None:
        return None
    if any(not -rank <= axis < rank for axis in axes):
        raise LoweringError(f"its axes {axes} do not fit a tensor of {rank} dimensions; export the network again")
    return [axis % rank for axis in axes]


@moves("Squeeze")
def _squeeze(node: OnnxNode, shape: Shape) -> Move:
    axes = _axes(node, len(shape))
    if axes is None:
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    if any(shape[axis] != 1 for axis in axes):
        raise LoweringError(f"it squeezes axes {axes} of a tensor of shape {shape}, but not all have size 1; export the network "
                            f"again")
    return lambda values: values.reshape([size for axis, size in enumerate(shape) if axis not in axes])


@moves("Unsqueeze")
def _unsqueeze(node: OnnxNode, shape: Shape) -> Move:
    const = node.optional(1, "axes")
    listed = (const.integers("its axes") if const else node.integers("axes")) or []
    rank = len(shape) + len(listed)
    axes = _axes(node, rank) or []
    if len(set(axes)) != len(listed) or rank > MAX_RANK:
        raise LoweringError(f"its axes are {listed[:16]}; give each once, for at most {MAX_RANK} axes in all")
    sizes = iter(shape)
    target = [1 if axis in axes else next(sizes) for axis in range(rank)]
    return lambda values: values.reshape(target)


@moves("Expand")
def _expand(node: OnnxNode, shape: Shape) -> Move:
    wanted = tuple(node.const(1, "shape").integers("its shape"))
    try:
        target = np.broadcast_shapes(shape, wanted)
    except ValueError:
        raise LoweringError(f"a tensor of shape {shape} does not expand to {wanted}; export the network again") from None
    if math.prod(target) > MAX_ELEMENTS:
        raise LoweringError(f"it makes a tensor of shape {target}, beyond the limit of {MAX_ELEMENTS} elements")
    return lambda values: np.broadcast_to(values.reshape((1,) * (len(target) - values.ndim) + values.shape), target)


@moves("Slice")
def _slice(node: OnnxNode, shape: Shape) -> Move:
    def listed(position: int, name: str) -> list[int] | None:
        const = node.optional(position, name)
        return const.integers(f"its {name}") if const else node.integers(name)

    starts, ends = listed(1, "starts"), listed(2, "ends")
    if starts is None or ends is None:
        raise LoweringError("its starts or ends are missing; export the network again")
    axes = _axes(node, len(shape), 3) or list(range(len(starts)))
    steps = listed(4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps or len(starts) > len(shape):
        raise LoweringError(f"its starts {starts}, ends {ends} and steps {steps} do not fit; export the network again")
    cut = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[axis]
        if step > 0:
            cut[axis] = slice(min(max(start + size if start < 0 else start, 0), size),
                              min(max(end + size if end < 0 else end, 0), size), step)
        else:
            stop = end + size if end < 0 else end
            cut[axis] = slice(min(start + size if start < 0 else start, size - 1), None if stop < 0 else stop, step)
    return lambda values: values[tuple(cut)]


@moves("Gather")
def _gather(node: OnnxNode, shape: Shape) -> Move:
    axis = node.integer("axis", 0)
    const = node.const(1, "indices")
    indices = np.array(const.integers("its indices"), np.int64).reshape(const.shape)
    if not -len(shape) <= axis < len(shape):
        raise LoweringError(f"its axis {axis} does not fit a tensor of shape {shape}; export the network again")
    size = shape[axis]
    if indices.size and not (-size <= int(indices.min()) and int(indices.max()) < size):
        raise LoweringError(f"its indices run from {indices.min()} to {indices.max()}, but axis {axis} has size {size}; export "
                            f"again")
    return lambda values: np.asarray(values.take(indices, axis=axis))

"""The layout in which the network's input arrives, and the IR's own layout of ONNX tensors."""

from __future__ import annotations

import itertools

import numpy as np

from .exact import Ints
from .tensors import Shape, natural, straight


def placed(where: Ints, source_shape: Shape, channels_first: bool) -> tuple[Shape, tuple[int, ...], Ints]:
    """Choose the layout of an input from the view in which its first reader sees it.

    An MLP that flattens an image first gets a flat input, so nothing has to be moved; a reader of (N, C, H, W) gets
    channels last.

    Parameters
    ----------
    where : int64 array
        The reader's view: indices into the source, flattened.
    source_shape : tuple of int
        Without batch axis.

    Returns
    -------
    (IR shape, permutation of the source's axes that gives it, int64 array: source index -> index in the IR value)
    """
    flat = np.arange(int(np.prod(source_shape)), dtype=np.int64)
    axes = [tuple(order) for order in itertools.permutations(range(len(source_shape)))] if len(source_shape) <= 4 else []
    if sorted(where.ravel().tolist()) == flat.tolist():
        order, shape = ir_order(where, channels_first)
        for perm in axes:
            if np.array_equal(flat.reshape(source_shape).transpose(perm).ravel(), order):
                return shape, perm if perm != tuple(range(len(perm))) else (), np.argsort(order)
    perm = tuple(range(len(source_shape)))
    if len(source_shape) > 2 or (len(source_shape) == 2 and channels_first):
        perm = (*perm[1:], 0)
    order = flat.reshape(source_shape).transpose(perm)
    return tuple(order.shape), perm if perm != tuple(range(len(perm))) else (), np.argsort(order.ravel())


def ir_order(where: Ints, channels_first: bool) -> tuple[Ints, Shape]:
    """The indices of an ONNX tensor in the order of the IR's layout, and the IR's shape."""
    view = where[0]
    if view.ndim > 2 or (view.ndim == 2 and channels_first):
        view = np.moveaxis(view, 0, -1)
    return view.ravel(), tuple(view.shape)


def canonical(shape: Shape, channels_first: bool) -> Ints:
    """`where` of an ONNX tensor over an IR value in the IR's own layout for it."""
    if len(shape) > 3 or (len(shape) == 3 and channels_first):
        return natural((*shape[2:], shape[1]))
    return straight(shape[1:])

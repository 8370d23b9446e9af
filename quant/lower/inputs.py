"""The network's input: which integers stand for its floats, and in which layout they arrive."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from intir.types import IntType, signed, unsigned

from .errors import LoweringError
from .exact import Ints
from .tensors import Shape, natural, straight

_GRAMMAR = re.compile(r"\s*([us])(\d{1,2})\s*(?:([/*])\s*(\d{1,18}(?:\.\d{1,18})?)(?:\s*/\s*(\d{1,18}))?)?\s*")


@dataclass(frozen=True)
class InputSpec:
    """What ``--input`` says: the network's float input is an integer of a type, times a scale.

    Parameters
    ----------
    text : str
        As given, for example ``u8/255``.
    type : IntType
    scale : Fraction
    """

    text: str
    type: IntType
    scale: Fraction

    @classmethod
    def parse(cls, text: str) -> InputSpec:
        """Read ``u<bits>`` or ``s<bits>``, optionally ``/<number>`` or ``*<number>`` or ``*<integer>/<integer>``.

        Raises
        ------
        LoweringError
            If the text is none of these.
        """
        match = _GRAMMAR.fullmatch(text)
        problem = f"the input '{text[:40]}' is not understood; write u8, s8, u8/255, s8/128, u8*0.5 or u8*1/255"
        if not match or not 1 <= int(match[2]) <= 32 or (match[3] == "/" and match[5]):
            raise LoweringError(problem)
        scale = Fraction(match[4] or 1)
        if match[5]:
            if int(match[5]) == 0:
                raise LoweringError(problem)
            scale /= int(match[5])
        if scale == 0:
            raise LoweringError(f"the input '{text}' has a scale of zero; give another number")
        if match[3] == "/":
            scale = 1 / scale
        bits = int(match[2])
        return cls(text.strip(), unsigned(bits) if match[1] == "u" else signed(bits), scale)


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

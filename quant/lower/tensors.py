"""What the lowering knows of an ONNX tensor: a constant, an activation, or nothing after an error.

Both kinds share one idea of meaning: integers, an exact scale and an exact offset.  Both understand `moved`: any
operator that only moves values (Reshape, Transpose, Slice, ...) is one numpy function applied to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .chain import Function, Linear
from .errors import LoweringError
from .exact import (
    ONE,
    ZERO,
    Array,
    Ints,
    Param,
    collapse,
    filled,
    fractions,
    objects,
    remapped,
)
from .load import MAX_ACTIVATION
from .spec import InputSpec

if TYPE_CHECKING:
    from .distance import Patches

Shape = tuple[int, ...]
Move = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Const:
    """A tensor known before the network runs: ``real = base * scale + offset``, exactly.

    Parameters
    ----------
    base : array
        Numbers of any dtype, each meaning exactly what it is; object arrays hold fractions.
    scale, offset : Param, of the rank of `base`
        What a quantizer left; 1 and 0 otherwise.
    """

    base: Array
    scale: Param
    offset: Param

    @classmethod
    def plain(cls, base: Array) -> Const:
        """A constant that is its own meaning."""
        base = np.asarray(base)
        return cls(base, filled(ONE, base.ndim), filled(ZERO, base.ndim))

    @property
    def shape(self) -> Shape:
        """The ONNX shape."""
        return tuple(self.base.shape)

    @property
    def is_plain(self) -> bool:
        """True if no quantizer left a scale or an offset."""
        return bool(self.scale.size == 1 == self.offset.size and self.scale.item() == 1 and self.offset.item() == 0)

    def exact(self) -> Param:
        """Every element as a fraction."""
        values = fractions(self.base)
        return values if self.is_plain else objects(values * self.scale + self.offset, self.shape)

    def param(self) -> Param:
        """The fewest fractions that broadcast to the tensor."""
        if self.is_plain and self.base.dtype != object:
            return fractions(collapse(self.base))
        return collapse(self.exact())

    def scalar(self, what: str) -> Fraction:
        """The only element; `what` names it in the error if there are several."""
        values = self.param()
        if values.size != 1:
            raise LoweringError(f"{what} has shape {self.shape}, but must be one number")
        value: Fraction = Fraction(values.item())
        return value

    def integers(self, what: str) -> list[int]:
        """The elements as integers (shapes, axes, indices)."""
        values = [Fraction(value) for value in fractions(self.base).ravel()] if self.is_plain else list(self.exact().ravel())
        if any(value.denominator != 1 for value in values):
            raise LoweringError(f"{what} holds numbers that are no integers")
        return [int(value) for value in values]

    def floats(self) -> NDArray[np.float32]:
        """The elements rounded to float32, the type in which the graph's executor computes what is irrational."""
        if self.is_plain and self.base.dtype == np.float32:
            return self.base
        values = [float(value) for value in self.exact().ravel()]
        return np.array(values, np.float64).astype(np.float32).reshape(self.shape)

    def moved(self, move: Move) -> Const:
        """The constant after an operator that only moves values."""
        base = move(self.base)
        return Const(base, remapped(self.scale, self.shape, move, base.ndim),
                     remapped(self.offset, self.shape, move, base.ndim))


class Carrier:
    """The IR value that carries an activation's integers.  It is made when its first reader is known.

    That lets the reader choose: a threshold wants a product's falling channels negated, and the first operator to
    touch the network's input decides its layout.

    Parameters
    ----------
    shape : tuple of int
        The IR value's shape: channels last, no batch axis.
    make : callable (mask of channels to negate, or None) -> name
        Adds the node and returns its output's name.  `can_negate` tells whether it takes a mask.
    """

    def __init__(self, shape: Shape, make: Callable[[NDArray[np.bool_] | None], str], can_negate: bool = False) -> None:
        self.shape = shape
        self.can_negate = can_negate
        self.negated: NDArray[np.bool_] | None = None
        self.patches: Patches | None = None  #: set where it is a convolution that only lays out windows
        self._make = make
        self._name = ""

    @classmethod
    def made(cls, name: str, shape: Shape) -> Carrier:
        """The carrier of a value that exists."""
        carrier = cls(shape, lambda mask: name)
        carrier._name = name
        return carrier

    @property
    def exists(self) -> bool:
        """True if the IR value was made."""
        return bool(self._name)

    def name(self, negate: NDArray[np.bool_] | None = None) -> str:
        """The IR value's name; makes it, with some channels negated, if it does not exist."""
        if not self._name:
            if negate is not None and self.can_negate and negate.any():
                self.negated = negate
            self._name = self._make(self.negated)
        return self._name


@dataclass(frozen=True, eq=False)
class Source:
    """The network's input before its first reader chooses a layout.

    Parameters
    ----------
    name : str
        Its ONNX name.
    shape : tuple of int
        Its ONNX shape, batch axis included.
    spec : InputSpec or None
        Which integers stand for it, if something says so.
    """

    name: str
    shape: Shape
    spec: InputSpec | None = None


@dataclass(frozen=True, eq=False)
class Act:
    """A tensor computed from the input: ``real = chain(integers * scale + offset)``, element by element.

    Parameters
    ----------
    carrier : Carrier or Source
        Where the integers come from.
    where : int64 array of the ONNX shape
        For each element, its index in the carrier, flattened in row-major order.  Reshape, Transpose, Slice and their
        like change this alone; nothing moves until an operator needs the IR value in another layout.
    scale, offset : Param
    chain : tuple of Function
        What comes after the first affine function; the next quantizer closes it.
    trail : tuple of str
        Names of the ONNX nodes since the carrier, for reports and error texts.
    """

    carrier: Carrier | Source
    where: Ints
    scale: Param
    offset: Param
    chain: tuple[Function, ...] = ()
    trail: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """The ONNX shape, batch axis included."""
        return tuple(self.where.shape)

    def moved(self, move: Move) -> Act:
        """The activation after an operator that only moves values."""
        where = np.ascontiguousarray(move(self.where))

        def turn(param: Param) -> Param:
            return remapped(param, self.shape, move, where.ndim)

        return replace(self, where=where, scale=turn(self.scale), offset=turn(self.offset),
                       chain=tuple(one.moved(turn, move) for one in self.chain))

    def linear(self, factor: Param, summand: Param) -> Act:
        """The activation times `factor` plus `summand`, both of its rank."""
        if not self.chain:
            return replace(self, scale=objects(self.scale * factor), offset=objects(self.offset * factor + summand))
        last = self.chain[-1]
        if isinstance(last, Linear):
            merged = Linear((objects(last.params[0] * factor), objects(last.params[1] * factor + summand)))
            return replace(self, chain=(*self.chain[:-1], merged))
        return self.then(Linear((factor, summand)))

    def then(self, function: Function) -> Act:
        """The activation after one more element-wise function."""
        return replace(self, chain=(*self.chain, function))

    def via(self, node: str) -> Act:
        """The same with one more node on its trail."""
        return replace(self, trail=(*self.trail, node))


@dataclass(frozen=True)
class Poison:
    """A tensor about which nothing is known because its node was refused; errors do not repeat behind it."""

    shape: Shape | None = None


Tensor = Const | Act | Poison


def natural(shape: Shape) -> Ints:
    """`where` of an IR value of shape (*spatial, C) seen as an ONNX tensor (1, C, *spatial)."""
    index = np.arange(elements(shape), dtype=np.int64).reshape(shape)
    return np.moveaxis(index, -1, 0)[None]


def straight(shape: Shape) -> Ints:
    """`where` of an IR value of some shape seen as an ONNX tensor (1, *shape)."""
    return np.arange(elements(shape), dtype=np.int64).reshape((1, *shape))


def elements(shape: Shape) -> int:
    """Number of elements.  Raises LoweringError if a file asks for more than fits into memory."""
    count = math.prod(shape)
    if count > MAX_ACTIVATION:
        raise LoweringError(f"it makes a tensor of shape {shape}, beyond the limit of {MAX_ACTIVATION} elements; make it smaller")
    return count


def fresh(name: str, shape: Shape, where: Ints, scale: Param | None = None, offset: Param | None = None,
          trail: tuple[str, ...] = ()) -> Act:
    """An activation over an IR value that exists."""
    rank = where.ndim
    return Act(Carrier.made(name, shape), where, filled(ONE, rank) if scale is None else scale,
               filled(ZERO, rank) if offset is None else offset, (), trail)


def spread(values: Param, where: Ints, channels: int) -> Param:
    """A vector over the IR's channels as a param of the tensor that `where` describes."""
    values = values.reshape(-1)
    if values.size == 1 or bool(np.all(values == values[0])):
        return filled(values[0], where.ndim)
    return objects(values.reshape(-1)[collapse(where % channels)])


def per_channel(param: Param, where: Ints, shape: Shape) -> Param | None:
    """The inverse of `spread`: a param as a vector over the last axis of the carrier of `shape`.

    Returns length 1 or C, or None if the param varies inside a channel or does not say what every channel has.
    """
    if param.size == 1:
        return param.reshape(1)
    index = np.broadcast_to(np.arange(param.size).reshape(param.shape), where.shape)
    flat = np.full(int(np.prod(shape)), -1, np.int64)
    flat[where.ravel()] = index.ravel()
    rows = flat.reshape(-1, shape[-1])
    channels = rows.max(axis=0)
    if bool((rows != channels).any() or (channels < 0).any() or (flat[where] != index).any()):  # the last: repeated elements
        return None
    return objects(param.reshape(-1)[channels])


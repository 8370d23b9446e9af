"""What an operation of the IR is.

An operation is a frozen dataclass.  Its fields are its attributes; its methods are everything the project needs to
know about it: shape rule, exact range rule, numpy evaluation and ONNX export stand side by side in one class.
Subclasses register themselves under their class name, which is also their name in files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import GraphError
from ..ranges import Range
from ..types import MAX_BITS

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder

Shape = tuple[int, ...]
Array = NDArray[Any]

#: Name of an operation -> its class.
OPS: dict[str, type[Op]] = {}


class Op:
    """Base of all operations.

    Shapes have no batch axis; arrays given to `evaluate` have one in front.
    """

    arity: ClassVar[int | None] = 1  #: number of inputs; None for one or more

    def __init_subclass__(cls) -> None:
        OPS[cls.__name__] = cls

    @property
    def kind(self) -> str:
        """The operation's name."""
        return type(self).__name__

    def attributes(self) -> dict[str, Any]:
        """Name -> value of every attribute, in the order of definition."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type,unused-ignore]

    def __getstate__(self) -> dict[str, Any]:
        return self.attributes()  # without what evaluation has cached

    def shape(self, *shapes: Shape) -> Shape:
        """Shape of the output.  Raises GraphError where the inputs do not fit."""
        raise NotImplementedError

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        """Exact range of the output for the given ranges (and shapes) of the inputs."""
        raise NotImplementedError

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        """The output for a batch.  Arrays hold integers, in any dtype that holds them exactly; so does the result."""
        raise NotImplementedError

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        """Emit plain ONNX integer operators; returns the name of the output tensor."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = self.attributes(), other.attributes()  # type: ignore[attr-defined,unused-ignore]
        return all(np.array_equal(mine[key], theirs[key]) for key in mine)

    __hash__ = None  # type: ignore[assignment]


def integer_array(values: object, ndim: int | None, what: str) -> NDArray[np.int64]:
    """An attribute as a read-only, contiguous int64 array.

    Raises
    ------
    GraphError
        If it is not made of integers, is empty, has another number of dimensions, or needs more than 62 bits.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.size == 0:
        raise GraphError(f"{what} is an array of {array.dtype} with shape {array.shape}; it must hold integers, one or more")
    if ndim is not None and array.ndim != ndim:
        raise GraphError(f"{what} has shape {array.shape}; it must have {ndim} dimensions")
    largest = max(abs(int(array.min())), abs(int(array.max())))
    if largest >> MAX_BITS:
        raise GraphError(f"{what} holds a value of magnitude {largest}, which needs more than {MAX_BITS} bits; scale it down")
    array = np.ascontiguousarray(array, np.int64).copy()
    array.flags.writeable = False
    return array


def int_tuple(values: object, length: int | None, least: int, what: str) -> Shape:
    """An attribute as a tuple of Python integers.

    Raises
    ------
    GraphError
        If it has another length (any, for None), or holds anything but integers from `least` to 2**31.
    """
    items = tuple(values) if isinstance(values, (tuple, list, np.ndarray)) else (values,)
    if (any(isinstance(item, bool) or not isinstance(item, (int, np.integer)) or not least <= item <= 2**31 for item in items)
            or length not in (None, len(items))):
        count = "some" if length is None else length
        raise GraphError(f"{what} is {str(values)[:80]}; it must be {count} integers from {least} to 2**31")
    return tuple(int(item) for item in items)


def plain_int(value: object, least: int, greatest: int, what: str) -> int:
    """An attribute as a Python integer.  Raises GraphError unless it is one from `least` to `greatest`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= greatest:
        raise GraphError(f"{what} is {str(value)[:40]}; it must be an integer from {least} to {greatest}")
    return int(value)


def per_channel(size: int, shape: Shape, what: str) -> None:
    """Raise GraphError unless an attribute of `size` channels fits a tensor's last axis."""
    require(len(shape) >= 1 and size in (1, shape[-1]), f"{what} has {size} channels, but the input has shape {shape}; "
            "give one for all or one per channel")


def least_int(lo: int, hi: int) -> np.dtype[Any]:
    """The narrowest signed dtype that holds [lo, hi]: what a tensor is carried in between layers.

    int64 where none does: sums modulo 2**64 are still right where the result is proven to fit.
    """
    return np.dtype(next((dtype for dtype in (np.int8, np.int16, np.int32)
                          if np.iinfo(dtype).min <= lo and hi <= np.iinfo(dtype).max), np.int64))


def require(condition: bool, message: str) -> None:
    """Raise GraphError(message) unless the condition holds."""
    if not condition:
        raise GraphError(message)

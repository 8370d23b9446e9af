"""A node with its inputs, and the table of operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, helper

from quant.lower.load import array, label

from .rational import ExactError, Rational, Shape, of_array
from .smooth import Enclosure, Softened

Tensor = Rational | Enclosure | Softened


class Node:
    """What an operator's function sees.

    Parameters
    ----------
    proto : NodeProto
    inputs : list of Tensor or None
        None where an optional input is left out.
    opset : int
    is_constant : bool
        Whether all inputs are constants.
    """

    def __init__(self, proto: NodeProto, inputs: Sequence[Tensor | None], opset: int, is_constant: bool = False) -> None:
        self.proto, self.inputs, self.opset, self.is_constant = proto, list(inputs), opset, is_constant
        self.op_type: str = proto.op_type
        self.name = label(proto)
        self._attributes = {one.name: one for one in proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or `default`."""
        proto = self._attributes.get(name)
        if proto is None:
            return default
        value = constant(proto.t, self.name) if proto.type == AttributeProto.TENSOR else helper.get_attribute_value(proto)
        return value.decode() if isinstance(value, bytes) else value

    def number(self, name: str, default: float) -> Fraction:
        """A float attribute, exactly; the default is a float32, too."""
        return Fraction(float(np.float32(self.attribute(name, default))))

    def integers(self, name: str, default: Sequence[int]) -> Shape:
        """An attribute that lists integers."""
        return tuple(int(one) for one in self.attribute(name, default))

    def has(self, position: int) -> bool:
        """True if the input is there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def input(self, position: int = 0) -> Rational:
        """An input, which must be known exactly."""
        value = self.inputs[position] if self.has(position) else None
        if value is None:
            raise ExactError(f"has no input {position}")
        if not isinstance(value, Rational):
            raise ExactError("reads irrational numbers that no quantizer has rounded")
        return value

    def compared(self, axis: int) -> Rational:
        """The first input, for what only reads its order along an axis (of the array)."""
        value = self.inputs[0]
        return value.before if isinstance(value, Softened) and axis in value.axes else self.input()

    def rank(self) -> int:
        """Of the first input."""
        return len(self.inputs[0].shape) if self.inputs and self.inputs[0] is not None else 0

    def optional(self, position: int) -> Rational | None:
        """An input, or None."""
        return self.input(position) if self.has(position) else None

    def listed(self, position: int, name: str) -> list[int] | None:
        """Integers that newer opsets take as an input and older ones as an attribute."""
        if self.has(position):
            return [int(one) for one in self.input(position).numbers()]
        value = self.attribute(name)
        return None if value is None else [int(one) for one in value]


Function = Callable[[Node], "Tensor | Sequence[Tensor]"]

#: Operator -> what computes it.
OPERATORS: Final[dict[str, Function]] = {}
#: Operators of one argument (the first) that rise or fall in it, element by element, or move its elements.
ORDERLY: Final[set[str]] = set()


def computes(*op_types: str, orderly: bool = False) -> Callable[[Function], Function]:
    """Enter a function into the table."""
    def enter(function: Function) -> Function:
        OPERATORS.update(dict.fromkeys(op_types, function))
        ORDERLY.update(op_types if orderly else ())
        return function
    return enter


def kind_of(data_type: int) -> str:
    """An ONNX element type as `Rational.kind`."""
    name = str(TensorProto.DataType.Name(data_type)).lower()
    return name if "int" in name or name == "bool" else "float"


def constant(tensor: TensorProto, where: str) -> Rational:
    """A tensor of the file, as one sample."""
    return of_array(array(tensor, where)[None], kind_of(tensor.data_type))

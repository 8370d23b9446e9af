"""An ONNX node as handlers see it, and the tables of handlers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from onnx import AttributeProto, NodeProto, helper

from .errors import LoweringError
from .load import array, label
from .tensors import Act, Const, Tensor

if TYPE_CHECKING:
    from .context import Context

Handler = Callable[["Context", "OnnxNode"], "Tensor | Sequence[Tensor]"]
Folder = Callable[["OnnxNode"], "Const | Sequence[Const]"]

#: Operator -> what it does to an activation.
HANDLERS: Final[dict[str, Handler]] = {}
#: Operator -> what it gives when all its inputs are constants.
FOLDERS: Final[dict[str, Folder]] = {}

#: Domains whose operators the tables mean; a foreign domain's `Conv` is another operator.
DOMAINS: Final = ("", "ai.onnx", "onnx.brevitas", "qonnx", "qonnx.custom_op.general", "finn.custom_op.general",
                  "finn", "ai.onnx.contrib", "com.microsoft")


def lowers(*op_types: str) -> Callable[[Handler], Handler]:
    """Enter a function into `HANDLERS`."""
    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(op_types, handler))
        return handler
    return enter


def folds(*op_types: str) -> Callable[[Folder], Folder]:
    """Enter a function into `FOLDERS`."""
    def enter(folder: Folder) -> Folder:
        FOLDERS.update(dict.fromkeys(op_types, folder))
        return folder
    return enter


class OnnxNode:
    """A node with its inputs' meanings.

    Parameters
    ----------
    proto : NodeProto
    inputs : list of Tensor or None
        None where an optional input is left out.
    opset : int
        Version of the default domain.
    """

    def __init__(self, proto: NodeProto, inputs: list[Tensor | None], opset: int) -> None:
        self.proto = proto
        self.inputs = inputs
        self.opset = opset
        self.op_type: str = proto.op_type
        self.name = label(proto)
        self._attributes = {attribute.name: attribute for attribute in proto.attribute}

    @property
    def outputs(self) -> int:
        """Number of declared outputs."""
        return len(self.proto.output)

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value: int, float, str, list, or array; `default` if absent."""
        proto = self._attributes.get(name)
        if proto is None:
            return default
        if proto.type == AttributeProto.TENSOR:
            return array(proto.t, self.name)
        value = helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return value

    def flag(self, name: str, default: int = 0) -> bool:
        """An attribute that is 0 or 1."""
        return bool(self.integer(name, default))

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attribute(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise LoweringError(f"attribute '{name}' is {value!r}, not an integer; correct it")
        return int(value)

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """An attribute that is a list of integers."""
        value = self.attribute(name, default)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or any(not isinstance(one, (int, np.integer)) for one in value):
            raise LoweringError(f"attribute '{name}' is {value!r}, not a list of integers; correct it")
        return [int(one) for one in value]

    @property
    def joins(self) -> bool:
        """True if it has two inputs and both are computed from the network's input."""
        return len(self.inputs) == 2 and all(isinstance(one, Act) for one in self.inputs)

    def has(self, position: int) -> bool:
        """True if the input is there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def act(self, position: int = 0) -> Act:
        """An input that must be computed from the network's input."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if not isinstance(tensor, Act):
            raise LoweringError(f"input {position} is {'a constant' if tensor else 'missing'}, but {self.op_type} is lowered "
                                "only for a tensor computed from the network's input there; swap or fold its inputs")
        return tensor

    def const(self, position: int, what: str) -> Const:
        """An input that must be a constant; `what` names it in the error."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if tensor is None:
            raise LoweringError(f"its {what} (input {position}) is missing; export the network again")
        if not isinstance(tensor, Const):
            raise LoweringError(f"its {what} is computed from the network's input; hardware needs a constant there, so fix it "
                                "(calibrate or freeze it) before the export")
        return tensor

    def optional(self, position: int, what: str) -> Const | None:
        """Like `const`, or None if left out."""
        return self.const(position, what) if self.has(position) else None

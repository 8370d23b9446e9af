"""The walk over a graph's nodes, in exact arithmetic."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from onnx import ModelProto, NodeProto
from onnx.defs import onnx_opset_version

from quant.lower.errors import LoweringError
from quant.lower.load import load, printable

from . import layout, operators  # noqa: F401  (fill the table)
from .node import OPERATORS, ORDERLY, Node, Tensor, constant
from .rational import ExactError, Rational, equal, least
from .smooth import Enclosure

#: Orderly in all their inputs at once.
_ORDERLY_IN_ALL = ("Add", "Concat")


class ExactNetwork:
    """A QONNX or ONNX graph to be run in rational arithmetic.

    Parameters
    ----------
    model : path or ModelProto
        For a batch of 1.  What depends on constants alone is computed once.

    Raises
    ------
    ExactError, LoweringError
        The file can't be read, or a node has no exact meaning.
    """

    def __init__(self, model: str | os.PathLike[str] | ModelProto) -> None:
        loaded, self.name = load(model)
        graph = loaded.graph
        versions = [one.version for one in loaded.opset_import if one.domain in ("", "ai.onnx")]
        self.opset = max(versions, default=onnx_opset_version())
        self.outputs = [one.name for one in graph.output]
        self.constants: dict[str, Tensor] = {one.name: constant(one, printable(one.name)) for one in graph.initializer}
        self.inputs = [one.name for one in graph.input if one.name not in self.constants]
        self.shapes = {one.name: tuple(size.dim_value or 1 for size in one.type.tensor_type.shape.dim) for one in graph.input}
        self.nodes: list[NodeProto] = []
        for proto in _sorted(graph.node, set(self.constants) | set(self.inputs)):
            if all(name in self.constants for name in proto.input if name):
                self._compute(proto, self.constants, is_constant=True)
            else:
                self.nodes.append(proto)
        self._last = {name: i for i, proto in enumerate(self.nodes) for name in proto.input}

    def run(self, x: Rational | Mapping[str, Rational]) -> list[Rational]:
        """The outputs for a batch.

        Parameters
        ----------
        x : Rational, or one for each input's name
            Samples (S, *shape), with or without the batch axis of 1 that the graph declares.

        Returns
        -------
        A Rational (S, *shape) for each output, in the order of the graph.

        Raises
        ------
        ExactError
            A node has no exact meaning; an output is irrational; the input's shape does not fit.
        """
        given = {self.inputs[0]: x} if isinstance(x, Rational) else dict(x)
        if sorted(given) != sorted(self.inputs):
            raise ExactError(f"'{self.name}' has the inputs {', '.join(self.inputs)}; pass a tensor for each")
        tensors = dict(self.constants)
        for name, value in given.items():
            shape = self.shapes[name]
            whole = Rational(value.integers[:, None], value.unit[:, None], value.kind) if value.shape == shape[1:] else value
            if whole.shape != shape:
                raise ExactError(f"'{name}' takes samples of shape {shape[1:]}, not {value.shape}")
            tensors[name] = whole
        for i, proto in enumerate(self.nodes):
            self._compute(proto, tensors, is_constant=False)
            for name in proto.input:
                if self._last.get(name) == i and name not in self.constants and name not in self.outputs:
                    tensors.pop(name, None)
        found = [tensors.get(name) for name in self.outputs]
        for name, made in zip(self.outputs, found, strict=True):
            if not isinstance(made, Rational):
                raise ExactError(f"output '{printable(name)}' is irrational; quantize it, or decide on it with an ArgMax")
        return [made for made in found if isinstance(made, Rational)]

    def _compute(self, proto: NodeProto, tensors: dict[str, Tensor], *, is_constant: bool) -> None:
        name = Node(proto, [], self.opset).name
        if proto.op_type not in OPERATORS:
            raise ExactError(f"node '{name}': there is no exact rule for operator {printable(proto.op_type)}")
        try:
            made = _applied(proto, [tensors[one] if one else None for one in proto.input], self.opset, is_constant)
        except (ExactError, LoweringError) as error:
            raise ExactError(f"node '{name}' ({proto.op_type}) {error}") from None
        for output, value in zip(proto.output, made, strict=False):
            if output:
                tensors[output] = value


def _applied(proto: NodeProto, inputs: Sequence[Tensor | None], opset: int, is_constant: bool) -> Sequence[Tensor]:
    """The operator's function, on both ends of an enclosure where there is one."""
    function = OPERATORS[proto.op_type]
    loose = [i for i, one in enumerate(inputs) if isinstance(one, Enclosure)]
    if not loose:
        made = function(Node(proto, inputs, opset, is_constant))
        return made if isinstance(made, (list, tuple)) else [made]  # type: ignore[list-item]
    if proto.op_type not in ORDERLY or (loose != [0] and proto.op_type not in _ORDERLY_IN_ALL and (
            len(loose) > 1 or proto.op_type not in ("Mul", "Sub"))):
        raise ExactError("reads irrational numbers that no quantizer has rounded")
    ends = [_applied(proto, [getattr(one, end) if isinstance(one, Enclosure) else one for one in inputs], opset, is_constant)
            for end in ("low", "high")]
    return [_between(low, high) for low, high in zip(*ends, strict=True)]


def _between(a: Tensor, b: Tensor) -> Tensor:
    if not isinstance(a, Rational) or not isinstance(b, Rational):
        raise ExactError("applies an irrational function to irrational numbers")
    if equal(a, b).all():
        return a
    return Enclosure(least(a, b), least(a, b, -1))


def _sorted(nodes: Sequence[NodeProto], known: set[str]) -> list[NodeProto]:
    """Every node after those that make its inputs."""
    made, rest, order = set(known), list(nodes), list[NodeProto]()
    while rest:
        ready = [proto for proto in rest if all(not name or name in made for name in proto.input)]
        if not ready:
            raise ExactError(f"node '{printable(rest[0].name or rest[0].op_type)}' reads what no node makes")
        order += ready
        made |= {name for proto in ready for name in proto.output}
        taken = {id(proto) for proto in ready}
        rest = [proto for proto in rest if id(proto) not in taken]
    return order



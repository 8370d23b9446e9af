"""The graph: named integer tensors and the operations between them.

A graph is immutable.  `GraphBuilder` makes one: it applies shape and range rules as nodes are added, so every value
has its shape and its least type from the start, and `build` verifies the whole.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from .errors import GraphError
from .ops import Op, Shape
from .ranges import Range
from .types import IntType


@dataclass(frozen=True)
class Value:
    """An integer tensor: its name, its shape (channels last, no batch axis), its type."""

    name: str
    shape: Shape
    type: IntType

    @property
    def elements(self) -> int:
        """Number of integers in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Node:
    """One operation applied to values.

    Parameters
    ----------
    name : str
    op : Op
    inputs : tuple of str
        Names of the values it reads.
    output : str
        Name of the value it makes; the node and its output share the name space of values.
    source : str
        Where it came from (names of QONNX nodes), for people and error texts; may be empty.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    source: str = ""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and all(
            getattr(self, key) == getattr(other, key) for key in ("name", "op", "inputs", "output", "source"))


@dataclass(frozen=True)
class Affine:
    """The real number an integer stands for: ``real[c] = integer[c] * scale[c] + offset[c]``, exactly.

    Parameters
    ----------
    scale, offset : tuple of Fraction, length 1 or C
    """

    scale: tuple[Fraction, ...] = (Fraction(1),)
    offset: tuple[Fraction, ...] = (Fraction(0),)


@dataclass(frozen=True)
class HostStep:
    """How a host computes a graph input from the source network's float input ``x``.

    The integer of channel c is the level number of the thresholds that x reaches:
    ``type.lo + type.step * #{t : x >= thresholds[c][t]}``, with ``>`` instead of ``>=`` where `strict`.  A plain
    u8/255 input (an integer divided by a constant) has no thresholds, only a `scale`: ``x = integer * scale``.

    Parameters
    ----------
    description : str
        For people, for example ``u8/255``.
    scale : Fraction or None
    thresholds : tuple of tuples of Fraction, (C or 1) x T
    strict : tuple of bool, T
        Whether threshold t itself still counts as below (a tie rounds down).
    """

    description: str
    scale: Fraction | None = None
    thresholds: tuple[tuple[Fraction, ...], ...] = ()
    strict: tuple[tuple[bool, ...], ...] = ()


@dataclass(frozen=True)
class Interface:
    """The outside of a graph's input or output.

    Parameters
    ----------
    value : str
        Name of the IR value.
    source_shape : tuple of int or None
        Shape in the source network without batch axis (channels first there); None if the same as the IR's.
    perm : tuple of int
        Axes that bring `source_shape` to the IR's layout (before any reshape); empty if none.
    affine : Affine
        What the integers mean in the source network.
    host : HostStep or None
        For inputs: how a host makes the integers.
    """

    value: str
    source_shape: Shape | None = None
    perm: tuple[int, ...] = ()
    affine: Affine = field(default_factory=Affine)
    host: HostStep | None = None


@dataclass(frozen=True)
class Graph:
    """An integer-only network.

    Parameters
    ----------
    name : str
    inputs, outputs : tuple of Interface
    nodes : tuple of Node, in an order in which every value is made before it is read
    values : name -> Value, for inputs and node outputs
    """

    name: str
    inputs: tuple[Interface, ...]
    outputs: tuple[Interface, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]

    @functools.cached_property
    def ranges(self) -> Mapping[str, Range]:
        """The exact range of every value, computed once.  Raises GraphError if a value can leave its declared type."""
        from .verify import compute_ranges

        return MappingProxyType(compute_ranges(self))

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self.name, self.inputs, self.outputs, self.nodes, dict(self.values))

    def producer(self, value: str) -> Node | None:
        """The node that makes a value; None for an input."""
        return next((node for node in self.nodes if node.output == value), None)

    def consumers(self, value: str) -> list[Node]:
        """The nodes that read a value, in order."""
        return [node for node in self.nodes if value in node.inputs]

    @property
    def input(self) -> Interface:
        """The only input.  Raises GraphError if there are several."""
        return _only(self.inputs, self.name, "inputs")

    @property
    def output(self) -> Interface:
        """The only output.  Raises GraphError if there are several."""
        return _only(self.outputs, self.name, "outputs")


def _restore(name: str, inputs: tuple[Interface, ...], outputs: tuple[Interface, ...], nodes: tuple[Node, ...],
             values: dict[str, Value]) -> Graph:
    """Make an unpickled graph: sweeps send graphs to other processes, and a mapping proxy does not pickle."""
    return Graph(name, inputs, outputs, nodes, MappingProxyType(values))


def _only(interfaces: tuple[Interface, ...], graph: str, what: str) -> Interface:
    if len(interfaces) != 1:
        raise GraphError(f"graph '{graph}' has {len(interfaces)} {what} "
                         f"({', '.join(one.value for one in interfaces)}); this use takes a graph with one")
    return interfaces[0]


class GraphBuilder:
    """Makes a graph node by node.

    >>> from intir import GraphBuilder, MatMul, unsigned
    >>> import numpy as np
    >>> b = GraphBuilder("tiny")
    >>> x = b.input("x", (2,), unsigned(8))
    >>> y = b.node(MatMul(np.array([[1], [-1]])), x)
    >>> b.output(y)
    >>> str(b.build().values[y].type)
    '[-255, 255]'
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: dict[str, Value] = {}
        self.ranges: dict[str, Range] = {}
        self.nodes: list[Node] = []
        self._inputs: list[Interface] = []
        self._outputs: list[Interface] = []

    def input(self, name: str, shape: Shape, kind: IntType, **interface: object) -> str:
        """Add an input; `interface` are further fields of `Interface`.  Returns the value's name."""
        self._add(Value(name, tuple(shape), kind))
        self.ranges[name] = Range.of(kind, shape[-1] if shape else 1)
        self._inputs.append(Interface(name, **interface))  # type: ignore[arg-type]
        return name

    def node(self, op: Op, *inputs: str, name: str = "", kind: IntType | None = None, source: str = "") -> str:
        """Add a node; returns the name of its output, which is also the node's.

        `kind` is the output's type; by default the least type that holds its proven range.
        """
        name = name or self.fresh(op.kind.lower())
        for value in inputs:
            if value not in self.values:
                raise GraphError(f"node '{name}' ({op.kind}) reads '{value}', which nothing makes before it; "
                                 "add its producer first")
        if not inputs or op.arity not in (None, len(inputs)):
            raise GraphError(f"node '{name}' ({op.kind}) has {len(inputs)} inputs; it takes {op.arity or 'one or more'}")
        shapes = [self.values[value].shape for value in inputs]
        try:
            shape = op.shape(*shapes)
            proven = op.range(*[self.ranges[value] for value in inputs], shapes=shapes)
        except GraphError as error:
            raise GraphError(f"node '{name}': {error}") from None
        self._add(Value(name, shape, kind or proven.type))
        self.ranges[name] = proven
        self.nodes.append(Node(name, op, tuple(inputs), name, source))
        return name

    def output(self, value: str, **interface: object) -> None:
        """Declare a value as an output; `interface` are further fields of `Interface`."""
        self._outputs.append(Interface(value, **interface))  # type: ignore[arg-type]

    def fresh(self, stem: str) -> str:
        """A name that is not taken: ``stem0``, ``stem1``, ..."""
        number = 0
        while f"{stem}{number}" in self.values:
            number += 1
        return f"{stem}{number}"

    def prune(self) -> None:
        """Drop the nodes that no output needs."""
        needed = {one.value for one in self._outputs}
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
        for node in self.nodes:
            if node.output not in needed:
                del self.values[node.output], self.ranges[node.output]
        self.nodes = [node for node in self.nodes if node.output in needed]

    def build(self) -> Graph:
        """The graph, verified.  Raises GraphError if it breaks a rule."""
        from .verify import verify

        graph = Graph(self.name, tuple(self._inputs), tuple(self._outputs), tuple(self.nodes),
                      MappingProxyType(dict(self.values)))
        verify(graph)
        return graph

    def _add(self, value: Value) -> None:
        if value.name in self.values:
            raise GraphError(f"the name '{value.name}' is taken; give each value a name of its own")
        self.values[value.name] = value

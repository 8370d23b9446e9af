"""Where quantizers go in a float network: on its input, and on every value that a product, a sum or a pool reads and that
isn't on a quantizer's grid yet.

What lies in between (bias, batch norm, activation function) stays float and ends in the thresholds of the next
quantizer, exactly.  The network's output is the last layer's sums, or quantized behind a function with irrational values.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.fx import Node

from .checks import QuantizationError
from .observers import CalibrationError, Observer
from .traced import Kind, Traced


class Watcher(nn.Module):
    """In the place of a quantizer, while that is calibrated."""

    def __init__(self, name: str, observer: Observer) -> None:
        super().__init__()
        self.name, self.observer = name, observer

    def forward(self, x: Tensor) -> Tensor:
        try:
            self.observer.update(x)
        except CalibrationError as error:
            raise QuantizationError(f"`{self.name}` can't be calibrated: {error}") from None
        return x


class Placement:
    """Puts a `Watcher` into a traced network wherever a quantizer is to be.

    Parameters
    ----------
    traced
        Changed in place.
    observer
        Makes a new observer.

    Members
    -------
    watchers : dict
        By name of the submodule.
    input : str
        Name of the one on the network's input.
    layers : list of Node
        Calls of layers with weights, in order.
    outputs : set of str
        Name of the one on the network's output, if there is one.
    grid : dict
        For each value that lies on a quantizer's grid, the quantizer's name.
    """

    def __init__(self, traced: Traced, observer: Callable[[], Observer]) -> None:
        self.traced, self.observer = traced, observer
        self.watchers: dict[str, Watcher] = {}
        self.layers: list[Node] = []
        self.outputs: set[str] = set()
        self.grid: dict[Node, str] = {}
        self._quantized: dict[Node, Node] = {}
        nodes = list(traced.module.graph.nodes)
        self.input = self._watcher("input")
        traced.input.replace_all_uses_with(first := self._watched(self.input, traced.input), lambda user: user is not first)
        for node in nodes:
            self._place(node)

    def reads(self, layer: Node) -> str:
        """Name of the quantizer whose values a layer reads."""
        return self.grid[layer.all_input_nodes[0]]

    def _place(self, node: Node) -> None:
        kind, operands = self.traced.kind(node), self.traced.operands(node)
        if kind is Kind.DROP:
            node.replace_all_uses_with(operands[0])
            self.traced.module.graph.erase_node(node)
        elif kind in (Kind.MULTIPLY, Kind.JOIN, Kind.AVERAGE, Kind.CURVE, Kind.PICK):
            for operand in operands:
                node.replace_input_with(operand, quantized := self._on_grid(operand))
            if kind is Kind.MULTIPLY:
                self.layers.append(node)
            if kind is Kind.PICK:
                self.grid[node] = self.grid[quantized]
        elif kind is Kind.MOVE and operands[0] in self.grid:
            self.grid[node] = self.grid[operands[0]]
        elif node.op == "output":
            (value,) = node.all_input_nodes
            if self._irrational(value):
                node.replace_input_with(value, self._on_grid(value))
                self.outputs.add(self.grid[node.all_input_nodes[0]])
        elif kind is Kind.CONCAT:
            # One quantizer for all parts: what reads them then has a single scale, and joining them costs nothing.
            if len(names := {self.grid.get(operand, "") for operand in operands}) > 1 or "" in names:
                name = self._watcher(node.name)
                sources: dict[Node, Node] = {}
                for operand in operands:
                    node.replace_input_with(operand, self._part(name, operand, sources))
                names = {name}
            self.grid[node] = names.pop()

    def _on_grid(self, node: Node) -> Node:
        """The value, quantized; in front of what only moves it."""
        if node in self.grid:
            return node
        if node not in self._quantized:
            if self.traced.kind(node) is Kind.MOVE:
                (operand,) = self.traced.operands(node)
                moved = self._on_grid(operand)
                node.replace_input_with(operand, moved)
                self.grid[node] = self.grid[moved]
                return node
            self._quantized[node] = self._watched(self._watcher(node.name), node)
        return self._quantized[node]

    def _part(self, name: str, node: Node, sources: dict[Node, Node]) -> Node:
        """A part of a concatenation, quantized by the one of that name; once for all parts that are moved out of one value."""
        if self.traced.kind(node) is Kind.MOVE and node not in self.grid:
            (operand,) = self.traced.operands(node)
            node.replace_input_with(operand, self._part(name, operand, sources))
            self.grid[node] = name
            return node
        if node not in sources:
            sources[node] = node if self.grid.get(node) == name else self._watched(name, node)
        return sources[node]

    def _irrational(self, node: Node) -> bool:
        """Whether a value comes, through nothing that would quantize it, from a function with irrational values."""
        if node in self.grid or not (operands := self.traced.operands(node)):
            return False
        kind = self.traced.kind(node)
        return kind in (Kind.SMOOTH, Kind.CURVE) or (kind in (Kind.CHAIN, Kind.MOVE) and self._irrational(operands[0]))

    def _watcher(self, base: str) -> str:
        name = f"{base}_quant"
        while hasattr(self.traced.module, name):
            name += "_"
        self.watchers[name] = Watcher(name, self.observer())
        self.traced.module.add_submodule(name, self.watchers[name])
        return name

    def _watched(self, name: str, node: Node) -> Node:
        graph = self.traced.module.graph
        with graph.inserting_after(node):
            call = graph.call_module(name, (node,))
        call.meta = dict(node.meta)
        self.grid[call] = name
        return call

"""What each operation of a float network is to quantization: a table, and a trace with shapes to look it up in.

A new operation is a line in one of the tables: which of the `Kind`s it is decides where quantizers go (`ptq`).
"""

from __future__ import annotations

import copy
import operator
from enum import Enum
from itertools import accumulate
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node, Tracer
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from .checks import QuantizationError, line_of, reason_of
from .fold import LAYERS, NORMS


class Kind(Enum):
    """Which inputs an operation takes, and what it gives."""

    MULTIPLY = "weights: takes quantized values, gives sums"
    CHAIN = "element by element, rising or falling: takes anything, gives what the next quantizer reads"
    AVERAGE = "takes quantized values, gives sums"
    SMOOTH = "like CHAIN, but gives irrational numbers, so that a network's output is quantized behind it"
    CURVE = "element by element, neither rising nor falling: takes quantized values, which a table can list"
    MOVE = "moves values or picks among them: gives quantized values for quantized ones"
    PICK = "like MOVE, but quantized values are cheaper to compare, so they are quantized before"
    JOIN = "element by element with two computed operands: takes quantized values, gives sums"
    CONCAT = "puts values side by side, which are brought to one scale"
    DROP = "does nothing in evaluation"
    END = "only at the end of a network"
    OTHER = "no tensor: sizes and their arithmetic"


_MODULES: Final[dict[Kind, tuple[type[nn.Module], ...]]] = {
    Kind.MULTIPLY: LAYERS,
    Kind.CHAIN: (*NORMS, nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.Hardsigmoid),
    Kind.SMOOTH: (nn.ELU, nn.Sigmoid, nn.Tanh),
    Kind.CURVE: (nn.SiLU, nn.Hardswish, nn.GELU, nn.Mish),
    Kind.AVERAGE: (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
    Kind.PICK: (nn.MaxPool1d, nn.MaxPool2d),
    Kind.MOVE: (nn.Flatten, nn.Unflatten, nn.ZeroPad1d, nn.ZeroPad2d, nn.Upsample, nn.UpsamplingNearest2d, nn.PixelShuffle,
                nn.ChannelShuffle),
    Kind.DROP: (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout),
    Kind.END: (nn.Softmax, nn.LogSoftmax),
}

_FUNCTIONS: Final[dict[Kind, tuple[Any, ...]]] = {
    Kind.CHAIN: (functional.relu, functional.relu_, torch.relu, torch.relu_, functional.relu6, functional.hardtanh,
                 functional.leaky_relu, functional.hardsigmoid, torch.clamp, torch.clip, operator.neg, torch.neg),
    Kind.SMOOTH: (functional.elu, functional.sigmoid, torch.sigmoid, functional.tanh, torch.tanh),
    Kind.CURVE: (functional.silu, functional.hardswish, functional.gelu, functional.mish, torch.abs),
    Kind.AVERAGE: (functional.avg_pool1d, functional.avg_pool2d, functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d,
                   torch.mean),
    Kind.PICK: (functional.max_pool1d, functional.max_pool2d),
    Kind.MOVE: (torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze,
                functional.pad, functional.interpolate, functional.pixel_shuffle, functional.channel_shuffle,
                operator.getitem),
    Kind.JOIN: (operator.add, operator.iadd, torch.add, operator.sub, operator.isub, torch.sub, operator.mul, operator.imul,
                torch.mul),
    Kind.CONCAT: (torch.cat, torch.concat),
    Kind.DROP: (functional.dropout, functional.dropout1d, functional.dropout2d),
    Kind.END: (functional.softmax, functional.log_softmax, torch.softmax),
}

#: Layers as functions: no module is there whose weights could get a quantizer.
_WEIGHTS_OUTSIDE: Final = {functional.linear: "Linear", functional.conv1d: "Conv1d", functional.conv2d: "Conv2d",
                           functional.conv_transpose1d: "ConvTranspose1d", functional.conv_transpose2d: "ConvTranspose2d",
                           functional.batch_norm: "BatchNorm2d"}

_METHODS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.SMOOTH: ("sigmoid", "tanh"),
    Kind.CHAIN: ("relu", "relu_", "clamp", "clamp_", "clip", "neg"),
    Kind.AVERAGE: ("mean",),
    Kind.MOVE: ("flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze",
                "contiguous"),  # what is behind may be a `view`
    Kind.JOIN: ("add", "add_", "sub", "sub_", "mul", "mul_"),
    Kind.DROP: ("clone", "detach"),
    Kind.END: ("softmax",),
}


class Traced:
    """A copy of a float network as a graph of operations with shapes.

    Parameters
    ----------
    model
        In any mode; the copy is in evaluation mode.
    example_input : shape (N, ...)

    Raises
    ------
    QuantizationError
        The network branches on values, or has several inputs or outputs.
    """

    def __init__(self, model: nn.Module, example_input: Tensor) -> None:
        model = copy.deepcopy(model).eval()
        for part in model.modules():
            if getattr(part, "inplace", False):
                part.inplace = False  # type: ignore[assignment]  # a tensor may be read quantized and not
        try:
            graph = Tracer().trace(model)
        except Exception as error:  # whatever a forward function raises when it meets a stand-in for a tensor
            raise QuantizationError(f"{type(model).__name__} can't be traced{line_of(error)} ({reason_of(error)}): take branches "
                                    "and loops that depend on tensors or on their shapes out of its forward function") from error
        self.module = GraphModule(model, graph, class_name=type(model).__name__)
        inputs = [node for node in graph.nodes if node.op == "placeholder" and node.users]
        if len(inputs) != 1 or not all(isinstance(node.args[0], Node) for node in graph.find_nodes(op="output")):
            raise QuantizationError(f"{type(model).__name__} takes {len(inputs)} inputs or returns no single tensor: wrap it in a "
                                    "module with one of each")
        with torch.no_grad():
            try:
                self.module(example_input)  # first: `ShapeProp` would print where it fails
            except (RuntimeError, ValueError, TypeError) as error:
                raise QuantizationError(f"the example input, {example_input.dtype} of shape {tuple(example_input.shape)}, does not "
                                        f"go through {type(model).__name__} ({reason_of(error)})") from error
            ShapeProp(self.module).propagate(example_input)
        self._slice_parts()
        self.input = inputs[0]

    def _slice_parts(self) -> None:
        """Make slices of what `chunk` and `split` give."""
        for node in list(self.module.graph.nodes):
            if node.target not in (torch.chunk, torch.split, "chunk", "split"):
                continue
            axis = node.kwargs.get("dim", node.args[2] if len(node.args) > 2 else 0)
            parts = [one.shape for one in node.meta["tensor_meta"]]
            ends = list(accumulate(shape[axis] for shape in parts))
            for user in list(node.users):
                if user.target is not operator.getitem or not isinstance(user.args[1], int):
                    continue
                end = ends[user.args[1]]
                whole = (slice(None),) * (axis % len(parts[0]))
                user.args = (node.args[0], (*whole, slice(end - parts[user.args[1]][axis], end)))
            if not node.users:
                self.module.graph.erase_node(node)

    def owner(self, node: Node) -> nn.Module:
        """The module that a `call_module` node calls."""
        return self.module.get_submodule(str(node.target))

    def operands(self, node: Node) -> list[Node]:
        """The computed tensors among a node's arguments: constants of the network and sizes aren't."""
        return [one for one in node.all_input_nodes if one.op != "get_attr" and "tensor_meta" in one.meta]

    def kind(self, node: Node) -> Kind:
        """What an operation is.

        Raises
        ------
        QuantizationError
            It is in no table, or in a form that hardware doesn't do.
        """
        if node.op in ("placeholder", "get_attr", "output") or "tensor_meta" not in node.meta:
            return Kind.OTHER
        found: Kind | None = None
        if node.op == "call_module":
            owner = self.owner(node)
            found = next((kind for kind, types in _MODULES.items() if type(owner) in types), None)
        elif node.op == "call_function":
            found = next((kind for kind, functions in _FUNCTIONS.items() if node.target in functions), None)
            if found is None and node.target in (operator.truediv, torch.div) and len(self.operands(node)) == 1:
                found = Kind.CHAIN
        elif node.op == "call_method":
            found = next((kind for kind, methods in _METHODS.items() if node.target in methods), None)
        if found is None:
            if node.target in _WEIGHTS_OUTSIDE:
                raise self.error(node, f"has its weights outside of a layer: use nn.{_WEIGHTS_OUTSIDE[node.target]} itself, no "
                                 "subclass and no function")
            raise self.error(node, "is no operation that can be quantized: replace it by one that is (docs/pytorch.md lists them), "
                             "or cut the network before it")
        if found is Kind.JOIN and sum(one in self.operands(node) for one in node.args) < 2:
            found = Kind.CHAIN  # with a constant
        self._check(node, found)
        return found

    def _check(self, node: Node, kind: Kind) -> None:
        owner = self.owner(node) if node.op == "call_module" else None
        if isinstance(owner, LAYERS) and getattr(owner, "padding_mode", "zeros") != "zeros":
            raise self.error(node, f"pads with '{owner.padding_mode}': only zeros are supported")
        if isinstance(owner, NORMS) and owner.running_mean is None:
            raise self.error(node, "keeps no running statistics, so it depends on the batch: train it with "
                             "track_running_stats=True")
        if kind is Kind.AVERAGE and "adaptive" in str(node.target if owner is None else type(owner)).lower():
            shape = node.meta["tensor_meta"].shape
            if any(size != 1 for size in shape[2:]):
                raise self.error(node, f"averages to {tuple(shape[2:])} positions: only 1 is supported; use AvgPool2d with a "
                                 "kernel")
        if kind is Kind.PICK and (getattr(owner, "return_indices", False) or node.kwargs.get("return_indices")):
            raise self.error(node, "returns indices: switch return_indices off")
        mode = getattr(owner, "mode", node.kwargs.get("mode", "nearest"))
        if kind is Kind.MOVE and mode not in ("nearest", "constant"):
            raise self.error(node, f"has mode '{mode}', which makes new values: only nearest and constant are supported")
        if kind is Kind.END and any(user.op != "output" for user in node.users):
            raise self.error(node, "is read by other operations: it can only end a network")

    def error(self, node: Node, problem: str) -> QuantizationError:
        """An error about one operation, which it names as the user does."""
        where = str(node.target) if node.op == "call_module" else _scope(node)
        what = type(self.owner(node)).__name__ if node.op == "call_module" else getattr(node.target, "__name__", str(node.target))
        return QuantizationError(f"`{where}` ({what}) {problem}")


def _scope(node: Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    module = next(reversed(list(stack)), "") if stack else ""
    return f"{module}.{node.name}" if module else node.name

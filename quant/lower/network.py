"""The walk: every node of an ONNX graph, once, in the order in which values are made.

A node whose inputs are all constants goes to `FOLDERS`, any other to `HANDLERS`.  An error does not end the walk: the
node's outputs become `Poison`, and behind the next quantizer, whose output does not depend on what comes before it,
the walk goes on, so that one run finds all problems of a model.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from intir import Affine, Graph, GraphBuilder, GraphError, signed

from . import handlers  # noqa: F401  (fills the tables)
from .context import Context, Record, input_view
from .decide import argmax as decide_argmax
from .errors import LoweringError, Problem
from .exact import Param
from .fuse import fused
from .layout import MAX_ELEMENTS, element_wise, in_own_layout
from .load import MAX_ACTIVATION, MAX_RANK, array, dimensions, label, load, printable
from .node import DOMAINS, FOLDERS, HANDLERS, OnnxNode
from .realise import integers_of
from .runtimes import semantics_of
from .spec import InputSpec
from .tensors import (
    Act,
    Carrier,
    Const,
    Poison,
    Source,
    Tensor,
    fresh,
    per_channel,
    straight,
)

_CHANNELS_FIRST = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
                   "BatchNormalization", "ConvInteger", "QLinearConv", "QLinearAveragePool", "QLinearGlobalAveragePool")
_QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Sign", "MultiThreshold")
#: An input of an integer type says itself which integers it takes.
_INTEGER_INPUTS = {TensorProto.UINT8: InputSpec.parse("u8"), TensorProto.INT8: InputSpec.parse("s8"),
                   TensorProto.UINT16: InputSpec.parse("u16"), TensorProto.INT16: InputSpec.parse("s16")}
#: What malformed nodes make handlers and numpy raise; a sound node raises none of these.
_MALFORMED = (ValueError, TypeError, IndexError, KeyError, AttributeError, ZeroDivisionError, OverflowError, MemoryError)


@dataclass(frozen=True, eq=False)
class LoweredNetwork:
    """What `lower` gives.

    Parameters
    ----------
    graph : Graph
        The integer-only network; its interfaces say exactly what its inputs and outputs mean.
    report : tuple of Record
        One line per IR node: where it came from and what was chosen.
    semantics : str
        Whose arithmetic the integers reproduce.
    """

    graph: Graph
    report: tuple[Record, ...]
    semantics: str = "exact"

    def __str__(self) -> str:
        rows = [("value", "bits", "differ", "form", "from"),
                *((one.value, str(one.width_bits), str(one.differing), one.form, ", ".join(one.sources)) for one in self.report)]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
                 for row in rows]
        return "\n".join([f"semantics: {self.semantics}", *lines])


def lower(path_or_model: str | os.PathLike[str] | ModelProto, *, input_spec: str | None = None,
          argmax: bool = False, semantics: str = "exact") -> LoweredNetwork:
    """Lower a QONNX network to the IR, exactly.

    Parameters
    ----------
    path_or_model : path of an ONNX file, or a ModelProto
    input_spec : str, optional
        Which integers stand for the float input: ``u8/255`` says an unsigned 8-bit integer divided by 255.  Without it,
        the first quantizer's output is the hardware's input, and the graph records how a host computes it.
    argmax : bool
        End with the index of the greatest output; a Softmax at the end is dropped then.
    semantics : str
        Whose arithmetic a QDQ, QCDQ or QLinear model's integers reproduce: ``exact`` (the graph's, in rationals),
        ``onnxruntime``, ``onnxruntime-int8``, ``tflite`` or ``tflite-single``.

    Raises
    ------
    LoweringError
        One sentence that names the node, the rule it breaks and the way out.
    """
    walk = _Walk(path_or_model, input_spec, argmax, semantics)
    if walk.problems:
        more = len(walk.problems) - 1
        hint = f" (and {more} more problem{'s' if more > 1 else ''}: lower with --explain lists all)" if more else ""
        raise LoweringError(f"{walk.problems[0]}{hint}")
    builder = walk.context.builder
    builder.prune()  # a function of one integer reads it directly, past the nodes that made its parts
    try:
        graph = builder.build()
    except GraphError as error:
        raise LoweringError(f"'{walk.name}' lowers to a graph that breaks a rule of the IR: {error}") from None
    return LoweredNetwork(graph, tuple(one for one in walk.context.report if one.value in graph.values),
                          walk.context.semantics.name)


def explain(path_or_model: str | os.PathLike[str] | ModelProto, *, input_spec: str | None = None,
            argmax: bool = False, semantics: str = "exact") -> list[Problem]:
    """All reasons why a network can't be lowered, in the order of its nodes; empty if it can be."""
    try:
        walk = _Walk(path_or_model, input_spec, argmax, semantics)
        if not walk.problems:
            walk.context.builder.build()
    except (LoweringError, GraphError) as error:
        return [Problem("", "", str(error))]
    return walk.problems


class _Walk:
    def __init__(self, path_or_model: str | os.PathLike[str] | ModelProto, input_spec: str | None, argmax: bool,
                 semantics: str) -> None:
        self.spec = InputSpec.parse(input_spec) if input_spec is not None else None
        rules = semantics_of(semantics)
        self.model, self.name = load(path_or_model)
        self.problems: list[Problem] = []
        if not rules.is_exact:
            try:
                self.model, self.problems = fused(self.model, rules)
            except _MALFORMED as error:
                raise LoweringError(f"'{self.name}' has a malformed node ({type(error).__name__}: {str(error)[:120]}); check the "
                                    "model with onnx.checker and export it again") from None
        self.graph = self.model.graph
        self.argmax = argmax
        self.opset = max([one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx")], default=1)
        channels_first = any(node.op_type in _CHANNELS_FIRST for node in self.graph.node)
        self.context = Context(GraphBuilder("network"), channels_first, semantics=rules)
        self.context.builder.name = Context(self.context.builder, channels_first).unique(self.name)
        self.tensors: dict[str, Tensor] = {}
        self.read = {name for node in self.graph.node for name in node.input} | {one.name for one in self.graph.output}
        self._leaves()
        if self.problems and not rules.is_exact:
            return  # what runs in float is refused as a whole; lowering the rest would tell nothing
        for node in _in_order(self.graph.node, [one.name for one in self.graph.output], self.tensors):
            self._step(node)
        if not self.graph.output:
            raise LoweringError(f"'{self.name}' declares no outputs; export the network again")
        for value in self.graph.output:
            self._output(value.name)

    def _problem(self, node: str, op_type: str, message: str) -> None:
        what = f"node '{node}' ({op_type})" if op_type else f"'{node}'"
        self.problems.append(Problem(node, op_type, f"{what}: {message}"))

    def _leaves(self) -> None:
        """Initializers and inputs.  Old files list initializers as inputs, too."""
        for tensor in self.graph.initializer:
            try:
                self.tensors[tensor.name] = Const.plain(array(tensor, tensor.name))
            except LoweringError as error:
                self._problem(tensor.name, "", str(error))
                self.tensors[tensor.name] = Poison()
        for value in self.graph.input:
            if value.name in self.tensors:
                continue
            sizes = dimensions(value)
            if sizes:  # a batch axis without a size is a batch of any size
                sizes[0] = sizes[0] or 1
            if sizes is None or len(sizes) < 2 or None in sizes:
                shown = "unknown" if sizes is None else "(" + ", ".join("?" if size is None else str(size) for size in sizes) + ")"
                self._problem(value.name, "", f"this input has shape {shown}; hardware needs a batch axis and fixed sizes behind "
                                              f"it, "
                                              "so export the network with a fixed input shape")
            elif sizes[0] != 1:
                self._problem(value.name, "", f"this input has a batch of {sizes[0]}; export the network with a batch of 1")
            elif len(sizes) > MAX_RANK:
                self._problem(value.name, "", f"this input has {len(sizes)} axes, and the limit is {MAX_RANK}; reshape it")
            elif np.prod(np.array(sizes, object)) > MAX_ACTIVATION:
                self._problem(value.name, "", f"this input has dimensions {sizes}, beyond the limit of {MAX_ACTIVATION} elements")
            else:
                shape = tuple(size for size in sizes if size is not None)
                spec = self.spec or _INTEGER_INPUTS.get(value.type.tensor_type.elem_type)
                self.tensors[value.name] = input_view(Source(printable(value.name), shape, spec))
                continue
            self.tensors[value.name] = Poison()

    def _step(self, proto: NodeProto) -> None:
        inputs = [self.tensors.get(name) if name else None for name in proto.input]
        node = OnnxNode(proto, inputs, self.opset)
        outputs: list[Tensor] | None = None
        try:
            missing = [name for name in proto.input if name and name not in self.tensors]
            if missing:
                raise LoweringError(f"it reads '{printable(missing[0])}', which nothing makes; export the network again")
            outputs = self._outputs_of(node)
        except LoweringError as error:
            self._problem(node.name, node.op_type, str(error))
        except GraphError as error:
            self._problem(node.name, node.op_type, f"the IR refuses it: {error}")
        except _MALFORMED as error:
            self._problem(node.name, node.op_type, f"it is malformed ({type(error).__name__}: {str(error)[:120]}); check the model "
                                                   "with onnx.checker and export it again")
        sound = outputs is not None and not any(isinstance(one, Poison) for one in inputs)
        for position, name in enumerate(proto.output):
            made = outputs[position] if outputs is not None and position < len(outputs) else Poison()
            if sound and isinstance(made, Poison) and name in self.read:
                self._problem(node.name, node.op_type,
                              f"its output {position} ('{printable(name)}') is read, but the lowering does "
                              "not make it; remove what reads it")
            if name:
                self.tensors[name] = made

    def _outputs_of(self, node: OnnxNode) -> list[Tensor]:
        known = sorted(set(HANDLERS) | set(FOLDERS))
        supported = node.proto.domain in DOMAINS and (node.op_type in HANDLERS or node.op_type in FOLDERS)
        if not supported:
            domain = f" of domain '{node.proto.domain}'" if node.proto.domain else ""
            raise LoweringError(f"operator {node.op_type}{domain} is not supported; supported are {', '.join(known)}")
        if any(isinstance(one, Poison) for one in node.inputs):
            return self._behind_poison(node)
        if all(isinstance(one, Const) or one is None for one in node.inputs) and node.op_type in FOLDERS:
            result = FOLDERS[node.op_type](node)
            return [result] if isinstance(result, Const) else list(result)
        if node.op_type not in HANDLERS:
            raise LoweringError(f"{node.op_type} of a tensor computed from the network's input is not supported, only of "
                                f"constants; "
                                f"supported are {', '.join(sorted(HANDLERS))}")
        self.context.node = node.name
        lowered = HANDLERS[node.op_type](self.context, node)
        outputs = [lowered] if isinstance(lowered, (Const, Act, Poison)) else list(lowered)
        carriers = {id(one.carrier) for one in node.inputs if isinstance(one, Act)}
        return [one.via(node.name) if isinstance(one, Act) and id(one.carrier) in carriers else one for one in outputs]

    def _behind_poison(self, node: OnnxNode) -> list[Tensor]:
        """Go on behind a quantizer, on a stand-in input, if its tensor's shape is known."""
        shape = self._declared_shape(node.proto.output[0]) or self._declared_shape(node.proto.input[0])
        if node.op_type not in _QUANTIZERS or shape is None or any(isinstance(one, Poison) for one in node.inputs[1:]):
            return [Poison()]
        name = self.context.builder.input(self.context.unique("stand_in"), shape[1:], signed(8))
        stand_in = fresh(name, shape[1:], straight(shape[1:]))
        if len(shape) > 2 and self.context.channels_first:
            inner = (*shape[2:], shape[1])
            name = self.context.builder.input(self.context.unique("stand_in"), inner, signed(8))
            stand_in = in_own_layout(self.context, fresh(name, inner, np.moveaxis(straight(inner), -1, 1)))
        again = OnnxNode(node.proto, [stand_in, *node.inputs[1:]], self.opset)
        return self._outputs_of(again)

    def _declared_shape(self, name: str) -> tuple[int, ...] | None:
        for value in (*self.graph.value_info, *self.graph.output):
            if value.name == name:
                sizes = dimensions(value)
                if sizes and len(sizes) > 1 and None not in sizes[1:] and sizes[0] in (None, 1):
                    return (1, *(size for size in sizes[1:] if size))
        return None

    def _output(self, name: str) -> None:
        tensor = self.tensors.get(name)
        if isinstance(tensor, Poison):
            return
        try:
            if not isinstance(tensor, Act):
                raise LoweringError("this output does not depend on the network's input; remove it" if tensor else
                                    "this output is made by no node; export the network again")
            self._declare(tensor)
        except (LoweringError, GraphError) as error:
            self._problem(printable(name), "", str(error))
        except _MALFORMED as error:
            self._problem(printable(name), "", f"this output can't be declared ({type(error).__name__}: {str(error)[:120]}); check "
                                               f"the "
                                               "model with onnx.checker and export it again")

    def _declare(self, act: Act) -> None:
        """Declare an output with the exact meaning of its integers."""
        if self.argmax and act.shape[-1:] != (1,):
            axis = len(act.shape) - 1 if len(act.shape) <= 2 else 1
            act = decide_argmax(self.context, act, axis, "argmax")
        act = integers_of(self.context, act, even=False)
        found = self._interface(act)
        for layout in (in_own_layout, element_wise):
            if found is None and (layout is in_own_layout or act.where.size <= MAX_ELEMENTS):
                act = layout(self.context, act)
                found = self._interface(act)
        if found is None:
            raise LoweringError(f"its scale varies inside a channel; use one scale per channel, or at most {MAX_ELEMENTS} values")
        perm, scale, offset = found
        assert isinstance(act.carrier, Carrier)
        inner = act.shape[1:]
        shape = inner if inner != act.carrier.shape or perm else None
        self.context.builder.output(act.carrier.name(), source_shape=shape, perm=perm, affine=Affine(tuple(scale), tuple(offset)))

    def _interface(self, act: Act) -> tuple[tuple[int, ...], Param, Param] | None:
        """(permutation, scales, offsets) if the IR value is the output up to a transposition of axes; None if not."""
        assert isinstance(act.carrier, Carrier)
        size = int(np.prod(act.carrier.shape))
        if act.where.size != size:
            return None
        scale, offset = (per_channel(param, act.where, act.carrier.shape) for param in (act.scale, act.offset))
        if scale is None or offset is None:
            return None
        axes = tuple(range(act.where.ndim - 1))
        for perm in itertools.permutations(axes) if len(axes) <= 4 else [axes]:
            if np.array_equal(np.asarray(act.where[0]).transpose(perm).ravel(), np.arange(size)):
                return () if perm == axes else perm, scale, offset
        return None


def _in_order(nodes: Iterable[NodeProto], outputs: list[str], leaves: dict[str, Tensor]) -> list[NodeProto]:
    """The nodes that the outputs need, producers first.

    Raises
    ------
    LoweringError
        If a value is made twice or the nodes form a cycle.
    """
    makers: dict[str, NodeProto] = {}
    for node in nodes:
        for name in node.output:
            if name and (name in makers or name in leaves):
                raise LoweringError(f"node '{label(node)}' ({node.op_type}) makes '{printable(name)}', which is made twice; export "
                                    f"again")
            makers[name] = node
    order: list[NodeProto] = []
    state: dict[int, int] = {}  # 1 entered, 2 left
    stack = [makers[name] for name in reversed(outputs) if name in makers]
    while stack:
        node = stack[-1]
        if state.get(id(node)) is None:
            state[id(node)] = 1
            for name in reversed(node.input):
                maker = makers.get(name) if name else None
                if maker is not None and state.get(id(maker)) == 1:
                    raise LoweringError(f"node '{label(node)}' ({node.op_type}) is part of a cycle; a network must have none")
                if maker is not None and id(maker) not in state:
                    stack.append(maker)
        else:
            stack.pop()
            if state[id(node)] == 1:
                state[id(node)] = 2
                order.append(node)
    return order

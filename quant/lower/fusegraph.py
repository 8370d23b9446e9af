"""A small mutable view of an ONNX graph for `fuse`: who makes and who reads a value, constants, quantization parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .load import label

#: Operators whose first input is moved and nothing else.
MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Flatten", "Identity", "Dropout", "Expand", "Gather", "Tile",
         "DepthToSpace", "SpaceToDepth")
_INT_KINDS = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8, np.dtype(np.uint16): TensorProto.UINT16,
              np.dtype(np.int16): TensorProto.INT16, np.dtype(np.int32): TensorProto.INT32}
#: Where a QLinear operator, or one of `leftovers`, has the zero point of its output.
_OUTPUT_ZERO = {"QLinearConv": 7, "QLinearMatMul": 7, "QGemm": 8, "QLinearAdd": 7, "QLinearMul": 7, "QLinearConcat": 1,
                "Float32Add": 7, "Float32Sub": 7, "Float32Mul": 7}


@dataclass(frozen=True)
class Params:
    """A quantized tensor: names of the integers, their scale and zero point, and the type of the integers."""

    names: tuple[str, str, str]
    kind: int


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, or the default."""
    found = [one for one in node.attribute if one.name == name]
    return helper.get_attribute_value(found[0]) if found else default


class FuseGraph:
    """Nodes in any order; `maker` and `readers` are looked up anew, since graphs are small and rewritten often."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._nodes = [_copy(node) for node in model.graph.node]
        for i, node in enumerate(self._nodes):
            node.name = node.name or f"{label(node)}_{i}"
        self._consts: dict[str, TensorProto] = {one.name: one for one in model.graph.initializer}
        self._arrays: dict[str, NDArray[Any]] = {}
        self.outputs = {one.name for one in model.graph.output}
        self.inputs = {one.name: one.type.tensor_type.elem_type for one in model.graph.input if one.name not in self._consts}
        self._taken = {name for node in self._nodes for name in (*node.input, *node.output)} | set(self._consts)
        self._index()

    def _index(self) -> None:
        self._makers = {name: node for node in self._nodes for name in node.output if name}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self._nodes:
            for name in node.input:
                if name:
                    self._readers.setdefault(name, []).append(node)

    def model(self) -> ModelProto:
        """The graph as a model."""
        made = ModelProto()
        made.CopyFrom(self._model)
        del made.graph.node[:]
        del made.graph.initializer[:]
        made.graph.node.extend(self.in_order())
        read = {name for node in self._nodes for name in node.input} | self.outputs
        made.graph.initializer.extend(one for name, one in self._consts.items() if name in read)
        return made

    def in_order(self) -> list[NodeProto]:
        """Producers first, as far as the graph has an order."""
        order: list[NodeProto] = []
        seen: set[int] = set()
        for root in self._nodes:
            stack = [(root, False)]
            while stack:
                node, done = stack.pop()
                if done:
                    order.append(node)
                elif id(node) not in seen:
                    seen.add(id(node))
                    stack.append((node, True))
                    stack += [(self._makers[name], False) for name in node.input if name in self._makers]
        return order

    def maker(self, name: str) -> NodeProto | None:
        """The node that makes a value."""
        return self._makers.get(name)

    def readers(self, name: str) -> list[NodeProto]:
        """The nodes that read a value, once for each input."""
        return self._readers.get(name, [])

    def sole(self, name: str) -> NodeProto | None:
        """The only reader of a value that is no output of the network."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def is_const(self, name: str) -> bool:
        """True for an initializer or a folded constant."""
        return name in self._consts

    def const(self, name: str) -> NDArray[Any] | None:
        """A constant's values; None if it is none, or of a type that numpy does not know."""
        if name not in self._consts:
            return None
        if name not in self._arrays:
            try:
                self._arrays[name] = numpy_helper.to_array(self._consts[name])
            except (ValueError, TypeError, KeyError):
                return None
        return self._arrays[name]

    def add_const(self, values: NDArray[Any], name: str) -> str:
        """A new constant; returns its name."""
        name = self.unique(name)
        self._consts[name] = numpy_helper.from_array(values, name)
        return name

    def unique(self, stem: str) -> str:
        """A name that no value has."""
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    def add(self, *nodes: NodeProto) -> None:
        """Add nodes."""
        self._nodes += nodes
        self._index()

    def remove(self, *nodes: NodeProto) -> None:
        """Remove nodes."""
        gone = {id(node) for node in nodes}
        self._nodes = [node for node in self._nodes if id(node) not in gone]
        self._index()

    def replace(self, nodes: Iterable[NodeProto], made: NodeProto) -> None:
        """Put one node in the place of several."""
        self.remove(*nodes)
        self.add(made)

    def rename(self, old: str, new: str) -> None:
        """Give a value another name; the network's outputs keep theirs, so a reader of `new` may be one."""
        for node in self._nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new
        if old in self.outputs:
            self.add(helper.make_node("Identity", [new], [old], name=f"{old}_same"))
        self._index()

    def sweep(self) -> None:
        """Remove nodes that nothing reads."""
        while True:
            dead = [node for node in self._nodes if not any(self.readers(name) or name in self.outputs for name in node.output)]
            if not dead:
                return
            self.remove(*dead)

    # constants and pairs

    def fold_constants(self) -> None:
        """Constant nodes, and quantized constants as onnxruntime folds them: float32 division, half to even."""
        for node in self.in_order():
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self._consts[node.output[0]] = node.attribute[0].t
            elif node.op_type == "Identity" and self.is_const(node.input[0]):
                self._consts[node.output[0]] = self._consts[node.input[0]]
            elif node.op_type in ("QuantizeLinear", "Clip") and all(self.is_const(name) for name in node.input if name):
                values = self._quantized(node) if node.op_type == "QuantizeLinear" else self._clipped(node)
                if values is None:
                    continue
                self._consts[node.output[0]] = numpy_helper.from_array(values, node.output[0])
            else:
                continue
            if node.output[0] not in self.outputs:
                self.remove(node)

    def _quantized(self, node: NodeProto) -> NDArray[Any] | None:
        parts = [self.const(name) for name in node.input]
        if any(part is None for part in parts) or parts[0] is None or parts[1] is None or parts[0].dtype != np.float32:
            return None
        x, scale = parts[0], parts[1]
        zero = parts[2] if len(parts) > 2 and parts[2] is not None else np.zeros(scale.shape, np.uint8)
        if zero.dtype not in _INT_KINDS or attribute(node, "block_size", 0):
            return None
        axis = attribute(node, "axis", 1) % max(x.ndim, 1)
        shape = [-1 if i == axis else 1 for i in range(x.ndim)] if scale.size > 1 else [1] * x.ndim
        with np.errstate(all="ignore"):
            levels = np.rint(x / scale.reshape(shape)).astype(np.float64) + zero.reshape(shape)
        info = np.iinfo(zero.dtype)
        made: NDArray[Any] = np.clip(levels, info.min, info.max).astype(zero.dtype)
        return made

    def _clipped(self, node: NodeProto) -> NDArray[Any] | None:
        x, *ends = [self.const(name) if name else None for name in node.input]
        if x is None or x.dtype not in _INT_KINDS:
            return None
        low, high = [*ends, None, None][:2]
        made: NDArray[Any] = np.clip(x, low, high).astype(x.dtype)
        return made

    def single_readers(self) -> None:
        """A copy of each dequantizer of computed integers for each of its readers."""
        for dq in [node for node in self._nodes if node.op_type == "DequantizeLinear" and not self.is_const(node.input[0])]:
            readers = self.readers(dq.output[0])
            for i, reader in enumerate(readers):
                if i == 0 and dq.output[0] not in self.outputs:
                    continue
                copy = _copy(dq)
                copy.output[0], copy.name = self.unique(dq.output[0]), f"{dq.name}_{i}"
                at = list(reader.input).index(dq.output[0])
                reader.input[at] = copy.output[0]
                self.add(copy)
        self._index()

    def insert_pair(self, name: str, readers: list[NodeProto], like: NodeProto) -> list[str]:
        """QuantizeLinear behind a value, and a DequantizeLinear for each reader; returns what those read now."""
        params = list(like.input[1:])
        q = helper.make_node("QuantizeLinear", [name, *params], [self.unique(f"{name}_q")], name=f"{like.name}_q")
        found = []
        for i, reader in enumerate(readers):
            dq = helper.make_node("DequantizeLinear", [q.output[0], *params], [self.unique(f"{name}_dq")],
                                  name=f"{like.name}_dq{i}")
            reader.input[list(reader.input).index(name)] = dq.output[0]
            self._nodes.append(dq)
            found.append(dq.output[0])
        self.add(q)
        return found

    def axes_as_attribute(self, node: NodeProto) -> None:
        """Axes that are an input (since opset 18) as an attribute, so that all inputs are values."""
        axes = self.const(node.input[1]) if len(node.input) > 1 and node.input[1] else None
        if axes is not None:
            del node.input[1:]
            node.attribute.append(helper.make_attribute("axes", [int(one) for one in axes.ravel()]))
            self._index()

    def per_tensor(self, node: NodeProto) -> bool:
        """True for one constant scale and one constant zero point."""
        return all((one := self.const(name)) is not None and one.size == 1 for name in node.input[1:3] if name)

    def params(self, node: NodeProto) -> Params:
        """What a DequantizeLinear reads, or a QuantizeLinear writes; a zero point that is left out is made."""
        data = node.input[0] if node.op_type == "DequantizeLinear" else node.output[0]
        kind = self.kind(data)
        zero = node.input[2] if len(node.input) > 2 and node.input[2] else ""
        if not zero:
            scale = self.const(node.input[1])
            dtype = helper.tensor_dtype_to_np_dtype(kind) if kind in _INT_KINDS.values() else np.uint8
            zero = self.add_const(np.zeros(() if scale is None else scale.shape, dtype), f"{data}_zero")
        return Params((data, node.input[1], zero), kind)

    def same_params(self, dq: NodeProto, q: NodeProto) -> bool:
        """True if a dequantizer and a quantizer have the same scale and zero point."""
        pairs = [[self.const(name) for name in self.params(node).names[1:]] for node in (dq, q)]
        return all(a is not None and b is not None and a.size == b.size == 1 and a.item() == b.item() for a, b in
                   zip(*pairs, strict=True))

    def kind(self, name: str) -> int:
        """The element type of an integer value; UNDEFINED if nothing says it."""
        while name not in self._consts:
            if name in self.inputs:
                return int(self.inputs[name])
            node = self.maker(name)
            if node is None:
                return int(TensorProto.UNDEFINED)
            if node.op_type == "QuantizeLinear":
                if len(node.input) > 2 and node.input[2]:
                    name = node.input[2]
                    continue
                return int(attribute(node, "output_dtype", 0)) or int(TensorProto.UINT8)
            if node.op_type.startswith(("QLinear", "QGemm", "Float32")):
                at = _OUTPUT_ZERO.get(node.op_type, 4)
                if at >= len(node.input) or not node.input[at]:
                    return int(TensorProto.UINT8)
                name = node.input[at]
            else:
                name = node.input[0]
        return int(self._consts[name].data_type)

    def is_float(self, node: NodeProto) -> bool:
        """True for a quantized product whose result is not quantized."""
        return node.op_type == "MatMulIntegerToFloat" or len(node.input) < 9

    def is_fixed(self, node: NodeProto) -> bool:
        """True if all inputs but the first are constants, as the bounds of a Clip."""
        return all(self.const(name) is not None for name in node.input[1:] if name)

    def clip_bounds(self, clip: NodeProto) -> tuple[float | None, float | None]:
        """Bounds of a Relu or a Clip."""
        if clip.op_type == "Relu":
            return 0.0, None
        ends: list[float | None] = []
        for position, name in ((1, "min"), (2, "max")):
            listed = self.const(clip.input[position]) if len(clip.input) > position and clip.input[position] else None
            value = listed.item() if listed is not None else attribute(clip, name, None)
            ends.append(None if value is None else float(value))
        return ends[0], ends[1]

    def redundant(self, clip: NodeProto, q: NodeProto) -> bool:
        """True if the quantizer's own range clips as much, so that onnxruntime drops the clip."""
        scale, zero = (self.const(name) for name in self.params(q).names[1:])
        if scale is None or zero is None or scale.size != 1 or zero.size != 1 or zero.dtype not in _INT_KINDS:
            return False
        info, z, s = np.iinfo(zero.dtype), int(zero.item()), float(scale.item())
        low, high = self.clip_bounds(clip)
        if clip.op_type == "Relu":
            return z == info.min
        return bool((low is None or np.rint(np.float32(low) / np.float32(s)) + z <= info.min) and
                    (high is None or np.rint(np.float32(high) / np.float32(s)) + z >= info.max))


def _copy(node: NodeProto) -> NodeProto:
    made = NodeProto()
    made.CopyFrom(node)
    return made

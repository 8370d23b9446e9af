"""Export of a PyTorch module to a QONNX file whose bytes depend on the network alone.

torch's exporter leaves in a file what only its author needs: stack traces with paths of this machine, its own
version, numbered names, shapes computed by nodes.  Here its graph is read once and written anew: what isn't
asked for below isn't in the file, so two people who export the same weights get the same bytes.
"""

from __future__ import annotations

import ast
import copy
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.onnx import OnnxExporterError

from intir.errors import BitwrightError
from intir.whole import write_whole

from .base import QONNX_DOMAIN, QONNX_DOMAIN_VERSION, PreparesForExport

# Opset 18 is the least that torch's exporter writes without a conversion; IR 8 is the version it was released
# with. onnx itself would write its newest, which the onnxruntime of the same day refuses.
OPSET_VERSION: Final = 18
IR_VERSION: Final = 8

_PRODUCER: Final = "bitwright"
_SCOPES_KEY: Final = "pkg.torch.onnx.name_scopes"


class ExportError(BitwrightError):
    """A module can't be exported as one self-contained QONNX graph."""


def export_qonnx(
    module: nn.Module,
    example_input: Tensor,
    path: str | os.PathLike[str],
    *,
    input_name: str = "input",
    output_name: str = "output",
) -> None:
    """Write `module`, in evaluation mode, to `path` as QONNX.

    The module itself isn't touched: a copy is prepared and traced.  The file appears whole or not at all.

    Parameters
    ----------
    module
        Takes one tensor and returns one tensor.
    example_input : shape (N, ...)
        Gives the input's type and shape.  The file is for a batch of 1 whatever N is.
    path
        File to write; an existing one is replaced.
    input_name, output_name
        Names of the graph's input and output.

    Errors
    ------
    ExportError
        The folder of `path` isn't there, or a tensor in the graph has no fixed shape.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ExportError(f"there is no folder `{path.parent}` to write `{path.name}` to: create it first")
    if path.is_dir():
        raise ExportError(f"`{path}` is a folder: give the name of a file in it")
    if not isinstance(module, nn.Module):
        raise ExportError(f"what is exported must be a torch.nn.Module, not a {type(module).__name__}")
    if not isinstance(example_input, Tensor) or example_input.ndim == 0 or not len(example_input):
        raise ExportError("the example input must be a tensor of at least one sample, shape (N, ...)")
    if any(hasattr(part, "weight_mask") for part in module.modules()):
        raise ExportError(f"{type(module).__name__} has masked weights: call quant.nn.finish_pruning on it first")
    prepared = copy.deepcopy(module).eval()
    for part in prepared.modules():
        if isinstance(part, PreparesForExport):
            part.prepare_for_export()
    with _quiet_exporter():
        try:
            program = torch.onnx.export(
                prepared,
                (example_input[:1],),
                dynamo=True,
                opset_version=OPSET_VERSION,
                input_names=[input_name],
                output_names=[output_name],
                # torch's optimizer merges initializers of equal value across layers, which loses their names.
                optimize=False,
                verbose=False,
            )
        except OnnxExporterError as error:
            reason = str(error.__cause__ or error).splitlines()[0][:200]
            raise ExportError(f"torch can't export {type(module).__name__} for an input of shape {tuple(example_input[:1].shape)} "
                              f"({reason}): it must take one such tensor, return one, and not branch on values") from error
    assert program is not None  # for the type checker: None is returned by the old exporter alone
    if (outputs := len(program.model_proto.graph.output)) != 1:
        raise ExportError(f"{type(module).__name__} returns {outputs} tensors: wrap it in a module that returns one")
    # Not the file's name: the same network has the same bytes wherever it is written.
    # What torch makes of one of its operators in several nodes has no shapes in between: onnx infers them.
    source = onnx.shape_inference.infer_shapes(program.model_proto, data_prop=True)
    model = _Rewriter(source, type(module).__name__).rewrite()
    write_whole(path, model.SerializeToString(deterministic=True))


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep torch's exporter from telling about its own deprecations and absent torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class _Rewriter:
    """Writes torch's graph anew: constants as initializers, shape arithmetic done, names by module."""

    def __init__(self, source: ModelProto, graph_name: str) -> None:
        self.source = source.graph
        self.graph_name = graph_name
        self.parameters = {t.name: numpy_helper.to_array(t) for t in self.source.initializer}
        self.types = {value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
                      for value in (*self.source.input, *self.source.output, *self.source.value_info)
                      if value.type.tensor_type.elem_type}  # 0 where torch has split a tensor and gives a sequence first
        # Values known before the network runs, by torch's name: literals and arithmetic on shapes.
        self.constants: dict[str, NDArray[Any]] = {}
        self.initializers: dict[str, NDArray[Any]] = {}
        self.new_names = {value.name: value.name for value in (*self.source.input, *self.source.output)}
        self.taken_names = set(self.new_names) | set(self.parameters)
        self.node_names: set[str] = set()

    def rewrite(self) -> ModelProto:
        """The clean model."""
        _drop_absent_biases(self.source)
        nodes = [self._rewrite_node(node) for node in self.source.node if not self._fold(node)]
        graph = helper.make_graph(
            nodes,
            self.graph_name,
            [self._value_info(value) for value in self.source.input],
            [self._value_info(value) for value in self.source.output],
            [numpy_helper.from_array(array, name) for name, array in self.initializers.items()],
            value_info=self._inner_value_infos(nodes),
        )
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            producer_name=_PRODUCER,
            opset_imports=[
                helper.make_opsetid("", OPSET_VERSION),
                helper.make_opsetid(QONNX_DOMAIN, QONNX_DOMAIN_VERSION),
            ],
        )
        onnx.checker.check_model(model)
        return model

    def _fold(self, node: NodeProto) -> bool:
        """Compute the node now if it is a literal or integer arithmetic on constants; tell whether it was."""
        if node.domain or len(node.output) != 1 or not (node.input or node.op_type == "Constant"):
            return False  # what has no inputs and isn't a literal is random
        if node.op_type == "Identity" and node.input[0] in self.parameters:
            # A tensor that a forward function makes.  As an initializer it is what other tools expect of a bit width.
            self.constants[node.output[0]] = self.parameters[node.input[0]]
            return True
        if node.op_type == "CastLike" and node.input[0] in self.constants and node.input[1] in self.types:
            # A literal in the type of the tensor that it meets: the bounds of a clamp.
            self.constants[node.output[0]] = self.constants[node.input[0]].astype(self.types[node.input[1]])
            return True
        arguments = {name: self.constants[name] for name in node.input if name in self.constants}
        if len(arguments) < len(node.input) or any(a.dtype.kind not in "iu" for a in arguments.values()):
            return False  # float arithmetic stays: the file shows what the network means
        # ReferenceEvaluator wants a whole model; it reads only names and attributes from it.
        step = helper.make_graph(
            [node],
            "constant",
            [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in arguments],
            [helper.make_tensor_value_info(node.output[0], TensorProto.UNDEFINED, None)],
        )
        opset = [helper.make_opsetid("", OPSET_VERSION)]
        (value,) = ReferenceEvaluator(helper.make_model(step, opset_imports=opset)).run(None, arguments)
        self.constants[node.output[0]] = np.asarray(value)
        return True

    def _rewrite_node(self, node: NodeProto) -> NodeProto:
        name = self._unique_node_name(node)
        inputs = [self._input_name(value, node, position, name) for position, value in enumerate(node.input)]
        for position, output in enumerate(node.output):
            if output and output not in self.new_names:
                suffix = "_out" if position == 0 else f"_out{position}"
                self.new_names[output] = self._unique_name(f"{name}{suffix}")
        outputs = [self.new_names.get(output, "") for output in node.output]
        clean = helper.make_node(node.op_type, inputs, outputs, name=name, domain=node.domain)
        clean.attribute.extend(_clean_attribute(a) for a in node.attribute if not self._is_idle(a, node))
        return clean

    def _is_idle(self, attribute: AttributeProto, node: NodeProto) -> bool:
        """torch writes `allowzero` on every Reshape; without a zero in the shape it only puts readers off."""
        if node.op_type != "Reshape" or attribute.name != "allowzero":
            return False
        shape = self.constants.get(node.input[1])
        return shape is not None and bool(np.all(shape != 0))

    def _input_name(self, value: str, node: NodeProto, position: int, node_name: str) -> str:
        if value in self.parameters:
            self.initializers.setdefault(value, self.parameters[value])
            return value
        if value in self.constants:
            role = "shape" if node.op_type == "Reshape" and position == 1 else "constant"
            name = self._unique_name(f"{node_name}.{role}")
            self.initializers[name] = self.constants[value]
            return name
        return self.new_names[value] if value else ""

    def _unique_node_name(self, node: NodeProto) -> str:
        """The module that the node comes from, then its operator: `hidden.0.linear/MatMul`."""
        scopes = next((p.value for p in node.metadata_props if p.key == _SCOPES_KEY), "[]")
        modules = ast.literal_eval(scopes)[:-1]  # the last entry is torch's name of the operation
        base = f"{modules[-1]}/{node.op_type}" if modules and modules[-1] else node.op_type
        name, count = base, 0
        while name in self.node_names:
            count += 1
            name = f"{base}_{count}"
        self.node_names.add(name)
        return name

    def _unique_name(self, base: str) -> str:
        name, count = base, 0
        while name in self.taken_names:
            count += 1
            name = f"{base}_{count}"
        self.taken_names.add(name)
        return name

    def _value_info(self, value: ValueInfoProto) -> ValueInfoProto:
        tensor = value.type.tensor_type
        if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in tensor.shape.dim):
            raise ExportError(
                f"tensor `{value.name}` of the exported graph has no fixed shape: "
                "hardware needs one, so remove shapes that depend on values or on the batch from the module"
            )
        shape = [d.dim_value for d in tensor.shape.dim]
        return helper.make_tensor_value_info(self.new_names[value.name], tensor.elem_type, shape)

    def _inner_value_infos(self, nodes: list[NodeProto]) -> list[ValueInfoProto]:
        known = {self.new_names[v.name]: v for v in self.source.value_info if v.name in self.new_names}
        ends = {value.name for value in self.source.output}
        infos = []
        for node in nodes:
            for output in node.output:
                if not output or output in ends:
                    continue
                if output not in known:
                    raise ExportError(f"torch's exporter gave no shape for the output of node `{node.name}`")
                infos.append(self._value_info(known[output]))
        return infos


def _drop_absent_biases(graph: GraphProto) -> None:
    """Take from each convolution the zeros that torch makes, node by node, for a bias that isn't there."""
    makers = {output: node for node in graph.node for output in node.output}
    dropped = False
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or len(node.input) < 3:
            continue
        bias = makers.get(node.input[2])
        while bias is not None and bias.op_type in ("Expand", "CastLike"):
            bias = makers.get(bias.input[0])
        if bias is not None and bias.op_type == "Constant" and not numpy_helper.to_array(bias.attribute[0].t).any():
            del node.input[2]
            dropped = True
    read = {value.name for value in graph.output}
    for node in reversed(list(graph.node) if dropped else []):  # what made the zeros is read by nothing now
        if read.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            read.update(node.input)


def _clean_attribute(attribute: AttributeProto) -> AttributeProto:
    clean = AttributeProto()
    clean.CopyFrom(attribute)
    clean.ClearField("doc_string")
    return clean

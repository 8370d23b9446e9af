"""Running QONNX models with the unmodified `qonnx` package: the outside witness of what a model computes.

QONNX files are for a batch of 1, and the package's executor starts one onnxruntime session per node, so a
thousand samples one by one take minutes.  Here the graph is re-shaped to a larger batch, that shape is
checked against single samples bit for bit, and only where the two differ are the samples run one by one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import math
import os
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from qonnx.core import onnx_exec
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.infer_shapes import InferShapes

from intir.errors import BitwrightError

# onnx writes its newest IR version into the one-node models that qonnx hands to onnxruntime, and onnxruntime
# refuses versions that are newer than itself.  10 is what every release supports that runs on the Pythons we
# support.
_SESSION_IR_VERSION: Final = 10
_ONNXRUNTIME_ERROR_SEVERITY: Final = 3
_LARGEST_BATCH: Final = 1000
_LARGEST_BATCH_BYTES: Final = 1 << 29
_KEPT_SESSIONS: Final = 1024
_PROGRESS_AFTER_SECONDS: Final = 2.0
#: What the order of float32 sums may change, relative and absolute; a rounding that moves a quantizer to its next level
#: changes more, and the samples then run one by one.
_ROUNDING: Final = 1e-2

# qonnx's quantizers have to stay nodes: its constant folding would otherwise compute the weights' quantizers
# away.
_KEPT_OPS: Final = ("Quant", "BipolarQuant", "Trunc", "IntQuant", "FloatQuant")

_executor_lock = threading.Lock()


class ExecutionError(BitwrightError):
    """A QONNX model can't be run on the given input."""


def execute(model: str | os.PathLike[str] | onnx.ModelProto | ModelWrapper, x: NDArray[Any], *,
            float64: bool = False, batch_rounding: bool = False) -> NDArray[Any]:
    """Run a QONNX model of one input and one output on a batch of samples.

    The model itself isn't changed.

    Parameters
    ----------
    model
        A file, or a model in memory.
    x : shape (N, ...)
        Samples; everything but the first axis is the shape of the graph's input.  Converted to its type if
        the conversion keeps every value.
    float64
        Compute in double precision, from the same float32 constants and inputs.  Not every operator has that, and the
        outputs of qonnx's quantizers stay rounded to float32.
    batch_rounding
        Take a batch's results even where they differ from single samples' by the rounding of float sums: another order of
        sums is as good a float execution, and a hundred times faster than sample by sample.

    Returns
    -------
    Outputs, shape (N, ...).

    Errors
    ------
    ExecutionError
        The file isn't there or isn't ONNX; the graph has several inputs or outputs; `x` has another shape or
        type.
    """
    source = _load(model)
    x = _fitting_input(source, np.asarray(x))
    samples = len(x)
    with _executor_lock, _quiet_executor():
        run_one = _Runner(source, 1, float64=True) if float64 else _Runner(source, 1)
        if samples == 1:
            return run_one(x)
        batch = min(samples, _LARGEST_BATCH, _batch_that_fits(run_one.model))
        if batch == 1:
            return _run_each(run_one, x)
        run_batch = _checked_batch_runner(source, run_one, x[:batch], batch_rounding)
        if run_batch is None:
            return _run_each(run_one, x)
        chunks = [x[start : start + batch] for start in range(0, samples, batch)]
        return np.concatenate([run_batch(chunk) for chunk in chunks])


class _Runner:
    """A model re-shaped to one batch size, with everything that depends on shapes alone computed."""

    def __init__(self, source: onnx.ModelProto, batch: int, float64: bool = False) -> None:
        self.batch, self.float64 = batch, float64
        model = onnx.ModelProto()
        model.CopyFrom(source)
        _set_batch(model, batch)
        wrapper = ModelWrapper(model).transform(InferShapes())
        self.model = wrapper.transform(FoldConstants(exclude_op_types=list(_KEPT_OPS)))
        self.input_name = _real_inputs(model)[0].name
        self.output_name = model.graph.output[0].name
        if float64:
            _widen(self.model.model)

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Outputs for at most `batch` samples; fewer are filled up with zeros, whose outputs are dropped."""
        missing = self.batch - len(x)
        filled = np.concatenate([x, np.zeros((missing, *x.shape[1:]), dtype=x.dtype)]) if missing else x
        if self.float64 and x.dtype == np.float32:
            filled = filled.astype(np.float64)
        with _doubles() if self.float64 else contextlib.nullcontext():
            outputs: dict[str, NDArray[Any]] = onnx_exec.execute_onnx(self.model, {self.input_name: filled})
        return outputs[self.output_name][: len(x)]


def _widen(model: onnx.ModelProto) -> None:
    """Make every float32 tensor of a graph float64, in place; numbers stay what they are."""
    graph, (single, double) = model.graph, (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)

    def widened(tensor: onnx.TensorProto) -> None:
        if tensor.data_type == single:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float64), tensor.name))

    for tensor in graph.initializer:
        widened(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == single:
            value.type.tensor_type.elem_type = double
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                widened(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                attribute.i = double


def _batch_that_fits(model: ModelWrapper) -> int:
    """The most samples whose tensors fit into memory together: the executor keeps each one to the end."""
    graph = model.graph
    sample_bytes = 0
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        shape = [dimension.dim_value for dimension in tensor.shape.dim]
        if shape and shape[0] == 1:  # others, such as quantized weights, don't grow with the batch
            sample_bytes += math.prod(shape) * onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    return max(1, _LARGEST_BATCH_BYTES // max(1, sample_bytes))


def _checked_batch_runner(source: onnx.ModelProto, run_one: _Runner, x: NDArray[Any], batch_rounding: bool) -> _Runner | None:
    """A runner for batches of `len(x)` that agrees with single samples bit for bit, or but for float rounding, or None.

    The first and the last sample are compared: a graph that mixes samples, or that lays the batch out
    wrongly, can't get both right.  If rounding may differ, it may also move a few values to another level: of eight
    samples, half must come close.
    """
    try:
        run_batch = _Runner(source, len(x), float64=True) if run_one.float64 else _Runner(source, len(x))
        outputs = run_batch(x)
    # A re-shaped graph may stumble anywhere in three packages, and each time single samples are the answer.
    except Exception:
        return None
    if len(outputs) != len(x):
        return None
    positions = np.linspace(0, len(x) - 1, min(len(x), 8 if batch_rounding else 2)).astype(int)
    same, close = 0, 0
    for position in positions:
        expected = run_one(x[position : position + 1])
        found = outputs[position : position + 1]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return None
        same += found.tobytes() == expected.tobytes()
        close += np.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))
    return run_batch if same == len(positions) or (batch_rounding and 2 * close >= len(positions)) else None


def _run_each(run_one: Callable[[NDArray[Any]], NDArray[Any]], x: NDArray[Any]) -> NDArray[Any]:
    """One sample after the other, with a progress bar on a terminal once it has taken a while."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    started = time.monotonic()
    outputs = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("qonnx, sample by sample", total=len(x), visible=False)
        for position in range(len(x)):
            outputs.append(run_one(x[position : position + 1]))
            slow = time.monotonic() - started > _PROGRESS_AFTER_SECONDS
            progress.update(task, completed=position + 1, visible=slow)
    return np.concatenate(outputs)


def _set_batch(model: onnx.ModelProto, batch: int) -> None:
    """Re-shape a graph for a batch of 1 in place: its input, and the constant shapes that lead with 1.

    The shapes in between and that of the output are dropped, to be inferred anew.
    """
    graph = model.graph
    batch_axis = _real_inputs(model)[0].type.tensor_type.shape.dim[0]
    if batch_axis.dim_value == batch:
        return
    batch_axis.dim_value = batch
    initializer_names = {tensor.name for tensor in graph.initializer}
    kept = [info for info in graph.value_info if info.name in initializer_names]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")

    shape_inputs = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    shapes: list[onnx.TensorProto] = [t for t in graph.initializer if t.name in shape_inputs]
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in shape_inputs:
            shapes += [attribute.t for attribute in node.attribute if attribute.name == "value"]
    for tensor in shapes:
        shape = onnx.numpy_helper.to_array(tensor).copy()
        if shape.ndim == 1 and len(shape) > 1 and shape[0] == 1:
            shape[0] = batch
            tensor.CopyFrom(onnx.numpy_helper.from_array(shape, tensor.name))


def _load(model: str | os.PathLike[str] | onnx.ModelProto | ModelWrapper) -> onnx.ModelProto:
    if isinstance(model, ModelWrapper):
        proto: onnx.ModelProto = model.model
    elif isinstance(model, onnx.ModelProto):
        proto = model
    else:
        path = Path(model)
        if not path.is_file():
            raise ExecutionError(f"there is no file `{path}`: name a QONNX file")
        try:
            proto = onnx.load(path)
        except Exception as broken:  # protobuf's errors have no public base class
            raise ExecutionError(f"`{path}` can't be read as ONNX ({broken}): name a QONNX file") from broken
    inputs, outputs = len(_real_inputs(proto)), len(proto.graph.output)
    if (inputs, outputs) != (1, 1):
        raise ExecutionError(
            f"the graph `{proto.graph.name}` has {inputs} inputs and {outputs} outputs: "
            "only one of each can be run"
        )
    return proto


def _real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that aren't weights: files of IR 3 and before list their initializers among the inputs."""
    initializer_names = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in initializer_names]


def _fitting_input(model: onnx.ModelProto, x: NDArray[Any]) -> NDArray[Any]:
    """`x` in the type of the graph's input, with its shape checked."""
    value = _real_inputs(model)[0]
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value for d in tensor.shape.dim)
    if not shape or shape[0] > 1 or 0 in shape[1:]:  # 0 is what a named or absent dimension reads as
        raise ExecutionError(
            f"the graph's input `{value.name}` has shape {shape}, with 0 for what isn't fixed: "
            "its first axis must be the batch, of 1 or not fixed, and the others must be fixed"
        )
    if x.ndim == 0 or x.shape[1:] != shape[1:] or len(x) == 0:
        raise ExecutionError(
            f"the samples have shape {x.shape}, but the graph's input `{value.name}` takes (N, "
            f"{', '.join(map(str, shape[1:]))}) with N of 1 or more"
        )
    wanted = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    fitting = x.astype(wanted)
    # float64 to float32 is what scripts hand over after a division; anything else that loses values is a
    # mistake.
    if not (x.dtype.kind == wanted.kind == "f" or np.array_equal(fitting, x)):
        raise ExecutionError(
            f"the samples are {x.dtype}, and the graph's input `{value.name}` is {wanted}: convert them first"
        )
    return fitting


@contextlib.contextmanager
def _doubles() -> Iterator[None]:
    """Hand on as float64 what nodes give as float32, as qonnx's own operators do whatever they read."""
    execute_node = onnx_exec.execute_node

    def execute_widened(node: onnx.NodeProto, context: dict[str, NDArray[Any]], *arguments: Any) -> None:
        execute_node(node, context, *arguments)
        for name in node.output:
            if name and context[name].dtype == np.float32:
                context[name] = context[name].astype(np.float64)

    onnx_exec.execute_node = execute_widened
    try:
        yield
    finally:
        onnx_exec.execute_node = execute_node


@contextlib.contextmanager
def _quiet_executor() -> Iterator[None]:
    """Silence what qonnx prints, cap the IR version of its one-node models and keep their sessions, while it runs.

    qonnx starts a session for each node and sample, which takes longer than the node.  A kept one has a single thread:
    the idle threads of a hundred sessions would fight for the cores.
    """
    make_model, runtime = onnx_exec.qonnx_make_model, onnx_exec.rt
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = functools.lru_cache(maxsize=_KEPT_SESSIONS)(
        lambda model: onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))

    def make_capped_model(graph: onnx.GraphProto, **options: Any) -> onnx.ModelProto:
        capped: onnx.ModelProto = make_model(graph, **{"ir_version": _SESSION_IR_VERSION, **options})
        return capped

    # Errors still come as exceptions.  onnxruntime has no way to ask for the level it had; 2 is its default.
    onnxruntime.set_default_logger_severity(_ONNXRUNTIME_ERROR_SEVERITY)
    loggers_disabled_below = logging.root.manager.disable
    logging.disable(max(logging.WARNING, loggers_disabled_below))
    onnx_exec.qonnx_make_model = make_capped_model
    onnx_exec.rt = types.SimpleNamespace(InferenceSession=sessions)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        onnx_exec.qonnx_make_model, onnx_exec.rt = make_model, runtime
        logging.disable(loggers_disabled_below)
        onnxruntime.set_default_logger_severity(2)

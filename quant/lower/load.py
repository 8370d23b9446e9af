"""Reading an ONNX file without trusting it.

Sizes are checked before anything is allocated, external data must lie inside the model's folder, and whatever is wrong
with the file becomes one `LoweringError`.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from .errors import LoweringError

MAX_FILE_BYTES: Final = 2**31 - 1  # protobuf's own limit
MAX_ELEMENTS: Final = 2**27  # of one constant; 128 Mi
MAX_RANK: Final = 16  # axes of a tensor
MAX_PARTS: Final = 2**17  # nodes or tensors of a graph
MAX_ACTIVATION: Final = 2**24  # of one activation; 16 Mi
#: Integer types that numpy has none for: least and greatest value.
_NARROW: Final[dict[int, tuple[int, int]]] = {TensorProto.INT4: (-8, 7), TensorProto.UINT4: (0, 15)}


def load(path_or_model: str | os.PathLike[str] | ModelProto) -> tuple[ModelProto, str]:
    """The model, its functions inlined and its tensors' data inside, and a name for it.

    Raises
    ------
    LoweringError
        The file is missing, unreadable, truncated, not ONNX, or refers to data outside its folder.
    """
    if isinstance(path_or_model, ModelProto):
        model, folder = ModelProto(), None
        model.CopyFrom(path_or_model)
        name = printable(model.graph.name) or "network"
    else:
        path = Path(path_or_model)
        model, folder, name = _read(path), path.parent, path.stem
    if not model.HasField("graph") or not model.graph.node:
        raise LoweringError(f"'{name}' holds no ONNX graph with nodes; export the network to QONNX again")
    if model.functions:
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:  # the inliner raises bare RuntimeErrors from C++ on malformed functions
            raise LoweringError(f"'{name}' has local functions that can't be inlined ({_short(error)}); "
                                "export it without them") from None
    if model.graph.sparse_initializer:
        raise LoweringError(f"'{name}' has sparse initializers, which are not supported; store them dense")
    for tensor in model.graph.initializer:
        _bring_inside(tensor, folder, printable(tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _bring_inside(attribute.t, folder, label(node))
    return model, name


def _read(path: Path) -> ModelProto:
    if not path.exists():
        raise LoweringError(f"there is no file '{path}'; give the path of an ONNX file")
    if not path.is_file():
        raise LoweringError(f"'{path}' is not a regular file; give the path of an ONNX file")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise LoweringError(f"'{path}' has {size} bytes, more than an ONNX file can have ({MAX_FILE_BYTES}); "
                            "store large tensors as external data")
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise LoweringError(f"'{path}' can't be read ({error.strerror}); check its permissions") from None
    except (DecodeError, RecursionError):
        raise LoweringError(f"'{path}' is truncated or no ONNX file ({size} bytes); export the network again") from None
    most = max(len(part) for part in (model.graph.node, model.graph.initializer, model.graph.input, model.graph.output))
    if most > MAX_PARTS:
        raise LoweringError(f"'{path}' has a graph of {most} nodes, tensors, inputs or outputs, and the limit is {MAX_PARTS}; "
                            "simplify the network")
    return model


def _bring_inside(tensor: TensorProto, folder: Path | None, where: str) -> None:
    """Check a tensor's sizes against its data; read external data into it."""
    elements = math.prod(tensor.dims)
    if any(size < 0 for size in tensor.dims) or elements > MAX_ELEMENTS or len(tensor.dims) > MAX_RANK:
        raise LoweringError(f"tensor '{where}' has dimensions {list(tensor.dims)[:16]}, beyond the limit of {MAX_ELEMENTS} "
                            "elements; the file is damaged or not meant for hardware")
    try:
        itemsize = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    except (KeyError, TypeError):
        itemsize = 0
    if itemsize == 0 or tensor.data_type == TensorProto.STRING:
        raise LoweringError(f"tensor '{where}' has element type {tensor.data_type}, which holds no numbers; "
                            "give it a numeric type")
    if tensor.data_location == TensorProto.EXTERNAL:
        tensor.raw_data = _external(tensor, folder, where, elements * itemsize)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _external(tensor: TensorProto, folder: Path | None, where: str, most: int) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise LoweringError(f"tensor '{where}' lies in the external file '{location}', but the model was given in memory; "
                            "pass the model's path, or load its data first")
    root = folder.resolve()
    target = (folder / location.replace("\0", "")).resolve()
    if not location or "\0" in location or os.path.isabs(location) or not target.is_relative_to(root):
        raise LoweringError(f"tensor '{where}' points to external data '{printable(location)}' outside the model's folder; "
                            "put the data beside the model")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", most))
    except ValueError:
        raise LoweringError(f"tensor '{where}' has an external offset or length that is no number; save it again") from None
    if not target.is_file():
        raise LoweringError(f"tensor '{where}' lies in '{location}', which is missing; put the file beside the model")
    if offset < 0 or length != most or offset + length > target.stat().st_size:
        raise LoweringError(f"tensor '{where}' takes {most} bytes, but its external data is {length} bytes at {offset} of a file "
                            f"of {target.stat().st_size}; save the model again")
    with target.open("rb") as file:
        file.seek(offset)
        data: bytes = file.read(length)
    return data


def array(tensor: TensorProto, where: str) -> NDArray[Any]:
    """A tensor of the model as a numpy array.

    Raises
    ------
    LoweringError
        If its data does not fit its dimensions.
    """
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, EncodeError) as error:
        raise LoweringError(f"tensor '{where}' has dimensions {list(tensor.dims)}, but its data does not fill them "
                            f"({_short(error)}); export the network again") from None
    if tensor.data_type in _NARROW:  # ml_dtypes' integers; the levels stay known, for quantizers whose zero point this is
        levels = _NARROW[tensor.data_type]
        return values.astype(np.int8).astype(np.dtype(np.int8, metadata={"levels": levels}))
    if values.dtype.kind not in "iubf":  # ml_dtypes' small floats: float64 holds each exactly
        values = values.astype(np.float64)
    return values


def label(node: NodeProto) -> str:
    """A node's name for people: its own, or what it makes; printable, whatever the file says."""
    return printable(node.name) or f"{printable(node.op_type)}_{printable(next(iter(node.output), ''))}"


def printable(name: str | bytes) -> str:
    """A name out of a file: protobuf hands out bytes where it is no UTF-8."""
    decoded = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return "".join(one if one.isprintable() else "?" for one in decoded[:100])


def dimensions(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """Sizes of a graph input or output, None where unknown; None if even the rank is."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return None
    return [size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None for size in kind.shape.dim]


def _short(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__

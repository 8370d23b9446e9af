"""Files of compressed tensors, ``.bwz``: whatever shared, pruned or quantized weights save, a file saves.

The format, version 1.  A zip file of two entries, both stored without the zip's own compression, so that no entry is larger than
the file, and each with the zip's CRC-32:

``header.json``
    UTF-8: ``{"format": "bwz", "version": 1, "tensors": [...]}``.  Of each tensor: ``name``; ``shape``; ``dtype`` in numpy's
    letters (``<f4``); ``coding``: ``raw``, ``huffman`` or ``sparse``; ``stored``: the type of the values that are stored, which for
    integers may be narrower; ``gap_bits``; ``scale_shape``: null, or the shape of factors that stored integers are multiplied
    with in the tensor's type; ``streams``: sizes in bytes.
``streams.bin``
    The tensors' streams one behind the other.  ``raw``: the values, little-endian, in C order.  ``huffman``: the codebook in
    ascending order of its values' bits; the lengths of words, a byte for each symbol, where a symbol is a place in the codebook;
    the words, highest bit first, with zeros up to a whole byte.  ``sparse``: codebook with 0 first; lengths of the entries'
    codes; their number in 8 bytes, little-endian, and their words; lengths and words of the gaps, as in Deep Compression: a
    gap counts the zeros before an entry, and a padding entry has code 0 behind ``2**gap_bits - 1`` zeros.  A last stream holds
    the scales where there are any.

Words are canonical: of equal length, smaller symbols come first.  There is no pickle, and nothing of a file is trusted.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intir import FileFormatError, Graph
from intir.strict_json import parse
from intir.whole import write_whole
from quant.nn.base import PreparesForExport
from quant.nn.layers import QuantWeights

from ..errors import CompressionError
from ..layerwise import check_whole, copied
from .tensorcode import CODINGS, DTYPES, GAP_BITS, Coded, decoded, encoded

Array = NDArray[Any]
FORMAT: Final = "bwz"
VERSION: Final = 1
#: Of a file, and of all decoded tensors.
MAX_BYTES: Final = 1 << 31
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_ENTRIES: Final = ("header.json", "streams.bin")
_FIELDS: Final = {"name": str, "shape": list, "dtype": str, "coding": str, "stored": str, "gap_bits": int, "streams": list}


class TensorBytes(NamedTuple):
    """What a tensor takes in a file.

    Members
    -------
    tensor
        Its name.
    coding
        ``raw``, ``huffman`` or ``sparse``.
    values
        How many it has.
    dense_bytes
        As it was.
    stored_bytes
        In the file: codebooks, codes' tables and words, without its line in the header.
    symbols, coded_bits, entropy_bits
        Symbols that are Huffman coded, the bits of their words with those that fill a byte, and the least that any code of
        symbols one by one takes; all 0 for a raw tensor.
    """

    tensor: str
    coding: str
    values: int
    dense_bytes: int
    stored_bytes: int
    symbols: int
    coded_bits: int
    entropy_bits: float


class Saved(NamedTuple):
    """What was written.

    Members
    -------
    tensors
    file_bytes
        Of the whole file.
    """

    tensors: list[TensorBytes]
    file_bytes: int

    @property
    def dense_bytes(self) -> int:
        """Of all tensors as they were."""
        return sum(one.dense_bytes for one in self.tensors)

    @property
    def ratio(self) -> float:
        """How many times smaller the file is."""
        return self.dense_bytes / self.file_bytes


def save_bwz(what: nn.Module | Graph | Mapping[str, Array], path: str | os.PathLike[str], *, gap_bits: int = 5) -> Saved:
    """Write tensors to a file, each in the coding that takes the fewest bytes; the file appears whole or not at all.

    Parameters
    ----------
    what
        A network: its state, where weights with a quantizer are what the quantizer makes of them, as in an export.  A graph of
        the IR: all arrays of its nodes, named ``node.attribute``.  Or arrays by name.
    path
        By custom with the suffix ``.bwz``; an existing file is replaced.
    gap_bits
        Of a gap between nonzeros, 1 to 16: Deep Compression takes 5 for linear layers and 8 for convolutions.

    Raises
    ------
    CompressionError
        There is no tensor, one has numbers that aren't finite or a type that the format doesn't have, or the file can't be
        written.
    """
    check_whole("gap_bits", gap_bits, GAP_BITS[0], GAP_BITS[-1])
    tensors, scales = _tensors(what)
    if not tensors:
        raise CompressionError(f"{type(what).__name__} has no tensors to save")
    coded = {name: encoded(name, array, scales.get(name), gap_bits) for name, array in tensors.items()}
    header = {"format": FORMAT, "version": VERSION, "tensors": [
        {"name": name, "shape": one.shape, "dtype": one.dtype, "coding": one.coding, "stored": one.stored, "gap_bits": one.gap_bits,
         "scale_shape": one.scale_shape, "streams": [len(part) for part in one.streams]} for name, one in coded.items()]}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in zip(_ENTRIES, (json.dumps(header, separators=(",", ":")).encode(),
                                            b"".join(part for one in coded.values() for part in one.streams)), strict=True):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content)
    data = buffer.getvalue()
    try:
        write_whole(path, data)
    except OSError as error:
        raise CompressionError(f"cannot write '{path}': {error.strerror or error}; choose a folder that exists and is "
                               "writable") from None
    rows = [TensorBytes(name, one.coding, tensors[name].size, tensors[name].nbytes, one.size, one.symbols, 8 * one.word_bytes,
                        one.entropy_bits) for name, one in coded.items()]
    return Saved(rows, len(data))


def load_bwz(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> dict[str, Array]:
    """The tensors of a file, the same to the bit.

    Parameters
    ----------
    path
    max_bytes
        Of all decoded tensors: a small file can make large ones, so this bounds what a foreign file makes us allocate.

    Raises
    ------
    CompressionError
        The file is missing, none of this format or of another version, damaged, or too large.
    """
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise CompressionError(f"'{path}' has {size} bytes; the limit is {MAX_BYTES}, so split the network")
        data = Path(path).read_bytes()
    except OSError as error:
        raise CompressionError(f"cannot read '{path}': {error.strerror or error}; give the path of a .bwz file") from None
    try:
        header, streams = _entries(data)
        return _decoded(header, streams, max_bytes)
    except (CompressionError, FileFormatError) as error:
        raise CompressionError(f"'{path}' can't be read: {error}; get an undamaged copy") from None


def load_bwz_into(network: nn.Module, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> nn.Module:
    """A copy of a network with the state of a file that `save_bwz` wrote of one that is built the same.

    Raises
    ------
    CompressionError
        As `load_bwz`, or the file's tensors aren't those of the network.
    """
    network = copied(network)
    tensors = load_bwz(path, max_bytes=max_bytes)
    try:
        network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in tensors.items()})
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CompressionError(f"'{path}' holds another network than {type(network).__name__} ({reason})") from None
    return network


def _tensors(what: Any) -> tuple[dict[str, Array], dict[str, Array]]:
    """The arrays, and for quantized weights what the integer 1 is worth."""
    if isinstance(what, Graph):
        return {f"{node.name}.{key}": np.asarray(value) for node in what.nodes for key, value in node.op.attributes().items()
                if isinstance(value, np.ndarray)}, {}
    if isinstance(what, Mapping):
        return {str(name): np.asarray(array) for name, array in what.items()}, {}
    if not isinstance(what, nn.Module):
        raise CompressionError(f"give a network, a graph or arrays by name, not a {type(what).__name__}")
    network = copied(what).eval()
    scales, quantized = {}, set()
    for name, part in network.named_modules():
        if isinstance(part, PreparesForExport):
            part.prepare_for_export()
        if isinstance(part, QuantWeights):
            quantized.add(weight := f"{name}.weight" if name else "weight")
            if isinstance(scale := getattr(part.weight_quant, "scale", None), torch.Tensor):
                scales[weight] = scale.detach().numpy()
    found = {}
    for name, value in network.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise CompressionError(f"the state `{name}` of {type(what).__name__} is a {type(value).__name__}, no tensor: remove it")
        try:
            array = value.detach().cpu().numpy()
            found[name] = array + 0.0 if name in quantized else array.copy()  # rounding made -0.0 of small negative weights
        except TypeError as error:
            raise CompressionError(f"tensor `{name}` is {value.dtype}, which the format doesn't have: "
                                   "call `.float()` first") from error
    return found, scales


def _entries(data: bytes) -> tuple[str, bytes]:
    """Header and streams, checksums verified."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if tuple(info.filename for info in infos) != _ENTRIES:
                raise CompressionError(f"its entries are not {' and '.join(_ENTRIES)}")
            if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1
                   for info in infos) or sum(info.file_size for info in infos) > len(data):
                raise CompressionError("an entry is compressed, encrypted or longer than the file")
            header, streams = (archive.read(info) for info in infos)
        return header.decode("utf-8"), streams
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, OverflowError, KeyError, struct.error) as error:
        raise CompressionError(f"it is no whole .bwz file ({str(error)[:100] or type(error).__name__})") from None


def _decoded(header: str, streams: bytes, max_bytes: int) -> dict[str, Array]:
    top = parse(header, "header.json")
    if not isinstance(top, dict) or top.get("format") != FORMAT or top.get("version") != VERSION:
        raise CompressionError(f"its header is not that of the format '{FORMAT}', version {VERSION}")
    lines = top.get("tensors")
    if not isinstance(lines, list):
        raise CompressionError("its header lists no tensors")
    left, at, found = max_bytes, 0, dict[str, Array]()
    for number, line in enumerate(lines):
        shape, scale_shape = _checked(line, number)
        left -= math.prod(shape) * np.dtype(line["dtype"]).itemsize
        if left < 0:
            raise CompressionError(f"its tensors take more than {max_bytes} bytes, the limit that max_bytes sets")
        if line["name"] in found:
            raise CompressionError(f"the tensor '{line['name'][:60]}' is there twice")
        ends = [at, *(at := at + size for size in line["streams"])]
        if at > len(streams):
            raise CompressionError("its streams end too early")
        coded = Coded(shape, line["dtype"], line["coding"], line["stored"], line["gap_bits"], scale_shape,
                      tuple(streams[one:two] for one, two in pairwise(ends)))
        try:
            found[line["name"]] = decoded(coded)
        except CompressionError as error:
            raise CompressionError(f"tensor '{line['name'][:60]}': {error}") from None
    if at != len(streams):
        raise CompressionError(f"{len(streams) - at} bytes of its streams belong to no tensor")
    return found


def _checked(line: Any, number: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Shapes of a tensor and of its scales, from a line of the header of which every field is checked."""
    if not isinstance(line, dict) or set(line) != {*_FIELDS, "scale_shape"} or any(
            type(line[key]) is not kind for key, kind in _FIELDS.items()):
        raise CompressionError(f"the header's tensor {number} has not the fields that it must have")
    scale_shape = line["scale_shape"]
    for sizes in (line["shape"], line["streams"], [] if scale_shape is None else scale_shape):
        if not isinstance(sizes, list) or len(sizes) > 32 or any(type(one) is not int or one < 0 for one in sizes):
            raise CompressionError(f"the header's tensor {number} has sizes that are none")
    if line["dtype"] not in DTYPES or line["stored"] not in DTYPES or line["coding"] not in CODINGS or not (
            line["gap_bits"] in GAP_BITS if line["coding"] == "sparse" else line["gap_bits"] == 0):
        raise CompressionError(f"the header's tensor {number} is of a type or in a coding that version {VERSION} hasn't")
    return tuple(line["shape"]), None if scale_shape is None else tuple(scale_shape)

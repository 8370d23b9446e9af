"""Graphs in files: ``.intir`` is a zip of ``graph.json`` and one ``.npy`` per array.

The bytes are canonical: entries are stored, not compressed, in a fixed order with a fixed date, arrays have the least
integer dtype, and the JSON has sorted keys; the same graph always gives the same bytes.  Because nothing is
compressed, no entry can be larger than the file itself, which bounds what a hostile file can make us allocate.
The format is described in ``docs/intir.md``.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import codec, strict_json
from .errors import BitwrightError, FileFormatError
from .graph import Graph
from .whole import write_whole

#: Files beyond this are refused unread.
MAX_FILE_BYTES = 2**31
_DATE = (1980, 1, 1, 0, 0, 0)
_DTYPES = ("|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8")
#: The header that numpy writes for a C-ordered array; a plain pattern needs no evaluation of foreign text.
_NPY = re.compile(rb"\{'descr': '([|<][iu][1248])', 'fortran_order': False, "
                  rb"'shape': \(((?:\d{1,10}, )*\d{1,10},?)?\), \} *\n")
_ENTRY = re.compile(r"arrays/\d{5,9}\.[a-z_]{1,40}\.npy")


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a graph to a file, whole or not at all.

    Raises
    ------
    FileFormatError
        If the file cannot be written.
    """
    data = to_bytes(graph)
    try:
        write_whole(path, data)
    except OSError as error:
        raise FileFormatError(f"cannot write '{path}': {error.strerror or error}; "
                              "choose a folder that exists and is writable") from None


def load(path: str | os.PathLike[str]) -> Graph:
    """Read a graph from a file and verify it.

    Raises
    ------
    FileFormatError
        If the file is missing, no ``.intir`` file, damaged, of another version, or holds a graph that breaks a rule.
    """
    try:
        size = os.path.getsize(path)
        if size > MAX_FILE_BYTES:
            raise FileFormatError(f"'{path}' has {size} bytes; the limit is {MAX_FILE_BYTES}, so split the network")
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileFormatError(f"cannot read '{path}': {error.strerror or error}; give the path of an .intir file") from None
    try:
        return from_bytes(data)
    except BitwrightError as error:
        raise FileFormatError(f"'{path}': {error}") from None


def to_bytes(graph: Graph) -> bytes:
    """The file's content.  Raises FileFormatError if a fraction of an interface is too long to write."""
    arrays: dict[str, bytes] = {}

    def store(number: int, key: str, array: NDArray[np.int64]) -> str:
        name = f"arrays/{number:05}.{key}.npy"
        arrays[name] = _npy(array)
        return name

    plain = codec.encode(graph, store)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {"graph.json": text.encode() + b"\n", **arrays}.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def from_bytes(data: bytes) -> Graph:
    """The graph of a file's content.  Raises FileFormatError or GraphError."""
    entries = _entries(data)
    if "graph.json" not in entries:
        raise FileFormatError("it has no graph.json; write it with intir.save")
    arrays = {name for name in entries if name != "graph.json"}
    used: set[str] = set()

    def fetch(name: Any) -> NDArray[np.int64]:
        codec.typed(name, str, "an array's name")
        if name not in arrays or name in used:
            raise FileFormatError(f"the array {name[:60]!r} is missing or used twice; write the file again")
        used.add(name)
        return _from_npy(entries[name], name)

    try:
        text = bytes(entries["graph.json"]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"graph.json is no UTF-8 ({error.reason} at byte {error.start}); get an undamaged copy") from None
    graph = codec.decode(strict_json.parse(text, "graph.json"), fetch)
    if unused := arrays - used:
        raise FileFormatError(f"the entry '{min(unused)}' belongs to no node; write the file again")
    return graph


def _entries(data: bytes) -> dict[str, memoryview]:
    """Name -> content of every entry of a zip whose entries are stored, checksums verified."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries: dict[str, memoryview] = {}
            total = 0
            for info in archive.infolist():
                if (info.filename != "graph.json" and not _ENTRY.fullmatch(info.filename)) or info.filename in entries:
                    raise FileFormatError(f"the entry {info.filename[:60]!r} is unknown or there twice; write the file again")
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
                    raise FileFormatError(f"the entry '{info.filename}' is compressed or encrypted; entries are stored plain, so "
                                          "write it with intir.save")
                total += info.file_size
                if total > len(data):
                    raise FileFormatError("its entries claim more bytes than the file has; get an undamaged copy")
                entries[info.filename] = memoryview(archive.read(info))
            return entries
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, OverflowError, KeyError, struct.error) as error:
        raise FileFormatError(f"it is no whole zip file ({str(error)[:100] or type(error).__name__}); "
                              "get an undamaged copy") from None


def _npy(array: NDArray[np.int64]) -> bytes:
    dtype = next(d for d in _DTYPES
                 if np.iinfo(d).min <= int(array.min()) and int(array.max()) <= np.iinfo(d).max)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array).astype(dtype), (1, 0), allow_pickle=False)
    return buffer.getvalue()


def _from_npy(data: memoryview, name: str) -> NDArray[np.int64]:
    """The array of an ``.npy`` entry, version 1.0.  Sizes are checked in Python integers before anything is read."""
    if bytes(data[:8]) != b"\x93NUMPY\x01\x00" or len(data) < 10:
        raise FileFormatError(f"'{name}' is no .npy array of version 1.0; write the file again")
    start = 10 + int.from_bytes(data[8:10], "little")
    match = _NPY.fullmatch(bytes(data[10:start]))
    if not match or match[1].decode() not in _DTYPES:
        raise FileFormatError(f"the header of '{name}' is not that of a little-endian integer array in C order; "
                              "write the file again")
    shape = tuple(int(size) for size in re.findall(rb"\d+", match[2] or b""))
    dtype = np.dtype(match[1].decode())
    if math.prod(shape) * dtype.itemsize != len(data) - start or len(shape) > 8 or 0 in shape:
        raise FileFormatError(f"'{name}' declares shape {shape} of {dtype}, but {len(data) - start} bytes follow; "
                              "get an undamaged copy")
    return np.frombuffer(data, dtype, offset=start).reshape(shape)

"""The file format: exact, canonical, and clear about what is wrong with a file."""


from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from intir import BIPOLAR, Affine, FileFormatError, Graph, GraphBuilder, HostStep, MatMul, Threshold, load, save, unsigned
from intir.file import from_bytes, to_bytes
from intir.random_graph import random_graph


def example() -> Graph:
    build = GraphBuilder("example")
    host = HostStep("level", None, ((Fraction(1, 3), Fraction(1, 2), Fraction(2, 3)),), ((False, True, False),))
    x = build.input("x", (2,), unsigned(2), source_shape=(1, 2), perm=(0, 1), affine=Affine((Fraction(1, 3),), (Fraction(-1, 7),)),
                    host=host)
    y = build.node(MatMul(np.array([[1, 200], [3, -1]])), x, name="y", source="MatMul_1 \u00e9")
    build.output(build.node(Threshold(np.array([[5], [-1]]), BIPOLAR), y, name="z"), affine=Affine((Fraction(1, 2), Fraction(3))))
    return build.build()


def rezip(data: bytes, change: Callable[[dict[str, bytes]], object], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The file with its entries changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def edit(change: Callable[[Any], object]) -> bytes:
    """The example with its JSON changed."""

    def apply(entries: dict[str, bytes]) -> None:
        plain = json.loads(entries["graph.json"])
        change(plain)
        entries["graph.json"] = json.dumps(plain).encode()

    return rezip(to_bytes(example()), apply)


def raw(old: bytes, new: bytes, entry: str = "graph.json") -> bytes:
    """The example with bytes of an entry replaced."""

    def apply(entries: dict[str, bytes]) -> None:
        assert old in entries[entry]
        entries[entry] = entries[entry].replace(old, new, 1)

    return rezip(to_bytes(example()), apply)


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    save(example(), tmp_path / "a.intir")
    assert load(tmp_path / "a.intir") == example()
    assert [path.name for path in tmp_path.iterdir()] == ["a.intir"]


@pytest.mark.parametrize("seed", range(40))
def test_the_same_graph_gives_the_same_bytes(seed: int) -> None:
    graph = random_graph(seed)
    shuffled = dataclasses.replace(graph, values=MappingProxyType(dict(reversed(graph.values.items()))))
    data = to_bytes(graph)
    assert from_bytes(data) == graph
    assert to_bytes(shuffled) == data == to_bytes(from_bytes(data))


def test_entries_are_stored_with_least_dtypes_and_no_date() -> None:
    with zipfile.ZipFile(io.BytesIO(to_bytes(example()))) as archive:
        assert archive.namelist() == ["graph.json", "arrays/00000.weights.npy", "arrays/00001.thresholds.npy"]
        assert all(info.compress_type == zipfile.ZIP_STORED and info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())
        weights = np.load(io.BytesIO(archive.read("arrays/00000.weights.npy")), allow_pickle=False)
        assert weights.dtype == np.int16 and np.load(io.BytesIO(archive.read("arrays/00001.thresholds.npy"))).dtype == np.int8
        header = json.loads(archive.read("graph.json"))
        assert (header["format"], header["version"]) == ("intir", 1)


def test_saving_over_a_file_replaces_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.intir"
    path.write_bytes(b"old")
    save(example(), path)
    assert load(path) == example()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"cannot write '.*': No such file or directory; choose a folder that exists and is writable"):
        save(example(), tmp_path / "missing" / "a.intir")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileFormatError, match="cannot write '.*': Is a directory"):
        save(example(), tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"cannot read '.*none.intir': No such file or directory; give the path of an .intir file"):
        load(tmp_path / "none.intir")
    with pytest.raises(FileFormatError, match="cannot read '.*': Is a directory"):
        load(tmp_path)


def test_a_graph_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.intir"
    path.write_bytes(edit(lambda plain: plain["values"][1].update(type="u1")))
    with pytest.raises(FileFormatError, match=r"'.*bad.intir': node 'y' \(MatMul\) can give .* \[rule: ranges\]"):
        load(path)


NPY = "arrays/00000.weights.npy"
BAD: list[tuple[str, Callable[[], bytes], str]] = [
    ("no zip", lambda: b"hello", "it is no whole zip file"),
    ("empty", lambda: b"", "it is no whole zip file"),
    ("truncated", lambda: to_bytes(example())[:-30], "it is no whole zip file"),
    ("damaged", lambda: to_bytes(example()).replace(b'"op":"MatMul"', b'"op":"MatMuk"'), "it is no whole zip file .Bad CRC-32"),
    ("compressed", lambda: rezip(to_bytes(example()), lambda e: None, zipfile.ZIP_DEFLATED), "'graph.json' is compressed or encrypted"),
    ("no header", lambda: rezip(to_bytes(example()), lambda e: e.pop("graph.json")), "it has no graph.json; write it with intir.save"),
    ("escape", lambda: rezip(to_bytes(example()), lambda e: e.update({"../x": b""})), "the entry '../x' is unknown or there twice"),
    ("missing array", lambda: rezip(to_bytes(example()), lambda e: e.pop(NPY)), f"the array '{NPY}' is missing or used twice"),
    ("array twice", lambda: edit(lambda p: p["nodes"][1]["attributes"].update(thresholds=NPY)), f"the array '{NPY}' is missing or used twice"),
    ("unused array", lambda: rezip(to_bytes(example()), lambda e: e.update({"arrays/00009.w.npy": e[NPY]})),
     "the entry 'arrays/00009.w.npy' belongs to no node"),
    ("version", lambda: edit(lambda p: p.update(version=2)), "it says format 'intir' version 2; this bitwright reads 'intir' version 1"),
    ("format", lambda: edit(lambda p: p.update(format="x")), "it says format 'x' version 1"),
    ("not UTF-8", lambda: raw(b"example", b"ex\xffmple"), "graph.json is no UTF-8"),
    ("not JSON", lambda: raw(b"{", b"["), "graph.json is no valid JSON"),
    ("trailing", lambda: raw(b"}\n", b"}{}"), "'{}' follows the end of the JSON"),
    ("a list", lambda: rezip(to_bytes(example()), lambda e: e.update({"graph.json": b"[]"})), "the header is '\\[\\]'; it must be of type dict"),
    ("deep", lambda: rezip(to_bytes(example()), lambda e: e.update({"graph.json": b"[" * 10**6})), "graph.json is no valid JSON"),
    ("NaN", lambda: raw(b'"version":1', b'"version":NaN'), "it holds the number NaN; only integers of up to 19 digits"),
    ("a float", lambda: raw(b'"version":1', b'"version":1.0'), "it holds the number 1.0"),
    ("a huge integer", lambda: raw(b'"version":1', b'"version":' + b"1" * 10**6), "it holds the number 1111"),
    ("true for 1", lambda: raw(b'"version":1', b'"version":true'), "the header.version is 'True'; it must be of type int"),
    ("a key twice", lambda: raw(b'"version":1', b'"version":1,"version":1'), "it has a key twice in one object"),
    ("a field too few", lambda: edit(lambda p: p.pop("name")), "the header: the field 'name' is missing; add it"),
    ("a field too many", lambda: edit(lambda p: p.update(extra=1)), "the header: the field 'extra' is unknown; remove it"),
    ("value twice", lambda: edit(lambda p: p["values"].append(p["values"][0])), "value 'x' is declared twice; rename one"),
    ("unknown operation", lambda: edit(lambda p: p["nodes"][0].update(op="Softmax")), "the operation 'Softmax' is unknown; known are Add, "),
    ("wrong attributes", lambda: edit(lambda p: p["nodes"][0]["attributes"].update(bias=1)),
     "MatMul has the attributes weights, but found are bias, weights; give exactly those"),
    ("attribute type", lambda: edit(lambda p: p["nodes"][1]["attributes"].update(out=3)), "attributes.out is '3'; it must be of type str"),
    ("bad type", lambda: edit(lambda p: p["values"][0].update(type="float32")), "'float32' is no type of the IR; write u8, s4"),
    ("bad shape", lambda: edit(lambda p: p["values"][0].update(shape=["2"])), r"values\[0\].shape is '2'; it must be of type int"),
    ("bad fraction", lambda: edit(lambda p: p["inputs"][0].update(scale=["1/0"])), r"inputs\[0\].scale is '1/0'; write a fraction n/d"),
    ("fraction digits", lambda: edit(lambda p: p["inputs"][0].update(scale=["1" * 5000])), "write a fraction n/d"),
    ("bad attribute", lambda: edit(lambda p: p["nodes"][1]["attributes"].update(out="u3")), "thresholds per channel make 2 levels"),
    ("array magic", lambda: raw(b"NUMPY", b"NUMPX", NPY), "is no .npy array of version 1.0"),
    ("array version", lambda: raw(b"NUMPY\x01", b"NUMPY\x02", NPY), "is no .npy array of version 1.0"),
    ("pickle", lambda: raw(b"'<i2'", b"'|O' ", NPY), "the header of .* is not that of a little-endian integer array"),
    ("floats", lambda: raw(b"'<i2'", b"'<f2'", NPY), "the header of .* is not that of a little-endian integer array"),
    ("big endian", lambda: raw(b"'<i2'", b"'>i2'", NPY), "the header of .* is not that of a little-endian integer array"),
    ("code", lambda: raw(b"'<i2'", b"exec('1')", NPY), "the header of .* is not that of a little-endian integer array"),
    ("Fortran", lambda: raw(b"False", b"True ", NPY), "the header of .* is not that of a little-endian integer array"),
    ("huge shape", lambda: raw(b"(2, 2), }            ", b"(4294967296, 4294967296), }"[:27] + b"", NPY), "declares shape|the header of"),
    ("other shape", lambda: raw(b"(2, 2)", b"(2, 3)", NPY), r"declares shape \(2, 3\) of int16, but 8 bytes follow"),
    ("empty array", lambda: raw(b"(2, 2)", b"(0, 2)", NPY), r"declares shape \(0, 2\) of int16, but 8 bytes follow"),
]


@pytest.mark.parametrize(("data", "message"), [pytest.param(data, message, id=name) for name, data, message in BAD])
def test_a_bad_file_says_what_is_wrong(data: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.intir"
    path.write_bytes(data())
    with pytest.raises(FileFormatError, match=message) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(f"'{path}': ") and "\n" not in text and len(text) < 700


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(example(), tmp_path / "a.intir")
    monkeypatch.setattr("intir.file.MAX_FILE_BYTES", 100)
    with pytest.raises(FileFormatError, match="has [0-9]+ bytes; the limit is 100, so split the network"):
        load(tmp_path / "a.intir")


def test_a_fraction_too_long_to_write_is_refused(tmp_path: Path) -> None:
    graph = example()
    one = dataclasses.replace(graph.outputs[0], affine=Affine((Fraction(1, 7**9000),)))
    with pytest.raises(FileFormatError, match="a fraction has more than 4000 digits; round the scale it comes from"):
        save(dataclasses.replace(graph, outputs=(one,)), tmp_path / "a.intir")
    assert not list(tmp_path.iterdir())

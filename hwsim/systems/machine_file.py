"""Machines as TOML files, read strictly.

A mistake is one sentence that names the file and its line, or the override: an unknown key, with the nearest known one; a quantity
without its unit; a number that cannot be; a memory that is missing.  The keys are those of `machine.Machine` and its parts;
docs/machines.md explains them, and `hwsim/data/machines` has the library.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from intir.whole import unreadable

from ..energy import table_names
from .machine import CONTENTS, Array, Dram, Machine, Sram
from .machine_keys import ARRAY_KEYS, DRAM_KEYS, MACHINE_KEYS, SIZES, SRAM_KEYS, TABLES, Checked, Key, MachineError, Source
from .table import nearest, rows_of

#: A file of a machine or of a sweep is a page; keys have few parts.  More is a mistake that would take minutes to read.
MOST_BYTES = 2**20
MOST_PARTS = 16
DRAM_COLUMNS = ("kind", "gb_per_s", "latency_ns", "burst_bytes", "source")
#: An array of one kind only takes these keys.
ONLY_FOR = {"dataflow": ("systolic", "popcount"), "device": ("dataflow",), "overlapped": ("systolic", "popcount"),
            "eager": ("systolic", "popcount"), "padded": ("systolic", "popcount"), "pipeline_cycles": ("systolic", "popcount"),
            "code_bits": ("eie",)}


def machine_names() -> list[str]:
    """Names of the machines in `hwsim/data/machines`."""
    return list(_names())


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(file.name.removesuffix(".toml") for file in (files("hwsim") / "data" / "machines").iterdir()
                        if file.name.endswith(".toml")))


def machine_text(name: str) -> str:
    """The file of a machine of the library, to start an own one from.

    Raises
    ------
    MachineError
        If there is none of this name.
    """
    if name not in machine_names():
        known = machine_names()
        choices = nearest(name, known) or f"; choose one of {', '.join(known)}, or give the path of a .toml file"
        raise MachineError(f"there is no machine '{name[:80]}'{choices}")
    return _library_text(name)


@cache
def _library_text(name: str) -> str:
    return (files("hwsim") / "data" / "machines" / f"{name}.toml").read_text(encoding="utf-8")


def load_machine(name_or_path: str | Path, overrides: Mapping[str, object] = MappingProxyType({})) -> Machine:
    """A machine of the library by its name, or one from a TOML file.

    Parameters
    ----------
    name_or_path : str or Path
    overrides : dotted key -> value
        Instead of what the file says, for example ``{"array.rows": 64, "sram.weights.kib": 512}``.  Another ``dram.kind`` brings
        its own bandwidth, latency and burst.

    Raises
    ------
    MachineError
        If there is no such machine, or something in it cannot be: with file and line, or the override.
    """
    name = str(name_or_path)
    path = Path(name_or_path)
    if path.suffix.lower() != ".toml":
        return parse_machine(machine_text(name), name, f"machine '{name}'", overrides)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin with a byte order mark
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise MachineError(f"cannot read the machine '{path}': {unreadable(error)}; give the path of a TOML file") from None
    return parse_machine(text, path.stem, f"machine '{path}'", overrides, path.parent)


def parse_machine(text: str, name: str = "machine", where: str = "machine",
                  overrides: Mapping[str, object] = MappingProxyType({}), folder: Path | None = None) -> Machine:
    """A machine from the text of its file; `folder` is where a path of an energy table starts.

    Raises
    ------
    MachineError
        As `load_machine`.
    """
    data, lines = _parsed(text, where)
    source = Source(where, lines)
    _check_tables(data, source)
    if overrides:
        data, source = _overridden(data, source, overrides)
    tables = {key: data[key] for key in TABLES if key in data}
    machine = Checked(source, (), {**MACHINE_KEYS, **dict.fromkeys(TABLES, Key("text", ""))}, data)
    array = _array(Checked(source, ("array",), ARRAY_KEYS, tables.get("array", {})))
    srams = tuple(_sram(source, key, table) for key, table in tables.get("sram", {}).items())
    _check_memories(source, array, srams)
    energy = machine.get("energy", Machine.energy)
    if folder is not None and "." in energy and not Path(energy).is_absolute():
        energy = str(folder / energy)
    elif "." not in energy and "/" not in energy and energy not in table_names():
        raise machine.error("energy", f"there is no energy table '{energy[:80]}'{nearest(energy, table_names())}; there are "
                            f"{', '.join(table_names())}, and files, whose names end with .csv")
    algorithms = machine.get("algorithms", Machine.algorithms)
    if array.arithmetic in ("binary", "ternary") and {"winograd", "fft"} & set(algorithms):
        raise source.error(("algorithms",), f"winograd and fft turn {array.arithmetic} operands into wider ones; take them out of "
                           "algorithms, or use an integer or float array")
    return Machine(
        machine.get("name", name), machine.get("description", ""), machine.get("source", ""), machine.need("node_nm"),
        machine.need("clock_mhz"), array, srams, _dram(Checked(source, ("dram",), DRAM_KEYS, tables.get("dram", {}))),
        machine.get("register_bytes", Machine.register_bytes), machine.get("vector_lanes", Machine.vector_lanes), energy,
        algorithms)


def _check_tables(data: Mapping[str, Any], source: Source) -> None:
    """Raise MachineError unless what must be a table is one."""
    for key in TABLES:
        if not isinstance(data.get(key, {}), dict):
            raise source.error((key,), f"{key} is {str(data[key])[:60]}; write a table [{key}]")
    for name, table in data.get("sram", {}).items():
        if not isinstance(table, dict):
            raise source.error(("sram", name), f"{name} stands in [sram] itself; give each memory a table of its own, as "
                               "[sram.buffer]")


@lru_cache(maxsize=256)
def _parsed(text: str, where: str) -> tuple[dict[str, Any], Mapping[tuple[str, ...], int]]:
    """What a file says, and the line of each key; not to be changed."""
    try:
        return toml_of(text), key_lines(text)
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, or an integer of thousands of digits
        raise MachineError(f"{where} is no valid TOML: {str(error)[:200]}; mend that line") from None


def toml_of(text: str) -> dict[str, Any]:
    """What a TOML file of a page says.

    Raises
    ------
    ValueError, RecursionError
        If it is no TOML, or no page.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text):,} characters, and at most {MOST_BYTES:,} are read")
    # Time and memory grow with the square of a key's parts.
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > MOST_PARTS and re.match(rf"\s*\[*\s*(?:[\w\-\"']+\s*\.\s*){{{MOST_PARTS}}}", line):
            raise ValueError(f"a key of more than {MOST_PARTS} parts (at line {number})")
    return tomllib.loads(text)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Path of every key and table of a TOML file -> its line; keys inside of ``{ }`` are found by what holds them."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    quoted = ""  # the quotes of a text of several lines that is still open
    for number, line in enumerate(text.splitlines(), 1):
        inside = bool(quoted)
        for quotes in re.findall(r'"""|\'\'\'', line):
            quoted = "" if quotes == quoted else quoted or quotes
        if inside:
            continue
        if header := re.match(r"\s*\[+\s*([^\]=]+?)\s*\]", line):
            path = table = _split(header[1])
        elif key := re.match(r"\s*([\w\-.\"' ]+?)\s*=", line):
            path = (*table, *_split(key[1]))
        else:
            continue
        for size in range(1, len(path) + 1):
            lines.setdefault(path[:size], number)
    return lines


def _split(key: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in key.split("."))


def _overridden(data: dict[str, Any], source: Source, overrides: Mapping[str, object]) -> tuple[dict[str, Any], Source]:
    data = _copied(data)
    paths = {tuple(key.split(".")): value for key, value in overrides.items()}
    source = Source(source.where, source.lines, frozenset(paths))
    for path in paths:
        _check_path(data, source, path)
    # A kind of DRAM first, since it takes the file's numbers away.
    for path, value in sorted(paths.items(), key=lambda item: item[0] != ("dram", "kind")):
        *tables, name = path
        table = data
        for step in tables:
            table = table.setdefault(step, {})
        gone = DRAM_KEYS if path == ("dram", "kind") and value != table.get("kind") else SIZES if name in SIZES else ()
        for other in gone:
            table.pop(other, None)
        if path == ("dram", "gb_per_s"):
            table.pop("channels", None)
        elif path == ("dram", "channels"):
            table.pop("gb_per_s", None)
        table[name] = value
    return data, source


def _copied(data: dict[str, Any]) -> dict[str, Any]:
    """New tables of the same values."""
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in data.items()}


def _check_path(data: dict[str, Any], source: Source, path: tuple[str, ...]) -> None:
    """Raise MachineError unless there is such a key."""
    first, depth = path[0], 3 if path[0] == "sram" else 2 if path[0] in TABLES else 1
    if first not in TABLES and first not in MACHINE_KEYS:
        raise source.unknown(path[:1], (*MACHINE_KEYS, *TABLES)) if len(path) == 1 else MachineError(
            f"override {'.'.join(path)}: there is no table '{first}'{nearest(first, TABLES)}; the tables are {', '.join(TABLES)}")
    if first == "sram" and len(path) > 1:
        names = list(data.get("sram", {}))
        if path[1] not in names:
            raise MachineError(f"override {'.'.join(path)}: there is no memory '{path[1]}'{nearest(path[1], names)}; "
                               f"the memories are {', '.join(names) or 'none'}")
    if len(path) != depth:
        example = {1: first, 2: f"{first}.{next(iter(TABLES.get(first, {'': 0})))}", 3: "sram.NAME.bytes"}[depth]
        raise MachineError(f"override {'.'.join(path)}: a key there looks like {example}; mend it")
    if depth > 1 and path[-1] not in TABLES[first]:
        raise source.unknown(path, TABLES[first])


def _array(given: Checked) -> Array:
    kind = given.need("kind")
    for name, kinds in ONLY_FOR.items():
        if name in given.data and kind not in kinds:
            raise given.error(name, f"{name} means nothing for an array of kind {kind}; take it out")
    built = kind == "dataflow"
    if built:
        given.need("device")
        for name in ("rows", "columns", "lanes"):
            if name in given.data:
                raise given.error(name, f"{name} means nothing for a dataflow array, whose folding is its plan's; take it out")
    rows = 1 if built else given.need("rows")
    columns = given.get("columns", 1) if built or kind == "eie" else given.need("columns")
    if kind == "eie" and columns != 1:
        raise given.error("columns", f"columns is {columns}; an eie array has rows only")
    arithmetic = given.get("arithmetic", "binary" if kind == "popcount" else Array.arithmetic)
    if kind == "popcount" and arithmetic not in ("binary", "ternary"):
        raise given.error("arithmetic", f"arithmetic is {arithmetic}; a popcount array is binary or ternary")
    bits = {"binary": 1, "ternary": 2, "float": 16}.get(arithmetic, 8)
    array = Array(kind, rows, columns, given.get("dataflow", Array.dataflow), given.get("lanes", Array.lanes), arithmetic,
                  given.get("activation_bits", bits), given.get("weight_bits", bits), given.get("sum_bits", Array.sum_bits),
                  given.get("overlapped", Array.overlapped), given.get("eager", Array.eager),
                  given.get("padded", Array.padded), given.get("pipeline_cycles", Array.pipeline_cycles),
                  given.get("device", Array.device), given.get("code_bits", Array.code_bits))
    if array.peak_macs > 2**31:
        raise given.error("rows", f"{rows} x {columns} elements of {array.lanes} lanes are {array.peak_macs:,} products a cycle; "
                          "give at most 2**31")
    return array


def _sram(source: Source, name: str, table: dict[str, Any]) -> Sram:
    given = Checked(source, ("sram", name), SRAM_KEYS, table)
    sizes = [unit for unit in SIZES if unit in table]
    if len(sizes) != 1:
        has = f"has {' and '.join(sizes)}" if sizes else "has no size"
        raise source.error(given.path, f"[sram.{name}] {has}; give one of {', '.join(SIZES)}")
    size = given.get(sizes[0]) * SIZES[sizes[0]]
    if size != int(size):
        raise given.error(sizes[0], f"{sizes[0]} is {given.get(sizes[0]):g}, which are no whole bytes; mend it")
    width, banks = given.need("width_bits"), given.get("banks", Sram.banks)
    if width * banks > 8 * size:
        raise given.error(sizes[0], f"{int(size):,} bytes hold less than a word of {width} bits in each of {banks} banks; enlarge "
                          "it or narrow the words")
    return Sram(name, int(size), width, banks, given.get("holds", Sram.holds), given.get("double_buffered", Sram.double_buffered))


def _check_memories(source: Source, array: Array, srams: tuple[Sram, ...]) -> None:
    """Raise MachineError where what an array reads or makes has no memory."""
    if array.kind == "dataflow":
        if srams:
            raise source.error(("sram", srams[0].name), "a dataflow array has the memories that its design needs; take "
                               f"[sram.{srams[0].name}] out")
        return
    for content in CONTENTS:
        if content == "sums" and (array.kind == "eie" or (array.kind in ONLY_FOR["dataflow"]
                                                          and array.dataflow == "output_stationary")):
            continue  # they stay in the elements
        if not any(content in sram.holds for sram in srams):
            raise source.error(("sram",) if srams else (), f"no memory holds {content}; add \"{content}\" to the `holds` of an "
                               "[sram.NAME], or another memory")


def _dram(given: Checked) -> Dram:
    kind = given.need("kind")
    kinds = dram_kinds()
    if kind not in kinds:
        raise given.error("kind", f"kind is '{kind[:60]}', none of {', '.join(kinds)}{nearest(kind, kinds)}")
    if "gb_per_s" in given.data and "channels" in given.data:
        raise given.error("channels", "channels means nothing beside gb_per_s, which is of all channels; take one of them out")
    usual = kinds[kind]
    return Dram(kind, given.get("gb_per_s", usual.gb_per_s * given.get("channels", 1)), given.get("latency_ns", usual.latency_ns),
                given.get("burst_bytes", usual.burst_bytes))


@cache
def dram_kinds() -> Mapping[str, Dram]:
    """Kind -> one channel of it, from `hwsim/data/dram.csv`."""
    text = (files("hwsim") / "data" / "dram.csv").read_text(encoding="utf-8")
    return MappingProxyType({row.text("kind"): Dram(row.text("kind"), row.real("gb_per_s"), row.real("latency_ns"),
                                                    row.number("burst_bytes"))
                             for row in rows_of(text, "dram.csv", DRAM_COLUMNS, DRAM_COLUMNS)})

"""Files of energy tables: a header of ``key = value`` lines as in TOML, then rows as in CSV, one an action.

    # anything
    name = "mine"
    node_nm = 28
    volts = 0.9
    unit = "pJ"
    base = "45nm"          # what actions take that no row states, scaled to this node and voltage
    sram = "45nm itrs-hp"  # SRAM as CACTI 7 measured it; without it, the base's or that of rows

    action,bits,other_bits,bytes,kind,energy,sure,source
    int_multiply,8,8,,,0.07,m,"post-layout simulation"
    dram_read,64,,,LPDDR5,250,r,"data sheet"
"""

from __future__ import annotations

import csv
import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from ..systems.actions import ACTIONS, Action
from .grid import EnergyError

#: What a row of each action states besides its energy; of those in brackets, none means any (of a float: the usual format).
FIELDS: Final = {
    "leading_nonzero_node": (),
    "int_multiply": ("bits", "(other_bits)"),
    **dict.fromkeys(("int_add", "binary_accumulate", "compare", "lookup", "array_hop"), ("bits",)),
    **dict.fromkeys(("float_multiply", "float_add", "dram_read", "dram_write"), ("bits", "(kind)")),
    **dict.fromkeys(("register_read", "register_write", "sram_read", "sram_write", "sram_leakage"), ("bits", "(bytes)")),
}
#: Where a figure comes from.
SURE: Final = {"s": "read in its source", "m": "measured", "r": "recalled, not read again", "d": "derived from others"}
COLUMNS: Final = ("action", "bits", "other_bits", "bytes", "kind", "energy", "sure", "source")
UNITS_PJ: Final = {"fJ": 1e-3, "pJ": 1.0, "nJ": 1e3}
#: Greatest width in bits or size in bytes, and greatest energy: what is greater is a slip, and sums of it would overflow.
MOST: Final = 2**40
MOST_PJ: Final = 1e15
#: Keys of the header, their types, and whether they may be missing.
HEADER: Final[dict[str, tuple[type, bool]]] = {
    "name": (str, False), "node_nm": (float, False), "volts": (float, False), "unit": (str, False), "unit_pj": (float, True),
    "base": (str, True), "sram": (str, True),
}


@dataclass(frozen=True)
class Figure:
    """Energy of one action, and where it comes from.

    Parameters
    ----------
    pj : float
    sure : str
        One of `SURE`.
    source : str
    """

    pj: float
    sure: str
    source: str


@dataclass(frozen=True)
class TableFile:
    """What a file says, energies in pJ."""

    name: str
    node_nm: float
    volts: float
    unit: str
    unit_pj: float
    base: str | None
    sram: tuple[int, str] | None
    figures: dict[Action, Figure]


def nearest(word: str, known: list[str]) -> str:
    """The known word that was probably meant, or all of them."""
    close = get_close_matches(word, known, 1, 0.5)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(known)}"


def read_table(text: str, file: str) -> TableFile:
    """Read a table.

    Parameters
    ----------
    text : str
    file : str
        As errors name it.

    Raises
    ------
    EnergyError
        With file and line.
    """
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if re.match(r'\s*"?action"?\s*,', line)), len(lines))
    header = _header(lines[:first], file)
    unit = header["unit"]
    if unit in UNITS_PJ:
        if "unit_pj" in header:
            raise EnergyError(f"{_at(lines, 'unit_pj', file)}: unit_pj is for units besides {', '.join(UNITS_PJ)}; leave it out")
        header["unit_pj"] = UNITS_PJ[unit]
    elif "unit_pj" not in header:
        raise EnergyError(f"{_at(lines, 'unit', file)}: the unit {unit!r} is not one of {', '.join(UNITS_PJ)}; say what one of "
                          "it is with unit_pj = ...")
    return TableFile(header["name"], header["node_nm"], header["volts"], unit, header["unit_pj"], header.get("base"),
                     header.get("sram"), _rows(lines, first, file, header["unit_pj"]))


def _at(lines: list[str], key: str, file: str) -> str:
    for number, line in enumerate(lines, 1):
        if re.match(rf"\s*\[?\s*{re.escape(key)}\s*[=\].]", line):
            return f"{file}:{number}"
    return file


def _header(lines: list[str], file: str) -> dict[str, Any]:
    try:
        given = tomllib.loads("\n".join(lines))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or an integer of thousands of digits
        found = re.search(r"line (\d+)", str(error))
        where = f"{file}:{found[1] if found else len(lines)}"
        raise EnergyError(f"{where}: the header, before the row that begins with action, is not TOML: {error}; mend that "
                          "line") from None
    header: dict[str, Any] = {}
    for key, value in given.items():
        if key not in HEADER:
            raise EnergyError(f"{_at(lines, key, file)}: the key {key} is unknown; {nearest(key, list(HEADER))}")
        if HEADER[key][0] is str and not isinstance(value, str):
            raise EnergyError(f"{_at(lines, key, file)}: {key} is {value!r}; give a text in quotes")
        if HEADER[key][0] is float and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e300):
            raise EnergyError(f"{_at(lines, key, file)}: {key} is {repr(value)[:60]}; give a number above 0")
        header[key] = value
    for key, (_, optional) in HEADER.items():
        if not optional and key not in header:
            example = {"unit": '"pJ"', "name": '"mine"', "node_nm": "28", "volts": "0.9"}[key]
            raise EnergyError(f"{file}:{max(1, len(lines))}: the header has no {key}; add, for example, {key} = {example}")
    if "sram" in header:
        found = re.fullmatch(r"(\d+)nm (itrs-hp|itrs-lstp)", header["sram"])
        if not found:
            raise EnergyError(f"{_at(lines, 'sram', file)}: sram is {header['sram']!r}; give node and cell, for example "
                              '"45nm itrs-hp"')
        header["sram"] = (int(found[1]), found[2])
    return header


def _rows(lines: list[str], first: int, file: str, unit_pj: float) -> dict[Action, Figure]:
    figures: dict[Action, Figure] = {}
    said: dict[Action, int] = {}
    for number, row in _records(lines, first, file):
        where = f"{file}:{number}"
        action = _action(row, where)
        if action in figures:
            raise EnergyError(f"{where}: {describe(action)} was given in line {said[action]} already; leave one of them")
        said[action] = number
        figures[action] = Figure(_energy(row, where, unit_pj), row["sure"] or "r", row["source"])
        if figures[action].sure not in SURE:
            marks = ", ".join(f"{mark} ({what})" for mark, what in SURE.items())
            raise EnergyError(f"{where}: sure is {row['sure']!r}; choose one of {marks}")
    return figures


def _records(lines: list[str], first: int, file: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of the line and its cells by column; missing ones empty."""
    columns: list[str] = []
    for number, line in enumerate(lines[first:], first + 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True, strict=True))]
        except csv.Error as error:
            raise EnergyError(f"{file}:{number}: the line is no row of a CSV file ({error}); mend its quotes") from None
        if not columns:
            columns = cells
            for column in columns:
                if column not in COLUMNS:
                    raise EnergyError(f"{file}:{number}: the column {column!r} is unknown; {nearest(column, list(COLUMNS))}")
                if columns.count(column) > 1:
                    raise EnergyError(f"{file}:{number}: the column {column} is there twice; leave one of them")
            if "energy" not in columns:
                raise EnergyError(f"{file}:{number}: there is no column energy; columns are {', '.join(COLUMNS)}")
            continue
        if len(cells) != len(columns):
            raise EnergyError(f"{file}:{number}: the row has {len(cells)} cells, but there are {len(columns)} columns; put "
                              "texts with commas in quotes")
        yield number, dict.fromkeys(COLUMNS, "") | dict(zip(columns, cells, strict=True))


def _action(row: dict[str, str], where: str) -> Action:
    name = row["action"]
    if name not in ACTIONS:
        raise EnergyError(f"{where}: the action {name!r} is unknown; {nearest(name, list(ACTIONS))}")
    fields = FIELDS[name]
    given: dict[str, Any] = {}
    for field in ("bits", "other_bits", "bytes", "kind"):
        if not row[field]:
            if field in fields:
                raise EnergyError(f"{where}: {name} needs {field}")
            continue
        if field not in fields and f"({field})" not in fields:
            raise EnergyError(f"{where}: {name} has no {field}, but {row[field]!r} is given; leave it empty")
        if field != "kind" and not (re.fullmatch(r"[0-9]{1,15}", row[field]) and 1 <= int(row[field]) <= MOST):
            most = " and at most 2**40" if row[field].isdecimal() and row[field].strip("0") else ""
            raise EnergyError(f"{where}: {field} is {row[field][:60]!r}; give a whole number above 0{most}")
        given[field] = row[field] if field == "kind" else int(row[field])
    if name == "int_multiply":
        given.setdefault("other_bits", given["bits"])
    return Action(name, **given)


def _energy(row: dict[str, str], where: str, unit_pj: float) -> float:
    try:
        energy = math.nan if "_" in row["energy"] else float(row["energy"])
    except ValueError:
        energy = math.nan
    if not 0 <= energy < math.inf:
        raise EnergyError(f"{where}: the energy of {row['action']} is {row['energy'][:60]!r}; give a number that is not negative")
    if energy * unit_pj > MOST_PJ:
        raise EnergyError(f"{where}: the energy of {row['action']} is {row['energy'][:60]!r}, {energy * unit_pj:.3g} pJ; give at "
                          f"most {MOST_PJ:g} pJ")
    return energy * unit_pj


def describe(action: Action) -> str:
    """An action in words, as in errors."""
    parts = [action.name]
    if action.bits:
        parts.append(f"of {action.bits}{f' x {action.other_bits}' if action.other_bits else ''} bits")
    if action.bytes:
        parts.append(f"from {action.bytes} bytes")
    return " ".join(parts + ([f"({action.kind})"] if action.kind else []))

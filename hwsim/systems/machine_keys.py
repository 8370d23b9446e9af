"""The keys of a machine's TOML file: what each may hold, and the reading of one table of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from intir import BitwrightError

from ..devices import DEVICES
from .machine import ALGORITHMS, ARRAYS, CONTENTS, DATAFLOWS
from .table import nearest

Path = tuple[str, ...]


class MachineError(BitwrightError):
    """A machine's file, or an override of it, has a key or a value that cannot be, or lacks one."""


@dataclass(frozen=True)
class Key:
    """What a key may hold.

    Parameters
    ----------
    kind : str
        ``integer``, ``number``, ``text``, ``word``, ``words`` or ``flag``.
    meaning : str
        For people.
    least, most : float
        Of a number, both included.
    words : tuple of str
        Of a ``word``, or of the list ``words``.
    """

    kind: str
    meaning: str
    least: float = 1
    most: float = 2**31
    words: tuple[str, ...] = ()


_BITS = 64
MACHINE_KEYS: Final = {
    "name": Key("text", "of the machine; by default the file's"),
    "description": Key("text", "in a sentence"),
    "source": Key("text", "where the numbers come from"),
    "node_nm": Key("integer", "technology", 1, 1000),
    "clock_mhz": Key("number", "of the array and its memories", 0.001, 100_000),
    "register_bytes": Key("integer", "register file of an element; 0 for none", 0, 2**24),
    "vector_lanes": Key("integer", "elements a cycle that are added, pooled, compared or looked up outside of the array", 1, 2**20),
    "energy": Key("text", "an energy table: a name, or the path of a file beside this one"),
    "algorithms": Key("words", "ways to compute a convolution that it can run", words=ALGORITHMS),
}
ARRAY_KEYS: Final = {
    "kind": Key("word", "", words=ARRAYS),
    "rows": Key("integer", "of elements; of `eie`, its processing elements", 1, 65_536),
    "columns": Key("integer", "of elements", 1, 65_536),
    "dataflow": Key("word", "what stays in a systolic or popcount array", words=DATAFLOWS),
    "lanes": Key("integer", "products that an element sums in a cycle", 1, 65_536),
    "arithmetic": Key("word", "", words=("integer", "binary", "ternary", "float")),
    "activation_bits": Key("integer", "of an element's operand; wider ones take several passes", 1, _BITS),
    "weight_bits": Key("integer", "of an element's operand; wider ones take several passes", 1, _BITS),
    "sum_bits": Key("integer", "of an accumulator", 1, _BITS),
    "overlapped": Key("flag", "whether the next fold's operands enter while the last one's are on their way"),
    "eager": Key("flag", "whether it begins with a layer's first tile as soon as the first words of that are there"),
    "padded": Key("flag", "whether operands lie in memory as words that fill the array, whatever of them a tile uses"),
    "pipeline_cycles": Key("integer", "registers between the memories and the elements, and behind these", 0, 1024),
    "device": Key("word", "the FPGA of a `dataflow` array", words=tuple(DEVICES)),
    "code_bits": Key("integer", "of an `eie` array's entries in layers whose values 4 bits do not tell apart", 4, 12),
}
#: Ways to state the size of a memory, and what one of it is in bytes.
SIZES: Final = {"bytes": 1, "kib": 2**10, "mib": 2**20}
SRAM_KEYS: Final = {
    **{name: Key("number" if unit > 1 else "integer", "size, both halves if double-buffered", 1 / unit, 2**40 / unit)
       for name, unit in SIZES.items()},
    "width_bits": Key("integer", "of a bank's word, one a cycle", 1, 2**20),
    "banks": Key("integer", "", 1, 2**20),
    "holds": Key("words", "what it may hold; by default everything", words=CONTENTS),
    "double_buffered": Key("flag", "whether one half is filled while the other is in use; by default it is"),
}
DRAM_KEYS: Final = {
    "kind": Key("word", "one of hwsim/data/dram.csv"),
    "channels": Key("integer", "each as fast as its kind", 1, 1024),
    "gb_per_s": Key("number", "bandwidth of all channels that can be sustained, 1e9 bytes a second", 1e-6, 1e6),
    "latency_ns": Key("number", "from a request to the first word", 0, 1e6),
    "burst_bytes": Key("integer", "what a request brings at least", 1, 2**20),
}
#: Table of the file -> its keys; every SRAM is a table below ``sram``.
TABLES: Final[Mapping[str, Mapping[str, Key]]] = {"array": ARRAY_KEYS, "sram": SRAM_KEYS, "dram": DRAM_KEYS}
#: Words that people write for a key, beside the key without its unit.
MEANT: Final = {"frequency": "clock_mhz", "clock_ghz": "clock_mhz", "bandwidth": "gb_per_s", "size": "bytes", "capacity": "bytes",
                "technology": "node_nm", "process": "node_nm", "port": "width_bits", "cols": "columns",
                "register_file": "register_bytes", "memory": "sram", "memories": "sram", "dram_kind": "kind", "type": "kind"}


@dataclass(frozen=True)
class Source:
    """Where a machine's values stand, for errors.

    Parameters
    ----------
    where : str
        The file.
    lines : path of a key -> its line
    overridden : set of paths
    """

    where: str
    lines: Mapping[Path, int] = field(default_factory=dict)
    overridden: frozenset[Path] = frozenset()

    def error(self, path: Path, problem: str) -> MachineError:
        """What is wrong with a key, or with a table."""
        if path in self.overridden:
            return MachineError(f"override {'.'.join(path)}: {problem}")
        known = next((path[:size] for size in range(len(path), 0, -1) if path[:size] in self.lines), ())
        line = f", line {self.lines[known]}" if known else ""
        return MachineError(f"{self.where}{line}: {problem}")

    def unknown(self, path: Path, known: Iterable[str]) -> MachineError:
        """A key that is none of the known ones."""
        name, known = path[-1], tuple(known)
        with_unit = [key for key in known if key.startswith(f"{name}_")]
        if with_unit:
            return self.error(path, f"'{name[:60]}' has no unit; write {with_unit[0]}")
        meant = MEANT.get(name, "")
        hint = f"; write {meant}" if meant in known else nearest(name, known) or f"; the keys are {', '.join(known)}"
        return self.error(path, f"there is no key '{name[:60]}' {_of(path)}{hint}")


def _of(path: Path) -> str:
    return f"in [{'.'.join(path[:-1])}]" if len(path) > 1 else "of a machine"


@dataclass(frozen=True)
class Checked:
    """A table of the file whose keys are known; `get` checks the values.

    Parameters
    ----------
    source : Source
    path : tuple of str
        Of the table.
    keys : name -> Key
    data : name -> value
    """

    source: Source
    path: Path
    keys: Mapping[str, Key]
    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in self.data:
            if name not in self.keys:
                raise self.source.unknown((*self.path, name), self.keys)

    def error(self, name: str, problem: str) -> MachineError:
        """What is wrong with a key of this table."""
        return self.source.error((*self.path, name), problem)

    def need(self, name: str) -> Any:
        """A value that must be there."""
        if name not in self.data:
            what = f"[{'.'.join(self.path)}]" if self.path else "the machine"
            meaning = self.keys[name].meaning
            raise self.source.error(self.path, f"{what} lacks {name}{f' ({meaning})' if meaning else ''}; add it")
        return self.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        """A value, checked, or the default."""
        if name not in self.data:
            return default
        value, key = self.data[name], self.keys[name]
        if isinstance(value, np.generic):
            value = value.item()
        if key.kind in ("integer", "number"):
            return self._number(name, value, key)
        if key.kind == "flag":
            if not isinstance(value, bool):
                raise self.error(name, f"{name} is {_shown(value)}; write true or false")
            return value
        if key.kind == "words":
            if not isinstance(value, (list, tuple)) or not value:
                raise self.error(name, f"{name} is {_shown(value)}; write a list of some of {', '.join(key.words)}")
            return tuple(self._word(name, one, key.words) for one in value)
        if not isinstance(value, str) or not value.strip():
            raise self.error(name, f"{name} is {_shown(value)}; write a text in quotes")
        return self._word(name, value, key.words) if key.words else value

    def _word(self, name: str, value: Any, words: tuple[str, ...]) -> str:
        if not isinstance(value, str) or value not in words:
            raise self.error(name, f"{name} is {_shown(value)}, none of {', '.join(words)}{nearest(str(value), words)}")
        return value

    def _number(self, name: str, value: Any, key: Key) -> float | int:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            hint = "the unit stands in the key" if isinstance(value, str) else "write one"
            raise self.error(name, f"{name} is {_shown(value)}, no number; {hint}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(name, f"{name} is {value}; write a finite number")
        if not key.least <= value <= key.most:
            shown = f"{value:g}" if abs(value) < 1e300 else _shown(value)  # an integer of hundreds of digits is no float
            raise self.error(name, f"{name} is {shown}; give a number from {key.least:g} to {key.most:g}")
        if key.kind == "integer" and value != int(value):
            raise self.error(name, f"{name} is {value:g}; give a whole number")
        return int(value) if key.kind == "integer" else float(value)


def _shown(value: Any) -> str:
    return repr(value)[:60]

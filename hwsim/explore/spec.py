"""What a sweep covers: networks and machines, and axes of keys of the machines; a grid, or points drawn from it at random."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from intir import BitwrightError
from intir.whole import unreadable

from ..systems.machine import ALGORITHMS
from ..systems.machine_file import key_lines, load_machine, toml_of
from ..systems.table import nearest

#: Keys of a file.
KEYS = ("networks", "machines", "batch", "algorithm", "axes", "random", "seed")
RANGE_KEYS = ("from", "to", "steps", "scale")
SCALES = ("linear", "log")
#: More points than anybody waits for; a slip of the keyboard.
MOST_POINTS = 10_000_000
#: Joins keys that take the same value, as ``array.rows+array.columns``.
JOINT = "+"

Value = int | float | str | bool


class SweepError(BitwrightError):
    """A sweep cannot be run as it is asked for."""


@dataclass(frozen=True)
class Axis:
    """Values of a key of a machine.

    Parameters
    ----------
    key : str
        As in a machine's file, ``array.rows``; several joined by `JOINT` take the same value.
    values : tuple
        Of the grid; of a range without steps, its two ends.
    span : (number, number, str) or None
        A range's ends and its scale, from which random points are drawn.
    is_range : bool
        Whether it has a span only and no steps, so that no grid can be made of it.
    """

    key: str
    values: tuple[Value, ...]
    span: tuple[float, float, str] | None = None
    is_range: bool = False

    @property
    def keys(self) -> list[str]:
        """The single keys."""
        return self.key.split(JOINT)

    def drawn(self, chance: random.Random) -> Value:
        """A value at random."""
        if self.span is None:
            return chance.choice(self.values)
        low, high, scale = self.span
        value = math.exp(chance.uniform(math.log(low), math.log(high))) if scale == "log" else chance.uniform(low, high)
        return min(int(high), max(int(low), round(value))) if all(isinstance(one, int) for one in self.values) else value


@dataclass(frozen=True)
class SweepPoint:
    """One simulation of a sweep."""

    index: int
    network: str
    machine: str
    batch: int
    algorithm: str
    values: Mapping[str, Value]

    @property
    def overrides(self) -> dict[str, Value]:
        """What differs from the machine's file."""
        return {key: value for axis, value in self.values.items() for key in axis.split(JOINT)}


@dataclass(frozen=True)
class SweepSpec:
    """A sweep.

    Parameters
    ----------
    networks, machines : tuple of str
        Names, or paths.
    batch : tuple of int
    algorithm : tuple of str
        Of `ALGORITHMS`; ``best`` leaves the choice to the simulator.
    axes : tuple of Axis
    random : int
        Points to draw; 0 for the whole grid.
    seed : int
    """

    networks: tuple[str, ...]
    machines: tuple[str, ...]
    batch: tuple[int, ...] = (1,)
    algorithm: tuple[str, ...] = ("best",)
    axes: tuple[Axis, ...] = ()
    random: int = 0
    seed: int = 0

    def __len__(self) -> int:
        return self.random or math.prod(len(one) for one in self._choices)

    @cached_property
    def _choices(self) -> list[tuple[Any, ...]]:
        return [self.networks, self.machines, self.batch, self.algorithm, *(axis.values for axis in self.axes)]

    def point(self, index: int) -> SweepPoint:
        """The point of a number from 0 on: of the grid, the last axis fastest; at random, the same one for a seed and a number."""
        if self.random:
            chance = random.Random(f"{self.seed}/{index}")
            taken = [chance.choice(one) for one in self._choices[:4]] + [axis.drawn(chance) for axis in self.axes]
        else:
            rest, taken = index, []
            for one in reversed(self._choices):
                rest, digit = divmod(rest, len(one))
                taken.insert(0, one[digit])
        network, machine, batch, algorithm, *values = taken
        return SweepPoint(index, network, machine, batch, algorithm,
                          {axis.key: value for axis, value in zip(self.axes, values, strict=True)})

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that depend on what is swept, files' contents included."""
        says = self.as_dict() | {"networks": [Path(name).name for name in self.networks],
                                 "machines": [Path(name).name for name in self.machines]}
        digest = hashlib.sha256(json.dumps(says, sort_keys=True).encode())
        for name in (*self.networks, *self.machines):
            if Path(name).suffix and Path(name).is_file():
                digest.update(Path(name).read_bytes())
        return digest.hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """For the head of a file of results."""
        axes = {axis.key: {"from": axis.span[0], "to": axis.span[1], "scale": axis.span[2], "steps": len(axis.values)}
                if axis.span else list(axis.values) for axis in self.axes}
        return {"networks": list(self.networks), "machines": list(self.machines), "batch": list(self.batch),
                "algorithm": list(self.algorithm), "axes": axes, "random": self.random, "seed": self.seed}

    def checked(self) -> SweepSpec:
        """The same, if it can be run: every axis has a value that every machine takes.  Raises SweepError or MachineError."""
        for name, given in (("networks", self.networks), ("machines", self.machines)):
            if not given:
                raise SweepError(f"the sweep has no {name}; name one in the file, or with --{name[:-1]}")
        for axis in self.axes:
            if axis.is_range and not self.random:
                raise SweepError(f"axis '{axis.key}' is a range without steps, of which no grid can be made; give steps, or draw "
                                 "points from it: --random 1000")
            for machine in self.machines:
                self._check_axis(axis, machine)
        for machine in self.machines:
            load_machine(machine)
        if len(self) > MOST_POINTS:
            raise SweepError(f"the sweep has {len(self):,} points; give at most {MOST_POINTS:,}, or draw some of them: --random "
                             "10000")
        return self

    def _check_axis(self, axis: Axis, machine: str) -> None:
        """Raise MachineError if a machine takes none of an axis' values: then the key is wrong, not a size."""
        first: BitwrightError | None = None
        for value in dict.fromkeys([*axis.values[:64], axis.values[-1]]):
            try:
                load_machine(machine, dict.fromkeys(axis.keys, value))
                return
            except BitwrightError as error:
                first = first or error
        assert first is not None
        raise first


def axis_of(key: str, given: object, where: str) -> Axis:
    """An axis from a list, a range or a single value.  Raises SweepError."""
    if not all(one and one == one.strip() for one in key.split(JOINT)):
        raise SweepError(f"{where}: '{key}' is no key of a machine; write one as array.rows, or several that take "
                         f"the same value as array.rows{JOINT}array.columns")
    if isinstance(given, dict):
        return _range(key, given, where)
    values: list[Any] = given if isinstance(given, list) else [given]
    if not values or not all(isinstance(one, (int, float, str, bool)) for one in values):
        raise SweepError(f"{where}: {key} is {_short(given)}; give a list of values, or {{from, to, steps, scale}}")
    return Axis(key, tuple(dict.fromkeys(values)))


def _range(key: str, given: dict[str, Any], where: str) -> Axis:
    for name in given:
        if name not in RANGE_KEYS:
            raise SweepError(f"{where}: {key} has an unknown key '{name}'{_known(name, RANGE_KEYS)}")
    low, high = (_end(given.get(name), f"{where}: {key} goes {name}") for name in ("from", "to"))
    scale, steps = given.get("scale", SCALES[0]), given.get("steps")
    if scale not in SCALES:
        raise SweepError(f"{where}: the scale of {key} is {_short(scale)}; choose one of {', '.join(SCALES)}")
    if not low < high or (scale == "log" and low <= 0):
        above = ", above 0 for a log scale" if scale == "log" else ""
        raise SweepError(f"{where}: {key} goes from {low} to {high}; give numbers that rise{above}")
    if steps is None:
        return Axis(key, (low, high), (low, high, scale), is_range=True)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 2 <= steps <= 100_000:
        raise SweepError(f"{where}: {key} has {_short(steps)} steps; give a whole number from 2 to 100000")
    inner: list[int | float] = [low * (high / low) ** share if scale == "log" else low + (high - low) * share
                                for share in (number / (steps - 1) for number in range(1, steps - 1))]
    if isinstance(low, int) and isinstance(high, int):
        inner = [round(one) for one in inner]
    return Axis(key, tuple(dict.fromkeys([low, *inner, high])), (low, high, scale))


def _end(value: object, what: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
        raise SweepError(f"{what} {'nothing' if value is None else _short(value)}; give a number")
    return value


def spec_of(data: Mapping[str, Any], where: str = "the sweep", lines: Mapping[tuple[str, ...], int] | None = None,
            folder: Path = Path()) -> SweepSpec:
    """A sweep from what a file says.  Raises SweepError."""
    def at(*path: str) -> str:
        line = (lines or {}).get(path)
        return f"{where}, line {line}" if line else where

    for key in data:
        if key not in KEYS:
            raise SweepError(f"{at(key)}: unknown key '{key}'{_known(key, KEYS)}")
    axes = data.get("axes", {})
    if not isinstance(axes, dict):
        raise SweepError(f"{at('axes')}: axes is {_short(axes)}; write a table [axes] of keys in quotes, as "
                         '"array.rows" = [16, 32]')
    flat = _flat(axes)
    made = []
    for path, value in flat.items():
        made.append(axis_of(path, value, at("axes", *path.split("."))))
    taken = [key for axis in made for key in axis.keys]
    if twice := next((key for key in taken if taken.count(key) > 1), None):
        raise SweepError(f"{at('axes')}: {twice} is in two axes; leave it in one")
    return SweepSpec(
        _found(_texts(data.get("networks", []), at("networks"), "networks"), folder),
        _found(_texts(data.get("machines", []), at("machines"), "machines"), folder),
        tuple(_count(one, at("batch"), "batch", 1) for one in _some(data.get("batch", 1), at("batch"), "batch")),
        tuple(_algorithm(one, at("algorithm")) for one in _texts(_some(data.get("algorithm", "best"), at("algorithm"), "algorithm"),
                                                                 at("algorithm"), "algorithm")),
        tuple(made), *(_count(data.get(key, 0), at(key), key, 0) for key in ("random", "seed")))


def load_spec(path: str | Path) -> SweepSpec:
    """A sweep from its TOML file; paths in it start at its folder.  Raises SweepError."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin with a byte order mark
        data = toml_of(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"cannot read the sweep '{path}': {unreadable(error)}; give the path of a TOML file") from None
    except (ValueError, RecursionError) as error:
        raise SweepError(f"sweep '{path}' is no valid TOML: {str(error)[:200]}; mend that line") from None
    return spec_of(data, f"sweep '{path}'", key_lines(text), path.parent)


def joined(spec: SweepSpec, axes: Sequence[Axis] = (), **instead: Any) -> SweepSpec:
    """A file's sweep with what the command line says in its stead; axes are added, or replace those of the same key."""
    mine = {axis.key: axis for axis in itertools.chain(spec.axes, axes)}
    return replace(spec, axes=tuple(mine.values()), **{name: value for name, value in instead.items() if value not in ((), None)})


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """``array.rows`` may be quoted, or be a table in a table; a range is a table with ``from``."""
    made: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and not set(value) & set(RANGE_KEYS):
            made |= _flat(value, f"{above}{key}.")
        else:
            made[f"{above}{key}"] = value
    return made


def _listed(given: object) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _some(given: object, where: str, key: str) -> list[Any]:
    values = _listed(given)
    if not values:
        raise SweepError(f"{where}: {key} is []; give one value or more, or leave the key out")
    return values


def _texts(given: object, where: str, key: str) -> tuple[str, ...]:
    values = _listed(given)
    for one in values:
        if not isinstance(one, str) or not one:
            raise SweepError(f"{where}: {key} holds {_short(one)}; give names or paths in quotes")
    return tuple(dict.fromkeys(values))


def _found(names: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Names as they are, paths from the folder of the file that says them."""
    return tuple(str(folder / name) if Path(name).suffix else name for name in names)


def _algorithm(name: str, where: str) -> str:
    if name not in ("best", *ALGORITHMS):
        raise SweepError(f"{where}: there is no algorithm '{name}'{_known(name, ['best', *ALGORITHMS])}")
    return name


def _count(value: object, where: str, key: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST_POINTS:
        raise SweepError(f"{where}: {key} is {_short(value)}; give a whole number from {least} to {MOST_POINTS:,}")
    return value


def _known(word: str, words: Sequence[str]) -> str:
    return nearest(word, words) or f"; known are {', '.join(words)}"


def _short(value: object) -> str:
    return repr(value)[:80]

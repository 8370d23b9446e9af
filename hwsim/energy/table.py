"""Energy: counts of actions times a table of what each takes.

Tables are files in `hwsim/data`, one a technology, that name the source of every number, or a user's own
(`file` says what is in them).  A table answers every action:

- arithmetic on integers between the listed widths by interpolation, linear in the bits of a sum and in the product of
  the widths of a product, and outside of them in proportion: an adder has one cell a bit, an array multiplier one a pair of
  bits.  Floats have to be listed.
- memories and register files by size and width as in `grid.Grid`.
- DRAM and wires in proportion to the bits.
- what no row states, by another action (`STAND_INS`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from intir import BitwrightError
from intir.whole import unreadable

from ..systems.actions import ACTIONS, Action
from .file import Figure, TableFile, describe, nearest, read_table
from .grid import EnergyError, Grid, cacti
from .scaling import scale

#: What is priced as something else where a table has no row of it.
STAND_INS: Final = {
    "compare": "int_add",  # a subtraction of which the sign is kept
    "lookup": "register_read",
    "array_hop": "register_write",  # the neighbour keeps it in a register
    "register_write": "register_read",
    "sram_write": "sram_read",
    "dram_write": "dram_read",
}
#: Cells of an adder that a pair of bits takes in an XNOR-popcount unit: one to count it (a popcount of n bits has about n
#: full adders), half a one for the XNOR (a full adder has two XORs).
BINARY_CELLS: Final = 1.5
#: Actions whose energy goes with a memory's size.
MEMORIES: Final = ("register_read", "register_write", "sram_read", "sram_write", "sram_leakage")
OFF_CHIP: Final = ("dram_read", "dram_write")


@dataclass(frozen=True, eq=False)
class EnergyTable:
    """What actions take in one technology.

    Parameters
    ----------
    name : str
    node_nm, volts : float
    unit : str
        In which the file states energies; here they are in pJ.
    unit_pj : float
    figures : Mapping[Action, Figure]
        What is listed.
    grids : action -> Grid
        Of `MEMORIES`.
    """

    name: str
    node_nm: float
    volts: float
    unit: str
    unit_pj: float
    figures: Mapping[Action, Figure]
    grids: Mapping[str, Grid]
    _known: dict[Action, float] = field(default_factory=dict, init=False, repr=False)

    def action_pj(self, action: Action) -> float:
        """Energy of one action in pJ.

        Raises
        ------
        EnergyError
            If the table can't say, and why.
        """
        if action not in self._known:
            self._known[action] = self._find(action)
        return self._known[action]

    def price(self, counts: Mapping[str, Mapping[Action, float]]) -> dict[str, float]:
        """Energy in pJ by component: the sum over its actions of count times energy.

        Parameters
        ----------
        counts : component -> action -> count

        Raises
        ------
        EnergyError
            As `action_pj`.
        """
        return {component: sum(count * self.action_pj(action) for action, count in actions.items())
                for component, actions in counts.items()}

    def scaled(self, node_nm: float, volts: float) -> EnergyTable:
        """The same at another node and voltage, DRAM as it was.

        Raises
        ------
        EnergyError
            Outside of the fits (`scaling`).
        """
        factor = scale(self.node_nm, self.volts, node_nm, volts)
        figures = {action: figure if action.name in OFF_CHIP else dataclasses.replace(
            figure, pj=figure.pj * factor, source=f"{figure.source}; scaled from {self.node_nm:g} nm, {self.volts:g} V")
            for action, figure in self.figures.items()} if factor != 1 else dict(self.figures)
        return dataclasses.replace(self, node_nm=node_nm, volts=volts, figures=figures,
                                   grids={name: grid.scaled(factor) for name, grid in self.grids.items()})

    def _find(self, action: Action) -> float:
        name = action.name
        if name not in ACTIONS:
            raise EnergyError(f"the action {name!r} is unknown; {nearest(name, list(ACTIONS))}")
        if name in self.grids:
            return self._from_grid(action)
        if name.startswith("float"):  # of two formats, the wider one
            action = dataclasses.replace(action, bits=max(action.bits, action.other_bits), other_bits=0)
        if action in self.figures:
            return self.figures[action].pj
        listed = [one for one in self.figures if one.name == name]
        if not listed and name in STAND_INS:
            return self.action_pj(_stand_in(action))
        if not listed and name == "binary_accumulate":
            return BINARY_CELLS * self.action_pj(Action("int_add", bits=1))
        if name.startswith("float"):
            return self._missing(action, listed)
        if listed and name == "leading_nonzero_node":  # has no size
            return self.figures[listed[0]].pj
        if name in OFF_CHIP:
            listed = [one for one in listed if one.kind == action.kind] or [one for one in listed if not one.kind]
        return self._by_bits(action, listed) if listed else self._missing(action, [one for one in self.figures if one.name == name])

    def _from_grid(self, action: Action) -> float:
        grid = self.grids[action.name]
        bytes = action.bytes
        if action.name.startswith("register"):  # the least that is listed is a single register
            bytes = max(bytes, grid.sizes_bytes[0])
        if not (action.bits > 0 and (bytes > 0 or grid.sizes_bytes == (0,))):
            raise EnergyError(f"{describe(action)} has no {'size' if action.bits > 0 else 'width'}, but its energy depends on it")
        try:
            return grid.pj(bytes, action.bits)
        except EnergyError as error:
            raise EnergyError(f"the table {self.name} has no {describe(action)}: {error}") from None

    def _by_bits(self, action: Action, listed: list[Action]) -> float:
        """Linear between listed widths (products of widths), proportional outside."""
        points = sorted((_width(one), self.figures[one].pj) for one in listed)
        width = _width(action)
        if width < 1:
            raise EnergyError(f"{describe(action)} has no width, but its energy depends on it")
        low = max((point for point in points if point[0] <= width), default=points[0])
        high = min((point for point in points if point[0] >= width), default=points[-1])
        if low[0] == high[0] or width < low[0] or width > high[0]:
            nearest_width, pj = low if width >= low[0] else high
            return pj * width / nearest_width
        return low[1] + (high[1] - low[1]) * (width - low[0]) / (high[0] - low[0])

    def _missing(self, action: Action, listed: list[Action]) -> float:
        known = [describe(one) for one in listed] or sorted({one.name for one in self.figures} | set(self.grids))
        raise EnergyError(f"the table {self.name} has no {describe(action)}; it has {', '.join(known)}")


def _width(action: Action) -> int:
    """Adder cells, or pairs of bits of a multiplier."""
    return action.bits * (action.other_bits or action.bits) if action.name == "int_multiply" else action.bits


def _curve(action: Action) -> tuple[str, str, int]:
    """What rows are interpolated together; a file's rows replace all of its base's that belong to the same."""
    return action.name, action.kind, action.bits if action.name.startswith("float") else 0


def _stand_in(action: Action) -> Action:
    return dataclasses.replace(action, name=STAND_INS[action.name])


def table_names() -> list[str]:
    """Tables of `hwsim/data`."""
    return sorted(file.name.removeprefix("energy_").removesuffix(".csv") for file in (files("hwsim") / "data").iterdir()
                  if file.name.startswith("energy_") and file.name.endswith(".csv"))


def energy_table(name_or_path: str | os.PathLike[str] = "45nm") -> EnergyTable:
    """A table of `hwsim/data` by name, or a user's own: a path with a folder or with the ending .csv.

    Raises
    ------
    EnergyError
        If there is none, or if it is wrong, with file and line.
    """
    given = os.fspath(name_or_path)
    if os.path.dirname(given) or given.endswith(".csv"):
        return _load(Path(given), ())
    return _shipped(given)


@cache
def _shipped(name: str) -> EnergyTable:
    if name not in table_names():
        raise EnergyError(f"there is no energy table '{name}'; {nearest(name, table_names())} (a file's name ends with .csv)")
    text = (files("hwsim") / "data" / f"energy_{name}.csv").read_text(encoding="utf-8")
    return _table(read_table(text, f"energy_{name}.csv"), f"energy_{name}.csv", ())


def _load(path: Path, above: tuple[Path, ...]) -> EnergyTable:
    if "\0" in str(path):
        raise EnergyError(f"the name of the energy table {str(path)[:80]!r} has a zero byte in it; take that out")
    if path.resolve() in above:
        raise EnergyError(f"{path}: the table is its own base; take another")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EnergyError(f"the energy table {path} cannot be read: {unreadable(error)}") from None
    return _table(read_table(text, str(path)), str(path), (*above, path.resolve()))


def _table(file: TableFile, where: str, above: tuple[Path, ...]) -> EnergyTable:
    """Rows over SRAM of the header over the base; rows of an action replace all that the base has of it."""
    figures: dict[Action, Figure] = {}
    grids: dict[str, Grid] = {}
    try:
        if file.base is not None:
            is_path = os.path.dirname(file.base) or file.base.endswith(".csv")
            base = _load(above[-1].parent / file.base if above else Path(file.base), above) if is_path else _shipped(file.base)
            base = base.scaled(file.node_nm, file.volts)
            figures, grids = dict(base.figures), dict(base.grids)
        if file.sram is not None:
            grids |= cacti(*file.sram)
    except BitwrightError as error:
        raise EnergyError(f"{where}: {error}") from None
    for name in MEMORIES:
        points = {(one.bytes, one.bits): figure.pj for one, figure in file.figures.items() if one.name == name}
        if points:
            if len(points) > 1 and (min(points.values()) == 0 or min(points)[0] == 0):
                raise EnergyError(f"{where}: one of several rows of {name} has no bytes, or an energy of 0; leave one row for "
                                  "all, or give each bytes and an energy above 0")
            grids[name] = Grid.of(points)
    own = {_curve(one) for one in file.figures}
    figures = {one: figure for one, figure in figures.items() if _curve(one) not in own}
    return EnergyTable(file.name, file.node_nm, file.volts, file.unit, file.unit_pj, figures | file.figures, grids)

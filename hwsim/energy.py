"""Energy: counts of actions times a table of what each takes.

Tables are files in `hwsim/data`, one a technology, that name the source of every number.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from intir import BitwrightError

from .engines.eie_cycles import LayerRun


class EnergyError(BitwrightError):
    """A table does not have what was asked for."""


@dataclass(frozen=True)
class Figure:
    """Energy of one action in pJ, and its source."""

    pj: float
    source: str


@dataclass(frozen=True)
class EnergyTable:
    """Figures of one technology, by (action, bits, bytes of the memory or 0)."""

    name: str
    figures: Mapping[tuple[str, int, int], Figure]

    def pj(self, action: str, bits: int = 0, bytes: int = 0) -> float:
        """Energy of one action.

        Raises
        ------
        EnergyError
            If the table has no such figure.
        """
        if (action, bits, bytes) not in self.figures:
            asked = f"{action} of {bits} bits" + (f" from {bytes} bytes" if bytes else "")
            known = [f"{bits} bits" + (f" from {bytes} bytes" if bytes else "")
                     for name, bits, bytes in self.figures if name == action]
            raise EnergyError(f"the table {self.name} has no {asked}; it has "
                              f"{', '.join(known or sorted({name for name, _, _ in self.figures}))}")
        return self.figures[action, bits, bytes].pj


@cache
def energy_table(name: str = "45nm") -> EnergyTable:
    """Read a table of `hwsim/data`.

    Raises
    ------
    EnergyError
        If there is none of this name.
    """
    folder = files(__package__) / "data"
    known = sorted(file.name.removeprefix("energy_").removesuffix(".csv") for file in folder.iterdir()
                   if file.name.startswith("energy_"))
    if name not in known:
        raise EnergyError(f"there is no energy table {name}; there is {', '.join(known)}")
    lines = (folder / f"energy_{name}.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return EnergyTable(name, MappingProxyType({(row["action"], int(row["bits"]), int(row["bytes"])):
                                               Figure(float(row["pj"]), row["source"]) for row in rows}))


@dataclass(frozen=True)
class SparseMemories:
    """Memories of a processing element of the sparse engine; by default those of the paper.

    Parameters
    ----------
    pointer_bits, pointer_bytes : int
        Width and size of the even bank of pointers, and of the odd one.
    read_bits, matrix_bytes : int
        Of the matrix memory.
    """

    pointer_bits: int = 16
    pointer_bytes: int = 16 << 10
    read_bits: int = 64
    matrix_bytes: int = 128 << 10


def sparse_layer_pj(run: LayerRun, inputs: int, outputs: int, table: EnergyTable, *,
                    memories: SparseMemories = SparseMemories()) -> dict[str, float]:
    """Energy of a layer on the sparse engine by what it goes into; the total is the sum.

    Neither clock tree nor control nor leakage is counted.  An activation that is scanned and one that is written back is a
    register access each, a queued column a write and a read of two registers (position and count, value), a sum a read and
    a write; padding moves no sum.

    Parameters
    ----------
    run : LayerRun
    inputs, outputs : int
        Activations that are scanned and written.
    table : EnergyTable
    memories : SparseMemories
    """
    pes = len(run.busy_cycles)
    register = table.pj("register", 32)
    products = run.entries - run.padding_entries
    return {
        "pointer reads": run.pointer_reads * table.pj("sram_read", memories.pointer_bits, memories.pointer_bytes),
        "matrix reads": run.word_reads * table.pj("sram_read", memories.read_bits, memories.matrix_bytes),
        "arithmetic": products * (table.pj("int_multiply", 16) + table.pj("int_add", 32)),
        "sums and activations": (2 * products + inputs + outputs) * register,
        "queues": 4 * run.broadcasts * pes * register,
        "leading nonzero": run.cycles * leading_nonzero_nodes(pes) * table.pj("leading_nonzero_node"),
    }


def leading_nonzero_nodes(pes: int) -> int:
    """Nodes of a tree in which each looks at four: 21 of them for 64 elements."""
    nodes = 0
    while pes > 1:
        pes = -(-pes // 4)
        nodes += pes
    return nodes

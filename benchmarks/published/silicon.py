"""Binary, ternary and 8-bit chips beside our tables and arrays, in energy an operation; a multiply-accumulate is two."""

from __future__ import annotations

from typing import Final

from rich.table import Table

from hwsim.energy import EnergyTable, energy_table
from hwsim.energy.scaling import scale
from hwsim.systems.actions import Action
from hwsim.systems.machine_file import load_machine
from hwsim.systems.run import simulate
from intir import BIPOLAR, TERNARY, IntType

from .speedups import layer

#: fJ an operation of whole cores, measured or post-layout: chip, node, binary, ternary, 8 bit.
CHIPS: Final = (
    ("BrainTTA, 22 nm, with memories", 35.0, 67.0, 405.0),
    ("XNE, 22 nm, 0.4 V", 21.6, None, None),
    ("ChewBaccaNN, 22 nm, 0.4 V, peak", 4.5, None, None),
)
S8: Final = IntType(-128, 127)
#: Machine and operands of the simulated arrays.
ARRAYS: Final = (("xnor_64", BIPOLAR, BIPOLAR), ("ternary_64", TERNARY, BIPOLAR), ("edge_npu_int8", S8, S8))


def arithmetic_fj(table: EnergyTable) -> tuple[float, float, float]:
    """Of a binary, ternary (two counts) and 8-bit operation, without moving anything."""
    binary = table.action_pj(Action("binary_accumulate", 16))
    whole = table.action_pj(Action("int_multiply", 8, 8)) + table.action_pj(Action("int_add", 32))
    return binary / 2 * 1e3, 2 * binary / 2 * 1e3, whole / 2 * 1e3


def array_fj(table: EnergyTable) -> tuple[float, ...]:
    """Of whole arrays on a 3x3 layer of 256 channels: elements, registers, vector unit and SRAM, without DRAM and leakage."""
    found = []
    for machine, activations, weights in ARRAYS:
        report = simulate(layer(activations, weights), load_machine(machine), algorithm="direct", table=table)
        kept = sum(pj for component, pj in report.energy_pj.items() if component not in ("dram", "leakage"))
        found.append(kept / (2 * report.macs) * 1e3)
    return tuple(found)


def compare() -> Table:
    """All of it."""
    table = Table(title="Energy of an operation in fJ, and how many times the binary one")
    for heading in ("", "binary", "ternary", "8 bit"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, *figures in CHIPS:
        table.add_row(name, *_cells(figures))
    table.add_section()
    for name in ("45nm", "22nm", "7nm"):
        table.add_row(f"ours, arithmetic alone, {name}", *_cells(arithmetic_fj(energy_table(name))))
    for name in ("45nm", "22nm"):
        table.add_row(f"ours, simulated arrays with their SRAM, {name}", *_cells(array_fj(energy_table(name))))
    return table


def scaling() -> Table:
    """45 nm scaled to 7 nm by the fits beside the 7 nm table, and SRAM at two nodes beside the fits."""
    table = Table(title="What scaling from 45 nm gives, beside figures of the other node, pJ")
    for heading in ("action", "from 45 nm", "listed", "ratio"):
        table.add_column(heading, justify="left" if heading == "action" else "right")
    seven = energy_table("7nm")
    small = energy_table("45nm").scaled(seven.node_nm, seven.volts)
    for action in (Action("int_add", 8), Action("int_add", 32), Action("int_multiply", 8, 8), Action("int_multiply", 32, 32),
                   Action("float_multiply", 16), Action("float_multiply", 32)):
        _row(table, f"{action.name}, {action.bits} bits, 7 nm (Jouppi)", small.action_pj(action), seven.action_pj(action))
    for name, volts in (("65nm", 1.1), ("22nm", 0.8)):
        other = energy_table(name)
        factor = scale(45, 1.0, other.node_nm, volts)  # volts of CACTI's high-performance cells
        for size in (8 << 10, 1 << 20):
            action = Action("sram_read", 64, bytes=size)
            _row(table, f"read of 64 bits from {size >> 10} KB, {name} (CACTI 7)", energy_table("45nm").action_pj(action) * factor,
                 other.action_pj(action))
    return table


def _row(table: Table, name: str, scaled: float, listed: float) -> None:
    table.add_row(name, f"{scaled:.3f}", f"{listed:.3f}", f"{scaled / listed:.2f}")


def _cells(figures: tuple[float, ...] | list[float | None]) -> list[str]:
    return ["" if figure is None else f"{figure:.1f} ({figure / (figures[0] or 1):.1f})" for figure in figures]

"""LUTs and flip-flops of the control shell alone, beside what hwsim counts for it.

    python -m benchmarks.control

The exit status is 1 if the estimate is off by more than 15%.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from codegen.axi import AxiPort
from codegen.control import make_control, verilog
from codegen.flows import YOSYS_FAMILY
from codegen.registers import LoadedMemory
from codegen.yosys import synthesize
from hwsim.engines.base import Word
from hwsim.engines.control import CONTROL_LUTS
from intir import unsigned

MOST_OFF = 0.15


def main() -> int:
    """Print the table; 1 if an estimate is off."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table(title="control shell, Yosys; LUTs of ECP5 with two for each carry cell")
    for column in ("family", "shell", "LUTs", "flip-flops", "hwsim's LUTs"):
        table.add_column(column, justify="left" if column in ("family", "shell") else "right")
    failed = False
    port = AxiPort(Word(16, unsigned(8)), 49)  # the demo's input
    for family in CONTROL_LUTS:
        for name, memories in (("alone", ()), ("writes 64 words of 784 bits", (LoadedMemory("l0_mvu", "weights", 64, 784),))):
            files = verilog(make_control("design", "0" * 16, port, port, memories), "//")
            cells = synthesize(files, "design_control", YOSYS_FAMILY[family])
            estimate = CONTROL_LUTS[family]
            table.add_row(family, name, f"{cells.luts:,}", f"{cells.ffs:,}", "" if memories else f"{estimate:,}")
            failed |= not memories and abs(cells.luts / estimate - 1) > MOST_OFF
    console.print(table)
    if failed:
        console.print(f"MISSED: an estimate is off by more than {MOST_OFF:.0%}", style="bold red")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Networks in hardware (`make bench-dataflow`): cycles predicted and counted, cells, times; then the peers.

CNV stands at FINN's public folding: FINN's bottleneck there is 32,768 cycles a frame, a sum over its layers is 252 thousand
cycles, and 158 thousand were measured on a board to the first output; BNN-PYNQ's CNV takes 26,072 LUTs and 124 block RAMs of
36 kbit, FINN's formula gives 20,603 LUTs for its matrix-vector units.  All other networks are planned for 2,000 frames per
second at 100 MHz.  Everything takes hours, most of it Yosys; --only, --no-synth and --no-peers choose.
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

from codegen.yosys import SynthResult

from . import peers
from .measure import Row, measure
from .networks import NETWORKS

BOUND_II_CYCLES, BOUND_GENERATION_SECONDS = 32_768, 60.0
FAMILIES = ("xilinx", "ecp5")


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; 1 if a bound is missed or a bit or a cycle differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataflow", description="Networks in hardware, and peers.",
                                     epilog="example: python -m benchmarks.dataflow --only lenet_w4a4 --only cnv_w1a1 --no-peers")
    parser.add_argument("--only", action="append", choices=list(NETWORKS), help="a network, may be repeated (default: all)")
    parser.add_argument("--frames", type=int, default=2, help="frames to co-verify in each of four stall patterns (default 2)")
    parser.add_argument("--no-synth", action="store_true", help="count no cells")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="synthesize for one family only")
    parser.add_argument("--no-peers", action="store_true", help="leave out NNgen and alkaid")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 150)
    families = () if options.no_synth else tuple(options.family or FAMILIES)
    rows: list[Row] = []
    failures: list[str] = []
    for name in options.only or NETWORKS:
        with console.status(f"{name}: plan, Verilog, co-verification{', synthesis' if families else ''}"):
            row = measure(name, frames=options.frames, families=families)
        rows.append(row)
        verdict = "not co-verified" if not row.frames else "as predicted" if row.passed else "NOT as predicted"
        cycles = f"II {row.ii_cycles:,}, first output {row.first_output_cycles:,} cycles"
        counted = "".join(f"; {family} {_found(row.cells[family])}" for family in families)
        console.print(f"{name}: {row.description}; {cycles}; {verdict}{counted}", highlight=False)  # the tables come hours later
        failures += _failures(row)
    console.print(_cycles(rows))
    if families:
        console.print(_resources(rows, families))
    if not options.no_peers:
        console.print(peers.table(peers.run(console)))
    for failure in failures:
        console.print(f"MISSED: {failure}", style="bold red")
    return 1 if failures else 0


def _found(cells: SynthResult | str) -> str:
    """Cells in words."""
    if isinstance(cells, str):
        return cells
    return f"{cells.luts:,} LUT, {cells.ffs:,} FF, {cells.bram18s:,} BRAM18, {cells.dsps:,} DSP"


def _failures(row: Row) -> list[str]:
    found = []
    if row.name.startswith("cnv"):
        if row.ii_cycles > BOUND_II_CYCLES:
            found.append(f"{row.name}: initiation interval {row.ii_cycles}, wanted at most {BOUND_II_CYCLES}")
        if row.verilog_seconds > BOUND_GENERATION_SECONDS:
            found.append(f"{row.name}: Verilog took {row.verilog_seconds:.0f} CPU s, wanted at most {BOUND_GENERATION_SECONDS:.0f}")
    if row.frames and not row.passed:
        found.append(f"{row.name}: {', '.join(f'{count} {fault}' for fault, count in row.faults.items() if count)}")
    return found


def _cycles(rows: list[Row]) -> Table:
    table = Table(title="Cycles: predicted by hwsim, counted on the RTL under Verilator")
    table.add_column("network")
    for column in ("II", "first output", "last output, predicted", "counted", "bits, cycles that differ", "plan, CPU s",
                   "Verilog, CPU s", "frames verified", "verify s"):
        table.add_column(column, justify="right")
    for row in rows:
        differing = f"{row.faults['differing_bits']}, {row.faults['differing_cycles']}" if row.faults else ""
        table.add_row(row.name, f"{row.ii_cycles:,}", f"{row.first_output_cycles:,}", f"{row.last_predicted_cycles:,}",
                      f"{row.last_counted_cycles:,}", differing, f"{row.plan_seconds:.0f}", f"{row.verilog_seconds:.0f}",
                      str(row.frames), f"{row.verify_seconds:.0f}")
    return table


def _resources(rows: list[Row], families: tuple[str, ...]) -> Table:
    table = Table(title="Cells under Yosys (block RAMs of 18 kbit; LUTs per bit operation a cycle)")
    table.add_column("network")
    for family in families:
        for column in ("LUT", "FF", "BRAM", "DSP", "LUT/op"):
            table.add_column(f"{family} {column}", justify="right")
    for row in rows:
        cells: list[str] = []
        for family in families:
            found = row.cells[family]
            if isinstance(found, str):
                cells += [found, "", "", "", ""]
                continue
            per_operation = found.luts / (row.bit_operations / row.ii_cycles)
            cells += [f"{found.luts:,}", f"{found.ffs:,}", f"{found.bram18s:,}", f"{found.dsps:,}", f"{per_operation:.1f}"]
        table.add_row(row.name, *cells)
    return table


if __name__ == "__main__":
    sys.exit(main())

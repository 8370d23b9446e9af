"""The compressed network on a sparse engine: how small, how fast on real digits, and the Verilog co-verified on some of them.

Run from the repository's root: `python -m examples.lenet300.hardware [--pes 64] [--frames 4]`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from bitwright import show
from codegen.bundle import build
from codegen.cosim import verify
from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from hwsim.report import SimulationReport, simulate_report
from quant.data import mnist_digits
from quant.lower import host_input

from .model import graph

PES: Final = (1, 4, 16, 64, 128, 256)
#: Deep Compression's of LeNet-300-100, and what it stores: 8% of 266,610 weights (Han and others, 2016, table 1).
PAPER_RATIO: Final = 40
DIGITS: Final = 100


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; 1 if a bit or a cycle of the Verilog differs."""
    parser = argparse.ArgumentParser(prog="python -m examples.lenet300.hardware", description="LeNet-300-100 on a sparse engine.",
                                     epilog="example: python -m examples.lenet300.hardware --pes 16 --frames 8")
    parser.add_argument("--pes", type=int, default=64, help="processing elements of the engine that is built (default 64)")
    parser.add_argument("--frames", type=int, default=4, help="digits to co-verify in each of four stall patterns (default 4)")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    network, digits = graph(), mnist_digits()
    x = host_input(network, digits.test_images[:DIGITS])

    reports = {pes: simulate_report(make_design(network, auto_plan(network, sparse=pes)), x=x) for pes in PES}
    console.print(_sizes(reports[64]))
    console.print(_speeds(reports))
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder, console.status("building and co-verifying"):
        bundle = build(network, auto_plan(network, sparse=options.pes), Path(folder) / "lenet300")
        result = verify(bundle.path, x=x[:options.frames])
    show.verification(result, console)
    return 0 if result.passed else 1


def _sizes(report: SimulationReport) -> Table:
    """Storage beside Deep Compression's."""
    table = Table(title=f"stored weights ({report.sparse[0].pes} PEs, 4-bit indices and codes); ratio: to dense 32-bit floats")
    for column in ("layer", "weights", "density", "padding", "bits in the engine", "ratio", "Huffman coded bits", "ratio"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    whole = np.zeros(3, np.int64)
    for one in report.sparse:
        bits = np.array([one.dense_bits, one.stored_bits, one.huffman_bits])
        whole += bits
        table.add_row(f"{one.inputs} x {one.outputs}", f"{one.inputs * one.outputs:,}", f"{one.density:.1%}", f"{one.padding:,}",
                      f"{bits[1]:,}", f"{bits[0] / bits[1]:.1f}", f"{bits[2]:,}", f"{bits[0] / bits[2]:.1f}")
    table.add_section()
    table.add_row("all", f"{whole[0] // 32:,}", "", "", f"{whole[1]:,}", f"{whole[0] / whole[1]:.1f}", f"{whole[2]:,}",
                  f"{whole[0] / whole[2]:.1f} (Deep Compression: {PAPER_RATIO})")
    return table


def _speeds(reports: dict[int, SimulationReport]) -> Table:
    """Cycles per digit, beside a dense engine of as many multipliers that never waits."""
    table = Table(title=f"cycles a digit, mean of {DIGITS} test digits")
    for column in ("PEs", "cycles a digit", "digits a second at 100 MHz", "dense, as many multipliers", "speed-up", "balance",
                   "LUTs, estimated"):
        table.add_column(column, justify="right")
    for pes, report in reports.items():
        dense = sum(-(-one.inputs * one.outputs // pes) for one in report.sparse)
        ii = report.initiation_interval_cycles
        balance = sum(one.ideal_cycles for one in report.sparse) / sum(one.cycles for one in report.sparse)
        table.add_row(str(pes), f"{ii:,}", f"{1e8 / ii:,.0f}", f"{dense:,}", f"{dense / ii:.1f}", f"{balance:.0%}",
                      f"{report.totals['luts']:,.0f}")
    return table


if __name__ == "__main__":
    sys.exit(main())

"""The demo's network at FINN's public folding: rate, latency and LUTs (`make bench-tfc`).

Beside it, FINN's own estimate of LUTs for the matrix-vector units of this network at this folding, 8,076, which counts
neither queues nor converters nor the input quantizer; ours counts every cell of the whole accelerator.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import bitwright
from codegen.generate import generate
from codegen.yosys import SynthResult, synthesize
from hwsim.autoplan import auto_plan
from hwsim.design import Design, make_design

NETWORK = Path(__file__).resolve().parents[2] / "examples" / "tfc" / "tfc_w1a1.onnx"
FOLDING = [(16, 49), (8, 8), (8, 8), (10, 8)]
FINN_MVU_LUTS = 8076
BOUND_LUTS, BOUND_II_CYCLES, SUM_OF_LAYERS_CYCLES = 5000, 64, 200


def synthesized(design: Design, family: str) -> tuple[SynthResult, float]:
    """Cells of the whole accelerator but for its control shell, and the seconds that Yosys took."""
    rtl = generate(design.bare, "benchmark")
    started = time.monotonic()
    return synthesize(rtl.files, rtl.top, family), time.monotonic() - started


def main() -> int:
    """Print the table; 1 if a bound is missed."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    graph = bitwright.lower(NETWORK, input="u8/255").graph
    table = Table(title="TFC 784-64-64-64-10, w1a1, (PE, SIMD) = 16,49 / 8,8 / 8,8 / 10,8")
    for column in ("family", "II cycles", "first output", "LUT", "of them memory", "FF", "carry", "block RAM", "DSP", "Yosys s"):
        table.add_column(column, justify="right")
    failures = []
    for family in ("xilinx", "ecp5"):
        design = make_design(graph, auto_plan(graph, folding=FOLDING, family=family))
        ii, latency = design.rate()
        with console.status(f"synthesizing for {family}"):
            cells, seconds = synthesized(design, family)
        table.add_row(family, str(ii), str(latency), f"{cells.luts:,}", f"{cells.lutrams:,}", f"{cells.ffs:,}", f"{cells.carry:,}",
                      str(cells.brams), str(cells.dsps), f"{seconds:.0f}")
        if ii != BOUND_II_CYCLES:
            failures.append(f"{family}: initiation interval {ii}, wanted {BOUND_II_CYCLES}")
        if latency >= SUM_OF_LAYERS_CYCLES:
            failures.append(f"{family}: first output after {latency} cycles, wanted below {SUM_OF_LAYERS_CYCLES}")
        if family == "xilinx" and cells.luts > BOUND_LUTS:
            failures.append(f"xilinx: {cells.luts} LUTs, wanted at most {BOUND_LUTS}")
    console.print(table)
    console.print(f"bounds: II {BOUND_II_CYCLES}; first output below {SUM_OF_LAYERS_CYCLES} cycles, the sum of the layers; at most "
                  f"{BOUND_LUTS:,} LUTs under synth_xilinx (FINN's estimate of its matrix-vector units alone: {FINN_MVU_LUTS:,})")
    for failure in failures:
        console.print(f"MISSED: {failure}", style="bold red")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""CNV, a binary VGG of six convolutions, at FINN's public folding: plan, generate, co-verify (`make bench-dataflow`).

FINN's bottleneck at this folding is 32,768 cycles a frame; a sum over its layers is 252 thousand cycles, and 158 thousand
were measured on a board to the first output (BNN-PYNQ).  Cycles are predicted by hwsim and counted on the RTL under
Verilator, with and without stalls, where every bit is compared, too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import codegen.bundle
from benchmarks.reference.models import cnv
from codegen.cosim import verify
from hwsim.autoplan import auto_plan
from hwsim.design import make_design

#: (PE, SIMD) of FINN's CNV in BNN-PYNQ.
FOLDING = [(16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1)]
BOUND_II_CYCLES, BOUND_GENERATION_SECONDS = 32_768, 60.0


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a bound is missed or a bit or a cycle differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataflow", description="CNV in hardware.")
    parser.add_argument("--frames", type=int, default=2, help="frames to co-verify in each of four stall patterns (default 2)")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 110)
    graph = cnv().graph
    failures = []
    started = time.monotonic()
    design = make_design(graph, auto_plan(graph, folding=FOLDING))
    planned = time.monotonic()
    ii, latency = design.rate()
    with tempfile.TemporaryDirectory(prefix="bitwright_") as folder:
        before = time.monotonic()
        bundle = codegen.bundle.build(graph, design.plan, Path(folder) / "cnv")
        generated = time.monotonic()
        with console.status(f"co-verifying {4 * options.frames} frames under Verilator"):
            result = verify(bundle.path, frames=options.frames)
        verified = time.monotonic()
    unstalled = result.patterns["unstalled"]
    table = Table(title="CNV, w1a1, 32x32x3, at FINN's folding", show_header=False)
    rows = [
        ("initiation interval, predicted", f"{ii:,} cycles"),
        ("first output, predicted", f"{latency:,} cycles after the first input"),
        ("last output of all frames, predicted", f"{unstalled['predicted_last_output_cycle']:,} cycles"),
        ("last output of all frames, counted on the RTL", f"{unstalled['last_output_cycle']:,} cycles"),
        ("blocks; queues deeper than 2 words", f"{len(design.stages)}; {sum(depth > 2 for depth in design.depths.values())}"),
        ("plan and queue depths", f"{planned - started:.0f} s"),
        ("bundle: Verilog, memories, vectors", f"{generated - before:.0f} s"),
        ("co-verification", f"{verified - generated:.0f} s for {4 * options.frames} frames in four stall patterns, "
                            f"{4 * options.frames / (verified - generated):.2f} a second, compilation included"),
        ("bits and cycles that differ", "none" if result.passed else "SOME"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if ii > BOUND_II_CYCLES:
        failures.append(f"initiation interval {ii}, wanted at most {BOUND_II_CYCLES}")
    if generated - before > BOUND_GENERATION_SECONDS:
        failures.append(f"{generated - before:.0f} s to generate, wanted at most {BOUND_GENERATION_SECONDS:.0f}")
    if not result.passed:
        failures.append("bits or cycles differ")
    for failure in failures:
        console.print(f"MISSED: {failure}", style="bold red")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""LUTs of the XNOR-popcount: our compressor trees against the plain sum, by the same Yosys in one run.

    python -m benchmarks.popcount                 64, 128 and 512 synapses, with the bounds
    python -m benchmarks.popcount 8 10 49 256     other sizes

The exit status is 1 if a tree is not exactly as large as its plan says, or misses its bound.

Both sides are counted alike. xilinx: every LUT1 to LUT6 and INV cell; CARRY4 are listed apart. ecp5: every
LUT4 cell and two more for each CCU2C, which holds two; the reference figures (301 and 641 for the plain sum)
are the LUT4 cells alone, so our count is the stricter one. Levels: LUTs on the longest path; a carry cell
counts as one node, so this is at worst too many.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from codegen.blocks.popcount import Popcount
from codegen.platform import VerilogPlatform
from codegen.verilog import convert
from codegen.yosys import SynthResult, synthesize
from hwsim.engines.popcount import PopcountTree

BOUNDS = {
    ("xilinx", 64): 91,
    ("xilinx", 128): 175,
    ("xilinx", 512): 697,
    ("ecp5", 64): 176,
    ("ecp5", 128): 366,
}
"""Most LUTs that a tree may take; where there is no figure, it must take fewer than the plain sum."""


PLAIN = """\
module plain (
    input  wire [{high}:0] x,
    input  wire [{high}:0] w,
    output reg  [{count_high}:0] count
);
    wire [{high}:0] p = ~(x ^ w);
    integer i;
    always @* begin
        count = 0;
        for (i = 0; i <= {high}; i = i + 1)
            count = count + p[i];
    end
endmodule
"""


def plain_sum(n_bits: int) -> str:
    """The same count the way it is usually written. (512 terms in one expression overflow YoWASP's stack.)"""
    return PLAIN.format(high=n_bits - 1, count_high=n_bits.bit_length() - 1)


def measure(n_bits: int, family: str) -> tuple[SynthResult, SynthResult, PopcountTree]:
    """(plain sum, ours, plan of ours)."""
    tree = PopcountTree(n_bits, pairs="xnor", family=family)
    platform, block = VerilogPlatform(), Popcount(tree)
    modules = convert({block.module_name: block}, platform)
    files = {f"{name}.v": text for name, text in (platform.cells | modules).items()}
    ours = synthesize(files, block.module_name, family, with_levels=True)
    return synthesize({"plain.v": plain_sum(n_bits)}, "plain", family, with_levels=True), ours, tree


def main(sizes: list[int]) -> int:
    console = Console(width=118)
    failures = []
    for family, command in (("xilinx", "synth_xilinx -flatten -noiopad"), ("ecp5", "synth_ecp5")):
        lut = "LUT1..LUT6 + INV; CARRY4 apart" if family == "xilinx" else "LUT4 + 2 per CCU2C"
        table = Table(title=f"XNOR-popcount, {command}: {lut}")
        for heading in (
            "synapses",
            "plain LUTs",
            "our LUTs",
            "bound",
            "planned",
            "plain / synapse",
            "ours / synapse",
            "ratio",
            "carry cells\nplain, ours",
            "LUT levels\nplain, ours",
        ):
            table.add_column(heading, justify="right")
        for n in sizes:
            plain, ours, tree = measure(n, family)
            bound = BOUNDS.get((family, n), plain.luts - 1 if n >= 64 else plain.luts)
            if ours.luts > bound:
                failures.append(f"{family} at {n}: {ours.luts} LUTs, bound {bound}")
            if ours.luts != tree.luts or ours.carry != tree.carry_cells:
                failures.append(
                    f"{family} at {n}: planned {tree.luts} LUTs and {tree.carry_cells} carry cells, "
                    f"Yosys made {ours.luts} and {ours.carry}"
                )
            table.add_row(
                str(n),
                str(plain.luts),
                str(ours.luts),
                str(bound),
                str(tree.luts),
                f"{plain.luts / n:.2f}",
                f"{ours.luts / n:.2f}",
                f"{ours.luts / plain.luts:.2f}",
                f"{plain.carry}, {ours.carry}",
                f"{plain.levels}, {ours.levels}",
            )
        console.print(table)
    for failure in failures:
        console.print(f"missed: {failure}", style="bold red")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main([int(text) for text in sys.argv[1:]] or [64, 128, 512]))

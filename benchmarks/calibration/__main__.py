"""How far hwsim's resource estimates are from what Yosys makes, design by design and block by block.

    python -m benchmarks.calibration [--only NAME ...] [--family xilinx|ecp5] [--worst N] [--json FILE]

The exit status is 1 if the LUTs of a whole design are off by more than 15%.  Some designs take Yosys several minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from codegen.synth_result import Part
from intir.whole import write_whole

from .designs import DESIGNS, FAMILIES, design
from .measure import MOST_OFF, Measured, measure, ratio


def main() -> int:
    """Print the table; 1 if an estimate is off."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=sorted(DESIGNS), metavar="NAME", help=f"some of {', '.join(DESIGNS)}")
    parser.add_argument("--family", choices=FAMILIES, help="one FPGA family instead of both")
    parser.add_argument("--worst", type=int, default=3, metavar="N", help="blocks to print of each design [3]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results, with all blocks, into a file, too")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130)
    found: list[Measured] = []
    for name in arguments.only or DESIGNS:
        for family in [arguments.family] if arguments.family else FAMILIES:
            found.append(measure(name, design(name, family)))
            print(f"{name}, {family}: {found[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    console.print(table(found, arguments.worst))
    if arguments.json:
        write_whole(arguments.json, (json.dumps([one.as_dict() for one in found], indent=1) + "\n").encode())
    for one in found:
        if not one.is_met:
            console.print(f"MISSED: {one.design}, {one.family}: {abs(one.ratio - 1):.0%} off, at most {MOST_OFF:.0%} wanted",
                          style="bold red")
    return int(not all(one.is_met for one in found))


def table(found: list[Measured], worst: int) -> Table:
    """All designs, under each its blocks whose LUTs are furthest off."""
    made = Table(title="hwsim's estimate / what Yosys made",
                 caption="LUTs of six inputs (xilinx) or four (ecp5); block RAMs of 18 kbit")
    for column in ("design", "family", "LUTs", "ratio", "block RAMs", "DSPs", "seconds"):
        made.add_column(column, justify="left" if column in ("design", "family") else "right")
    for one in found:
        made.add_row(one.design, one.family, *_cells(one.whole), f"{one.seconds:.0f}", style="bold")
        for part in one.blocks[:worst]:
            made.add_row(f"  {part.name}", part.engine, *_cells(part), "")
    return made


def _cells(part: Part) -> tuple[str, ...]:
    luts, brams, dsps = (f"{part.estimated[name]:,} / {part.found[name]:,}" for name in ("LUTs", "block RAMs", "DSPs"))
    return luts, f"{ratio(part):.2f}", brams, dsps


if __name__ == "__main__":
    sys.exit(main())

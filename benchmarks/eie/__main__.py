"""The sparse engine's simulation beside the EIE paper and its authors' simulator (`make bench-eie`).

The nine layers of the paper are drawn at random, with fixed seeds, at the published sizes and densities.  Times are those
of the products, from the first cycle of a layer's scan until all PEs are done, as the authors' simulator counts them.  The
exit status is 1 if one is not within 3% of theirs, or the simulation is not 10 times faster.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from hwsim.energy import energy_table

from . import cells, power, real, speed, sweeps, timing
from .layers import DEPTHS, Encoded, drawn, published


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; 1 if a bound is missed."""
    rows = published()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eie", description="The sparse engine beside the EIE paper.",
                                     epilog="example: python -m benchmarks.eie --only Alex-7 --only NT-We --no-machine")
    parser.add_argument("--only", action="append", choices=[row.name for row in rows],
                        help="a layer, may be repeated (default: all nine)")
    parser.add_argument("--seed", type=int, default=1, help="of the random patterns (default 1)")
    parser.add_argument("--squeezenet", type=Path, default=real.default_file(), metavar="FILE",
                        help=f"{real.NAME}, the codes of {real.SOURCE}; skipped where there is no such file")
    parser.add_argument("--no-machine", action="store_true", help="leave out this machine's own dense and sparse products")
    parser.add_argument("--cells", action="store_true", help="only synthesize engines of 64 PEs with Yosys, for minutes")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 170)
    if options.cells:
        console.print(cells.cells(console))
        return 0
    started = time.monotonic()
    failures: list[str] = []
    with console.status("drawing and encoding the nine layers"):
        drawn(rows[0]).encode()  # compiles
        layers = [(row, Encoded.of(drawn(row, options.seed))) for row in rows if not options.only or row.name in options.only]
    encoded = [one for _, one in layers]
    console.print(timing.times(layers, failures))
    console.print(timing.differences(encoded, DEPTHS, "random patterns", seed=options.seed, failures=failures))
    console.print(timing.cpu_times(encoded, "random patterns", failures))
    if options.squeezenet.is_file():
        fires = [Encoded.of(one) for one in real.read(options.squeezenet)]
        console.print(timing.differences(fires, real.DEPTHS, real.TITLE, seed=1, failures=failures))
        console.print(real.sizes(fires), highlight=False)
        console.print(timing.cpu_times(fires, real.TITLE, failures))
    else:
        console.print(f"skipped: the real layers of SqueezeNet, for want of {options.squeezenet.name}; give it with --squeezenet")
    energies = energy_table()
    console.print(sweeps.padding(encoded))
    console.print(sweeps.balance(encoded))
    console.print(sweeps.queues(encoded))
    console.print(sweeps.read_widths(encoded, energies))
    console.print(power.energy(encoded, energies))
    if not options.no_machine:
        console.print(speed.speedups(encoded))
    console.print(f"bounds: within {timing.BOUND_PERCENT:.0f}% of the authors' simulator at every depth, no cycle unexplained, "
                  f"{timing.BOUND_RATIO:.0f} times faster than its 0.06 s for 8,000 cycles; "
                  f"{time.monotonic() - started:.0f} seconds")
    for failure in failures:
        console.print(f"MISSED: {failure}", style="bold red")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

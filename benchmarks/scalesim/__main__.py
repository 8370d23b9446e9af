"""Our cycles and CPU time beside SCALE-Sim's (`make bench-scalesim`).

Both simulate a small topology in one go, on two arrays in three dataflows: SCALE-Sim in an environment of its own, ours as
`hwsim.systems.run.simulate` does it, with memories and energy.  SCALE-Sim's count of a layer must be our closed form minus 1, in
those and in all recorded layers of its AlexNet and ResNet-18.  The exit status is 1 if a layer differs, or ours is not 1,000 times
faster: on the small topology, and on AlexNet (32 x 32) than SCALE-Sim was when it was recorded.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.environments import ROOT, PeerError, environment, run_command
from hwsim.systems.arrays import product_cycles
from hwsim.systems.machine import Array, Dram, Machine, Sram
from hwsim.systems.run import simulate
from hwsim.systems.topologies import topology
from hwsim.systems.work import Workload

#: It converts arrays of one element to numbers, which numpy 2.4 no longer does.
REQUIREMENTS = ("scalesim==3.0.0", "numpy==2.2.6")
TOPOLOGY = Path(__file__).with_name("topology.csv")
DATAFLOWS = {"os": "output_stationary", "ws": "weight_stationary", "is": "input_stationary"}
SIDES = (16, 32)
BOUND = 1000
#: CPU seconds that SCALE-Sim took for its AlexNet on 32 x 32, least of the recorded.
RECORDED_ALEXNET_SECONDS = 107.0
CONFIG = """[general]
run_name = small
[architecture_presets]
ArrayHeight = {side}
ArrayWidth = {side}
IfmapSramSzkB = 64
FilterSramSzkB = 64
OfmapSramSzkB = 64
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
Bandwidth = 10
MemoryBanks = 1
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
FilterCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""


def machine(side: int, dataflow: str) -> Machine:
    """An array with SCALE-Sim's buffers of 64 KB."""
    return Machine(f"{side} x {side}", "", "", 45, 500.0, Array("systolic", side, side, DATAFLOWS[dataflow]),
                   tuple(Sram(what, 64 << 10, width * side, 2, (what,)) for what, width in
                         (("activations", 8), ("weights", 8), ("sums", 32))), Dram("LPDDR4", 10.0), vector_lanes=side)


def ours(work: Workload, side: int, dataflow: str) -> tuple[list[int], float]:
    """Cycles of the array layer by layer, and CPU seconds of a whole simulation, mean of a few."""
    made = machine(side, dataflow)
    simulate(work, made)  # compiles
    repeats = 5
    started = time.process_time()
    for _ in range(repeats):
        simulate(work, made)
    seconds = (time.process_time() - started) / repeats
    products = [layer.product for layer in work.works if layer.product is not None]
    return [product_cycles(made.array, one.pixels, one.terms, one.filters) for one in products], seconds


def theirs(python: Path, side: int, dataflow: str) -> tuple[list[int], float]:
    """SCALE-Sim's cycles layer by layer, and its CPU seconds."""
    with tempfile.TemporaryDirectory(prefix="bitwright_") as work:
        folder = Path(work)
        (folder / "scale.cfg").write_text(CONFIG.format(side=side, dataflow=dataflow))
        names = [line.split(",")[0] for line in TOPOLOGY.read_text().splitlines()[1:]]
        layout = ["Layer name," + "x," * 20, *(name + "," + "1," * 20 for name in names)]
        (folder / "layout.csv").write_text("\n".join(layout) + "\n")
        script = Path(__file__).with_name("peer.py")
        said = run_command([python, script, folder / "scale.cfg", TOPOLOGY, folder / "layout.csv", folder],
                           f"SCALE-Sim on {side} x {side}, {dataflow}", folder)
        report = next(folder.rglob("COMPUTE_REPORT.csv"))
        rows = list(csv.DictReader(report.read_text().splitlines(), skipinitialspace=True))
        column = next(name for name in rows[0] if name and "Total Cycles" in name and "prefetch" not in name)
        return [int(float(row[column])) for row in rows], json.loads(said.splitlines()[-1])["cpu_seconds"]


def recorded() -> Path | None:
    """The recorded layers, beside the project or above it."""
    name = Path("shared") / "reference" / "scalesim_layers.csv"
    return next((path for parent in (ROOT, *ROOT.parents) if (path := parent / name).is_file()), None)


def compare(console: Console, failures: list[str]) -> None:
    """Run both on the small topology."""
    work = topology(TOPOLOGY)
    try:
        with console.status("installing SCALE-Sim"):
            python = environment("scalesim", REQUIREMENTS, constrained=False)
    except PeerError as error:
        console.print(f"skipped: the run of SCALE-Sim itself, {error}", highlight=False)
        return
    table = Table(title=f"{TOPOLOGY.name}: cycles layer by layer, CPU seconds of a run")
    for heading in ("array", "dataflow", "SCALE-Sim's cycles", "ours (its count + 1)", "SCALE-Sim, CPU", "ours, CPU", "ratio"):
        table.add_column(heading, justify="right")
    their_total, our_total = 0.0, 0.0
    for side in SIDES:
        for dataflow in DATAFLOWS:
            with console.status(f"{side} x {side}, {dataflow}"):
                counted, their_seconds = theirs(python, side, dataflow)
                cycles, our_seconds = ours(work, side, dataflow)
            if cycles != [count + 1 for count in counted]:
                failures.append(f"{side} x {side}, {dataflow}: ours {cycles}, SCALE-Sim {counted}")
            their_total, our_total = their_total + their_seconds, our_total + our_seconds
            table.add_row(f"{side} x {side}", dataflow, " ".join(map(str, counted)), " ".join(map(str, cycles)),
                          f"{their_seconds:.2f} s", f"{our_seconds * 1e3:.2f} ms", f"{their_seconds / our_seconds:,.0f}x")
    ratio = their_total / our_total
    table.add_row("all", "", "", "", f"{their_total:.2f} s", f"{our_total * 1e3:.2f} ms", f"{ratio:,.0f}x")
    console.print(table)
    if ratio < BOUND:
        failures.append(f"on {TOPOLOGY.name} ours is {ratio:,.0f} times faster, less than {BOUND:,}")


def check_recorded(console: Console, failures: list[str]) -> None:
    """All layers of SCALE-Sim's own topologies."""
    path = recorded()
    if path is None:
        console.print("skipped: SCALE-Sim's AlexNet and ResNet-18 layer by layer, for want of shared/reference/scalesim_layers.csv")
        return
    rows = list(csv.DictReader(path.read_text().splitlines()))
    wrong = []
    for row in rows:
        array = Array("systolic", *map(int, row["array"].split("x")), DATAFLOWS[row["dataflow"]])
        if product_cycles(array, int(row["M"]), int(row["K"]), int(row["N"])) != int(row["cycles"]) + 1:
            wrong.append(row["layer"])
    console.print(f"{len(rows) - len(wrong)} of {len(rows)} recorded layers of AlexNet and ResNet-18: ours is SCALE-Sim's count "
                  "plus 1")
    if wrong:
        failures.append(f"recorded layers differ: {', '.join(wrong)}")


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scalesim",
                                     description="Our cycles and CPU time beside SCALE-Sim's.",
                                     epilog="example: python -m benchmarks.scalesim --no-run")
    parser.add_argument("--no-run", action="store_true", help="only check against recorded runs")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 150)
    failures: list[str] = []
    if not options.no_run:
        compare(console, failures)
    check_recorded(console, failures)
    _, seconds = ours(topology("alexnet"), 32, "os")
    ratio = RECORDED_ALEXNET_SECONDS / seconds
    console.print(f"AlexNet, 32 x 32: {seconds * 1e3:.1f} ms of CPU; SCALE-Sim took {RECORDED_ALEXNET_SECONDS:.0f} to 138 s when "
                  f"recorded: {ratio:,.0f}x (bound {BOUND:,}x)")
    if ratio < BOUND:
        failures.append(f"AlexNet is {ratio:,.0f} times faster, less than {BOUND:,}")
    for failure in failures:
        console.print(f"[red]missed:[/red] {failure}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())

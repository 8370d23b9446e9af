"""Layers simulated a second, and a sweep of 10,000 machines (`make bench-throughput`).

The sweep runs ResNet-18 on machines of many array shapes, memory sizes and DRAM bandwidths, in two processes.  The exit status is
1 if it takes 5 minutes, or any process 1 GB.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

from hwsim.systems.machine import Array, Dram, Machine, Sram
from hwsim.systems.run import simulate
from hwsim.systems.topologies import topology

BOUND_SECONDS, BOUND_BYTES = 300.0, 1e9
PROCESSES, CHUNK = 2, 250
ROWS = COLUMNS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 256)
KIB = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
GB_PER_S = (2.0, 4.0, 8.0, 12.8, 19.2, 25.6, 34.0, 51.2, 102.4, 256.0)
NETWORKS = ("lenet5", "alexnet", "vgg16", "resnet18", "resnet50", "mobilenet_v1")


def machine(rows: int, columns: int, kib: int, gb_per_s: float) -> Machine:
    """One point of the sweep."""
    width = 8 * max(rows, columns)
    srams = (Sram("activations", kib << 10, width, 2, ("activations",)), Sram("weights", kib << 10, width, 2, ("weights",)),
             Sram("sums", kib << 10, 32 * columns, 1, ("sums",)))
    return Machine(f"{rows} x {columns}, {kib} KiB, {gb_per_s} GB/s", "", "", 45, 800.0,
                   Array("systolic", rows, columns, "weight_stationary"), srams, Dram("LPDDR4", gb_per_s), vector_lanes=columns,
                   algorithms=("direct",))


def points(number: int) -> list[tuple[int, int, int, float]]:
    """So many of the grid, spread evenly."""
    grid = list(itertools.product(ROWS, COLUMNS, KIB, GB_PER_S))
    return [grid[int(at)] for at in np.linspace(0, len(grid) - 1, number)]


def chunk(network: str, made: list[tuple[int, int, int, float]]) -> tuple[list[tuple[int, float, float]], int, float]:
    """Cycles, DRAM bytes and energy of some points; the greatest memory of this process in bytes, CPU seconds of these points."""
    started = time.process_time()
    work = topology(network)
    found = []
    for point in made:
        report = simulate(work, machine(*point))
        found.append((report.cycles, report.dram_bytes, report.total_pj))
    return found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.process_time() - started


def speed(console: Console) -> None:
    """Layers a second, network by network."""
    table = Table(title="simulating a network on a machine of 32 x 32, one process")
    for heading in ("network", "layers", "CPU", "layers a second"):
        table.add_column(heading, justify="right")
    for name in NETWORKS:
        work = topology(name)
        simulate(work, machine(32, 32, 256, 19.2))  # compiles
        made = [machine(32, 32, 256, 10.0 + number) for number in range(10)]
        started = time.process_time()
        for one in made:
            simulate(work, one)
        seconds = (time.process_time() - started) / len(made)
        table.add_row(name, str(len(work.works)), f"{seconds * 1e3:.1f} ms", f"{len(work.works) / seconds:,.0f}")
    console.print(table)


def sweep(console: Console, number: int, failures: list[str]) -> None:
    """Many machines."""
    wanted = points(number)
    started = time.monotonic()
    with console.status(f"{number:,} machines"):
        done = Parallel(n_jobs=PROCESSES)(delayed(chunk)("resnet18", wanted[at:at + CHUNK]) for at in range(0, number, CHUNK))
    seconds = time.monotonic() - started
    results = np.array([one for found, *_ in done for one in found])
    most, spent = max(memory for _, memory, _ in done), sum(cpu for *_, cpu in done)
    bound = BOUND_SECONDS * number / 10_000
    best = int(results[:, 0].argmin())
    rows, columns, kib, gb_per_s = wanted[best]
    console.print(f"{number:,} machines, ResNet-18, {PROCESSES} processes: {seconds:.0f} s, {bound / seconds:.1f} times faster "
                  f"than the bound of {bound:.0f} s; {most / 1e6:.0f} MB at most in a process, the bound is "
                  f"{BOUND_BYTES / PROCESSES / most:.1f} times that")
    # What it would take on two cores of its own.
    console.print(f"{spent / number * 1e3:.1f} ms of CPU a machine, {spent:.0f} s in all")
    console.print(f"fastest: {rows} x {columns}, {kib} KiB, {gb_per_s} GB/s, {results[best, 0]:,.0f} cycles")
    if len(results) != number or not (results > 0).all():
        failures.append("a machine gave no result")
    if seconds > bound:
        failures.append(f"{seconds:.0f} s, more than {bound:.0f}")
    if PROCESSES * most > BOUND_BYTES:
        failures.append(f"{PROCESSES * most / 1e6:.0f} MB in all processes, more than {BOUND_BYTES / 1e6:.0f}")


def main(arguments: list[str] | None = None) -> int:
    """Print speeds; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description="Layers a second, and a sweep.",
                                     epilog="example: python -m benchmarks.throughput --points 500")
    parser.add_argument("--points", type=int, default=10_000, help="machines of the sweep, up to 10,000 (default)")
    options = parser.parse_args(arguments)
    if not 1 <= options.points <= 10_000:
        parser.error(f"{options.points} points; give 1 to 10,000")
    console = Console(width=None if sys.stdout.isatty() else 150)
    failures: list[str] = []
    speed(console)
    sweep(console, options.points, failures)
    for failure in failures:
        console.print(f"[red]missed:[/red] {failure}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())

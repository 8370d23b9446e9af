"""Times of the nine layers beside the paper's and the authors' simulator's, where they differ, and the CPU time of both."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.table import Table

from hwsim.engines.eie_cycles import layer_cycles, run_layer

from .authors import WRITE_CYCLES, authors_cycles, measured
from .layers import (
    AUTHORS_SECONDS_PER_CYCLE,
    CLOCK_MHZ,
    DEPTHS,
    LANES,
    PAPER_DEPTH,
    PES,
    Encoded,
    Published,
    activations,
)

BOUND_PERCENT, BOUND_RATIO = 3.0, 10.0
ROUNDS = 5
#: The first activation goes through our broadcast register.
START_CYCLES = 1


def cycles(one: Encoded, depth: int) -> int:
    """Cycles of a layer with queues of this depth."""
    return layer_cycles(one.matrix, one.layer.x, lanes=LANES, queue_depth=depth)


def times(layers: list[tuple[Published, Encoded]], failures: list[str]) -> Table:
    """Ours, the paper's and the authors' simulator's, at all depths."""
    table = Table(title=f"us a layer: {PES} PEs, {CLOCK_MHZ} MHz; ours / the authors' simulator, difference, at queue depths")
    table.add_column("layer")
    for heading in ("active", "paper\ntheory", "paper\nactual", *(str(depth) for depth in DEPTHS), "8, at the\npublished density"):
        table.add_column(heading, justify="right")
    for row, one in layers:
        cells = []
        for depth in DEPTHS:
            ours, theirs = cycles(one, depth) / CLOCK_MHZ, row.simulated_us[depth]
            percent = 100 * (ours / theirs - 1)
            cells.append(f"{ours:.2f} / {theirs:.2f} {percent:+.1f}%")
            if abs(percent) > BOUND_PERCENT:
                failures.append(f"{row.name} at depth {depth}: {ours:.2f} us, the authors' simulator {theirs:.2f} us, "
                                f"{percent:+.1f}%; wanted within {BOUND_PERCENT:.0f}%")
        stated = activations(row.inputs, round(row.inputs * row.activation_density))
        other = layer_cycles(one.matrix, stated, lanes=LANES, queue_depth=PAPER_DEPTH) / CLOCK_MHZ
        table.add_row(row.name, f"{100 * row.drawn_active / row.inputs:.1f}%", f"{row.theoretical_us:.1f}", f"{row.actual_us:.1f}",
                      *cells, f"{other:.2f} {100 * (other / row.simulated_us[PAPER_DEPTH] - 1):+.1f}%")
    return table


def differences(layers: list[Encoded], depths: tuple[int, ...], title: str, *, seed: int, failures: list[str]) -> Table:
    """The same patterns on the authors' machine, and what ours does otherwise."""
    table = Table(title=f"Where ours differs from the authors' machine, in cycles, on the same patterns: {title}")
    table.add_column("layer")
    for heading in ("depth", "authors' simulator,\nmeasured", "their machine\nas we model it", "theirs ends before\nthe last entry",
                    "theirs takes a cycle\nbetween words", "start and\nend", "our scan\nwaits", "ours", "difference"):
        table.add_column(heading, justify="right")
    known = measured() if seed == 1 else {}
    for one in layers:
        for depth in depths:
            theirs, *rest = explained(one, depth, failures)
            count = known.get((one.layer.name, depth))
            if count not in (None, theirs):
                failures.append(f"{one.layer.name} at depth {depth}: their simulator takes {count:,} cycles, the model of it "
                                f"{theirs:,}")
            table.add_row(one.layer.name, str(depth), "" if count is None else f"{count:,}", f"{theirs:,}",
                          *(f"{n:+}" if n else "" for n in rest[:-1]), f"{rest[-1]:,}", f"{100 * (rest[-1] / theirs - 1):+.2f}%")
    return table


def explained(one: Encoded, depth: int, failures: list[str]) -> tuple[int, int, int, int, int, int]:
    """Cycles on the authors' machine, four differences, and ours, which is their sum."""
    theirs = authors_cycles(one.matrix, one.layer.x, depth)
    to_the_end = authors_cycles(one.matrix, one.layer.x, depth, stops=False)
    no_scan = authors_cycles(one.matrix, one.layer.x, depth, stops=False, scan=False)
    ends = START_CYCLES - WRITE_CYCLES
    run = run_layer(one.matrix, one.layer.x, lanes=LANES, queue_depth=depth)
    waits = run.cycles - no_scan - ends
    if not 0 <= waits <= run.scan_wait_cycles:
        failures.append(f"{one.layer.name} at depth {depth}: {waits} cycles that nothing explains; the scan waits for "
                        f"{run.scan_wait_cycles}")
    return theirs, to_the_end - theirs, no_scan - to_the_end, ends, waits, run.cycles


def seconds_of(action: Callable[[], object], repeats: int) -> float:
    """CPU seconds of one call: the least of a few rounds, so that what else the machine does counts as little as it can."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(repeats):
            action()
        rounds.append((time.process_time() - started) / repeats)
    return min(rounds)


def cpu_times(layers: list[Encoded], title: str, failures: list[str]) -> Table:
    """CPU time of the simulation, beside what the authors' simulator takes for as many cycles."""
    table = Table(title=f"CPU time, {title}, depth {PAPER_DEPTH}")
    table.add_column("layer")
    for heading in ("cycles", "encode ms", "count by\ncolumn ms", "cycles alone\nms", "with all\nstatistics ms",
                    "authors' simulator\nms", "ratio", "ratio with\nstatistics"):
        table.add_column(heading, justify="right")
    for one in layers:
        count = cycles(one, PAPER_DEPTH)
        plain = seconds_of(lambda one=one: cycles(one, PAPER_DEPTH), 20)
        full = seconds_of(lambda one=one: run_layer(one.matrix, one.layer.x, lanes=LANES, queue_depth=PAPER_DEPTH), 1)
        theirs = count * AUTHORS_SECONDS_PER_CYCLE
        if theirs < BOUND_RATIO * plain:
            failures.append(f"{one.layer.name}: {1000 * plain:.3f} ms of CPU, {theirs / plain:.1f} times faster than the authors' "
                            f"simulator; wanted {BOUND_RATIO:.0f} times")
        table.add_row(one.layer.name, f"{count:,}", f"{1000 * one.encode_seconds:.0f}", f"{1000 * one.count_seconds:.1f}",
                      f"{1000 * plain:.3f}", f"{1000 * full:.1f}", f"{1000 * theirs:.1f}", f"{theirs / plain:,.0f}",
                      f"{theirs / full:,.0f}")
    return table

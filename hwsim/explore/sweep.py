"""Sweeps: thousands of what-ifs, each a simulation of a network on a machine, kept in a file that survives a kill.

Points are computed in parcels wherever a scheduler puts them; their rows are appended to the file as they come, parcel by parcel,
each synced to the disk.  The file's head says which sweep it is.  Started again, a sweep computes only what its file lacks.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import intir
from intir import BitwrightError
from intir.whole import write_whole

from ..systems.machine import Machine
from ..systems.machine_file import load_machine
from ..systems.report import SystemReport
from ..systems.run import simulate
from ..systems.topologies import topology
from ..systems.work import Workload
from ..systems.workload import workload_of
from .pareto import pareto
from .results import append, csv_line, kept
from .schedulers import scheduled
from .spec import SweepError, SweepPoint, SweepSpec

#: Points of a parcel: large enough that scheduling costs little, small enough that a kill loses seconds.
PARCEL = 32
#: First words of a file of results.
HEAD = "# bitwright sweep 1"
#: What a row says of a point, before and behind its values.
ASKED = ("point", "network", "machine", "batch", "algorithm")
FOUND = ("cycles", "seconds", "frames_per_second", "energy_uj_per_frame", "dram_bytes_per_frame", "macs_per_frame", "utilisation",
         "bound", "peak_macs_per_cycle", "sram_bytes", "clock_mhz", "dram_gb_per_s", "error")

Row = dict[str, str]


def columns(spec: SweepSpec) -> list[str]:
    """Of a file of results."""
    axes = [axis.key for axis in spec.axes]
    return [*ASKED, *axes, *(name for name in FOUND if name not in axes)]


def sweep(spec: SweepSpec, path: str | Path | None = None, *, scheduler: str = "local", jobs: int | None = None,
          address: str | None = None, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Row]:
    """Simulate every point.

    Parameters
    ----------
    spec : SweepSpec
    path : str or Path, optional
        CSV file that keeps the rows, and that an interrupted sweep goes on with.
    scheduler, jobs, address
        As `schedulers.scheduled` takes them.
    progress : callable
        Told how many points of how many are done.

    Returns
    -------
    rows, by number of the point; texts as the file has them

    Raises
    ------
    SweepError
        If the spec cannot be run, or the file is another sweep's, or cannot be written.
    """
    spec.checked()
    for name in spec.networks:
        _network(name)  # a mistake shows here once, not in every row
    with _results(path, spec) as (file, rows):
        left = [number for number in range(len(spec)) if number not in rows]
        progress(len(rows), len(spec))
        left.sort(key=lambda number: _kinship(spec.point(number)))
        parcels = [left[start:start + PARCEL] for start in range(0, len(left), PARCEL)]
        for made in scheduled(partial(run_points, spec), parcels, scheduler=scheduler, jobs=jobs, address=address):
            if file is not None:
                append(file, _csv(made, spec))
            rows.update((int(row["point"]), row) for row in made)
            progress(len(rows), len(spec))
    ordered = [rows[number] for number in range(len(spec))]
    if path is not None:
        write_whole(path, (_head(spec) + _csv(ordered, spec)).encode())
    return ordered


def _kinship(point: SweepPoint) -> tuple[object, ...]:
    """Sorts points so that neighbours share what the simulator computes once: of an array first, then of its memories."""
    keys = sorted(point.values, key=lambda key: (not key.startswith("array."), not key.startswith("sram."), key))
    return (point.network, point.machine, point.batch, point.algorithm, *(str(point.values[key]) for key in keys), point.index)


def run_points(spec: SweepSpec, numbers: Sequence[int]) -> list[Row]:
    """Simulate some points; what is invalid gets a row with its error."""
    return [run_point(spec.point(number)) for number in numbers]


def run_point(point: SweepPoint) -> Row:
    """Simulate one point."""
    row = _asked(point)
    try:
        machine = load_machine(point.machine, point.overrides)
        row |= {"peak_macs_per_cycle": machine.array.peak_macs, "sram_bytes": sum(one.bytes for one in machine.srams),
                "clock_mhz": machine.clock_mhz, "dram_gb_per_s": machine.dram.gb_per_s}
        row |= _measured(_run(point, machine))
    except BitwrightError as error:
        row["error"] = " ".join(str(error).split())
    return {key: str(value) for key, value in row.items()}


def _asked(point: SweepPoint) -> dict[str, Any]:
    return {"point": point.index, "network": point.network, "machine": point.machine, "batch": point.batch,
            "algorithm": point.algorithm, **point.values}


def _run(point: SweepPoint, machine: Machine) -> SystemReport:
    if machine.array.kind != "dataflow":
        return simulate(_network(point.network), machine, batch=point.batch,
                        algorithm=None if point.algorithm == "best" else point.algorithm)
    if Path(point.network).suffix != ".intir":
        raise SweepError(f"machine {machine.name} is a design that is made from a network with its weights; give a .intir file "
                         "instead of a table of shapes")
    from ..systems.dataflow_machine import simulate_graph

    return simulate_graph(_graph(point.network), machine, batch=point.batch)


def _measured(report: SystemReport) -> dict[str, Any]:
    waits: dict[str, int] = {}
    for layer in report.layers:
        for cause, cycles in (("array", layer.array_cycles), *layer.stall_cycles.items()):
            waits[cause] = waits.get(cause, 0) + cycles
    return {"cycles": report.cycles, "seconds": report.seconds, "frames_per_second": report.frames_per_second,
            "energy_uj_per_frame": report.total_pj / 1e6 / report.batch, "dram_bytes_per_frame": report.dram_bytes / report.batch,
            "macs_per_frame": report.macs // report.batch, "utilisation": report.macs / (report.cycles * report.peak_macs),
            "bound": max(waits, key=lambda cause: waits[cause])}


@lru_cache(maxsize=64)
def _network(name: str) -> Workload:
    """A lowered network, a table of shapes, or a name of the library."""
    return workload_of(_graph(name)) if Path(name).suffix == ".intir" else topology(name)


@lru_cache(maxsize=8)
def _graph(name: str) -> intir.Graph:
    return intir.load(name)


# The file

def _head(spec: SweepSpec) -> str:
    return f"{HEAD}, spec {spec.fingerprint}\n# {json.dumps(spec.as_dict(), sort_keys=True)}\n{csv_line(columns(spec))}"


def _csv(rows: Sequence[Row], spec: SweepSpec) -> str:
    return "".join(csv_line([row.get(name, "") for name in columns(spec)]) for row in rows)


@contextlib.contextmanager
def _results(path: str | Path | None, spec: SweepSpec) -> Iterator[tuple[IO[bytes] | None, dict[int, Row]]]:
    """The file, open to append, and the rows that it has already."""
    if path is None:
        yield None, {}
        return
    with kept(path, _head(spec), doing="sweep", refusal=lambda text: _other(text, path, spec), error=SweepError) as (file, text):
        yield file, _read(text, spec, path)


def _read(text: str, spec: SweepSpec, path: str | Path) -> dict[int, Row]:
    names = columns(spec)
    rows: dict[int, Row] = {}
    reader = csv.reader(io.StringIO(text), strict=True)
    head, line = 3, 0
    try:
        for cells in reader:
            row = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
            if len(cells) != len(names) or not _is_row(row, spec):
                raise ValueError
            rows[int(row["point"])] = row
            line = reader.line_num
    except (ValueError, csv.Error):
        raise SweepError(f"'{path}', line {head + line + 1}, is no row of this sweep; take the line out, and its point is computed "
                         "again") from None
    return rows


def _is_row(row: Row, spec: SweepSpec) -> bool:
    """Whether a row is of the point that it says, and has an error or all figures.  ValueError where a figure is none."""
    index = int(row.get("point", "-1"))
    if not 0 <= index < len(spec):
        return False
    asked = _asked(spec.point(index))
    if any(row.get(name, "") != str(value) for name, value in asked.items() if name not in FOUND):
        return False
    if "error" in row:
        return "cycles" not in row
    return "bound" in row and all(math.isfinite(float(row.get(name, "nan"))) for name in FOUND if name not in ("bound", "error"))


def _other(text: str, path: str | Path, spec: SweepSpec) -> str:
    first = text.split("\n", 1)[0][:100]
    if not first.startswith(HEAD):
        return f"'{path}' is no file of a sweep's results (it begins with '{first[:40]}'); name another file"
    theirs = _said(text)
    mine = spec.as_dict()
    differs = [key for key in mine if isinstance(theirs, Mapping) and theirs.get(key) != mine[key]]
    what = f"they differ in {', '.join(differs)}" if differs else "a network's or a machine's file has changed since"
    return (f"'{path}' has the results of another sweep, {first.rpartition(' ')[2]}, and this one is {spec.fingerprint}: {what}; "
            "name another file, or remove that one")


def _said(text: str) -> object:
    try:
        return json.loads(text.split("\n", 2)[1].removeprefix("# "))
    except (ValueError, IndexError):
        return None


# What stands out

#: What a front weighs: less is better; a minus turns that round.
WEIGHED = ("-frames_per_second", "energy_uj_per_frame", "peak_macs_per_cycle", "sram_bytes", "clock_mhz", "dram_gb_per_s")


def front(rows: Sequence[Row]) -> list[Row]:
    """Of the rows of one network without errors, those that no other is as good as in everything that `WEIGHED` names."""
    good = [row for row in rows if "error" not in row]
    if not good:
        return []
    costs = [[-float(row[name[1:]]) if name.startswith("-") else float(row[name]) for name in WEIGHED] for row in good]
    return [row for row, keep in zip(good, pareto(costs), strict=True) if keep]


def best(rows: Sequence[Row]) -> dict[str, Row]:
    """Of the rows of one network without errors, the best by some measures."""
    good = [row for row in rows if "error" not in row]
    measures: dict[str, Callable[[Row], float]] = {
        "fastest": lambda row: -float(row["frames_per_second"]),
        "least energy": lambda row: float(row["energy_uj_per_frame"]),
        "energy x delay": lambda row: float(row["energy_uj_per_frame"]) / float(row["frames_per_second"]),
        "best used": lambda row: -float(row["utilisation"])}
    return {name: min(good, key=measure) for name, measure in measures.items()} if good else {}

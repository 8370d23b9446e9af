"""Methods of the compression toolbox run, measured and compared: where `quant.compress` and `hwsim` meet.

A row says of a network, a method and a seed what was reached.  Rows are kept in a file as they come, so that a comparison that was
stopped goes on where it was; a row is found again by what was asked: network and samples (by their contents), method, budget,
epochs and seed.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import intir
from hwsim.explore.results import append, csv_line, kept
from hwsim.explore.targets import as_design, default_rate, on_machines
from hwsim.stored import stored_weights
from hwsim.systems.workload import workload_of
from intir import BitwrightError
from intir.whole import write_whole
from quant.compress.bench.data import Data
from quant.compress.bench.integers import Integers, float_accuracy_percent, float_bits, to_integers
from quant.compress.bench.job import Job, Method, Search
from quant.compress.bench.models import Model
from quant.compress.errors import CompressionError

from .hardware_costs import HardwareCosts

#: An int8 array, an XNOR array, EIE with codes wide enough for any int8 network.
MACHINES = ("edge_npu_int8", "xnor_64", "eie_64_int8")
#: Designs of a network's compressed forms are planned for this part of the rate that its int8 form reaches unless told.
RATE_PART = 0.25
HEAD = "# bitwright compress 1"
#: What a row says it is of, and what was found.
ASKED = ("model", "model_fingerprint", "data", "data_fingerprint", "method", "budget", "epochs", "seed")
FOUND = ("accuracy_percent", "float_accuracy_percent", "parameters", "dense_parameters", "macs", "dense_macs", "stored_bytes",
         "packed_bytes", "float_bytes", "ratio")
DESIGN = ("luts", "brams_18kbit", "dsps", "interval_cycles", "engines")
#: The network as it was given: nothing but accuracy and sizes, as hardware has no float.
FLOAT = "float"

Row = dict[str, str]


def columns(machines: Sequence[str]) -> list[str]:
    """Of a file of results."""
    figures = [f"{name}_{what}" for name in machines for what in ("latency_us", "energy_uj")]
    return [*ASKED, *FOUND, *figures, *DESIGN, "seconds", "notes", "error"]


@dataclass(frozen=True)
class Run:
    """One row to make.

    Parameters
    ----------
    model : Model
    method : Method or None
        None for the float network itself.
    budget : float or None
    seed : int
    """

    model: Model
    method: Method | None
    budget: float | None
    seed: int

    @property
    def label(self) -> str:
        """For people."""
        return FLOAT if self.method is None else self.method.label(self.budget)


class Bench:
    """Makes rows.

    Parameters
    ----------
    data : Data
    epochs : int
        Of a retraining.
    machines : sequence of str
        Names or files, as `bitwright machines` lists them.

    Members
    -------
    search : Search
        How methods that search do so; may be replaced.
    """

    def __init__(self, data: Data, epochs: int, machines: Sequence[str] = MACHINES) -> None:
        self.data, self.epochs, self.machines = data, epochs, tuple(machines)
        self.search = Search(about=" ".join(self.machines))
        self._baselines: dict[str, Integers] = {}
        self._rates: dict[str, float] = {}

    @cached_property
    def data_fingerprint(self) -> str:
        """Tells other samples apart."""
        return self.data.fingerprint

    def asked(self, run: Run) -> Row:
        """What a row is found again by."""
        return {"model": run.model.name, "model_fingerprint": run.model.fingerprint, "data": self.data.name,
                "data_fingerprint": self.data_fingerprint, "method": FLOAT if run.method is None else run.method.name,
                "budget": "" if run.budget is None else f"{run.budget:g}", "epochs": str(self.epochs), "seed": str(run.seed)}

    def job(self, run: Run) -> Job:
        """For the method."""
        job = Job(run.model, self.data, run.budget, self.epochs, run.seed, search=self.search)
        if run.method is not None and run.method.asks_hardware:
            job = replace(job, hardware=HardwareCosts(job, self.machines))
        return job

    def row(self, run: Run) -> Row:
        """Run and measure; what a method can't do ends in the row's error."""
        started = time.monotonic()
        row = self.asked(run)
        try:
            found = self.floats(run) if run.method is None else self.measured(run, self.compressed(run))
        except BitwrightError as error:
            found = {"error": " ".join(str(error).split())}
        row |= found | {"seconds": f"{time.monotonic() - started:.1f}"}
        return {name: cell for name, cell in row.items() if cell}  # as it comes back from a file

    def check(self, runs: Sequence[Run]) -> None:
        """Refuse networks that have no form in integers, before a method spends hours on one.  Raises BitwrightError."""
        for model in {id(run.model): run.model for run in runs}.values():
            try:
                self._int8(model)
            except BitwrightError as error:
                raise CompressionError(f"{model.title} can't be compressed, as it has no form in integers: "
                                       f"{' '.join(str(error).split())}") from None

    def compressed(self, run: Run) -> Integers:
        """A network that a method made, in integers.  Raises BitwrightError."""
        if run.method is None:
            raise CompressionError("the float network has no integers")
        job = self.job(run)
        return to_integers(job, run.method.run(job))

    def floats(self, run: Run) -> Row:
        """The network as it was given."""
        percent, size = float_accuracy_percent(self.job(run)), float_bits(run.model.network) // 8
        baseline = self._int8(run.model)
        weights = stored_weights(baseline.graph)
        macs = workload_of(baseline.graph).macs
        count = sum(one.weights for one in weights)
        return _texts({"accuracy_percent": percent, "float_accuracy_percent": percent, "parameters": count,
                       "dense_parameters": count, "macs": macs, "dense_macs": macs, "stored_bytes": size,
                       "packed_bytes": size, "float_bytes": size, "ratio": 1.0})

    def measured(self, run: Run, integers: Integers) -> Row:
        """Everything about a network in integers."""
        graph = integers.graph
        coded = run.method is not None and run.method.coded
        weights = stored_weights(graph)
        plain = sum(one.bits for one in weights) if integers.weight_bits is None else integers.weight_bits
        packed = -(-(plain + integers.other_bits) // 8)
        stored = min(packed, -(-(sum(one.coded_bits for one in weights) + integers.other_bits) // 8)) if coded else packed
        works = workload_of(graph).works
        size = float_bits(run.model.network) // 8
        found: dict[str, Any] = {
            "accuracy_percent": integers.accuracy_percent, "float_accuracy_percent": float_accuracy_percent(self.job(run)),
            "parameters": sum(one.nonzeros for one in weights), "dense_parameters": sum(one.weights for one in weights),
            "macs": round(sum(work.macs * (work.weights.density if work.weights else 1) for work in works)),
            "dense_macs": sum(work.macs for work in works), "stored_bytes": stored, "packed_bytes": packed, "float_bytes": size,
            "ratio": size / stored}
        notes = []
        for one in on_machines(graph, self.machines):
            found |= {f"{one.machine}_latency_us": one.latency_us, f"{one.machine}_energy_uj": one.energy_uj}
            if one.why_not:
                notes.append(f"{one.machine}: {one.why_not}")
        design = as_design(graph, self.rate(run.model))
        if design.resources is None:
            notes.append(f"no design: {design.why_not}")
        else:
            found |= {"luts": design.resources.luts, "brams_18kbit": design.resources.brams, "dsps": design.resources.dsps,
                      "interval_cycles": design.interval_cycles, "engines": design.engines}
        return _texts(found) | ({"notes": "; ".join(notes)} if notes else {})

    def rate(self, model: Model) -> float:
        """Frames per second that the designs of a network's forms keep to, so that their sizes can be compared."""
        if model.name not in self._rates:
            self._rates[model.name] = RATE_PART * default_rate(self._int8(model).graph)
        return self._rates[model.name]

    def _int8(self, model: Model) -> Integers:
        """What rates and dense sizes come from."""
        if model.name not in self._baselines:
            self._baselines[model.name] = to_integers(Job(model, self.data), model.network)
        return self._baselines[model.name]


def runs_of(models: Sequence[Model], methods: Sequence[Method], *, seeds: Sequence[int] = (0,), curve: bool = False,
            budgets: dict[str, float] | None = None) -> list[Run]:
    """What a comparison runs: of each network the float one, then each method with its budgets and seeds.

    Parameters
    ----------
    curve : bool
        All levels of each budget instead of the default.
    budgets : option -> value, optional
        Instead of the default, for the methods that have this option.
    """
    made = []
    for model in models:
        made.append(Run(model, None, None, 0))
        for method in methods:
            levels: tuple[float | None, ...] = (None,)
            if method.budget is not None:
                given = (budgets or {}).get(method.budget.option)
                levels = method.budget.levels if curve else (method.budget.default,)
                if given is not None:
                    levels = (method.budget.checked(method.name, given),)
            made += [Run(model, method, level, seed) for level in levels for seed in seeds]
    return made


def compare(bench: Bench, runs: Sequence[Run], path: Path | None = None, *,
            progress: Callable[[int, int, str], None] = lambda done, total, doing: None) -> list[Row]:
    """A row for each run, in their order.

    Parameters
    ----------
    bench : Bench
    runs : sequence of Run
    path : Path, optional
        CSV file that keeps the rows; what it has already isn't made again, and rows of other runs stay in it.
    progress : callable
        Told how many of how many are done, and what is being done.

    Raises
    ------
    CompressionError
        The file is none of this kind, or cannot be written; a network has no form in integers.
    """
    if path is None or not path.exists():
        bench.check(runs)  # before there is a file
    with _results(path, bench.machines) as (file, rows):
        wanted = [_key(bench.asked(run)) for run in runs]
        bench.check([run for run, key in zip(runs, wanted, strict=True) if key not in rows])
        for run, key in zip(runs, wanted, strict=True):
            done = sum(one in rows for one in wanted)
            if key in rows:
                continue
            progress(done, len(runs), f"{run.model.name}: {run.label}")
            row = bench.row(run)
            rows[key] = row
            if file is not None:
                append(file, csv_line([row.get(name, "") for name in columns(bench.machines)]))
        progress(len(runs), len(runs), "done")
    return [rows[key] for key in wanted]


def _texts(found: dict[str, Any]) -> Row:
    """As the file has them; what is None is left out."""
    return {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in found.items() if value is not None}


def _key(row: Row) -> tuple[str, ...]:
    return tuple(row.get(name, "") for name in ASKED)


@contextmanager
def _results(path: Path | None, machines: Sequence[str]) -> Iterator[tuple[IO[bytes] | None, dict[tuple[str, ...], Row]]]:
    """The file, open to append, and the rows that it has already."""
    if path is None:
        yield None, {}
        return
    head = f"{HEAD}\n{csv_line(columns(machines))}"
    with kept(path, head, doing="comparison", refusal=lambda text: _other(path, text), error=CompressionError) as (file, text):
        yield file, _read(path, text, machines)


def _other(path: Path, text: str) -> str:
    if text.startswith(f"{HEAD}\n"):
        return f"'{path}' has results of other machines: name another file, or give the machines that it was made with"
    first = (text[:40].splitlines() or [""])[0]
    if first.startswith(HEAD.rpartition(" ")[0]):
        return f"'{path}' is of another version of bitwright (it begins with '{first}', not '{HEAD}'); name another file"
    return f"'{path}' is no file of results of `bitwright compress` (it begins with '{first}'); name another file"


def _read(path: Path, text: str, machines: Sequence[str]) -> dict[tuple[str, ...], Row]:
    names, rows = columns(machines), dict[tuple[str, ...], Row]()
    numbers = [name for name in names if name not in (*ASKED, "engines", "notes", "error")]
    for line, written in enumerate(text.split("\n")[:-1], start=3):  # a row is a line: an open quote ends with it
        cells = next(csv.reader([written]), [])
        row = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
        if len(cells) != len(names) or not _is_row(row, numbers):
            raise CompressionError(f"'{path}', line {line}, is no row of results; take the line out, and it is made again")
        rows[_key(row)] = row
    return rows


def _is_row(row: Row, numbers: Sequence[str]) -> bool:
    if not all(name in row for name in (*ASKED, *(() if "error" in row else FOUND)) if name != "budget"):
        return False
    try:
        return all(math.isfinite(float(row[name])) for name in numbers if name in row)
    except ValueError:
        return False


def check_output(path: Path) -> None:
    """Refuse what no network can be written to, before hours are spent on it.  Raises CompressionError."""
    if path.suffix not in (".onnx", ".intir"):
        raise CompressionError(f"cannot write '{path}': a compressed network is a .onnx file (QONNX) or a .intir file; name one "
                               "so")
    if not path.parent.is_dir() or path.is_dir():
        raise CompressionError(f"cannot write '{path}': there is no such folder; choose one that exists" if not path.is_dir() else
                               f"cannot write '{path}': it is a folder; name a file in it")


def save_network(integers: Integers, path: Path) -> None:
    """Write a compressed network as QONNX (``.onnx``) or as integers (``.intir``).  Raises BitwrightError."""
    if path.suffix == ".intir":
        intir.save(integers.graph, path)
        return
    try:
        write_whole(path, integers.onnx)
    except OSError as error:
        raise CompressionError(f"cannot write '{path}': {error.strerror}; choose a folder that exists and is writable") from None

"""What methods of the compression toolbox reached, for people: a list, a table, a rate-distortion plot."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import cast

from rich.console import Console
from rich.markup import escape

from quant.compress.bench.job import Method
from quant.compress.search.choose import Picture, SearchResult

from .compressing import FLOAT, Row
from .shell import InputError
from .show import ruled
from .show_explored import PICTURES, ascii_plot

#: Figures that vary with the seed, and are averaged over it.
_NUMBERS = ("accuracy_percent", "float_accuracy_percent", "parameters", "dense_parameters", "macs", "dense_macs", "stored_bytes",
            "packed_bytes", "float_bytes", "ratio", "luts", "brams_18kbit", "dsps", "interval_cycles")


def methods(found: Iterable[Method], console: Console) -> None:
    """The toolbox: a line for each method."""
    shown = ruled("methods", "<method", "<budget", "<what it does", "<source")
    shown.columns[2].no_wrap = shown.columns[3].no_wrap = False
    for one in found:
        budget = "" if one.budget is None else f"--{one.budget.option} {one.budget.default:g}"
        shown.add_row(one.name, budget, escape(one.says), escape(one.source))
    console.print(shown)


def label(row: Row) -> str:
    """Method and budget."""
    return f"{row['method']} {row['budget']}" if row.get("budget") else row["method"]


def over_seeds(rows: Sequence[Row]) -> list[Row]:
    """Rows that differ in their seeds alone as one, with means; accuracy's standard deviation as ``spread``."""
    made = []
    for _, some in groupby(sorted(rows, key=_place(rows)), key=lambda row: (row["model"], label(row))):
        group = list(some)
        good = [row for row in group if "error" not in row]
        if not good:
            made.append(group[0])
            continue
        merged = dict(good[0])
        for name in merged:
            if name in _NUMBERS or name.endswith(("_latency_us", "_energy_uj")):
                merged[name] = f"{mean(float(row[name]) for row in good if name in row):.6g}"
        if len(good) > 1:
            merged["spread"] = f"{stdev(float(row['accuracy_percent']) for row in good):.2f}"
        merged["seeds"] = str(len(good))
        made.append(merged)
    return made


def _place(rows: Sequence[Row]) -> Callable[[Row], int]:
    """By the first row of the same method and budget, so that what was asked for first comes first."""
    order: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows):
        order.setdefault((row["model"], label(row)), number)
    return lambda row: order[row["model"], label(row)]


def table(title: str, rows: Sequence[Row], machines: Sequence[str], console: Console) -> None:
    """Methods of one network; machines as latency and energy of a frame."""
    shown = ruled(title, "<method", "right %", "weights", "MACs", "bytes", "ratio",
                  *(f"{_short(name)} us/uJ" for name in machines), "LUTs", "RAMs")
    shown.collapse_padding = True  # so that eleven columns fit a log of 110
    for row in rows:
        if "error" in row:
            shown.add_row(label(row), "-")
            continue
        spread = f" ±{row['spread']}" if "spread" in row else ""
        figures = [f"{_cell(row.get(f'{name}_latency_us'))}/{_cell(row.get(f'{name}_energy_uj'))}"
                   if f"{name}_latency_us" in row else "-" for name in machines]
        shown.add_row(label(row), f"{float(row['accuracy_percent']):.1f}{spread}", _count(row["parameters"]), _count(row["macs"]),
                      _count(row["stored_bytes"]), f"{float(row['ratio']):.1f}", *figures, _count(row.get("luts")),
                      _count(row.get("brams_18kbit")))
    console.print(shown)
    for row in rows:
        if "error" in row:
            console.print(f"{label(row)}: {row['error']}", markup=False, highlight=False, soft_wrap=True)
    told: dict[str, list[str]] = {}
    for row in rows:
        for note in filter(None, row.get("notes", "").split("; ")):
            told.setdefault(note.split(":")[0], []).append(label(row))
    for where, labels in told.items():
        reason = next(note for row in rows for note in row.get("notes", "").split("; ") if note.split(":")[0] == where)
        console.print(f"- at {where}: {', '.join(labels)}; for example {reason.split(': ', 1)[-1]}", markup=False, highlight=False,
                      soft_wrap=True)


def curve(title: str, rows: Sequence[Row], console: Console) -> None:
    """The ratio against the accuracy, in characters."""
    good = [row for row in rows if "error" not in row]
    if len(good) > 2:
        console.print(title, style="bold")
        points = [(float(row["ratio"]), float(row["accuracy_percent"])) for row in good]
        console.print(ascii_plot(points, "times smaller", "right %", min(console.width, 110)), markup=False, highlight=False)


def front(found: SearchResult, console: Console) -> None:
    """What a search tried: those than which no other is cheaper and as good."""
    shown = ruled(f"{len(found.trials):,} networks tried, before retraining; the best of each cost", "cost", "right %", "<",
                  "<chosen")
    for one in found.front:
        chosen = ", ".join(f"{name} {value:g}" for name, value in one.choice.items())
        shown.add_row(f"{one.cost:.3f}", f"{one.score:.1f}", "taken" if one == found.best else "", escape(chosen))
    shown.columns[3].no_wrap = False
    console.print(shown)


def searched(found: SearchResult, path: Path) -> bytes:
    """The picture of a search, of the kind that a path names."""
    return found.draw(cast("Picture", path.suffix.removeprefix(".")), cost="part of the network's latency",
                      score="right, % of training samples kept apart")


def drawable(path: Path | None) -> None:
    """Refuse, before any work, a path that no picture can be drawn to.  Raises InputError."""
    if path is not None and path.suffix not in PICTURES:
        raise InputError(f"cannot draw '{path}': pictures end in {', '.join(PICTURES)}; name one so")
    if path is not None and find_spec("matplotlib") is None:
        raise InputError("drawing needs matplotlib; install it, or bitwright[compress]")


def drawing(path: Path | None) -> Callable[[Sequence[Row]], bytes]:
    """The function that draws rate against distortion as the kind of picture that a path names.  Raises InputError."""
    drawable(path)

    def draw(rows: Sequence[Row]) -> bytes:
        assert path is not None
        from matplotlib import rc_context
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        models = list(dict.fromkeys(row["model"] for row in rows))
        names = [name for name in dict.fromkeys(row["method"] for row in rows) if name != FLOAT]
        figure = Figure(figsize=(5.2 * min(2, len(models)) + 2.2, 4.2 * -(-len(models) // 2)), layout="constrained")
        axes = figure.subplots(-(-len(models) // 2), min(2, len(models)), squeeze=False).flatten()
        for one, model in zip(axes, models, strict=False):
            for number, name in enumerate(names):
                points = sorted((float(row["ratio"]), float(row["accuracy_percent"])) for row in rows
                                if (row["model"], row["method"]) == (model, name) and "error" not in row)
                if points:
                    one.plot(*zip(*points, strict=True), marker="osD^vPX*"[number % 8], color=f"C{number % 10}", markersize=5,
                             linewidth=1, linestyle="-" if number < 10 else "--", label=name)
            known = [float(row["accuracy_percent"]) for row in rows if row["model"] == model and row["method"] == FLOAT]
            if known:
                one.axhline(known[0], color="gray", linestyle=":", linewidth=1)
            one.set(xscale="log", title=model, xlabel="times smaller than float32 in a file", ylabel="right, % of test samples")
            one.xaxis.set_major_locator(LogLocator(base=2))  # decades would leave most of these axes with one number
            one.xaxis.set_minor_locator(NullLocator())
            one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            one.grid(True, which="both", alpha=0.25)
        for one in axes[len(models):]:
            one.set_visible(False)
        found = {text: handle for one in axes for handle, text in zip(*one.get_legend_handles_labels(), strict=True)}
        figure.legend(found.values(), found.keys(), loc="outside right upper", fontsize=8)
        data = io.BytesIO()
        with rc_context({"svg.hashsalt": "bitwright"}):  # the same rows, the same bytes
            figure.savefig(data, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else None)
        return data.getvalue()

    return draw


def _short(machine: str) -> str:
    return machine.rsplit("/", 1)[-1].removesuffix(".toml").split("_", maxsplit=1)[0]


def _count(text: str | None) -> str:
    """A whole number in five characters or so."""
    if text is None:
        return "-"
    value = float(text)
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}" if value < 999.5 * size else f"{value / size:,.0f}{unit}"
    return f"{value:.0f}"


def _cell(text: str | None) -> str:
    if text is None:
        return "-"
    return f"{float(text):.3g}" if float(text) < 999.5 else _count(text)

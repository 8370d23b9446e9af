"""What a search or a sweep found, for people: tables and plots."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from hwsim.devices import DEVICES
from hwsim.explore.proposals import evenly
from hwsim.explore.search import Point, SearchResult
from hwsim.explore.sweep import Row

from .shell import InputError
from .show import ruled

#: Kinds of pictures that are drawn.
PICTURES = (".svg", ".png", ".pdf")
#: Rows of a front's table.
MOST_SHOWN = 16


def front(result: SearchResult, console: Console) -> None:
    """The designs of a search from the fastest to the slowest, the best one marked; without a file to draw to, a plot, too."""
    room = DEVICES[result.device].room
    shown = ruled(f"{result.network} on {result.device} at {result.clock_mhz:g} MHz: what no other design found is better than; "
                  f"* is the best by {result.objective}", "<", "frames/s", "interval", "latency", "energy", "LUTs", "", "BRAMs",
                  "", "DSPs", "", "<checked")
    for point in result.front or (result.best,):
        taken = point.resources
        used = [text for count, most in ((taken.luts, room.luts), (taken.brams, room.brams), (taken.dsps, room.dsps))
                for text in (f"{count:,}", f"{count / most:.0%}" if most else "")]
        shown.add_row("*" if point is result.best else "", f"{point.fps:,.0f}", f"{point.initiation_interval_cycles:,}",
                      "" if math.isinf(point.latency_us) else f"{point.latency_us:,.2f} us", energy(point.energy_pj), *used,
                      point.checked, style="bold" if point is result.best else None)
    console.print(shown)
    if len(result.front) > 2:
        console.print(ascii_plot([(point.fps, point.resources.luts) for point in result.front], "frames/s", "LUTs",
                                 min(console.width, 110)), markup=False, highlight=False)


def sweep(network: str, rows: Sequence[Row], best: Mapping[str, Row], front: Sequence[Row], axes: Sequence[str],
          console: Console) -> None:
    """What a sweep found for a network: the best points, and the front."""
    if not best:
        console.print(f"{network}: none of {len(rows):,} points is valid", markup=False, highlight=False)
        return
    told = [*(name for name in ("machine", "batch", "algorithm") if len({row[name] for row in rows}) > 1), *axes]
    short = [re.sub(r"array\.|sram\.", "", key).replace(".", " ").replace("_", " ") for key in told]  # a header breaks at spaces
    measures = ("frames/s", "uJ/frame", "DRAM MB", "used", "<bound")
    shown = ruled(f"{network}: the best of {len(rows):,} points", "<", *short, *measures)
    for name, row in best.items():
        shown.add_row(name, *(_cell(row.get(key, "")) for key in told), *_measures(row))
    console.print(shown)
    spread = evenly(front, MOST_SHOWN, [math.log(float(row["frames_per_second"])) for row in front])
    some = f"; {len(spread)} of them" if len(spread) < len(front) else ""
    shown = ruled(f"{network}: {len(front):,} points that no other is better than in frames a second, energy, array, SRAM, clock "
                  f"and DRAM{some}", *short, *measures)
    for row in spread:
        shown.add_row(*(_cell(row.get(key, "")) for key in told), *_measures(row))
    console.print(shown)
    if len(front) > 2:
        console.print(ascii_plot([(float(row["frames_per_second"]), float(row["energy_uj_per_frame"])) for row in front],
                                 "frames/s", "uJ a frame", min(console.width, 110)), markup=False, highlight=False)


def _cell(text: str) -> str:
    """A value in a table: floats short."""
    return f"{float(text):.4g}" if "." in text and text.replace(".", "", 1).isdecimal() else escape(text)


def _measures(row: Row) -> tuple[str, ...]:
    return (f"{float(row['frames_per_second']):,.4g}", f"{float(row['energy_uj_per_frame']):,.4g}",
            f"{float(row['dram_bytes_per_frame']) / 1e6:,.2f}", f"{float(row['utilisation']):.0%}", row["bound"])


def energy(pj: float) -> str:
    """An energy for people."""
    for unit, size in (("mJ", 1e9), ("uJ", 1e6)):
        if pj >= size:
            return f"{pj / size:,.3g} {unit}"
    return f"{pj / 1e3:,.3g} nJ"


def ascii_plot(points: Sequence[tuple[float, float]], across: str, up: str, width: int, height: int = 12) -> str:
    """Points of positive numbers on two logarithmic axes, as text."""
    xs, ys = ([math.log10(max(one[axis], 1e-30)) for one in points] for axis in (0, 1))
    left = max(len(f"{10 ** edge:,.4g}") for edge in (min(ys), max(ys))) + 1
    columns = max(10, width - left - 3)
    grid = [[" "] * columns for _ in range(height)]
    for x, y in zip(xs, ys, strict=True):
        column = round((x - min(xs)) / ((max(xs) - min(xs)) or 1) * (columns - 1))
        row = round((y - min(ys)) / ((max(ys) - min(ys)) or 1) * (height - 1))
        grid[height - 1 - row][column] = "*"
    labels = {0: f"{10 ** max(ys):,.4g}", height - 1: f"{10 ** min(ys):,.4g}"}
    lines = [f"{up:>{left}}", *(f"{labels.get(number, ''):>{left}} |{''.join(row)}".rstrip() for number, row in enumerate(grid))]
    low, high = f"{10 ** min(xs):,.4g}", f"{10 ** max(xs):,.4g} {across}"
    return "\n".join([*lines, f"{'':>{left}} +{'-' * columns}", f"{'':>{left}}  {low}{high:>{columns - len(low)}}"])


def drawing(path: Path | None) -> Callable[[SearchResult], bytes]:
    """The function that draws a front as the kind of picture that a path names.  Raises InputError."""
    if path is not None and path.suffix not in PICTURES:
        raise InputError(f"cannot draw '{path}': pictures end in {', '.join(PICTURES)}; name one so")
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import NullFormatter
    except ImportError:
        if path is not None:
            raise InputError("drawing needs matplotlib; install it, or bitwright[explore]") from None

    def draw(result: SearchResult) -> bytes:
        assert path is not None
        figure = Figure(figsize=(11, 4), layout="constrained")
        axes = figure.subplots(1, 3, sharey=True)
        sizes: tuple[tuple[str, Callable[[Point], float]], ...] = (
            ("frames per second", lambda point: point.fps), ("latency, us", lambda point: point.latency_us),
            ("energy of a frame, nJ", lambda point: point.energy_pj / 1e3))
        known = [point for point in result.front if not math.isinf(point.latency_us)]
        colors = [point.resources.brams for point in known]
        for one, (label, of) in zip(axes, sizes, strict=True):
            dots = one.scatter([of(point) for point in known], [point.resources.luts for point in known], c=colors, cmap="viridis")
            if not math.isinf(result.best.latency_us):
                one.scatter([of(result.best)], [result.best.resources.luts], s=140, facecolors="none", edgecolors="black",
                            label=f"best by {result.objective}")
            one.set(xscale="log", yscale="log", xlabel=label)
            one.xaxis.set_minor_formatter(NullFormatter())  # labels between powers of ten overlap
            one.grid(True, which="both", alpha=0.25)
        axes[0].set_ylabel("LUTs")
        axes[0].axhline(DEVICES[result.device].room.luts, color="gray", linestyle="--", linewidth=1, label=f"{result.device} has")
        axes[0].legend()
        figure.colorbar(dots, ax=axes[-1], label="block RAMs of 18 kbit")
        figure.suptitle(f"{result.network} on {result.device} at {result.clock_mhz:g} MHz")
        data = io.BytesIO()
        figure.savefig(data, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else None)
        return data.getvalue()

    return draw



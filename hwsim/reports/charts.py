"""What charts are made of: rectangles and lines in per cent of their plot, each with a text for whoever points at it.

Coordinates in per cent let a plot be as wide as the window while its letters keep their size; a chart is only lines, rectangles
and circles for that reason (SVG has per cent for those, not for paths).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .units import Quantity, si

#: Units of what is counted one by one, which have all their digits.
COUNTED = ("cycles", "words", "LUTs", "block RAMs", "DSPs")
#: Colours that a style sheet gives to things without a colour of their own, in order.
PALETTE = tuple(f"c{n}" for n in range(8))


def pc(value: float) -> str:
    """A per cent value as SVG takes it."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"


@dataclass(frozen=True)
class Key:
    """An entry of a legend."""

    colour: str
    label: str


@dataclass(frozen=True)
class Rect:
    """A rectangle; `y` from above."""

    x: str
    y: str
    width: str
    height: str
    colour: str
    tip: str = ""


@dataclass(frozen=True)
class Line:
    """A line."""

    x1: str
    y1: str
    x2: str
    y2: str
    colour: str


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, at `at` per cent; `only_wide` ones have no room on a phone."""

    at: str
    label: str
    anchor: str = "middle"
    only_wide: bool = False


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart."""

    label: str
    rects: tuple[Rect, ...]
    value: Quantity
    note: str = ""
    number: int | None = None


@dataclass(frozen=True)
class Area:
    """What lies under steps: an outline in units of its chart's axis and in per cent of its height."""

    colour: str
    outline: str


@dataclass(frozen=True)
class Track:
    """A row of a chart over time.

    Parameters
    ----------
    label : str
    rects, lines, labels
        In per cent.
    top : str
        What the full height stands for.
    height : str
        ``tall``, ``middle`` or ``short``.
    areas : tuple of Area
        Upon each other, the first one behind.
    width : int
        Of the axis, in the units of `areas`.
    tip : str
        Of the areas.
    bed : str
        Colour behind everything.
    """

    label: str
    rects: tuple[Rect, ...] = ()
    top: str = ""
    lines: tuple[Line, ...] = ()
    labels: tuple[Tick, ...] = ()
    height: str = "tall"
    areas: tuple[Area, ...] = ()
    width: int = 0
    tip: str = ""
    bed: str = "bed"


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    numeric: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: text, and the number that it sorts by, if it is one."""

    text: str
    value: float | None = None


def stacked(label: str, parts: Mapping[str, float], colours: Mapping[str, str], scale: float, value: Quantity, *, unit: str,
            note: str = "", number: int | None = None) -> Bar:
    """A bar of parts side by side.

    Parameters
    ----------
    parts : name -> value
        Values of 0 are left out.
    colours : name -> colour
        In the order of the bar.
    scale : float
        What fills the whole width.
    """
    rects, x, whole = [], 0.0, sum(parts.values())
    for name in colours:
        part = parts.get(name, 0.0)
        if part:
            width = 100 * part / scale
            rects.append(Rect(pc(x), "0", pc(width), "100%", colours[name],
                              f"{label}\n{name.replace('_', ' ')}: {_exactly(part, unit)} ({part / whole:.1%})"))
            x += width
    return Bar(label, tuple(rects), value, note, number)


def area(colour: str, ends: Sequence[int], heights: Sequence[float]) -> Area:
    """Steps that end at `ends`, in per cent of the height; equal neighbours are one step."""
    outline, last, at = "M0 100", "", 0
    for end, height in zip(ends, heights, strict=True):
        text = f"{100 - height:.1f}".rstrip("0").rstrip(".")
        if text != last:
            outline += ("" if at == 0 else f"H{at}") + f"V{text}"
            last = text
        at = end
    return Area(colour, f"{outline}H{at}V100z")


def _exactly(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if unit in COUNTED else si(value, unit)


def palette(names: Iterable[str]) -> dict[str, str]:
    """A colour for every name; they repeat after eight."""
    return {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(dict.fromkeys(names))}


def keys(colours: Mapping[str, str], used: Iterable[str]) -> tuple[Key, ...]:
    """The legend of what occurs."""
    occurs = set(used)
    return tuple(Key(colour, name.replace("_", " ")) for name, colour in colours.items() if name in occurs)


def linear_ticks(top: float, unit: str, most: int = 5) -> tuple[Tick, ...]:
    """Marks at round numbers from 0 to `top`."""
    def label(value: float) -> str:
        return f"{value:,.0f}" if unit in COUNTED else si(value, unit, zeros=False)

    if not top > 0:
        return (Tick("0%", label(0), "start"),)
    step = 10.0 ** math.floor(math.log10(top / most))
    if unit in COUNTED:
        step = max(step, 1.0)
    step *= next(factor for factor in (1, 2, 5, 10) if top / (step * factor) <= most)
    places = [(100 * n * step / top, label(n * step)) for n in range(int(top / step * (1 + 1e-9)) + 1)]
    return tuple(Tick(pc(at), text, "start" if at == 0 else "end" if at > 97 else "middle") for at, text in places)

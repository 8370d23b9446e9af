"""What charts are made of: rectangles and lines in per cent of their plot, each with a text for whoever points at it.

Coordinates in per cent let a plot be as wide as the window while its letters keep their size; a chart is only lines, rectangles
and circles for that reason (SVG has per cent for those, not for paths).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .units import Quantity, si

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
    """A mark on an axis, at `at` per cent."""

    at: str
    label: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart."""

    label: str
    rects: tuple[Rect, ...]
    value: Quantity
    note: str = ""
    number: int | None = None


@dataclass(frozen=True)
class Track:
    """A row of a chart over time."""

    label: str
    rects: tuple[Rect, ...]
    top: str
    lines: tuple[Line, ...] = ()
    labels: tuple[Tick, ...] = ()
    tall: bool = True


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


def _exactly(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if unit == "cycles" else si(value, unit)


def palette(names: Iterable[str]) -> dict[str, str]:
    """A colour for every name; they repeat after eight."""
    return {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(dict.fromkeys(names))}


def keys(colours: Mapping[str, str], used: Iterable[str]) -> tuple[Key, ...]:
    """The legend of what occurs."""
    occurs = set(used)
    return tuple(Key(colour, name.replace("_", " ")) for name, colour in colours.items() if name in occurs)


def linear_ticks(top: float, unit: str, most: int = 5) -> tuple[Tick, ...]:
    """Marks at round numbers from 0 to `top`."""
    if not top > 0:
        return (Tick("0%", si(0, unit), "start"),)
    step = 10.0 ** math.floor(math.log10(top / most))
    step *= next(factor for factor in (1, 2, 5, 10) if top / (step * factor) <= most)
    return tuple(Tick(pc(100 * n * step / top), si(n * step, unit, zeros=False), "start" if n == 0 else "middle")
                 for n in range(int(top / step * (1 + 1e-9)) + 1))

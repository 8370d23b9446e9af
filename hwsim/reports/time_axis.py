"""Rows of a chart over time that share one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .charts import Line, Rect, Tick, Track, linear_ticks, pc
from .units import si

#: Least width, in per cent of the axis, of a piece that has room for its number.
ROOM_PERCENT = 2.4
#: The same on a phone.
NARROW_ROOM_PERCENT = 7.0

#: Start and width in per cent.
Span = tuple[float, float]
#: Colour, value, what it is.
Part = tuple[str, float, str]


@dataclass(frozen=True)
class TimeAxis:
    """Time from 0 to the end.

    Parameters
    ----------
    end : float
        In `unit`.
    unit : str
    """

    end: float
    unit: str = "s"

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Marks at round times."""
        return linear_ticks(self.end, self.unit)

    def strip(self, label: str, pieces: Sequence[tuple[str, str, str, float, float]]) -> Track:
        """A row of pieces: (text for whoever points at it, number, colour, start, width)."""
        rects = tuple(Rect(pc(start), "0", pc(width), "100%", colour, tip) for tip, _, colour, start, width in pieces)
        labels = tuple(Tick(pc(start + width / 2), number, only_wide=width < NARROW_ROOM_PERCENT)
                       for _, number, _, start, width in pieces if width >= ROOM_PERCENT)
        return Track(label, rects, labels=labels, height="short")

    def steps(self, label: str, values: Sequence[Sequence[Part]], spans: Sequence[Span], top: float, unit: str, *,
              lines: Sequence[tuple[str, float]] = ()) -> Track:
        """A row of steps, each with parts upon each other.

        Parameters
        ----------
        values : sequence of parts
            Of each span.
        top : float
            What fills the row's height.
        lines : sequence of (colour, value)
            Across the whole row.
        """
        rects = []
        for parts, (start, width) in zip(values, spans, strict=True):
            below = 0.0
            for colour, value, tip in parts:
                if value > 0 and top > 0:
                    height = 100 * value / top
                    rects.append(Rect(pc(start), pc(100 - below - height), pc(width), pc(height), colour,
                                      f"{tip} {_text(value, unit)}"))
                    below += height
        across = tuple(Line("0%", height, "100%", height, colour) for colour, at in lines if top > 0
                       for height in (pc(100 - 100 * at / top),))
        return Track(label, tuple(rects), _text(top, unit), across)


def _text(value: float, unit: str) -> str:
    return f"{value:.0%}" if unit == "%" else si(value, unit)



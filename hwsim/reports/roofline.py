"""The roofline: products a second over products a DRAM byte, both logarithmic, under the array's peak and DRAM's bandwidth.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures", 2009.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..systems.report import LayerReport, SystemReport
from .charts import Key, Line, Tick, pc
from .units import si, significant

Box = tuple[float, float, float, float]
Size = tuple[float, float]

#: Circles in pixels: of no time, and what a circle of all the time has more.
LEAST_RADIUS, MORE_RADIUS = 5.0, 14.0
#: Of an axis, left free at either end.
ROOM = 0.06
#: Layers closer than so many per cent of the plot, in both directions, share a circle, which can be pointed at.
SAME_PERCENT = 0.4
#: Sizes of the plot, in pixels, for which labels are placed: in a window, and on a phone.
WIDE, NARROW = (1040.0, 380.0), (290.0, 300.0)
#: Of a label, in pixels.
LETTER_WIDTH, LABEL_HEIGHT, GAP = 7.0, 12.0, 3.0
#: Pieces of a roof that labels keep away from.
PIECES = 150
#: Layers that a label names, and those that a tip names.
MOST_NUMBERS, MOST_NAMES = 6, 12


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis, from one power of ten to another."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float]) -> LogAxis:
        """With some room around the values, and a decade at least."""
        low, high = math.log10(min(values)), math.log10(max(values))
        room = max(ROOM * (high - low), (1 - high + low) / 2)
        return cls(low - room, high + room)

    def at(self, value: float) -> float:
        """Where a value is, in per cent of the axis."""
        return 100 * (math.log10(value) - self.low) / (self.high - self.low)

    def ticks(self, unit: str) -> Iterator[tuple[float, str]]:
        """(place in per cent, label) of decades; of some where there are many, of 2 and 5 times them where there are few."""
        decades = range(math.ceil(self.low), math.floor(self.high) + 1)
        step = -(-len(decades) // 6) or 1
        for decade in range(math.floor(self.low), math.floor(self.high) + 1):
            for factor in (1, 2, 5) if len(decades) < 3 else (1,):
                value = factor * 10.0 ** decade
                if 0 <= self.at(value) <= 100 and decade % step == 0:
                    yield self.at(value), si(value, unit, zeros=False) if unit else f"{value:,.9g}"


@dataclass(frozen=True)
class Circle:
    """Layers at one place.

    Parameters
    ----------
    x, y, radius : str
        Centre in per cent, `y` from above; pixels.
    colour : str
        What bounds them.
    tip : str
    label : str
        Numbers of the layers.
    dx, dy, anchor : str
        Where the label stands, pixels from the centre; no `anchor` where it has no room.
    only_wide : bool
        Whether it has none on a phone.
    """

    x: str
    y: str
    radius: str
    colour: str
    tip: str
    label: str
    dx: str = ""
    dy: str = ""
    anchor: str = ""
    only_wide: bool = False


@dataclass(frozen=True)
class Roofline:
    """The plot."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    roofs: tuple[Line, ...]
    roof_keys: tuple[Key, ...]
    circles: tuple[Circle, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Spot:
    """Layers at one place: centre in per cent, `y` from above."""

    x: float
    y: float
    layers: tuple[tuple[int, LayerReport], ...]

    @property
    def cycles(self) -> int:
        return sum(layer.cycles for _, layer in self.layers)


def roofline(report: SystemReport, colours: dict[str, str]) -> Roofline:
    """The plot of a run; `colours` are those of what bounds a layer."""
    peak, bandwidth = report.peak_macs * report.clock_mhz * 1e6, report.dram_gb_per_s * 1e9
    ridge = peak / bandwidth
    numbered = [(number, layer) for number, layer in enumerate(report.layers, 1) if layer.macs and layer.cycles]
    placed = [(number, layer, layer.macs_per_dram_byte, layer.macs / layer.cycles * report.clock_mhz * 1e6)
              for number, layer in numbered if math.isfinite(layer.macs_per_dram_byte)]
    x_axis = LogAxis.around([ridge / 8, ridge * 8, *(x for _, _, x, _ in placed)])
    y_axis = LogAxis.around([peak / 50, peak, *(y for _, _, _, y in placed)])
    start = 10.0 ** max(x_axis.low, y_axis.low - math.log10(bandwidth))  # where the slope enters: at the left, or from below
    level = 100 - y_axis.at(peak)
    corners = (x_axis.at(start), 100 - y_axis.at(start * bandwidth)), (x_axis.at(ridge), level), (100.0, level)
    roofs = tuple(Line(pc(x1), pc(y1), pc(x2), pc(y2), name)
                  for ((x1, y1), (x2, y2)), name in zip(pairwise(corners), ("dram-roof", "peak-roof"), strict=True))
    keys = (Key("peak-roof", f"array: {si(peak, 'MAC/s')} ({report.peak_macs:,} MACs a cycle at {report.clock_mhz:g} MHz)"),
            Key("dram-roof", f"DRAM: {si(bandwidth, 'B/s')}; the two meet at {significant(ridge)} MACs a byte"))
    spots = _spots([(x_axis.at(x), 100 - y_axis.at(y), number, layer) for number, layer, x, y in placed])
    shown = {number for number, *_ in placed}
    return Roofline(
        tuple(Tick(pc(at), label) for at, label in x_axis.ticks("")),
        tuple(Tick(pc(100 - at), label) for at, label in y_axis.ticks("MAC/s")), roofs, keys,
        tuple(_labelled(spots, [_circle(spot, report, colours) for spot in spots], corners)),
        tuple(layer.name for number, layer in enumerate(report.layers, 1) if layer.macs and number not in shown))


def _spots(placed: Sequence[tuple[float, float, int, LayerReport]]) -> list[_Spot]:
    """Layers that share a place, those of most time first."""
    found: list[_Spot] = []
    for x, y, number, layer in placed:
        for n, spot in enumerate(found):
            if abs(spot.x - x) < SAME_PERCENT and abs(spot.y - y) < SAME_PERCENT and spot.layers[0][1].bound == layer.bound:
                found[n] = _Spot(spot.x, spot.y, (*spot.layers, (number, layer)))
                break
        else:
            found.append(_Spot(x, y, ((number, layer),)))
    return sorted(found, key=lambda spot: -spot.cycles)  # small ones are drawn last, on top


def _radius(spot: _Spot, cycles: int) -> float:
    return LEAST_RADIUS + MORE_RADIUS * math.sqrt(spot.cycles / cycles)


def _circle(spot: _Spot, report: SystemReport, colours: dict[str, str]) -> Circle:
    first = spot.layers[0][1]
    names = [f"{number} {layer.name}" for number, layer in spot.layers[:MOST_NAMES]]
    more = len(spot.layers) - len(names)
    seconds = first.cycles / (report.clock_mhz * 1e6)
    tip = "\n".join([
        *names, *[f"and {more} more"] * bool(more), f"{significant(first.macs_per_dram_byte)} MACs a DRAM byte",
        f"{si(first.macs / seconds, 'MAC/s')}, {first.utilisation:.0%} of the peak",
        f"{spot.cycles / report.cycles:.1%} of the time, bound by {first.bound.replace('_', ' ')}"])
    return Circle(pc(spot.x), pc(spot.y), f"{_radius(spot, report.cycles):.1f}", colours[first.bound], tip,
                  numbers([number for number, _ in spot.layers]))


def numbers(values: Sequence[int]) -> str:
    """Numbers in order, those in a row joined: ``1, 3–6``; the first ones where there are many."""
    starts = [values[0], *(right for left, right in pairwise(values) if right != left + 1)]
    ends = [*(left for left, right in pairwise(values) if right != left + 1), values[-1]]
    parts = [str(start) if start == end else f"{start}–{end}" for start, end in zip(starts, ends, strict=True)]
    return ", ".join(parts[:MOST_NUMBERS]) + " …" * (len(parts) > MOST_NUMBERS)


@dataclass(frozen=True)
class _Place:
    """Where a label may stand: anchor, offset of the text and of its left edge, pixels from the centre of its circle."""

    anchor: str
    dx: float
    dy: float
    left: float
    width: float

    def box(self, spot: _Spot, size: Size) -> Box:
        x, y = spot.x / 100 * size[0] + self.left, spot.y / 100 * size[1] + self.dy
        return x - GAP / 2, y - LABEL_HEIGHT + 2, x + self.width + GAP / 2, y + 2


def _labelled(spots: Sequence[_Spot], circles: Sequence[Circle], roof: Sequence[tuple[float, float]]) -> Iterator[Circle]:
    """The circles with labels beside them that touch neither each other, nor a circle, nor the roof (its corners in per cent)."""
    taken = {size: [*(_box(spot, circle, size) for spot, circle in zip(spots, circles, strict=True)), *_pieces(roof, size)]
             for size in (WIDE, NARROW)}
    for spot, circle in zip(spots, circles, strict=True):
        width, beside = LETTER_WIDTH * len(circle.label), float(circle.radius) + GAP
        lefts = {"middle": -width / 2, "start": 0.0, "end": -width}  # above and below it
        places = [_Place("start", beside, 4.0, beside, width), _Place("end", -beside, 4.0, -beside - width, width),
                  *(_Place(anchor, 0.0, dy, left, width) for anchor, left in lefts.items() for dy in (-beside - 1, beside + 9))]
        wide = [place for place in places if _free(place.box(spot, WIDE), WIDE, taken[WIDE])]
        both = [place for place in wide if _free(place.box(spot, NARROW), NARROW, taken[NARROW])]
        if wide:
            place = (both or wide)[0]
            for size in (WIDE, NARROW) if both else (WIDE,):
                taken[size].append(place.box(spot, size))
            circle = replace(circle, anchor=place.anchor, dx=f"{place.dx:g}", dy=f"{place.dy:g}", only_wide=not both)  # noqa: PLW2901
        yield circle


def _pieces(corners: Sequence[tuple[float, float]], size: Size) -> Iterator[Box]:
    """Small boxes along lines."""
    for (x1, y1), (x2, y2) in pairwise(corners):
        for n in range(PIECES + 1):
            x, y = (x1 + (x2 - x1) * n / PIECES) / 100 * size[0], (y1 + (y2 - y1) * n / PIECES) / 100 * size[1]
            yield x - 1, y - 1, x + 1, y + 1


def _box(spot: _Spot, circle: Circle, size: Size) -> Box:
    x, y, radius = spot.x / 100 * size[0], spot.y / 100 * size[1], float(circle.radius)
    return x - radius, y - radius, x + radius, y + radius


def _free(box: Box, size: Size, taken: Sequence[Box]) -> bool:
    """Whether a box lies in the plot and touches no other."""
    return box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] and box[3] <= size[1] \
        and all(box[0] >= other[2] or box[2] <= other[0] or box[1] >= other[3] or box[3] <= other[1] for other in taken)

"""What the page of a network on a machine shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..systems.report import STALLS, LayerReport, SystemReport
from .charts import PALETTE, Bar, Cell, Column, Key, Track, keys, palette, stacked
from .roofline import roofline
from .time_axis import TimeAxis
from .units import Quantity, count, quantity, share, si, significant

#: What a layer's cycles go to, in the order of the bars.
CAUSES = {"array": "work", "dram_read": "dram-read", "dram_write": "dram-write", "sram": "sram", "fill": "fill", "vector": "vector"}
#: What crosses a port.
CONTENTS = {"weights": PALETTE[0], "activations": PALETTE[1], "sums": PALETTE[2], "outputs": PALETTE[3]}
PICO = 1e-12


@dataclass(frozen=True)
class Level:
    """Bytes across a level's ports."""

    name: str
    total: Quantity
    bars: tuple[Bar, ...]


def view(report: SystemReport) -> dict[str, Any]:
    """Everything that the template lays out."""
    return {
        "title": f"{report.network} on {report.machine}",
        "subtitle": f"{report.batch} frame{'s' * (report.batch != 1)}, {len(report.layers)} layers, {report.clock_mhz:g} MHz, "
                    f"energy table {report.energy_table}",
        "figures": figures(report), "roofline": roofline(report, CAUSES),
        "bound_keys": tuple(Key(CAUSES[cause], cause.replace("_", " ")) for cause in CAUSES
                            if any(layer.bound == cause and layer.macs for layer in report.layers)),
        "time": time_bars(report), "time_keys": time_keys(report), "energy": energy_bars(report),
        "energy_whole": energy_whole(report), "energy_keys": energy_keys(report),
        "levels": levels(report), "dram": dram_bars(report), "content_keys": content_keys(report),
        "axis": TimeAxis(report.seconds).ticks, "tracks": tracks(report), "track_keys": TRACK_KEYS, "columns": COLUMNS,
        "rows": tuple(row(number, layer, report) for number, layer in enumerate(report.layers, 1)),
        "memory_model": report.memory_model, "notes": report.notes,
    }


def figures(report: SystemReport) -> tuple[tuple[str, Quantity, str], ...]:
    """(name, number, what else there is to say), the ones to read first."""
    macs_per_s = report.macs / report.seconds
    peak = report.peak_macs * report.clock_mhz * 1e6
    each = " a frame" if report.batch > 1 else ""
    return (
        ("frames per second", significant(report.frames_per_second),
         f"{si(macs_per_s, 'MAC/s')} of {si(peak, 'MAC/s')}"),
        ("time", quantity(report.seconds, "s"), f"{report.cycles:,} cycles" + (f" for {report.batch} frames" if each else "")),
        ("energy", quantity(report.total_pj * PICO, "J"),
         (f"{si(report.total_pj * PICO / report.batch, 'J')}{each}, " if each else "")
         + f"{si(report.total_pj * PICO / report.macs, 'J')} a MAC" if report.macs else "no products"),
        ("mean power", quantity(report.total_pj * PICO / report.seconds, "W"), "energy over time"),
        ("utilisation", share(macs_per_s / peak), f"of {report.peak_macs:,} MACs a cycle"),
        ("DRAM traffic", quantity(report.dram_bytes, "B"),
         f"{si(report.dram_bytes / report.seconds, 'B/s')} on average, of {si(report.dram_gb_per_s * 1e9, 'B/s')}"),
        ("intensity", Quantity(*_intensity(report)), "MACs a DRAM byte"),
        ("waits", share(_waits(report)), "of all cycles the array does not work"),
    )


def _intensity(report: SystemReport) -> tuple[float, str]:
    value = report.macs / report.dram_bytes if report.dram_bytes else math.inf
    return value, significant(value).text


def _waits(report: SystemReport) -> float:
    return sum(sum(layer.stall_cycles.values()) for layer in report.layers) / report.cycles


def _seconds(cycles: float, report: SystemReport) -> float:
    return cycles / (report.clock_mhz * 1e6)


def time_bars(report: SystemReport) -> tuple[Bar, ...]:
    """Of every layer, what its cycles go to."""
    longest = max(layer.cycles for layer in report.layers) or 1
    return tuple(stacked(layer.name, {"array": layer.array_cycles, **layer.stall_cycles}, CAUSES, longest, count(layer.cycles),
                         unit="cycles", note=share(layer.cycles / report.cycles).text, number=number)
                 for number, layer in enumerate(report.layers, 1))


def time_keys(report: SystemReport) -> tuple[Key, ...]:
    """What cycles go to anywhere, with its share of all."""
    spent = {"array": sum(layer.array_cycles for layer in report.layers),
             **{cause: sum(layer.stall_cycles.get(cause, 0) for layer in report.layers) for cause in STALLS}}
    words = {"array": "the array works", "dram_read": "waits for DRAM reads", "dram_write": "waits for DRAM writes",
             "sram": "waits for SRAM", "fill": "fills and drains", "vector": "waits for the vector unit"}
    return tuple(Key(CAUSES[cause], f"{words[cause]} {share(cycles / report.cycles)}") for cause, cycles in spent.items() if cycles)


def _components(report: SystemReport) -> dict[str, str]:
    return palette(report.energy_pj)


def energy_bars(report: SystemReport) -> tuple[Bar, ...]:
    """Of every layer, which components its energy goes to."""
    greatest = max(layer.total_pj for layer in report.layers) or 1.0
    return tuple(stacked(layer.name, {name: pj * PICO for name, pj in layer.energy_pj.items()}, _components(report),
                         greatest * PICO, quantity(layer.total_pj * PICO, "J"), unit="J",
                         note=share(layer.total_pj / (report.total_pj or 1)).text, number=number)
                 for number, layer in enumerate(report.layers, 1))


def energy_whole(report: SystemReport) -> tuple[Bar, ...]:
    """A bar per component, the greatest first."""
    colours, greatest = _components(report), max(report.energy_pj.values(), default=0.0) or 1.0
    return tuple(stacked(name, {name: pj * PICO}, colours, greatest * PICO, quantity(pj * PICO, "J"), unit="J",
                         note=share(pj / (report.total_pj or 1)).text)
                 for name, pj in sorted(report.energy_pj.items(), key=lambda one: -one[1]))


def energy_keys(report: SystemReport) -> tuple[Key, ...]:
    """The components."""
    return keys(_components(report), report.energy_pj)


def content_keys(report: SystemReport) -> tuple[Key, ...]:
    """What crosses ports anywhere."""
    return keys(CONTENTS, (one.what for layer in report.layers for one in layer.traffic))


def levels(report: SystemReport) -> tuple[Level, ...]:
    """Bytes read and written at each level, DRAM first; every level on a scale of its own."""
    moved: dict[str, dict[str, dict[str, float]]] = {}
    for layer in report.layers:
        for one in layer.traffic:
            parts = moved.setdefault(one.level, {}).setdefault(one.direction, {})
            parts[one.what] = parts.get(one.what, 0.0) + one.bytes
    made = []
    for level in sorted(moved, key=lambda name: name != "dram"):
        scale = max(sum(parts.values()) for parts in moved[level].values()) or 1.0
        bars = tuple(stacked(direction, moved[level][direction], CONTENTS, scale,
                             quantity(sum(moved[level][direction].values()), "B"), unit="B") for direction in sorted(moved[level]))
        made.append(Level(level, quantity(sum(bar.value.value for bar in bars), "B"), bars))
    return tuple(made)


def dram_bars(report: SystemReport) -> tuple[Bar, ...]:
    """Of every layer, what it moves to and from DRAM."""
    greatest = max(layer.bytes_at("dram") for layer in report.layers) or 1.0
    return tuple(stacked(layer.name, {what: layer.bytes_at("dram", what=what) for what in CONTENTS}, CONTENTS, greatest,
                         quantity(layer.bytes_at("dram"), "B"), unit="B",
                         note=f"peak {si(layer.dram_peak_gb_per_s * 1e9, 'B/s')}", number=number)
                 for number, layer in enumerate(report.layers, 1))


TRACK_KEYS = (Key("work", "array"), Key("dram-read", "DRAM reads"), Key("dram-write", "DRAM writes"), Key("memory", "memories"),
              Key("power", "power"))


def tracks(report: SystemReport) -> tuple[Track, ...]:
    """Everything over time: the layers, the array, DRAM, memories, power."""
    spans = [(100 * layer.start_cycle / report.cycles, 100 * layer.cycles / report.cycles) for layer in report.layers]
    layers = list(zip(range(1, len(spans) + 1), report.layers, spans, strict=True))
    axis = TimeAxis(report.seconds)
    strip = axis.strip("layers", [(f"{number} {layer.name}\n{layer.cycles:,} cycles from {layer.start_cycle:,}\nbound by "
                                   f"{layer.bound.replace('_', ' ')}", str(number), CAUSES[layer.bound], *span)
                                  for number, layer, span in layers])
    roof = report.dram_gb_per_s * 1e9
    rates = [[(f"dram-{direction}", layer.bytes_at("dram", direction) / _seconds(layer.cycles, report) if layer.cycles else 0.0,
               f"{layer.name}: mean {direction}") for direction in ("read", "write")] for layer in report.layers]
    busy = [[("work", layer.array_cycles / layer.cycles if layer.cycles else 0.0, f"{layer.name}: array busy")]
            for layer in report.layers]
    greatest = max(sum(rate for _, rate, _ in parts) for parts in rates)
    made = [strip, axis.steps("array busy", busy, spans, 1.0, "%"),
            axis.steps("DRAM bandwidth", rates, spans, max(roof, greatest), "B/s", lines=[("dram-roof", roof)])]
    for level in dict.fromkeys(level for layer in report.layers for level in layer.footprint_bytes):
        used = [layer.footprint_bytes.get(level, 0.0) for layer in report.layers]
        made.append(axis.steps(f"{level} in use", [[("memory", one, f"{layer.name}: {level}")]
                                                   for layer, one in zip(report.layers, used, strict=True)], spans, max(used), "B"))
    power = [layer.total_pj * PICO / _seconds(layer.cycles, report) if layer.cycles else 0.0 for layer in report.layers]
    made.append(axis.steps("power", [[("power", one, f"{layer.name}: mean power")]
                                     for layer, one in zip(report.layers, power, strict=True)], spans, max(power), "W"))
    return tuple(made)


COLUMNS = (
    Column("#", True, "position in time"), Column("layer"), Column("kind"), Column("arithmetic"), Column("algorithm"),
    Column("MACs", True), Column("cycles", True), Column("time", True),
    Column("array cycles", True, "in which the array or the vector unit works"),
    Column("utilisation", True, "of the array's peak"), Column("bound by"), Column("DRAM read", True), Column("DRAM write", True),
    Column("DRAM peak", True, "over the tile that asks most"), Column("MAC/B", True, "per DRAM byte"), Column("energy", True),
    Column("a MAC", True, "energy"), Column("mapping", False, "tiles and order of loops"),
)


def row(number: int, layer: LayerReport, report: SystemReport) -> tuple[Cell, ...]:
    """A layer in the table."""
    each = layer.total_pj * PICO / layer.macs if layer.macs else None
    numbers = {
        "macs": count(layer.macs), "cycles": count(layer.cycles), "time": quantity(_seconds(layer.cycles, report), "s"),
        "array": count(layer.array_cycles), "utilisation": share(layer.utilisation),
        "read": quantity(layer.bytes_at("dram", "read"), "B"), "write": quantity(layer.bytes_at("dram", "write"), "B"),
        "peak": quantity(layer.dram_peak_gb_per_s * 1e9, "B/s"), "energy": quantity(layer.total_pj * PICO, "J"),
        "intensity": significant(layer.macs_per_dram_byte) if layer.macs else None,
        "each": quantity(each, "J") if each is not None else None,
    }
    cell = {name: Cell(one.text, one.value) if one else Cell("", -1.0) for name, one in numbers.items()}
    return (Cell(str(number), number), Cell(layer.name), Cell(layer.kind), Cell(layer.arithmetic), Cell(layer.algorithm),
            cell["macs"], cell["cycles"], cell["time"], cell["array"], cell["utilisation"], Cell(layer.bound.replace("_", " ")),
            cell["read"], cell["write"], cell["peak"], cell["intensity"], cell["energy"], cell["each"], Cell(layer.mapping))



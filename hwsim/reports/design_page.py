"""What the page of a generated design shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engines.fifo import StreamFifo
from ..engines.fork import Fork
from ..history import History
from ..report import BlockReport, SimulationReport
from .charts import PALETTE, Bar, Cell, Column, Key, Rect, Tick, Track, area, keys, pc, stacked
from .time_axis import NARROW_ROOM_PERCENT, ROOM_PERCENT, TimeAxis
from .units import Quantity, count, quantity, share, si, significant

#: What a block does with its cycles, in the order of the bars.
STATES = {"works": "work", "waits for its output to be taken": "blocked", "waits for input": "starved"}
#: What a block moves, by the fields of its report.
MOVES = {"stream_in_bytes": "c0", "stream_out_bytes": "c5", "weight_read_bytes": "c1", "threshold_read_bytes": "c2",
         "buffer_read_bytes": "c3", "buffer_write_bytes": "c4"}
#: Estimated resources: field, heading, unit.
RESOURCES = (("luts", "LUTs", "LUTs"), ("brams", "Block RAMs of 18 kbit", "block RAMs"), ("dsps", "DSPs", "DSPs"))
#: Blocks that only hand words on.
PASSING = (StreamFifo.kind, Fork.kind)
#: Frames whose way is drawn.
MOST_FRAMES = 8
#: Steps that a row over time has at most.
MOST_STEPS = 256


@dataclass(frozen=True)
class Whole:
    """A resource over all blocks."""

    title: str
    total: Quantity
    bars: tuple[Bar, ...]


def view(report: SimulationReport) -> dict[str, Any]:
    """Everything that the template lays out."""
    history = report.history
    axis = TimeAxis(_cycles(report), "cycles")
    return {
        "title": f"{report.network} on {report.family}",
        "subtitle": f"generated design at {report.clock_mhz:g} MHz, simulated cycle by cycle: {report.frames} "
                    f"frame{'s' * (report.frames != 1)} back to back, {report.total_cycles:,} cycles",
        "figures": figures(report), "states": tuple(Key(colour, name) for name, colour in STATES.items()),
        "work": work_bars(report), "pace": pace(report), "axis": axis.ticks,
        "frames": frame_tracks(report, history) if history else (), "shown": min(MOST_FRAMES, report.frames),
        "frame_axis": TimeAxis(_frames_end(history), "cycles").ticks if history else (),
        "activity": activity_tracks(report, history) if history else (),
        "queues": queue_tracks(report, history) if history else (), "bin_cycles": history.bin_cycles if history else 0,
        "queue_bars": queue_bars(report), "traffic": traffic_bars(report),
        "move_keys": keys({_words(name): colour for name, colour in MOVES.items()},
                          (_words(name) for name in MOVES if report.totals[name])),
        "resources": resources(report), "sparse_columns": SPARSE, "sparse": sparse_rows(report),
        "columns": COLUMNS, "rows": tuple(row(number, block) for number, block in enumerate(report.blocks, 1)),
    }


def _words(name: str) -> str:
    return name.removesuffix("_bytes").replace("_", " ")


def figures(report: SimulationReport) -> tuple[tuple[str, Quantity, str], ...]:
    """(name, number, what else there is to say), the ones to read first."""
    t = report.totals
    rate = t["operations"] * report.frames_per_second
    return (
        ("frames per second", significant(report.frames_per_second), f"one every {report.initiation_interval_cycles:,} cycles"),
        ("first-output latency", Quantity(report.latency_us, si(report.latency_us * 1e-6, "s")),
         f"{report.first_output_latency_cycles:,} cycles"),
        ("operations", quantity(rate, "op/s"), f"{t['operations']:,.0f} multiply-accumulates or comparisons a frame"),
        ("parameters on chip", quantity(t["weight_bytes"] + t["threshold_bytes"], "B"),
         f"weights {si(t['weight_bytes'], 'B')}, thresholds {si(t['threshold_bytes'], 'B')}"),
        ("LUTs", count(t["luts"]), "estimated"),
        ("block RAMs", count(t["brams"]), "of 18 kbit, estimated"),
        ("DSPs", count(t["dsps"]), "estimated"),
        ("at the ports", quantity(report.input_bytes + report.output_bytes, "B"),
         f"a frame: {si(report.input_bytes, 'B')} in, {si(report.output_bytes, 'B')} out"),
    )


def _working(report: SimulationReport) -> list[tuple[int, BlockReport]]:
    return [(number, block) for number, block in enumerate(report.blocks) if block.engine not in PASSING]


def _cycles(report: SimulationReport) -> int:
    """From reset to the last word out; padding is made before the first word in."""
    return report.history.total_cycles if report.history else report.total_cycles


def states(block: BlockReport, report: SimulationReport) -> dict[str, int]:
    """Cycles of the whole simulation that a block works, is blocked, is starved; they add up."""
    cycles = _cycles(report)
    blocked = min(block.blocked_cycles, cycles)
    starved = min(block.starved_cycles, cycles - blocked)
    return dict(zip(STATES, (cycles - blocked - starved, blocked, starved), strict=True))


def work_bars(report: SimulationReport) -> tuple[Bar, ...]:
    """Of every block, what it does with the cycles of the simulation."""
    cycles, made = _cycles(report), []
    for _, block in _working(report):
        parts = states(block, report)
        works = parts["works"]
        made.append(stacked(block.name, parts, STATES, cycles, count(works), unit="cycles", note=share(works / cycles).text))
    return tuple(made)


def pace(report: SimulationReport) -> tuple[str, ...]:
    """The blocks that need most cycles for a frame."""
    slowest = max((block.cycles for _, block in _working(report)), default=0)
    return tuple(block.name for _, block in _working(report) if block.cycles == slowest)


def _frames_end(history: History) -> int:
    """The cycle behind the last word out of the last frame that is drawn."""
    return int(history.port_cycles[:MOST_FRAMES, 1].max()) + 1


def frame_tracks(report: SimulationReport, history: History) -> tuple[Track, ...]:
    """When each of the first frames is at the ports, a row each since they overlap, and in each block."""
    end = _frames_end(history)

    def row(name: str, spans: Iterable[tuple[int, int, int]]) -> Track:
        rects, labels = [], []
        for frame, start, stop in spans:
            if 0 <= start < end:
                x, width = 100 * start / end, 100 * (min(stop, end) - start) / end
                rects.append(Rect(pc(x), "0", pc(width), "100%", PALETTE[(frame - 1) % 6],
                                  f"{name}\nframe {frame}: cycles {start:,} to {stop:,}"))
                if width >= ROOM_PERCENT:
                    labels.append(Tick(pc(x + width / 2), str(frame), only_wide=width < NARROW_ROOM_PERCENT))
        return Track(name, tuple(rects), labels=tuple(labels), height="short")

    ports = [row(f"frame {frame}, port to port", [(frame, int(first), int(last) + 1)])
             for frame, (first, last) in enumerate(history.port_cycles[:MOST_FRAMES], 1)]
    blocks = [row(block.name, [(frame, int(start), int(stop)) for frame, (start, stop)
                               in enumerate(history.frame_cycles[number, :MOST_FRAMES], 1)])
              for number, block in _working(report)]
    return (*ports, *blocks)


def _merged(history: History, values: np.ndarray[Any, Any], join: Any) -> tuple[list[int], np.ndarray[Any, Any]]:
    """Ends of at most `MOST_STEPS` steps, and the values (bins, ...) joined to them by a ufunc."""
    every = -(-len(values) // MOST_STEPS)
    starts = np.arange(0, len(values), every)
    ends = history.bin_ends[np.minimum(starts + every, len(values)) - 1]
    return [int(end) for end in ends], join.reduceat(values, starts, axis=0)


def activity_tracks(report: SimulationReport, history: History) -> tuple[Track, ...]:
    """Of every block, the share of cycles in which it works and is blocked, over time; the rest it waits for input."""
    ends, busy = _merged(history, history.busy, np.add)
    _, blocked = _merged(history, history.blocked, np.add)
    lengths = np.diff(ends, prepend=0)
    made = []
    for number, block in _working(report):
        works, stops = 100 * busy[:, number] / lengths, 100 * blocked[:, number] / lengths
        parts = states(block, report)
        tip = f"{block.name}\n" + "\n".join(f"{name}: {cycles:,} cycles ({cycles / _cycles(report):.1%})"
                                           for name, cycles in parts.items())
        areas = (area("blocked", ends, list(works + stops)), area("work", ends, list(works)))
        made.append(Track(block.name, height="short", areas=areas, width=history.total_cycles, tip=tip,
                          bed="starved"))
    return tuple(made)


def _queues(report: SimulationReport) -> list[tuple[int, BlockReport]]:
    return [(number, block) for number, block in enumerate(report.blocks) if block.fifo_depth is not None]


def queue_tracks(report: SimulationReport, history: History) -> tuple[Track, ...]:
    """Of every queue, the most words it held, over time."""
    ends, peaks = _merged(history, history.peak_words, np.maximum)
    made = []
    for number, block in _queues(report):
        depth = block.fifo_depth or 1
        most = int(peaks[:, number].max())
        made.append(Track(block.name, top=f"{most:,} of {depth:,}", height="middle", width=history.total_cycles,
                          areas=(area("memory", ends, list(100 * peaks[:, number] / depth)),),
                          tip=f"{block.name}\n{depth:,} words deep\nat most {most:,} in it"))
    return tuple(made)


def queue_bars(report: SimulationReport) -> tuple[Bar, ...]:
    """Depths of the queues."""
    depths = [(block.name, block.fifo_depth or 0) for _, block in _queues(report)]
    deepest = max((depth for _, depth in depths), default=0) or 1
    return tuple(stacked(name, {"depth": depth}, {"depth": "memory"}, deepest, count(depth), unit="words")
                 for name, depth in depths)


def traffic_bars(report: SimulationReport) -> tuple[Bar, ...]:
    """Of every block, the bytes that a frame moves."""
    moved = {block.name: {_words(name): float(getattr(block, name)) for name in MOVES} for block in report.blocks}
    scale = max(sum(parts.values()) for parts in moved.values()) or 1.0
    colours = {_words(name): colour for name, colour in MOVES.items()}
    return tuple(stacked(name, parts, colours, scale, quantity(sum(parts.values()), "B"), unit="B")
                 for name, parts in moved.items())


def resources(report: SimulationReport) -> tuple[Whole, ...]:
    """LUTs, block RAMs and DSPs, of the blocks that take any; without what none takes."""
    made = []
    for field, title, unit in RESOURCES:
        taken = [(block.name, int(getattr(block, field))) for block in report.blocks if getattr(block, field)]
        if not taken:
            continue
        whole, most = sum(value for _, value in taken), max(value for _, value in taken)
        bars = tuple(stacked(name, {unit: value}, {unit: "work"}, most, count(value), unit=unit, note=share(value / whole).text)
                     for name, value in taken)
        made.append(Whole(title, count(whole), bars))
    return tuple(made)


#: What the table of blocks shows: heading, field, unit ("" for names, "n" for counts, "%" for shares).
_FIELDS = (
    ("block", "name", ""), ("engine", "engine", ""), ("layer", "layer", ""), ("PE", "pe", "n"), ("SIMD", "simd", "n"),
    ("depth", "fifo_depth", "n"), ("cycles", "cycles", "n"), ("busy", "utilisation", "%"), ("starved", "starved_cycles", "n"),
    ("blocked", "blocked_cycles", "n"), ("operations", "operations", "n"), ("sum bits", "accumulator_bits", "n"),
    ("weights", "weight_bytes", "B"), ("thresholds", "threshold_bytes", "B"), ("in", "stream_in_bytes", "B"),
    ("out", "stream_out_bytes", "B"), ("weights read", "weight_read_bytes", "B"), ("thresholds read", "threshold_read_bytes", "B"),
    ("buffer read", "buffer_read_bytes", "B"), ("buffer written", "buffer_write_bytes", "B"), ("LUTs", "luts", "n"),
    ("RAMs", "brams", "n"), ("DSPs", "dsps", "n"),
)
_MEANINGS = {"cycles": "least clock cycles a frame", "busy": "share of the initiation interval", "depth": "words",
             "starved": "cycles of the simulation", "blocked": "cycles of the simulation", "operations": "a frame",
             "in": "bytes a frame", "out": "bytes a frame", "RAMs": "block RAMs of 18 kbit, estimated", "LUTs": "estimated"}
COLUMNS = (Column("#", True, "position"), *(Column(name, unit != "", _MEANINGS.get(name, "")) for name, _, unit in _FIELDS))


def _cell(value: Any, unit: str) -> Cell:
    if value is None:
        return Cell("", -1.0)
    if unit == "":
        return Cell(str(value))
    if unit == "B" and not value:
        return Cell("", value)
    made = {"n": count, "%": share, "B": lambda one: quantity(one, "B"), "x": significant}[unit](value)
    return Cell(made.text, made.value)


def row(number: int, block: BlockReport) -> tuple[Cell, ...]:
    """A block in the table."""
    return (Cell(str(number), number), *(_cell(getattr(block, field), unit) for _, field, unit in _FIELDS))


_SPARSE_FIELDS = (
    ("product", "name", ""), ("layer", "layer", ""), ("inputs", "inputs", "n"), ("outputs", "outputs", "n"), ("PEs", "pes", "n"),
    ("nonzero weights", "density", "%"), ("nonzero inputs", "activation_density", "%"), ("entries", "entries", "n"),
    ("padding", "padding", "n"), ("cycles", "cycles", "n"), ("spread evenly", "ideal_cycles", "n"),
    ("PEs busy", "load_balance", "%"), ("held, mean", "held_mean", "x"), ("held, most", "held_peak", "n"),
    ("waits for room", "full_wait_cycles", "n"), ("waits for scan", "scan_wait_cycles", "n"), ("stored", "stored_bits", "bits"),
    ("dense", "dense_bits", "bits"), ("Huffman", "huffman_bits", "bits"),
)
_SPARSE_MEANINGS = {"entries": "stored, padding included", "cycles": "from the scan to the last product",
                    "spread evenly": "cycles if all entries were spread evenly", "held, mean": "columns that a PE holds",
                    "dense": "at 32 bits a weight", "stored": "in the engine's memories", "Huffman": "as Deep Compression codes it"}
SPARSE = (Column("#", True, "position"), *(Column(name, unit != "", _SPARSE_MEANINGS.get(name, ""))
                                           for name, _, unit in _SPARSE_FIELDS))


def sparse_rows(report: SimulationReport) -> tuple[tuple[Cell, ...], ...]:
    """The products on sparse engines."""
    made = []
    for number, one in enumerate(report.sparse, 1):
        values = dataclasses.asdict(one)
        made.append((Cell(str(number), number), *(_cell(values[field] / 8, "B") if unit == "bits" else _cell(values[field], unit)
                                                  for _, field, unit in _SPARSE_FIELDS)))
    return tuple(made)

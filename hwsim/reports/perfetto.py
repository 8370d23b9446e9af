"""Traces for Perfetto (ui.perfetto.dev), in its own format: a run on a machine, or what a generated design's blocks did.

The format is Perfetto's protobuf TrackEvent rather than Chrome's JSON: whole nanoseconds instead of floating-point microseconds,
counters with units, tracks in the order they are written.  JSON has none of the three, and Perfetto calls it legacy.  The messages
are those of the package `perfetto`, which Perfetto's makers publish.

Source: https://perfetto.dev/docs/reference/synthetic-track-event
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from intir import BitwrightError

from ..history import History
from ..report import SimulationReport
from ..systems.report import LayerReport, SystemReport
from .design_page import PASSING

#: All packets belong to one sequence, whose state starts with the first packet.
_SEQUENCE = 1
_STATE_CLEARED = 1
PICO = 1e-12


class TraceError(BitwrightError):
    """A trace cannot be made."""


class Tracks:
    """A trace under construction: tracks in the order in which they are added.

    Parameters
    ----------
    clock_mhz : float
        Turns cycles into nanoseconds, rounded to the nearest.
    """

    def __init__(self, clock_mhz: float) -> None:
        try:
            from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as messages
        except ImportError:
            raise TraceError("a trace for Perfetto needs the package 'perfetto'; install it with "
                             "`pip install 'bitwright[trace]'`") from None
        self._messages = messages
        self._trace = messages.Trace()
        self._clock_mhz = clock_mhz
        self._tracks = 0
        self._packet().sequence_flags = _STATE_CLEARED

    def _packet(self) -> Any:
        packet = self._trace.packet.add()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet

    def _event(self, cycle: float, track: int, kind: str) -> Any:
        packet = self._packet()
        packet.timestamp = round(cycle * 1000 / self._clock_mhz)
        packet.track_event.type = getattr(self._messages.TrackEvent, kind)
        packet.track_event.track_uuid = track
        return packet.track_event

    def track(self, name: str, parent: int = 0, *, unit: str | None = None) -> int:
        """Add a track, or a counter if it has a unit; returns its number."""
        self._tracks += 1
        track = self._packet().track_descriptor
        track.uuid, track.name = self._tracks, _unicode(name)
        track.child_ordering = self._messages.TrackDescriptor.EXPLICIT
        track.sibling_order_rank = self._tracks
        if parent:
            track.parent_uuid = parent
        if unit is not None:
            track.counter.unit_name = unit
        return self._tracks

    def slice(self, track: int, name: str, start_cycle: float, end_cycle: float,
              facts: Mapping[str, str | int | float] = {}) -> None:
        """Add a slice; those of a track follow each other, and one of less than a nanosecond has no length."""
        begin = self._event(start_cycle, track, "TYPE_SLICE_BEGIN")
        begin.name = _unicode(name)
        for key, value in facts.items():
            fact = begin.debug_annotations.add()
            fact.name = key
            if isinstance(value, str):
                fact.string_value = _unicode(value)
            elif isinstance(value, int):
                fact.int_value = value
            else:
                fact.double_value = value
        self._event(end_cycle, track, "TYPE_SLICE_END")

    def counter(self, track: int, cycle: float, value: float) -> None:
        """Say what a counter is from a cycle on."""
        self._event(cycle, track, "TYPE_COUNTER").double_counter_value = float(value)

    def counters(self, track: int, cycles: Sequence[float], values: Sequence[float]) -> None:
        """Say what a counter is from each cycle on; unchanged values are left out."""
        last = None
        for cycle, value in zip(cycles, values, strict=True):
            if value != last:
                self.counter(track, cycle, value)
            last = value

    @property
    def data(self) -> bytes:
        """The file."""
        return bytes(self._trace.SerializeToString(deterministic=True))


def _unicode(name: str) -> str:
    """A name that protobuf takes."""
    return name.encode("utf-8", "backslashreplace").decode()


def perfetto_trace(report: SystemReport | SimulationReport) -> bytes:
    """A trace as Perfetto reads it; the same report always gives the same bytes.

    Raises
    ------
    TraceError
        If the package `perfetto` is not there, or the report of a design has no history.
    """
    if isinstance(report, SystemReport):
        return _system(report)
    if report.history is None:
        raise TraceError(f"the report of '{report.network}' has no history to draw; simulate it with history=True")
    return _design(report, report.history)


def _system(report: SystemReport) -> bytes:
    made = Tracks(report.clock_mhz)
    root = made.track(f"{report.network} on {report.machine}")
    layers, array, waits = (made.track(name, root) for name in ("layers", "array", "array waits"))
    lanes = {direction: made.track(f"DRAM {direction}", root) for direction in ("read", "write")}
    for layer in report.layers:
        end = layer.start_cycle + layer.cycles
        made.slice(layers, layer.name, layer.start_cycle, end, _facts(layer))
        # A report has no tiles: what a layer's array, waits and transfers take in all is drawn from its start on, writes up to
        # its end.
        made.slice(array, layer.name, layer.start_cycle, layer.start_cycle + layer.array_cycles, {"cycles": layer.array_cycles})
        at = layer.start_cycle + layer.array_cycles
        for cause, cycles in layer.stall_cycles.items():
            made.slice(waits, cause.replace("_", " "), at, at + cycles, {"layer": layer.name, "cycles": cycles})
            at += cycles
        for direction, lane in lanes.items():
            moved = layer.bytes_at("dram", direction)
            if moved:
                needed = min(float(layer.cycles), moved / (report.dram_gb_per_s * 1e3) * report.clock_mhz)
                start = layer.start_cycle if direction == "read" else end - needed
                made.slice(lane, layer.name, start, start + needed, {"bytes": moved, "cycles at full bandwidth": needed})
    starts = [float(layer.start_cycle) for layer in report.layers] + [float(report.cycles)]

    def per_layer(name: str, unit: str, values: Sequence[float]) -> None:
        made.counters(made.track(name, root, unit=unit), starts, [*values, 0.0])

    def per_second(layer: LayerReport, value: float) -> float:
        return value * report.clock_mhz * 1e6 / layer.cycles if layer.cycles else 0.0

    per_layer("utilisation", "%", [100 * layer.utilisation for layer in report.layers])
    for direction in ("read", "write"):
        per_layer(f"DRAM {direction} bandwidth", "GB/s",
                  [per_second(layer, layer.bytes_at("dram", direction)) / 1e9 for layer in report.layers])
    for level in dict.fromkeys(level for layer in report.layers for level in layer.footprint_bytes):
        per_layer(f"{level} in use", "B", [layer.footprint_bytes.get(level, 0.0) for layer in report.layers])
    per_layer("power", "W", [per_second(layer, layer.total_pj * PICO) for layer in report.layers])
    spent = np.cumsum([0.0, *(layer.total_pj for layer in report.layers)]) / 1e6
    made.counters(made.track("energy so far", root, unit="uJ"), starts, [float(value) for value in spent])
    return made.data


def _facts(layer: LayerReport) -> dict[str, str | int | float]:
    facts: dict[str, str | int | float] = {
        "kind": layer.kind, "arithmetic": layer.arithmetic, "algorithm": layer.algorithm, "mapping": layer.mapping,
        "bound": layer.bound, "macs": layer.macs, "start_cycle": layer.start_cycle, "cycles": layer.cycles,
        "utilisation": float(layer.utilisation), "energy_pj": float(layer.total_pj),
        "dram_read_bytes": float(layer.bytes_at("dram", "read")), "dram_write_bytes": float(layer.bytes_at("dram", "write"))}
    return facts


#: Names of a block's states, in the order of their codes.
STATES = ("busy", "starved", "blocked")


def _design(report: SimulationReport, history: History) -> bytes:
    made = Tracks(report.clock_mhz)
    root = made.track(f"{report.network} on {report.family}")
    frames = made.track("frames, port to port", root)
    for frame, (start, end) in enumerate(history.port_cycles):
        # Frames overlap, and slices of a track must not.
        made.slice(made.track(f"frame {frame + 1}", frames), f"frame {frame + 1}", int(start), int(end) + 1,
                   {"first_input_cycle": int(start), "last_output_cycle": int(end)})
    blocks = made.track("blocks", root)
    ends = [int(end) for end in history.bin_ends]
    # Where a bin has several cycles, the state that most of them were in.
    state = np.argmax(np.stack([history.busy, history.starved, history.blocked]), axis=0)
    for number, block in enumerate(report.blocks):
        if block.engine in PASSING:
            continue
        track, column = made.track(block.name, blocks), state[:, number]
        changes = [0, *(np.flatnonzero(np.diff(column)) + 1), len(column)]
        for first, last in pairwise(changes):
            made.slice(track, STATES[column[first]], ends[first - 1] if first else 0, ends[last - 1])
    queues = made.track("queues", root)
    starts = [0, *ends]
    for number, block in enumerate(report.blocks):
        if block.fifo_depth is not None:
            track = made.track(f"{block.name}, of {block.fifo_depth}", queues, unit="words")
            made.counters(track, starts, [*(float(words) for words in history.peak_words[:, number]), 0.0])
    return made.data

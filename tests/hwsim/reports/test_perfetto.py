"""Traces: Perfetto's messages hold the report, and Perfetto's own trace processor reads them without a complaint."""

from __future__ import annotations

import dataclasses
import sys
from itertools import pairwise
from typing import Any

import pytest

from hwsim.report import SimulationReport
from hwsim.reports.perfetto import TraceError, perfetto_trace
from hwsim.systems.report import SystemReport

from .systems import CLOCK_MHZ, system_report
from .trace_processor import query

SLICES = """select slice.ts as ts, slice.dur as dur, slice.name as name, track.name as track, parent.name as parent
            from slice join track on slice.track_id = track.id left join track parent on track.parent_id = parent.id
            order by slice.track_id, slice.ts"""
COUNTERS = """select track.name as name, track.unit as unit, counter.ts as ts, counter.value as value
              from counter join counter_track track on counter.track_id = track.id order by track.id, counter.ts"""
COMPLAINTS = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"
FACTS = "select slice.name as name, args.key as key, args.int_value as value from slice join args using (arg_set_id)"


def packets(data: bytes) -> list[Any]:
    messages = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2", reason="the package perfetto is not installed")
    return list(messages.Trace.FromString(data).packet)


def ns(cycle: float, clock_mhz: float = CLOCK_MHZ) -> int:
    return round(cycle * 1000 / clock_mhz)


def test_the_messages_of_a_run() -> None:
    made = system_report()
    found = packets(perfetto_trace(made))
    assert {packet.trusted_packet_sequence_id for packet in found} == {1} and found[0].sequence_flags == 1
    tracks = {packet.track_descriptor.uuid: packet.track_descriptor for packet in found if packet.HasField("track_descriptor")}
    (root,) = [track for track in tracks.values() if not track.parent_uuid]
    assert root.name == "resnet18 on edge-npu"
    names = {uuid: track.name for uuid, track in tracks.items()}
    begun = {names[packet.track_event.track_uuid]: [] for packet in found if packet.HasField("track_event")}
    for packet in found:
        if packet.track_event.type == packet.track_event.TYPE_SLICE_BEGIN:
            begun[names[packet.track_event.track_uuid]].append((packet.track_event.name, packet.timestamp))
    assert begun["layers"] == [(layer.name, ns(layer.start_cycle)) for layer in made.layers]
    assert perfetto_trace(made) == perfetto_trace(system_report())


def test_perfetto_reads_a_run() -> None:
    made = system_report()
    slices, counters, complaints, facts = query(perfetto_trace(made), SLICES, COUNTERS, COMPLAINTS, FACTS)
    assert complaints == []
    of = {track: [(one["name"], one["ts"], one["dur"]) for one in slices if one["track"] == track]
          for track in ("layers", "array", "array waits", "DRAM read", "DRAM write")}
    assert of["layers"] == [(layer.name, ns(layer.start_cycle), ns(layer.start_cycle + layer.cycles) - ns(layer.start_cycle))
                            for layer in made.layers]
    assert of["array"] == [(layer.name, ns(layer.start_cycle), ns(layer.start_cycle + layer.array_cycles) - ns(layer.start_cycle))
                           for layer in made.layers]
    assert len(of["array waits"]) == sum(len(layer.stall_cycles) for layer in made.layers)
    reads = [layer for layer in made.layers if layer.bytes_at("dram", "read")]
    assert [name for name, _, _ in of["DRAM read"]] == [layer.name for layer in reads]
    assert sum(dur for _, _, dur in of["DRAM read"]) == pytest.approx(sum(layer.bytes_at("dram", "read") for layer in reads) / 12.8, rel=1e-3)
    assert {(one["name"], one["value"]) for one in facts if one["key"] == "debug.macs"} == {(layer.name, layer.macs) for layer in made.layers}
    energy = [one for one in counters if one["name"] == "energy so far"]
    assert energy[-1]["value"] == pytest.approx(made.total_pj / 1e6) and energy[-1]["unit"] == "uJ"
    assert energy[-1]["ts"] == ns(made.cycles)
    moved = [one for one in counters if one["name"] == "DRAM read bandwidth"]
    whole = sum(a["value"] * (b["ts"] - a["ts"]) for a, b in pairwise(moved))  # GB/s x ns = bytes
    assert whole == pytest.approx(sum(layer.bytes_at("dram", "read") for layer in made.layers), rel=1e-3)


def test_perfetto_reads_a_design(design_report: SimulationReport) -> None:
    history = design_report.history
    assert history is not None
    slices, counters, complaints = query(perfetto_trace(design_report), SLICES, COUNTERS, COMPLAINTS)
    assert complaints == []
    each = 1000 / design_report.clock_mhz
    for number, block in enumerate(design_report.blocks):
        mine = [one for one in slices if one["track"] == block.name]
        if block.engine == "fifo":
            peaks = [one["value"] for one in counters if one["name"] == f"{block.name}, of {block.fifo_depth}"]
            assert max(peaks) == history.peak_words[:, number].max() and peaks[-1] == 0
            continue
        for name, cycles in (("busy", history.busy), ("starved", history.starved), ("blocked", history.blocked)):
            assert sum(one["dur"] for one in mine if one["name"] == name) == cycles[:, number].sum() * each, (block.name, name)
        assert sum(one["dur"] for one in mine) == history.total_cycles * each
    frames = [one for one in slices if one["parent"] == "frames, port to port"]
    assert [(one["name"], one["ts"], one["dur"]) for one in frames] \
        == [(f"frame {n}", start * each, (end + 1 - start) * each) for n, (start, end) in enumerate(history.port_cycles.tolist(), 1)]


def test_any_name_is_a_name() -> None:
    made = system_report()
    names = ["", "\ud800", "<b>", "a\nb", "日本語"]
    layers = tuple(dataclasses.replace(layer, name=name) for layer, name in zip(made.layers, names, strict=False))
    found = packets(perfetto_trace(dataclasses.replace(made, layers=layers)))
    begun = [packet.track_event.name for packet in found if packet.track_event.debug_annotations
             and packet.track_event.debug_annotations[0].name == "kind"]
    assert begun == ["", "\\ud800", "<b>", "a\nb", "日本語"]


def test_what_a_trace_needs(design_report: SimulationReport, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TraceError, match="the report of 'mlp' has no history to draw; simulate it with history=True"):
        perfetto_trace(dataclasses.replace(design_report, history=None))
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace", None)
    with pytest.raises(TraceError) as caught:
        perfetto_trace(design_report)
    assert str(caught.value) == \
        "a trace for Perfetto needs the package 'perfetto'; install it with `pip install 'bitwright[trace]'`"


def test_a_run_has_a_trace_of_modest_size() -> None:
    made: SystemReport = system_report()
    pytest.importorskip("perfetto", reason="the package perfetto is not installed")
    assert len(perfetto_trace(made)) < 1000 * len(made.layers)

"""CSV: what is read back is the report, whatever the names are."""

from __future__ import annotations

import csv
import dataclasses
import io
import math

from hwsim.report import BlockReport, SimulationReport
from hwsim.reports.tables import csv_table
from hwsim.systems.report import SystemReport

from .systems import system_report


def rows(report: SystemReport | SimulationReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_table(report).decode(), newline="")))


def test_layers_read_back() -> None:
    made = system_report()
    read = rows(made)
    assert [row["layer"] for row in read] == [layer.name for layer in made.layers]
    for row, layer in zip(read, made.layers, strict=True):
        assert (int(row["macs"]), int(row["start_cycle"]), int(row["cycles"]), int(row["array_cycles"])) \
            == (layer.macs, layer.start_cycle, layer.cycles, layer.array_cycles)
        assert sum(int(value) for key, value in row.items() if key.endswith("_stall_cycles")) == sum(layer.stall_cycles.values())
        assert sum(float(value) for key, value in row.items() if key.endswith("_energy_pj")) == float(row["energy_pj"]) == layer.total_pj
        assert math.fsum(float(value) for key, value in row.items() if key.startswith("dram_") and key.endswith("_bytes")
                         and "footprint" not in key) == layer.bytes_at("dram")
        assert float(row["unified buffer_footprint_bytes"]) == layer.footprint_bytes["unified buffer"]
        assert (row["macs_per_dram_byte"] == "") == math.isinf(layer.macs_per_dram_byte)


def test_blocks_read_back(design_report: SimulationReport) -> None:
    read = rows(design_report)
    assert list(read[0]) == [field.name for field in dataclasses.fields(BlockReport)]
    for row, block in zip(read, design_report.blocks, strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in dataclasses.asdict(block).items()}


def test_names_are_quoted_and_never_formulas() -> None:
    names = ['a,b', 'say "x"', "line\nbreak", "=1+1", "@x", "-2", "\ud800", "plain"]
    made = system_report()
    layers = tuple(dataclasses.replace(layer, name=name) for layer, name in zip(made.layers, names, strict=False))
    read = [row["layer"] for row in rows(dataclasses.replace(made, layers=layers))]
    assert read == ['a,b', 'say "x"', "line\nbreak", "'=1+1", "'@x", "'-2", "\\ud800", "plain"]

"""CSV: a row per layer of a machine's run, or per block of a generated design."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..report import BlockReport, SimulationReport
from ..systems.report import STALLS, LayerReport, SystemReport

#: What a spreadsheet takes for the start of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_table(report: SystemReport | SimulationReport) -> bytes:
    """The table: UTF-8, commas, a row of names with units first, numbers with all their digits.

    A name that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    rows = [_layer(layer, report) for layer in report.layers] if isinstance(report, SystemReport) \
        else [_block(block) for block in report.blocks]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return _written(columns, rows).encode("utf-8", "backslashreplace")


def _written(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_safe(name) for name in columns])
    # What a layer lacks that another has is 0: bytes at a memory, energy of a component.
    writer.writerows([[_safe(row.get(name, 0)) for name in columns] for row in rows])
    return text.getvalue()


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else value


def _layer(layer: LayerReport, report: SystemReport) -> dict[str, Any]:
    intensity = layer.macs_per_dram_byte
    made: dict[str, Any] = {
        "layer": layer.name, "kind": layer.kind, "arithmetic": layer.arithmetic, "algorithm": layer.algorithm,
        "mapping": layer.mapping, "bound": layer.bound, "macs": layer.macs, "start_cycle": layer.start_cycle,
        "cycles": layer.cycles, "time_us": layer.cycles / report.clock_mhz, "array_cycles": layer.array_cycles}
    made |= {f"{cause}_stall_cycles": layer.stall_cycles.get(cause, 0) for cause in STALLS}
    made |= {"utilisation": layer.utilisation, "macs_per_dram_byte": intensity if math.isfinite(intensity) else None,
             "dram_peak_gb_per_s": layer.dram_peak_gb_per_s}
    for one in layer.traffic:
        key = f"{one.level}_{one.direction}_{one.what}_bytes"
        made[key] = made.get(key, 0) + one.bytes
    made |= {f"{level}_footprint_bytes": value for level, value in layer.footprint_bytes.items()}
    made |= {f"{component}_energy_pj": value for component, value in layer.energy_pj.items()}
    return made | {"energy_pj": layer.total_pj}


def _block(block: BlockReport) -> dict[str, Any]:
    return dataclasses.asdict(block)

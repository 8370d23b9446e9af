"""One network in hardware, measured: plan, Verilog, co-verification, synthesis."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import codegen.bundle
from codegen.cosim import FAULTS, verify
from codegen.errors import ToolError
from codegen.generate import generate
from codegen.yosys import SynthResult, synthesize
from hwsim.autoplan import auto_plan
from hwsim.design import Design, make_design
from hwsim.layers.product import ProductLayer
from hwsim.plan import Plan
from intir import Graph, IntType

from .networks import NETWORKS

#: (PE, SIMD) of FINN's CNV in BNN-PYNQ.
FINN_FOLDING = [(16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1)]
#: Frames per second at 100 MHz that the other networks are planned for.
FPS = 2000
#: Longest synthesis; a larger design is reported as not counted.
SYNTHESIS_SECONDS = 3600.0


@dataclass
class Row:
    """What was measured of a network.

    Parameters
    ----------
    name, description : str
    ii_cycles, first_output_cycles : int
        Predicted by hwsim.
    last_predicted_cycles, last_counted_cycles : int
        Of the last output of all frames, unstalled; counted on the RTL.
    faults : kind -> count, over all stall patterns
    bit_operations : int
        Multiply-accumulates per frame, each times the bits of its weight and of its activation.
    plan_seconds, verilog_seconds : float
        Of CPU, with the processes that are started.
    verify_seconds : float
        As they pass.
    frames : int
        Co-verified, over all stall patterns.
    cells : family -> SynthResult, or why there is none
    """

    name: str
    description: str
    ii_cycles: int
    first_output_cycles: int
    bit_operations: int
    plan_seconds: float
    verilog_seconds: float = 0.0
    verify_seconds: float = 0.0
    frames: int = 0
    last_predicted_cycles: int = 0
    last_counted_cycles: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    cells: dict[str, SynthResult | str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every bit and every cycle was as predicted."""
        return bool(self.faults) and not any(self.faults.values())


def planned(name: str, graph: Graph, family: str = "xilinx") -> Plan:
    """FINN's folding for CNV, the benchmark's rate for all others."""
    if name.startswith("cnv"):
        return auto_plan(graph, folding=FINN_FOLDING, family=family)
    return auto_plan(graph, fps=FPS, family=family)


def bit_operations(design: Design) -> int:
    """Multiply-accumulates per frame, each times the bits of its weight and of its activation."""
    total = 0
    for layer in design.layers:
        for stage in design.stages:
            if stage.layer == layer.name and isinstance(layer, ProductLayer) and stage.engine.kind in ("mvu", "vvu", "unrolled"):
                total += layer.operations * IntType.of(layer.weights).bits * stage.engine.word_in.type.bits
    return total


def cpu_seconds() -> float:
    """Spent by this process and by those it started and awaited."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(name: str, *, frames: int, families: Iterable[str]) -> Row:
    """Plan, generate, co-verify `frames` frames in each of four stall patterns, and synthesize."""
    network = NETWORKS[name]
    graph = network.make()
    started = cpu_seconds()
    design = make_design(graph, planned(name, graph))
    ii, latency = design.rate()
    row = Row(name, network.description, ii, latency, bit_operations(design), cpu_seconds() - started)
    with tempfile.TemporaryDirectory(prefix="bitwright_") as folder:
        started = cpu_seconds()
        bundle = codegen.bundle.build(graph, design.plan, Path(folder) / name, samples=network.frames(graph, 2))
        row.verilog_seconds = cpu_seconds() - started
        if frames:
            started = time.monotonic()
            result = verify(bundle.path, x=network.frames(graph, frames))
            row.verify_seconds, row.frames = time.monotonic() - started, 4 * frames
            row.faults = {fault: result.total(fault) for fault in FAULTS}
            unstalled = result.patterns["unstalled"]
            row.last_predicted_cycles = unstalled["predicted_last_output_cycle"]
            row.last_counted_cycles = unstalled["last_output_cycle"] or 0
    for family in families:
        row.cells[family] = _cells(design if family == "xilinx" else make_design(graph, planned(name, graph, family)), family)
    return row


def _cells(design: Design, family: str) -> SynthResult | str:
    rtl = generate(design.bare, "benchmark")
    try:
        return synthesize(rtl.files, rtl.top, family, SYNTHESIS_SECONDS)
    except ToolError as error:
        return str(error)

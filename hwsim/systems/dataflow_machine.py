"""Designs that are generated for an FPGA, as a run of a machine: the exact simulator's cycles, and DRAM at both ends.

All layers of a pipeline run at the same time, so the run takes `SystemReport.pipelined_cycles` and each layer's `cycles` are those
of the run: `array_cycles` in which it works, ``fill`` in which it waits for its neighbours.  Weights and activations stay on chip;
DRAM holds the frames and what comes of them.  A DRAM that is slower than the pipeline stretches the run.

On-chip memories are priced as block RAM of 18 kbit: words of 32 bits out of 2 KiB.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Final

from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from hwsim.energy import EnergyTable, energy_table
from hwsim.energy.frame import RAM_BITS, RAM_BYTES
from hwsim.report import BlockReport, SimulationReport, simulate_report
from intir import Graph

from .actions import Action
from .arrays import arithmetic
from .layer import run_algorithm
from .machine import Machine
from .memory import RunError
from .report import LayerReport, SystemReport, Traffic, bound_of
from .work import Work
from .workload import workload_of

MEMORY_MODEL: Final = ("One pipeline of blocks, exact to the cycle; weights and activations on chip; frames and results in DRAM, "
                       "whose sustained bandwidth may stretch the run.")
#: Frames that are simulated; more are extrapolated by the initiation interval.
MOST_FRAMES = 5


def simulate_graph(graph: Graph, machine: Machine, *, batch: int = 1, table: EnergyTable | None = None) -> SystemReport:
    """Run a network as the design that `auto_plan` makes for the machine's device.

    Parameters
    ----------
    graph : Graph
    machine : Machine
        Of the kind ``dataflow``.
    batch : int
        Frames, back to back.
    table : EnergyTable, optional
        By default the machine's own.

    Raises
    ------
    RunError
        If the machine is of another kind, or the batch is below 1.
    PlanError
        If the network does not fit the device.
    """
    if machine.array.kind != "dataflow":
        raise RunError(f"machine {machine.name} is of the kind {machine.array.kind}; give one of the kind dataflow")
    if batch < 1:
        raise RunError(f"a batch of {batch} frames; give 1 or more")
    table = table if table is not None else energy_table(machine.energy)
    design = make_design(graph, auto_plan(graph, clock_mhz=machine.clock_mhz, device=machine.array.device))
    made = simulate_report(design, min(batch, MOST_FRAMES))
    exact = made.total_cycles + (batch - made.frames) * made.initiation_interval_cycles
    speed = machine.dram.gb_per_s * 1e3 / machine.clock_mhz
    latency = machine.dram.latency_ns * machine.clock_mhz / 1e3
    read, written = made.input_bytes * batch, made.output_bytes * batch
    cycles = math.ceil(latency + max(exact, (read + written) / speed) - 1e-6)
    blocks: dict[str, list[BlockReport]] = defaultdict(list)
    for block in made.blocks:
        blocks[block.layer or block.name].append(block)
    works = {work.name: work for work in workload_of(graph).works}
    names = list(blocks)
    layers = [_layer(name, blocks[name], works.get(name), batch, exact, cycles, machine,
                     read if name == names[0] else 0.0, written if name == names[-1] else 0.0) for name in names]
    layers = [replace(layer, energy_pj=table.price(layer.actions)) for layer in layers]
    return SystemReport(graph.name, machine.name, batch, machine.clock_mhz, _peak(made), machine.dram.gb_per_s, table.name,
                        tuple(layers), MEMORY_MODEL,
                        (f"{made.initiation_interval_cycles} cycles from frame to frame, layers run at the same time",), cycles)


def _peak(made: SimulationReport) -> int:
    """Multiply-accumulates a cycle of all blocks together."""
    return sum(-(-block.operations // max(1, block.cycles)) for block in made.blocks)


def _layer(name: str, blocks: list[BlockReport], work: Work | None, batch: int, exact: int, cycles: int, machine: Machine,
           read: float, written: float) -> LayerReport:
    """All blocks of a layer; `exact` are the run's cycles without DRAM's."""
    array_cycles = min(exact, max(block.cycles for block in blocks) * batch)
    stalls = {"fill": exact - array_cycles, "dram_read": cycles - exact}
    stalls = {cause: count for cause, count in stalls.items() if count}
    fetched = sum(block.weight_read_bytes + block.threshold_read_bytes for block in blocks) * batch
    buffered = {"read": sum(block.buffer_read_bytes for block in blocks) * batch,
                "write": sum(block.buffer_write_bytes for block in blocks) * batch}
    traffic = [Traffic("block_ram", "read", "weights", fetched), Traffic("block_ram", "read", "activations", buffered["read"]),
               Traffic("block_ram", "write", "activations", buffered["write"]), Traffic("dram", "read", "activations", read),
               Traffic("dram", "write", "outputs", written)]
    macs = work.macs * batch if work is not None else 0
    actions: dict[str, dict[Action, float]] = {
        "block_ram": {Action("sram_read", RAM_BITS, bytes=RAM_BYTES): (fetched + buffered["read"]) * 8 / RAM_BITS,
                      Action("sram_write", RAM_BITS, bytes=RAM_BYTES): buffered["write"] * 8 / RAM_BITS},
        "dram": {Action("dram_read", 8, kind=machine.dram.kind): read, Action("dram_write", 8, kind=machine.dram.kind): written},
        "leakage": {Action("sram_leakage", RAM_BITS, bytes=RAM_BYTES):
                    sum(block.brams for block in blocks) * cycles * 1e3 / machine.clock_mhz}}
    if work is not None and work.weights is not None:
        own = replace(machine.array, arithmetic=work.arithmetic, activation_bits=work.reads[0].type.bits,
                      weight_bits=work.weights.type.bits,
                      sum_bits=work.sums.bits if work.sums is not None else machine.array.sum_bits)
        actions["array"] = arithmetic(own, float(macs))
    actions = {component: kept for component, counts in actions.items() if (kept := {one: n for one, n in counts.items() if n})}
    peak = sum(-(-block.operations // max(1, block.cycles)) for block in blocks)
    return LayerReport(
        name, work.kind if work is not None else "move", work.arithmetic if work is not None else "none",
        "move" if work is None else work.kind if work.product is None else run_algorithm(work),
        ", ".join(f"{block.engine} {block.pe} x {block.simd}" if block.simd else block.engine for block in blocks), macs, 0, cycles,
        array_cycles, stalls, macs / (cycles * peak) if macs and peak else 0.0, tuple(one for one in traffic if one.bytes),
        actions, {},
        {"block_ram": sum(block.weight_bytes + block.threshold_bytes for block in blocks)},
        (read + written) / cycles * machine.clock_mhz / 1e3, bound_of(array_cycles, stalls))

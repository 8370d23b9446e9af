"""A layer's report: its time, traffic, actions and energy, from what its array and its tiles do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hwsim.energy import EnergyTable

from .actions import Action
from .array_run import ArrayRun, Flow
from .arrays import arithmetic, element_moves
from .convolution import Way
from .cuts import Job
from .memory import Memory
from .report import LayerReport, Traffic, bound_of
from .tiling import Tiling, choose, whole
from .work import Work

#: In how many pieces the elements of a layer without products may come.
PIECES = tuple(4**power for power in range(9))
Counts = dict[str, dict[Action, float]]


@dataclass(frozen=True)
class Context:
    """Where a layer runs.

    Parameters
    ----------
    memory : Memory
    table : EnergyTable
    batch : int
    inputs_here : tuple of bool
        Which of the layer's inputs are on chip.
    output_here : bool
        Whether its output stays there.
    resident_bytes : float
        Of activations that are on chip as it runs, these included.
    weights_here : bool
        Whether the weights were loaded before the run.
    """

    memory: Memory
    table: EnergyTable
    batch: int
    inputs_here: tuple[bool, ...]
    output_here: bool
    resident_bytes: float
    weights_here: bool = False


def tiled_layer(work: Work, context: Context, way: Way) -> LayerReport:
    """A product on a systolic or popcount array."""
    memory, batch = context.memory, context.batch
    machine = memory.machine
    others = sum(tensor.bytes for tensor, here in zip(work.reads[1:], context.inputs_here[1:], strict=True) if not here)
    loads = way.unrolled or not context.inputs_here[0]
    job = Job(work.name, way, batch, work.output.bytes, loads, not context.output_here, others, work.constant_bits / 8,
              sum(work.operations.values()), context.resident_bytes, _joined_bits(work))
    tiling = choose(job, memory)
    flows = dict(tiling.dram_bytes)
    sram = _with_joined(tiling.sram_bits, work, batch)
    waits, cycles = dict(tiling.waits), tiling.cycles
    if way.unrolled:
        extra, moved = _unroll(work, context, way)
        cycles += sum(extra.values())
        for cause, count in extra.items():
            waits[cause] = waits.get(cause, 0) + count
        for flow, size in moved.items():
            flows[flow] = flows.get(flow, 0.0) + size
    macs = float(way.macs * batch * way.passes)
    times = tiling.products * way.passes
    moves = element_moves(machine, macs, replace(tiling.moved, activations=tiling.moved.activations * times,
                                                 weights=tiling.moved.weights * times / way.merged),
                          tiling.moved.sums * tiling.products)
    actions: Counts = {"array": arithmetic(machine.array, macs), "registers": {}}
    elements = []
    for action, what, moved_words in moves:
        level = "array" if action.name == "array_hop" else "registers"
        actions[level][action] = actions[level].get(action, 0.0) + moved_words
        elements.append(Traffic(level, "write" if action.name == "register_write" else "read", what,
                                moved_words * action.bits / 8))
    adds = tiling.activation_rounds * way.pixels * batch * way.terms * way.groups * way.planes * way.in_adds
    adds += way.pixels * batch * way.filters * way.planes * way.out_adds
    actions["vector"] = _vector(work, batch, adds)
    return _report(work, context, way.algorithm, _mapping(tiling, way), cycles, tiling.array_cycles,
                   waits, flows, sram, actions, tiling.footprint_bytes,
                   tiling.peak_bytes_per_cycle, elements)


def _unroll(work: Work, context: Context, way: Way) -> tuple[dict[str, int], dict[Flow, float]]:
    """Writing the matrix of windows to DRAM: what it waits for, and what moves."""
    memory, batch = context.memory, context.batch
    read = 0.0 if context.inputs_here[0] else work.reads[0].bytes * batch
    written = way.pixels * way.terms * way.groups * batch * way.loaded_bits / 8
    speed = memory.bytes_per_cycle
    waits = {"dram_read": read / speed + memory.latency_cycles * (read > 0), "dram_write": written / speed}
    return whole(waits, math.ceil(sum(waits.values()))), {("activations", "read"): read, ("activations", "write"): written}


def array_layer(work: Work, context: Context, run: ArrayRun) -> tuple[LayerReport, tuple[str, ...]]:
    """A product on an array that maps layers in a way of its own."""
    memory = context.memory
    flows = {flow: size for flow, size in run.dram_bytes.items() if size
             and not (flow[0] == "activations" and context.inputs_here[0]) and not (flow[0] == "outputs" and context.output_here)
             and not (flow[0] == "weights" and context.weights_here)}
    for tensor, here in zip(work.reads[1:], context.inputs_here[1:], strict=True):
        if not here:
            flows["activations", "read"] = flows.get(("activations", "read"), 0.0) + tensor.bytes * context.batch
    if work.constant_bits and not context.weights_here:
        flows["weights", "read"] = flows.get(("weights", "read"), 0.0) + work.constant_bits / 8
    sram = _with_joined(run.sram_bits, work, context.batch)
    # What is larger than its memory passes through it, or is in the elements' register files.
    room: dict[str, float] = {what: memory.holders[what].bytes for what in run.footprint_bytes}
    room["activations"] = max(0.0, room.get("activations", 0.0) - context.resident_bytes)
    footprint = {what: min(size, room[what]) for what, size in run.footprint_bytes.items()}
    vector = _vector(work, context.batch, 0.0)
    actions: Counts = {component: dict(counts) for component, counts in run.actions.items()} | {"vector": vector}
    elements = [Traffic(level, "write" if action.name == "register_write" else "read",
                        "sums" if action.bits == memory.machine.array.sum_bits else "activations", count * action.bits / 8)
                for level in ("registers", "array") for action, count in actions.get(level, {}).items()
                if action.name in ("register_read", "register_write", "array_hop")]
    cycles, waits, peak = _piped(run.array_cycles, run.fill_cycles, sum(work.operations.values()) * context.batch, flows,
                                 sram, run.tiles, memory)
    return _report(work, context, run_algorithm(work), run.mapping, cycles, run.array_cycles,
                   waits, flows, sram, actions, footprint, peak,
                   elements), run.notes


def _joined_bits(work: Work) -> float:
    """Of a frame's tensors that the vector unit reads from SRAM to join them with the sums."""
    return 8 * sum(tensor.bytes for tensor in work.reads[1:])


def _with_joined(sram: Mapping[Flow, float], work: Work, batch: int) -> dict[Flow, float]:
    """What the array moves from and to SRAM, and what the vector unit reads beside it."""
    bits, flow = dict(sram), ("activations", "read")
    if len(work.reads) > 1:
        bits[flow] = bits.get(flow, 0.0) + _joined_bits(work) * batch
    return bits


def run_algorithm(work: Work) -> str:
    """``direct`` for a convolution, ``gemm`` for a dense layer."""
    return "direct" if work.product is not None and work.product.window is not None else "gemm"


def vector_layer(work: Work, context: Context) -> LayerReport:
    """A layer without products: its elements stream through the vector unit."""
    memory, batch = context.memory, context.batch
    flows: dict[Flow, float] = {}
    read = sum(tensor.bytes for tensor, here in zip(work.reads, context.inputs_here, strict=True) if not here) * batch
    if read:
        flows["activations", "read"] = read
    if work.constant_bits:
        flows["weights", "read"] = work.constant_bits / 8
    if not context.output_here:
        flows["outputs", "write"] = work.output.bytes * batch
    sram = {("activations", "read"): sum(tensor.bytes for tensor in work.reads) * batch * 8,
            ("outputs", "write"): work.output.bytes * batch * 8}
    compute = math.ceil(sum(work.operations.values()) * batch / memory.machine.vector_lanes)
    usable = memory.room("activations", context.resident_bytes)
    size = sum(flows.values())
    found = [(*_piped(compute, 0, 0.0, flows, sram, tiles, memory), tiles) for tiles in (PIECES if size else (1,))
             if size <= tiles * usable]
    cycles, waits, peak, tiles = min(found or [(*_piped(compute, 0, 0.0, flows, sram, PIECES[-1], memory), PIECES[-1])],
                                     key=lambda one: one[0])
    return _report(work, context, work.kind, f"{tiles} pieces", cycles, compute, waits, flows, sram,
                   {"vector": _vector(work, batch, 0.0)}, {"activations": size / tiles}, peak, [])


def _piped(array: int, fill: int, operations: float, flows: Mapping[Flow, float], sram: Mapping[Flow, float], tiles: int,
           memory: Memory) -> tuple[int, dict[str, int], float]:
    """Cycles of equal pieces, what they wait for beside `array`, and the greatest rate of DRAM in bytes a cycle."""
    ports: dict[str, list[float]] = {}
    for (what, direction), bits in sram.items():
        one = memory.holders[what]
        ports.setdefault(one.name, [0.0, 0.0])[direction == "write"] += bits / (one.width_bits * one.banks)
    slowest = {"fill": float(array + fill), "sram": max((max(pair) for pair in ports.values()), default=0.0),
               "vector": operations / memory.machine.vector_lanes}
    cause = max(slowest, key=lambda one: slowest[one])
    read = sum(size for (_, direction), size in flows.items() if direction == "read")
    written = sum(flows.values()) - read
    speed, latency = memory.bytes_per_cycle, memory.latency_cycles * (read > 0)
    step, dram = slowest[cause] / tiles, latency + (read + written) / speed / tiles
    begin, end = latency + read / speed / tiles, written / speed / tiles
    waits = {"fill": 0.0, "sram": 0.0, "vector": 0.0, "dram_read": begin, "dram_write": end}
    share = end / dram if dram else 0.0
    inside = tiles - 1  # steps behind which something is loaded
    waits[cause] += slowest[cause] - array
    if memory.overlapped:
        waited = inside * max(0.0, dram - step)
        if waited:  # what the array does not do in these steps waits for DRAM
            hidden = inside * (step - array / tiles)
            waits[cause] -= hidden
            waited += hidden
    else:
        waited = inside * dram
    waits["dram_read"] += waited * (1 - share)
    waits["dram_write"] += waited * share
    cycles = max(array, math.ceil(array + sum(waits.values()) - 1e-6))
    inner = max(step, dram) if memory.overlapped else step + dram
    peak = (read + written) / tiles / inner if tiles > 1 else (read + written) / max(cycles, 1)
    return cycles, whole(waits, cycles - array), peak


def _vector(work: Work, batch: int, adds: float) -> dict[Action, float]:
    """Actions of the vector unit; sums are as wide as the layer's, or as what it reads."""
    bits = work.sums.bits if work.sums is not None else max(tensor.type.bits for tensor in (*work.reads, work.output))
    names = {"add": Action("int_add", bits), "multiply": Action("int_multiply", bits, bits), "compare": Action("compare", bits),
             "lookup": Action("lookup", work.output.type.bits)}
    counts = {names[name]: float(count * batch) for name, count in work.operations.items() if count}
    if adds:
        counts[names["add"]] = counts.get(names["add"], 0.0) + adds
    return counts


def _mapping(tiling: Tiling, way: Way) -> str:
    names = {"m": "pixels", "n": "filters", "k": "terms"}
    text = " x ".join(f"{tiling.tile[name]} {names[name]}" for name in "mnk")
    by_frame, groups = tiling.products > way.groups * way.planes, way.groups * way.merged > 1
    what = "frames' groups" if by_frame and groups else "frames" if by_frame else "groups"
    parts = f"{tiling.tile['g'] * way.merged} {what} of " if by_frame or groups else ""
    kept = f", all {tiling.kept} kept" if tiling.kept else ""
    return f"{tiling.tiles} tiles of {parts}{text}; {' > '.join(names[loop] for loop in tiling.loops)}{kept}"


def _report(work: Work, context: Context, algorithm: str, mapping: str, cycles: int, array_cycles: int, waits: Mapping[str, int],
            flows: Mapping[Flow, float], sram: Mapping[Flow, float], actions: Counts, footprint: Mapping[str, float],
            peak_bytes_per_cycle: float, elements: list[Traffic]) -> LayerReport:
    memory = context.memory
    machine = memory.machine
    traffic = [Traffic("dram", direction, what, size) for (what, direction), size in flows.items() if size]
    traffic += elements
    bits = dict(sram)
    for (what, direction), size in flows.items():  # what comes from DRAM is written on chip, what goes there is read
        flow = (what, "write" if direction == "read" else "read")
        bits[flow] = bits.get(flow, 0.0) + size * 8
    for (what, direction), size in bits.items():
        if not size:
            continue
        holder = memory.holders[what]
        traffic.append(Traffic(holder.name, direction, "weights" if what == "pointers" else what, size / 8))
        counts = actions.setdefault(holder.name, {})
        action = memory.sram_action(f"sram_{direction}", holder)
        counts[action] = counts.get(action, 0.0) + size / holder.width_bits
    dram = actions.setdefault("dram", {})
    for (_, direction), size in flows.items():
        if size:
            action = Action(f"dram_{direction}", 8, kind=machine.dram.kind)
            dram[action] = dram.get(action, 0.0) + size
    actions["leakage"] = memory.leakage(cycles)
    actions = {component: counts for component, counts in actions.items() if counts}
    levels: dict[str, float] = {}
    for what, size in footprint.items():
        name = memory.holders[what].name
        levels[name] = levels.get(name, 0.0) + size
    name = memory.holders["activations"].name
    levels[name] = levels.get(name, 0.0) + context.resident_bytes
    outside = sum(t.bytes for t, here in zip(work.reads, context.inputs_here, strict=True) if not here) * context.batch
    outside += 0.0 if context.output_here else work.output.bytes * context.batch
    levels["dram"] = outside + (work.weights.bytes if work.weights is not None else 0.0) + work.constant_bits / 8
    stalls = {cause: count for cause, count in waits.items() if count}
    macs = work.macs * context.batch
    return LayerReport(
        work.name, work.kind, work.arithmetic, algorithm, mapping, macs, 0, cycles, array_cycles, stalls,
        macs / (cycles * machine.array.peak_macs) if macs else 0.0, tuple(traffic), actions, context.table.price(actions), levels,
        peak_bytes_per_cycle * machine.clock_mhz / 1e3, bound_of(array_cycles, stalls))

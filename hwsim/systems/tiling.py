"""Tiles and orders of loops for a layer on a systolic or popcount array: which is fastest, and what moves then.

A layer is cut into tiles of Tm pixels, Tn filters and Tk terms (and Tg groups), all sizes tried at once as arrays.  Of the six
orders of loops those are tried that differ in what is fetched again:

- sums stay on chip (K innermost) and all of M, or all of N, is gone through first; the operand that is gone through again may be
  kept on chip as a whole, so that only the first round loads it;
- K outermost, where sums leave for DRAM and come back for each part of K.

Loops go back and forth, and what a tile needs is loaded unless the tile before needed the same.  With double buffering a step
takes as long as the slowest of computing this tile, loading the next, storing the last one, the SRAM's ports and the vector unit;
steps are alike but for what they load, so there is one time for each kind of step, from mean sizes (the last tile of a row may be
smaller).  The first load and the last store are not hidden, but that an eager array computes on words of the first tile as they
come.  Without double buffering everything adds up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .arrays import MAPPED, Reads, exchange_cycles, skew, slices, units
from .cuts import Job, cuts, whole_input
from .memory import Memory, TileError
from .steps import (
    ACTIVATIONS,
    DRAM,
    FIRST,
    LAST,
    NUMBER,
    ORDERS,
    OTHERS,
    OUTPUTS,
    SPAN,
    SUMS_IN,
    SUMS_OUT,
    TILE,
    WEIGHTS,
    Cost,
    Given,
    evaluate,
    search,
)

#: Columns of DRAM's bytes in a table of kinds of steps, and what they are.
FLOWS: Final = {ACTIVATIONS: ("activations", "read"), OTHERS: ("activations", "read"), WEIGHTS: ("weights", "read"),
                SUMS_IN: ("sums", "read"), OUTPUTS: ("outputs", "write"), SUMS_OUT: ("sums", "write")}


@dataclass(frozen=True)
class Tiling:
    """The choice for a layer.

    Parameters
    ----------
    loops : str
        Dimensions from the outermost loop on.
    kept : str
        The operand that is on chip as a whole, or nothing.
    tile : dimension -> elements
        Of ``g``, ``m``, ``n`` and ``k``.
    tiles : int
    cycles : int
        All of the layer.
    array_cycles, fill_cycles : int
        Multiplying; filling and draining the array, hidden or not.
    waits : cause -> cycles
        Sums up to what `array_cycles` leave of `cycles`.
    dram_bytes : (what, direction) -> bytes
    activation_rounds : float
        How often all activations come in, on average.
    sram_bits : (what, direction) -> bits
        Between array or vector unit and SRAM.
    moved : Reads
        Between array and SRAM, in elements of one product.
    products : int
        Of groups, planes and, if these go one by one, frames.
    footprint_bytes : what -> bytes
        Of a tile, or of all of what is kept.
    peak_bytes_per_cycle : float
        Of DRAM, in the kind of step that asks most.
    """

    loops: str
    kept: str
    tile: Mapping[str, int]
    tiles: int
    cycles: int
    array_cycles: int
    fill_cycles: int
    waits: Mapping[str, int]
    dram_bytes: Mapping[tuple[str, str], float]
    activation_rounds: float
    sram_bits: Mapping[tuple[str, str], float]
    moved: Reads
    products: int
    footprint_bytes: Mapping[str, float]
    peak_bytes_per_cycle: float

    @property
    def total_dram_bytes(self) -> float:
        """Read and written."""
        return sum(self.dram_bytes.values())


def choose(job: Job, memory: Memory) -> Tiling:
    """The fastest tiling that fits the machine's memories; of equally fast ones that with the least DRAM traffic.

    Raises
    ------
    TileError
        If no tile fits.
    """
    found = [made for one in (job, *((_by_frame(job),) if job.batch > 1 else ())) if (made := _best(one, memory)) is not None]
    if not found:
        sizes = ", ".join(f"{one.name} {one.usable_bytes:,}" for one in memory.tiled)
        raise TileError(f"machine {memory.machine.name}: not even a tile of one pixel and one filter of {job.name} fits its SRAMs "
                        f"(bytes for tiles: {sizes}; activations that stay on chip take {job.resident_bytes:,.0f}); give them more")
    return min(found, key=lambda one: (one.cycles, one.total_dram_bytes))


def _by_frame(job: Job) -> Job:
    """The same with frames one after the other, as groups are: weights are loaded again for each."""
    frames = job.batch
    return replace(job, way=replace(job.way, groups=job.way.groups * frames), batch=1, output_bytes=job.output_bytes * frames,
                   other_bytes=job.other_bytes * frames, operations=job.operations * frames, joined_bits=job.joined_bits * frames)


def _best(job: Job, memory: Memory) -> Tiling | None:
    given, tried = _given(job, memory), cuts(job.way, job.batch, memory.machine.array)
    found = search(given, tried.groups, tried.pixels, tried.filters, tried.terms, ORDERS)
    if found[0] < 0:
        return None
    rows = [table[row] for table, row in zip((tried.groups, tried.pixels, tried.filters, tried.terms), found[:4], strict=True)]
    order, kinds = ORDERS[found[4]], np.zeros((8, 9))
    cost = Cost(*evaluate(given, *rows, order, kinds))
    total, array, steps = int(cost.cycles), int(cost.array), kinds.tolist()
    waits = _waits(cost, steps, memory)
    moved = dict.fromkeys(FLOWS.values(), 0.0)
    peak = 0.0
    for number, step in enumerate(steps):
        if step[NUMBER]:
            size = 0.0
            for column, flow in FLOWS.items():
                moved[flow] += step[NUMBER] * step[column]
                size += step[column]
            if size and number < FIRST:
                peak = max(peak, size / step[SPAN])
    peak = max(peak, sum(moved.values()) / total)
    sram = {("activations", "read"): cost.sram_activations, ("weights", "read"): cost.sram_weights,
            ("sums", "write"): cost.sram_sums, ("sums", "read"): cost.sram_sums, ("outputs", "write"): given.output_bits}
    held = {"activations": cost.held_activations, "weights": cost.held_weights, "sums": cost.held_sums,
            "outputs": cost.held_outputs}
    return Tiling("".join("mnk"[loop] for loop in order[:3]), ("", "activations", "weights")[order[3]],
                  {name: int(row[TILE]) for name, row in zip("gmnk", rows, strict=True)}, int(cost.steps), total, array,
                  int(cost.fill), whole(waits, total - array), {flow: size for flow, size in moved.items() if size}, cost.rounds,
                  {flow: bits for flow, bits in sram.items() if bits},
                  Reads(cost.moved_activations, cost.moved_weights, cost.moved_sums), int(given.products),
                  {what: size for what, size in held.items() if size}, peak)


def _given(job: Job, memory: Memory) -> Given:
    """In numbers; see `Given`."""
    way, array, machine = job.way, memory.machine.array, memory.machine
    pixels = way.pixels * job.batch
    row, column, stream = ("mnk".index(name) for name in MAPPED[array.dataflow])
    slices_a, slices_w = slices(array, way.activation_bits, way.weight_bits)
    products = way.groups * way.planes
    held = float(way.stored_bits) / 8 if job.loads or way.planes > 1 else 0.0
    channel = way.pixels * way.taps * way.planes if way.planes > 1 else whole_input(way)
    weight = way.planes * way.weight_bits / 8 / way.merged
    out = job.output_bytes * job.batch * job.stores
    sizes = {"m": pixels, "n": way.filters, "k": way.terms}
    more = {name: -(-size // unit) * unit / size if array.padded else 1.0
            for name, unit, size in ((name, units(array)[name], size) for name, size in sizes.items())}
    held, loaded = (bits * more["m"] * more["k"] for bits in (held, way.loaded_bits / 8 * job.loads))
    weight *= more["n"] * more["k"]
    place = {what: memory.tiled.index(memory.holders[what]) for what in ("activations", "weights", "sums")}
    room, port = [0.0] * 3, [1.0] * 3
    for what, number in place.items():
        room[number] = memory.room(what, job.resident_bytes)
        port[number] = float(memory.holders[what].width_bits * memory.holders[what].banks)
    return Given(
        pixels=float(pixels), filters=float(way.filters), terms=float(way.terms), groups=float(way.groups),
        products=float(products), planes=float(way.planes), row=row, column=column, stream=stream,
        skew=float(skew(array, exchange_cycles(array, pixels, way.filters, way.terms))),
        overlapped_array=array.overlapped, passes=float(way.passes),
        # Sums that stay in the elements also stay through the passes.
        passes_of_sums=1.0 if array.dataflow == "output_stationary" else float(way.passes),
        activation_bytes=held, all_activations_bytes=channel * way.channels * job.batch * held, weight_bytes=weight,
        sum_bytes=way.planes * array.sum_bits / 8, output_bytes=out / (pixels * way.filters * way.groups),
        loaded_bytes=way.channels * way.groups * loaded,
        weights_total=way.weight_elements * way.weight_bits / 8 * more["n"] * more["k"], outputs_total=out,
        sums_total=pixels * way.filters * products * array.sum_bits / 8, others_total=float(job.other_bytes * job.batch),
        constants=float(-(-job.constant_bytes // machine.dram.burst_bytes) * machine.dram.burst_bytes),
        activation_bits=float(products * way.stored_bits * slices_w),
        weight_bits=products * way.weight_bits * slices_a / way.merged, sum_bits=float(products * array.sum_bits),
        output_bits=float(job.output_bytes * job.batch * 8), joined_bits=float(job.joined_bits * job.batch),
        memory_activations=place["activations"], memory_weights=place["weights"], memory_sums=place["sums"],
        room=(room[0], room[1], room[2]), port=(port[0], port[1], port[2]),
        transforms=pixels * way.terms * products * way.in_adds / machine.vector_lanes,
        operations=job.batch * (job.operations + way.out_adds * way.pixels * way.filters * products) / machine.vector_lanes,
        burst=float(machine.dram.burst_bytes), speed=float(memory.bytes_per_cycle), latency=float(memory.latency_cycles),
        overlapped=memory.overlapped, eager=array.eager)


def _waits(cost: Cost, kinds: list[list[float]], memory: Memory) -> dict[str, float]:
    """What the array waits for beside multiplying.

    In each kind of step it waits for the slowest of all, behind double buffers, else for that and for DRAM; filling and draining
    that something slower hides costs nothing.
    """
    waits = {"fill": cost.once, "sram": 0.0, "vector": 0.0, "dram_read": kinds[FIRST][DRAM], "dram_write": kinds[LAST][DRAM]}
    busy = max(cost.compute, cost.port, cost.vector)
    cause = "fill" if busy == cost.compute else "sram" if busy == cost.port else "vector"
    array = cost.array / cost.steps
    waits[cause] += busy - array  # of the last step, behind which nothing is loaded
    for kind in kinds[:FIRST]:
        count, dram = kind[NUMBER], kind[DRAM]
        if memory.overlapped and dram > busy:
            waited = dram - array
        else:
            waits[cause] += count * (busy - array)
            waited = 0.0 if memory.overlapped else dram
        share = (kind[OUTPUTS] + kind[SUMS_OUT]) / memory.bytes_per_cycle / dram if dram else 0.0
        waits["dram_read"] += count * waited * (1 - share)
        waits["dram_write"] += count * waited * share
    return waits


def whole(waits: Mapping[str, float], total: int) -> dict[str, int]:
    """Causes in whole cycles that sum up to `total`, which their own sum is but for rounding."""
    made, before, done = {}, 0.0, 0
    left = [cause for cause, cycles in waits.items() if cycles > 0]
    for cause in left:
        before += waits[cause]
        upto = total if cause == left[-1] else min(total, round(before))
        if upto > done:
            made[cause] = upto - done
        done = max(done, upto)
    if done < total:  # nothing waits: the whole was rounded up
        made["fill"] = total - done
    return made

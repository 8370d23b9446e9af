"""Tiles and orders of loops for a layer on a systolic or popcount array: which is fastest, and what moves then.

A layer is cut into tiles of Tm pixels, Tn filters and Tk terms (and Tg groups), all sizes tried at once as arrays.  Of the six
orders of loops those are tried that differ in what is fetched again:

- sums stay on chip (K innermost) and all of M, or all of N, is gone through first; the operand that is gone through again may be
  kept on chip as a whole, so that only the first round loads it;
- K outermost, where sums leave for DRAM and come back for each part of K.

What a tile needs is loaded unless the tile before needed the same.  With double buffering a step takes as long as the slowest of
computing this tile, loading the next, storing the last one, the SRAM's ports and the vector unit; steps are alike but for what
they load, so there is one time for each kind of step, from mean sizes (the last tile of a row may be smaller).  The first load
and the last store are not hidden.  Without double buffering everything adds up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Axis, Numbers, Reads, accesses, axis, cycles, skew, units
from .convolution import Way
from .machine import Array
from .memory import Memory, RunError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Job:
    """A layer to be tiled.

    Parameters
    ----------
    name : str
    way : Way
    batch : int
    output_bytes : float
        Of a frame.
    loads, stores : bool
        Whether the activations come from DRAM, and whether the outputs go there.
    other_bytes : float
        Of a second tensor that is read from DRAM as outputs are made, a frame.
    constant_bytes : float
        Thresholds, tables and the like, loaded once.
    operations : float
        Of the vector unit on the sums of a frame.
    resident_bytes : float
        Of activations that stay on chip, in the memory of activations.
    """

    name: str
    way: Way
    batch: int
    output_bytes: float
    loads: bool = True
    stores: bool = True
    other_bytes: float = 0.0
    constant_bytes: float = 0.0
    operations: float = 0.0
    resident_bytes: float = 0.0


class Order(NamedTuple):
    """Loops from the outermost on, and the operand that stays on chip as a whole, if any."""

    loops: str
    kept: str = ""

    @property
    def spills(self) -> bool:
        """Whether sums leave before they are complete."""
        return self.loops[2] != "k"


ORDERS: Final = (Order("mnk"), Order("nmk"), Order("mnk", "weights"), Order("nmk", "activations"), Order("kmn"), Order("knm"))
#: The loops that an operand's tile depends on.
INDEXED: Final = {"activations": "mk", "weights": "nk"}


class Step(NamedTuple):
    """A kind of step: how many there are, what they load and store of what, in bytes of DRAM."""

    count: Any
    reads: Mapping[str, Any]
    writes: Mapping[str, Any]


@dataclass(frozen=True)
class Tiling:
    """The choice for a layer.

    Parameters
    ----------
    order : Order
    tile : dimension -> elements
        Of ``g``, ``m``, ``n`` and ``k``.
    tiles : int
    cycles : int
        All of the layer.
    array_cycles, fill_cycles : int
        Multiplying; filling and draining the array.
    waits : cause -> cycles
        Beside `fill_cycles`; sums up to what is left of `cycles`.
    dram_bytes : (what, direction) -> bytes
    activation_rounds : float
        How often all activations come in, on average.
    sram_bits : (what, direction) -> bits
        Between array or vector unit and SRAM.
    moved : Reads
        Between array and SRAM, in elements of one product.
    footprint_bytes : what -> bytes
        Of a tile, or of all of what is kept.
    peak_bytes_per_cycle : float
        Of DRAM, in the kind of step that asks most.
    """

    order: Order
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
    footprint_bytes: Mapping[str, float]
    peak_bytes_per_cycle: float

    @property
    def total_dram_bytes(self) -> float:
        """Read and written."""
        return sum(self.dram_bytes.values())


@cache
def parts(number: int, finer: bool = True) -> tuple[int, ...]:
    """Into how many pieces a row is cut: powers of two, if `finer` and 3 times those, up to one for each element."""
    found = {number}
    power = 1
    while power < number:
        found.add(power)
        if finer and 3 * power < 2 * number:
            found.add(min(number, 3 * power // 2 or 1))
        power *= 2
    return tuple(sorted(found))


def splits(size: int, unit: int, finer: bool = True) -> list[int]:
    """Sizes of tiles: multiples of what fills the array, at most the whole, and 1."""
    folds = -(-size // unit)
    return sorted({min(size, -(-folds // number) * unit) for number in parts(folds, finer)} | {1})


def choose(job: Job, memory: Memory) -> Tiling:
    """The fastest tiling that fits the machine's memories; of equally fast ones that with the least DRAM traffic.

    Raises
    ------
    RunError
        If no tile fits.
    """
    cut = _Cut(job, memory)
    best: tuple[tuple[float, float, float], Order, int] | None = None
    for order in ORDERS:
        fits, footprint = cut.fits(order)
        if not fits.any():
            continue
        time, traffic = cut.time(order)
        whole = np.where(fits, np.ceil(time - 1e-6), np.inf)
        least = whole.min()
        traffic = np.where(whole == least, traffic, np.inf)
        size = np.where(traffic == traffic.min(), footprint, np.inf)
        index = int(size.argmin())
        found = (float(least), float(traffic[index]), float(size[index]))
        if best is None or found < best[0]:
            best = found, order, index
    if best is None:
        need = min(float(cut.fits(order)[1].min()) for order in ORDERS)
        raise RunError(f"machine {memory.machine.name}: no tile of {job.name} fits its SRAMs; the smallest needs {need:,.0f} bytes "
                       "of what is usable")
    return cut.tiling(best[1], best[2])


class _Cut:
    """All ways to cut a job into tiles, as arrays with an entry for each."""

    def __init__(self, job: Job, memory: Memory) -> None:
        self.job, self.memory, self.array = job, memory, memory.machine.array
        way = job.way
        m, inputs, halo = _pixels(way, job.batch, self.array)
        n = np.array(splits(way.filters, units(self.array)["n"]))
        c = np.array(splits(way.channels, max(1, units(self.array)["k"] // way.taps), finer=False))
        g = np.array(parts(way.groups, False))
        g = np.unique(-(-way.groups // g))
        self.axes = (m, axis(self.array, "n", way.filters, n), axis(self.array, "k", way.terms, c * way.taps))
        picked = [index.ravel() for index in np.indices((len(g), len(m.tile), len(n), len(c)))]
        kept = self._small(picked, g, m, n, c)
        gi, mi, ni, ci = (index[kept] for index in picked)
        self.g, self.m, self.n, self.k = g[gi], *(_pick(one, at) for one, at in zip(self.axes, (mi, ni, ci), strict=True))
        self.counts = {"m": self.m.count, "n": self.n.count, "k": self.k.count}
        self.groups = -(-way.groups // self.g)
        self.steps = self.groups * self.m.count * self.n.count * self.k.count
        self._sizes(inputs[mi], halo[mi], c[ci])
        self._work()

    def _small(self, picked: list[Numbers], g: Numbers, m: Axis, n: Numbers, c: Numbers) -> NDArray[np.bool_]:
        """Which of all cuts could fit: one operand alone is not too large."""
        way, (gi, mi, ni, ci) = self.job.way, picked
        room = {what: self._room(what) for what in ("activations", "weights")}
        weights = g[gi] * n[ni] * c[ci] * (way.taps * way.planes * way.weight_bits / 8 / way.merged)
        sums = g[gi] * m.tile[mi] * n[ni] * (self.job.output_bytes / (way.pixels * way.filters * way.groups))
        return (weights <= room["weights"]) & ((sums <= room["activations"]) if self.job.stores else True)  # type: ignore[no-any-return]

    def _room(self, what: str) -> float:
        sram = self.memory.holders[what]
        taken = self.job.resident_bytes if sram is self.memory.holders["activations"] else 0.0
        return max(0.0, sram.bytes - taken) / (2 if sram.double_buffered else 1)

    def _sizes(self, inputs: Numbers, halo: Numbers, channels: Numbers) -> None:
        """Bytes of tiles: on chip, and as DRAM moves them (mean ones, in whole bursts).

        `inputs` are the elements of a channel that a tile of pixels reads, `halo` those that all tiles read.
        """
        job, way, g = self.job, self.job.way, self.g
        if way.planes > 1:
            held = g * self.m.tile * channels * (way.taps * way.planes * way.stored_bits / 8)
            whole_input = float(self.m.size * way.terms * way.planes * way.groups * way.stored_bits) / 8
        else:
            held = g * inputs * channels * (way.stored_bits / 8)
            whole_input = float(_whole_input(way) * job.batch * way.channels * way.groups * way.stored_bits) / 8
        if not job.loads and way.planes == 1:
            held = np.zeros_like(held)
        per_weight = way.planes * way.weight_bits / 8 / way.merged
        self.held = {"activations": held, "weights": g * self.n.tile * self.k.tile * per_weight}
        self.whole = {"activations": g / way.groups * whole_input, "weights": g * way.filters * way.terms * per_weight}
        self.sum_bytes = g * self.m.tile * self.n.tile * (way.planes * self.array.sum_bits / 8)
        out = job.output_bytes * job.batch
        self.out_bytes = (g * self.m.tile * self.n.tile * (out / (self.m.size * way.filters * way.groups))
                          if job.stores else np.zeros_like(held))
        burst = self.memory.machine.dram.burst_bytes
        mn = self.groups * self.m.count * self.n.count

        def bursts(total: float | Floats, tiles: Numbers) -> Floats:
            return np.ceil(total / tiles / burst) * burst  # type: ignore[no-any-return]

        loaded = halo * (way.channels * way.groups * way.loaded_bits / 8)
        self.moves = {
            "activations": bursts(loaded if job.loads else 0.0, self.groups * self.m.count * self.k.count),
            "weights": bursts(way.weight_elements * way.weight_bits / 8, self.groups * self.n.count * self.k.count),
            "outputs": bursts(out if job.stores else 0.0, mn),
            "sums": bursts(float(self.m.size * way.filters * way.groups * way.planes * self.array.sum_bits) / 8, mn),
            "others": bursts(job.other_bytes * job.batch, mn)}
        self.constants = float(np.ceil(job.constant_bytes / burst) * burst)

    def _work(self) -> None:
        """Cycles of array, ports and vector unit for all tiles."""
        job, way, array = self.job, self.job.way, self.array
        work, fill = cycles(array, self.m, self.n, self.k)
        times = way.groups * way.planes * way.passes
        self.array_cycles, self.fill_cycles = work * times, fill * times
        if array.overlapped:
            self.fill_cycles = self.fill_cycles + skew(array)
        self.compute = (self.array_cycles + self.fill_cycles) / self.steps
        self.moved = accesses(array, self.m, self.n, self.k)
        again = 1 if array.dataflow == "output_stationary" else way.passes
        self.parts = self.moved.sums_written / (self.m.size * way.filters) * again
        self.outside = (self.parts > 1) | (way.planes > 1)
        self.post = job.batch * (job.operations + way.out_adds * way.pixels * way.filters * way.planes)

    # -- one order of loops

    def fits(self, order: Order) -> tuple[NDArray[np.bool_], Floats]:
        """Whether the tiles fit all memories, and how many bytes they take."""
        held = self.footprint(order)
        fits, total = np.ones(len(self.g), np.bool_), np.zeros(len(self.g))
        holders = self.memory.holders
        for sram in {one.name: one for one in holders.values()}.values():
            here = sum((size for what, size in held.items() if holders["activations" if what == "outputs" else what] is sram),
                       np.zeros(len(self.g)))
            fits &= here <= self._room(next(what for what, one in holders.items() if one is sram))
            total += here
        if order.spills:
            fits &= (self.k.count > 1) & (self.m.count * self.n.count > 1)
        return fits, total

    def footprint(self, order: Order) -> dict[str, Floats]:
        """Bytes on chip, by what."""
        held = dict(self.held) | {"sums": np.where(self.outside, self.sum_bytes, 0.0), "outputs": self.out_bytes}
        if order.kept:
            held[order.kept] = self.whole[order.kept]
        return held

    def kinds(self, order: Order) -> Iterator[Step]:
        """The kinds of steps, the first one of all left out."""
        first, second, third = order.loops
        n1, n2, n3 = (self.counts[loop] for loop in order.loops)
        parts = self.k.count
        ends = {"outputs": self.moves["outputs"]}
        inner_ends: Mapping[str, Any] = {}
        extra: dict[str, Any] = {"others": self.moves["others"]}
        inner_extra: dict[str, Any] = {}
        if order.spills:  # the mean over the parts of K
            ends = {"outputs": self.moves["outputs"] / parts, "sums": self.moves["sums"] * (parts - 1) / parts}
            inner_ends = ends
            extra = inner_extra = {"others": self.moves["others"] / parts, "sums": self.moves["sums"] * (parts - 1) / parts}

        def loads(level: int, again: bool) -> dict[str, Any]:
            made: dict[str, Any] = {}
            for what, loops in INDEXED.items():
                if again and what == order.kept:
                    continue
                if level == 3:
                    if third in loops:
                        made[what] = self.moves[what]
                elif level == 2:
                    needed = 1 if second in loops else (third in loops) * (n3 > 1)
                    made[what] = self.moves[what] * needed
                else:
                    needed = 1 if first in loops else ((second in loops) & (n2 > 1)) | ((third in loops) & (n3 > 1))
                    made[what] = self.moves[what] * needed
            return made

        for again, rounds in ((False, 1 if order.kept else n1), *(((True, n1 - 1),) if order.kept else ())):
            yield Step(self.groups * rounds * n2 * (n3 - 1), loads(3, again) | inner_extra, inner_ends)
            yield Step(self.groups * rounds * (n2 - 1), loads(2, again) | extra, ends)
        yield Step(self.groups * (n1 - 1), loads(1, bool(order.kept)) | extra, ends)
        if self.job.way.groups > 1:
            yield Step(self.groups - 1, {what: self.moves[what] for what in INDEXED} | extra, ends)

    def rounds(self, order: Order) -> Any:
        """How often all activations come in, or are transformed."""
        m, n, k = self.m.count, self.n.count, self.k.count
        if order.kept == "activations" or order.loops == "kmn":
            return np.ones_like(n)
        alone = {"mnk": k, "nmk": m * k, "knm": m}[order.loops] == 1
        return np.where(alone, 1, n)

    def busy(self, order: Order) -> tuple[Any, Any]:
        """Mean cycles of a step at the SRAM port that is asked most, and on the vector unit."""
        way, machine = self.job.way, self.memory.machine
        transformed = self.m.size * way.terms * way.groups * way.planes * way.in_adds
        vector = (self.rounds(order) * transformed + self.post) / machine.vector_lanes
        bits: dict[str, list[Any]] = {}
        for (what, direction), moved in self.sram_bits(self.moved, self.parts, self.outside).items():
            sram = self.memory.holders["activations" if what == "outputs" else what]
            bits.setdefault(sram.name, [0.0, 0.0])[direction == "write"] += moved / (sram.width_bits * sram.banks)
        port = np.maximum.reduce([np.broadcast_to(one, self.steps.shape) for pair in bits.values() for one in pair])
        return port / self.steps, vector / self.steps

    def sram_bits(self, moved: Reads, parts: Any, outside: Any) -> dict[tuple[str, str], Any]:
        """Bits between the array (or the vector unit) and SRAM, by what and direction."""
        way, array = self.job.way, self.array
        slices_a, slices_w = -(-way.activation_bits // array.activation_bits), -(-way.weight_bits // array.weight_bits)
        if array.arithmetic == "float":
            slices_a = slices_w = 1
        products = way.groups * way.planes
        sums = self.m.size * way.filters * products * array.sum_bits
        return {("activations", "read"): moved.activations * products * way.stored_bits * slices_w,
                ("weights", "read"): moved.weights * products * way.weight_bits * slices_a / way.merged,
                ("sums", "write"): np.where(outside, sums * parts, 0.0), ("sums", "read"): np.where(outside, sums * parts, 0.0),
                ("outputs", "write"): self.job.output_bytes * self.job.batch * 8}

    def time(self, order: Order) -> tuple[Floats, Floats]:
        """Cycles of the layer and bytes of DRAM traffic."""
        port, vector = self.busy(order)
        speed, latency = self.memory.bytes_per_cycle, self.memory.latency_cycles
        serial = not self.memory.overlapped
        busy = np.maximum(np.maximum(self.compute, port), vector)
        first = self.first(order)
        total = busy + latency * (first > 0) + (first + self.moves["outputs"]) / speed
        traffic = first + self.moves["outputs"]
        for step in self.kinds(order):
            read = sum(step.reads.values(), 0.0)
            moved = read + sum(step.writes.values(), 0.0)
            dram = latency * (read > 0) + moved / speed
            total = total + step.count * (busy + dram if serial else np.maximum(busy, dram))
            traffic = traffic + step.count * moved
        return total, traffic

    def first(self, order: Order) -> Any:
        """Bytes that are loaded before anything can begin."""
        return self.moves["activations"] + self.moves["weights"] + self.moves["others"] + self.constants

    def tiling(self, order: Order, index: int) -> Tiling:
        """One entry in full."""

        def at(value: Any) -> Any:
            return value[index] if isinstance(value, np.ndarray) else value

        port, vector = self.busy(order)
        busy = {"array": float(at(self.compute)), "sram": float(at(port)), "vector": float(at(vector))}
        longest = max(busy, key=lambda cause: busy[cause])
        speed, latency, serial = self.memory.bytes_per_cycle, self.memory.latency_cycles, not self.memory.overlapped
        steps = int(self.steps[index])
        waits = {"sram": 0.0, "vector": 0.0, "dram_read": 0.0, "dram_write": float(at(self.moves["outputs"])) / speed}
        moved: dict[tuple[str, str], float] = {}
        first = {what: float(at(self.moves[what])) for what in ("activations", "weights", "others")}
        first["weights"] += self.constants
        waits["dram_read"] += sum(first.values()) / speed + (latency if any(first.values()) else 0.0)
        if longest != "array":
            waits[longest] += busy[longest] - busy["array"]
        _add(moved, first, "read", 1)
        _add(moved, {"outputs": float(at(self.moves["outputs"]))}, "write", 1)
        peak = 0.0
        for step in self.kinds(order):
            count = float(at(step.count))
            if not count:
                continue
            reads = {what: float(at(value)) for what, value in step.reads.items()}
            writes = {what: float(at(value)) for what, value in step.writes.items()}
            read, written = sum(reads.values()), sum(writes.values())
            dram = (latency if read else 0.0) + (read + written) / speed
            hidden = not serial and dram <= busy[longest]
            span = busy[longest] + dram if serial else max(busy[longest], dram)
            if hidden or serial:
                if longest != "array":
                    waits[longest] += count * (busy[longest] - busy["array"])
            if not hidden:
                excess = dram if serial else dram - busy["array"]
                share = written / speed / dram
                waits["dram_read"] += count * excess * (1 - share)
                waits["dram_write"] += count * excess * share
            peak = max(peak, (read + written) / span if span else 0.0)
            _add(moved, reads, "read", count)
            _add(moved, writes, "write", count)
        total = int(np.ceil(float(at(self.time(order)[0])) - 1e-6))
        work, fill = int(self.array_cycles[index]), int(self.fill_cycles[index])
        if steps == 1:
            peak = (sum(first.values()) + float(at(self.moves["outputs"]))) / total
        return Tiling(order, {"g": int(self.g[index]), "m": int(self.m.tile[index]), "n": int(self.n.tile[index]),
                              "k": int(self.k.tile[index])}, steps, total, work, fill, whole(waits, total - work - fill),
                      {flow: size for flow, size in moved.items() if size}, float(at(self.rounds(order))),
                      {flow: float(at(bits)) for flow, bits in self.sram_bits(self.moved, self.parts, self.outside).items() if at(bits)},
                      Reads(*(float(at(one)) for one in (self.moved.activations, self.moved.weights, self.moved.sums_written,
                                                         self.moved.sums_read))),
                      {what: float(size[index]) for what, size in self.footprint(order).items() if size[index]}, peak)


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
    if done < total:  # rounding of the whole, nothing that waits
        made["dram_read"] = made.get("dram_read", 0) + total - done
    return made


def _add(moved: dict[tuple[str, str], float], sizes: Mapping[str, float], direction: str, count: float) -> None:
    for what, size in sizes.items():
        flow = ("activations" if what == "others" else what, direction)
        moved[flow] = moved.get(flow, 0.0) + count * size


def _pick(one: Axis, at: Numbers) -> Axis:
    return Axis(one.size, one.tile[at], one.count[at], one.folds[at], one.stream[at], one.late[at])


def _span(outputs: Numbers, kernel: int, stride: int, dilation: int, size: int) -> Numbers:
    """Inputs along one side that so many neighbouring outputs read; those that a stride skips are left out."""
    reach = (kernel - 1) * dilation + 1
    return np.minimum(size, outputs * min(stride, reach) + max(reach - stride, 0))


def _pixels(way: Way, batch: int, array: Array) -> tuple[Axis, Numbers, Numbers]:
    """M cut into tiles; elements of a channel that a tile reads, and that all of them read."""
    window, unit = way.window, units(array)["m"]
    if window is None:
        m = axis(array, "m", way.pixels * batch, np.array(splits(way.pixels * batch, unit)))
        return m, m.tile, np.full_like(m.tile, m.size)
    height, width = window.out_size
    cuts = {(frames * way.pixels, batch) for frames in splits(batch, 1)}
    cuts |= {(rows * width, batch) for rows in splits(height, 1)}
    cuts |= {(size, batch) for size in splits(way.pixels, unit) if size > width}
    cuts |= {(size, batch * height) for size in splits(width, unit) if size < width}
    tile, frames = (np.array(column) for column in zip(*sorted(cuts), strict=True))
    m = axis(array, "m", way.pixels * batch, tile, frames)

    def read(outputs: Numbers) -> Numbers:
        """By neighbouring outputs of a frame; a tile that is not whole rows touches one row more."""
        ragged = (outputs % width > 0) & (outputs > width)
        rows = np.where(outputs < width, 1, np.minimum(height, outputs // width + 2 * ragged))
        columns = np.where(outputs < width, outputs, width)
        return (_span(rows, window.kernel[0], window.stride[0], window.dilation[0], window.in_size[0])
                * _span(columns, window.kernel[1], window.stride[1], window.dilation[1], window.in_size[1])) * (outputs > 0)

    part = m.size // frames
    inside = np.minimum(tile, part)
    rest = part % inside
    inputs = read(inside) * np.maximum(tile // part, 1)
    return m, inputs, np.maximum(frames * (part // inside * read(inside) + read(rest)), 0)


def _whole_input(way: Way) -> int:
    """Elements of a channel that a frame reads."""
    if way.window is None:
        return way.pixels
    sides = [_span(np.array(out), kernel, stride, dilation, size) for out, kernel, stride, dilation, size in
             zip(way.window.out_size, way.window.kernel, way.window.stride, way.window.dilation, way.window.in_size, strict=True)]
    return int(sides[0] * sides[1])

"""Tilings against a walk through every tile with its real size."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.systems.arrays import product_cycles
from hwsim.systems.convolution import Way, direct
from hwsim.systems.cuts import Job, cuts
from hwsim.systems.machine import DATAFLOWS, Array, Dram, Machine, Sram
from hwsim.systems.memory import Memory, RunError
from hwsim.systems.steps import ORDERS, Cost, evaluate
from hwsim.systems.tiling import _given, choose
from tests.hwsim.systems.examples import conv, dense, machine

closed = cache(product_cycles)


@dataclass
class Walk:
    """What a walk through all tiles sees."""

    cycles: float
    moved: Counter[str]
    compute: int
    loads: int


def walk(job: Job, memory: Memory, tile: dict[str, int], loops: str, kept: str) -> Walk:
    """One tile after the other, back and forth, loads behind computing; a tile is loaded unless the one before needed the same.

    Of a layer without window and groups, on memories that move single bytes and are never the bound.
    """
    way, array = job.way, memory.machine.array
    sizes = {"m": way.pixels * job.batch, "n": way.filters, "k": way.terms}
    spans = {name: [(at, min(tile[name], size - at)) for at in range(0, size, tile[name])] for name, size in sizes.items()}
    outer, middle, inner = (spans[name] for name in loops)
    steps = []
    for x in outer:
        for y in middle:
            steps += [{loops[0]: x, loops[1]: y, loops[2]: z} for z in inner]
            inner = inner[::-1]
        middle = middle[::-1]
    moved: Counter[str] = Counter()
    loads, stores, computes = [], [], []
    before: dict[str, Any] = {}
    seen: set[Any] = set()
    done: Counter[Any] = Counter()
    for number, step in enumerate(steps):
        load = 0.0
        for what, (x, y), bits in (("activations", "mk", way.loaded_bits), ("weights", "kn", way.weight_bits)):
            key = (what, step[x], step[y])
            if before.get(what) != key and not (what == kept and key in seen):
                size = step[x][1] * step[y][1] * bits / 8
                moved[what] += size
                load += size
            before[what] = key
            seen.add(key)
        key = ("outputs", step["m"], step["n"])
        elements = step["m"][1] * step["n"][1]
        store = 0.0
        following = steps[number + 1] if number + 1 < len(steps) else None
        leaves = following is None or (following["m"], following["n"]) != (step["m"], step["n"])
        if done[key] and (steps[number - 1]["m"], steps[number - 1]["n"]) != (step["m"], step["n"]):
            load += elements * array.sum_bits / 8
            moved["sums_read"] += elements * array.sum_bits / 8
        done[key] += 1
        if done[key] == len(spans["k"]):
            store = elements * job.output_bytes / (way.pixels * way.filters)
            moved["outputs"] += store
        elif leaves:
            store = elements * array.sum_bits / 8
            moved["sums_written"] += store
        loads.append(load)
        stores.append(store)
        computes.append(closed(array, step["m"][1], step["k"][1], step["n"][1]) * way.passes)
    speed, latency = memory.bytes_per_cycle, memory.latency_cycles
    total = latency + loads[0] / speed
    for number, compute in enumerate(computes):
        load = loads[number + 1] if number + 1 < len(steps) else 0.0
        dram = (latency if load else 0.0) + (load + (stores[number - 1] if number else 0.0)) / speed
        total += max(compute, dram)
    return Walk(total + stores[-1] / speed, moved, sum(computes), sum(load > 0 for load in loads))


def wide_memory(dataflow: str, rows: int, columns: int, gb_per_s: float) -> Memory:
    return Memory(Machine("m", "", "", 45, 500.0, Array("systolic", rows, columns, dataflow),
                          tuple(Sram(what, 1 << 30, 1 << 20, 1, (what,)) for what in ("activations", "weights", "sums")),
                          Dram("LPDDR4", gb_per_s, 20.0, 1), vector_lanes=1 << 20))


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(m=st.integers(1, 24), n=st.integers(1, 24), k=st.integers(1, 24), picked=st.integers(0, 10**6), order=st.integers(0, 5),
       gb=st.sampled_from([0.2, 2.0, 50.0]))
@settings(max_examples=40, deadline=None)
def test_every_tiling_moves_and_takes_what_a_walk_through_its_tiles_does(dataflow: str, m: int, n: int, k: int, picked: int, order: int, gb: float) -> None:
    memory = wide_memory(dataflow, 4, 3, gb)
    work = dense("d", k, n, pixels=m)
    job = Job("d", direct(work, memory.machine.array), 1, work.output.bytes)
    tables = cuts(job.way, 1, memory.machine.array)
    rows = []
    for table in (tables.groups, tables.pixels, tables.filters, tables.terms):
        picked, index = divmod(picked, len(table))
        rows.append(table[index])
    kinds = np.zeros((8, 9))
    cost = Cost(*evaluate(_given(job, memory), *rows, ORDERS[order], kinds))
    loops, kept = "".join("mnk"[loop] for loop in ORDERS[order][:3]), ("", "activations", "weights")[ORDERS[order][3]]
    if not cost.fits:
        assert loops[0] == "k"
        return
    seen = walk(job, memory, {name: int(row[0]) for name, row in zip("mnk", rows[1:], strict=True)}, loops, kept)
    assert cost.array + cost.fill == seen.compute
    # A mean tile is rounded up to whole bytes, one for each tile and kind.
    tiles = math.prod(int(row[1]) for row in rows[1:])
    # Where loops turn round, the first or the last tile stays, by turns; their mean is off most for few tiles of very different
    # sizes; a tiling that is chosen is far nearer (below).
    held = cost.held_activations + cost.held_weights + 2 * cost.held_sums
    assert sum(seen.moved.values()) * 0.6 - held <= cost.traffic <= sum(seen.moved.values()) / 0.6 + held + 5 * tiles
    # Kinds of steps have mean sizes, which is off most for two tiles of very different sizes; a tiling that is chosen
    # is far nearer (below).
    slack = 5 * tiles / memory.bytes_per_cycle + 2
    assert cost.cycles <= seen.cycles / 0.6 + slack
    assert cost.cycles >= 0.6 * seen.cycles - slack


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("gb_per_s", [0.5, 2.0, 8.0])
def test_the_chosen_tiling_is_near_the_walk(dataflow: str, gb_per_s: float) -> None:
    small = replace(machine(Array("systolic", 16, 16, dataflow), kib=16, gb_per_s=gb_per_s), dram=Dram("LPDDR4", gb_per_s, 100.0, 1))
    memory = Memory(replace(small, srams=tuple(replace(one, width_bits=1 << 20) for one in small.srams), vector_lanes=1 << 20))
    for pixels, terms, filters in ((196, 576, 64), (49, 1152, 100), (1000, 64, 130), (1, 2048, 1000)):
        work = dense("d", terms, filters, pixels=pixels)
        job = Job("d", direct(work, memory.machine.array), 1, work.output.bytes)
        tiling = choose(job, memory)
        seen = walk(job, memory, dict(tiling.tile), tiling.loops, tiling.kept)
        assert tiling.cycles == pytest.approx(seen.cycles, rel=0.05)
        assert tiling.total_dram_bytes == pytest.approx(sum(seen.moved.values()), rel=0.01)


def test_no_candidate_is_better_than_the_choice() -> None:
    """The search cuts off what cannot be best; here everything is evaluated."""
    memory = Memory(machine(kib=24, gb_per_s=3.0))
    for work in (conv(), conv(size=(28, 28), channels=48, filters=40, stride=(2, 2)), dense("d", 700, 300)):
        job = Job("d", direct(work, memory.machine.array), 1, work.output.bytes)
        tables, given_, kinds = cuts(job.way, 1, memory.machine.array), _given(job, memory), np.zeros((8, 9))
        costs = [Cost(*evaluate(given_, g, m, n, k, order, kinds)) for g in tables.groups for m in tables.pixels for n in tables.filters
                 for k in tables.terms for order in ORDERS]
        best = min((cost.cycles, cost.traffic) for cost in costs if cost.fits)
        tiling = choose(job, memory)
        assert (tiling.cycles, tiling.total_dram_bytes) == (best[0], pytest.approx(best[1]))


def halo(way: Way, rows: range, columns: range, pad: int) -> int:
    """Inputs that outputs in these rows and columns read, one by one."""
    assert way.window is not None
    window = way.window
    read = set()
    for y in rows:
        for x in columns:
            for dy in range(window.kernel[0]):
                for dx in range(window.kernel[1]):
                    at = (y * window.stride[0] + dy * window.dilation[0] - pad, x * window.stride[1] + dx * window.dilation[1] - pad)
                    if all(0 <= one < size for one, size in zip(at, window.in_size, strict=True)):
                        read.add(at)
    return len(read)


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 1, 0), (3, 2, 0), (1, 2, 0), (5, 3, 0), (3, 1, 1)])
def test_the_halo_of_whole_rows_is_what_is_read(kernel: int, stride: int, pad: int) -> None:
    """Without padding exactly; with it, tiles at the edges read less than a tile inside."""
    work = conv(size=(17, 17), channels=8, filters=8, kernel=(kernel, kernel), stride=(stride, stride), pad=pad)
    array = Array("systolic", 4, 4)
    way = direct(work, array)
    assert way.window is not None
    height, width = way.window.out_size
    table = cuts(way, 1, array).pixels
    checked = 0
    for tile, *_, inputs, all_read in table.tolist():
        if tile % width:
            continue
        count = int(tile) // width
        pieces = [range(at, min(at + count, height)) for at in range(0, height, count)]
        real = sum(halo(way, rows, range(width), pad) for rows in pieces)
        checked += 1
        if pad:
            assert real <= all_read <= real + 2 * pad * len(pieces) * 17
        else:
            assert all_read == real
            assert inputs == halo(way, pieces[0], range(width), pad)
    assert checked > 2


def test_too_small_a_memory_is_a_sentence() -> None:
    with pytest.raises(RunError, match=r"^machine test: not even a tile of one pixel and one filter of conv fits its SRAMs \(bytes for tiles: acts 2"):
        choose(Job("conv", direct(conv(), machine().array), 1, 1e4), Memory(machine(kib=4 / 1024)))

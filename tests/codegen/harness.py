"""Runs a stream block in Amaranth's own simulator, records its transfers, and holds it to hwsim and to numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np
from amaranth.sim import Simulator
from numpy.typing import NDArray

from hwsim.dataflow import ALWAYS, Fifo, simulate
from hwsim.engines.base import Engine, Word
from hwsim.engines.fifo import StreamFifo
from hwsim.schedule import Schedule

Int64 = NDArray[np.int64]
Bits = NDArray[np.bool_]


@dataclass
class Transfers:
    """What crossed the ports of a block; `taken` has the cycles per input."""

    taken: list[list[int]] = field(default_factory=list)
    out_cycles: list[int] = field(default_factory=list)
    out_words: list[int] = field(default_factory=list)

    @property
    def in_cycles(self) -> list[int]:
        return self.taken[0]


class Driver:
    """Offers words at `i` (or `i0`, `i1`, ...) and takes them at `o` as patterns say, and goes on for some cycles after the last.

    An output word must hold, valid and unchanged, until it is taken; while no word is offered, the payload is garbage.
    """

    def __init__(self, block: object) -> None:
        self.block = block
        self.ports = [block.i] if hasattr(block, "i") else [getattr(block, f"i{n}") for n in range(len(block.params.words_in))]
        self.simulator = Simulator(block)  # compiled once for all patterns
        self.simulator.add_clock(1e-8)
        self.simulator.add_testbench(self._bench)
        self.started = False

    def run(self, words: list[int], words_out: int, source: Bits, sink: Bits, extra_cycles: int = 20) -> Transfers:
        return self.run_all([words], words_out, [source], sink, extra_cycles)

    def run_all(self, words: list[list[int]], words_out: int, sources: list[Bits], sink: Bits, extra_cycles: int = 20) -> Transfers:
        self.task = (words, words_out, [source.tolist() for source in sources], sink.tolist(), extra_cycles)
        self.seen = Transfers([[] for _ in self.ports])
        if self.started:
            self.simulator.reset()
        self.started = True
        self.simulator.run()
        return self.seen

    async def _bench(self, ctx) -> None:  # type: ignore[no-untyped-def]
        block, seen = self.block, self.seen
        words, words_out, sources, sink, extra_cycles = self.task
        cycle, idle, waiting = 0, 0, None
        holding = [False] * len(self.ports)
        garbage = Random(1)
        while idle < extra_cycles and cycle < 100_000:
            ready = sink[cycle % len(sink)]
            for n, (port, source) in enumerate(zip(self.ports, sources, strict=True)):
                taken = len(seen.taken[n])
                holding[n] = taken < len(words[n]) and (holding[n] or source[cycle % len(source)])
                ctx.set(port.valid, holding[n])
                ctx.set(port.payload, words[n][taken] if holding[n] else garbage.getrandbits(len(port.payload)))
            ctx.set(block.o.ready, ready)
            for n, port in enumerate(self.ports):
                if holding[n] and ctx.get(port.ready):
                    seen.taken[n].append(cycle)
                    holding[n] = False
            offered = ctx.get(block.o.payload) if ctx.get(block.o.valid) else None
            assert waiting is None or offered == waiting, f"cycle {cycle}: the waiting word {waiting:#x} became {offered}"
            waiting = None if ready else offered
            if offered is not None and ready:
                seen.out_cycles.append(cycle)
                seen.out_words.append(offered)
            idle = idle + 1 if len(seen.out_words) >= words_out and cycle > max([0, *(one[-1] for one in seen.taken if one)]) else 0
            cycle += 1
            await ctx.tick()


def packed(values: Int64, word: Word) -> list[int]:
    """Elements as words, lane 0 in the least significant bits."""
    codes = word.type.encode(values.reshape(-1, word.lanes))
    return [sum(int(code) << (lane * word.type.bits) for lane, code in enumerate(row)) for row in codes]


def unpacked(words: list[int], word: Word) -> Int64:
    """Words as elements: int64 (words, lanes)."""
    mask = (1 << word.type.bits) - 1
    return word.type.decode(np.array([[(one >> (lane * word.type.bits)) & mask for lane in range(word.lanes)] for one in words], np.int64))


def patterns(seed: int) -> list[tuple[Bits, Bits]]:
    """No stalls; a stalling source, sink, both; and a sink that is shut for long."""
    rng = np.random.default_rng(seed)

    def stalling(share: float) -> Bits:
        return np.append(rng.random(int(rng.integers(5, 40))) < share, True)

    shut = np.array([False] * 40 + [True] * int(rng.integers(1, 30)))
    return [(ALWAYS, ALWAYS), (stalling(0.4), ALWAYS), (ALWAYS, stalling(0.4)), (stalling(0.6), stalling(0.6)), (ALWAYS, shut)]


def naive_join(schedule: Schedule, words: list[int], words_out: int, sources: list[Bits], sink: Bits) -> Transfers:
    """The transfers of a sequencer, rule by rule; each input has its own source, which `simulate` does not know."""
    seen, step, pipe = Transfers([[] for _ in words]), 0, [False] * schedule.latency_cycles
    holding = [False] * len(words)
    cycle = 0
    while len(seen.out_cycles) < words_out or any(len(taken) < count for taken, count in zip(seen.taken, words, strict=True)):
        assert cycle < 100_000, "the block waits for ever"
        for n, source in enumerate(sources):
            holding[n] = len(seen.taken[n]) < words[n] and (holding[n] or bool(source[cycle % len(source)]))
        ready, full = bool(sink[cycle % len(sink)]), pipe[-1]
        if full and ready:
            seen.out_cycles.append(cycle)
        if ready or not full:
            needs = np.atleast_1d(schedule.needs[step]).tolist()
            fires = all(held or not need for held, need in zip(holding, needs, strict=True))
            pipe = [fires and bool(schedule.emits[step]), *pipe[:-1]]
            if fires:
                step = (step + 1) % schedule.period_cycles
                for n, need in enumerate(needs):
                    if need:
                        seen.taken[n].append(cycle)
                        holding[n] = False
        cycle += 1
    return seen


def check_join(block: object, engine: Engine, xs: list[Int64], y: Int64, seed: int = 0) -> None:
    """As `check`, for a block with several inputs; each has its own stalls."""
    words = [packed(x, word) for x, word in zip(xs, engine.words_in, strict=True)]
    expected = y.reshape(-1, engine.word_out.lanes)
    driver = Driver(block)
    for n, (source, sink) in enumerate(patterns(seed)):
        sources = [source] + [patterns(seed + 100 * k)[n][0] for k in range(1, len(xs))]
        seen = driver.run_all(words, len(expected), sources, sink)
        assert unpacked(seen.out_words, engine.word_out).tolist() == expected.tolist()
        model = naive_join(engine.schedule, [len(one) for one in words], len(expected), sources, sink)
        assert (seen.out_cycles, seen.taken) == (model.out_cycles, model.taken)


def check(block: object, engine: Engine, x: Int64, y: Int64, seed: int = 0) -> None:
    """Under every stall pattern: the words are those of `y`, and each moves in the cycle that hwsim says."""
    words, expected = packed(x, engine.word_in), y.reshape(-1, engine.word_out.lanes)
    model = Fifo(engine.depth) if isinstance(engine, StreamFifo) else engine.schedule
    driver = Driver(block)
    for source, sink in patterns(seed):
        seen = driver.run(words, len(expected), source, sink)
        assert unpacked(seen.out_words, engine.word_out).tolist() == expected.tolist()
        trace = simulate([model], len(words), len(expected), source=source, sink=sink, drains=True)
        assert seen.out_cycles == trace.out_cycles.tolist()
        assert seen.in_cycles == trace.in_cycles.tolist()

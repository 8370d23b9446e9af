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

Int64 = NDArray[np.int64]
Bits = NDArray[np.bool_]


@dataclass
class Transfers:
    """What crossed the ports of a block."""

    in_cycles: list[int] = field(default_factory=list)
    out_cycles: list[int] = field(default_factory=list)
    out_words: list[int] = field(default_factory=list)


class Driver:
    """Offers words at `i` and takes them at `o` as patterns say, and goes on for some cycles after the last.

    An output word must hold, valid and unchanged, until it is taken; while no word is offered, the payload is garbage.
    """

    def __init__(self, block: object) -> None:
        self.block = block
        self.simulator = Simulator(block)  # compiled once for all patterns
        self.simulator.add_clock(1e-8)
        self.simulator.add_testbench(self._bench)
        self.started = False

    def run(self, words: list[int], words_out: int, source: Bits, sink: Bits, extra_cycles: int = 20) -> Transfers:
        self.task, self.seen = (words, words_out, source.tolist(), sink.tolist(), extra_cycles), Transfers()
        if self.started:
            self.simulator.reset()
        self.started = True
        self.simulator.run()
        return self.seen

    async def _bench(self, ctx) -> None:  # type: ignore[no-untyped-def]
        block, seen = self.block, self.seen
        words, words_out, source, sink, extra_cycles = self.task
        cycle, idle, holding, waiting = 0, 0, False, None
        garbage = Random(1)
        width = len(block.i.payload)
        while idle < extra_cycles and cycle < 100_000:
            taken = len(seen.in_cycles)
            holding = taken < len(words) and (holding or source[cycle % len(source)])
            ready = sink[cycle % len(sink)]
            ctx.set(block.i.valid, holding)
            ctx.set(block.i.payload, words[taken] if holding else garbage.getrandbits(width))
            ctx.set(block.o.ready, ready)
            if holding and ctx.get(block.i.ready):
                seen.in_cycles.append(cycle)
                holding = False
            offered = ctx.get(block.o.payload) if ctx.get(block.o.valid) else None
            assert waiting is None or offered == waiting, f"cycle {cycle}: the waiting word {waiting:#x} became {offered}"
            waiting = None if ready else offered
            if offered is not None and ready:
                seen.out_cycles.append(cycle)
                seen.out_words.append(offered)
            idle = idle + 1 if len(seen.out_words) >= words_out else 0
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


def check(block: object, engine: Engine, x: Int64, y: Int64, seed: int = 0) -> None:
    """Under every stall pattern: the words are those of `y`, and each moves in the cycle that hwsim says."""
    words, expected = packed(x, engine.word_in), y.reshape(-1, engine.word_out.lanes)
    model = Fifo(engine.depth) if isinstance(engine, StreamFifo) else engine.schedule
    driver = Driver(block)
    for source, sink in patterns(seed):
        seen = driver.run(words, len(expected), source, sink)
        assert unpacked(seen.out_words, engine.word_out).tolist() == expected.tolist()
        trace = simulate([model], len(words), len(expected), source=source, sink=sink)
        assert seen.out_cycles == trace.out_cycles.tolist()
        assert seen.in_cycles == trace.in_cycles.tolist()

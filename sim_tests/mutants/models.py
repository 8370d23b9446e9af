"""When a block moves words, and the plain blocks' cases: hwsim for streams in a row, rules written out for several ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.generate import BLOCKS
from hwsim.dataflow import Block, Fifo, simulate
from hwsim.engines.base import Engine, Word
from hwsim.engines.fifo import StreamFifo
from tests.codegen.harness import naive_join, packed
from tests.hwsim.naive import Splitter

from .case import Bits, Case, Moves, Rule, module_name

Int64 = NDArray[np.int64]


def legal(words: dict[str, Word]) -> tuple[Rule, ...]:
    """What the lanes of a port may hold, for those ports whose type does not use every code."""
    rules = []
    for port, word in words.items():
        if word.type.levels < 1 << word.type.bits:
            codes = word.type.encode(np.arange(word.type.levels) * word.type.step + word.type.lo)
            rules += [Rule(port, lane * word.type.bits, word.type.bits, frozenset(codes.tolist())) for lane in range(word.lanes)]
    return tuple(rules)


def in_a_row(timing: Block, words_in: int, words_out: int) -> Callable[[Sequence[Bits], Sequence[Bits]], Moves]:
    """The moves of a block with one input and one output, by hwsim."""
    def moves(sources: Sequence[Bits], sinks: Sequence[Bits]) -> Moves:
        trace = simulate([timing], words_in, words_out, source=sources[0], sink=sinks[0], drains=True)
        return [trace.in_cycles.tolist()], [trace.out_cycles.tolist()]

    return moves


def plain(name: str, engine: Engine, x: Int64, y: Int64, **constants: Any) -> Case:
    """A block with one input and one output: elements of `x` go in, those of `y` come out."""
    block, has_memories = BLOCKS[type(engine)]
    timing = Fifo(engine.depth) if isinstance(engine, StreamFifo) else engine.schedule
    words, expected = packed(x, engine.word_in), packed(y, engine.word_out)
    period = 1 if isinstance(timing, Fifo) else timing.period_cycles
    return Case(engine.kind, name, block(engine, **constants, **({"stem": module_name(f"{engine.kind}: {name}")} if has_memories else {})), {"i": words}, {"o": expected},
                in_a_row(timing, len(words), len(expected)), max(4, period), legal=legal({"i": engine.word_in}))


def joining(name: str, engine: Any, xs: Sequence[Int64], y: Int64) -> Case:
    """A block with several inputs, each with stalls of its own."""
    words = [packed(x, word) for x, word in zip(xs, engine.words_in, strict=True)]
    expected = packed(y, engine.word_out)

    def moves(sources: Sequence[Bits], sinks: Sequence[Bits]) -> Moves:
        seen = naive_join(engine.schedule, [len(one) for one in words], len(expected), list(sources), sinks[0])
        return seen.taken, [seen.out_cycles]

    return Case(engine.kind, name, BLOCKS[type(engine)][0](engine), {f"i{n}": one for n, one in enumerate(words)}, {"o": expected}, moves,
                max(4, engine.schedule.period_cycles), legal=legal({f"i{n}": word for n, word in enumerate(engine.words_in)}))


def forking(name: str, engine: Any, x: Int64) -> Case:
    """One input, several outputs, each with stalls of its own."""
    words = packed(x, engine.word_in)
    outputs = engine.streams_out

    def moves(sources: Sequence[Bits], sinks: Sequence[Bits]) -> Moves:
        splitter, taken, given = Splitter(outputs), [], [[] for _ in range(outputs)]
        holds, cycle = False, 0
        while any(len(one) < len(words) for one in given):
            holds = len(taken) < len(words) and (holds or bool(sources[0][cycle % len(sources[0])]))
            there = [words[len(taken)] if holds else None]
            readies = [bool(sink[cycle % len(sink)]) for sink in sinks]
            leave = [offer is not None and ready for offer, ready in zip(splitter.offers(there), readies, strict=True)]
            enters = splitter.takes(there, leave)
            splitter.clock(there, enters, leave)
            for one, left in zip(given, leave, strict=True):
                if left:
                    one.append(cycle)
            if enters[0]:
                taken.append(cycle)
                holds = False
            cycle += 1
        return [taken], given

    return Case(engine.kind, name, BLOCKS[type(engine)][0](engine), {"i": words}, {f"o{n}": words for n in range(outputs)}, moves, 4,
                legal=legal({"i": engine.word_in}))

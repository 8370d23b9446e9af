"""The fork in Amaranth's simulator against the naive model's rule, every reader with stalls of its own."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from amaranth.sim import Simulator

from codegen.blocks.fork import ForkBlock
from hwsim.engines.fork import Fork
from intir import BIPOLAR, IntType, signed
from tests.codegen.harness import packed
from tests.hwsim.naive import Splitter
from tests.networks import draw

Moves = list[tuple[int, int]]  # (cycle, word)


def driven(block: ForkBlock, words: list[int], source: list[bool], sinks: list[list[bool]], cycles: int) -> list[Moves]:
    """What crosses the input, then each output; while no word is offered, the payload is garbage."""
    outputs = [getattr(block, f"o{n}") for n in range(len(sinks))]
    seen: list[Moves] = [[] for _ in range(1 + len(sinks))]
    garbage = Random(1)

    async def bench(ctx) -> None:  # type: ignore[no-untyped-def]
        holding = False
        waiting = [None] * len(outputs)
        for cycle in range(cycles):
            taken = len(seen[0])
            holding = taken < len(words) and (holding or source[cycle % len(source)])
            ctx.set(block.i.valid, holding)
            ctx.set(block.i.payload, words[taken] if holding else garbage.getrandbits(len(block.i.payload)))
            for port, sink in zip(outputs, sinks, strict=True):
                ctx.set(port.ready, sink[cycle % len(sink)])
            if holding and ctx.get(block.i.ready):
                seen[0].append((cycle, words[taken]))
                holding = False
            for n, port in enumerate(outputs):
                offered = ctx.get(port.payload) if ctx.get(port.valid) else None
                assert waiting[n] is None or offered == waiting[n]
                ready = sinks[n][cycle % len(sinks[n])]
                waiting[n] = None if ready else offered
                if offered is not None and ready:
                    seen[n + 1].append((cycle, offered))
            await ctx.tick()

    simulator = Simulator(block)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def modelled(words: list[int], source: list[bool], sinks: list[list[bool]], cycles: int) -> list[Moves]:
    """The same of the naive model."""
    splitter, seen, holding = Splitter(len(sinks)), [[] for _ in range(1 + len(sinks))], False
    for cycle in range(cycles):
        at = len(seen[0])
        holding = at < len(words) and (holding or source[cycle % len(source)])
        there = [words[at] if holding else None]
        offers = splitter.offers(there)
        taken_behind = [offer is not None and sink[cycle % len(sink)] for offer, sink in zip(offers, sinks, strict=True)]
        taken = splitter.takes(there, taken_behind)
        splitter.clock(there, taken, taken_behind)
        for moves, word, moved in zip(seen, [*there, *offers], [*taken, *taken_behind], strict=True):
            if moved:
                moves.append((cycle, word))
        holding = holding and not taken[0]
    return seen


@pytest.mark.parametrize("kind", [BIPOLAR, signed(5), IntType(0, 0)], ids=str)
@pytest.mark.parametrize("outputs", [2, 3, 5])
def test_every_reader_gets_every_word_once_in_its_own_time(outputs: int, kind: IntType) -> None:
    rng = np.random.default_rng(outputs)
    engine = Fork(3, kind, outputs)
    words = packed(draw(kind, (30, 3), rng), engine.word_in)
    always = [True]

    def stalling(share: float) -> list[bool]:
        return [*(rng.random(int(rng.integers(3, 20))) < share).tolist(), True]

    for source, sinks in [(always, [always] * outputs), (stalling(0.4), [always] * outputs), (always, [stalling(0.5) for _ in range(outputs)]),
                          (stalling(0.6), [stalling(0.6) for _ in range(outputs)]), (always, [[False] * 30 + [True] * 20] + [always] * (outputs - 1))]:
        cycles = 260
        seen = driven(ForkBlock(engine), words, source, sinks, cycles)
        assert seen == modelled(words, source, sinks, cycles)
        shut = not sinks[0][0] and len(sinks[0]) == 50
        for moves in seen:
            assert [word for _, word in moves] == (words if not shut else words[:len(moves)])
            assert len(moves) >= 30


def test_without_stalls_nothing_is_lost() -> None:
    words = list(range(8))
    seen = driven(ForkBlock(Fork(3, BIPOLAR, 2)), words, [True], [[True], [True]], 20)
    assert seen == [[(n, n) for n in range(8)]] * 3


def test_a_fork_has_no_schedule() -> None:
    with pytest.raises(TypeError, match=r"^a fork has no schedule; the simulator treats it by its rule$"):
        _ = Fork(1, BIPOLAR, 2).schedule

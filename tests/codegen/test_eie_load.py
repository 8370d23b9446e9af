"""Weights that come over a stream: before the first frame, and again between frames."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from codegen.blocks.eie import EieBlock
from codegen.blocks.eie_load import beats
from intir import IntType
from tests.codegen.eie_cases import Case, case, inputs, stored
from tests.codegen.harness import packed, unpacked

SIZES, SUMS, WEIGHTS = (6, 9, 4), IntType(-2000, 2000), IntType(-9, 9)


def loaded(one: Case, entries: int) -> Case:
    """The same network on an engine that others fit, too."""
    post = tuple(dataclasses.replace(stage, x_type=SUMS) for stage in one.engine.post)
    engine = dataclasses.replace(one.engine, loaded=True, entries=entries, w_type=WEIGHTS, sum_type=SUMS, out_type=SUMS, post=post)
    rest = {name: values for name, values in one.constants.items() if name.startswith("post")}
    return Case(engine, one.matrices, stored(engine, one.matrices) | rest, one.inner)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")  # blocks of which the images only are wanted
@pytest.mark.parametrize("post", ["clip", "requant"])
def test_weights_come_and_go(post: str) -> None:
    cases = [case(np.random.default_rng(seed), SIZES, pes=4, lanes=2, post=post) for seed in (1, 2)]
    entries = max(one.engine.entries for one in cases) + 3
    first, second = (loaded(one, entries) for one in cases)
    assert first.engine == second.engine
    block = EieBlock(first.engine, **first.constants, stem="load")
    images = [EieBlock(one.engine, **one.constants, stem="load").images for one in (first, second)]
    assert [(image.name, len(image.words), image.bits) for image in images[0]] == [(image.name, len(image.words), image.bits) for image in images[1]]
    x = inputs(np.random.default_rng(3), first.engine, 3)
    words = packed(x, first.engine.word_in)
    seen: list[int] = []

    async def cycle(ctx: Any, sends: int | None, frames: list[int]) -> tuple[bool, bool]:
        """One cycle: a word of weights is offered, and the next of a frame's; which of them were taken."""
        ctx.set(block.load.valid, sends is not None)
        ctx.set(block.load.payload, sends or 0)
        ctx.set(block.i.valid, bool(frames))
        ctx.set(block.i.payload, frames[0] if frames else 0)
        ctx.set(block.o.ready, 1)
        taken = sends is not None and ctx.get(block.load.ready) == 1, bool(frames) and ctx.get(block.i.ready) == 1
        if ctx.get(block.o.valid):
            seen.append(ctx.get(block.o.payload))
        await ctx.tick()
        return taken

    async def bench(ctx: Any) -> None:
        frames = list(words)
        to_send = beats(images[0])
        while to_send:  # frames are offered all the while, and wait
            load, frame = await cycle(ctx, to_send[0], frames)
            del to_send[:load], frames[:frame]
            assert not seen
        while len(seen) < 2 * first.engine.words_out_frame:
            _, frame = await cycle(ctx, None, frames)
            del frames[:frame]
        to_send, others, refused = beats(images[1]), list(words), 0
        while to_send:  # the third frame is under way, and its weights stay until it is done
            load, frame = await cycle(ctx, to_send[0], frames)
            refused += not load
            del to_send[:load], frames[:frame]
        assert refused > 10 and len(seen) == 3 * first.engine.words_out_frame
        while len(seen) < 6 * first.engine.words_out_frame:
            _, frame = await cycle(ctx, None, others)
            del others[:frame]

    simulator = Simulator(block)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    expected = np.concatenate([made.outputs for one in (first, second) for made in one.frames(x)]).reshape(-1, first.engine.lanes_out)
    assert unpacked(seen, first.engine.word_out).tolist() == expected.tolist()
    assert expected[:len(expected) // 2].tolist() != expected[len(expected) // 2:].tolist()

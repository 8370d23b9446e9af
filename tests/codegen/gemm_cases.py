"""Arrays and products of matrices to test them with, and a driver of the block in Amaranth's simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.blocks.gemm import GemmBlock
from hwsim.engines.gemm import Gemm
from hwsim.engines.gemm_commands import Command, Tiling, encoded
from hwsim.engines.gemm_cycles import simulate
from intir import IntType
from tests.codegen.harness import Bits, Driver, patterns, unpacked

Int64 = NDArray[np.int64]


@dataclass
class Product:
    """X times W on an array."""

    tiling: Tiling
    x: Int64
    w: Int64

    @property
    def beats(self) -> list[int]:
        return [int.from_bytes(row.tobytes(), "little") for row in self.tiling.beats(self.x, self.w)]


def values(rng: np.random.Generator, kind: IntType, *shape: int) -> Int64:
    """Any values of a type, many of them its extremes."""
    drawn = rng.integers(0, kind.levels, shape)
    drawn = np.where(rng.random(shape) < 0.3, rng.choice([0, kind.levels - 1], shape), drawn)
    return drawn * kind.step + kind.lo


def products(rng: np.random.Generator, tilings: Sequence[Tiling]) -> list[Product]:
    return [Product(one, values(rng, one.gemm.x_type, one.m, one.k), values(rng, one.gemm.w_type, one.k, one.n)) for one in tilings]


def check(gemm: Gemm, made: Sequence[Product], seed: int = 0) -> None:
    """Under every stall pattern of tiles, sums and commands: sums are numpy's, and each word moves in the cycle of the model."""
    commands: list[Command] = [command for one in made for command in one.tiling.commands()]
    beats = [beat for one in made for beat in one.beats]
    rows = sum(one.rows for one in commands)
    driver = Driver(GemmBlock(gemm))
    driver.ports = [driver.block.commands, driver.block.i]  # type: ignore[attr-defined]
    for n, (source, sink) in enumerate(patterns(seed)):
        lists: Bits = patterns(seed + 100)[n][0]
        seen = driver.run_all([encoded(gemm, commands), beats], rows, [lists, source], sink)
        top = gemm.word_out.bits
        ends = [n for n, word in enumerate(seen.out_words) if word >> top]
        sums = unpacked([word & (1 << top) - 1 for word in seen.out_words], gemm.word_out)
        at = 0
        for one in made:
            count = sum(command.rows for command in one.tiling.commands())
            assert one.tiling.result(sums[at:at + count]).tolist() == (one.x @ one.w).tolist()
            at += count
            assert at - 1 == ends.pop(0)
        assert (at, ends) == (len(sums), [])
        trace = simulate(gemm, commands, source=source, sink=sink, command_source=lists)
        assert seen.taken[0] == trace.command_cycles.tolist()
        assert seen.taken[1] == trace.in_cycles.tolist()
        assert seen.out_cycles == trace.out_cycles.tolist()

"""Arrays, commands and sums to test them with, and a driver of the block in Amaranth's simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from codegen.blocks.gemm import GemmBlock
from hwsim.engines.base import Word
from hwsim.engines.gemm import Gemm
from hwsim.engines.gemm_commands import Command, Tiling, encoded
from hwsim.engines.gemm_cycles import simulate
from intir import IntType
from tests.codegen.harness import Bits, Driver, packed, patterns

Int64 = NDArray[np.int64]


@dataclass
class Program:
    """A list of commands, the words it loads, and what comes out.

    Parameters
    ----------
    commands : list of Command
    beats : list of int
        Words of tiles.
    rows : list of int64 (columns,)
        Sums.
    lasts : list of bool
        Whether a row is the last one of a command that ends.
    """

    commands: list[Command] = field(default_factory=list)
    beats: list[int] = field(default_factory=list)
    rows: list[Int64] = field(default_factory=list)
    lasts: list[bool] = field(default_factory=list)

    def __add__(self, other: Program) -> Program:
        """One behind the other."""
        return Program(self.commands + other.commands, self.beats + other.beats, self.rows + other.rows, self.lasts + other.lasts)

    def words_out(self, gemm: Gemm) -> list[int]:
        """The rows as they leave."""
        return [word | last << gemm.word_out.bits for word, last in zip(packed(np.array(self.rows), gemm.word_out), self.lasts, strict=True)]


def values(rng: np.random.Generator, kind: IntType, *shape: int) -> Int64:
    """Any values of a type, many of them its extremes."""
    drawn = rng.integers(0, kind.levels, shape)
    drawn = np.where(rng.random(shape) < 0.3, rng.choice([0, kind.levels - 1], shape), drawn)
    return drawn * kind.step + kind.lo


def products(rng: np.random.Generator, tilings: Sequence[Tiling]) -> Program:
    """Products of any matrices, one behind the other."""
    made = Program()
    for one in tilings:
        x, w = values(rng, one.gemm.x_type, one.m, one.k), values(rng, one.gemm.w_type, one.k, one.n)
        commands, rows = one.commands(), one.rows(x, w)
        assert one.result(rows).tolist() == (x @ w).tolist()
        assert [command.ends for command in commands] == [False] * (len(commands) - 1) + [True]
        made += Program(commands, [int.from_bytes(row.tobytes(), "little") for row in one.beats(x, w)], list(rows),
                        [False] * (len(rows) - 1) + [True])
    return made


def anything(gemm: Gemm, count: int, seed: int) -> Program:
    """`count` commands, not only those that a product becomes: loads of any length or none, any words of a half, sums that begin anew
    or go on, some up to the least and greatest that fit, tiles of any rows or none."""
    rng = np.random.default_rng(seed)
    made = Program()
    largest = max(abs(x * w) for x in (gemm.x_type.lo, gemm.x_type.hi) for w in (gemm.w_type.lo, gemm.w_type.hi))
    most = gemm.sum_type.hi // (largest * gemm.lanes)  # words whose sum surely fits
    x = w = np.zeros((0, 0, 0), np.int64)
    sums, words = np.zeros((gemm.rows, gemm.columns), np.int64), 0
    ends_of: list[int | None] = [None, None]  # of a run to the least or the greatest sums: the operands' values
    for number in range(count):
        keeps = number > 0 and words < most and (ends_of[0] is not None or bool(rng.random() < 0.5))
        if not keeps:
            sums, words = np.zeros_like(sums), 0
            extreme = rng.random() < 0.2
            ends_of = [int(rng.choice([kind.lo, kind.hi])) if extreme else None for kind in (gemm.x_type, gemm.w_type)]
        needs = number == 0 or (not keeps and ends_of[0] is not None)
        loads = [int(rng.integers(1, gemm.depth + 1)) if needs or rng.random() < 0.5 else 0 for _ in range(2)]
        if loads[0]:
            x = _half(rng, gemm.x_type, ends_of[0], loads[0], gemm.rows, gemm.lanes)
            made.beats += _beats(x, gemm.x_word)
        if loads[1]:
            w = _half(rng, gemm.w_type, ends_of[1], loads[1], gemm.columns, gemm.lanes)
            made.beats += _beats(w, gemm.w_word)
        length = int(rng.integers(1, min(len(x), len(w), most - words) + 1))
        x_at, w_at = (int(rng.integers(0, len(half) - length + 1)) for half in (x, w))
        sums = sums + np.einsum("krl,kcl->rc", x[x_at:x_at + length], w[w_at:w_at + length])
        words += length
        rows = int(rng.integers(0, gemm.rows + 1)) if number < count - 1 else gemm.rows
        ends = rows > 0 and bool(rng.random() < 0.5)
        terms = words * gemm.lanes if gemm.is_binary and rows else 0
        made += Program([Command(*loads, x_at, w_at, length, rows, keeps, ends, terms)], [], list(sums[:rows]),
                        [ends and row == rows - 1 for row in range(rows)])
    return made


def _half(rng: np.random.Generator, kind: IntType, value: int | None, *shape: int) -> Int64:
    """Words of a tile memory: any, or all the same."""
    return values(rng, kind, *shape) if value is None else np.full(shape, value, np.int64)


def _beats(words: Int64, word: Word) -> list[int]:
    return packed(words.reshape(len(words), -1), word)


def check(gemm: Gemm, made: Program, seed: int = 0) -> None:
    """Under every stall pattern of tiles, sums and commands: sums are numpy's, and each word moves in the cycle of the model."""
    driver = Driver(GemmBlock(gemm))
    driver.ports = [driver.block.commands, driver.block.i]  # type: ignore[attr-defined]
    expected = made.words_out(gemm)
    for n, (source, sink) in enumerate(patterns(seed)):
        lists: Bits = patterns(seed + 100)[n][0]
        seen = driver.run_all([encoded(gemm, made.commands), made.beats], len(expected), [lists, source], sink)
        assert seen.out_words == expected
        trace = simulate(gemm, made.commands, source=source, sink=sink, command_source=lists)
        assert seen.taken[0] == trace.command_cycles.tolist()
        assert seen.taken[1] == trace.in_cycles.tolist()
        assert seen.out_cycles == trace.out_cycles.tolist()

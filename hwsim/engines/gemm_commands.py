"""Commands of a `gemm`: what one says, and how a product of matrices becomes a list of them.

A product X (M, K) times W (K, N) is cut into tiles of `rows` x `columns` sums, and a sum into words of `lanes` terms.  Of
each operand, a *block* lies in half a tile memory: some tiles of all words, or one tile of as many words as fit.  A command
computes one tile from the blocks that are there; the first command of a block loads it.  Order of the loops and size of
the blocks are those that take the fewest cycles by a walk over the blocks: loads of the next against products of this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from intir import IntType

from .base import Word
from .gemm import Gemm, GemmError

Int64 = NDArray[np.int64]
Bytes = NDArray[np.uint8]
#: Which operand's blocks stay longest: the outer loop is over those of activations, or of weights.
ORDERS: Final = ("x", "w")
#: Fields of a command, and what they say; bits of each: `Gemm.fields`.
FIELDS: Final = {
    "load_x": "words of activations to load into the free half of their memory, which is read from then on; 0: none",
    "load_w": "words of weights to load likewise",
    "x_at": "first word of activations to read",
    "w_at": "first word of weights to read",
    "words": "words of each to multiply, 1 or more",
    "rows": "rows of the tile that leave when its sums are complete; 0: they are not",
    "keeps": "1: add to the sums that are there; 0: begin anew",
    "ends": "1: TLAST with its last row",
    "terms": "with `rows` above 0: terms of each sum, those that fill up its last word not counted",
}


@dataclass(frozen=True)
class Command:
    """One tile, or a part of its terms.

    Parameters
    ----------
    load_x, load_w : int
        Words that the loader brings for it into the free half of the activations' and of the weights' memory, from word 0 on;
        that half is the one to read from then on.  0: the half that is read now stays.
    x_at, w_at : int
        First word to read of each half.
    words : int
        Words of each to multiply, 1 or more.
    rows : int
        Rows of sums that leave when all is added; 0: none, the sums are not complete.
    keeps : bool
        Adds to the sums that are there, else to 0.
    ends : bool
        TLAST comes with its last row.
    terms : int
        For two bipolar operands: terms of each complete sum, those that fill up its last word not counted.
    """

    load_x: int
    load_w: int
    x_at: int
    w_at: int
    words: int
    rows: int
    keeps: bool = False
    ends: bool = False
    terms: int = 0

    def encode(self, gemm: Gemm) -> int:
        """As the hardware takes it.

        Raises
        ------
        GemmError
            If a field does not fit, or it reads outside of a tile memory.
        """
        code, at = 0, 0
        for name, bits in gemm.fields:
            value = int(getattr(self, name))
            if not 0 <= value < 1 << bits:
                raise GemmError(f"a command with {name} {value}; the field has {bits} bits")
            code |= value << at
            at += bits
        if max(self.load_x, self.load_w, self.x_at + self.words, self.w_at + self.words) > gemm.depth or self.words < 1:
            raise GemmError(f"a command loads {self.load_x} and {self.load_w} words and reads {self.words} from {self.x_at} and "
                            f"{self.w_at} on; half a memory has {gemm.depth}, and a command reads 1 or more")
        if self.rows > gemm.rows:
            raise GemmError(f"a command drains {self.rows} rows; the array has {gemm.rows}")
        return code


@dataclass(frozen=True)
class Step:
    """A command, and what it is in terms of the matrices.

    Parameters
    ----------
    command : Command
    x_block, w_block : tuple of int
        First tile, tiles, first word, words of the block that it loads, where it loads one.
    tile : tuple of int
        Row and column of the tile.
    """

    command: Command
    x_block: tuple[int, int, int, int]
    w_block: tuple[int, int, int, int]
    tile: tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """A product of matrices on an array.

    Parameters
    ----------
    gemm : Gemm
    m, k, n : int
        X is (m, k), W is (k, n).
    order : str
        One of `ORDERS`.
    x_tiles, w_tiles : int
        Tiles in a block; 1 where a tile's words do not fit at once.
    """

    gemm: Gemm
    m: int
    k: int
    n: int
    order: str
    x_tiles: int
    w_tiles: int

    @property
    def words(self) -> int:
        """Words of a tile."""
        return -(-self.k // self.gemm.lanes)

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.m // self.gemm.rows), -(-self.n // self.gemm.columns)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the product."""
        return self.m * self.k * self.n

    def steps(self) -> Iterator[Step]:
        """What the array does, one step a command."""
        held: list[tuple[int, int, int, int] | None] = [None, None]
        (tall, wide), depth = self.tiles, self.gemm.depth
        last = None
        parts = [(at, min(depth, self.words - at)) for at in range(0, self.words, depth)]
        for x_block, w_block in self.blocks(tall, wide):
            tiles = product(*(range(first, first + count) for first, count in (x_block, w_block)))
            for i, j in tiles:
                if held[0] and len(parts) > 1:  # begin with the part that is there
                    parts.reverse()
                for number, (at, words) in enumerate(parts):
                    wanted = [(*block, at, words) for block in (x_block, w_block)]
                    loads = [block[1] * words if held[n] != block else 0 for n, block in enumerate(wanted)]
                    held = list(wanted)
                    complete = number == len(parts) - 1
                    if last is not None:
                        yield last
                    last = Step(Command(loads[0], loads[1], (i - x_block[0]) * words, (j - w_block[0]) * words, words,
                                        min(self.gemm.rows, self.m - i * self.gemm.rows) if complete else 0, number > 0,
                                        terms=self.k if complete and self.gemm.is_binary else 0), wanted[0], wanted[1], (i, j))
        assert last is not None
        yield replace(last, command=replace(last.command, ends=True))

    def blocks(self, tall: int, wide: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Pairs of blocks, each (first tile, tiles), in order; the inner loop goes back and forth, so that its ends serve twice."""
        x = [(at, min(self.x_tiles, tall - at)) for at in range(0, tall, self.x_tiles)]
        w = [(at, min(self.w_tiles, wide - at)) for at in range(0, wide, self.w_tiles)]
        outer, inner = (x, w) if self.order == "x" else (w, x)
        for a in outer:
            for b in inner:
                yield (a, b) if self.order == "x" else (b, a)
            inner.reverse()

    def commands(self) -> list[Command]:
        """The list."""
        return [step.command for step in self.steps()]

    def beats(self, x: Int64, w: Int64) -> Bytes:
        """What the loader takes, in order: uint8 (beats, bytes of a beat), the least significant byte first.

        Parameters
        ----------
        x : int64 (m, k)
        w : int64 (k, n)

        Raises
        ------
        GemmError
            If shapes or values are others.
        """
        for name, values, shape, kind in (("X", x, (self.m, self.k), self.gemm.x_type),
                                          ("W", w, (self.k, self.n), self.gemm.w_type)):
            if values.shape != shape or not kind.holds(values):
                raise GemmError(f"{name} has the shape {values.shape} and values from {values.min(initial=0)} to "
                                f"{values.max(initial=0)}; the product wants {shape} of {kind}")
        width = -(-self.gemm.word_in.bits // 8)
        fill_x, fill_w = fills(self.gemm)
        x_words = _words(x, self.gemm.rows, self.gemm.lanes, self.gemm.x_word, fill_x, width)
        w_words = _words(w.T, self.gemm.columns, self.gemm.lanes, self.gemm.w_word, fill_w, width)
        parts = []
        for step in self.steps():
            for load, words, (first, count, at, length) in ((step.command.load_x, x_words, step.x_block),
                                                            (step.command.load_w, w_words, step.w_block)):
                if load:
                    parts.append(words[first:first + count, at:at + length].reshape(-1, width))
        return np.concatenate(parts)

    def rows(self, x: Int64, w: Int64) -> Int64:
        """The rows of sums as they leave, int64 (rows, columns of the array), what lies beyond the last column of W included."""
        wide = self.tiles[1] * self.gemm.columns
        padded = x @ np.pad(w, ((0, 0), (0, wide - self.n)), constant_values=fills(self.gemm)[1])
        parts = []
        for step in self.steps():
            top, left = (at * size for at, size in zip(step.tile, (self.gemm.rows, self.gemm.columns), strict=True))
            parts.append(padded[top:top + step.command.rows, left:left + self.gemm.columns])
        return np.concatenate(parts)

    def result(self, rows: Int64) -> Int64:
        """The product, int64 (m, n), of the rows of sums (rows, columns) as they left."""
        y = np.zeros((self.m, self.n), np.int64)
        at = 0
        for step in self.steps():
            count, (i, j) = step.command.rows, step.tile
            top, left = i * self.gemm.rows, j * self.gemm.columns
            part = y[top:top + count, left:left + self.gemm.columns]
            part[:] = rows[at:at + count, :part.shape[1]]
            at += count
        return y


def fills(gemm: Gemm) -> tuple[int, int]:
    """An activation and a weight whose product adds nothing; for two bipolar ones, a pair that is not equal, so not counted."""
    if gemm.is_binary:
        return -1, 1
    return tuple(0 if gemm.holds_zero(kind) else kind.lo for kind in (gemm.x_type, gemm.w_type))  # type: ignore[return-value]


def tile(gemm: Gemm, m: int, k: int, n: int, order: str | None = None, x_tiles: int | None = None,
         w_tiles: int | None = None) -> Tiling:
    """How X (m, k) times W (k, n) runs on an array; what is not given is chosen for few cycles.

    Raises
    ------
    GemmError
        If a size is below 1, a sum might not fit, or blocks are larger than half a memory.
    """
    if min(m, k, n) < 1:
        raise GemmError(f"a product of ({m}, {k}) and ({k}, {n}); sizes are 1 or more")
    if order not in (None, *ORDERS):
        raise GemmError(f"unknown order '{order}'; choose {' or '.join(ORDERS)}")
    ends = [a * b for a in (gemm.x_type.lo, gemm.x_type.hi) for b in (gemm.w_type.lo, gemm.w_type.hi)]
    if not gemm.sum_type.contains(IntType(min(0, *ends) * k, max(0, *ends) * k)):
        raise GemmError(f"sums of {k} products of {gemm.x_type} and {gemm.w_type} may not fit {gemm.sum_bits} bits; "
                        "make sum_bits greater")
    words = -(-k // gemm.lanes)
    most = max(1, gemm.depth // words)
    counts = [min(most, -(-m // gemm.rows)), min(most, -(-n // gemm.columns))]
    for wanted in (x_tiles, w_tiles):
        if wanted is not None and not 1 <= wanted <= most:
            raise GemmError(f"{wanted} tiles of {words} words in a block; half a memory has {gemm.depth} words, room for {most}")
    sizes = [[given] if given else _sizes(count) for given, count in zip((x_tiles, w_tiles), counts, strict=True)]
    options = [Tiling(gemm, m, k, n, one, a, b) for one in ([order] if order else ORDERS) for a in sizes[0] for b in sizes[1]]
    return min(options, key=_estimate)


def _sizes(most: int) -> list[int]:
    """Powers of two below `most`, and `most`."""
    return sorted({1 << n for n in range(most.bit_length())} | {most})


def _estimate(tiling: Tiling) -> int:
    """Cycles, about: the first loads, then in each step the longer of its products and of the next one's loads."""
    tall, wide = tiling.tiles
    if tiling.words > tiling.gemm.depth:
        return 0  # there is no choice but that of the order, and it hardly matters
    total, held, ready = 0, [(-1, 0), (-1, 0)], 0
    for pair in tiling.blocks(tall, wide):
        load = sum(block[1] for block, old in zip(pair, held, strict=True) if block != old)
        held = list(pair)
        total += max(ready, load)
        ready = pair[0][1] * pair[1][1]
    return (total + ready) * tiling.words


def _words(values: Int64, count: int, lanes: int, word: Word, fill: int, width: int) -> Bytes:
    """Of a matrix (P, K): words of `count` rows of `lanes`, filled up; uint8 (tiles, words, bytes)."""
    tall, deep = -(-values.shape[0] // count), -(-values.shape[1] // lanes)
    full = np.full((tall * count, deep * lanes), fill, np.int64)
    full[:values.shape[0], :values.shape[1]] = values
    codes = word.type.encode(full).reshape(tall, count, deep, lanes).transpose(0, 2, 1, 3).reshape(tall, deep, count * lanes)
    bits = word.type.bits
    flat = (codes[..., None] >> np.arange(bits) & 1).astype(np.uint8).reshape(tall, deep, -1) if bits != 8 else None
    packed = codes.astype(np.uint8) if flat is None else np.packbits(flat, axis=-1, bitorder="little")
    return np.pad(packed, ((0, 0), (0, 0), (0, width - packed.shape[-1])))


def encoded(gemm: Gemm, commands: Sequence[Command]) -> list[int]:
    """A list as the hardware takes it."""
    return [command.encode(gemm) for command in commands]

"""Small sparse engines for tests: matrices, their compressed form, and what inner layers' sums go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from codegen.blocks.eie import EieBlock
from hwsim.engines.csc import Csc, encode
from hwsim.engines.eie import Eie
from hwsim.engines.elementwise import Clip, Elementwise, Requant, Scale
from hwsim.engines.thresholding import Thresholding
from intir import IntType, signed, unsigned
from tests.codegen.eie_model import Frame, frame

Int64 = np.ndarray
U4 = unsigned(4)


@dataclass
class Case:
    """An engine, its matrices, and what its inner layers' sums go through."""

    engine: Eie
    matrices: list[Csc]
    constants: dict[str, Int64]
    inner: Callable[[int, Int64], Int64]

    def block(self, stem: str = "eie") -> EieBlock:
        return EieBlock(self.engine, **self.constants, stem=stem)

    def frames(self, xs: Int64) -> list[Frame]:
        return [frame(self.engine, self.matrices, x, self.inner) for x in xs]


def stored(engine: Eie, matrices: list[Csc]) -> dict[str, Int64]:
    """The matrices as the block wants them."""
    pointers = np.zeros((engine.pes, engine.columns + 1), np.int64)
    entries = np.zeros((2, engine.pes, engine.entries), np.int64)
    codebooks = np.zeros((engine.layers, 1 << engine.code_bits), np.int64)
    for layer, csc in enumerate(matrices):
        first = sum(engine.sizes[:layer])
        codebooks[layer, :len(csc.codebook)] = csc.codebook
        for pe in range(engine.pes):
            base, mine = pointers[pe, first], slice(csc.first[pe], csc.first[pe + 1])
            pointers[pe, first:first + csc.inputs + 1] = base + csc.pointers[pe]
            entries[:, pe, base:base + csc.pointers[pe, -1]] = csc.indices[mine], csc.codes[mine]
    return {"pointers": pointers, "indices": entries[0], "codes": entries[1], "codebooks": codebooks}


def entries_of(matrices: list[Csc]) -> int:
    return max(int(n) for n in sum(csc.pointers[:, -1] for csc in matrices))


def sum_range(matrices: list[Int64], x_type: IntType) -> IntType:
    """Wide enough for every partial sum, whatever the order."""
    top = max(int(np.abs(w).sum(axis=0).max()) for w in matrices) * max(abs(x_type.lo), abs(x_type.hi))
    lo = -top if any((w < 0).any() for w in matrices) or x_type.lo < 0 else 0
    return IntType(lo, max(top, 1))


def filled(per_layer: list[Int64], lanes: int) -> Int64:
    """Constants of the channels of all inner layers, each filled up to whole words."""
    return np.concatenate([np.concatenate([one, np.repeat(one[-1:], -len(one) % lanes, axis=0)]) for one in per_layer])


def post_of(kind: str, sizes: tuple[int, ...], lanes: int, sums: IntType, x_type: IntType, rng: Any) \
        -> tuple[tuple[Elementwise, ...], dict[str, Int64], Callable[[int, Int64], Int64]]:
    """Engines, their constants, and what they compute."""
    inner = sizes[1:-1]
    if not inner:
        return (), {}, lambda layer, y: y
    channels = sum(-(-size // lanes) * lanes for size in inner)
    if kind == "requant":  # a zero point above 0, so that lanes beyond a layer would not be 0
        m = [rng.integers(1, 8, size) for size in inner]
        z = [rng.integers(1, 3, size) for size in inner]
        engine = Requant(channels, lanes, sums, x_type, IntType(1, 7), IntType(4, 4), IntType(1, 2), "half_up")
        return (engine,), {"post0_multiplier": filled(m, lanes), "post0_shift": np.full(channels, 4), "post0_zero_point": filled(z, lanes)}, \
            lambda layer, y: np.clip(((y * m[layer] + 8) >> 4) + z[layer], x_type.lo, x_type.hi)
    if kind == "scale":
        b = [rng.integers(-3, 4, size) for size in inner]
        scaled = IntType(2 * sums.lo - 3, 2 * sums.hi + 3)
        engines = (Scale(channels, lanes, sums, scaled, IntType(2, 2), IntType(-3, 3)), Clip(channels, lanes, scaled, x_type, x_type.lo, x_type.hi))
        return engines, {"post0_multiplier": np.array([2]), "post0_offset": filled(b, lanes)}, \
            lambda layer, y: np.clip(2 * y + b[layer], x_type.lo, x_type.hi)
    if kind == "thresholds":
        rows = [np.sort(rng.integers(-6, 7, (size, 3)), axis=1) for size in inner]
        out = IntType(0, 3)
        engine = Thresholding(channels, lanes, sums, out, 3, False, IntType(-6, 6))
        return (engine,), {"post0_thresholds": filled(rows, lanes)}, lambda layer, y: (y[:, None] >= rows[layer]).sum(axis=1)
    return (Clip(channels, lanes, sums, x_type, x_type.lo, x_type.hi),), {}, lambda layer, y: np.clip(y, x_type.lo, x_type.hi)


def case(rng: Any, sizes: tuple[int, ...], *, pes: int, lanes: int, lanes_in: int = 0, lanes_out: int = 0, queue_depth: int = 4,
         index_bits: int = 2, code_bits: int = 3, read_entries: int = 2, x_type: IntType = U4, density: float = 0.5,
         post: str = "clip", matrices: list[Int64] | None = None) -> Case:
    """Random matrices, unless they are given."""
    if matrices is None:
        matrices = []
        for inputs, outputs in pairwise(sizes):
            values = rng.permutation([v for v in range(-9, 10) if v])[:(1 << code_bits) - 1]
            keep = rng.random((inputs, outputs)) < density
            keep[:, rng.random(outputs) < 0.2] = False
            keep[rng.random(inputs) < 0.2] = False
            matrices.append(np.where(keep, rng.choice(values, (inputs, outputs)), 0))
    compressed = [encode(w, pes, index_bits=index_bits, code_bits=code_bits) for w in matrices]
    sums = sum_range(matrices, x_type)
    engines, constants, inner = post_of(post, sizes, lanes, sums, x_type, rng)
    values = np.concatenate([np.zeros(1, np.int64), *(w.ravel() for w in matrices)])
    engine = Eie(pes, lanes, lanes_in or lanes, lanes_out or lanes, queue_depth, index_bits, code_bits, read_entries, sizes,
                 entries_of(compressed), x_type, IntType.of(values), sums, sums, engines)
    return Case(engine, compressed, stored(engine, compressed) | constants, inner)


def inputs(rng: Any, engine: Eie, frames: int) -> Int64:
    """Frames from dense to empty; the second one is all zero."""
    x = rng.integers(engine.x_type.lo, engine.x_type.hi + 1, (frames, engine.sizes[0]))
    x[rng.random(x.shape) >= rng.random((frames, 1)) * 1.3] = 0
    x[1] = 0
    return x


def drawn(seed: int) -> Case:
    """Any small engine."""
    rng = np.random.default_rng(seed)
    pes = int(rng.choice([1, 2, 3, 4, 6, 8]))
    lanes = int(rng.choice([n for n in (1, 2, 3, 4) if pes % n == 0]))
    lanes_in, lanes_out = (int(rng.choice([n for n in range(1, lanes + 1) if lanes % n == 0])) for _ in range(2))
    sizes = tuple(int(rng.integers(1, 20)) for _ in range(int(rng.integers(2, 5))))
    sizes = (lanes_in * -(-sizes[0] // lanes_in), *sizes[1:-1], lanes_out * -(-sizes[-1] // lanes_out))
    return case(rng, sizes, pes=pes, lanes=lanes, lanes_in=lanes_in, lanes_out=lanes_out, queue_depth=int(rng.integers(2, 9)),
                index_bits=int(rng.integers(1, 5)), code_bits=int(rng.integers(1, 5)), read_entries=int(rng.choice([1, 2, 4, 8])),
                x_type=[unsigned(1), unsigned(4), signed(3), signed(5)][rng.integers(4)], density=float(rng.random()),
                post=str(rng.choice(["clip", "requant", "scale"])))

"""The arrays: cases whose cycles depend on commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from codegen.blocks.gemm import GemmBlock
from hwsim.engines.gemm import Gemm
from hwsim.engines.gemm_commands import encoded, tile
from hwsim.engines.gemm_cycles import simulate as simulate_array
from intir import BIPOLAR, signed
from tests.codegen.gemm_cases import anything, products

from .case import Bits, Case, Moves, Rule, module_name
from .models import legal

CASES: dict[str, Callable[[], Case]] = {}


def possible(engine: Gemm) -> tuple[Rule, ...]:
    """Commands as their encoder lets them through: what they load and read lies in half a memory, and a tile has the array's rows."""
    at, first = 0, {}
    for name, bits in engine.fields:
        first[name], at = at, at + bits
    size, words, address = engine.depth, engine.depth.bit_length(), engine.address_bits
    reads = frozenset(x | w << address | count << 2 * address for x in range(size) for w in range(size) for count in range(1, size - max(x, w) + 1))
    return (Rule("commands", first["load_x"], words, frozenset(range(size + 1))),
            Rule("commands", first["load_w"], words, frozenset(range(size + 1))),
            Rule("commands", first["x_at"], 2 * address + words, reads),
            Rule("commands", first["rows"], engine.rows.bit_length(), frozenset(range(engine.rows + 1))))


def gemm(title: str, engine: Gemm, sizes: Sequence[tuple[int, int, int]]) -> None:
    """An array, and products of matrices (m, k, n) back to back, then any commands."""
    def make() -> Case:
        made = products(np.random.default_rng(1), [tile(engine, *size) for size in sizes]) + anything(engine, 80, 1)

        def moves(sources: Sequence[Bits], sinks: Sequence[Bits]) -> Moves:
            trace = simulate_array(engine, made.commands, command_source=sources[0], source=sources[1], sink=sinks[0])
            return [trace.command_cycles.tolist(), trace.in_cycles.tolist()], [trace.out_cycles.tolist()]

        return Case("gemm", title, GemmBlock(engine, module_name(f"gemm: {title}")), {"commands": encoded(engine, made.commands), "i": made.beats},
                    {"o": made.words_out(engine)}, moves, 32, legal=(*legal({"i": engine.word_in}), *possible(engine)))

    CASES[f"gemm: {title}"] = make


gemm("2 x 3 elements of 8 bits", Gemm(2, 3, 1, signed(8), signed(8), 20, depth=4, commands=3),
     [(3, 7, 4), (2, 11, 3), (5, 3, 7), (1, 1, 1), (4, 9, 2)])
gemm("3 x 2 elements of 5 XNORs", Gemm(3, 2, 5, BIPOLAR, BIPOLAR, 8, depth=4, commands=4),
     [(4, 12, 3), (3, 33, 2), (5, 6, 7), (1, 1, 1), (2, 40, 5)])

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

from .case import Bits, Case, Moves, module_name
from .models import legal

CASES: dict[str, Callable[[], Case]] = {}


def gemm(title: str, engine: Gemm, sizes: Sequence[tuple[int, int, int]]) -> None:
    """An array, and products of matrices (m, k, n) back to back, then any commands."""
    def make() -> Case:
        made = products(np.random.default_rng(1), [tile(engine, *size) for size in sizes]) + anything(engine, 40, 1)

        def moves(sources: Sequence[Bits], sinks: Sequence[Bits]) -> Moves:
            trace = simulate_array(engine, made.commands, command_source=sources[0], source=sources[1], sink=sinks[0])
            return [trace.command_cycles.tolist(), trace.in_cycles.tolist()], [trace.out_cycles.tolist()]

        return Case("gemm", title, GemmBlock(engine, module_name(f"gemm: {title}")), {"commands": encoded(engine, made.commands), "i": made.beats},
                    {"o": made.words_out(engine)}, moves, 32,
                    legal=legal({"i": engine.word_in}))

    CASES[f"gemm: {title}"] = make


gemm("2 x 3 elements of 8 bits", Gemm(2, 3, 1, signed(8), signed(8), 20, depth=4, commands=3),
     [(3, 7, 4), (2, 11, 3), (5, 3, 7), (1, 1, 1), (4, 9, 2)])
gemm("3 x 2 elements of 5 XNORs", Gemm(3, 2, 5, BIPOLAR, BIPOLAR, 8, depth=4, commands=4),
     [(4, 12, 3), (3, 33, 2), (5, 6, 7), (1, 1, 1), (2, 40, 5)])

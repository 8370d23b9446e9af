"""The sparse engine and the arrays: cases whose cycles depend on data or on commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from codegen.blocks.eie import EieBlock
from codegen.blocks.eie_load import beats
from codegen.blocks.gemm import GemmBlock
from hwsim.autoplan import auto_plan
from hwsim.dataflow import simulate
from hwsim.engines.gemm import Gemm
from hwsim.engines.gemm_commands import encoded, tile
from hwsim.engines.gemm_cycles import simulate as simulate_array
from intir import BIPOLAR, Graph, MatMul, Requant, run, signed, unsigned
from tests.codegen.gemm_cases import anything, products
from tests.codegen.harness import packed
from tests.networks import draw, make_design, sparse_mlp

from .case import Bits, Case, Moves, Rule, module_name
from .models import legal
from .stimulus import Int64, beside, walks

CASES: dict[str, Callable[[], Case]] = {}


def inputs(graph: Graph) -> Int64:
    """Sparse and dense frames, no activation and all, and those whose inner sums lie beside the halves that are rounded."""
    rng = np.random.default_rng(1)
    product, *rest = (node.op for node in graph.nodes)
    assert isinstance(product, MatMul)
    pool = draw(unsigned(4), (200_000, len(product.weights)), rng)
    pool *= rng.random(pool.shape) < rng.random((len(pool), 1))
    x = pool[:6].copy()
    x[1], x[-1] = 0, 15
    if not rest:
        return np.concatenate([x, walks(unsigned(4), product.weights, 1)])
    assert isinstance(rest[0], Requant)
    halves = (2 * np.arange(rest[0].out.levels) + 1) << (rest[0].shift[:, None] - 1)
    return np.concatenate([x, pool[beside(pool @ product.weights, halves)]])


def eie(title: str, sizes: tuple[int, ...], post: str, pes: int, lanes: int, **options: Any) -> None:
    """A sparse engine for a small pruned network, alone in its design."""
    def make() -> Case:
        graph = sparse_mlp(sizes, density=0.5, codes=6, post=post, seed=1, name="unit")  # every neuron counts, and has sums at halves
        x = inputs(graph)
        plan = auto_plan(graph, sparse=pes)
        entries = {name: replace(entry, simd=lanes, code_bits=3, **options) if entry.engine == "eie" else entry for name, entry in plan.layers.items()}
        design = make_design(graph, replace(plan, layers=entries)).with_frames(x)
        stage = design.stages[0]
        block = EieBlock(stage.engine, **stage.constants, stem=module_name(f"eie: {title}"))
        words, expected = packed(x, stage.engine.word_in), packed(run(graph, x), stage.engine.word_out)

        def moves(sources: Sequence[Bits], sinks: Sequence[Bits]) -> Moves:
            trace = simulate([stage.timing], len(words), len(expected), source=sources[0], sink=sinks[0], drains=True)
            return [trace.in_cycles.tolist()], [trace.out_cycles.tolist()]

        return Case("eie", title, block, {"i": words}, {"o": expected}, moves, stage.cycles_per_frame,
                    tuple(beats(block.images)) if stage.engine.loaded else (), legal({"i": stage.engine.word_in}))

    CASES[f"eie: {title}"] = make


eie("8, 6 and 4 neurons on 2 elements, requantized", (8, 6, 4), "requant", 2, 2, queue_depth=2, index_bits=2, read_entries=2)
eie("6 and 4 neurons on 2 elements, weights loaded", (6, 4), "requant", 2, 1, queue_depth=2, index_bits=2, read_entries=1, weights="loaded")


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

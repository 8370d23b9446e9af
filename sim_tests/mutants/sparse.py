"""The sparse engine, its weights built in, or loaded: one network behind the other, of all that its matrices can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from amaranth.hdl import Fragment

from codegen.blocks.eie import EieBlock
from codegen.blocks.eie_load import beats
from hwsim.engines.eie import Eie
from hwsim.plan import LayerPlan, Plan, fingerprint
from hwsim.schedule import Task
from intir import Graph, GraphBuilder, IntType, MatMul, Requant, run, signed, unsigned
from tests.codegen.harness import packed
from tests.networks import draw, make_design

from .case import CUT_CYCLES, Case, module_name
from .loading import Loading, Network
from .models import in_a_row, legal
from .stimulus import Int64, beside, walks

CASES: dict[str, Callable[[], Case]] = {}
X, ACT = unsigned(4), signed(4)  # signed ones, for then all bits of a sum count, not only those of a positive one
#: Of the weights of a network.
BOOK = (-100, -37, -8, 3, 21, 99)


def mixed(rng: Any, inputs: int, outputs: int) -> Int64:
    """Which weights are there: full columns, half of a column, last rows only, and a column without any."""
    there: Int64 = rng.random((inputs, outputs)) < np.resize([1.0, 0.5, 0.8], inputs)[:, None]
    there[-2], there[-1] = False, np.arange(outputs) >= outputs - 2
    return there


def dense(_: Any, inputs: int, outputs: int) -> Int64:
    """All weights."""
    return np.ones((inputs, outputs), np.int64)


def sparse(rng: Any, inputs: int, outputs: int) -> Int64:
    """One weight for each output."""
    there: Int64 = np.arange(inputs)[:, None] == rng.permuted(np.resize(np.arange(inputs), outputs))
    return there


def even(rng: Any, inputs: int, outputs: int) -> Int64:
    """Much for the first of two elements, little for its neighbour."""
    return np.where(np.arange(outputs) % 2, sparse(rng, inputs, outputs), 1)


def odd(rng: Any, inputs: int, outputs: int) -> Int64:
    """The other way round."""
    return np.where(np.arange(outputs) % 2, 1, sparse(rng, inputs, outputs))


def network(sizes: Sequence[int], there: Callable[[Any, int, int], Int64], seed: int, book: Sequence[int] = BOOK,
            scaled: bool = False) -> Graph:
    """Products, requantized in between; every neuron counts.

    Parameters
    ----------
    there : callable
        Which weights of a product are not 0.
    book : sequence of int
        Their values.
    scaled : bool
        Channels have a factor and a zero point, too.
    """
    rng = np.random.default_rng(seed)
    build = GraphBuilder("unit")
    value, x = build.input("x", (sizes[0],), X), draw(X, (200, sizes[0]), rng)
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        weights = rng.choice(book, (inputs, outputs)) * there(rng, inputs, outputs)
        for place in [n for n in range(outputs) if not weights[:, n].any()]:
            weights[place % inputs, place] = book[place % len(book)]
        if number:  # what nobody reads hides what is before it
            for place in [n for n in range(inputs) if not weights[n].any()]:
                weights[place, place % outputs] = book[place % len(book)]
        value, x = build.node(MatMul(weights), value, name=f"fc{number}"), x @ weights
        if number < len(sizes) - 2:
            multiplier = rng.integers(1, 4, outputs) if scaled else np.ones(1, np.int64)
            zero = rng.integers(-1, 2, outputs) if scaled else np.zeros(1, np.int64)
            shift = np.maximum(1, np.ceil(np.log2((np.abs(x * multiplier).max(axis=0) + 1) / ACT.levels))).astype(np.int64)
            value = build.node(Requant(multiplier, shift, zero, "half_even", ACT), value, name=f"act{number}")
            x = np.clip((x * multiplier >> shift) + zero, ACT.lo, ACT.hi)
    build.output(value)
    return build.build()


def inputs(graph: Graph, most: int) -> Int64:
    """Each set of activations that are not 0; the least and greatest sums; inner sums at halves that are rounded, and beside them.

    Parameters
    ----------
    most : int
        Of the last; of any, where there is no inner layer.
    """
    rng = np.random.default_rng(1)
    product, *rest = (node.op for node in graph.nodes)
    assert isinstance(product, MatMul)
    size = len(product.weights)
    pool = draw(X, (40_000, size), rng)
    sets = draw(IntType(1, X.hi), (1 << size, size), rng) * (rng.permutation(1 << size)[:, None] >> np.arange(size) & 1)
    pool *= rng.random(pool.shape) < rng.random((len(pool), 1))
    ends = walks(X, product.weights, 1)
    found: Sequence[int] = range(len(pool))
    if rest:
        assert isinstance(rest[0], Requant)
        found = rounded(pool @ product.weights * rest[0].multiplier, rest[0].shift)
    return np.concatenate([sets, ends[::size], ends[size::size], pool[rng.permutation(found)[:most]]])


def rounded(products: Int64, shift: Int64) -> list[int]:
    """Frames whose products, shifted right, lie nearest to halves, and those at whole numbers and at halves, and a power of 2 above.

    Parameters
    ----------
    products : int64 (frames, channels)
    shift : int64 (channels,)
    """
    halves = (2 * np.arange(ACT.lo - 2, ACT.hi + 2) + 1) << (shift[:, None] - 1)
    found = beside(products, halves)
    kept = (products >> shift >= ACT.lo) & (products >> shift < ACT.hi)
    for places, column, inside in zip(shift, products.T, kept.T, strict=True):
        above = (0, *(1 << n for n in range(places - 1)))
        for rest in sorted({start + more for start in range(0, 4 << places, 1 << places - 1) for more in above}):
            found += np.flatnonzero(inside & (column % (4 << places) == rest))[:1].tolist()
    return list(dict.fromkeys(found))


def planned(graph: Graph, x: Int64, pes: int, lanes: int, options: dict[str, Any]) \
        -> tuple[Eie, dict[str, Int64], Task]:
    """The engine of a design for a network, its constants, and its cycles with these frames."""
    entry = LayerPlan("eie", pes, lanes, through=graph.nodes[-1].name, code_bits=3, **options)
    stage = make_design(graph, Plan(graph.name, fingerprint(graph), {graph.nodes[0].name: entry})).with_frames(x).stages[0]
    assert isinstance(stage.engine, Eie) and stage.task is not None
    return stage.engine, dict(stage.constants), stage.task


def joined(engines: Sequence[Eie]) -> Eie:
    """One for all of these networks of a structure: types that hold all of their numbers, and room for two entries more."""
    def types(parts: Sequence[Any]) -> dict[str, Any]:
        found = {one.name: [getattr(part, one.name) for part in parts] for one in fields(parts[0])}
        return {name: IntType(min(one.lo for one in kinds), max(one.hi for one in kinds))
                for name, kinds in found.items() if isinstance(kinds[0], IntType)}

    post = tuple(replace(parts[0], **types(parts)) for parts in zip(*(one.post for one in engines), strict=True))
    return replace(engines[0], **types(engines) | {"post": post, "entries": max(one.entries for one in engines) + 2})


def built_in(title: str, sizes: tuple[int, ...], pes: int, lanes: int, **options: Any) -> None:
    """An engine for one network."""
    def make() -> Case:
        graph = network(sizes, mixed, 1)
        x = inputs(graph, 250)
        engine, constants, task = planned(graph, x, pes, lanes, options)
        block = EieBlock(engine, **constants, stem=module_name(f"eie: {title}"))
        words, expected = packed(x, engine.word_in), packed(run(graph, x), engine.word_out)
        return Case("eie", title, block, {"i": words}, {"o": expected}, in_a_row(task, len(words), len(expected)),
                    task.period_cycles, legal=legal({"i": engine.word_in}))

    CASES[f"eie: {title}"] = make


def loaded(title: str, sizes: tuple[int, ...], pes: int, lanes: int, **options: Any) -> None:
    """An engine, and networks that are loaded into it one behind the other."""
    def make() -> Case:
        graphs = [network(sizes, there, seed, book, scaled=True) for seed, (there, book) in enumerate(
            [(mixed, BOOK), (dense, (-128, 127)), (sparse, BOOK), (even, (-1, 1, 64)), (odd, BOOK), (dense, BOOK), (mixed, (5, -6, -100))])]
        frames = [inputs(graph, 25) for graph in graphs]
        frames[0] = frames[0][:6]  # so that resets cut off the second one, too
        made = [planned(graph, x, pes, lanes, options | {"weights": "loaded"}) for graph, x in zip(graphs, frames, strict=True)]
        engine = joined([one for one, _, _ in made])
        blocks = [EieBlock(engine, **constants, stem=module_name(f"eie: {title}")) for _, constants, _ in made]
        for other in blocks[1:]:
            Fragment.get(other, None)  # Amaranth warns of blocks that are never elaborated
        networks = [Network(beats(block.images), packed(x, engine.word_in), packed(run(graph, x), engine.word_out), task)
                    for block, x, graph, (_, _, task) in zip(blocks, frames, graphs, made, strict=True)]
        words = {"i": [word for one in networks for word in one.words], "load": [word for one in networks for word in one.loads]}
        loading = Loading(networks, engine.rows)
        return Case("eie", title, blocks[0], words, {"o": [word for one in networks for word in one.expected]}, loading.moves,
                    max(one.task.period_cycles for one in networks), loading.offers, CUT_CYCLES + 4 * len(networks[0].loads),
                    legal({"i": engine.word_in}))

    CASES[f"eie: {title}"] = make


built_in("8, 6 and 4 neurons on 2 elements, requantized", (8, 6, 4), 2, 2, queue_depth=2, index_bits=1, read_entries=2)
loaded("5, 6 and 4 neurons on 2 elements, weights loaded", (5, 6, 4), 2, 1, queue_depth=3, index_bits=1, read_entries=1)
loaded("6 and 6 neurons on 2 elements, weights loaded", (6, 6), 2, 1, queue_depth=2, index_bits=2, read_entries=1)

"""EIE's array: compressed sparse matrix-vector products, cycles by the recurrence of `hwsim.engines.eie_cycles`.

Weights that are given are compressed as they are; else a sample of columns is drawn at the layer's density.  Activations are drawn
at theirs, with a fixed seed.  A convolution is one product for each pixel, groups one after another.  Every element's part of a
column is read in whole words of the matrix memory; pointers are read in pairs.

Weights that are all on chip were loaded before the run, as in the paper (Han and others, ISCA 2016); a network that does not fit
has each layer's compressed weights loaded from DRAM, once for a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.engines.csc import Csc, encode_entries
from hwsim.engines.eie_actions import leading_nonzero_nodes
from hwsim.engines.eie_cycles import run_layer as run_product

from .actions import Action
from .array_run import ArrayRun
from .machine import Machine
from .memory import RunError
from .work import Work

#: Of the paper: columns that an element holds, bits of an entry's index and code, of a word of the matrix memory, of a pointer.
QUEUE_DEPTH, INDEX_BITS, CODE_BITS, WORD_BITS, POINTER_BITS = 8, 4, 4, 64, 16
#: Columns of a matrix that is drawn, and the seed; what is left out is in proportion.
SAMPLED_COLUMNS, SEED = 1024, 1


@dataclass(frozen=True)
class Sparse:
    """One matrix-vector product, the whole of it.

    Parameters
    ----------
    cycles : float
    entries : float
        Worked on by all elements, padding included.
    products : float
        The same without padding.
    words, pointers : float
        Read.
    broadcasts : float
    stored_entries : float
        Of the matrix.
    entry_bits : int
        Index and code.
    """

    cycles: float
    entries: float
    products: float
    words: float
    pointers: float
    broadcasts: float
    stored_entries: float
    entry_bits: int


def stored_bytes(work: Work, machine: Machine) -> float:
    """Of a layer's compressed weights and their pointers."""
    if work.product is None:
        return 0.0
    one = _sparse(work, machine)
    pointers = (work.product.terms + 1) * machine.array.rows * POINTER_BITS / 8
    return work.product.groups * (one.stored_entries * one.entry_bits / 8 + pointers)


def all_on_chip(works: tuple[Work, ...], machine: Machine) -> bool:
    """Whether the compressed weights of all layers fit the memories of weights."""
    room = sum(sram.bytes for sram in machine.srams if "weights" in sram.holds)
    return sum(stored_bytes(work, machine) for work in works) <= room


def run_layer(work: Work, machine: Machine, batch: int) -> ArrayRun:
    """A layer on EIE; see `ArrayRun`.

    Raises
    ------
    RunError
        If the layer has no weights.
    """
    product, array = work.product, machine.array
    if product is None or work.weights is None:
        raise RunError(f"{work.name} has no weights; EIE multiplies matrices of them")
    one = _sparse(work, machine)
    times = product.pixels * product.groups * batch
    cycles = round(one.cycles * times)
    ideal = min(cycles, round(one.entries * times / array.rows))
    a, sums = array.activation_bits, array.sum_bits
    products = one.products * times
    register = machine.register_bytes or a // 8
    touched = times * (product.terms + product.filters + 4 * one.broadcasts * array.rows)  # scanned, written back, queued
    return ArrayRun(
        ideal, cycles - ideal, f"{times} products of {product.terms} x {product.filters}, rows dealt to {array.rows} elements",
        sram_bits={("weights", "read"): one.words * times * WORD_BITS,
                   ("pointers", "read"): one.pointers * times * POINTER_BITS,
                   ("activations", "read"): float(product.terms * times * a), ("outputs", "write"): work.output.bytes * batch * 8},
        dram_bytes={("activations", "read"): work.reads[0].bytes * batch, ("weights", "read"): stored_bytes(work, machine),
                    ("outputs", "write"): work.output.bytes * batch},
        actions={"array": {Action("int_multiply", a, array.weight_bits): products, Action("int_add", sums): products,
                           Action("lookup", array.weight_bits): products,
                           Action("leading_nonzero_node"): float(cycles * leading_nonzero_nodes(array.rows))},
                 "registers": {Action("register_read", a, bytes=register): touched / 2,
                               Action("register_write", a, bytes=register): touched / 2,
                               Action("register_read", sums, bytes=register): products,
                               Action("register_write", sums, bytes=register): products}},
        footprint_bytes={"weights": stored_bytes(work, machine), "activations": work.reads[0].bytes + work.output.bytes})


def _sparse(work: Work, machine: Machine) -> Sparse:
    product, weights = work.product, work.weights
    if product is None or weights is None:
        raise RunError(f"{work.name} has no weights")
    pes, active = machine.array.rows, work.reads[0].density
    if work.matrix is not None:
        return _given(_Matrix(work.matrix[:product.filters]), pes, active, machine.array.code_bits)
    return _drawn(product.terms, product.filters, weights.density, pes, active)


class _Matrix:
    """Weights that are told apart by which array they are."""

    def __init__(self, values: NDArray[np.int64]) -> None:
        self.values = values
        self.base: Any = values.base if values.base is not None else values

    def __hash__(self) -> int:
        return id(self.base)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Matrix) and self.base is other.base and self.values.shape == other.values.shape


@lru_cache(256)
def _given(matrix: _Matrix, pes: int, active: float, code_bits: int) -> Sparse:
    rows, columns = np.nonzero(matrix.values)
    bits = CODE_BITS if values_besides_0(matrix.values) < 1 << CODE_BITS else code_bits
    return _run(rows, columns, (matrix.values.shape[1], matrix.values.shape[0]), pes, active, 1.0, bits)


@lru_cache(1024)
def _drawn(terms: int, filters: int, density: float, pes: int, active: float) -> Sparse:
    columns = min(terms, SAMPLED_COLUMNS)
    pattern = np.random.default_rng(SEED).random((columns, filters), np.float32) < density
    column, row = np.nonzero(pattern)
    return _run(row, column, (columns, filters), pes, active, terms / columns, CODE_BITS)


def values_besides_0(matrix: NDArray[np.int64]) -> int:
    """How many values a layer's codes must tell apart."""
    return len(np.setdiff1d(matrix, [0]))


def _word_entries(entry_bits: int) -> int:
    """A power of two, so that a position's low bits choose an entry of its word."""
    return 1 << (WORD_BITS // entry_bits).bit_length() - 1


def _run(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int], pes: int, active: float,
         scale: float, code_bits: int) -> Sparse:
    matrix: Csc = encode_entries(rows, columns, np.ones(len(rows), np.int64), shape, pes, np.array([0, 1]),
                                 index_bits=INDEX_BITS, code_bits=code_bits)
    x = np.random.default_rng(SEED + 1).random(shape[0]) < active
    run = run_product(matrix, x, lanes=pes, queue_depth=QUEUE_DEPTH, read_entries=_word_entries(INDEX_BITS + code_bits))
    return Sparse(run.cycles * scale, run.entries * scale, (run.entries - run.padding_entries) * scale, run.word_reads * scale,
                  run.pointer_reads * scale, run.broadcasts * scale, matrix.entries * scale, INDEX_BITS + code_bits)

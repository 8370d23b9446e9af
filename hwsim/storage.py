"""What a compressed matrix takes, to the bit: in the sparse engine's memories, and in a file as Deep Compression counts it.

Source of the second: Han and others, "Deep Compression", ICLR 2016, sections 2 to 4: the weights' codes and the gaps between
nonzeros are Huffman coded.  Gaps run through the whole flattened matrix there, and an index has 5 bits for a fully connected
layer and 8 for a convolution; a longer gap takes padding entries, as here.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .engines.csc import Csc, encode_entries

Int64 = NDArray[np.int64]
#: Bits of a relative index in Deep Compression.
DENSE_INDEX_BITS, CONVOLUTION_INDEX_BITS = 5, 8
FLOAT_BITS = 32


@dataclass(frozen=True)
class Storage:
    """Bits of a compressed matrix in the memories of the sparse engine.

    Parameters
    ----------
    index_bits, code_bits : int
        Of all entries, padding included.
    padding_bits : int
        Those of them that are in padding entries.
    pointer_bits : int
        Where the columns begin and end, of all PEs.
    codebook_bits : int
        Of one codebook; every PE has a copy of it.
    dense_bits : int
        The matrix with all its zeros, at 32 bits a weight.
    """

    index_bits: int
    code_bits: int
    padding_bits: int
    pointer_bits: int
    codebook_bits: int
    dense_bits: int

    @property
    def total_bits(self) -> int:
        """All of them; every padding entry is among indices and codes already."""
        return self.index_bits + self.code_bits + self.pointer_bits + self.codebook_bits

    @property
    def ratio(self) -> float:
        """How many times smaller than `dense_bits`."""
        return self.dense_bits / self.total_bits


def storage(matrix: Csc, *, weight_bits: int, position_bits: int | None = None, dense_weight_bits: int = FLOAT_BITS) -> Storage:
    """Bits in the engine's memories.

    Parameters
    ----------
    matrix : Csc
    weight_bits : int
        Of a value in the codebook, which has ``2**code_bits`` of them.
    position_bits : int, optional
        Of a pointer; by default what the matrix alone needs (`Eie.position_bits` has it for all layers of an engine).
    dense_weight_bits : int
        Of a weight in the dense matrix.
    """
    if position_bits is None:
        position_bits = int(matrix.pointers[:, -1].max()).bit_length()
    return Storage(
        matrix.entries * matrix.index_bits, matrix.entries * matrix.code_bits,
        matrix.padding * (matrix.index_bits + matrix.code_bits), matrix.pointers.size * position_bits,
        weight_bits << matrix.code_bits, matrix.inputs * matrix.outputs * dense_weight_bits)


@dataclass(frozen=True)
class Coded:
    """Bits of symbols in a Huffman code.

    Parameters
    ----------
    symbols : int
        How many there are.
    payload_bits : int
        Their code words.
    table_bits : int
        The code itself: the length of every code word there could be, which determines a canonical code.
    entropy_bits : float
        No code of symbols one by one has less payload.
    """

    symbols: int
    payload_bits: int
    table_bits: int
    entropy_bits: float

    @property
    def total_bits(self) -> int:
        """Code words and the code."""
        return self.payload_bits + self.table_bits


@dataclass(frozen=True)
class HuffmanStorage:
    """Bits of a matrix in a file, as Deep Compression counts.

    Parameters
    ----------
    codes, gaps : Coded
        Of all entries, padding included.
    plain_bits : int
        The same entries without Huffman coding.
    codebook_bits, dense_bits : int
    """

    codes: Coded
    gaps: Coded
    plain_bits: int
    codebook_bits: int
    dense_bits: int

    @property
    def total_bits(self) -> int:
        """Coded entries, codes' tables and the codebook."""
        return self.codes.total_bits + self.gaps.total_bits + self.codebook_bits

    @property
    def ratio(self) -> float:
        """How many times smaller than the dense matrix."""
        return self.dense_bits / self.total_bits

    @property
    def plain_ratio(self) -> float:
        """The same before Huffman coding."""
        return self.dense_bits / (self.plain_bits + self.codebook_bits)


def huffman_storage(matrix: Csc, *, index_bits: int = DENSE_INDEX_BITS, weight_bits: int = FLOAT_BITS) -> HuffmanStorage:
    """Bits as Deep Compression counts.

    Parameters
    ----------
    matrix : Csc
        Its own index width and its PEs do not matter.
    index_bits : int
        Of a gap: `DENSE_INDEX_BITS` or `CONVOLUTION_INDEX_BITS`.
    weight_bits : int
        Of a value in the codebook and of a dense weight.
    """
    rows, columns = matrix.entry_positions()
    kept = matrix.codes > 0
    # rows of weights one after the other, as one long column of one PE
    place = rows[kept] * matrix.inputs + columns[kept]
    flat = encode_entries(place, np.zeros_like(place), matrix.codes[kept].astype(np.int64), (1, matrix.inputs * matrix.outputs), 1,
                          matrix.codebook, index_bits=index_bits, code_bits=matrix.code_bits)
    return HuffmanStorage(
        coded(np.bincount(flat.codes, minlength=1 << flat.code_bits)), coded(np.bincount(flat.indices, minlength=1 << index_bits)),
        flat.entries * (index_bits + flat.code_bits), weight_bits << flat.code_bits,
        matrix.inputs * matrix.outputs * weight_bits)


def coded(counts: Sequence[int] | Int64) -> Coded:
    """Bits of symbols that occur so often, in their Huffman code."""
    numbers = np.asarray(counts, np.int64)
    lengths = code_lengths(numbers)
    used = numbers[numbers > 0]
    entropy = float((used * np.log2(used.sum() / used)).sum())
    return Coded(int(used.sum()), int(numbers @ lengths), len(numbers) * int(lengths.max(initial=0)).bit_length(), entropy)


def code_lengths(counts: Sequence[int] | Int64) -> Int64:
    """Lengths of the code words of a Huffman code: 0 for what does not occur, 1 for the only symbol that does."""
    lengths = np.zeros(len(counts), np.int64)
    heap = [(int(count), symbol, [symbol]) for symbol, count in enumerate(counts) if count]
    for _, _, symbols in heap[:1]:
        lengths[symbols] = len(heap) == 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (count, tie, symbols), (other, _, more) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[symbols + more] += 1
        heapq.heappush(heap, (count + other, tie, symbols + more))
    return lengths

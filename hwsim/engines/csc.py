"""`csc`: a pruned, weight-shared matrix as EIE stores it.

The rows (outputs) of a matrix are dealt to the processing elements in turn: row r belongs to PE ``r % pes`` and is its
row ``r // pes``.  Each PE keeps its part column by column (a column is an input).  An entry is a pair: how many of the PE's
rows are skipped since the entry before it in the column (`index_bits`), and the number of the weight's value in a codebook
(`code_bits`).  Where more rows are skipped than an index can say, a padding entry stands between: the greatest index and
code 0, whose value is 0.  Column j of a PE is its entries from ``pointers[j]`` to ``pointers[j + 1]``.

Source: Han and others, "EIE: Efficient Inference Engine on Compressed Deep Neural Network", ISCA 2016, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from intir import BitwrightError

Int64 = NDArray[np.int64]
MAX_BITS = 8
MAX_PES = 4096


class CscError(BitwrightError):
    """A matrix cannot be stored this way."""


@dataclass(frozen=True, eq=False)
class Csc:
    """A compressed matrix.

    Parameters
    ----------
    inputs, outputs : int
        Columns and rows of the matrix.
    pes : int
        Processing elements that share the rows.
    index_bits, code_bits : int
        Of an entry, 1 to 8 each.
    codebook : int64 (up to 2**code_bits,)
        Value of each code; code 0 is 0, the padding.
    first : int64 (pes + 1,)
        Where each PE's entries begin in `indices` and `codes`, and their end.
    pointers : int64 (pes, inputs + 1)
        Where each column begins, counted from the PE's first entry.
    indices, codes : uint8 (entries,)
    """

    inputs: int
    outputs: int
    pes: int
    index_bits: int
    code_bits: int
    codebook: Int64
    first: Int64
    pointers: Int64
    indices: NDArray[np.uint8]
    codes: NDArray[np.uint8]

    @property
    def entries(self) -> int:
        """Stored entries, padding included."""
        return len(self.codes)

    @cached_property
    def padding(self) -> int:
        """Padding entries."""
        return int((self.codes == 0).sum())

    @cached_property
    def counts(self) -> Int64:
        """Entries of each PE in each column: (pes, inputs)."""
        return np.diff(self.pointers, axis=1)

    @cached_property
    def column_counts(self) -> NDArray[np.unsignedinteger[Any]]:
        """The same as the simulation walks it: (inputs, pes), in the smallest type that holds them."""
        counts = self.counts
        return np.ascontiguousarray(counts.T, dtype=np.min_scalar_type(int(counts.max())))

    def entry_positions(self) -> tuple[Int64, Int64]:
        """Row and column of every entry, padding included."""
        pe = np.repeat(np.arange(self.pes), np.diff(self.first))
        column = np.repeat(np.tile(np.arange(self.inputs), self.pes), self.counts.ravel())
        steps = self.indices.astype(np.int64) + 1
        total = np.cumsum(steps)
        starts = (self.first[:-1, None] + self.pointers[:, :-1]).ravel()  # of each column of each PE
        before = np.concatenate([[0], total])[starts]
        local = total - np.repeat(before, self.counts.ravel()) - 1
        return local * self.pes + pe, column

    def decode(self) -> Int64:
        """The matrix, (inputs, outputs), as `encode` took it."""
        dense = np.zeros((self.inputs, self.outputs), np.int64)
        rows, columns = self.entry_positions()
        kept = self.codes > 0
        dense[columns[kept], rows[kept]] = self.codebook[self.codes[kept]]
        return dense


def encode(weights: Int64, pes: int, *, index_bits: int = 4, code_bits: int = 4, where: str = "the matrix") -> Csc:
    """Compress a matrix of integers.

    Parameters
    ----------
    weights : int64 (inputs, outputs)
    pes, index_bits, code_bits
        As in `Csc`.
    where : str
        What to call the matrix in errors.

    Raises
    ------
    CscError
        If it is no matrix, a number is out of range, or it has more values than the codebook holds.
    """
    if weights.ndim != 2 or 0 in weights.shape:
        raise CscError(f"{where} has the shape {weights.shape}; give a matrix of inputs x outputs, at least 1 x 1")
    flat = np.flatnonzero(weights)
    columns, rows = np.divmod(flat, weights.shape[1])
    values, inverse = np.unique(weights.ravel()[flat], return_inverse=True)
    if len(values) >= 1 << code_bits:
        enough = len(values).bit_length()
        raise CscError(f"{where} has {len(values)} different weights besides 0, but codes of {code_bits} bits name "
                       f"{(1 << code_bits) - 1}; share its weights (`quant.nn.share_weights`)"
                       + (f", or give code_bits = {enough}" if enough <= MAX_BITS else ", or use another engine"))
    codebook = np.concatenate([[0], values]).astype(np.int64)
    return encode_entries(rows, columns, inverse + 1, weights.shape, pes, codebook, index_bits=index_bits, code_bits=code_bits)


def encode_entries(rows: Int64, columns: Int64, codes: Int64, shape: tuple[int, int], pes: int, codebook: Int64, *,
                   index_bits: int = 4, code_bits: int = 4) -> Csc:
    """Compress a matrix that is given by its nonzeros.

    Parameters
    ----------
    rows, columns : int64 (nonzeros,)
        Output and input of each, no pair twice.
    codes : int64 (nonzeros,)
        1 to ``len(codebook) - 1``.
    shape : (inputs, outputs)
    codebook : int64, its first entry 0
    pes, index_bits, code_bits
        As in `Csc`.

    Raises
    ------
    CscError
        If a number is out of range, or a nonzero is given twice.
    """
    for name, value, most in (("pes", pes, MAX_PES), ("index_bits", index_bits, MAX_BITS), ("code_bits", code_bits, MAX_BITS)):
        if not 1 <= value <= most:
            raise CscError(f"{name} is {value}; give a whole number from 1 to {most}")
    inputs, outputs = shape
    if len(codebook) > 1 << code_bits or codebook[0] != 0:
        raise CscError(f"a codebook of {len(codebook)} values that begins with {codebook[0]}; codes of {code_bits} bits name at "
                       f"most {1 << code_bits} values, the first of them 0")
    for name, numbers, least, end in (("row", rows, 0, outputs), ("column", columns, 0, inputs), ("code", codes, 1, len(codebook))):
        if len(numbers) and not least <= numbers.min() <= numbers.max() < end:
            wrong = next(number for number in (numbers.min(), numbers.max()) if not least <= number < end)
            raise CscError(f"a nonzero has the {name} {wrong}; give {name}s from {least} to {end - 1}")
    rows, columns, codes = (np.ascontiguousarray(numbers, np.int64) for numbers in (rows, columns, codes))
    place = columns * outputs + rows
    steps = np.diff(place)
    if (steps <= 0).any():
        order = np.argsort(place)
        rows, columns, codes = rows[order], columns[order], codes[order]
        steps = np.diff(place[order])
        if (steps == 0).any():
            twice = int(np.argmin(steps))
            raise CscError(f"the nonzero in row {rows[twice]} and column {columns[twice]} is given twice; give it once")
    gaps, places = _places(rows, columns, pes, index_bits)
    pe, pads = rows % pes, gaps >> index_bits  # a padding entry stands for 2**index_bits rows
    counts = np.bincount(pe * inputs + columns, weights=pads + 1, minlength=pes * inputs).astype(np.int64).reshape(pes, inputs)
    pointers = np.zeros((pes, inputs + 1), np.int64)
    np.cumsum(counts, axis=1, out=pointers[:, 1:])
    first = np.concatenate([[0], np.cumsum(pointers[:, -1])])
    most = (1 << index_bits) - 1
    indices, stored = np.full(first[-1], most, np.uint8), np.zeros(first[-1], np.uint8)
    places += first[pe]
    indices[places], stored[places] = gaps & most, codes
    return Csc(inputs, outputs, pes, index_bits, code_bits, codebook, first, pointers, indices, stored)


@numba.njit(cache=True)
def _places(rows, columns, pes, index_bits):  # type: ignore[no-untyped-def]
    """Of nonzeros in the order of columns, then of rows: the rows of its PE that each skips, and its place in the PE's entries."""
    gaps, places = np.empty_like(rows), np.empty_like(rows)
    at, next_row = np.zeros(pes, np.int64), np.zeros(pes, np.int64)
    column = -1
    for k in range(len(rows)):
        if columns[k] != column:
            column = columns[k]
            next_row[:] = 0
        local, pe = divmod(rows[k], pes)
        gaps[k] = local - next_row[pe]
        places[k] = at[pe] + (gaps[k] >> index_bits)
        at[pe] = places[k] + 1
        next_row[pe] = local + 1
    return gaps, places

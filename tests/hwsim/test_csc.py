"""Compressed matrices: the exact inverse, padding against a plain walk over each column, limits, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.engines.csc import Csc, CscError, encode, encode_entries


def drawn(seed: int, inputs: int, outputs: int, density: float, values: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    codebook = rng.choice(np.concatenate([np.arange(-300, 0), np.arange(1, 300)]), values, replace=False)
    return np.where(rng.random((inputs, outputs)) < density, rng.choice(codebook, (inputs, outputs)), 0).astype(np.int64)


def walked(weights: np.ndarray, pes: int, index_bits: int) -> list[list[list[tuple[int, int]]]]:
    """(index, weight) of each entry of each column of each PE, one row after the other; a padding entry's weight is 0."""
    result = []
    for pe in range(pes):
        columns = []
        for column in weights:
            entries, skipped = [], 0
            for weight in column[pe::pes]:
                if weight:
                    while skipped >= 2**index_bits:
                        entries.append((2**index_bits - 1, 0))
                        skipped -= 2**index_bits
                    entries.append((skipped, int(weight)))
                    skipped = 0
                else:
                    skipped += 1
            columns.append(entries)
        result.append(columns)
    return result


def stored(csc: Csc) -> list[list[list[tuple[int, int]]]]:
    """The same, read from the memories' contents."""
    result = []
    for pe in range(csc.pes):
        columns = []
        for column in range(csc.inputs):
            begin, end = csc.first[pe] + csc.pointers[pe, column], csc.first[pe] + csc.pointers[pe, column + 1]
            columns.append([(int(csc.indices[k]), int(csc.codebook[csc.codes[k]])) for k in range(begin, end)])
        result.append(columns)
    return result


def check(weights: np.ndarray, pes: int, index_bits: int = 4, code_bits: int = 4) -> Csc:
    csc = encode(weights, pes, index_bits=index_bits, code_bits=code_bits)
    entries = walked(weights, pes, index_bits)
    assert stored(csc) == entries
    assert csc.padding == sum(weight == 0 for pe in entries for column in pe for _, weight in column)
    assert csc.entries == csc.padding + np.count_nonzero(weights) == csc.first[-1]
    assert np.array_equal(csc.counts, [[len(column) for column in pe] for pe in entries])
    assert np.array_equal(csc.column_counts, csc.counts.T) and csc.column_counts.flags.c_contiguous
    assert np.array_equal(csc.decode(), weights)
    return csc


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 80), st.integers(1, 9), st.floats(0, 1), st.integers(1, 8), st.integers(1, 8))
def test_decoding_is_the_exact_inverse(seed: int, inputs: int, outputs: int, pes: int, density: float, index_bits: int, code_bits: int) -> None:
    check(drawn(seed, inputs, outputs, density, min(2**code_bits - 1, 200)), pes, index_bits, code_bits)


@pytest.mark.parametrize("bits", range(1, 9))
def test_every_width_is_used_to_its_end(bits: int) -> None:
    weights = np.zeros((2 * 2**bits, 3 * 2**bits), np.int64)
    for gap in range(2 * 2**bits):
        weights[gap, gap] = gap % (2**bits - 1) + 1
    csc = check(weights, 1, bits, bits)
    assert csc.padding == 2**bits and csc.indices.max() == 2**bits - 1 and csc.codes.max() == 2**bits - 1


def test_limits() -> None:
    empty = check(np.zeros((5, 7), np.int64), 3)
    assert (empty.entries, empty.padding, empty.codebook.tolist()) == (0, 0, [0])
    holes = drawn(1, 9, 40, 0.3, 15)
    holes[:, [0, 3, 17, 39]] = 0
    holes[[0, 4, 8]] = 0
    check(holes, 1)
    check(holes, 4, index_bits=1)
    check(holes, 64)  # more PEs than rows
    check(np.full((1, 1), -5), 1)
    check(np.ones((3, 600), np.int64), 2)  # 300 entries in a column: more than a byte counts
    check(np.asfortranarray(holes), 4)


def test_the_order_of_the_nonzeros_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    columns, rows = np.nonzero(rng.random((30, 50)) < 0.2)
    codes = rng.integers(1, 16, len(rows))
    order = rng.permutation(len(rows))
    one = encode_entries(rows, columns, codes, (30, 50), 4, np.arange(16))
    other = encode_entries(rows[order], columns[order], codes[order], (30, 50), 4, np.arange(16))
    for name in ("first", "pointers", "indices", "codes"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_errors() -> None:
    def refused(message: str, weights: np.ndarray, pes: int = 1, **widths: int) -> None:
        with pytest.raises(CscError) as caught:
            encode(weights, pes, **widths)
        assert str(caught.value) == message

    refused("the matrix has the shape (3,); give a matrix of inputs x outputs, at least 1 x 1", np.zeros(3, np.int64))
    refused("the matrix has the shape (0, 3); give a matrix of inputs x outputs, at least 1 x 1", np.zeros((0, 3), np.int64))
    refused("the matrix has 16 different weights besides 0, but codes of 4 bits name 15; share its weights "
            "(`quant.nn.share_weights`), or give code_bits = 5", np.arange(17).reshape(1, 17))
    refused("pes is 0; give a whole number from 1 to 4096", np.ones((1, 1), np.int64), 0)
    refused("index_bits is 9; give a whole number from 1 to 8", np.ones((1, 1), np.int64), index_bits=9)
    refused("code_bits is 9; give a whole number from 1 to 8", np.ones((1, 1), np.int64), code_bits=9)


@pytest.mark.parametrize(("rows", "columns", "codes", "codebook", "message"), [
    ([0], [0], [1], [1, 2], "a codebook of 2 values that begins with 1; codes of 4 bits name at most 16 values, the first of them 0"),
    ([0], [0], [1], range(17), "a codebook of 17 values that begins with 0; codes of 4 bits name at most 16 values, the first of them 0"),
    ([7], [0], [1], [0, 2], "a nonzero has the row 7; give rows from 0 to 6"),
    ([0], [-1], [1], [0, 2], "a nonzero has the column -1; give columns from 0 to 4"),
    ([0], [0], [0], [0, 2], "a nonzero has the code 0; give codes from 1 to 1"),
    ([0, 6, 6], [1, 4, 4], [1, 1, 1], [0, 2], "the nonzero in row 6 and column 4 is given twice; give it once"),
])
def test_errors_of_entries(rows: list[int], columns: list[int], codes: list[int], codebook: list[int], message: str) -> None:
    with pytest.raises(CscError) as caught:
        encode_entries(np.array(rows), np.array(columns), np.array(codes), (5, 7), 1, np.array(codebook))
    assert str(caught.value) == message

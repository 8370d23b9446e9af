"""Storage to the bit, and Huffman codes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.engines.csc import encode
from hwsim.storage import CONVOLUTION_INDEX_BITS, code_lengths, coded, huffman_storage, storage


def canonical(lengths: np.ndarray) -> dict[int, str]:
    """Code words of a canonical code, which the lengths determine."""
    words, number, before = {}, 0, 0
    for length, symbol in sorted((int(length), symbol) for symbol, length in enumerate(lengths) if length):
        number <<= length - before
        words[symbol] = format(number, f"0{length}b")
        number, before = number + 1, length
    return words


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=70))
def test_a_code_is_complete_decodes_and_is_short(counts: list[int]) -> None:
    lengths = code_lengths(counts)
    result = coded(counts)
    used = [symbol for symbol, count in enumerate(counts) if count]
    assert [symbol for symbol, length in enumerate(lengths) if length] == used
    assert result.symbols == sum(counts)
    if len(used) > 1:
        assert sum(Fraction(1, 2 ** int(lengths[symbol])) for symbol in used) == 1  # Kraft: no code word is missing or doubled
        assert result.entropy_bits - 1e-6 <= result.payload_bits < result.entropy_bits + result.symbols
    words = canonical(lengths)
    rng = np.random.default_rng(1)
    message = rng.permutation(np.repeat(np.arange(len(counts)), counts)).tolist()
    text = "".join(words[symbol] for symbol in message)
    assert len(text) == result.payload_bits
    back, at, names = [], 0, {word: symbol for symbol, word in words.items()}
    while at < len(text):
        end = next(end for end in range(at + 1, len(text) + 1) if text[at:end] in names)
        back.append(names[text[at:end]])
        at = end
    assert back == message


@pytest.mark.parametrize(("counts", "lengths"), [
    ([], []), ([0, 0], [0, 0]), ([0, 7], [0, 1]), ([5, 1], [1, 1]), ([1, 1, 2, 4, 8], [4, 4, 3, 2, 1]), ([3, 3, 3, 3], [2, 2, 2, 2]),
])
def test_known_codes(counts: list[int], lengths: list[int]) -> None:
    assert code_lengths(counts).tolist() == lengths


def test_the_table_holds_the_length_of_every_code_word() -> None:
    assert coded([1, 1, 2, 4, 8]).table_bits == 5 * 3  # lengths up to 4 take 3 bits
    assert coded([0, 9, 0]).table_bits == 3
    assert coded([0, 0]).total_bits == 0


def test_bits_in_the_memories() -> None:
    weights = np.zeros((3, 12), np.int64)
    weights[0, [0, 11]] = [5, 6]  # rows 0 of PE 0, 5 of PE 1: with two bits of index one padding entry before it
    weights[2, [4, 5, 6]] = 5  # no gap that is too long
    matrix = encode(weights, 2, index_bits=2, code_bits=3)
    assert (matrix.entries, matrix.padding) == (6, 1)
    bits = storage(matrix, weight_bits=16)
    assert (bits.index_bits, bits.code_bits, bits.padding_bits) == (12, 18, 5)
    assert bits.pointer_bits == 2 * 4 * 2  # two PEs, three columns and an end, positions up to 3
    assert bits.codebook_bits == 8 * 16
    assert bits.dense_bits == 36 * 32
    assert bits.total_bits == 12 + 18 + 16 + 128 and bits.ratio == pytest.approx(1152 / 174)
    assert storage(matrix, weight_bits=16, position_bits=9, dense_weight_bits=8).pointer_bits == 8 * 9
    assert storage(matrix, weight_bits=16, dense_weight_bits=8).dense_bits == 36 * 8


def gaps_walked(weights: np.ndarray, index_bits: int) -> tuple[list[int], list[int]]:
    """Weights (0: padding) and gaps of the flattened matrix, outputs x inputs, as Deep Compression stores them."""
    values, gaps, gap = [], [], 0
    for weight in weights.T.ravel().tolist():
        if weight == 0:
            gap += 1
            continue
        while gap >= 2**index_bits:
            values.append(0)
            gaps.append(2**index_bits - 1)
            gap -= 2**index_bits
        values.append(weight)
        gaps.append(gap)
        gap = 0
    return values, gaps


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 40), st.floats(0, 1), st.integers(1, 8), st.integers(1, 5))
def test_deep_compression_is_counted_on_the_flattened_matrix(seed: int, inputs: int, outputs: int, density: float, index_bits: int, pes: int) -> None:
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((inputs, outputs)) < density, rng.integers(1, 9, (inputs, outputs)), 0)
    values, gaps = gaps_walked(weights, index_bits)
    matrix = encode(weights, pes)
    found = huffman_storage(matrix, index_bits=index_bits)
    assert found.codes.symbols == found.gaps.symbols == len(values)
    assert found.plain_bits == len(values) * (index_bits + 4)
    assert found.codes.payload_bits == coded(np.unique(values, return_counts=True)[1]).payload_bits
    assert found.gaps.payload_bits == coded(np.unique(gaps, return_counts=True)[1]).payload_bits
    assert found.total_bits == found.codes.total_bits + found.gaps.total_bits + 16 * 32
    assert found.ratio == pytest.approx(inputs * outputs * 32 / found.total_bits)
    assert found.plain_ratio == pytest.approx(inputs * outputs * 32 / (found.plain_bits + 16 * 32))


def test_it_is_smaller_where_weights_and_gaps_are_uneven() -> None:
    rng = np.random.default_rng(1)
    weights = np.where(rng.random((300, 100)) < 0.08, np.round(rng.normal(0, 2, (300, 100))).clip(-7, 7), 0).astype(np.int64)
    found = huffman_storage(encode(weights, 4))
    assert found.ratio > 1.1 * found.plain_ratio
    assert huffman_storage(encode(weights, 4), index_bits=CONVOLUTION_INDEX_BITS).gaps.table_bits > found.gaps.table_bits

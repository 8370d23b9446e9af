"""What weights take in a file: against counts by hand, and against Deep Compression's of the same matrix."""

from __future__ import annotations

import numpy as np
import pytest

import intir
from hwsim.engines.csc import encode
from hwsim.storage import huffman_storage
from hwsim.stored import stored_weights


def graph_of(*matrices: np.ndarray) -> intir.Graph:
    """Products one after the other, each (inputs, outputs)."""
    builder = intir.GraphBuilder("g")
    value = builder.input("x", (matrices[0].shape[0],), intir.unsigned(1))
    for matrix in matrices:
        value = builder.node(intir.MatMul(matrix), value)
    builder.output(value)
    return builder.build()


def test_dense_weights_take_their_width() -> None:
    matrix = np.arange(-127, 129 - 1)[:, None] * np.ones((1, 4), np.int64)  # 255 values of 8 bits, no zeros to skip
    matrix = np.where(matrix == 0, 1, matrix)
    (one,) = stored_weights(graph_of(matrix))
    assert (one.form, one.bits, one.weights, one.nonzeros, one.values) == ("integers", 8 * matrix.size, matrix.size, matrix.size, 254)


def test_few_values_take_codes() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.choice([-100, -7, 50, 90], (40, 50))
    (one,) = stored_weights(graph_of(matrix))
    assert (one.form, one.bits) == ("codes", 2 * 2000 + 4 * 8)
    binary = rng.choice([-1, 1], (40, 50))
    (one,) = stored_weights(graph_of(binary))
    assert (one.form, one.bits) == ("integers", 2000)


def test_a_lopsided_code_is_shorter() -> None:
    matrix = np.full((100, 100), 3)
    matrix[:5] = np.arange(4, 9)[:, None]
    (one,) = stored_weights(graph_of(matrix))
    counts = np.array([9500, 100, 100, 100, 100, 100])
    entropy = float((counts * np.log2(counts.sum() / counts)).sum())
    assert one.coded_form == "codes" and entropy <= one.coded_bits <= entropy + 10_000 + 100  # at most a bit a symbol more
    assert one.coded_bits < one.bits == 3 * 10_000 + 6 * 4


def test_pruned_weights_are_as_deep_compression_counts_them() -> None:
    rng = np.random.default_rng(1)
    matrix = np.where(rng.random((300, 100)) < 0.05, rng.integers(-7, 8, (300, 100)), 0)
    (one,) = stored_weights(graph_of(matrix))
    other = huffman_storage(encode(matrix, 1, index_bits=4, code_bits=4), index_bits=5, weight_bits=4)
    assert (one.form, one.bits) == ("sparse", other.plain_bits + other.codebook_bits)
    assert (one.coded_form, one.coded_bits) == ("sparse", other.total_bits)
    assert one.nonzeros == np.count_nonzero(matrix)


@pytest.mark.parametrize("same", [True, False])
def test_shared_layers_count_once(same: bool) -> None:
    first = np.random.default_rng(2).choice([-1, 1], (8, 8))
    second = first if same else -first
    assert len(stored_weights(graph_of(first, second))) == (1 if same else 2)

"""What the weights of a network take in a file, to the bit: each layer in the form that takes least.

Three forms without entropy coding: integers of the least width; codes into a list of the layer's values; and codes of the
nonzero ones with the gaps between them, as Deep Compression has them (`storage`).  With it: the codes of all weights Huffman
coded, or codes and gaps of the nonzero ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intir import Graph, IntType
from intir.ops import Conv2d

from .engines.csc import MAX_BITS, encode
from .storage import CONVOLUTION_INDEX_BITS, DENSE_INDEX_BITS, coded, huffman_storage
from .systems.workload import PRODUCTS, matrix_of

#: Beyond so many values a layer's weights are kept as integers.
MOST_VALUES = 256


@dataclass(frozen=True)
class LayerStorage:
    """The weights of one layer.

    Parameters
    ----------
    name : str
    weights, nonzeros, values : int
        How many; how many of them are not 0; how many different ones there are.
    form, coded_form : str
        That takes least: ``integers``, ``codes`` or ``sparse``.
    bits, coded_bits : int
        In that form, without and with Huffman coding.
    """

    name: str
    weights: int
    nonzeros: int
    values: int
    form: str
    bits: int
    coded_form: str
    coded_bits: int


def stored_weights(graph: Graph) -> tuple[LayerStorage, ...]:
    """Every layer's; weights that two layers share are listed once."""
    seen: set[bytes] = set()
    made = []
    for node in graph.nodes:
        if isinstance(node.op, PRODUCTS):
            matrix = matrix_of(node.op)
            key = matrix.tobytes() + str(matrix.shape).encode()
            if key not in seen:
                seen.add(key)
                made.append(_layer(node.name, matrix, CONVOLUTION_INDEX_BITS if isinstance(node.op, Conv2d) else DENSE_INDEX_BITS))
    return tuple(made)


def _layer(name: str, matrix: NDArray[np.int64], index_bits: int) -> LayerStorage:
    values, counts = np.unique(matrix, return_counts=True)
    width = IntType.of(matrix).bits
    plain = {"integers": matrix.size * width}
    packed = dict(plain)
    if len(values) <= MOST_VALUES:
        listed = len(values) * width
        plain["codes"] = matrix.size * (len(values) - 1).bit_length() + listed
        packed["codes"] = coded(counts).total_bits + listed
    nonzeros = int(np.count_nonzero(matrix))
    different = len(np.setdiff1d(values, [0]))
    if 0 < nonzeros < matrix.size and different < 1 << MAX_BITS:
        # rows of the engine's matrix are outputs; `encode` takes (inputs, outputs)
        compressed = encode(matrix.T, 1, index_bits=index_bits, code_bits=max(1, different.bit_length()), where=name)
        found = huffman_storage(compressed, index_bits=index_bits, weight_bits=width)
        plain["sparse"] = found.plain_bits + found.codebook_bits
        packed["sparse"] = found.total_bits
    form, coded_form = min(plain, key=lambda one: plain[one]), min(packed, key=lambda one: packed[one])
    return LayerStorage(name, matrix.size, nonzeros, len(values), form, plain[form], coded_form, packed[coded_form])

"""SqueezeNet as Deep Compression left it: real sparsity, real codebooks.

The file holds each of its 26 convolutions as 8-bit codes.  A convolution is the matrix that one output pixel is multiplied
with: inputs x kernel height x kernel width by outputs.  The activations are no real ones: as many as `ACTIVE` says are drawn
nonzero, at random places.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from hwsim.storage import CONVOLUTION_INDEX_BITS, huffman_storage, storage

from .layers import PES, WEIGHT_BITS, Encoded, Layer

NAME: Final = "squeezenet_deepcompressed_codes.npz"
SOURCE: Final = "songhan/SqueezeNet-Deep-Compression"
#: Rather more than the paper's densities of activations behind ReLU.
ACTIVE: Final = 0.5
CODE_BITS: Final = 8
DEPTHS: Final = (2, 8)
TITLE: Final = f"SqueezeNet's real weights, {100 * ACTIVE:.0f}% of the activations nonzero, one output pixel"


def default_file() -> Path:
    """Where the file is looked for: in `models/` of the folder that BITWRIGHT_SHARED names, or `shared` beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared"
    return Path(os.environ.get("BITWRIGHT_SHARED", beside)) / "models" / NAME


def read(file: Path) -> list[Layer]:
    """Its convolutions; weights are the codebook's values in units of 2**-14."""
    layers = []
    with np.load(file, allow_pickle=False) as arrays:
        for number, key in enumerate(key for key in arrays.files if key.endswith("_codes")):
            codes = arrays[key].reshape(len(arrays[key]), -1).T  # (inputs x kernel, outputs)
            columns, rows = np.nonzero(codes)
            codebook = np.round(arrays[key.replace("_codes", "_cb")].astype(np.float64) * 2**14).astype(np.int64)
            rng = np.random.default_rng(number)
            x = np.zeros(len(codes), np.int64)
            x[rng.permutation(len(x))[:round(ACTIVE * len(x))]] = 1
            layers.append(Layer(key.removesuffix("_codes"), rows, columns, codes[columns, rows].astype(np.int64), codes.shape,
                                codebook, x, code_bits=CODE_BITS))
    return layers


def sizes(layers: list[Encoded]) -> str:
    """Storage of all of them, in words."""
    held = [storage(one.matrix, weight_bits=WEIGHT_BITS) for one in layers]
    coded = [huffman_storage(one.matrix, index_bits=CONVOLUTION_INDEX_BITS) for one in layers]

    def kib(bits: Iterable[int]) -> str:
        return f"{sum(bits) / 8192:,.0f} KiB"

    return (f"stored: {kib(one.dense_bits for one in held)} as float32; {kib(one.total_bits for one in held)} in {PES} PEs "
            f"(indices {kib(one.index_bits for one in held)}, codes {kib(one.code_bits for one in held)}, of both padding "
            f"{kib(one.padding_bits for one in held)}; pointers {kib(one.pointer_bits for one in held)}; codebooks "
            f"{kib(one.codebook_bits for one in held)}); as Deep Compression counts "
            f"{kib(one.plain_bits + one.codebook_bits for one in coded)}, Huffman coded {kib(one.total_bits for one in coded)}")

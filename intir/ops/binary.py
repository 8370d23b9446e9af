"""Products of bipolar inputs and bipolar weights on packed bits.

64 channels share a machine word, and a word of products is one XOR and one population count.  Where numba is installed,
large products run this way, several times faster than BLAS can multiply floats; small ones, and installations
without numba, use BLAS.  Both are exact.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import BIPOLAR, IntType
from .base import Array, Shape, least_int

#: Fewer multiply-accumulates than this are done before the compiled loop has been loaded.
LEAST_WORK = 2 * 10**8
_WORD_BITS = 64


def pays(kind: IntType, weights: NDArray[np.int64], multiply_accumulates: int) -> bool:
    """Whether a product is binary, large, and the compiled loop at hand."""
    return (multiply_accumulates >= LEAST_WORK and BIPOLAR.contains(kind) and weights[..., 0].size < 2**31
            and is_bipolar(weights) and _kernel() is not None)


def is_bipolar(weights: NDArray[np.int64]) -> bool:
    """Whether every weight is -1 or +1."""
    return bool((np.abs(weights) == 1).all())


def convolve(x: Array, weights: NDArray[np.int64], size: Shape, stride: Shape, dilation: Shape) -> Array:
    """Convolution of a padded bipolar input with bipolar weights.

    Parameters
    ----------
    x : (N, H, W, C), values -1 and +1
    weights : int64 (KH, KW, C, M)
    size : (OH, OW)

    Returns
    -------
    (N, OH, OW, M), in the narrowest integers that hold every sum
    """
    kernel = _kernel()
    terms = int(np.prod(weights.shape[:3]))
    packed = _packed(weights.transpose(0, 1, 3, 2))  # (KH, KW, M, D)
    columns = np.ascontiguousarray(packed.transpose(0, 1, 3, 2)).reshape(-1, weights.shape[3])
    out = np.empty((len(x), *size, weights.shape[3]), least_int(-terms, terms))
    kernel(_packed(x), columns, weights.shape[:2], stride, dilation, out, terms)
    return out


def _packed(x: Array) -> NDArray[np.uint64]:
    """The last axis as bits, +1 as 1, in words of 64; the words are filled up with 0."""
    bits = np.packbits(x > 0, axis=-1, bitorder="little")
    missing = -bits.shape[-1] % (_WORD_BITS // 8)
    if missing:
        bits = np.concatenate([bits, np.zeros((*bits.shape[:-1], missing), np.uint8)], axis=-1)
    return np.ascontiguousarray(bits).view("<u8").astype(np.uint64, copy=False)


@functools.cache
def _kernel() -> Any:
    """The compiled loop, or None where numba is not installed."""
    try:
        return importlib.import_module(".popcount_kernel", __package__).differing
    except ImportError:
        return None

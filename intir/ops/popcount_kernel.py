"""The compiled inner loop of binary products: XNOR and count over words of 64 bits.

Imported only when a product is large enough to pay for it, and only where numba is installed; `binary` decides.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray


@intrinsic
def _popcount(_context: Any, _word: Any) -> Any:
    """Number of ones in a uint64, by the processor's own instruction."""

    def code(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), code


@numba.njit(nogil=True, cache=True)  # the executor's workers run it side by side
def differing(x: NDArray[np.uint64], weights: NDArray[np.uint64], kernel: tuple[int, int], stride: tuple[int, int],
              dilation: tuple[int, int], out: NDArray[Any], terms: int) -> None:
    """For every window and output, ``terms - 2 * (number of bits in which they differ)``.

    Parameters
    ----------
    x : uint64 (N, H, W, D)
        Channels packed into words; unused bits are 0 here and in the weights.
    weights : uint64 (KH * KW * D, M)
    out : signed integers (N, OH, OW, M)
    """
    words = x.shape[3]
    outputs = weights.shape[1]
    count = np.empty(outputs, np.int64)
    for image in range(x.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                count[:] = 0
                term = 0
                for a in range(kernel[0]):
                    for b in range(kernel[1]):
                        for d in range(words):
                            word = x[image, i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1], d]
                            for n in range(outputs):
                                count[n] += np.int64(_popcount(word ^ weights[term, n]))  # type: ignore[call-arg]  # numba drops the context
                            term += 1
                for n in range(outputs):
                    out[image, i, j, n] = terms - 2 * count[n]

"""How much faster the sparse engine is than a dense one, and than this machine's own products."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from rich.table import Table
from scipy.sparse import csr_array

from .layers import CLOCK_MHZ, PAPER_DEPTH, PES, Encoded
from .timing import cycles

REPEATS: Final = 5


def best_us(action: Callable[[], object]) -> float:
    """Shortest time of a few calls."""
    times = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return 1e6 * min(times)


def speedups(layers: list[Encoded]) -> Table:
    """Times in us, and how many times longer than ours; vectors of one frame."""
    table = Table(title=f"us a layer, and how many times ours: {PES} PEs at {CLOCK_MHZ} MHz, depth {PAPER_DEPTH}; one frame")
    table.add_column("layer")
    for heading in ("ours", f"dense engine of\n{PES} MACs a cycle", "numpy float32\non this machine", "scipy.sparse CSR\nfloat32"):
        table.add_column(heading, justify="right")
    ratios: list[list[float]] = []
    for one in layers:
        layer, matrix = one.layer, one.matrix
        ours = cycles(one, PAPER_DEPTH) / CLOCK_MHZ
        dense_engine = matrix.inputs * matrix.outputs / PES / CLOCK_MHZ
        values = layer.codebook[layer.codes].astype(np.float32)
        x = layer.x.astype(np.float32)
        sparse = csr_array((values, (layer.rows, layer.columns)), shape=(matrix.outputs, matrix.inputs))
        sparse_us = best_us(lambda sparse=sparse, x=x: sparse @ x)
        dense = np.zeros((matrix.outputs, matrix.inputs), np.float32)
        dense[layer.rows, layer.columns] = values
        dense_us = best_us(lambda dense=dense, x=x: dense @ x)
        if not np.allclose(dense @ x, sparse @ x, rtol=1e-3, atol=1):
            raise ValueError(f"{layer.name}: the dense and the sparse product differ")
        others = [dense_engine, dense_us, sparse_us]
        ratios.append([other / ours for other in others])
        table.add_row(layer.name, f"{ours:.1f}", *(f"{other:,.0f}  {other / ours:,.0f}x" for other in others))
    mean = np.exp(np.log(ratios).mean(axis=0))
    table.add_row("geometric mean", "", *(f"{ratio:,.0f}x" for ratio in mean))
    return table

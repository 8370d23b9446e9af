"""What happens inside sparse engines: for each product, how much of the array works, waits and is stored in vain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .design import Design
from .engines.eie import Eie
from .engines.eie_cycles import LayerRun, run_frame
from .layers import SparseLayer
from .storage import huffman_storage, storage

#: Frames whose insides are looked at; cycles are those of all.
MOST_FRAMES = 32


@dataclass(frozen=True)
class ProductReport:
    """One matrix product on a sparse engine; means over frames where they differ.

    Parameters
    ----------
    name, layer : str
        Of the node, and of the layer whose engine runs it.
    inputs, outputs, pes : int
    density : float
        Nonzero weights.
    activation_density : float
        Nonzero inputs.
    entries, padding : int
        Stored, padding included; padding.
    stored_bits, dense_bits, huffman_bits : int
        In the engine's memories; dense at 32 bits; as Deep Compression codes it.
    cycles, ideal_cycles : float
        From the first activation scanned to the last product; if all entries worked on were spread evenly.
    load_balance : float
        Share of all PEs' cycles in which they worked on an entry.
    held_mean : float
        Columns that a PE holds, on average.
    held_peak : int
    full_wait_cycles, scan_wait_cycles : float
        In which the broadcast waited for room in a queue; for the scan.
    padding_worked : float
        Padding entries worked on.
    word_reads, pointer_reads : float
        Of all PEs' memories.
    same_row_entries : float
        Entries right behind one of the same row, whose sum is forwarded.
    """

    name: str
    layer: str
    inputs: int
    outputs: int
    pes: int
    density: float
    activation_density: float
    entries: int
    padding: int
    stored_bits: int
    dense_bits: int
    huffman_bits: int
    cycles: float
    ideal_cycles: float
    load_balance: float
    held_mean: float
    held_peak: int
    full_wait_cycles: float
    scan_wait_cycles: float
    padding_worked: float
    word_reads: float
    pointer_reads: float
    same_row_entries: float


def sparse_products(design: Design, x: NDArray[np.int64] | None = None) -> tuple[ProductReport, ...]:
    """A report for every product on a sparse engine.

    Parameters
    ----------
    design : Design
    x : int64 (F, *input shape), optional
        Frames, of which the first 32 are looked at; without them, as if no activation were zero.
    """
    engines = {stage.layer: stage.engine for stage in design.stages if isinstance(stage.engine, Eie)}
    layers = [layer for layer in design.layers if isinstance(layer, SparseLayer)]
    activations = design.activations(x[:MOST_FRAMES]) if x is not None and layers else {}
    made: list[ProductReport] = []
    for layer in layers:
        engine, matrices = engines[layer.name], layer.matrices(design.plan.layers[layer.name])
        taken = activations.get(layer.name) or [np.ones((1, matrix.inputs), np.int64) for matrix in matrices]
        frames = [run_frame(engine, matrices, one) for one in zip(*taken, strict=True)]
        for node, matrix, value, runs in zip(layer.products, matrices, taken, zip(*frames, strict=True), strict=True):
            stored = storage(matrix, weight_bits=engine.w_type.bits, position_bits=engine.position_bits)
            made.append(ProductReport(
                node.name, layer.name, matrix.inputs, matrix.outputs, matrix.pes,
                (matrix.entries - matrix.padding) / (matrix.inputs * matrix.outputs), float(np.count_nonzero(value) / value.size),
                matrix.entries, matrix.padding, stored.total_bits, stored.dense_bits, huffman_storage(matrix).total_bits,
                _mean(runs, "cycles"), _mean(runs, "entries") / matrix.pes, _mean(runs, "load_balance"), _mean(runs, "held_mean"),
                max(run.held_peak for run in runs), _mean(runs, "full_wait_cycles"), _mean(runs, "scan_wait_cycles"),
                _mean(runs, "padding_entries"), _mean(runs, "word_reads"), _mean(runs, "pointer_reads"),
                _mean(runs, "same_row_entries")))
    return tuple(made)


def _mean(runs: Sequence[LayerRun], name: str) -> float:
    return float(np.mean([getattr(run, name) for run in runs]))

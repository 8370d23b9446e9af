"""Memory of binary weights, as bytes of files that are written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from rich.table import Table

from hwsim.systems.workload import matrix_of
from intir import Conv2d, Graph, MatMul, save
from intir.whole import write_whole
from quant.lower import lower

ROOT = Path(__file__).resolve().parents[2]


def binary_matrices(graph: Graph) -> list[np.ndarray]:
    """Weights of the layers that have two levels, filters x terms."""
    found = [matrix_of(node.op) for node in graph.nodes if isinstance(node.op, (MatMul, Conv2d))]
    return [matrix for matrix in found if set(np.unique(matrix)) <= {-1, 1}]


def networks() -> list[tuple[str, Graph]]:
    """The demo's TFC, and FINN's CNV where the training side is installed."""
    made = [("TFC w1a1", lower(ROOT / "examples/tfc/tfc_w1a1.onnx", input_spec="u8/255").graph)]
    try:
        from benchmarks.dataflow.networks import NETWORKS
    except ImportError:
        return made
    return [*made, ("CNV w1a1", NETWORKS["cnv_w1a1"].make())]


def sizes() -> tuple[Table, float]:
    """Bytes of float32, of packed bits, and of the network's own file; the least ratio of the first two."""
    table = Table(title="Binary weights in files: bytes")
    for heading in ("network", "weights", "float32", "packed", "ratio", "whole network (.intir),\nthresholds included", "ratio"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    least = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in networks():
            matrices = binary_matrices(graph)
            whole, packed, file = (Path(folder) / f"{name}.{end}" for end in ("f32", "bits", "intir"))
            write_whole(whole, b"".join(matrix.astype("<f4").tobytes() for matrix in matrices))
            write_whole(packed, b"".join(np.packbits(matrix.ravel() > 0, bitorder="little").tobytes() for matrix in matrices))
            save(graph, file)
            _check(packed.read_bytes(), matrices)
            floats, bits, network = (path.stat().st_size for path in (whole, packed, file))
            least = min(least, floats / bits)
            table.add_row(name, f"{sum(matrix.size for matrix in matrices):,}", f"{floats:,}", f"{bits:,}", f"{floats / bits:.2f}",
                          f"{network:,}", f"{floats / network:.1f}")
    return table, least


def _check(packed: bytes, matrices: list[np.ndarray]) -> None:
    """The packed file holds every weight."""
    start = 0
    for matrix in matrices:
        size = -(-matrix.size // 8)
        bits = np.unpackbits(np.frombuffer(packed[start:start + size], np.uint8), count=matrix.size, bitorder="little")
        assert (2 * bits.astype(np.int64) - 1 == matrix.ravel()).all()
        start += size

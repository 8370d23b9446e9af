"""The reference executor: what a graph computes, on batches, always exact."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .errors import GraphError
from .graph import Affine, Graph, Node
from .ops import Conv2d, Threshold
from .ops.base import Array, least_int

#: Bytes that the largest intermediate array of one chunk may take: little enough to stay in cache, enough to keep BLAS busy.
CHUNK_BYTES = 16 * 2**20

Progress = Callable[[int, int], None]


def run(graph: Graph, x: Array, *, progress: Progress | None = None, workers: int = 1) -> NDArray[np.int64]:
    """Run a graph with one input and one output on a batch of integers.

    Parameters
    ----------
    x : integer array (N, *input shape)
    progress : callable (done, total), optional
        Called after each chunk of the batch.
    workers : int
        Chunks that run side by side in threads; pays on large batches where BLAS itself keeps to one thread
        (``OPENBLAS_NUM_THREADS=1``).

    Returns
    -------
    int64 array (N, *output shape)

    Raises
    ------
    GraphError
        If x has another shape, is not integer, or holds a value outside the input's type.
    """
    name = graph.input.value
    return run_all(graph, {name: x}, progress=progress, workers=workers)[graph.output.value]


def run_all(graph: Graph, inputs: Mapping[str, Array], *, keep: tuple[str, ...] = (), progress: Progress | None = None,
            workers: int = 1) -> dict[str, NDArray[np.int64]]:
    """Run a graph; returns its outputs, and the values named in `keep`, by name.  Other parameters as for `run`."""
    batch = _check_inputs(graph, inputs)
    if missing := [name for name in keep if name not in graph.values]:
        raise GraphError(f"'{missing[0]}' is no value of graph '{graph.name}'; keep only values that it has")
    wanted = tuple(dict.fromkeys((*(one.value for one in graph.outputs), *keep)))
    results = {name: np.empty((batch, *graph.values[name].shape), np.int64) for name in wanted}
    most = max(1, CHUNK_BYTES // (4 * max(value.elements for value in graph.values.values())))
    workers = max(1, workers)
    chunks = max(1, -(-batch // (most * workers))) * workers  # of equal size, so that no worker waits for another
    chunk = max(1, -(-batch // chunks))
    starts = range(0, batch, chunk)

    def work(start: int) -> int:
        stop = min(start + chunk, batch)
        _run_chunk(graph, {name: x[start:stop] for name, x in inputs.items()}, {name: y[start:stop] for name, y in results.items()})
        return stop - start

    _ = graph.ranges  # proven before any thread asks for them
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        for size in pool.map(work, starts) if workers > 1 else map(work, starts):
            done += size
            if progress:
                progress(done, batch)
    return results


def _run_chunk(graph: Graph, inputs: dict[str, Array], results: dict[str, NDArray[np.int64]]) -> None:
    """Compute one chunk and write what is wanted of it into `results`."""
    live: dict[str, Array] = {}
    for name, x in inputs.items():
        kind = graph.values[name].type
        live[name] = x.astype(least_int(kind.lo, kind.hi))
    last_use = {value: i for i, node in enumerate(graph.nodes) for value in node.inputs}
    fused = _fused(graph, results)
    for i, node in enumerate(graph.nodes):
        if node.output in fused:
            conv, threshold = fused[node.output]
            compare = functools.partial(threshold.op.evaluate, ranges=[graph.ranges[node.output]])
            live[threshold.output] = conv.evaluate(live[node.inputs[0]], ranges=[graph.ranges[node.inputs[0]]], then=compare)
        elif node.output not in live:
            live[node.output] = node.op.evaluate(*[live[value] for value in node.inputs],
                                                 ranges=[graph.ranges[value] for value in node.inputs])
        for value in (*node.inputs, node.output):
            if last_use.get(value, i) == i and value not in results:
                live.pop(value, None)
    for name, result in results.items():
        result[...] = live[name]


def _fused(graph: Graph, wanted: Collection[str]) -> dict[str, tuple[Conv2d, Node]]:
    """Output of a convolution -> the threshold that alone reads it: the pair runs block by block, in the cache."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            readers.setdefault(value, []).append(node)
    return {node.output: (node.op, readers[node.output][0]) for node in graph.nodes
            if isinstance(node.op, Conv2d) and node.op.groups == 1 and node.output not in wanted
            and [type(reader.op) for reader in readers.get(node.output, [])] == [Threshold]}


def to_real(integers: NDArray[np.int64], affine: Affine) -> NDArray[np.float64]:
    """The real numbers that integers stand for, each the float64 nearest to the exact rational.

    Parameters
    ----------
    integers : int64 (..., C)
    """
    scale = affine.scale * (1 if len(affine.scale) > 1 else integers.shape[-1])
    offset = affine.offset * (1 if len(affine.offset) > 1 else integers.shape[-1])
    out = np.empty(integers.shape, np.float64)
    for c in range(integers.shape[-1]):
        levels, where = np.unique(integers[..., c], return_inverse=True)
        exact = [float(Fraction(int(level)) * scale[c] + offset[c]) for level in levels]
        out[..., c] = np.array(exact, np.float64)[where].reshape(integers.shape[:-1])
    return out


def to_source(integers: NDArray[np.int64], graph: Graph) -> NDArray[np.float64]:
    """The numbers that the source network gives for a graph's output, in the source network's layout.

    Parameters
    ----------
    integers : int64 (N, *output shape)
        What `run` returned.

    Returns
    -------
    float64 (N, *source shape), each the float nearest to the exact rational
    """
    interface = graph.output
    real = to_real(integers, interface.affine)
    source = real.shape[1:] if interface.source_shape is None else interface.source_shape
    perm = interface.perm or tuple(range(len(source)))
    arranged = real.reshape(len(real), *(source[axis] for axis in perm))
    return arranged.transpose(0, *(1 + perm.index(axis) for axis in range(len(source))))


def _check_inputs(graph: Graph, inputs: Mapping[str, Array]) -> int:
    if extra := [name for name in inputs if name not in {one.value for one in graph.inputs}]:
        raise GraphError(f"'{extra[0]}' is no input of graph '{graph.name}'; its inputs are "
                         f"{', '.join(one.value for one in graph.inputs)}")
    batch = None
    for interface in graph.inputs:
        value = graph.values[interface.value]
        if value.name not in inputs:
            raise GraphError(f"input '{value.name}' is missing; pass an integer array of shape (N, {_sizes(value.shape)})")
        x = inputs[value.name]
        if x.dtype.kind not in "iub":
            raise GraphError(f"input '{value.name}' is an array of {x.dtype}; the reference takes integers of type {value.type}")
        if x.ndim != len(value.shape) + 1 or tuple(x.shape[1:]) != value.shape:
            raise GraphError(f"input '{value.name}' has shape {x.shape}; it must be (N, {_sizes(value.shape)})")
        if (x.dtype == np.uint64 and x.size and int(x.max()) > value.type.hi) or not value.type.holds(x):
            raise GraphError(f"input '{value.name}' holds values from {x.min()} to {x.max()}; the graph takes {value.type}")
        if batch not in (None, len(x)):
            raise GraphError(f"input '{value.name}' has a batch of {len(x)}, another has {batch}; make them equal")
        batch = len(x)
    return batch or 0


def _sizes(shape: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in shape)

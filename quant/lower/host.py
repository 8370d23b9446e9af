"""The host's side of a graph's input: from images or floats to the integers that the hardware takes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intir import Graph, Interface, Value

from .errors import LoweringError

#: How far, in integers, a float may lie from the integer it stands for: well above float32 rounding, below any mix-up.
TOLERANCE = 1e-3


def host_input(graph: Graph, x: NDArray[Any]) -> NDArray[np.int64]:
    """Bring a batch to the integers of a graph's input.

    Parameters
    ----------
    graph : Graph with one input
    x : array (N, *shape)
        In the source network's layout or in the IR's.  Integers and booleans are taken as the graph's integers;
        floats are what the source network takes, and go through the recorded host step, exactly.

    Returns
    -------
    int64 (N, *shape of the graph's input)

    Raises
    ------
    LoweringError
        If the shape fits neither layout, a float stands for no integer, is NaN, or an integer is out of range.
    """
    interface = graph.input
    value = graph.values[interface.value]
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise LoweringError(f"the input is an array of {x.dtype}; pass integers or floats")
    x = _arranged(x, interface, value)
    if x.dtype == np.uint64 and x.size and int(x.max()) >= 2**63:
        raise LoweringError(f"the input holds {x.max()}, beyond 63 bits; the graph takes {value.type}")
    integers = _from_floats(x, interface, value) if x.dtype.kind == "f" else x.astype(np.int64)
    if not value.type.holds(integers):
        raise LoweringError(f"the input holds integers from {integers.min()} to {integers.max()}; the graph takes {value.type}")
    return integers


def _arranged(x: NDArray[Any], interface: Interface, value: Value) -> NDArray[Any]:
    source = value.shape if interface.source_shape is None else interface.source_shape
    if tuple(x.shape[1:]) == source and x.ndim == len(source) + 1:
        perm = interface.perm or tuple(range(len(source)))
        return np.ascontiguousarray(x.transpose(0, *(axis + 1 for axis in perm))).reshape(len(x), *value.shape)
    if tuple(x.shape[1:]) == value.shape and x.ndim == len(value.shape) + 1:
        return x
    if x.ndim >= 2 and math.prod(x.shape[1:]) == value.elements and (x.ndim == 2 or len(value.shape) == 1) and not interface.perm:
        return x.reshape(len(x), *value.shape)  # a flat image where the order of elements is the same in all layouts
    wanted = " or ".join(f"(N, {', '.join(map(str, shape))})" for shape in dict.fromkeys([source, value.shape]))
    raise LoweringError(f"the input has shape {x.shape}; the network takes {wanted}")


def _from_floats(x: NDArray[Any], interface: Interface, value: Value) -> NDArray[np.int64]:
    host = interface.host
    x = x.astype(np.float64)  # exact for float16 and float32
    if np.isnan(x).any():
        raise LoweringError("the input holds NaN; pass numbers")
    if host is None:
        raise LoweringError(f"the graph does not say how floats become its input; pass integers of type {value.type}")
    if not host.thresholds:
        return _scaled(x, Fraction(host.scale or 1), host.description, value)
    table = [_floats_from(row, strict) for row, strict in zip(host.thresholds, host.strict, strict=True)]
    count = np.zeros(x.shape, np.int64)
    bounds = np.array(table)  # (C or 1, T)
    for t in range(bounds.shape[1]):
        count += x >= bounds[:, t]
    return value.type.lo + value.type.step * count


def _scaled(x: NDArray[np.float64], scale: Fraction, description: str, value: Value) -> NDArray[np.int64]:
    if not np.isfinite(x).all():
        raise LoweringError("the input holds infinite values; pass finite numbers")
    integers = x / float(scale)
    nearest = np.rint(integers)
    lo, hi = value.type.lo, value.type.hi
    outside = (nearest < lo) | (nearest > hi)
    whole = bool((x == np.rint(x)).all()) and bool(((x >= lo) & (x <= hi)).all())
    if outside.any():
        way = "pass integers (astype uint8) or divide by the scale first" if whole else "rescale the input"
        low, high = float(lo * scale), float(hi * scale)
        raise LoweringError(f"the input holds floats from {x.min():g} to {x.max():g}, but {description} covers {low:g} to "
                            f"{high:g}; {way}")
    worst = np.abs(integers - nearest)
    if worst.size and float(worst.max()) > TOLERANCE:
        at = x.ravel()[int(worst.argmax())]
        raise LoweringError(f"the input holds {at:.9g}, which is no integer times {scale} ({description}); pass integers, or "
                            f"floats that "
                            "are integers times that scale")
    return nearest.astype(np.int64)


def _floats_from(row: tuple[Fraction, ...], strict: tuple[bool, ...]) -> list[float]:
    """For each threshold the least float64 that meets it: comparing floats with it is exact."""
    return [least_float(bound, above) for bound, above in zip(row, strict, strict=True)]


def least_float(bound: Fraction, strict: bool) -> float:
    """The least float64 x with x >= bound, or x > bound if strict.

    >>> least_float(Fraction(1, 2), False), least_float(Fraction(1, 2), True)
    (0.5, 0.5000000000000001)
    """
    try:
        x = float(bound)  # the nearest float64
    except OverflowError:
        return -math.inf if bound < 0 else math.inf
    while Fraction(x) < bound or (strict and Fraction(x) == bound):
        x = math.nextafter(x, math.inf)
        if math.isinf(x):
            return x
    return x

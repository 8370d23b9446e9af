"""Checking a network: the integers against the float execution, and both against exact arithmetic where they differ."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

import intir
from intir import Graph

from .exact import ExactNetwork, Rational, equal, of_array, whole
from .exact.rational import add, common, objects, of_fractions
from .lower import LoweringError, host_input, lower
from .lower.load import dimensions, load

#: Stage, done, total.
Progress = Callable[[str, int, int], None]
_EXACT_CHUNK: Final = 2**16  # input elements computed exactly at once
_SHOWN: Final = 5


@dataclass(frozen=True)
class Difference:
    """One output value on which float and integers differ, or integers and exact arithmetic.

    Parameters
    ----------
    input, position : int
        Which input of the batch, and which element of its flattened output.
    float_value, ir_value, exact_value : float
        The last is NaN where it was not computed.
    """

    input: int
    position: int
    float_value: float
    ir_value: float
    exact_value: float


@dataclass(frozen=True)
class CheckResult:
    """What `check` found; counts are of output values, but for `inputs`, `differing_inputs` and `exact_inputs`.

    Parameters
    ----------
    network : str
    inputs : int
    values : int
        Compared between float and IR.
    float_rounded : int
        The float output is not the float32 nearest to the IR's number, but it stands for the same integer.
    float_differs : int
        The float output stands for another integer than the IR's.
    differing_inputs : int
    exact_inputs, exact_values : int
        Computed in exact arithmetic: the differing inputs, and some of the others.
    exact_agrees : int
        Of `float_differs`: exact arithmetic gives the IR's integer, so the float execution rounded.
    undecided : int
        Of `float_differs`: left out because of the limit.
    ir_differs : int
        Of `exact_values`: exact arithmetic gives something else than the IR.  Must be 0.
    nodes : int
        Of the lowered graph.
    lower_seconds : float
    examples : tuple of Difference
        The first few.
    """

    network: str
    inputs: int
    values: int
    float_rounded: int
    float_differs: int
    differing_inputs: int
    exact_inputs: int
    exact_values: int
    exact_agrees: int
    undecided: int
    ir_differs: int
    nodes: int
    lower_seconds: float
    examples: tuple[Difference, ...] = ()

    @property
    def passed(self) -> bool:
        """True if exact arithmetic agreed with the IR on everything that it computed."""
        return self.ir_differs == 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "passed": self.passed}


def check(model: str | os.PathLike[str] | ModelProto, *, input_spec: str | None = None, argmax: bool = False,
          x: NDArray[Any] | None = None, count: int = 1000, seed: int = 0, witnesses: int = 8, most: int | None = None,
          float64: bool = False, progress: Progress = lambda stage, done, total: None) -> CheckResult:
    """Lower a network and compare the IR with the float execution and with exact arithmetic.

    Parameters
    ----------
    model : path of an ONNX file, or a ModelProto
    input_spec, argmax
        As `quant.lower.lower` takes them.
    x : array (N, *shape), optional
        Inputs as the network takes them, or integers where `input_spec` says what they stand for.
    count, seed : int
        Of random inputs, without `x`: over the declared range of the input, extremes and near-ties included.
    witnesses : int
        How many inputs are computed exactly although the float execution agrees.
    most : int, optional
        The most differing inputs that are computed exactly; by default all.
    float64 : bool
        Execute the network in double precision.
    progress : callable (stage, done, total)

    Raises
    ------
    LoweringError, ExactError, ExecutionError
        The network can't be lowered, or not be run on these inputs.
    """
    from .qonnx_exec import execute  # here because it needs the qonnx package

    loaded, name = load(model)
    if argmax:
        loaded = _decided(loaded)
    started = time.perf_counter()
    graph = lower(loaded, input_spec=input_spec).graph
    seconds = time.perf_counter() - started
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise LoweringError(f"'{name}' has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; a check needs one of each")
    batch = _Batch.given(graph, x, loaded) if x is not None else _Batch.random(graph, count, seed, loaded)
    inputs = len(batch.floats)
    progress("integers", 0, inputs)
    integers = intir.run(graph, host_input(graph, batch.integers if batch.integers is not None else batch.floats))
    progress("float execution", 0, inputs)
    floats = execute(loaded, batch.floats, float64=float64, batch_rounding=True).reshape(inputs, -1)
    reals = real_outputs(graph, integers)
    differs, rounded = _compared(graph, reals, floats)
    places = np.flatnonzero(differs.any(axis=1))
    others = np.setdiff1d(np.arange(inputs), places)
    chosen = np.concatenate([places[:most], others[:: max(1, len(others) // max(1, witnesses))][:witnesses]]).astype(np.int64)
    agrees = np.zeros(differs.shape, bool)
    exact = np.full(floats.shape, np.nan)
    network = ExactNetwork(loaded)
    step = max(1, min(64, _EXACT_CHUNK // max(1, batch.floats[0].size)))
    for start in range(0, len(chosen), step):
        progress("exact arithmetic", start, len(chosen))
        part = chosen[start:start + step]
        found = network.run(batch.exact(part))[0]
        found = Rational(found.integers.reshape(len(part), -1), np.broadcast_to(found.unit, (1, *found.shape)).reshape(1, -1))
        agrees[part] = equal(found, Rational(reals.integers[part], reals.unit))
        exact[part] = _nearest(found)
    progress("exact arithmetic", len(chosen), len(chosen))
    wrong = np.zeros(differs.shape, bool)
    wrong[chosen] = ~agrees[chosen]
    numbers = _nearest(reals)
    shown = [Difference(int(i), int(j), float(floats[i, j]), float(numbers[i, j]), float(exact[i, j]))
             for i, j in np.argwhere(wrong)[:_SHOWN].tolist() or np.argwhere(differs)[:_SHOWN].tolist()]
    return CheckResult(
        network=name, inputs=inputs, values=floats.size, float_rounded=int((rounded & ~differs).sum()),
        float_differs=int(differs.sum()), differing_inputs=len(places), exact_inputs=len(chosen),
        exact_values=len(chosen) * floats.shape[1], exact_agrees=int((differs & agrees).sum()),
        undecided=int(differs[places[len(places) if most is None else most:]].sum()), ir_differs=int(wrong.sum()),
        nodes=len(graph.nodes), lower_seconds=seconds, examples=tuple(shown))


@dataclass(frozen=True, eq=False)
class _Batch:
    """Inputs in the source network's layout: as it takes them, and the integers that they stand for if they do."""

    floats: NDArray[Any]
    integers: NDArray[np.int64] | None
    scale: Fraction

    def exact(self, which: NDArray[np.int64]) -> Rational:
        if self.integers is not None:
            return whole(self.integers[which], unit=self.scale)
        return of_array(self.floats[which])

    @classmethod
    def of_integers(cls, graph: Graph, integers: NDArray[np.int64], dtype: np.dtype[Any]) -> _Batch:
        host = graph.input.host
        scale = Fraction(host.scale if host is not None and host.scale is not None else 1)
        values = integers if dtype.kind in "iu" else _nearest(whole(integers, unit=scale))
        return cls(values.astype(dtype), integers, scale)

    @classmethod
    def given(cls, graph: Graph, x: NDArray[Any], model: ModelProto) -> _Batch:
        shape, dtype = _source(graph), _dtype(model)
        if x.ndim == 0 or len(x) == 0 or x.size != len(x) * int(np.prod(shape)):
            raise LoweringError(f"the inputs have shape {x.shape}; the network takes (N, {', '.join(map(str, shape))})")
        x = x.reshape(len(x), *shape)
        host_input(graph, x)  # says what is wrong with them
        host = graph.input.host
        if host is not None and host.thresholds:
            if x.dtype.kind != "f":
                raise LoweringError(f"the inputs are {x.dtype}; pass the floats that the network takes, or say with an input spec "
                                    "such as u8/255 which integers stand for them")
            return cls(x.astype(dtype), None, Fraction(1))
        integers = x if x.dtype.kind != "f" else np.rint(x / float(host.scale if host is not None and host.scale else 1))
        return cls.of_integers(graph, integers.astype(np.int64), dtype)

    @classmethod
    def random(cls, graph: Graph, count: int, seed: int, model: ModelProto) -> _Batch:
        """Over the declared range; the first are its ends, and in some every 16th element lies next to a threshold."""
        rng = np.random.default_rng(seed)
        shape, host, dtype = (count, *_source(graph)), graph.input.host, _dtype(model)
        if host is None or not host.thresholds:
            kind = graph.values[graph.input.value].type
            integers = kind.lo + kind.step * rng.integers(0, (kind.hi - kind.lo) // kind.step + 1, shape)
            integers[:1], integers[1:2] = kind.lo, kind.hi
            return cls.of_integers(graph, integers, dtype)
        table = np.array([[float(one) for one in row] for row in host.thresholds])
        step = max(float(table.max() - table.min()) / table.shape[1], abs(float(table.max())) / 4) or 1.0
        values = rng.uniform(table.min() - step, table.max() + step, shape).astype(np.float32)
        near = rng.choice(table.ravel(), shape).astype(np.float32)
        near = np.nextafter(near, near + rng.choice(np.array([-1, 0, 1], np.float32), shape))
        ties = (rng.integers(0, 16, shape) == 0) & (np.arange(count) % 8 == 7).reshape(-1, *[1] * (len(shape) - 1))
        values = np.where(ties, near, values)
        values[:1], values[1:2] = table.min() - step, table.max() + step
        return cls(values.astype(dtype), None, Fraction(1))


def _source(graph: Graph) -> tuple[int, ...]:
    interface = graph.input
    return graph.values[interface.value].shape if interface.source_shape is None else interface.source_shape


def _dtype(model: ModelProto) -> np.dtype[Any]:
    constants = {one.name for one in model.graph.initializer}
    kind = next(one for one in model.graph.input if one.name not in constants).type.tensor_type.elem_type
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind))


def real_outputs(graph: Graph, integers: NDArray[np.int64]) -> Rational:
    """The exact numbers that the IR's output integers stand for, (N, elements) in the source network's order."""
    interface = graph.output
    affine = interface.affine
    source = integers.shape[1:] if interface.source_shape is None else interface.source_shape
    perm = interface.perm or tuple(range(len(source)))
    back = [0, *(1 + perm.index(axis) for axis in range(len(source)))]

    def arranged(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(len(values), *(source[axis] for axis in perm)).transpose(back).reshape(len(values), -1)

    def param(values: tuple[Fraction, ...]) -> NDArray[Any]:
        if len(values) == 1:
            return objects([list(values)])
        return arranged(np.broadcast_to(objects(list(values)), (1, *integers.shape[1:])))

    scale, offset = param(affine.scale), param(affine.offset)
    scaled = Rational(arranged(integers) * np.sign(scale).astype(np.int64), np.abs(scale))
    if not (offset != 0).any():
        return scaled
    return add(scaled, of_fractions(offset))


def _compared(graph: Graph, reals: Rational, floats: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which float outputs stand for another integer than the IR's, and which are not the nearest float32 of its number."""
    if not np.isfinite(floats).all():
        floats = np.where(np.isfinite(floats), floats, np.float32(3e38))
    gap = add(of_array(floats), reals, -1)
    scale = objects(list(graph.output.affine.scale))
    steps = np.abs(scale).min()  # half a step apart, integers can't be told from another
    mine, half, _ = common(Rational(np.abs(gap.integers), gap.unit), whole(np.ones((1, 1), np.int64), unit=steps / 2))
    return np.asarray(mine >= half, bool), _nearest(reals).astype(np.float32) != floats.astype(np.float32)


def _nearest(numbers: Rational) -> NDArray[np.float64]:
    """float64 nearest to each number."""
    top = np.array([one.numerator for one in numbers.unit.ravel()], object).reshape(numbers.unit.shape)
    bottom = np.array([one.denominator for one in numbers.unit.ravel()], object).reshape(numbers.unit.shape)
    return np.asarray((numbers.integers.astype(object) * top) / bottom).astype(np.float64)  # of Python ints: correctly rounded


def _decided(model: ModelProto) -> ModelProto:
    """The model with an ArgMax at its end."""
    decided = ModelProto()
    decided.CopyFrom(model)
    output = decided.graph.output[0]
    sizes = dimensions(output)
    if sizes is None:
        raise LoweringError(f"output '{output.name}' has no shape, so --argmax does not know its axis; export the network with "
                            "shapes")
    axis = 1 if len(sizes) > 2 else len(sizes) - 1
    decided.graph.node.append(helper.make_node("ArgMax", [output.name], ["bitwright_class"], axis=axis, keepdims=1))
    shape = [1 if i == axis else size for i, size in enumerate(sizes)]
    value = helper.make_tensor_value_info("bitwright_class", TensorProto.INT64, shape)
    del decided.graph.output[:]
    decided.graph.output.append(value)
    return decided

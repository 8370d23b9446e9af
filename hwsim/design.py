"""Designs: a network and a plan made into a row of blocks, each with its parameters and its constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from intir import Graph, IntType, MatMul, Range

from .dataflow import ALWAYS, Block, Fifo, Trace, simulate
from .engines.argmax import Argmax
from .engines.base import Engine
from .engines.fifo import StreamFifo
from .engines.mvu import ORDERS, Mvu
from .engines.thresholding import Thresholding
from .engines.width import converters
from .layers import Layer, layers
from .plan import LayerPlan, Plan, PlanError, fingerprint

Int64 = NDArray[np.int64]

#: Least queue that lets a word enter and leave in every cycle.
LEAST_DEPTH = 2
#: Frames after which a pipeline of blocks has settled.
SETTLED_FRAMES = 5


@dataclass(frozen=True, eq=False)
class Stage:
    """One block of a design.

    Parameters
    ----------
    name : str
        A legal Verilog identifier, unique in the design.
    engine : Engine
    layer : str
        Name of the layer it belongs to.
    rounds : int
        Rounds of the engine's schedule per frame.
    weights : int64 (K, N) or None
    thresholds : int64 (C or 1, T) or None
        In the unit of the engine's comparison.
    """

    name: str
    engine: Engine
    layer: str
    rounds: int
    weights: Int64 | None = None
    thresholds: Int64 | None = None

    @property
    def cycles_per_frame(self) -> int:
        """Least clock cycles that a frame takes in this block."""
        if isinstance(self.engine, StreamFifo):
            return self.rounds
        return self.rounds * self.engine.schedule.period_cycles


@dataclass(frozen=True, eq=False)
class Design:
    """A network as hardware.

    Parameters
    ----------
    graph : Graph
    plan : Plan
        With every queue's depth filled in.
    layers : list of Layer
    stages : list of Stage, from input to output
    """

    graph: Graph
    plan: Plan
    layers: list[Layer]
    stages: list[Stage] = field(default_factory=list)

    @property
    def words_in(self) -> int:
        """Input words per frame."""
        return self.graph.values[self.graph.input.value].elements // self.stages[0].engine.word_in.lanes

    @property
    def words_out(self) -> int:
        """Output words per frame."""
        return self.graph.values[self.graph.output.value].elements // self.stages[-1].engine.word_out.lanes

    @property
    def bottleneck_cycles(self) -> int:
        """Cycles per frame of the slowest block: the least possible initiation interval."""
        return max(stage.cycles_per_frame for stage in self.stages)

    def simulate(self, frames: int, *, source: NDArray[np.bool_] = ALWAYS, sink: NDArray[np.bool_] = ALWAYS) -> Trace:
        """Run `frames` frames through the design; patterns as in `dataflow.simulate`."""
        return simulate(_blocks(self.stages), frames * self.words_in, frames * self.words_out, source=source, sink=sink)

    def rate(self) -> tuple[int, int]:
        """(initiation interval, first-output latency) in cycles, once settled, without stalls."""
        return _rate(self, self.stages)


def ample_design(graph: Graph, plan: Plan) -> Design:
    """The blocks of a network with queues that never fill: for judging foldings and orders."""
    found = layers(graph)
    check_plan(graph, plan, found)
    stages = [_deep(stage, max(LEAST_DEPTH, 2 * stage.rounds)) for stage in _stages(graph, plan, found)]
    return Design(graph, plan, found, stages)


def make_design(graph: Graph, plan: Plan) -> Design:
    """Make the blocks of a network as its plan says, and size the queues that the plan leaves open.

    Raises
    ------
    PlanError
        If the plan is for another network, misses a layer, or asks for a folding that does not divide.
    MappingError
        If no engine runs a node.
    """
    found = layers(graph)
    check_plan(graph, plan, found)
    design = Design(graph, plan, found, list(_stages(graph, plan, found)))
    depths = _size_queues(design)
    settled = {name: replace(layer, fifo_depth=depths[name]) for name, layer in plan.layers.items()}
    stages = [_deep(stage, depths[stage.layer]) for stage in design.stages]
    return Design(graph, replace(plan, layers=settled), found, stages)


def check_plan(graph: Graph, plan: Plan, found: list[Layer]) -> None:
    """Raise PlanError unless the plan fits the network."""
    if plan.structure != fingerprint(graph):
        raise PlanError(f"the plan is for the network '{plan.network}' with structure {plan.structure}, but '{graph.name}' has "
                        f"structure {fingerprint(graph)}; make a plan for this network with `bitwright plan`")
    names = [layer.name for layer in found]
    for name in plan.layers:
        if name not in names:
            raise PlanError(f"the plan has a layer '{name}', which the network lacks; its layers are {', '.join(names)}")
    for layer in found:
        entry = plan.layers.get(layer.name)
        if entry is None:
            raise PlanError(f"the plan lacks the layer '{layer.name}'; add [layers.\"{layer.name}\"] with its engine and folding")
        if entry.engine != layer.engine:
            raise PlanError(f"layer '{layer.name}': the plan's engine '{entry.engine}' cannot run it; write "
                            f"engine = \"{layer.engine}\"")
        what = "channels" if layer.engine == "argmax" else "elements" if is_common(layer) else "outputs"
        _divides(layer, "pe", entry.pe, pe_size(layer), what)
        if layer.engine == "mvu":
            _divides(layer, "simd", entry.simd, layer.inputs, "inputs")
        for key in ("simd", "order"):
            if layer.engine != "mvu" and getattr(entry, key) is not None:
                raise PlanError(f"layer '{layer.name}': the engine '{layer.engine}' has no {key}, but the plan says "
                                f"{getattr(entry, key)!r}; remove that line")


def is_common(layer: Layer) -> bool:
    """Whether a thresholding layer has one row of thresholds for all elements."""
    return layer.engine == "thresholding" and layer.threshold is not None and len(layer.threshold.thresholds) == 1


def pe_size(layer: Layer) -> int:
    """What `pe` must divide: the layer's outputs; all elements of a frame where thresholds are common."""
    if layer.engine == "argmax":
        return layer.inputs
    return layer.outputs * layer.rounds if is_common(layer) else layer.outputs


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]


def _divides(layer: Layer, key: str, value: int | None, total: int, what: str) -> None:
    if value is None:
        raise PlanError(f"layer '{layer.name}' has no {key}; give one that divides its {total} {what}")
    if value < 1 or total % value:
        choices = divisors(total)
        below = max((d for d in choices if d < value), default=1)
        above = min((d for d in choices if d > value), default=total)
        near = f"nearest that do are {below} and {above}" if below != above else f"nearest that does is {below}"
        raise PlanError(f"layer '{layer.name}': {key} = {value} does not divide its {total} {what}; the {near}")


def _stages(graph: Graph, plan: Plan, found: list[Layer]) -> Iterator[Stage]:
    """The blocks in order: each layer's engine, then a queue and the converters that the next layer needs.

    The queue stands where words are widest.  A widening converter in front of it takes words as fast as they come, and a
    narrowing one behind it gives them as fast as they go; on their other sides both would keep the queue from doing so.
    """
    ranges = graph.ranges
    engines = [engine_stage(f"l{number}_{layer.engine}", layer, plan.layers[layer.name], plan.family, ranges)
               for number, layer in enumerate(found)]
    for number, (layer, stage) in enumerate(zip(found, engines, strict=True)):
        yield stage
        word, elements = stage.engine.word_out, graph.values[layer.nodes[-1].output].elements
        follows = number + 1 < len(found)
        between = [Stage(f"l{number + 1}_width{part or ''}", converter, found[number + 1].name,
                         elements // max(converter.lanes_in, converter.lanes_out))
                   for part, converter in enumerate(converters(word.lanes, engines[number + 1].engine.word_in.lanes, word.type))
                   ] if follows else []
        widening = [converter for converter in between if converter.engine.word_out.lanes > converter.engine.word_in.lanes]
        yield from widening
        lanes = widening[-1].engine.word_out.lanes if widening else word.lanes
        yield Stage(f"l{number}_fifo", StreamFifo(lanes, word.type, plan.layers[layer.name].fifo_depth or LEAST_DEPTH), layer.name,
                    elements // lanes)
        yield from between[len(widening):]


def engine_stage(name: str, layer: Layer, entry: LayerPlan, family: str, ranges: Mapping[str, Range]) -> Stage:
    """The block of a layer with its constants; `ranges` are the graph's proven ranges."""
    if layer.engine == "argmax":
        return Stage(name, Argmax(layer.inputs, entry.pe, layer.x_type, layer.out_type), layer.name, layer.rounds)
    if layer.engine == "thresholding":
        bounds = ranges[layer.nodes[0].inputs[0]]
        rows = _clamped(layer, bounds.lo, bounds.hi)
        common = is_common(layer)
        if common:
            rows = rows[:1]
        channels = layer.outputs * layer.rounds if common else layer.outputs
        kind = IntType(min(layer.x_type.lo, int(rows.min())), max(layer.x_type.hi, int(rows.max())))
        engine: Engine = Thresholding(channels, entry.pe, layer.x_type, layer.out_type, rows.shape[1], common, kind)
        return Stage(name, engine, layer.name, 1 if common else layer.rounds, thresholds=rows)
    product = layer.nodes[0].op
    assert isinstance(product, MatMul) and entry.simd is not None  # check_plan has seen to both
    bounds = ranges[layer.nodes[0].output]
    weights = product.weights
    w_type = IntType.of(weights)
    engine = Mvu(layer.inputs, layer.outputs, entry.pe, entry.simd, layer.x_type, w_type, bounds.type, 0, bounds.type,
                 layer.out_type, family, entry.order or ORDERS[0])
    rows_or_none: Int64 | None = None
    if layer.threshold is not None:
        rows = _clamped(layer, bounds.lo, bounds.hi)
        if engine.arithmetic == "xnor":  # sum = 2 * count - K, so sum >= T means count >= ceil((T + K) / 2)
            rows = -((-rows - layer.inputs) // 2)
        counter = engine.counter_type
        kind = IntType(min(counter.lo, int(rows.min())), max(counter.hi, int(rows.max())))
        engine = replace(engine, thresholds=rows.shape[1], threshold_type=kind)
        rows_or_none = rows
    return Stage(name, engine, layer.name, layer.rounds, weights, rows_or_none)


def _clamped(layer: Layer, lo: Int64, hi: Int64) -> Int64:
    """Thresholds per channel, moved to the least value that is always and the least that is never reached."""
    assert layer.threshold is not None
    if is_common(layer):
        lo, hi = lo.min(keepdims=True), hi.max(keepdims=True)
    return np.clip(np.broadcast_to(layer.threshold.thresholds, (len(lo), layer.threshold.thresholds.shape[1])),
                   lo[:, None], hi[:, None] + 1)


def _deep(stage: Stage, depth: int) -> Stage:
    """A queue with another depth; any other stage as it is."""
    engine = stage.engine
    return replace(stage, engine=replace(engine, depth=depth)) if isinstance(engine, StreamFifo) else stage


def _blocks(stages: list[Stage]) -> list[Block]:
    return [Fifo(stage.engine.depth) if isinstance(stage.engine, StreamFifo) else stage.engine.schedule for stage in stages]


def _rate(design: Design, stages: list[Stage]) -> tuple[int, int]:
    trace = simulate(_blocks(stages), SETTLED_FRAMES * design.words_in, SETTLED_FRAMES * design.words_out)
    ends = trace.out_cycles[design.words_out - 1::design.words_out]
    return int(ends[-1] - ends[-2]), int(trace.out_cycles[0] - trace.in_cycles[0])


def _size_queues(design: Design) -> dict[str, int]:
    """Least depth per layer that costs neither rate nor latency, for every queue that the plan leaves open."""
    at = {stage.layer: i for i, stage in enumerate(design.stages) if isinstance(stage.engine, StreamFifo)}
    fixed = {name: layer.fifo_depth for name, layer in design.plan.layers.items()}
    stages = list(design.stages)

    def with_depth(name: str, depth: int) -> list[Stage]:
        return [*stages[:at[name]], _deep(stages[at[name]], depth), *stages[at[name] + 1:]]

    for name, index in at.items():  # ample: two whole frames
        stages = with_depth(name, fixed[name] or max(LEAST_DEPTH, 2 * stages[index].rounds))
    goal = _rate(design, stages)
    depths = {}
    for name, index in at.items():
        low, high = LEAST_DEPTH, stages[index].engine.depth  # type: ignore[attr-defined]
        while fixed[name] is None and low < high:
            middle = (low + high) // 2
            if _rate(design, with_depth(name, middle)) == goal:
                high = middle
            else:
                low = middle + 1
        depths[name] = fixed[name] or high
        stages = with_depth(name, depths[name])
    return depths

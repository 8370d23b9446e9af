"""Designs: a network and a plan made into blocks that are joined by streams, each with its parameters and its constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from intir import Graph, run_all

from .dataflow import ALWAYS, MAX_CYCLES, Block, Fifo, Trace, Wires, simulate
from .dataflow import Fork as ForkBlock
from .engines.base import Engine, Word
from .engines.control import control_resources
from .engines.eie import Eie
from .engines.eie_cycles import task
from .engines.fifo import StreamFifo
from .engines.fork import Fork
from .engines.memories import Resources
from .engines.width import converters
from .fit import check_fit
from .layers import Flow, Layer, SparseLayer, collect, source_of
from .plan import Plan, PlanError, fingerprint
from .queues import LEAST_DEPTH, SETTLED_FRAMES, check_stops, depth_key, least_depths, per_layer, with_ample_queues
from .schedule import Task

Int64 = NDArray[np.int64]


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
        Rounds of the engine's schedule per frame; words per frame of a queue or a fork.
    wires : Wires
        Streams that it reads and makes.
    constants : name -> int64 array
        What the block of that engine takes besides its parameters: ``weights``, ``thresholds``, ...
    task : Task, optional
        What a sparse engine does with given frames; by default with activations that are all nonzero.
    """

    name: str
    engine: Engine
    layer: str
    rounds: int
    wires: Wires
    constants: Mapping[str, Int64] = field(default_factory=dict)
    task: Task | None = None

    @property
    def cycles_per_frame(self) -> int:
        """Least clock cycles that a frame takes in this block."""
        return self.rounds * (1 if isinstance(self.timing, (Fifo, ForkBlock)) else self.timing.period_cycles)

    @cached_property
    def timing(self) -> Block:
        """The block as the simulator sees it."""
        if isinstance(self.engine, StreamFifo):
            return Fifo(self.engine.depth)
        if isinstance(self.engine, Fork):
            return ForkBlock()
        if isinstance(self.engine, Eie):
            return self.task or task(self.engine, self.constants["pointers"])
        return self.engine.schedule


@dataclass(frozen=True, eq=False)
class Design:
    """A network as hardware.

    Parameters
    ----------
    graph : Graph
    plan : Plan
        With every queue's depth filled in.
    layers : list of Layer
    stages : list of Stage, producers before consumers
    word_in, word_out : Word
        At the ports.
    """

    graph: Graph
    plan: Plan
    layers: list[Layer]
    stages: list[Stage]
    word_in: Word
    word_out: Word

    @property
    def words_in(self) -> int:
        """Input words per frame."""
        return self.graph.values[self.graph.input.value].elements // self.word_in.lanes

    @property
    def words_out(self) -> int:
        """Output words per frame."""
        return self.graph.values[self.graph.output.value].elements // self.word_out.lanes

    @property
    def streams(self) -> list[Word]:
        """The word of every stream, by number."""
        words = {0: self.word_in} | {stream: stage.engine.word_out for stage in self.stages for stream in stage.wires.outputs}
        return [words[number] for number in range(len(words))]

    @property
    def last_stream(self) -> int:
        """The number of the stream that leaves."""
        read = {stream for stage in self.stages for stream in stage.wires.inputs}
        (last,) = set(range(len(self.streams))) - read
        return last

    @property
    def bare(self) -> Design:
        """The same without its control shell: what computes, to be compared with others."""
        return replace(self, plan=replace(self.plan, control="none"))

    @property
    def resources(self) -> dict[str, Resources]:
        """What each layer takes of a device, with the queues and converters beside it, estimated; "" is the input's and the
        control shell's."""
        taken: dict[str, Resources] = {name: Resources() for name in ("", *self.plan.layers)}
        taken[""] += control_resources(self.plan.family, self.plan.control)
        for stage in self.stages:
            taken[stage.layer] += stage.engine.resources(self.plan.family)
        return taken

    @property
    def bottleneck_cycles(self) -> int:
        """Cycles per frame of the slowest block: the least possible initiation interval."""
        return max(stage.cycles_per_frame for stage in self.stages)

    @property
    def depends_on_data(self) -> bool:
        """Whether its cycles do: a block of it skips zeros."""
        return any(isinstance(stage.engine, Eie) for stage in self.stages)

    def simulate(self, frames: int, *, source: NDArray[np.bool_] = ALWAYS, sink: NDArray[np.bool_] = ALWAYS,
                 limit_cycles: int = MAX_CYCLES, drains: bool = False, bins: int = 1) -> Trace:
        """Run `frames` frames through the design; patterns, `drains` and `bins` as in `dataflow.simulate`."""
        return simulate([stage.timing for stage in self.stages], frames * self.words_in, frames * self.words_out,
                        wires=[stage.wires for stage in self.stages], source=source, sink=sink, limit_cycles=limit_cycles,
                        drains=drains, bins=bins)

    def activations(self, x: Int64) -> dict[str, list[Int64]]:
        """What each product on a sparse engine takes of frames (F, *input shape): layer -> int64 (vectors, inputs) per product."""
        layers = [layer for layer in self.layers if isinstance(layer, SparseLayer)]
        values = run_all(self.graph, {self.graph.input.value: x}, keep=tuple(value for layer in layers for value in layer.inputs))
        return {layer.name: [values[value].reshape(-1, size) for value, size in zip(layer.inputs, layer.sizes, strict=False)]
                for layer in layers}

    def with_frames(self, x: Int64) -> Design:
        """The same, its sparse engines as fast as these frames (F, *input shape), repeated, let them be."""
        if not self.depends_on_data:
            return self
        taken = self.activations(x)
        return replace(self, stages=[
            replace(stage, task=task(stage.engine, stage.constants["pointers"], taken[stage.layer]))
            if isinstance(stage.engine, Eie) else stage for stage in self.stages])

    def rate(self) -> tuple[int, int]:
        """(initiation interval, first-output latency) in cycles, once settled, without stalls; the most if that depends on data."""
        return self.rate_of(self.settled)

    @cached_property
    def settled(self) -> Trace:
        """Frames back to back without stalls, as many as it takes to settle.  Raises SimulationError."""
        return self.simulate(SETTLED_FRAMES)

    def rate_of(self, trace: Trace) -> tuple[int, int]:
        """`rate`, as a simulation of at least two frames without stalls shows it."""
        ends = trace.out_cycles[self.words_out - 1::self.words_out]
        return int(ends[-1] - ends[-2]), int(trace.out_cycles[0] - trace.in_cycles[0])

    def mean_rate(self, trace: Trace) -> tuple[int, int]:
        """(mean initiation interval, rounded up, first-output latency) over a simulation; its total for one of a single frame."""
        ends = trace.out_cycles[self.words_out - 1::self.words_out]
        ii = -(-int(ends[-1] - ends[0]) // (len(ends) - 1)) if len(ends) > 1 else int(ends[0] - trace.in_cycles[0]) + 1
        return ii, int(trace.out_cycles[0] - trace.in_cycles[0])

    def with_depths(self, depths: dict[str, int]) -> Design:
        """The same with other queues: stage name -> words."""
        stages = [replace(stage, engine=replace(stage.engine, depth=depths[stage.name]))
                  if isinstance(stage.engine, StreamFifo) and stage.name in depths else stage for stage in self.stages]
        return replace(self, stages=stages)

    @property
    def depths(self) -> dict[str, int]:
        """Words of every queue, by stage name."""
        return {stage.name: stage.engine.depth for stage in self.stages if isinstance(stage.engine, StreamFifo)}


def least_design(graph: Graph, plan: Plan) -> Design:
    """The blocks of a network with the smallest queues: for judging sizes."""
    return _assembled(graph, plan)[0]


def ample_design(graph: Graph, plan: Plan) -> Design:
    """The blocks of a network with queues that never fill: for judging foldings and orders."""
    design, _ = _assembled(graph, plan)
    return with_ample_queues(design)


def make_design(graph: Graph, plan: Plan) -> Design:
    """Make the blocks of a network as its plan says, and size the queues that the plan leaves open.

    Raises
    ------
    PlanError
        If the plan is for another network, misses a layer, asks for a folding that does not divide, or does not fit its device.
    MappingError
        If no engine runs a node.
    """
    design, queues = _assembled(graph, plan)
    check_fit(plan, design.layers, design.resources)  # before the queues are sized, which takes longer
    fixed = {name: depth for name, (_, _, depth) in queues.items() if depth is not None}
    ample = with_ample_queues(design)
    bounded = ample.with_depths(fixed)
    check_stops(ample, bounded, queues, fixed)
    depths = least_depths(bounded, set(fixed))
    listed = per_layer(queues, depths)
    settled = {name: replace(entry, fifo_depth=tuple(listed[name])) for name, entry in plan.layers.items()}
    plan = replace(plan, layers=settled, input_fifo_depth=tuple(listed.get("", ())))
    made = replace(design.with_depths(depths), plan=plan)
    check_fit(plan, made.layers, made.resources)
    return made


def check_structure(graph: Graph, plan: Plan) -> None:
    """Raise PlanError unless the plan is for that network."""
    if plan.structure != fingerprint(graph):
        raise PlanError(f"the plan is for the network '{plan.network}' with structure {plan.structure}, but '{graph.name}' has "
                        f"structure {fingerprint(graph)}; make a plan for this network with `bitwright plan`")


def check_layers(plan: Plan, found: list[Layer]) -> None:
    """Raise PlanError unless the plan says how to build every layer, and nothing else."""
    names = [layer.name for layer in found]
    for name in plan.layers:
        if name not in names:
            raise PlanError(f"the plan has a layer '{name}', which the network lacks; its layers are {', '.join(names)}")
    for layer in found:
        entry = plan.layers.get(layer.name)
        if entry is None:
            raise PlanError(f"the plan lacks the layer '{layer.name}'; add [layers.\"{layer.name}\"] with its engine and folding")
        layer.check(entry)
        if entry.reloadable and plan.control == "none":
            raise PlanError(f"layer '{layer.name}': reloadable = true, but the plan says control = \"none\", and weights come "
                            "through the control shell; remove one of the two")


@dataclass
class _Assembly:
    """A design while it is built; the `Builder` that layers see."""

    graph: Graph
    plan: Plan
    layers: list[Layer]
    stages: list[Stage] = field(default_factory=list)
    queues: dict[str, tuple[str, int, int | None]] = field(default_factory=dict)  # stage -> layer, reader, planned depth
    streams: int = 1
    prefix: str = ""
    layer: str = ""
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The FPGA family of the plan."""
        return self.plan.family

    def block(self, suffix: str, engine: Engine, inputs: list[Flow], words_out: int, rounds: int, **constants: Int64) -> Flow:
        """Add a block of the present layer; returns the stream that it makes."""
        (flow,) = self._add(suffix, engine, inputs, words_out, 1, rounds, constants)
        return flow

    def converted(self, flow: Flow, lanes: int) -> Flow:
        """The stream with another number of lanes."""
        for converter in converters(flow.word.lanes, lanes, flow.word.type):
            words = flow.elements // converter.lanes_out
            flow = self.block("width", converter, [flow], words, flow.elements // max(converter.lanes_in, converter.lanes_out))
        return flow

    def _add(self, suffix: str, engine: Engine, inputs: list[Flow], words_out: int, outputs: int, rounds: int,
             constants: Mapping[str, Int64] | None = None) -> list[Flow]:
        stem = f"{self.prefix}_{suffix}"
        for flow, word in zip(inputs, engine.words_in, strict=True):
            assert flow.word == word, f"{stem} takes {word}, but its stream carries {flow.word}"
        count = self.counts.get(stem, 0)
        self.counts[stem] = count + 1
        made = tuple(range(self.streams, self.streams + outputs))
        self.streams += outputs
        self.stages.append(Stage(f"{stem}{count or ''}", engine, self.layer, rounds,
                                 Wires(tuple(flow.stream for flow in inputs), made), dict(constants or {})))
        return [Flow(stream, engine.word_out, words_out) for stream in made]

    def branches(self, flow: Flow, readers: int) -> list[Flow]:
        """One stream per reader."""
        if readers == 1:
            return [flow]
        return self._add("fork", Fork(flow.word.lanes, flow.word.type, readers), [flow], flow.words, readers, flow.words)

    def queue(self, flow: Flow, reader: int, planned: tuple[int, ...] | None) -> Flow:
        """A queue behind the present layer, for its reader of that number."""
        depth = planned[reader] if planned else None
        engine = StreamFifo(flow.word.lanes, flow.word.type, depth or LEAST_DEPTH)
        (behind,) = self._add("fifo", engine, [flow], flow.words, 1, flow.words)
        self.queues[self.stages[-1].name] = (self.layer, reader, depth)
        return behind


def _assembled(graph: Graph, plan: Plan) -> tuple[Design, dict[str, tuple[str, int, int | None]]]:
    """The blocks in order, and of each queue its layer, the number of its reader, and the depth that the plan gives."""
    check_structure(graph, plan)
    found = collect(graph, plan.layers)
    check_layers(plan, found)
    assembly = _Assembly(graph, plan, found)
    start, end = graph.input.value, source_of(graph, graph.output.value)
    readers: dict[str, list[tuple[int, int]]] = {start: []}  # value -> (layer, input), in order; the network's output is last
    for number, layer in enumerate(found):
        for position, value in enumerate(layer.sources):
            readers.setdefault(source_of(graph, value), []).append((number, position))
    readers.setdefault(end, []).append((len(found), 0))
    lanes = [layer.lanes_in(plan.layers[layer.name]) for layer in found]
    ends: dict[tuple[int, int], Flow] = {}

    def distribute(flow: Flow, value: str, planned: tuple[int, ...] | None, is_input: bool) -> None:
        who = readers.get(value, [])
        if planned and len(planned) != len(who):
            names = ", ".join(found[place].name if place < len(found) else "the output" for place, _ in who)
            raise PlanError(f"{depth_key(assembly.layer)} has {len(planned)} depth{'s' * (len(planned) > 1)} for {len(who)} "
                            f"reader{'s' * (len(who) > 1)} ({names}); give one depth for each")
        if planned and is_input and len(who) == 1:
            raise PlanError(f"{depth_key('')} is given, but only layer '{found[who[0][0]].name}' reads the input, which has no "
                            "queue then; remove that line")
        for reader, (place, branch) in enumerate(zip(who, assembly.branches(flow, len(who)), strict=True)):
            wanted = lanes[place[0]][place[1]] if place[0] < len(found) else branch.word.lanes
            if is_input and len(who) == 1:
                ends[place] = branch
                continue
            ends[place] = _led(assembly, branch, wanted, reader, planned, place[0])

    first = max((lanes[n][position] for n, position in readers[start] if n < len(found)), default=1)
    pixels = graph.values[start]
    assembly.prefix, assembly.layer = "input", ""
    distribute(Flow(0, Word(first, pixels.type), pixels.elements // first), start, plan.input_fifo_depth or None, True)
    for number, layer in enumerate(found):
        entry = plan.layers[layer.name]
        assembly.prefix, assembly.layer = f"l{number}", layer.name
        flow = layer.build(assembly, entry, [ends[number, position] for position in range(len(layer.sources))])
        distribute(flow, layer.value, entry.fifo_depth, False)
    out = ends[len(found), 0]
    return Design(graph, plan, found, assembly.stages, Word(first, pixels.type), out.word), assembly.queues


def _led(assembly: _Assembly, flow: Flow, lanes: int, reader: int, planned: tuple[int, ...] | None, place: int) -> Flow:
    """A stream led to its reader: a queue and the converters that the reader needs.

    The queue stands where words are widest.  A widening converter in front of it takes words as fast as they come, and a
    narrowing one behind it gives them as fast as they go; on their other sides both would keep the queue from doing so.
    """
    widest = max([flow.word.lanes, *(one.lanes_out for one in converters(flow.word.lanes, lanes, flow.word.type))])
    layer, prefix = assembly.layer, assembly.prefix
    next_layer = assembly.layers[place].name if place < len(assembly.layers) else layer

    def converted(flow: Flow, to: int) -> Flow:
        assembly.prefix, assembly.layer = f"l{place}", next_layer
        flow = assembly.converted(flow, to)
        assembly.prefix, assembly.layer = prefix, layer
        return flow

    return converted(assembly.queue(converted(flow, widest), reader, planned), lanes)

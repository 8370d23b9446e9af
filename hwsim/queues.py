"""How deep the queues of a design are: the least that costs no cycle, and what a plan fixes too shallow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from intir import IntType

from .dataflow import SimulationError, Trace
from .engines.fifo import StreamFifo
from .engines.fork import Fork
from .engines.width import converters
from .plan import PlanError

if TYPE_CHECKING:
    from .design import Design

#: Least queue that lets a word enter and leave in every cycle.
LEAST_DEPTH = 2
#: Frames after which a pipeline of blocks has settled.
SETTLED_FRAMES = 5

#: Queue's stage -> layer, number of the reader, depth that the plan gives.
Queues = Mapping[str, tuple[str, int, int | None]]


@cache
def link_luts(kind: IntType, lanes_out: int, lanes_in: int, family: str) -> int:
    """Estimated LUTs of a stream's least queue and of its converters, as `design` puts them between two layers."""
    made = converters(lanes_out, lanes_in, kind)
    widest = max([lanes_out, *(one.lanes_out for one in made)])
    return sum(one.resources(family).luts for one in (StreamFifo(widest, kind, LEAST_DEPTH), *made))


def with_ample_queues(design: Design) -> Design:
    """The same with queues that never fill."""
    return design.with_depths({stage.name: max(LEAST_DEPTH, 2 * stage.rounds) for stage in design.stages
                               if isinstance(stage.engine, StreamFifo)})


def least_depths(ample: Design, fixed: set[str]) -> dict[str, int]:
    """Least depths that cost neither rate nor latency, for every queue that the plan leaves open.

    A queue with one word of room more than it ever held is as good as an ample one.  Most need no more than the least, so
    they are tried together, and in halves where together they cost something; the others one by one, by bisection.
    """
    names = [name for name in ample.depths if name not in fixed]
    if not names:
        return ample.depths
    trace = ample.settled
    held = np.max([trace.peak_words, *(run.peak_words for run in _slow_runs(ample))], axis=0)
    peaks = {stage.name: int(peak) for stage, peak in zip(ample.stages, held, strict=True)}
    depths = ample.depths | {name: max(LEAST_DEPTH, min(ample.depths[name], peaks[name] + 1)) for name in names}
    goal, limit = ample.rate(), trace.total_cycles

    def is_enough(change: dict[str, int]) -> bool:
        try:
            tried = ample.with_depths(depths | change)
            if tried.rate_of(tried.simulate(SETTLED_FRAMES, limit_cycles=limit)) != goal:
                return False
            _slow_runs(tried)
            return True
        except SimulationError:  # later than with ample queues, or a join whose other side waits for words that have no room here
            return False

    def settle(names: list[str]) -> None:
        shallow = dict.fromkeys(names, LEAST_DEPTH)
        if is_enough(shallow):
            depths.update(shallow)
        elif len(names) > 1:
            settle(names[:len(names) // 2])
            settle(names[len(names) // 2:])
        else:
            (name,) = names
            low, high = LEAST_DEPTH + 1, depths[name]
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if is_enough({name: middle}) else (middle + 1, high)
            depths[name] = high

    settle([name for name in names if depths[name] > LEAST_DEPTH])
    for name in names:  # the first ones were settled while the others were deeper, which now and then takes a word more
        while depths[name] > LEAST_DEPTH and is_enough({name: depths[name] - 1}):
            depths[name] -= 1
    return depths


def _slow_runs(design: Design) -> list[Trace]:
    """A run with a source that leaves pipelines all but empty, where that could make a join wait for ever; else none.

    A pipeline moves on as a whole, so one with empty registers between its words holds fewer of them when its output waits.

    Raises
    ------
    SimulationError
        If a join does wait for ever.
    """
    if not any(isinstance(stage.engine, Fork) for stage in design.stages):
        return []
    slow = np.zeros(1 + max(getattr(stage.timing, "latency_cycles", 1) for stage in design.stages), np.bool_)
    slow[0] = True
    return [design.simulate(SETTLED_FRAMES, source=slow)]


def stops(design: Design) -> bool:
    """Whether a join of the design waits for ever, be the source quick or slow."""
    try:
        design.settled  # noqa: B018 - the simulation is kept for whoever asks next
        _slow_runs(design)
    except SimulationError:
        return True
    return False


def per_layer(queues: Queues, depths: Mapping[str, int]) -> dict[str, list[int]]:
    """The depths of the queues behind each layer, in the order of their readers."""
    listed: dict[str, list[int]] = {}
    for name, (layer, _, _) in queues.items():
        listed.setdefault(layer, []).append(depths[name])
    return listed


def depth_key(layer: str) -> str:
    """Where a plan gives the depths behind a layer, or behind the input, for errors."""
    return f"layer '{layer}': fifo_depth" if layer else "the plan: input_fifo_depth"


def check_stops(ample: Design, bounded: Design, queues: Queues, fixed: dict[str, int]) -> None:
    """Raise PlanError if the design stops with the queues that the plan fixes (`bounded`), however deep the others are.

    Without a fork there is no join, and nothing ever stops.
    """
    if not fixed or not stops(bounded):
        return
    enough = least_depths(ample, set())
    short = [name for name, depth in fixed.items() if depth < enough[name]]
    alone = [name for name in short if stops(ample.with_depths({name: fixed[name]}))]
    layer = queues[(alone or short or list(fixed))[0]][0]
    listed = per_layer(queues, ample.depths | fixed)[layer], per_layer(queues, enough)[layer]
    given, needed = (str(one[0] if len(one) == 1 else one) for one in listed)
    raise PlanError(f"{depth_key(layer)} is {given}, with which the design stops for ever: a join waits for words that a full "
                    f"queue keeps back; give {needed}, which costs no cycle, or leave the line out")

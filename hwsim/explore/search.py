"""Search: the hardware that suits a network, a device, and a wanted rate, latency or energy.

A dataflow design is as fast as its slowest layer, so for each number of cycles the cheapest choice of every layer is found
directly (`choice`), and the front by walking the numbers of cycles that occur.  Sizes are those of the engines themselves; what
the search proposes is then assembled, simulated, and held against the device as `make_design` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from intir import Graph

from ..devices import DEVICES
from ..energy import EnergyTable
from ..plan import MAX_CLOCK_MHZ, MIN_CLOCK_MHZ, PlanError, check_device
from .choice import Choice
from .pareto import pareto
from .proposals import Path, Point, Proposals, SearchError, evenly, listed

__all__ = ["OBJECTIVES", "Point", "SearchError", "SearchResult", "Wanted", "search"]

OBJECTIVES = ("fps", "latency", "luts", "energy")
#: Points of a front, unless said otherwise.
POINTS = 12
#: Of each path, how many designs are made before the best of them is taken.
TRIED = {"fps": 2, "luts": 2, "latency": 8, "energy": 8}


@dataclass(frozen=True)
class Wanted:
    """What a design must reach.

    Parameters
    ----------
    fps, latency_us, energy_uj : float or None
        At least so many frames a second; at most so long to the first output; at most so much a frame.
    """

    fps: float | None = None
    latency_us: float | None = None
    energy_uj: float | None = None

    def met_by(self, point: Point) -> bool:
        """Whether a design reaches it."""
        return ((self.fps is None or point.fps >= self.fps) and (self.latency_us is None or point.latency_us <= self.latency_us)
                and (self.energy_uj is None or point.energy_uj <= self.energy_uj))

    def __bool__(self) -> bool:
        return any(one is not None for one in (self.fps, self.latency_us, self.energy_uj))


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    network, device : str
    clock_mhz : float
    objective : str
    best : Point
    front : tuple of Point, from the fastest to the slowest; the best among them
    """

    network: str
    device: str
    clock_mhz: float
    objective: str
    best: Point
    front: tuple[Point, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON; plans are TOML files and stay out of it."""
        return {"network": self.network, "device": self.device, "clock_mhz": self.clock_mhz, "objective": self.objective,
                "best": self.best.as_dict(), "front": [point.as_dict() for point in self.front]}


def search(graph: Graph, device: str, *, wanted: Wanted = Wanted(), objective: str | None = None, clock_mhz: float = 100.0,
           points: int = POINTS, table: EnergyTable | None = None,
           progress: Callable[[str], None] = lambda step: None) -> SearchResult:
    """The best design for a device, and the front that it stands on.

    Parameters
    ----------
    graph : Graph
    device : str
        One of `devices.DEVICES`.
    wanted : Wanted
    objective : str, optional
        One of `OBJECTIVES`; by default ``luts`` where something is wanted, else ``fps``.
    clock_mhz : float
    points : int
        Most points of the front; 0 for none.
    table : EnergyTable, optional
        By default that of the device's technology, `hwsim.energy.frame.frame_table`.
    progress : callable
        Told what is done.

    Raises
    ------
    SearchError
        If nothing fits, or nothing reaches what is wanted: with what comes nearest.
    PlanError
        If there is no such device, objective or clock, or a wanted number is not positive.
    """
    objective = objective or ("luts" if wanted else "fps")
    _check(device, objective, clock_mhz, wanted)
    proposals = Proposals(graph, DEVICES[device], clock_mhz, table, progress)
    best = _best(proposals, wanted, objective)
    front = proposals.spread(points) if points else []
    return SearchResult(graph.name, device, clock_mhz, objective, best, tuple(_thinned(front, best, points) if points else ()))


def _check(device: str, objective: str, clock_mhz: float, wanted: Wanted) -> None:
    check_device(device, DEVICES[device].family if device in DEVICES else "", "the search")
    if objective not in OBJECTIVES:
        raise PlanError(f"the objective is '{objective}'; choose one of {', '.join(OBJECTIVES)}")
    if not MIN_CLOCK_MHZ <= clock_mhz <= MAX_CLOCK_MHZ:
        raise PlanError(f"a clock of {clock_mhz:g} MHz; give one between {MIN_CLOCK_MHZ} and {MAX_CLOCK_MHZ}")
    for name, value in (("frames per second", wanted.fps), ("us of latency", wanted.latency_us), ("uJ a frame", wanted.energy_uj)):
        if value is not None and not 0 < value < math.inf:
            raise PlanError(f"{value:g} {name} wanted; give a positive number")


def _best(proposals: Proposals, wanted: Wanted, objective: str) -> Point:
    """The best of all designs that reach what is wanted, with its queues sized."""
    most = None if wanted.fps is None else max(1, int(proposals.clock_mhz * 1e6 / wanted.fps))
    kinds = {"rate"} | ({"latency"} if objective == "latency" or wanted.latency_us is not None else set()) \
        | ({"energy"} if objective == "energy" or wanted.energy_uj is not None else set())
    reached = [point for kind in sorted(kinds) for path in proposals.paths(kind, most)
               for point in _ends(proposals, path, wanted, objective)]
    if objective in ("fps", "luts") and (simple := proposals.planned(wanted.fps)) is not None and wanted.met_by(simple):
        reached.append(simple)
    for point in sorted(reached, key=lambda point: _rank(point, objective)):
        made = proposals.checked(point.plan, sized=True)
        if made is not None and wanted.met_by(made):
            return made
    raise SearchError(_nearest(proposals, wanted))


def _rank(point: Point, objective: str) -> tuple[float, ...]:
    """Less is better."""
    taken = point.resources
    size = (taken.luts, taken.brams, taken.dsps)
    return {"fps": (-point.fps, *size), "luts": (*size, -point.fps), "latency": (point.latency_us, *size),
            "energy": (point.energy_pj, *size)}[objective]


def _ends(proposals: Proposals, path: Path, wanted: Wanted, objective: str) -> Iterator[Point]:
    """The designs of a path that come first by an objective and reach what is wanted."""
    space, count = path.space, 0
    ordered = objective == "latency" or wanted.latency_us is not None

    def made(choice: Choice) -> Point | None:
        return proposals.point(space, choice, ordered=ordered)

    def meets(choice: Choice) -> bool:
        point = made(choice)
        return point is not None and wanted.met_by(point)

    first = {"fps": space.slowest, "latency": space.total_cycles, "energy": space.energy_pj,
             "luts": lambda choice: space.resources(choice).luts}[objective]
    choices = sorted(path.choices, key=first)
    if objective == "luts" and wanted.latency_us is not None:  # a larger design is hardly ever later
        choices = choices[max(0, _first(choices, meets) - 1):]
    for choice in choices[:400]:
        point = made(choice)
        if point is not None and wanted.met_by(point):
            yield point
            count += 1
            if count == TRIED[objective]:
                return


def _first(choices: Sequence[Choice], meets: Callable[[Choice], bool]) -> int:
    """The first of the choices that meets something which all after it meet, too; how many there are if none does."""
    low, high = 0, len(choices)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(choices[middle]) else (middle + 1, high)
    return low


def _nearest(proposals: Proposals, wanted: Wanted) -> str:
    """What was wanted, and what comes nearest to it."""
    device, clock = proposals.device, proposals.clock_mhz
    asked = " and ".join(text for value, text in (
        (wanted.fps, f"{wanted.fps or 0:,g} frames per second"),
        (wanted.latency_us, f"a latency of {wanted.latency_us or 0:,g} us"),
        (wanted.energy_uj, f"{wanted.energy_uj or 0:,g} uJ a frame")) if value is not None)
    goals = [(name, key) for name, key, value in (("fps", "fastest", wanted.fps), ("latency", "earliest", wanted.latency_us),
                                                  ("energy", "thriftiest", wanted.energy_uj)) if value is not None]
    found = []
    for objective, word in goals:
        try:
            point = _best(proposals, Wanted(), objective)
        except SearchError:
            continue
        found.append(f"the {word} design found makes {point.fps:,.0f} frames per second with a latency of "
                     f"{point.latency_us:,.2f} us and {point.energy_uj:,.3g} uJ a frame")
    if not found:
        return (f"no design of '{proposals.graph.name}' fits {device.name}, which has room for {listed(device.room)}: the smallest "
                f"found takes {listed(proposals.spaces[0].smallest)}; choose a larger device")
    return (f"{asked} on {device.name} at {clock:g} MHz is out of reach: {'; '.join(found)}; ask for less, raise the clock, or "
            "choose a larger device")


def _thinned(front: Sequence[Point], best: Point, points: int) -> list[Point]:
    """The Pareto front of the points, evenly thinned, the best one always on it."""
    distinct = list({point.costs: point for point in (*front, best)}.values())
    rest = [point for point, keep in zip(distinct, pareto([point.costs for point in distinct]), strict=True)
            if keep and point is not best]
    chosen = evenly(rest, points - 1, [math.log(point.initiation_interval_cycles) for point in rest])
    return sorted([*chosen, best], key=lambda point: (point.initiation_interval_cycles, point.resources.luts))

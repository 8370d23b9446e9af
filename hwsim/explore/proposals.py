"""What the search proposes: choices along paths from fast to cheap, made into designs, simulated, and held against the device."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from intir import Graph

from ..autoplan import auto_plan
from ..design import Design, ample_design, least_design, make_design
from ..devices import Device
from ..energy import EnergyTable
from ..energy.frame import counts_pj, design_counts, frame_table
from ..engines.control import control_resources
from ..engines.memories import Resources
from ..fit import NAMES, fits
from ..layers import Layer, SparseLayer, collect
from ..plan import CONTROLS, LayerPlan, Plan, PlanError, fingerprint
from ..queues import SETTLED_FRAMES
from ..sparseplan import sparse_entries
from .candidates import candidates
from .choice import Choice, Prices, Space
from .pareto import pareto

#: Block-cycles (some 20 million a second) that a simulation may take; above, a design's cycles are those of its slowest layer and
#: its latency is not known.
MOST_SIMULATED = 1_000_000_000
#: The same for designs whose queues are sized, which takes some thirty simulations: the best one, and those of a front.
MOST_SIZED, MOST_SIZED_OF_FRONT = 50_000_000, 500_000
#: Elements of a sparse engine that are tried.
SPARSE_PES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: What a choice is asked to be: small in LUTs, or small in LUTs, block RAMs and DSPs alike.
_LUTS, _EVEN = Prices(), Prices(1.0, 1.0, 1.0)
_Any = TypeVar("_Any")


class SearchError(PlanError):
    """Nothing fits, or nothing reaches what is wanted."""


@dataclass(frozen=True)
class Point:
    """A design that the search proposes.

    Parameters
    ----------
    plan : Plan
    initiation_interval_cycles : int
    latency_cycles : int or None
        To the first output; None where it was not simulated.
    resources : Resources
    energy_pj : float
        Of a frame, without clock tree and leakage; see `hwsim.energy.frame`.
    checked : str
        ``sized``: simulated, and its queues have their least depths; ``simulated``: with ample queues, and LUTs are those with
        queues of two words; ``estimated``: too slow to be simulated in reasonable time.
    """

    plan: Plan
    initiation_interval_cycles: int
    latency_cycles: int | None
    resources: Resources
    energy_pj: float
    checked: str

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.plan.clock_mhz * 1e6 / self.initiation_interval_cycles

    @property
    def latency_us(self) -> float:
        """To the first output; infinite where it is not known."""
        return math.inf if self.latency_cycles is None else self.latency_cycles / self.plan.clock_mhz

    @property
    def energy_uj(self) -> float:
        """Of a frame."""
        return self.energy_pj / 1e6

    @property
    def costs(self) -> tuple[float, ...]:
        """What should be small."""
        return (self.resources.luts, self.resources.brams, self.resources.dsps, self.initiation_interval_cycles, self.latency_us,
                self.energy_pj)

    def as_dict(self) -> dict[str, float | int | str | None]:
        """For tables and CSV, units in names."""
        return {"frames_per_second": self.fps, "initiation_interval_cycles": self.initiation_interval_cycles,
                "latency_us": None if self.latency_cycles is None else self.latency_us, "energy_uj_per_frame": self.energy_uj,
                "luts": self.resources.luts, "brams_18kbit": self.resources.brams, "dsps": self.resources.dsps,
                "checked": self.checked}


@dataclass(frozen=True)
class Path:
    """Choices of one kind, from the fastest to the slowest."""

    space: Space
    choices: list[Choice]


class Proposals:
    """The choices for a network on a device, and the designs that were made of them so far.

    Raises
    ------
    SearchError
        If a layer alone is too large for the device, however it is built.
    """

    def __init__(self, graph: Graph, device: Device, clock_mhz: float = 100.0, table: EnergyTable | None = None,
                 progress: Callable[[str], None] = lambda step: None) -> None:
        self.graph, self.device, self.clock_mhz, self.progress = graph, device, clock_mhz, progress
        self.table = table or frame_table(device)
        self._points: dict[tuple[int, Choice, bool, bool], Point | None] = {}
        self._refused = ""
        self.spaces = [space for layers in self._variants() if (space := self._space(layers)) is not None]
        if not self.spaces:
            raise SearchError(self._refused)

    def _variants(self) -> Iterator[list[Layer]]:
        """The network's layers: all dense, and with rows of pruned products on sparse engines, one row or all."""
        yield collect(self.graph)
        try:
            rows = sparse_entries(self.graph, 1)
        except PlanError:
            return
        for count in sorted({1, len(rows)}):
            for some in itertools.islice(itertools.combinations(rows.items(), count), 8):
                yield collect(self.graph, dict(some))

    def _space(self, layers: list[Layer]) -> Space | None:
        found = []
        for number, layer in enumerate(layers):
            self.progress(f"comparing foldings of layer {number + 1} of {len(layers)}: {layer.name}")
            entries = self._sparse(layer.name) if isinstance(layer, SparseLayer) else None
            found.append(candidates(layer, self.device.family, self.device.room, self.table, entries))
            if not found[-1]:
                self._refused = self._refused or (
                    f"layer '{layer.name}' alone is too large for {self.device.name}, which has room for "
                    f"{listed(self.device.room)}, however it is folded; choose a larger device")
                return None
        return Space(self.graph, layers, found, self.device.room, control_resources(self.device.family, CONTROLS[0]),
                     self.device.family)

    def _sparse(self, name: str) -> list[LayerPlan]:
        made = []
        for pes in SPARSE_PES:
            try:
                made.append(sparse_entries(self.graph, pes)[name])
            except (PlanError, KeyError):  # so many do not work here
                continue
        return made

    def paths(self, kind: str, most_cycles: int | None = None) -> list[Path]:
        """Choices that are the smallest for their rate (``rate``), their latency (``latency``) or their energy (``energy``)."""
        made = []
        for space in self.spaces:
            targets = [target for target in space.targets if most_cycles is None or target <= most_cycles]
            if not targets:
                continue
            asked: list[list[tuple[int, Prices]]]
            if kind == "rate":
                asked = [[(target, prices) for target in targets] for prices in (_LUTS, _EVEN)]
            elif kind == "energy":
                asked = [[(target, replace(_LUTS, energy=weight)) for target in targets] for weight in _weights(space.energy, 3)]
            else:
                asked = [[(targets[-1], replace(prices, cycles=weight)) for weight in reversed(_weights(space.cycles, 25))]
                         for prices in (_LUTS, _EVEN)]
            for one in asked:
                choices = [choice for target, prices in one if (choice := space.cheapest(target, prices)) is not None]
                if choices:
                    made.append(Path(space, list(dict.fromkeys(choices))))
        return made

    def plan(self, space: Space, choice: Choice) -> Plan:
        """A choice as a plan."""
        entries = {layer.name: one.entry for layer, one in zip(space.layers, space.entries(choice), strict=True)}
        return Plan(self.graph.name, fingerprint(self.graph), entries, self.device.family, self.clock_mhz, device=self.device.name)

    def point(self, space: Space, choice: Choice, *, sized: bool = False, ordered: bool = False) -> Point | None:
        """A choice made and simulated, its loops `ordered` for the earliest output or as they are; None if it does not fit."""
        key = (self.spaces.index(space), choice, sized, ordered)
        if key not in self._points:
            self.progress(f"simulating a design of {space.slowest(choice):,} cycles a frame")
            plan = self.plan(space, choice)
            self._points[key] = self.checked(self.ordered(space, plan) if ordered else plan, sized=sized)
        return self._points[key]

    def checked(self, plan: Plan, *, sized: bool = False) -> Point | None:
        """A plan made and simulated as far as that is quick; None if it does not fit."""
        design = least_design(self.graph, plan)
        if not fits(total(design), self.device):
            return None
        work = _work(design)
        if work > MOST_SIMULATED:
            return self._made(design, design.bottleneck_cycles, None, "estimated")
        if work > (MOST_SIZED if sized else MOST_SIZED_OF_FRONT):
            return self._made(design, *ample_design(self.graph, plan).rate(), "simulated")
        try:
            made = make_design(self.graph, plan)
        except PlanError:  # its queues are too much
            return None
        return self._made(made, *made.rate(), "sized")

    def _made(self, design: Design, interval: int, latency: int | None, checked: str) -> Point:
        return Point(design.plan, interval, latency, total(design), counts_pj(design_counts(design), self.table), checked)

    def ordered(self, space: Space, plan: Plan) -> Plan:
        """The plan with each product's order, from input to output, chosen for the earliest first output, as far as that fits."""
        design = least_design(self.graph, plan)
        if _work(design) * len(space.layers) > MOST_SIMULATED:
            return plan
        best = _first_output(design, self.graph, plan)
        for layer in space.layers:
            entry = plan.layers[layer.name]
            if "order" not in layer.options or layer.cycles(entry) == 1:
                continue
            changed = replace(plan, layers=plan.layers | {
                layer.name: replace(entry, order="outputs" if entry.order == "inputs" else "inputs")})
            design = least_design(self.graph, changed)
            if fits(total(design), self.device) and (latency := _first_output(design, self.graph, changed)) < best:
                plan, best = changed, latency
        return plan

    def planned(self, fps: float | None) -> Point | None:
        """What `auto_plan` makes, so that the search is never worse; None where that takes long or does not fit."""
        target = 0 if fps is None else self.clock_mhz * 1e6 / fps
        if SETTLED_FRAMES * target * len(self.spaces[0].layers) ** 2 > MOST_SIMULATED // 10:
            return None
        self.progress("making the plan that `bitwright plan` makes")
        try:
            return self.checked(auto_plan(self.graph, fps=fps, clock_mhz=self.clock_mhz, device=self.device.name))
        except PlanError:
            return None

    def spread(self, points: int) -> list[Point]:
        """Designs from the fastest to the slowest, evenly spread, of which none is worse than another in every respect."""
        proposed = [(kind, path.space, choice) for kind in ("rate", "latency", "energy") for path in self.paths(kind)
                    for choice in path.choices]
        costs = [[space.slowest(choice), space.total_cycles(choice), space.energy_pj(choice), taken.luts, taken.brams, taken.dsps]
                 for _, space, choice in proposed for taken in [space.resources(choice)]]
        proposed = [one for one, best in zip(proposed, pareto(costs), strict=True)
                    if best and one[1].slowest(one[2]) * len(one[1].layers) * 4 * SETTLED_FRAMES <= MOST_SIMULATED // 5]
        chosen = evenly(proposed, points, [math.log(space.slowest(choice)) for _, space, choice in proposed])
        return [point for kind, space, choice in chosen
                if (point := self.point(space, choice, ordered=kind == "latency")) is not None]


def total(design: Design) -> Resources:
    """What a design takes in all."""
    return sum(design.resources.values(), Resources())


def listed(taken: Resources) -> str:
    """Resources in words."""
    return ", ".join(f"{getattr(taken, key):,} {name}" for key, name in NAMES.items())


def evenly(things: Sequence[_Any], count: int, places: Sequence[float]) -> list[_Any]:
    """At most `count` of the things, those nearest to evenly spaced places, first and last included, in the order of places."""
    if not things:
        return []
    at = np.asarray(places, np.float64)
    wanted = np.linspace(at.min(), at.max(), count)
    chosen = dict.fromkeys(int(np.abs(at - place).argmin()) for place in wanted)
    return [things[number] for number in chosen]


def _weights(values: Sequence[NDArray[np.generic]], count: int) -> list[float]:
    """Prices at which the sum of these values is worth from a little of a device to many of them."""
    span = max(1e-9, float(sum(one.max() - one.min() for one in values)))
    return [float(one) / span for one in np.geomspace(0.1, 1e5, count)]


def _work(design: Design) -> int:
    """Block-cycles of a simulation until it has settled."""
    return SETTLED_FRAMES * design.bottleneck_cycles * len(design.stages)


def _first_output(design: Design, graph: Graph, plan: Plan) -> int:
    """Latency of the first output in cycles."""
    trace = ample_design(graph, plan).simulate(1)
    return int(trace.out_cycles[0] - trace.in_cycles[0])

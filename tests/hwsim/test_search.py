"""The search: it fits, it reaches what is wanted, its plans are what it says, and it is never worse than the plan of `auto_plan`."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.autoplan import auto_plan
from hwsim.design import Design, least_design, make_design
from hwsim.devices import DEVICES, Device
from hwsim.energy import energy_table
from hwsim.engines.control import control_resources
from hwsim.engines.memories import Resources
from hwsim.explore.candidates import candidates
from hwsim.explore.choice import Prices, Space
from hwsim.explore.pareto import pareto
from hwsim.explore.proposals import Point, Proposals, evenly, total
from hwsim.explore.search import OBJECTIVES, SearchError, Wanted, search
from hwsim.fit import fits
from hwsim.layers import collect
from hwsim.plan import PlanError, dumps, loads
from intir import Graph, IntType, unsigned
from tests.networks import mlp, sparse_mlp

TFC = mlp([64, 32, 16, 10], head="argmax", name="tfc")
INT8 = mlp([24, 12, 6], x=unsigned(8), w=IntType(-31, 31), act=unsigned(4), name="int8")
SMALL = "xc7z010"
NAMES = {"tfc": TFC, "int8": INT8}


def made(graph: Graph, point: Point) -> Design:
    """What anybody gets from the plan's file."""
    return make_design(graph, replace(loads(dumps(point.plan))))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", NAMES)
def test_the_plan_simulates_to_what_it_says_and_fits(name: str, objective: str) -> None:
    graph = NAMES[name]
    result = search(graph, SMALL, objective=objective, points=6)
    for point in result.front:
        design = made(graph, point)
        assert fits(total(design), DEVICES[SMALL])
        assert design.rate() == (point.initiation_interval_cycles, point.latency_cycles)
        if point.checked == "sized":
            assert total(design) == point.resources
    assert result.best in result.front
    assert result.best.checked == "sized"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fps", [1e4, 2e6])
def test_never_larger_than_auto_plan_at_a_rate(name: str, fps: float) -> None:
    graph = NAMES[name]
    theirs = make_design(graph, auto_plan(graph, fps=fps, device=SMALL))
    ours = search(graph, SMALL, wanted=Wanted(fps=fps), points=0).best
    assert ours.fps >= fps
    assert ours.resources.luts <= total(theirs).luts


@pytest.mark.parametrize("name", NAMES)
def test_never_slower_than_auto_plan_on_a_device(name: str) -> None:
    graph = NAMES[name]
    design = make_design(graph, auto_plan(graph, device=SMALL))
    assert search(graph, SMALL, points=0).best.initiation_interval_cycles <= design.rate()[0]


def test_each_objective_is_the_best_at_its_own() -> None:
    best = {objective: search(INT8, SMALL, objective=objective, points=0).best for objective in OBJECTIVES}
    for other in best.values():
        assert best["fps"].fps >= other.fps
        assert best["latency"].latency_us <= other.latency_us
        assert best["luts"].resources.luts <= other.resources.luts
        assert best["energy"].energy_pj <= other.energy_pj


def test_what_is_wanted_is_reached_with_less() -> None:
    fastest = search(TFC, SMALL, points=0).best
    slow = search(TFC, SMALL, wanted=Wanted(fps=fastest.fps / 50), points=0).best
    assert fastest.fps / 50 <= slow.fps < fastest.fps
    shell = control_resources("xilinx", "axi-lite").luts
    assert slow.resources.luts - shell < (fastest.resources.luts - shell) / 4
    early = search(TFC, SMALL, wanted=Wanted(latency_us=1.5), points=0).best
    assert early.latency_us <= 1.5
    assert early.resources.luts < fastest.resources.luts


@pytest.mark.parametrize("wanted", [Wanted(fps=2e8), Wanted(latency_us=1e-3), Wanted(energy_uj=1e-9)])
def test_what_is_out_of_reach_names_the_nearest(wanted: Wanted) -> None:
    with pytest.raises(SearchError, match="out of reach: the (fastest|earliest|thriftiest) design found makes [0-9,]+ frames per second"):
        search(TFC, SMALL, wanted=wanted)


def test_what_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "tiny", Device("tiny", "xilinx", 120, 1, 0))
    with pytest.raises(SearchError, match="layer 'fc0' alone is too large for tiny, which has room for 120 LUTs, 1 block RAMs of 18 kbit, 0 DSPs"):
        search(INT8, "tiny")
    with pytest.raises(SearchError, match="no design of 'tfc' fits tiny, which has room for 120 LUTs, .*: the smallest found takes [0-9]+ LUTs"):
        search(TFC, "tiny")


@pytest.mark.parametrize(("arguments", "said"), [
    ({"device": "xc7z999"}, "device is 'xc7z999', which is not known; choose one of xc7s50"),
    ({"objective": "speed"}, "the objective is 'speed'; choose one of fps, latency, luts, energy"),
    ({"clock_mhz": 0.0}, "a clock of 0 MHz"),
    ({"wanted": Wanted(fps=-1)}, "-1 frames per second wanted; give a positive number"),
    ({"wanted": Wanted(latency_us=float("nan"))}, "nan us of latency wanted"),
])
def test_mistakes(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        search(TFC, **({"device": SMALL} | arguments))  # type: ignore[arg-type]


def test_pruned_weights_may_go_to_sparse_engines() -> None:
    """1% of 256 x 256 int8 weights: a dense unit would store and multiply them all."""
    graph = sparse_mlp([256, 256, 16], density=0.02, codes=7)
    small = search(graph, "xc7z020", objective="luts", points=8)
    engines = {entry.engine for point in small.front for entry in point.plan.layers.values()}
    assert "eie" in engines


def test_estimates_are_what_designs_take() -> None:
    """A choice's sum, with queues of two words, is the design's to the LUT, but for popcount trees."""
    graph = INT8
    layers, device = collect(graph), DEVICES["xc7z020"]
    space = Space(graph, layers, [candidates(layer, "generic", device.room, energy_table()) for layer in layers], device.room,
                  control_resources("generic", "axi-lite"))
    plans = Proposals(graph, device)
    for target in space.targets[::9]:
        choice = space.cheapest(target, Prices())
        assert choice is not None
        design = least_design(graph, replace(plans.plan(space, choice), family="generic", device=None))
        assert design.bottleneck_cycles == space.slowest(choice) <= target
        assert total(design) == space.resources(choice)


def test_a_choice_is_the_best_there_is() -> None:
    """Every combination of a small network tried."""
    graph = mlp([12, 4, 2], name="tiny")
    layers, room = collect(graph), Resources(400, 4, 0)
    space = Space(graph, layers, [candidates(layer, "generic", room, energy_table()) for layer in layers], room)
    for target in space.targets:
        every = [choice for choice in itertools.product(*(range(len(each)) for each in space.found))
                 if space.slowest(choice) <= target and room.holds(space.resources(choice))]
        least = min(space.resources(choice).luts for choice in every)
        found = space.cheapest(target, Prices())
        assert found is not None
        assert space.resources(found).luts <= least * 1.02 + 2


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=40))
def test_pareto_is_what_it_says(rows: list[tuple[int, ...]]) -> None:
    keep = pareto(rows)
    table = np.array(rows)
    for number, row in enumerate(table):
        better = ((table <= row).all(axis=1) & (table < row).any(axis=1)).any()
        first = next(at for at, other in enumerate(rows) if tuple(other) == tuple(row)) == number
        assert keep[number] == (not better and first)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(2, 8))
def test_evenly_keeps_the_ends(places: list[float], count: int) -> None:
    chosen = evenly(places, count, places)
    assert 1 <= len(chosen) <= count
    assert {min(places), max(places)} <= set(chosen)
    assert chosen == sorted(chosen)

"""Plans with reloadable layers: types that hold for any weights, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from hwsim.engines.mvu import Mvu
from hwsim.layers.reload import loadable_type, reach
from hwsim.plan import PlanError, dumps, loads
from intir import BIPOLAR, TERNARY, IntType, signed, unsigned
from tests.networks import folded, mlp, sparse_mlp


def with_reloadable(plan, name):
    return replace(plan, layers=plan.layers | {name: replace(plan.layers[name], reloadable=True)})


@pytest.mark.parametrize(("kind", "loadable"), [
    (BIPOLAR, BIPOLAR), (TERNARY, TERNARY), (IntType(-3, 3), signed(3)), (IntType(-4, 0), signed(3)), (IntType(0, 5), unsigned(3)),
    (IntType(-3, 3, 2), IntType(-3, 3, 2)), (IntType(0, 1), unsigned(1))])
def test_loadable_types_hold_the_type_in_as_many_bits(kind: IntType, loadable: IntType) -> None:
    assert loadable_type(kind) == loadable
    assert loadable.lo <= kind.lo and kind.hi <= loadable.hi and loadable.bits == kind.bits


@pytest.mark.parametrize("distance", [False, True])
@pytest.mark.parametrize(("x", "w"), [(unsigned(2), signed(3)), (BIPOLAR, BIPOLAR), (signed(2), unsigned(2)), (IntType(-3, 3, 2), TERNARY)])
def test_sums_reach_exactly_so_far(x: IntType, w: IntType, distance: bool) -> None:
    engine = Mvu(3, 2, 1, 1, x, w, x, 0, x, x, distance=distance)
    values = [np.arange(kind.lo, kind.hi + 1, kind.step) for kind in (x, w)]
    each = np.abs(values[0][:, None] - values[1]) * -1 if distance else values[0][:, None] * values[1]
    found = reach(engine)
    assert (found.lo, found.hi) == (3 * each.min(), 0 if distance else 3 * each.max())


def test_equal_units_for_all_weights() -> None:
    """Two networks of one structure give the same engines, block by block."""
    designs = []
    for seed in (0, 1):
        graph = mlp((16, 12, 8, 6), x=unsigned(4), w=signed(3), act=unsigned(2), seed=seed)
        plan = folded(graph, [(4, 4), (2, 4), (2, 4)])
        for name in ("fc0", "fc1", "fc2"):
            plan = with_reloadable(plan, name)
        designs.append(make_design(graph, loads(dumps(plan))))
    assert [stage.engine for stage in designs[0].stages] == [stage.engine for stage in designs[1].stages]
    assert all(stage.engine.reloadable for stage in designs[0].stages if isinstance(stage.engine, Mvu))


def refuse(graph, plan, sentence):
    with pytest.raises(PlanError) as caught:
        make_design(graph, plan)
    assert str(caught.value) == sentence


def test_what_cannot_be_reloaded() -> None:
    graph = mlp((16, 8, 6), x=unsigned(2), act=unsigned(5), head="argmax")
    plan = folded(graph, [(8, 16), (2, 4)])
    refuse(graph, with_reloadable(plan, "fc0"), "layer 'fc0': reloadable = true, but pe = 8, simd = 16 builds its weights into logic; fold it, so "
                                                "that they are in a memory, or remove that line")
    refuse(graph, with_reloadable(plan, "fc1"), "layer 'fc1': reloadable = true, but 'top' takes its sums, whose width follows from today's "
                                                "weights; only layers that end in thresholds or in the network's output can be reloadable; remove that line")
    refuse(graph, with_reloadable(plan, "top"), "layer 'top': the engine 'argmax' has no reloadable, but the plan says True; remove that line")
    refuse(graph, with_reloadable(folded(graph, [(4, 16), (2, 4)]), "fc0"),
           "layer 'fc0': reloadable = true, but its 31 thresholds an output are compared by bisection, whose tables cannot be written; at most 15 "
           "can be compared at once; remove that line")
    graph = mlp((16, 8, 6))
    plan = replace(with_reloadable(folded(graph, [(4, 4), (2, 4)]), "fc1"), control="none")
    refuse(graph, plan, "layer 'fc1': reloadable = true, but the plan says control = \"none\", and weights come through the control shell; remove one "
                        "of the two")
    graph = sparse_mlp((16, 8, 6))
    plan = auto_plan(graph, sparse=4)
    (name,) = (name for name, entry in plan.layers.items() if entry.engine == "eie")
    refuse(graph, with_reloadable(plan, name), f"layer '{name}': reloadable = true, but a sparse engine takes its weights over a stream of their own; "
                                               "write weights = \"loaded\" instead")


@pytest.mark.parametrize("value", ["1", '"yes"', "[true]"])
def test_true_or_false(value: str) -> None:
    graph = mlp((4, 2))
    text = dumps(folded(graph, [(1, 4)])).replace("pe = 1\n", f"pe = 1\nreloadable = {value}\n")
    with pytest.raises(PlanError, match=r"^plan, layer 'fc0': reloadable is .*; write true or false$"):
        loads(text)


@pytest.mark.parametrize("value", ["1", '"axi"', "true"])
def test_kinds_of_control(value: str) -> None:
    graph = mlp((4, 2))
    lines = dumps(folded(graph, [(1, 4)])).split("clock_mhz", 1)
    with pytest.raises(PlanError, match=r"^plan: control is .*; choose one of axi-lite, none$"):
        loads(f"control = {value}\nclock_mhz".join(lines))
    plan = loads('control = "none"\nclock_mhz'.join(lines))
    assert plan.control == "none"
    assert loads(dumps(plan)) == plan

"""Which nodes a sparse engine runs together, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.dataflow import SimulationError
from hwsim.design import make_design
from hwsim.engines.csc import CscError, encode
from hwsim.engines.eie import Eie
from hwsim.plan import LayerPlan, Plan, PlanError, fingerprint
from hwsim.report import simulate_report
from intir import BIPOLAR, Clip, Graph, GraphBuilder, IntType, MatMul, Reshape, ScaleChannels, unsigned
from tests.networks import sparse_mlp


def reshaped(shapes: list[tuple[int, ...]], inputs: tuple[int, int], scaled: bool) -> Graph:
    """Two products, and between them a Clip and Reshapes, or Reshapes and a ScaleChannels behind the first one."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("reshaped")
    value = build.input("x", (4, 6), unsigned(4))
    value = build.node(MatMul(rng.integers(-1, 2, (6, 20))), value, name="a")
    if not scaled:
        value = build.node(Clip(0, 100), value, name="relu")
    for number, shape in enumerate(shapes):
        value = build.node(Reshape(shape), value, name=f"flat{number}")
        if scaled and not number:
            value = build.node(ScaleChannels(rng.integers(1, 9, shape[-1]), np.zeros(1, np.int64)), value, name="scale")
    build.output(build.node(MatMul(rng.integers(-1, 2, inputs)), value, name="b"))
    return build.build()


def on_one_engine(graph: Graph, last: str = "b", lanes: int = 2) -> Plan:
    name = graph.nodes[0].name
    return Plan(graph.name, fingerprint(graph), {name: LayerPlan("eie", lanes, lanes, through=last)})


@pytest.mark.parametrize(("shapes", "inputs", "scaled", "taker"), [
    ([(80,)], (80, 3), False, "'b' (MatMul) takes vectors of 80"),
    ([(16, 5)], (5, 3), False, "'b' (MatMul) takes vectors of 5"),
    ([(16, 5), (4, 20)], (20, 3), True, "'scale' (ScaleChannels) takes vectors of 5"),
])
def test_other_vectors_behind_a_reshape(shapes: list[tuple[int, ...]], inputs: tuple[int, int], scaled: bool, taker: str) -> None:
    """Not run as if the vectors were the same: that gave other bits, or no design and a traceback."""
    graph = reshaped(shapes, inputs, scaled)
    with pytest.raises(PlanError) as error:
        make_design(graph, on_one_engine(graph))
    assert str(error.value).startswith(f"layer 'a': 'a' makes vectors of 20, but {taker}")
    assert str(error.value).endswith("through = 'a'")


def test_a_reshape_that_keeps_the_vectors() -> None:
    graph = reshaped([(2, 2, 20), (4, 20)], (20, 3), True)
    engine = make_design(graph, on_one_engine(graph)).stages[0].engine
    assert isinstance(engine, Eie)
    assert engine.sizes == (6, 20, 3)


def test_no_lane_that_no_layer_fills() -> None:
    graph = sparse_mlp((12, 5, 3, 7))
    engine = make_design(graph, on_one_engine(graph, "fc2", 16)).stages[0].engine
    assert isinstance(engine, Eie)
    assert [one.pe for one in engine.post] == [5]


def test_steps_that_hold_zero() -> None:
    """Only activations that are never 0 are refused."""
    graph = sparse_mlp((12, 5), x=IntType(-2, 6, 2))
    engine = make_design(graph, on_one_engine(graph, "fc0")).stages[0].engine
    assert isinstance(engine, Eie)
    assert (engine.in_type, engine.x_type) == (IntType(-2, 6, 2), IntType(-2, 6))
    graph = sparse_mlp((12, 5), x=BIPOLAR)
    with pytest.raises(PlanError, match="layer 'fc0': its activations are bipolar, which has no zeros to skip"):
        make_design(graph, on_one_engine(graph, "fc0"))


def test_through_a_node_that_is_not_there() -> None:
    graph = sparse_mlp((12, 8, 5))
    with pytest.raises(PlanError, match="layer 'fc0': through = 'fc9', but the network has no such node; .* are fc0, fc1$"):
        make_design(graph, on_one_engine(graph, "fc9"))


def test_more_values_than_any_code_names() -> None:
    """No code_bits is advised that a plan refuses."""
    with pytest.raises(CscError, match="300 different weights besides 0, but codes of 8 bits name 255; .*, or use another engine$"):
        encode(np.arange(1, 301).reshape(20, 15), 2, code_bits=8)


def test_an_input_without_frames() -> None:
    graph = sparse_mlp((12, 8, 5))
    with pytest.raises(SimulationError, match="the input holds 0 frames; give 1 or more"):
        simulate_report(make_design(graph, on_one_engine(graph, "fc1")), 3, np.zeros((0, 12), np.int64))

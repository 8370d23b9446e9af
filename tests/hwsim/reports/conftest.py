"""A small design and its report, with a history."""

from __future__ import annotations

import pytest

from hwsim.design import Design
from hwsim.report import SimulationReport, simulate_report
from intir import BIPOLAR, unsigned
from tests.networks import folded, make_design, mlp


@pytest.fixture(scope="session")
def design() -> Design:
    graph = mlp((12, 8, 10), x=unsigned(8), quantize=BIPOLAR, head="argmax")
    return make_design(graph, folded(graph, [(4, 6), (5, 2)], ["outputs", "inputs"]))


@pytest.fixture(scope="session")
def design_report(design: Design) -> SimulationReport:
    return simulate_report(design, history=True)

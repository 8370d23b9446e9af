"""A small design that uses every kind of block, and its bundle."""

from __future__ import annotations

import pytest

from codegen.bundle import Bundle, build
from hwsim.plan import Plan
from intir import BIPOLAR, Graph, unsigned
from tests.networks import folded, mlp


def every_block(name: str = "every_block") -> tuple[Graph, Plan]:
    """Thresholding, queues, converters up and down, both orders, thresholds in memory, argmax."""
    graph = mlp((12, 16, 8, 10), x=unsigned(8), quantize=BIPOLAR, head="argmax", name=name)
    return graph, folded(graph, [(8, 6), (2, 4), (5, 4)], ["outputs", "inputs", "outputs"])


@pytest.fixture(scope="session")
def case() -> tuple[Graph, Plan]:
    return every_block()


@pytest.fixture(scope="session")
def bundle(case: tuple[Graph, Plan], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return build(*case, tmp_path_factory.mktemp("bundle") / "every_block")

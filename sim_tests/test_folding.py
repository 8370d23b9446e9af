"""Every layer shape of the TFC network in six foldings and both orders: the RTL's bits and cycles are as predicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.engines.mvu import ORDERS
from sim_tests.harness import co_verify
from tests.networks import folded, mlp

#: Shape -> (pe, simd): from narrow to wide, one side whole, powers of two and not.
FOLDINGS = {
    (784, 64): [(4, 98), (16, 49), (8, 112), (64, 16), (1, 784), (32, 56)],
    (64, 64): [(2, 32), (8, 8), (64, 4), (4, 64), (16, 16), (1, 64)],
    (64, 10): [(1, 4), (10, 8), (2, 16), (5, 32), (10, 64), (1, 64)],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("shape", "pe", "simd"), [(shape, *pair) for shape, pairs in FOLDINGS.items() for pair in pairs])
def test_folding(shape: tuple[int, int], pe: int, simd: int, order: str, tmp_path: Path) -> None:
    inputs, outputs = shape
    graph = mlp(shape, head="logits" if outputs == 10 else "levels", seed=pe * simd, name=f"fold_{inputs}x{outputs}_{pe}_{simd}_{order}")
    bundle, result = co_verify(graph, folded(graph, [(pe, simd)], order), tmp_path)
    engine = bundle.design.stages[0].engine
    if (pe, simd) == (outputs, inputs):
        assert engine.kind == "unrolled"  # its weights are built in
    else:
        assert (engine.pe, engine.simd, engine.order, engine.arithmetic) == (pe, simd, order, "xnor")
    ii, latency = bundle.design.rate()
    assert ii == (outputs // pe) * (inputs // simd)
    assert result.patterns["unstalled"]["first_output_cycle"] == latency

"""Whole networks of other kinds under Verilator: multi-level, raw logits, argmax, odd widths, many rows, real digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bitwright
import codegen.bundle
from codegen.cosim import verify
from hwsim.autoplan import auto_plan
from hwsim.engines.mvu import Mvu
from hwsim.engines.width import Width
from intir import BIPOLAR, TERNARY, Graph, GraphBuilder, IntType, MatMul, Threshold, signed, unsigned
from sim_tests.harness import check, co_verify
from tests.conftest import REPOSITORY
from tests.networks import folded, mlp, with_depths

#: FINN's public folding for TFC.
FINN = [(16, 49), (8, 8), (8, 8), (10, 8)]

NETWORKS: dict[str, tuple[Graph, list[tuple[int, int]], list[str]]] = {
    "two_bits": (mlp((48, 16, 16, 10), x=unsigned(8), quantize=unsigned(2), w=IntType(-3, 3, 2), act=unsigned(2)),
                 [(4, 8), (4, 4), (5, 4)], ["outputs", "inputs", "outputs"]),
    "odd_levels": (mlp((24, 12, 8), x=IntType(-3, 3, 2), w=TERNARY, act=IntType(-3, 3, 2), head="levels"),
                   [(3, 8), (4, 3)], ["inputs", "outputs"]),
    "four_bits_signed": (mlp((24, 12, 8), x=signed(4), w=signed(3), act=signed(4), head="argmax"), [(4, 6), (2, 4)], ["outputs", "inputs"]),
    "argmax": (mlp((32, 16, 10), head="argmax"), [(4, 8), (2, 4)], ["outputs", "inputs"]),
    "bipolar_input": (mlp((32, 16, 16, 10)), [(2, 8), (4, 4), (10, 2)], ["inputs", "outputs", "inputs"]),
    "two_stage_width": (mlp((24, 96, 8), x=unsigned(8), quantize=BIPOLAR), [(32, 8), (2, 24)], ["outputs", "inputs"]),
    "two_stage_width_2": (mlp((30, 30, 12)), [(6, 5), (4, 10)], ["inputs", "outputs"]),
    "rows": (mlp((16, 8, 4), rows=5), [(2, 4), (2, 4)], ["outputs", "inputs"]),
    "one_beat": (mlp((12, 8, 5)), [(8, 12), (5, 8)], ["outputs", "outputs"]),
    "bytes_to_logits": (mlp((20, 10), x=unsigned(8), w=signed(8)), [(5, 4)], ["outputs"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, tmp_path: Path) -> None:
    graph, folding, orders = NETWORKS[name]
    bundle, _ = co_verify(graph, folded(graph, folding, orders), tmp_path, frames=6)
    stages = bundle.design.stages
    arithmetics = {stage.engine.arithmetic for stage in stages if isinstance(stage.engine, Mvu)}
    planes = name in {"two_bits", "four_bits_signed", "odd_levels"}
    if name == "one_beat":  # its weights are built in
        assert [stage.engine.kind for stage in stages] == ["unrolled", "fifo", "unrolled", "fifo"]
    else:
        assert arithmetics == {"integer" if name == "bytes_to_logits" else "planes" if planes else "xnor"}
    two_stage = sum(isinstance(stage.engine, Width) for stage in stages) >= 2 and name.startswith("two_stage")
    assert two_stage == name.startswith("two_stage")


@pytest.mark.parametrize("family", ["ecp5", "generic"])
def test_other_families(family: str, tmp_path: Path) -> None:
    graph = mlp((32, 16, 10), seed=3)
    co_verify(graph, auto_plan(graph, folding=[(4, 16), (5, 8)], family=family), tmp_path, frames=4)


@pytest.mark.parametrize("depth", [2, 3, 64])
def test_depths_of_the_plan(depth: int, tmp_path: Path) -> None:
    graph = mlp((16, 16, 8), seed=4)
    plan = folded(graph, [(16, 2), (1, 8)], ["inputs", "outputs"])
    co_verify(graph, with_depths(plan, dict.fromkeys(plan.layers, depth)), tmp_path, frames=5)


@pytest.mark.parametrize("x", [BIPOLAR, unsigned(2)], ids=["xnor", "integer"])
def test_channels_that_are_always_or_never_on(x: IntType, tmp_path: Path) -> None:
    """Dead neurons at pe = all: comparisons with constants at the ends of the range."""
    build = GraphBuilder("dead")
    value = build.input("x", (6,), x)
    value = build.node(MatMul(np.random.default_rng(5).choice([-1, 1], (6, 4))), value)
    value = build.node(Threshold(np.array([[-100], [100], [0], [2]]), BIPOLAR), value)
    build.output(value)
    graph = build.build()
    co_verify(graph, folded(graph, [(4, 3)], ["outputs"]), tmp_path, frames=6)


def test_back_to_back_frames_of_tfc(tmp_path: Path) -> None:
    """FINN's folding: the first output in under 200 cycles, then one frame every 64, as counted on the RTL."""
    graph = bitwright.lower(REPOSITORY / "examples" / "tfc" / "tfc_w1a1.onnx", input="u8/255").graph
    bundle = codegen.bundle.build(graph, auto_plan(graph, folding=FINN), tmp_path / "tfc")
    assert bundle.design.words_out == 1
    result = verify(bundle.path, frames=3)
    check(bundle, result)
    seen = result.patterns["unstalled"]
    assert seen["first_output_cycle"] < 200
    assert seen["last_output_cycle"] - seen["first_output_cycle"] == 2 * 64


def test_network_trained_elsewhere(shared_models: Path, tmp_path: Path) -> None:
    """The shared TFC and its golden digit: the logits that the qonnx package gives, and the same bits from the RTL."""
    network = bitwright.lower(shared_models / "TFC_1W1A.onnx", input="u8/255")
    digit = np.load(shared_models / "tfc_mnist_input.npy").astype(np.uint8)
    logits = bitwright.run(network, digit, real=True)
    golden = np.load(shared_models / "TFC_1W1A_logits.npy").ravel()
    np.testing.assert_allclose(logits.ravel(), golden, rtol=1e-5)
    assert logits.argmax() == np.load(shared_models / "tfc_mnist_output.npy").item() == 7
    bundle = bitwright.build(network, tmp_path / "tfc", auto_plan(network.graph, folding=FINN), samples=digit)
    check(bundle, bitwright.verify(bundle.path, x=digit))

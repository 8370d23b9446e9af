"""Weights that are written while the hardware runs: network A becomes B and A again, bit by bit, in the same cycles."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.axi import AxiPort
from codegen.bundle import build
from codegen.errors import CodegenError
from codegen.reload import reload_words
from codegen.vectors import make_vectors, random_frames
from hwsim.design import make_design
from hwsim.plan import Plan
from intir import BIPOLAR, Conv2d, Graph, GraphBuilder, IntType, Reshape, Threshold, signed, unsigned
from sim_tests.harness import co_verify
from sim_tests.shell_simulation import simulate
from tests.networks import draw, folded, mlp

pytest.importorskip("cocotbext.axi")

CASES = {"other_weights": 2, "not_while_busy": 1, "a_word_begun_anew": 1, "a_reset_keeps_what_was_written": 1}


def reloadable(plan: Plan) -> Plan:
    """Every layer that has weights."""
    return replace(plan, layers={name: replace(entry, reloadable=True) if entry.engine in ("mvu", "vvu") else entry
                                 for name, entry in plan.layers.items()})


def integers(seed: int) -> Graph:
    """4-bit pixels, 3-bit weights, 2-bit activations: thresholds, starts, sums at the end."""
    return mlp((16, 12, 8, 6), x=unsigned(4), w=signed(3), act=unsigned(2), seed=seed, name="reloaded")


def conv(seed: int) -> Graph:
    """A convolution and a depthwise one."""
    rng, build_ = np.random.default_rng(seed), GraphBuilder("reloaded_conv")
    value = build_.input("x", (5, 5, 2), unsigned(3))
    value = build_.node(Conv2d(draw(IntType(-3, 3), (3, 3, 2, 4), rng)), value, name="conv")
    value = build_.node(Threshold(np.sort(rng.integers(-40, 40, (4, 3)), axis=1), unsigned(2)), value, name="act")
    value = build_.node(Conv2d(draw(IntType(-7, 7), (3, 3, 1, 4), rng), groups=4), value, name="depthwise")
    build_.output(build_.node(Reshape((4,)), build_.node(Threshold(np.sort(rng.integers(-20, 20, (4, 1)), axis=1), BIPOLAR), value, name="sign"),
                              name="flat"))
    return build_.build()


@pytest.fixture(scope="module", params=["verilator", "icarus"])
def outcome(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[dict[str, str | None], dict[str, Any]]:
    folder = tmp_path_factory.mktemp(request.param)
    ours, others = integers(0), integers(1)
    bundle = build(ours, reloadable(folded(ours, [(4, 4), (2, 4), (2, 4)], ["outputs", "inputs", "outputs"])), folder / "built")
    design = bundle.design
    s_axis, m_axis = AxiPort(design.word_in, design.words_in), AxiPort(design.word_out, design.words_out)
    x = random_frames(design, 8)  # the bench's own
    vectors = make_vectors(replace(design, graph=others), s_axis, m_axis, x)
    words = {name: {key: list(one) for key, one in reload_words(design, graph).items()} for name, graph in (("ours", ours), ("others", others))}
    return simulate(bundle, Path(__file__).parent / "reload_bench.py", folder, request.param, **words,
                    others_beats_out=vectors["beats_out"], address_bits=4)


@pytest.mark.parametrize("name", CASES)
def test_in_simulation(outcome: tuple[dict[str, str | None], dict[str, Any]], name: str) -> None:
    found = {case: failure for case, failure in outcome[0].items() if re.fullmatch(rf"{name}(/.*)?", case)}
    assert len(found) == CASES[name]
    assert not any(found.values()), found


def test_convolutions(tmp_path: Path) -> None:
    """Built for any weights, they compute their own; what is written for another network is what that network's build holds."""
    ours, others = conv(0), conv(1)
    plan = reloadable(folded(ours, [(2, 1)]))
    bundle, _ = co_verify(ours, plan, tmp_path)
    other = build(others, bundle.design.plan, tmp_path / "other")
    for name, words in reload_words(bundle.design, others).items():
        text = (other.path / "mem" / f"{other.top}_{name}.mem").read_text()
        assert list(words) == [int(line, 16) for line in text.split()]
    assert {path.name: path.read_text().split("\n", 4)[4] for path in (bundle.path / "rtl").iterdir() if "_mvu" in path.name or "_vvu" in path.name} \
        == {path.name: path.read_text().split("\n", 4)[4] for path in (other.path / "rtl").iterdir() if "_mvu" in path.name or "_vvu" in path.name}


def test_networks_that_need_other_hardware() -> None:
    ours = integers(0)
    plan = reloadable(folded(ours, [(4, 4), (2, 4), (2, 4)]))
    design = make_design(ours, plan)
    wider = mlp((16, 12, 8, 6), x=unsigned(4), w=signed(5), act=unsigned(2), seed=1, name="wider")
    with pytest.raises(CodegenError, match=r"^layer 'fc0' of 'wider' has the weight -?\d+, but its memory holds s3; build that network anew$"):
        reload_words(design, wider)
    narrower = mlp((16, 12, 8, 6), x=unsigned(4), w=signed(2), act=unsigned(2), seed=1, name="narrower")
    assert {len(words) for words in reload_words(design, narrower).values()}
    fixed = make_design(ours, replace(plan, layers=plan.layers | {"fc1": replace(plan.layers["fc1"], reloadable=None)}))
    with pytest.raises(CodegenError, match="^layer 'fc1' of 'reloaded' differs from that of 'reloaded', and is not reloadable; build that network anew$"):
        reload_words(fixed, integers(1))
    assert reload_words(fixed, ours).keys() == {"l0_mvu_weights", "l0_mvu_starts", "l0_mvu_thresholds", "l2_mvu_weights", "l2_mvu_starts"}

"""Builds a bundle and co-verifies it, with what failed in the message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codegen.bundle import Bundle, build
from codegen.cosim import FAULTS, Verification, verify
from hwsim.plan import Plan
from intir import Graph

PATTERNS = ["stalling_both", "stalling_sink", "stalling_source", "unstalled"]


def co_verify(graph: Graph, plan: Plan, folder: Path, frames: int | None = 3, **options: Any) -> tuple[Bundle, Verification]:
    """Build and verify: the RTL's bits are the reference's and its cycles hwsim's, under all four stall patterns."""
    bundle = build(graph, plan, folder / "bundle")
    result = verify(bundle.path, frames=frames, **options)
    check(bundle, result)
    return bundle, result


def check(bundle: Bundle, result: Verification) -> None:
    """Nothing differs, and as many beats as wanted were compared in each pattern."""
    assert sorted(result.patterns) == PATTERNS
    for name, pattern in result.patterns.items():
        assert {fault: pattern[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0), name
        assert pattern["beats"] == result.frames * bundle.design.words_out
        assert pattern["last_output_cycle"] == pattern["predicted_last_output_cycle"] > 0
    assert result.passed

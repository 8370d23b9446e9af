"""The array's Verilog under Verilator: products of matrices back to back, every row of sums and every cycle, in four stall patterns."""

from __future__ import annotations

from pathlib import Path

import pytest

from codegen import overlay
from codegen.cosim import FAULTS
from hwsim.engines.gemm import Gemm
from intir import BIPOLAR, IntType, signed, unsigned
from sim_tests.harness import PATTERNS
from tests.codegen.test_rtl import assert_clean

ARRAYS = {
    "int8": Gemm(5, 4, 1, signed(8), signed(8), 24, depth=32, commands=8),
    "int8, two lanes": Gemm(3, 5, 2, unsigned(8), signed(8), 24, depth=16, commands=3),
    "xnor": Gemm(4, 3, 13, BIPOLAR, BIPOLAR, 12, depth=16, commands=4),
    "one element": Gemm(1, 1, 1, IntType(-3, 3, 2), signed(3), 16, depth=2, commands=2),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_lint_clean_and_right(name: str, tmp_path: Path) -> None:
    gemm = ARRAYS[name]
    overlay.build(gemm, tmp_path / "overlay")
    assert overlay.load(tmp_path / "overlay")[0] == gemm
    assert_clean(tmp_path / "overlay", overlay.top_name(gemm))
    result = overlay.verify(tmp_path / "overlay", products=6, seed=3)
    assert sorted(result.patterns) == PATTERNS
    for pattern in result.patterns.values():
        assert {fault: pattern[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0), pattern["first_difference"]
        assert pattern["beats"] > 6
        assert pattern["last_output_cycle"] == pattern["predicted_last_output_cycle"]

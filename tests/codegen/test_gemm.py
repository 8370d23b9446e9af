"""The array in Amaranth's simulator: every sum, and the cycle of every transfer, against numpy and the model."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.engines.gemm import Gemm
from hwsim.engines.gemm_commands import tile
from intir import BIPOLAR, TERNARY, IntType, signed, unsigned
from tests.codegen.gemm_cases import anything, check, products


def test_one_tile() -> None:
    gemm = Gemm(3, 4, 1, signed(8), signed(8), 24, depth=16, commands=4)
    check(gemm, products(np.random.default_rng(0), [tile(gemm, 3, 7, 4)]))


TYPES = {
    "s8 x s8": (signed(8), signed(8)), "u8 x s8": (unsigned(8), signed(8)), "s8 x u8": (signed(8), unsigned(8)), "xnor": (BIPOLAR, BIPOLAR),
    "ternary": (TERNARY, TERNARY), "u4 x s4": (unsigned(4), signed(4)), "u2 x bipolar": (unsigned(2), BIPOLAR),
    "odd levels x s3": (IntType(-3, 3, 2), signed(3)), "[5, 9] x s5": (IntType(5, 9), signed(5)),
}


@pytest.mark.parametrize("seed", range(18))
def test_any_array(seed: int) -> None:
    """Several products back to back, in either order, with blocks of any size; sums longer than half a memory among them."""
    rng = np.random.default_rng(seed)
    x_type, w_type = list(TYPES.values())[seed % len(TYPES)]
    drawn = [int(rng.integers(1, most + 1)) for most in (4, 4, 4)]
    gemm = Gemm(*drawn, x_type, w_type, 26, depth=int(2 ** rng.integers(1, 5)), commands=int(rng.integers(2, 7)))
    tilings = []
    for _ in range(2):
        m, n = int(rng.integers(1, 2 * gemm.rows + 2)), int(rng.integers(1, 2 * gemm.columns + 2))
        k = int(rng.integers(1, 2.5 * gemm.depth * gemm.lanes)) if rng.random() < 0.5 else int(rng.integers(1, 8))
        tilings.append(tile(gemm, m, k, n, order=[None, "x", "w"][int(rng.integers(3))]))
    check(gemm, products(rng, tilings), seed)


@pytest.mark.parametrize("seed", range(9))
def test_any_commands(seed: int) -> None:
    """What the contract of a command allows, whoever writes the list."""
    rng = np.random.default_rng(seed)
    x_type, w_type = list(TYPES.values())[seed % len(TYPES)]
    gemm = Gemm(*[int(rng.integers(1, 5)) for _ in range(3)], x_type, w_type, 26, depth=int(2 ** rng.integers(1, 5)), commands=int(rng.integers(2, 7)))
    check(gemm, anything(gemm, 40, seed), seed)

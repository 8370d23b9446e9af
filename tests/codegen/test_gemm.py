"""The array in Amaranth's simulator: every sum, and the cycle of every transfer, against numpy and the model."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.engines.gemm import Gemm
from hwsim.engines.gemm_commands import tile
from intir import BIPOLAR, TERNARY, IntType, signed, unsigned
from tests.codegen.gemm_cases import check, products


def test_one_tile() -> None:
    gemm = Gemm(3, 4, 1, signed(8), signed(8), 24, depth=16, commands=4)
    check(gemm, products(np.random.default_rng(0), [tile(gemm, 3, 7, 4)]))

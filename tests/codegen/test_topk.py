"""The sorter in Amaranth's simulator: the bits of the IR's operation, the cycles of hwsim."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.blocks.topk import TopKBlock
from hwsim.engines.topk import TopK
from intir import BIPOLAR, GraphBuilder, IntType, run, signed, unsigned
from intir import ops as ir
from tests.codegen.harness import check


@pytest.mark.parametrize(("channels", "k", "kind"), [
    (1, 1, signed(3)), (6, 1, unsigned(4)), (6, 3, signed(5)), (10, 5, IntType(-3, 3, 2)), (5, 5, BIPOLAR), (7, 2, IntType(-200, -190))], ids=str)
def test_topk(channels: int, k: int, kind: IntType) -> None:
    """Few levels, so that most frames have ties; and frames that rise and fall."""
    rng = np.random.default_rng(channels)
    x = rng.integers(0, min(kind.levels, 3), (16, channels)) * kind.step + kind.lo
    x[::2] = rng.integers(0, kind.levels, (8, channels)) * kind.step + kind.lo
    x[:3], x[3] = np.sort(x[:3], axis=1), np.sort(x[3])[::-1]
    build = GraphBuilder("unit")
    build.output(build.node(ir.TopK(k), build.input("x", (channels,), kind)))
    engine = TopK(channels, k, kind, IntType(0, channels - 1))
    check(TopKBlock(engine), engine, x, run(build.build(), x))

"""Channel permutations in Amaranth's simulator: the bits of the IR's operation, the cycles of hwsim."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.blocks.permute import PermuteBlock
from hwsim.engines.permute import Permute
from hwsim.schedule import Buffer, Schedule
from intir import BIPOLAR, ChannelPermute, GraphBuilder, IntType, run, signed, unsigned
from tests.codegen.harness import check


def shuffle(channels: int, groups: int) -> np.ndarray:
    return np.arange(channels).reshape(groups, -1).T.ravel()


@pytest.mark.parametrize(("order", "lanes", "kind"), [
    (shuffle(8, 2), 8, signed(3)), (shuffle(8, 2), 4, BIPOLAR), (shuffle(8, 2), 2, signed(3)), (shuffle(8, 4), 1, unsigned(4)),
    (shuffle(12, 3), 3, IntType(-3, 3, 2)), (shuffle(12, 3), 2, unsigned(4)), (np.array([0]), 1, signed(3)),
    (np.random.default_rng(1).permutation(15), 5, signed(5)), (np.arange(6)[::-1], 2, unsigned(3)), (np.arange(6), 3, unsigned(3))], ids=str)
def test_permute(order: np.ndarray, lanes: int, kind: IntType) -> None:
    engine = Permute(lanes, kind, tuple(order.tolist()))
    assert isinstance(engine.schedule, Schedule if lanes == len(order) else Buffer)
    x = np.random.default_rng(lanes).integers(0, kind.levels, (7, len(order))) * kind.step + kind.lo
    build = GraphBuilder("unit")
    build.output(build.node(ChannelPermute(order), build.input("x", (len(order),), kind)))
    check(PermuteBlock(engine), engine, x, run(build.build(), x))


def test_pixels_follow_without_a_gap() -> None:
    """A word in and a word out in every cycle."""
    from hwsim.dataflow import simulate

    schedule = Permute(3, BIPOLAR, tuple(shuffle(12, 3).tolist())).schedule
    trace = simulate([schedule], 40, 40)
    assert trace.in_cycles.tolist() == list(range(40))
    assert trace.out_cycles.tolist() == list(range(5, 45))

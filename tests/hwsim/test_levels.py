"""What comparing with thresholds takes: comparators, tables, steps."""

from __future__ import annotations

import pytest

from hwsim.engines.levels import Levels
from hwsim.engines.thresholding import Thresholding
from intir import IntType, unsigned


@pytest.mark.parametrize(("thresholds", "steps", "stored"), [(4, 3, 7), (7, 3, 7), (8, 4, 15), (15, 4, 15), (254, 8, 255), (255, 8, 255)])
def test_bisection_takes_the_logarithm(thresholds: int, steps: int, stored: int) -> None:
    few, all_ = (Levels(2, thresholds, 12, 5, bisects) for bisects in (True, False))
    assert (few.steps, few.stored, all_.steps, all_.stored) == (steps, stored, 1, thresholds)
    assert few.memory_bits == 5 * 2 * stored * 12 == sum(one.depth * one.bits for one in few.memories)
    assert all_.memory_bits == 5 * 2 * thresholds * 12 == sum(one.depth * one.bits for one in all_.memories)
    assert few.bits_read == 5 * 2 * steps * 12
    assert few.luts("xilinx") / all_.luts("xilinx") == pytest.approx(steps / thresholds)


def test_few_levels_and_loaded_ones_are_compared_at_once() -> None:
    three, four, loaded = (Thresholding(8, 2, unsigned(8), IntType(0, n), n, False, unsigned(9), is_loaded)
                           for n, is_loaded in ((3, False), (4, False), (4, True)))
    assert [one.levels.bisects for one in (three, four, loaded)] == [False, True, False]
    assert [one.schedule.latency_cycles for one in (three, four, loaded)] == [2, 4, 2]

"""The model beside published chips: what `make bench-published` prints stays within its bounds."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.published import eyeriss, speedups
from benchmarks.published.__main__ import BOUNDS
from hwsim.energy import energy_table
from hwsim.systems.machine_file import load_machine


@pytest.mark.parametrize("network", list(BOUNDS))
def test_eyeriss_as_measured(network: str) -> None:
    _, pairs = eyeriss.compare(network, load_machine("eyeriss"), [energy_table("eyeriss")])
    assert len(pairs) == {"alexnet": 5, "vgg16": 13}[network]
    for bound, name in zip(BOUNDS[network], ("processing_ms", "buffer_mb", "dram_mb"), strict=True):
        chip, ours = ([getattr(pair[side], name) for pair in pairs] for side in (0, 1))
        assert sum(ours) == pytest.approx(sum(chip), rel=bound / 100)
        assert ours == pytest.approx(chip, rel=0.28)
    # no layer takes more than the chip, and what the model leaves out is about the same in every layer
    missing = np.array([row.power_mw - ours.power_mw[0] for row, ours in pairs])
    assert missing.min() > 130 and missing.max() < 190


def test_operations_saved() -> None:
    assert round(speedups.xnor_net(256, 9), 2) == 62.27
    assert round(speedups.tbn(256, 9, 3)) == 40
    assert round(speedups.simulations()[1], 2) == 62.27

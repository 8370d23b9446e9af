"""A sweep in a process of its own, which tests kill: ``python -m tests.hwsim.sweep_run RESULTS.csv POINTS SCHEDULER``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import hwsim.explore.sweep
from hwsim.explore.spec import SweepPoint, SweepSpec, axis_of

DELAY_SECONDS = float(os.environ.get("SWEEP_DELAY", "0"))


def spec_of(points: int) -> SweepSpec:
    """lenet300 on arrays of many sizes; every seventh is invalid."""
    rows = [10**9 + number if number % 7 == 3 else number + 1 for number in range(points)]
    return SweepSpec(("lenet300",), ("edge_npu_int8",), axes=(axis_of("array.rows", rows, "test"),))


def slow_points(spec: SweepSpec, numbers: list[int]) -> list[hwsim.explore.sweep.Row]:
    """As `run_points`, but each takes a while, and says by whom it was computed."""
    def one(point: SweepPoint) -> hwsim.explore.sweep.Row:
        time.sleep(DELAY_SECONDS)
        if log := os.environ.get("SWEEP_LOG"):
            with Path(log).open("a") as file:
                file.write(f"{point.index} {os.getpid()}\n")
        return hwsim.explore.sweep.run_point(point)

    return [one(spec.point(number)) for number in numbers]


if __name__ == "__main__":
    from tests.hwsim import sweep_run  # under its own name, other processes find it

    hwsim.explore.sweep.PARCEL = 2
    hwsim.explore.sweep.run_points = sweep_run.slow_points  # type: ignore[assignment]
    hwsim.explore.sweep.sweep(spec_of(int(sys.argv[2])), sys.argv[1], scheduler=sys.argv[3], jobs=2)

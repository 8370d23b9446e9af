"""Placing and routing with nextpnr: a netlist in, a clock out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ToolError
from .synth_result import CriticalPath
from .synth_targets import TARGETS, Target
from .wheels import NEXTPNR, run_wheel

NETLIST, REPORT = "netlist.json", "report.json"
#: What nextpnr calls what Yosys counts as LUTs and so on.
BELS = {"TRELLIS_COMB": "LUTs", "TRELLIS_FF": "flip-flops", "DP16KD": "block RAMs", "MULT18X18D": "DSPs",
        "ICESTORM_LC": "LUTs", "ICESTORM_RAM": "block RAMs", "ICESTORM_DSP": "DSPs"}
ADVICE = {
    "LUTs": "plan a lower rate (`bitwright plan --fps`), so that every layer folds more",
    "flip-flops": "plan a lower rate (`bitwright plan --fps`), so that every layer folds more",
    "block RAMs": 'keep weights in LUTs (weight_memory = "distributed" in the plan)',
    "DSPs": 'multiply in LUTs (multiplier = "logic" in the plan)',
}
_UTILISATION = re.compile(r"Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%")
_STEPS = (("Packing", "packing"), ("initial analytic placement", "placing"), ("main analytical placer", "placing"),
          ("simulated annealing", "refining the placement"), ("Routing globals", "routing globals"),
          ("Setting up routing", "routing"),
          ("Max frequency", "timing"))


@dataclass(frozen=True)
class Routed:
    """What one run of nextpnr found.

    Parameters
    ----------
    achieved_mhz : float
    path : CriticalPath
    placed : bel type -> (used, available)
    peak_bytes : int
    """

    achieved_mhz: float
    path: CriticalPath
    placed: dict[str, tuple[int, int]]
    peak_bytes: int


def check_room(target: Target, used: dict[str, int], counted_by: str) -> None:
    """Raise ToolError unless a design fits its part."""
    for name, most in target.room.items():
        if used.get(name, 0) <= most:
            continue
        advice = [ADVICE[name]] if most else []
        larger = [one for one in TARGETS.values() if one.family == target.family and one.room
                  and all(one.room[key] >= used.get(key, 0) for key in one.room)]
        if larger:
            advice.append(f"choose the target {min(larger, key=lambda one: one.room['LUTs']).name}")
        raise ToolError(f"the design does not fit {target.name}: {counted_by} needs {used[name]:,} {name}, "
                        f"{used[name] - most:,} more than the {most:,} there are; {', or '.join(advice) or ADVICE['LUTs']}")


def route(target: Target, folder: Path, clock_mhz: float, seed: int, timeout_seconds: float,
          progress: Callable[[str, str], None]) -> Routed:
    """Place and route ``netlist.json`` in a folder.

    Parameters
    ----------
    target : Target
    folder : Path
    clock_mhz : float
        What placing and routing try to reach.
    seed : int
    timeout_seconds : float
    progress : callable
        Told (step, what nextpnr says).

    Raises
    ------
    ToolError
        If the design does not fit, or nextpnr is missing, fails or takes too long.
    """
    assert target.router is not None
    tool, step = NEXTPNR[target.router], "reading the netlist"

    def listen(line: str) -> None:
        nonlocal step
        step = next((name for text, name in _STEPS if text in line), step)
        if line.startswith("Info:"):
            progress(step, line.removeprefix("Info:").strip())

    run = run_wheel(tool, [*target.flags, "--json", NETLIST, "--report", REPORT, "--freq", f"{clock_mhz:g}", "--seed", str(seed),
                           "--timing-allow-fail"], folder, timeout_seconds, listen)
    placed = {bel: (int(used), int(available)) for line in run.lines if (found := _UTILISATION.search(line))
              for bel, used, available in [found.groups()] if int(available)}
    if run.status:
        check_room(target, {BELS[bel]: used for bel, (used, _) in placed.items() if bel in BELS}, tool.name)
        raise ToolError(f"{tool.name} failed with exit status {run.status}: {run.reason}")
    report = json.loads((folder / REPORT).read_text())
    (clock,) = report["fmax"]
    return Routed(report["fmax"][clock]["achieved"], _critical(report, clock), placed, run.peak_bytes)


def _critical(report: dict[str, Any], clock: str) -> CriticalPath:
    """The path between registers that limits the clock."""
    edge = f"posedge {clock}"
    steps = next(path["path"] for path in report["critical_paths"] if path["from"] == path["to"] == edge)
    routing = sum(step["delay"] for step in steps if step["type"] == "routing")
    whole = sum(step["delay"] for step in steps)
    begin, end = steps[0]["from"], steps[-1]["to"]
    return CriticalPath(f"{begin['cell']}.{begin['port']}", f"{end['cell']}.{end['port']}", block_of(begin["cell"]),
                        block_of(end["cell"]), whole, whole - routing, routing,
                        1 + sum(step["type"] == "routing" for step in steps))


def block_of(cell: str) -> str:
    """The instance in the design's top that a cell is in, if any."""
    first, _, rest = cell.partition(".")
    inner, dot, _ = rest.partition(".")
    return inner if first == "dut" and dot else ""

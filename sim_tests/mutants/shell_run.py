"""Runs of a cocotb simulation that is built: the bench of the control shell, up to its first failure, for each mutant."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.errors import ToolError

#: A run may take so many times the processor time of the one without a change, and so many seconds more: a change can make logic
#: that oscillates.
PATIENCE, GRACE_SECONDS = 10, 20
CLOCK_NS = 10
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Played:
    """What a run said.

    Parameters
    ----------
    failure : str
        The first test that failed, and why; or nothing.
    seen : dict
        What the bench has kept.
    cycles : int
        Of all tests.
    """

    failure: str
    seen: dict[str, Any]
    cycles: int


def play(folder: Path, top: str, mutants: Sequence[int]) -> Iterator[tuple[int, Played]]:
    """Run the bench on each mutant; 0 is none, and comes first.

    Parameters
    ----------
    folder : Path
        In which `sim_tests.shell_simulation.simulate` has built the simulation.
    """
    places, program = folder / "mutants", folder / "build" / f"{top}_harness"
    shutil.rmtree(places, ignore_errors=True)
    places.mkdir()
    told = {"mutants": list(mutants), "folder": str(places), "patience": PATIENCE, "grace_seconds": GRACE_SECONDS}
    environment = _environment() | {
        "PYTHONPATH": os.pathsep.join([str(folder / "bundle" / "tb"), str(ROOT), *filter(None, sys.path)]),
        "MUTANTS": json.dumps(told),
        "COCOTB_TEST_MODULES": "sim_tests.mutants.each_mutant,bench", "COCOTB_TOPLEVEL": program.name,
        "COCOTB_RESULTS_FILE": str(places / "none.xml"),
        "BENCH_RESULTS": str(places / "none.json"), "BENCH_VECTORS": str(folder / "case.json")}
    said, ran = [], 0
    with subprocess.Popen([str(program), f"+bench={folder / 'build'}"], cwd=folder / "bundle", env=environment, text=True,
                          errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout
        for line in process.stdout:
            if match := re.fullmatch(r"mutant (\d+) (\S+)\n", line):
                ran += 1
                yield int(match[1]), _played(places / match[1], match[2])
            else:
                said.append(line)
    if ran != len(mutants):
        raise ToolError(f"the bench of {ran} mutants, not {len(mutants)}, has run: {''.join(said)[-2000:]}")


def _played(place: Path, ended: str) -> Played:
    log = place.with_suffix(".log").read_text(errors="replace")
    if ended in ("late", "stuck"):
        why = {"late": "it takes more time than any test needs", "stuck": "its threads wait for each other"}[ended]
        return Played(f"does not end: {why}", {}, 0)
    if not place.with_suffix(".xml").exists():
        return Played("does not end: " + ("it does not settle" if "did not converge" in log else f"status {ended}"), {}, 0)
    nanoseconds = 0.0
    cases = list(xml.etree.ElementTree.parse(place.with_suffix(".xml")).iter("testcase"))
    for case in cases:
        for child in case:
            if child.tag in ("failure", "error"):
                why = (child.get("message") or child.get("error_msg") or child.tag).splitlines()[0]
                why = "it hangs" if "the bench hangs" in log else why
                return Played(f"{str(case.get('name')).partition('/')[0]}: {why}", {}, 0)
        nanoseconds += sum(float(one.get("value", 0)) for one in case.iter("property") if one.get("name") == "sim_time_duration")
    if len(cases) < 2:
        return Played(f"no test ran: {log[-300:]}", {}, 0)
    kept = place.with_suffix(".json")
    return Played("", json.loads(kept.read_text()) if kept.exists() else {}, round(nanoseconds / CLOCK_NS))


def _environment() -> dict[str, str]:
    """What cocotb's own runner sets for Verilator; the same random numbers in every run, and the first failure ends it."""
    if importlib.util.find_spec("cocotb_tools") is None:
        raise ToolError("cocotb is not installed; run `make env`")
    import cocotb_tools.config
    import find_libpython

    return dict(os.environ) | {
        "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(cocotb_tools.config.libs_dir)]),
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{find_libpython.find_libpython()};{cocotb_tools.config.pygpi_entry_point()}", "TOPLEVEL_LANG": "verilog",
        "COCOTB_TRUST_INERTIAL_WRITES": "1", "COCOTB_LOG_LEVEL": "WARNING", "COCOTB_MAX_FAILURES": "1", "COCOTB_RANDOM_SEED": "1"}

"""Runs of a cocotb simulation that is built: the bench of the control shell, up to its first failure."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.errors import ToolError

#: A run may take so many times as long as the one without a change, and so many seconds more: a change can make logic that oscillates,
#: or leave a thread of a driver behind.
PATIENCE, GRACE_SECONDS = 15, 60
CLOCK_NS = 10


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


class Player:
    """A simulation that `sim_tests.shell_simulation.simulate` has built in a folder."""

    def __init__(self, folder: Path, top: str) -> None:
        self.folder, self.program = folder, folder / "build" / f"{top}_harness"
        self._seconds = 0.0  # of the first run

    def play(self, mutant: int) -> Played:
        """Run the bench on a mutant; 0 is none, and comes first."""
        results, seen = self.folder / "mutant.xml", self.folder / "mutant.json"
        for one in (results, seen):
            one.unlink(missing_ok=True)
        started = time.monotonic()
        try:
            said = self._run([str(self.program), f"+mutant={mutant}", f"+bench={self.folder / 'build'}"], _environment() | {
                "PYTHONPATH": os.pathsep.join([str(self.folder / "bundle" / "tb"), *sys.path[1:]]), "COCOTB_TEST_MODULES": "bench",
                "COCOTB_TOPLEVEL": self.program.name, "COCOTB_RESULTS_FILE": str(results), "BENCH_RESULTS": str(seen),
                "BENCH_VECTORS": str(self.folder / "case.json")}, self._seconds * PATIENCE + GRACE_SECONDS if self._seconds else None)
        except subprocess.TimeoutExpired:
            return Played("does not end: more time than any test needs", {}, 0)
        self._seconds = self._seconds or time.monotonic() - started
        if not results.exists():
            settles = "does not settle" if "did not converge" in said else (said.strip().splitlines() or ["nothing"])[-1]
            return Played(f"does not end: {settles}", {}, 0)
        cases, nanoseconds = list(xml.etree.ElementTree.parse(results).iter("testcase")), 0.0
        for case in cases:
            for child in case:
                if child.tag in ("failure", "error"):
                    why = "hangs" if "the bench hangs" in said else (child.get("message") or child.get("error_msg") or child.tag).splitlines()[0]
                    return Played(f"{str(case.get('name')).partition('/')[0]}: {why}", {}, 0)
            nanoseconds += sum(float(one.get("value", 0)) for one in case.iter("property") if one.get("name") == "sim_time_duration")
        if not cases:
            return Played("no test ran: 0 tests", {}, 0)
        return Played("", json.loads(seen.read_text()), round(nanoseconds / CLOCK_NS))

    def _run(self, command: list[str], environment: dict[str, str], seconds: float | None) -> str:
        process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   errors="replace", start_new_session=True)
        try:
            return process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise


def _environment() -> dict[str, str]:
    """What cocotb's own runner sets for Verilator; the same random numbers in every run, and the first failure ends it."""
    if importlib.util.find_spec("cocotb_tools") is None:
        raise ToolError("cocotb is not installed; run `make env`")
    import cocotb_tools.config
    import find_libpython

    return dict(os.environ) | {
        "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(cocotb_tools.config.libs_dir)]), "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{find_libpython.find_libpython()};{cocotb_tools.config.pygpi_entry_point()}", "TOPLEVEL_LANG": "verilog",
        "COCOTB_TRUST_INERTIAL_WRITES": "1", "COCOTB_LOG_LEVEL": "WARNING", "COCOTB_MAX_FAILURES": "1", "COCOTB_RANDOM_SEED": "1"}

"""Runs inside the simulator, ahead of the bench of the control shell: a process for each mutant.

Starting a simulation with cocotb takes longer than most mutants live.  So it starts once, and each mutant gets a copy of that process,
in the same state: nothing of one reaches the next.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import cocotb
import shell_tb


@cocotb.test()
async def each_mutant(dut):
    """The copies go on with the bench; the original waits for each, says how it ended, and ends."""
    told = json.loads(os.environ["MUTANTS"])
    seconds = None  # of the first, which has no change
    for mutant in told["mutants"]:
        started = time.monotonic()
        place = Path(told["folder"]) / str(mutant)
        child = os.fork()
        if child == 0:
            log = os.open(place.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ["COCOTB_RESULTS_FILE"] = str(place.with_suffix(".xml"))
            shell_tb.RESULTS = place.with_suffix(".json")
            dut.mutant.value = mutant
            return
        limit = None if seconds is None else told["patience"] * seconds + told["grace_seconds"]
        ended = wait(child, place.with_suffix(".xml"), limit)
        seconds = seconds or time.monotonic() - started
        os.write(1, f"\nmutant {mutant} {ended}\n".encode())
    sys.stdout.flush()
    os._exit(0)


def wait(child, results, seconds):
    """How a process ended: its status, or that it had to be ended.

    With its results it has done all that is wanted: a copy whose test has failed may wait for a lock as it leaves.
    """
    started = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        whole = results.exists() and results.read_text().rstrip().endswith("</testsuites>")
        if whole or (seconds is not None and time.monotonic() - started > seconds):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "whole" if whole else "late"
        time.sleep(0.01)

"""Runs inside the simulator, ahead of the bench of the control shell: a process for each mutant.

Starting a simulation with cocotb takes longer than most mutants live.  So it starts once, and each mutant gets a copy of that process,
in the same state: nothing of one reaches the next.
"""

import json
import math
import os
import resource
import signal
import time
from pathlib import Path

import cocotb
import shell_tb

#: All threads of a copy sleep so long: they wait for each other.
STUCK_SECONDS = 20


@cocotb.test()
async def each_mutant(dut):
    """The copies go on with the bench; the original waits for each, says how it ended, and ends."""
    told = json.loads(os.environ["MUTANTS"])
    limit = 0  # of processor time, which does not depend on what else the machine does
    for mutant in told["mutants"]:
        place = Path(told["folder"]) / str(mutant)
        child = os.fork()
        if child == 0:
            if limit:
                used = time.process_time()
                resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + limit), math.ceil(used + limit) + 5))
            log = os.open(place.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ["COCOTB_RESULTS_FILE"] = str(place.with_suffix(".xml"))
            shell_tb.RESULTS = place.with_suffix(".json")
            dut.mutant.value = mutant
            return
        ended, seconds = wait(child, place.with_suffix(".xml"))
        limit = limit or told["patience"] * seconds + told["grace_seconds"]
        os.write(1, f"\nmutant {mutant} {ended}\n".encode())
    os._exit(0)


def wait(child, results):
    """How a process ended: its signal or its status, or that it had to be ended; and its processor time.

    With its results it has done all that is wanted: a copy whose test has failed may wait for a lock as it leaves.
    """
    moved = time.monotonic()
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return "late" if code in (-signal.SIGXCPU, -signal.SIGKILL) else code, usage.ru_utime + usage.ru_stime
        whole = results.exists() and results.read_text().rstrip().endswith("</testsuites>")
        if not sleeps(child):
            moved = time.monotonic()
        if whole or time.monotonic() - moved > STUCK_SECONDS:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return "whole" if whole else "stuck", usage.ru_utime + usage.ru_stime
        time.sleep(0.01)


def sleeps(process):
    """Whether no thread of a process has anything to do."""
    try:
        states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{process}/task").iterdir()]
    except OSError:  # one has just ended
        return False
    return all(state == "S" for state in states)

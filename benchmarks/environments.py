"""Other tools in environments of their own, for benchmarks that run them beside ours."""

from __future__ import annotations

import re
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / "build" / "peers"
TIMEOUT_SECONDS = 1500.0


class PeerError(Exception):
    """Another tool cannot be installed, or does not do what it is asked."""


def run_command(command: Sequence[str | Path], what: str, folder: Path | None = None,
                timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """A command's standard output; `PeerError` with its last line if it fails."""
    try:
        done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, errors="replace",
                              timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired:
        raise PeerError(f"{what} did not finish in {timeout_seconds:g} s") from None
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = next((line for line in said if re.match(r"ERROR|%Error", line)), said[-1] if said else "it printed nothing")
        raise PeerError(f"{what} failed: {reason[:200]}")
    return done.stdout


def environment(name: str, requirements: Sequence[str], *, constrained: bool = True) -> Path:
    """The Python of another tool's environment, which is made if it is not there with the wanted versions.

    Parameters
    ----------
    name : str
        Of the tool.
    requirements : sequence of str
        As pip takes them.
    constrained : bool
        Whether what they need in turn is held to `constraints.txt`; not for a tool that needs older packages.

    Raises
    ------
    PeerError
        If it cannot be installed.
    """
    folder = ENVIRONMENTS / name
    python, stamp, wanted = folder / "bin" / "python", folder / "installed.txt", "\n".join(requirements)
    if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
        try:
            venv.create(folder, with_pip=True, clear=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PeerError(f"no environment for {name}: {error}") from None
        held = ["--constraint", ROOT / "constraints.txt"] if constrained else []
        run_command([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *held, *requirements],
                    f"installing {name}")
        stamp.write_text(wanted)
    return python

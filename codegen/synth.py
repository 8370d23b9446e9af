"""From a bundle to gates: synthesis with Yosys, placing and routing with nextpnr, everything from PyPI.

The bundle's own Verilog and memory files are what is synthesized, in a temporary folder.  For placing and routing the design
stands between shift registers (`synth_ring`), so that it fits any package and every path is timed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hwsim.design import Design
from hwsim.engines.control import control_resources
from hwsim.engines.memories import Resources

from .bundle import Bundle
from .errors import BundleError, ToolError
from .synth_gates import gates
from .synth_result import FOLDER, Clock, Part, Synthesis
from .synth_ring import ports_of, ring
from .synth_route import NETLIST, Routed, check_room, route
from .synth_targets import Target, target_of
from .wheels import NEXTPNR, YOSYS, run_wheel
from .yosys import SYNTHESIS, SynthResult, parts_of

#: For one step, Yosys or nextpnr.
TIMEOUT_SECONDS = 3600.0
MAX_CLOCK_MHZ = 2000.0
MAX_TIMEOUT_SECONDS = 1e6
#: nextpnr counts seeds in 32 bits; there are at most 100 tries.
MAX_SEED = 2_000_000_000
#: A temporary folder with less room than this is full.
_FULL_BYTES = 1 << 16
_PASS = re.compile(r"^(?:\d+\.)+ (?:Executing |Finished )?(.*)")


def synthesize_bundle(bundle: Bundle, target: str, *, clock_mhz: float | None = None, seed: int = 1, tries: int = 1,
                      timeout_seconds: float = TIMEOUT_SECONDS,
                      progress: Callable[[str, str], None] = lambda step, line: None) -> Synthesis:
    """Synthesize a bundle, and place and route it where the target's tools can.

    Parameters
    ----------
    bundle : Bundle
    target : str
        One of `synth_targets.TARGETS`.
    clock_mhz : float, optional
        What placing and routing try to reach; by default the clock of the plan.
    seed : int
        Of the placement.
    tries : int
        Placements, with that seed and the following ones; the fastest counts.
    timeout_seconds : float
        For each step.
    progress : callable
        Told (step, what the tool says).

    Raises
    ------
    ToolError
        If there is no such target, a tool is missing, fails or takes too long, or the design does not fit the part.
    BundleError
        If the bundle has no Verilog, or its folder cannot be written.
    """
    chosen = target_of(target)
    wanted = bundle.design.plan.clock_mhz if clock_mhz is None else clock_mhz
    if not 0 < wanted <= MAX_CLOCK_MHZ:
        raise ToolError(f"a clock of {wanted:g} MHz is wanted; give one between 0 and {MAX_CLOCK_MHZ:g}")
    if tries < 1:
        raise ToolError(f"{tries} placements to try; give 1 or more")
    if not 0 <= seed <= MAX_SEED:
        raise ToolError(f"the seed is {seed}; give one between 0 and {MAX_SEED}")
    if not 0 < timeout_seconds <= MAX_TIMEOUT_SECONDS:
        raise ToolError(f"a timeout of {timeout_seconds:g} seconds is wanted; give one up to {MAX_TIMEOUT_SECONDS:g}")
    tools = (YOSYS.version, *([NEXTPNR[chosen.router].version] if chosen.router else []))
    results = bundle.path / FOLDER if os.path.lexists(bundle.path / FOLDER) else bundle.path
    if not results.is_dir():
        raise BundleError(f"'{results}' is no folder, so the result could not be written into it; remove it")
    if not os.access(results, os.W_OK):
        raise BundleError(f"the result could not be written into '{bundle.path}'; make that folder writable")
    seconds: dict[str, float] = {}
    taken = sum(bundle.design.resources.values(), Resources())
    common: dict[str, Any] = {
        "target": chosen.name, "description": chosen.description, "top": bundle.top, "design": bundle.manifest["design"],
        "room": chosen.room, "family": chosen.plan_family, "plan_family": bundle.design.plan.family, "tools": tools,
        "seconds": seconds, "estimated": named(taken), "notes": _notes(bundle, chosen)}
    with _staged(bundle) as folder:
        if chosen.family == "asic":
            with _timed(seconds, "Yosys"):
                found = gates(folder, bundle.top, sources(bundle), timeout_seconds, _passes(progress))
            return Synthesis(**common, used=found.used, cells=found.cells, gates=found.area, macros=found.macros,
                             peak_bytes=found.peak_bytes)
        with _timed(seconds, "Yosys"):
            cells, peak = _mapped(bundle, chosen, folder, timeout_seconds, progress)
        check_room(chosen, counted(cells), "Yosys")
        around = counted(cells.parts.get("", SynthResult(cells.family, {}))) if chosen.router else {}
        used = {name: count - around.get(name, 0) for name, count in counted(cells).items()}
        # What is around the design for placing is no part of it.
        inside = replace(cells, parts={name: part for name, part in cells.parts.items() if name or not chosen.router})
        made = common | {"used": used, "cells": cells.cells, "parts": parts_beside(bundle.design, inside), "peak_bytes": peak}
        if chosen.router is None:
            return Synthesis(**made)
        best: Routed | None = None
        tried: dict[int, float] = {}
        for number in range(seed, seed + tries):
            with _timed(seconds, f"nextpnr, seed {number}" if tries > 1 else "nextpnr"):
                routed = route(chosen, folder, wanted, number, timeout_seconds, progress)
            tried[number] = round(routed.achieved_mhz, 3)
            if best is None or routed.achieved_mhz > best.achieved_mhz:
                best = routed
            if best.achieved_mhz >= wanted:
                break
    assert best is not None
    clock = Clock(wanted, max(tried.values()), max(tried, key=lambda one: tried[one]), tried, best.path)
    wrapped = (f"shift registers at all ports, so that 5 pins do: {around['LUTs']:,} LUTs and {around['flip-flops']:,} flip-flops "
               "besides")
    return Synthesis(**made | {"peak_bytes": max(peak, best.peak_bytes)}, clock=clock, placed=best.placed, around=wrapped)


def named(taken: Resources) -> dict[str, int]:
    """An estimate by the names of resources."""
    names = {"luts": "LUTs", "ffs": "flip-flops", "brams": "block RAMs", "dsps": "DSPs"}
    return {names[key]: value for key, value in asdict(taken).items()}


def counted(cells: SynthResult) -> dict[str, int]:
    """Cells by the names of resources."""
    brams = cells.brams if cells.family == "ice40" else cells.bram18s
    return {"LUTs": cells.luts, "flip-flops": cells.ffs, "block RAMs": brams, "DSPs": cells.dsps}


def sources(bundle: Bundle) -> list[str]:
    """The Verilog files of a bundle, as its manifest lists them.  Raises BundleError."""
    found = sorted(name for name in bundle.manifest["files"] if name.startswith("rtl/") and name.endswith(".v"))
    if f"rtl/{bundle.top}.v" not in found or any(not re.fullmatch(r"[\w./-]+", name) for name in found):
        raise BundleError(f"bundle '{bundle.path}' has no usable rtl/{bundle.top}.v; build the bundle again")
    return found


@contextmanager
def _staged(bundle: Bundle) -> Iterator[Path]:
    """A temporary folder with the Verilog and the memories: what was checked, also if the bundle is replaced meanwhile."""
    room = "name a folder with room that is writable in the environment variable TMPDIR"
    try:
        with tempfile.TemporaryDirectory(prefix="synth_") as name:
            for file, data in bundle.files.items():
                if file.startswith(("rtl/", "mem/")):
                    (Path(name) / file).parent.mkdir(parents=True, exist_ok=True)
                    (Path(name) / file).write_bytes(data)
            try:
                yield Path(name)
            except ToolError as error:
                if shutil.disk_usage(name).free < _FULL_BYTES:
                    raise ToolError(f"{error}; the temporary folder '{Path(name).parent}' is full, {room}") from None
                raise
    except BrokenPipeError:  # whom the caller told of progress
        raise
    except OSError as error:
        raise ToolError(f"cannot synthesize in a temporary folder: {error.strerror or error}; {room}") from None


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - started, 1)


def _passes(progress: Callable[[str, str], None]) -> Callable[[str], None]:
    """A listener to Yosys that passes on which pass runs."""
    def listen(line: str) -> None:
        if found := _PASS.match(line):
            progress("synthesis", found[1])
    return listen


def _mapped(bundle: Bundle, target: Target, folder: Path, timeout_seconds: float,
            progress: Callable[[str, str], None]) -> tuple[SynthResult, int]:
    """Run Yosys; leaves the netlist in the folder.  Gives cells and peak memory."""
    top, files = bundle.top, sources(bundle)
    if target.router is not None:
        top = f"{bundle.top}_ring"
        text = (folder / "rtl" / f"{bundle.top}.v").read_text()
        (folder / f"{top}.v").write_text(ring(top, bundle.top, ports_of(text, bundle.top)))
        files.append(f"{top}.v")
    script = [f"read_verilog {name}" for name in files] + [
        f"{SYNTHESIS[target.family]} {target.synthesis} -top {top}",
        # Kept modules did their work in mapping; one flat netlist is what is placed, and makes counting a plain sum.
        "setattr -mod -unset keep_hierarchy *", "setattr -unset keep_hierarchy *", "flatten", "delete t:$scopeinfo", "autoname",
        f"write_json {NETLIST}"]
    (folder / "run.ys").write_text("\n".join(script) + "\n")
    done = run_wheel(YOSYS, ["-v", "2", "-s", "run.ys"], folder, timeout_seconds, _passes(progress))
    if done.status:
        raise ToolError(f"Yosys failed with exit status {done.status}: {done.reason}")
    netlist = json.loads((folder / NETLIST).read_text())["modules"][top]["cells"]
    counts: dict[str, int] = {}
    for cell in netlist.values():
        counts[cell["type"]] = counts.get(cell["type"], 0) + 1
    inside = {name.removeprefix("dut."): cell for name, cell in netlist.items()}
    if target.router is not None:  # what is not in the design is around it, whatever autoname called it
        inside = {name if old.startswith("dut.") else old.replace(".", "_"): cell
                  for (old, cell), name in zip(netlist.items(), inside, strict=True)}
    return SynthResult(target.family, dict(sorted(counts.items())), parts=parts_of(inside, target.family)), done.peak_bytes


def parts_beside(design: Design, cells: SynthResult) -> tuple[Part, ...]:
    """Cells of each block of a design beside its estimate; what is in no block is the control shell with the bus.

    Parameters
    ----------
    design : Design
    cells : SynthResult
        With its parts.
    """
    plan, parts, none = design.plan, dict(cells.parts), SynthResult(cells.family, {})
    made = [part_beside(stage.name, stage.engine.kind, stage.engine.resources(plan.family), parts.pop(stage.name, none))
            for stage in design.stages]
    rest: Counter[str] = sum((Counter(part.cells) for part in parts.values()), Counter())
    shell = control_resources(plan.family, plan.control)
    return (*made, part_beside("control", plan.control, shell, SynthResult(cells.family, dict(rest))))


def part_beside(name: str, engine: str, estimated: Resources, cells: SynthResult) -> Part:
    """Cells beside an estimate of them."""
    found = counted(cells)
    return Part(name, engine, found["LUTs"], found["flip-flops"], found["block RAMs"], found["DSPs"], named(estimated))


def _notes(bundle: Bundle, target: Target) -> tuple[str, ...]:
    family = bundle.design.plan.family
    if target.family == "asic":
        return ("hwsim estimates FPGA cells, not gates",)
    if family != target.plan_family:
        return (f"planned for the family {family}, so its counters and the estimate are made for that; plan with "
                f"--family {target.plan_family} for this target",)
    return () if family != "generic" else ("hwsim counts no DSPs for the family generic, so that a design fits parts without",)

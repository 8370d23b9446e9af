"""What a synthesis found: for tables, for files, beside hwsim's estimate."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from intir.whole import write_all

from .errors import BundleError
from .templates import render

FOLDER = "synth"


@dataclass(frozen=True)
class Part:
    """One block of a design: cells found and estimated.

    A cell that mapping made of two blocks' logic counts for one of them.

    Parameters
    ----------
    name, engine : str
        Instance in the top module, and its kind.
    luts, ffs, brams, dsps : int
        Found by Yosys.
    estimated : resource -> number
    """

    name: str
    engine: str
    luts: int
    ffs: int
    brams: int
    dsps: int
    estimated: dict[str, int]

    @property
    def found(self) -> dict[str, int]:
        """What was found, by the names of resources."""
        return {"LUTs": self.luts, "flip-flops": self.ffs, "block RAMs": self.brams, "DSPs": self.dsps}


@dataclass(frozen=True)
class CriticalPath:
    """The slowest path between two registers.

    Parameters
    ----------
    begin, end : str
        Cell and pin.
    begin_block, end_block : str
        Instances in the top module that they are in; "" is the top itself or what is around it.
    delay_ns, logic_ns, routing_ns : float
    cells : int
        That it goes through, with the first and the last.
    """

    begin: str
    end: str
    begin_block: str
    end_block: str
    delay_ns: float
    logic_ns: float
    routing_ns: float
    cells: int


@dataclass(frozen=True)
class Clock:
    """What placing and routing reached.

    Parameters
    ----------
    wanted_mhz, achieved_mhz : float
    seed : int
        That reached it.
    tried_mhz : seed -> achieved
    path : CriticalPath
    """

    wanted_mhz: float
    achieved_mhz: float
    seed: int
    tried_mhz: dict[int, float]
    path: CriticalPath

    @property
    def met(self) -> bool:
        """Whether it is what was wanted."""
        return self.achieved_mhz >= self.wanted_mhz


@dataclass(frozen=True)
class Synthesis:
    """A design synthesized for a target, and placed and routed where that can be done.

    Parameters
    ----------
    target, description, top, design : str
        `design` is the bundle's hash.
    used : resource -> number
        Of the design, as Yosys counts.
    room : resource -> number
        That the part has; empty if no part is meant.
    estimated : resource -> number
        By hwsim, for the family of the plan.
    family, plan_family : str
        Of the target, and of the plan.
    cells : cell type -> number
    parts : tuple of Part
    placed : bel type -> (used, available)
        After packing, by nextpnr.
    clock : Clock or None
        None where nothing was routed.
    around : str
        What the design was wrapped in for placing, and what that takes besides.
    gates : float or None
        Area in NAND2 equivalents, without `macros`.
    macros : tuple of (words, bits, kind)
        Memories that are no gates.
    notes : tuple of str
    tools : tuple of str
        As pip takes them.
    seconds : step -> time
    peak_bytes : int
        Most memory that a tool had.
    """

    target: str
    description: str
    top: str
    design: str
    used: dict[str, int]
    room: dict[str, int]
    estimated: dict[str, int]
    family: str
    plan_family: str
    cells: dict[str, int]
    parts: tuple[Part, ...] = ()
    placed: dict[str, tuple[int, int]] = field(default_factory=dict)
    clock: Clock | None = None
    around: str = ""
    gates: float | None = None
    macros: tuple[tuple[int, int, str], ...] = ()
    notes: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        made = asdict(self)
        if self.clock is not None:
            made["clock"]["met"] = self.clock.met
            made["clock"]["tried_mhz"] = {str(seed): mhz for seed, mhz in self.clock.tried_mhz.items()}
        return made

    @property
    def figures(self) -> list[tuple[str, str]]:
        """The whole in words: (what, how much)."""
        rows = []
        if self.clock is not None:
            clock, path = self.clock, self.clock.path
            tried = f"; seeds {', '.join(f'{seed}: {mhz:.1f}' for seed, mhz in clock.tried_mhz.items())}" \
                if len(clock.tried_mhz) > 1 else f", seed {clock.seed}"
            rows += [
                ("clock, placed and routed", f"{clock.achieved_mhz:.1f} MHz ({clock.wanted_mhz:g} wanted: "
                                             f"{'met' if clock.met else 'NOT met'}{tried})"),
                ("slowest path", f"{path.delay_ns:.2f} ns: {path.logic_ns:.2f} logic, {path.routing_ns:.2f} routing, "
                                 f"{path.cells} cells"),
                ("it begins at", path.begin), ("and ends at", path.end)]
        if self.gates is not None:
            rows.append(("area", f"{self.gates:,.0f} NAND2 equivalents{', without the memories below' if self.macros else ''}"))
        if self.macros:
            bits = sum(words * width for words, width, _ in self.macros)
            rows.append(("memories", f"{len(self.macros)}, {bits:,} bits: "
                         + ", ".join(f"{words:,} x {width:,} {kind}" for words, width, kind in self.macros)))
        if self.around:
            rows.append(("around it", self.around))
        rows += [("note", note) for note in self.notes]
        rows += [("tools", ", ".join(self.tools)),
                 ("time", ", ".join(f"{step} {seconds:.0f} s" for step, seconds in self.seconds.items())
                  + f"; at most {self.peak_bytes / 2**20:,.0f} MiB of memory")]
        return rows

    @property
    def table(self) -> list[tuple[str, str, str, str, str]]:
        """(resource, found, estimated, the part has, taken)."""
        rows = []
        for name, count in self.used.items():
            has = self.room.get(name)
            rows.append((name, f"{count:,}", f"{self.estimated[name]:,}" if name in self.estimated else "",
                         "" if has is None else f"{has:,}", f"{count / has:.1%}" if has else ""))
        return rows


def save(result: Synthesis, folder: Path) -> tuple[Path, Path]:
    """Write a result into a bundle: ``synth/<target>.json`` and ``.html``, both or neither.

    Raises
    ------
    BundleError
        If they cannot be written.
    """
    stem = folder / FOLDER / result.target
    page = render("synth.html.j2", result=result)
    files = {stem.with_suffix(".json"): (json.dumps(result.as_dict(), indent=1) + "\n").encode(),
             stem.with_suffix(".html"): page.encode("utf-8", "backslashreplace")}
    try:
        stem.parent.mkdir(exist_ok=True)
        write_all(files)
    except OSError as error:
        raise BundleError(f"cannot write '{stem}.json': {error.strerror or error}; make the bundle's folder writable") from None
    json_file, html_file = files
    return json_file, html_file

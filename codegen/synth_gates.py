"""Synthesis to generic gates: area in NAND2 equivalents, no technology meant.

The cells and their areas are ours: transistors of static CMOS divided by the four of a NAND2.  Transistor counts are the
textbook's (Weste and Harris, CMOS VLSI Design, 4th edition, chapters 1.4, 1.5 and 10.3): two for each input of a complementary
gate; an XOR of two inputs is an AOI22-like gate of eight with two inverters, twelve; a multiplexer of two inputs is eight, an
inverter for the select and one behind it, twelve; a flip-flop two latches of ten and two inverters for the clock, 24.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ToolError
from .wheels import YOSYS, run_wheel

#: Memories of more words than this are macros, not gates.
MOST_GATE_WORDS = 16
#: Cell -> (function of its inputs, transistors).
CELLS = {
    "INV": ("!A", 2), "BUF": ("A", 4), "NAND2": ("!(A*B)", 4), "NOR2": ("!(A+B)", 4), "NAND3": ("!(A*B*C)", 6),
    "NOR3": ("!(A+B+C)", 6), "NAND4": ("!(A*B*C*D)", 8), "AND2": ("A*B", 6), "OR2": ("A+B", 6), "AOI21": ("!((A*B)+C)", 6),
    "OAI21": ("!((A+B)*C)", 6), "AOI22": ("!((A*B)+(C*D))", 8), "OAI22": ("!((A+B)*(C+D))", 8), "XOR2": ("A^B", 12),
    "XNOR2": ("!(A^B)", 12), "MUX2": ("(A*!C)+(B*C)", 12),
}
FLIP_FLOP, FLIP_FLOP_TRANSISTORS = "DFF", 24
NAND2_TRANSISTORS = 4
LIBERTY = "gates.lib"


@dataclass(frozen=True)
class Gates:
    """What a design takes.

    Parameters
    ----------
    area : float
        NAND2 equivalents, without macros.
    used : kind of cell -> number
    cells : cell -> number
    macros : tuple of (words, bits, kind)
        Memories: ``rom`` or ``ram``.
    peak_bytes : int
    """

    area: float
    used: dict[str, int]
    cells: dict[str, int]
    macros: tuple[tuple[int, int, str], ...]
    peak_bytes: int


def area(cell: str) -> float:
    """NAND2 equivalents of a cell."""
    return (FLIP_FLOP_TRANSISTORS if cell == FLIP_FLOP else CELLS[cell][1]) / NAND2_TRANSISTORS


def liberty() -> str:
    """The library as a Liberty file."""
    lines = ["library(gates) {"]
    for name, (function, _) in CELLS.items():
        pins = [f"pin({pin}) {{ direction: input; }}" for pin in sorted(set(re.findall("[A-D]", function)))]
        lines.append(f"  cell({name}) {{ area: {area(name):g}; {' '.join(pins)} "
                     f'pin(Y) {{ direction: output; function: "{function}"; }} }}')
    lines.append(f'  cell({FLIP_FLOP}) {{ area: {area(FLIP_FLOP):g}; ff(IQ, IQN) {{ clocked_on: "C"; next_state: "D"; }} '
                 "pin(C) { direction: input; clock: true; } pin(D) { direction: input; } "
                 'pin(Q) { direction: output; function: "IQ"; } }')
    return "\n".join([*lines, "}"]) + "\n"


def gates(folder: Path, top: str, files: Sequence[str], timeout_seconds: float, listen: Callable[[str], None]) -> Gates:
    """Synthesize Verilog files in a folder to gates.

    Raises
    ------
    ToolError
        If Yosys is missing, fails or takes too long.
    """
    (folder / LIBERTY).write_text(liberty())
    script = [f"read_verilog {name}" for name in files] + [
        # Cells that FPGA families want kept are logic like any other here.
        f"hierarchy -check -top {top}", "setattr -mod -unset keep_hierarchy *", "setattr -unset keep_hierarchy *",
        f"synth -flatten -top {top} -run begin:fine",
        f"memory_map t:$mem_v2 r:SIZE<={MOST_GATE_WORDS} %i",
        "opt -undriven -fine", "techmap", "opt -fast", "delete t:$scopeinfo", f"dfflibmap -liberty {LIBERTY}", "opt",
        f"abc -liberty {LIBERTY}", "opt_clean", "autoname", "write_json netlist.json"]
    (folder / "run.ys").write_text("\n".join(script) + "\n")
    done = run_wheel(YOSYS, ["-v", "2", "-s", "run.ys"], folder, timeout_seconds, listen)
    if done.status:
        raise ToolError(f"Yosys failed with exit status {done.status}: {done.reason}")
    counts: dict[str, int] = {}
    macros: list[tuple[int, int, str]] = []
    for cell in json.loads((folder / "netlist.json").read_text())["modules"][top]["cells"].values():
        if cell["type"] == "$mem_v2":
            words, bits, writes = (int(cell["parameters"][key], 2) for key in ("SIZE", "WIDTH", "WR_PORTS"))
            macros.append((words, bits, "ram" if writes else "rom"))
        else:
            counts[cell["type"]] = counts.get(cell["type"], 0) + 1
    if strange := [name for name in counts if name not in CELLS and name != FLIP_FLOP]:
        raise ToolError(f"Yosys left cells of the type '{strange[0]}', which the generic library lacks; please report this design")
    used = {"gates": sum(counts.values()) - counts.get(FLIP_FLOP, 0), "flip-flops": counts.get(FLIP_FLOP, 0)}
    whole = sum(area(name) * count for name, count in counts.items())
    return Gates(whole, used, dict(sorted(counts.items())), tuple(sorted(macros)), done.peak_bytes)

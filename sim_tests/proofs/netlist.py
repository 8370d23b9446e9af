"""Which inputs of a module an output depends on without a register in between, read from its netlist.

A path in the netlist is more than a dependence: where there is none, the output cannot depend on the input, whatever the state.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from codegen.yosys import run_yosys

from .dut import Dut
from .solver import Outcome

#: Cells of a netlist after `proc` and `memory`, whose outputs hold until a clock edge.
_REGISTERS = ("$dff", "$dffe", "$sdff", "$sdffe", "$sdffce", "$adff", "$adffe", "$aldff", "$dffsr", "$ff", "$anyinit")


def combinational_inputs(dut: Dut) -> dict[str, set[str]]:
    """Output -> inputs from which a path without a register leads to it."""
    reads = "\n".join(f"read_verilog {name}" for name in dut.verilog)
    script = f"{reads}\nhierarchy -check -top {dut.module}\nproc\nsetattr -mod -unset keep_hierarchy *\nflatten\nopt\nmemory\nopt -full\nwrite_json out.json\n"
    module = json.loads(run_yosys(dut.files, script)["out.json"])["modules"][dut.module]
    drivers: dict[int, list[int]] = {}
    for cell in module["cells"].values():
        if cell["type"] in _REGISTERS:
            continue
        inputs = _bits(cell, "input")
        drivers |= dict.fromkeys(_bits(cell, "output"), inputs)
    sources = {bit: name for name, port in module["ports"].items() if port["direction"] == "input" for bit in _numbers(port["bits"])}
    found = {}
    for name, port in module["ports"].items():
        if port["direction"] == "output":
            seen, todo = set(), _numbers(port["bits"])
            while todo:
                bit = todo.pop()
                if bit not in seen:
                    seen.add(bit)
                    todo += drivers.get(bit, [])
            found[name] = {sources[bit] for bit in seen if bit in sources}
    return found


def looks_at_no_ready(dut: Dut) -> Outcome:
    """Whether no valid and no payload of a module depends on any ready at once."""
    for output, inputs in combinational_inputs(dut).items():
        readies = sorted(name for name in inputs if name.endswith("ready"))
        if readies and output.endswith(("valid", "payload", "data", "last", "resp")):
            return Outcome("refuted", f"a path without a register leads from {readies[0]} to {output}")
    return Outcome("proved")


def _bits(cell: dict[str, Any], direction: str) -> list[int]:
    return [bit for port, bits in cell["connections"].items() if cell["port_directions"][port] == direction for bit in _numbers(bits)]


def _numbers(bits: Iterable[int | str]) -> list[int]:
    return [bit for bit in bits if isinstance(bit, int)]

"""The ring of registers around a design that is placed and routed: five pins, whatever its ports."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import ToolError
from .templates import render

CLOCK, RESET = "aclk", "aresetn"
_MODULE = r"^module\s+{}\b.*?^\);"
_PORT = re.compile(r"^\s*(input|output)\s+(?:wire|reg)?\s*(?:\[\s*(\d+)\s*:\s*0\s*\])?\s*(\w+)\s*,?\s*(?://.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Port:
    """A port of a module: its direction, name and width in bits."""

    direction: str
    name: str
    bits: int


def ports_of(verilog: str, top: str) -> list[Port]:
    """The ports of a top as `rtl_templates/top.v.j2` writes them: ANSI, one a line.

    Raises
    ------
    ToolError
        If it has no clock, no reset, no input or no output among them.
    """
    header = re.search(_MODULE.format(re.escape(top)), verilog, re.MULTILINE | re.DOTALL)
    ports = [Port(direction, name, int(high or 0) + 1) for direction, high, name in _PORT.findall(header[0] if header else "")]
    names = {port.name for port in ports}
    rest = {port.direction for port in ports if port.name not in (CLOCK, RESET)}
    if not {CLOCK, RESET} <= names or rest != {"input", "output"}:
        raise ToolError(f"the module '{top}' lacks {CLOCK}, {RESET}, inputs or outputs that could be wired; build the bundle again")
    return ports


def ring(name: str, top: str, ports: list[Port]) -> str:
    """The Verilog of the module `name` that holds `top` between shift registers."""
    wired, counts = [], {"input": 0, "output": 0}
    for port in ports:
        if port.name not in (CLOCK, RESET):
            low = counts[port.direction]
            counts[port.direction] += port.bits
            wired.append({"name": port.name, "wire": "from_pins" if port.direction == "input" else "results",
                          "low": low, "high": low + port.bits - 1})
    return render("synth_ring.v.j2", name=name, top=top, clock=CLOCK, reset=RESET, inputs=counts["input"], outputs=counts["output"],
                  ports=wired)

"""From Amaranth components to Verilog: one module per file, no source locations, no initial values in walls."""

from __future__ import annotations

import re

from amaranth._toolchain.yosys import YosysError, find_yosys  # the Yosys that Amaranth itself brings and checks
from amaranth.back import rtlil
from amaranth.hdl import Fragment
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from .errors import ToolError
from .naming import identifier
from .platform import VerilogPlatform, flat_ports


def convert(blocks: dict[str, wiring.Component], platform: VerilogPlatform) -> dict[str, str]:
    """Verilog of every block, and of every block they share through the platform, by module name.

    Parameters
    ----------
    blocks : module name -> component
    platform : VerilogPlatform
        Collects memories and helper modules on the way.

    Raises
    ------
    ToolError
        If Yosys cannot be run.
    """
    platform.blocks.update(blocks)
    texts: dict[str, str] = {}
    while pending := [name for name in platform.blocks if name not in texts]:
        for name in pending:
            component = platform.blocks[name]
            ports = {port: (value, PortDirection.Input if flow is In else PortDirection.Output)
                     for port, (value, flow) in flat_ports(component).items()}
            texts[name] = rtlil.convert_fragment(Fragment.get(component, platform), ports, name, emit_src=False)[0]
    return _verilog(texts)


def _verilog(texts: dict[str, str]) -> dict[str, str]:
    """One run of Yosys over all modules: sub-fragments are flattened into their block, so each block is one module."""
    attributes = "-remove generator -remove top -remove src -remove hdlname -remove unused_bits -remove init_file"
    script = [f"read_rtlil <<rtlil\n{_kept(name, text)}\nrtlil" for name, text in texts.items()] + [
        "proc",
        "flatten",
        "opt",
        "memory_collect",
        # State is set by reset, and data before it is read: no register needs a value from the start.
        f"attrmap {attributes} -remove init",
        f"attrmap -modattr {attributes} -remove keep_hierarchy -remove hdlname",
        "write_verilog",
    ]
    try:
        text = find_yosys(lambda version: version >= (0, 40)).run(["-q", "-"], "\n".join(script), ignore_warnings=True)
    except YosysError as error:
        raise ToolError(f"Yosys cannot turn the blocks into Verilog: {str(error).splitlines()[0]}; install the pinned versions "
                        "with `make env`") from None
    modules = {match[1]: match[0] for match in re.finditer(r"^module (\w+)\(.*?^endmodule\n", text, re.MULTILINE | re.DOTALL)}
    return {name: _ansi(modules[name]) for name in texts}


_PORT = re.compile(r"^  (input|output) (\[\d+:0\] )?(\w+);\n", re.MULTILINE)
_ORDER = ("clk", "rst", "i_payload", "i_valid", "i_ready", "o_payload", "o_valid", "o_ready")


def _plain(text: str) -> str:
    """A module without escaped identifiers."""
    taken = set(re.findall(r"[A-Za-z_]\w*", text))
    plain: dict[str, str] = {}
    for name in dict.fromkeys(re.findall(r"\\(\S+) ", text)):
        wanted = stem = identifier(name)
        number = 1
        while wanted in taken:
            number += 1
            wanted = f"{stem}_{number}"
        taken.add(wanted)
        plain[name] = wanted
    return re.sub(r"\\(\S+) ( ?)", lambda match: plain[match[1]] + match[2], text)


def _ansi(text: str) -> str:
    """A module with its ports declared where they are listed, clock and reset first."""
    text = _plain(text)
    ports = {match[3]: (match[1], match[2] or "") for match in _PORT.finditer(text)}
    body = _PORT.sub("", text.split(";\n", 1)[1])
    kinds = {}
    for name in ports:
        if declared := re.search(rf"^  (wire|reg) (\[\d+:0\] )?{name};\n", body, re.MULTILINE):
            body = body.replace(declared[0], "", 1)
        kinds[name] = declared[1] if declared else "wire"
    ordered = [name for name in _ORDER if name in ports] + [name for name in ports if name not in _ORDER]
    width = max((len(ports[name][1]) for name in ordered), default=0)
    listed = ",\n".join(f"    {ports[name][0]:<6} {kinds[name]:<4} {ports[name][1]:<{width}}{name}" for name in ordered)
    match = re.match(r"module (\w+)", text)
    return f"module {match[1] if match else ''} (\n{listed}\n);\n\n{body}"


def _kept(name: str, text: str) -> str:
    """RTLIL in which flattening stops at the block's own module."""
    module = f"\nmodule \\{name}\n"
    return text.replace("attribute \\top 1\n", "").replace(module, f"\nattribute \\keep_hierarchy 1{module}", 1)

"""The AXI shell of a small design: its AXI4-Lite port and its AXI4-Streams obey the rules, whatever their masters do."""

from __future__ import annotations

import re
from functools import cache

from codegen.generate import Rtl, generate
from codegen.templates import render
from hwsim.design import Design, make_design
from tests.networks import folded, mlp

from .dut import Dut

TOP = "proof"
_PORT = re.compile(r"^    (input|output) +(?:wire|reg) +(\[\S+\])? *(\w+),? *(?://.*)?$", re.MULTILINE)
#: Channel -> who offers (the master or the design), its payload.
_BUS = {"aw": (True, ("awaddr",)), "w": (True, ("wdata", "wstrb")), "b": (False, ("bresp",)), "ar": (True, ("araddr",)),
        "r": (False, ("rdata", "rresp"))}
_STREAMS = {"s_axis": (True, ("tdata", "tlast")), "m_axis": (False, ("tdata", "tlast"))}


@cache
def design() -> Design:
    """Four inputs in two beats, four outputs in two; a matrix-vector unit."""
    graph = mlp((4, 4), name="shelled")
    return make_design(graph, folded(graph, [(2, 2)], ["outputs"]))


@cache
def _rtl() -> Rtl:
    return generate(design(), "0" * 16)


def shell_dut() -> Dut:
    """The whole design, shell included."""
    rtl = _rtl()
    ports = {name: _width(bits) for _, bits, name in _PORT.findall(rtl.verilog[f"{rtl.top}.v"])}
    # A bundle's Verilog is in rtl/, and SymbiYosys reads sources by their names alone.
    return Dut(rtl.top, {**rtl.verilog, **{f"mem/{name}": text for name, text in rtl.memories.items()}}, ports)


def shell_files(bus: bool, dut: Dut | None = None) -> dict[str, str]:
    """The design with assertions about its AXI4-Lite port, or about its streams; the top module is `TOP`."""
    dut = dut or shell_dut()
    rtl = _rtl()
    assert rtl.control is not None
    soft_reset = next(field.at for one in rtl.control.registers for field in one.fields if field.name == "soft_reset")
    ways = {name: way for way, _, name in _PORT.findall(dut.files[f"{dut.module}.v"])}
    ports = {way: [{"name": name, "range": f"[{bits - 1}:0]" if bits > 1 else ""} for name, bits in dut.ports.items() if ways[name] == way]
             for way in ("input", "output")}
    channels = []
    for name, (is_offered, parts) in (_BUS if bus else _STREAMS).items():
        prefix = f"s_axi_ctrl_{name}" if bus else f"{name}_t"
        names = [f"s_axi_ctrl_{part}" if bus else f"{name}_{part}" for part in parts]
        channels.append({"name": name, "is_offered": is_offered, "valid": f"{prefix}valid", "ready": f"{prefix}ready",
                         "payload": "{" + ", ".join(names) + "}", "bits": sum(dut.ports[one] for one in names)})
    words_in, words_out = design().words_in, design().words_out
    _, latency = design().rate()
    patience, most = 2 * latency, 8 * words_out
    text = render("proof_shell.sv.j2", top=TOP, block=dut.module, bus=bus, inputs=ports["input"], outputs=ports["output"], channels=channels,
                  soft_reset_bit=soft_reset, words_in=words_in, words_out=words_out, in_bits=max(1, (words_in - 1).bit_length()),
                  out_bits=max(1, (words_out - 1).bit_length()), owed_bits=(most + words_out).bit_length(),
                  idle_bits=patience.bit_length() + 1, patience=patience, most=most)
    return {**dut.files, f"{TOP}.sv": text}


def _width(bits: str) -> int:
    return int(bits[1:].split(":", maxsplit=1)[0]) + 1 if bits else 1

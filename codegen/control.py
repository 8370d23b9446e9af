"""The control shell of a design: its Verilog, and what a bundle has beside it, all from `codegen.registers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hwsim

from .axi import AxiPort
from .registers import ACCESS, ADDRESS_BITS, ID, MAP_VERSION, Facts, LoadedMemory, Register, register_map
from .templates import render

#: Signals of AXI4-Lite behind their prefix.
BUS = ("awaddr", "awvalid", "awready", "wdata", "wstrb", "wvalid", "wready", "bresp", "bvalid", "bready", "araddr", "arvalid",
       "arready", "rdata", "rresp", "rvalid", "rready")


@dataclass(frozen=True)
class Control:
    """The control shell of a design.

    Parameters
    ----------
    top : str
        Name of the design's top module.
    design_hash : str
    registers : tuple of Register
    beats_in : int
        Input beats of a frame.
    memories : tuple of LoadedMemory
        That software can write; a memory's number is its place.
    """

    top: str
    design_hash: str
    registers: tuple[Register, ...]
    beats_in: int
    memories: tuple[LoadedMemory, ...] = ()

    @property
    def load_bits(self) -> int:
        """Of the word that is put together for the memories, in whole parts."""
        return 32 * max((one.parts for one in self.memories), default=0)

    @property
    def load_address_bits(self) -> int:
        """Of its address."""
        return max((one.address_bits for one in self.memories), default=0)

    @property
    def unused_load_bits(self) -> int:
        """Most significant bits of that word that no memory has."""
        return self.load_bits - max((one.bits for one in self.memories), default=0)

    def memories_of(self, stage: str) -> list[dict[str, Any]]:
        """Those of a block, with their numbers."""
        return [{"what": one.what, "number": number} for number, one in enumerate(self.memories) if one.stage == stage]

    def register(self, name: str) -> Register:
        """The register of a name."""
        return next(one for one in self.registers if one.name == name)

    @property
    def accesses(self) -> dict[str, str]:
        """The kinds of access that its fields have, in words."""
        used = {field.access for register in self.registers for field in register.fields}
        return {name: text for name, text in ACCESS.items() if name in used}


def make_control(top: str, design_hash: str, s_axis: AxiPort, m_axis: AxiPort,
                 memories: tuple[LoadedMemory, ...] = ()) -> Control:
    """The shell for a design's ports, and for those of its memories that software can write."""
    major, minor, patch = (int(part) for part in hwsim.__version__.split(".")[:3])
    facts = Facts((major, minor, patch), design_hash, s_axis.beats, m_axis.beats, s_axis.data_bytes, m_axis.data_bytes, memories)
    return Control(top, design_hash, register_map(facts), s_axis.beats, memories)


def verilog(control: Control, header: str) -> dict[str, str]:
    """The shell's own modules: file name -> text; `header` is comment lines."""
    fields = [(register, field) for register in control.registers for field in register.fields]
    return {
        f"{control.top}_control.v": render(
            "control.v.j2", top=control.top, header=header, registers=control.registers, address_bits=ADDRESS_BITS, bus=BUS,
            pulses=[field for _, field in fields if field.access == "pulse"], kept=_kept(control.registers),
            events=sum(field.access == "w1c" for _, field in fields), beats_in=control.beats_in,
            beat_bits=max(1, (control.beats_in - 1).bit_length()), control=control,
            select_bits=max(1, (len(control.memories) - 1).bit_length()),
            part_bits=max(1, (control.load_bits // 32 - 1).bit_length()),
            reads=[{"name": register.name.upper(), "value": _read(register)} for register in control.registers]),
        "bw_axi_lite.v": render("bw_axi_lite.v.j2", header=header),
    }


@dataclass(frozen=True)
class _Kept:
    """A Verilog register that software writes."""

    name: str
    register: str
    bits: int
    reset: int

    @property
    def slice(self) -> str:
        """Its bits of a word on the bus."""
        return "" if self.bits == 32 else "[0]" if self.bits == 1 else f"[{self.bits - 1}:0]"


def _kept(registers: Sequence[Register]) -> list[_Kept]:
    """What ``rw`` fields are kept in: one Verilog register each, from the bus's least significant bit on."""
    found = []
    for register in registers:
        fields = [field for field in register.fields if field.access == "rw" and not field.is_volatile]
        if fields:
            (name,) = {field.signal.partition("[")[0] for field in fields}
            found.append(_Kept(name, register.name, max(field.at + field.bits for field in fields), register.reset(AUTO_START=1)))
    return found


def _read(register: Register) -> str:
    """The Verilog of the word that a register is read as."""
    parts, at = [], 0
    for field in (*(one for one in register.fields if one.access not in ("pulse", "wo")), None):
        start = field.at if field else 32
        if start > at:
            parts.append(f"{start - at}'d0")
        if field:
            whole, _, index = field.signal.partition("[")
            if index == "0]" and all(one.signal.startswith(f"{whole}[") for one in register.fields):  # bits of one Verilog register
                return f"{{{32 - len(register.fields)}'d0, {whole}}}"
            parts.append(field.signal)
            at = field.at + field.bits
    return parts[0] if len(parts) == 1 else f"{{{', '.join(reversed(parts))}}}"


#: What SystemRDL calls an access.
_RDL = {"rw": "sw = rw; hw = r;", "ro": "sw = r;", "w1c": "sw = rw; hw = rw; onwrite = woclr; hwset;",
        "pulse": "sw = w; hw = r; singlepulse;", "wo": "sw = w; hw = r;"}


def files(control: Control | None, header: str) -> dict[str, str]:
    """What a bundle has beside the Verilog: relative path -> text; `header` is what every file of the design says.

    None of a design without a shell.
    """
    if control is None:
        return {}
    top = control.top
    view: dict[str, Any] = {"top": top, "registers": control.registers, "accesses": control.accesses}
    resets = {(register.name, field.name): f"{field.bits}'h{field.reset:x}" if isinstance(field.reset, int) else field.reset
              for register in control.registers for field in register.fields}
    events = [(field.name, field.mask) for field in control.register("interrupt_status").fields]
    known: dict[str, Any] = {"id": ID, "map_version": MAP_VERSION, "design_hash": control.design_hash, "events": events}
    view["memories"] = control.memories
    return {
        f"{top}.rdl": render("registers.rdl.j2", **view, name=rdl_name(top), properties=_RDL, resets=resets,
                             header=commented(header, "// ")),
        f"driver/{top}_registers.h": render("registers.h.j2", **view, prefix=top.upper(), header=commented(header, " * ")),
        f"driver/{top}_driver.h": render("driver.h.j2", **view, **known, prefix=top.upper(), header=commented(header, " * ")),
        f"driver/{top}_driver.c": render("driver.c.j2", **view, prefix=top.upper(), header=commented(header, " * ")),
        f"driver/{top}_driver.py": render("driver.py.j2", **view, **known, header=header),
    }


def rdl_name(top: str) -> str:
    """Name of the address map: SystemRDL has keywords of its own, none of which ends like this."""
    return f"{top}_map"


def commented(text: str, mark: str) -> str:
    """Lines behind a mark."""
    return "\n".join(f"{mark}{line}".rstrip() for line in text.splitlines())

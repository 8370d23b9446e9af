"""The Verilog platform: what Amaranth's blocks ask for when they become files.

Amaranth hands the platform to every `elaborate`.  With ``platform=None`` a block is pure Amaranth and runs in
Amaranth's own simulator; with a `VerilogPlatform`, memories, truth-table cells and shared sub-blocks become instances
of modules with files of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import ClockSignal, Const, Elaboratable, Instance, Module, ResetSignal, Shape, ValueLike
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from .errors import CodegenError


class VerilogPlatform:
    """Collects what a design consists of besides its Amaranth blocks.

    Attributes
    ----------
    cells : module name -> Verilog text
        Helper modules written by hand or by template.
    blocks : module name -> component
        Amaranth components that get a module of their own, each once.
    memories : file stem -> (width in bits, words)
        Contents of read-only memories, for ``.mem`` files.
    """

    def __init__(self) -> None:
        self.cells: dict[str, str] = {}
        self.blocks: dict[str, wiring.Component] = {}
        self.memories: dict[str, tuple[int, list[int]]] = {}

    def cell(self, name: str, text: str) -> None:
        """Register a Verilog helper module; the same name must always come with the same text."""
        if self.cells.setdefault(name, text) != text:
            raise CodegenError(f"two different helper modules are called '{name}'; give them different names")

    def block(self, name: str, make: Callable[[], wiring.Component], *, clocked: bool = False,
              **ports: ValueLike) -> Instance:
        """An instance of a component that gets a module of its own.

        Parameters
        ----------
        name : str
            Module name; it must say everything that makes the component different, for it is made once per name.
        make : callable
            Makes the component.
        clocked : bool
            It has registers, and some that are reset.
        ports : port name -> value connected to it
        """
        if name not in self.blocks:
            self.blocks[name] = make()
        flows = {port: flow for port, (_, flow) in flat_ports(self.blocks[name]).items()}
        clock = {"i_clk": ClockSignal(), "i_rst": ResetSignal()} if clocked else {}
        return Instance(name, **clock, **{f"{'i' if flows[port] is In else 'o'}_{port}": value for port, value in ports.items()})

    def get_memory(self, mem: memory.Memory) -> Elaboratable:
        """Amaranth's hook: an instance of ``bw_rom`` (contents from a file), ``bw_ram``, or ``bw_table`` (both)."""
        return _MemoryInstance(self, mem)


def flat_ports(component: wiring.Component) -> dict[str, tuple[Any, wiring.Flow]]:
    """Port name -> (signal, flow): ``i_payload``, ``i_valid``, ... as in the Verilog."""
    return {"_".join(str(part) for part in path): (value, member.flow)
            for path, member, value in component.signature.flatten(component)}


class _MemoryInstance(Elaboratable):
    def __init__(self, platform: VerilogPlatform, mem: memory.Memory) -> None:
        self.platform, self.mem = platform, mem

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mem, width = self.mem, Shape.cast(self.mem.shape).width
        (read,) = mem.read_ports
        address = read.addr if len(read.addr) else Const(0, 1)
        common = {"p_WIDTH": width, "p_DEPTH": mem.depth, "i_clk": ClockSignal(), "i_raddr": address, "o_rdata": read.data}
        if not mem.write_ports:
            stem = str(mem.attrs["init_file"])
            self.platform.memories[stem] = (width, [int(word) for word in mem.init])
            style = {"p_STYLE": mem.attrs["rom_style"]} if "rom_style" in mem.attrs else {}
            m.submodules.rom = Instance("bw_rom", p_INIT_FILE=f"mem/{stem}.mem", i_en=read.en, **style, **common)
            return m
        (write,) = mem.write_ports
        ram = "bw_ram" if read.domain == "sync" else "bw_ram_async"
        enable = {"i_ren": read.en} if ram == "bw_ram" else {}
        if "init_file" in mem.attrs:
            stem, ram = str(mem.attrs["init_file"]), "bw_table"
            self.platform.memories[stem] = (width, [int(word) for word in mem.init])
            enable["p_INIT_FILE"] = f"mem/{stem}.mem"
        if "ram_style" in mem.attrs:
            enable["p_STYLE"] = mem.attrs["ram_style"]
        m.submodules.ram = Instance(ram, i_wen=write.en, i_waddr=write.addr if len(write.addr) else Const(0, 1),
                                    i_wdata=write.data, **enable, **common)
        return m

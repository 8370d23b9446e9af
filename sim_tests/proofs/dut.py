"""The hardware under proof: Verilog of a block as `codegen` generates it, with all modules and memories that it uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from amaranth.lib import wiring

from codegen.generate import BLOCKS, module_files
from codegen.platform import VerilogPlatform, flat_ports
from codegen.verilog import convert
from hwsim.engines.base import Engine


@dataclass(frozen=True)
class Dut:
    """A module and the files that it needs.

    Parameters
    ----------
    module : str
    files : relative path -> text
        Verilog, and the ``mem/*.mem`` that it reads.
    ports : port name -> width in bits
    """

    module: str
    files: Mapping[str, str]
    ports: Mapping[str, int]

    @property
    def verilog(self) -> list[str]:
        """Names of its Verilog files."""
        return [name for name in self.files if name.endswith(".v")]

    def broken(self, old: str, new: str) -> Dut:
        """The same with a fault: `old`, which must be there once, is `new` in its Verilog.

        Raises
        ------
        ValueError
            If `old` is not there, or more than once: the fault would not be the one that a test means.
        """
        found = [name for name in self.verilog for _ in range(self.files[name].count(old))]
        if len(found) != 1:
            raise ValueError(f"'{old}' is {len(found)} times in the Verilog of {self.module}; a fault needs one place")
        return replace(self, files={name: text.replace(old, new) if name == found[0] else text for name, text in self.files.items()})


def component(module: str, block: wiring.Component) -> Dut:
    """A component as Verilog."""
    platform = VerilogPlatform()
    texts = convert({module: block}, platform)
    files = module_files(texts, platform, "Generated for a proof.", lambda name: "under proof")
    for stem, (_, words) in platform.memories.items():
        files[f"mem/{stem}.mem"] = "".join(f"{word:x}\n" for word in words)
    return Dut(module, files, {name: len(value) for name, (value, _) in flat_ports(block).items()})


def engine_block(engine: Engine, **constants: Any) -> Dut:
    """The block of an engine, made as `codegen.generate` makes it."""
    block, has_memories = BLOCKS[type(engine)]
    module = f"proof_{engine.kind}"
    return component(module, block(engine, **constants, **({"stem": module} if has_memories else {})))

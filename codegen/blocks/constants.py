"""Constants of a block: wired in where no step changes them, else read from a memory, a word for each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Const, Module, Value, unsigned
from amaranth.lib.memory import Memory
from numpy.typing import NDArray

from intir import IntType

from .numbers import lanes, number, pattern


@dataclass(frozen=True)
class Load:
    """What writes into a memory whose contents come while the hardware runs.

    Parameters
    ----------
    enable, address, data : Value
    has_contents : bool
        Whether the memory has contents before it is written.
    """

    enable: Value
    address: Value
    data: Value
    has_contents: bool = False


@dataclass(frozen=True)
class Image:
    """Contents of one memory, or of several that always hold the same.

    Parameters
    ----------
    name : str
    words : tuple of non-negative int
    bits : int
        Of a word.
    """

    name: str
    words: tuple[int, ...]
    bits: int


def rom(m: Module, what: str, stem: str, words: Sequence[int], width: int, address: Value, enable: Value,
        style: str = "auto", load: Load | None = None) -> Value:
    """The word at an address, one clock cycle later; a constant where all words are alike and none is loaded.

    Parameters
    ----------
    what : str
        Name of the memory in the block; its file is ``STEM_WHAT.mem``.
    words : non-negative integers of `width` bits
    enable : Value
        The address is read in cycles in which this is high.
    style : str
        Where synthesis puts it: one of `hwsim.engines.memories.STYLES`.
    load : Load, optional
        Contents come by this; `words` are those before, or say how many there are.
    """
    if load is not None:
        attributes = {} if style == "auto" else {"ram_style": style}
        attributes |= {"init_file": f"{stem}_{what}"} if load.has_contents else {}
        ram = Memory(shape=unsigned(width), depth=len(words), init=list(words) if load.has_contents else [], attrs=attributes)
        m.submodules[what] = ram
        write, read = ram.write_port(), ram.read_port()
        m.d.comb += [write.en.eq(load.enable), write.addr.eq(load.address), write.data.eq(load.data), read.addr.eq(address),
                     read.en.eq(enable)]
        return read.data
    if len(set(words)) == 1:
        return Const(words[0], width)
    attributes = {"init_file": f"{stem}_{what}"} | ({} if style == "auto" else {"rom_style": style})
    memory = Memory(shape=unsigned(width), depth=len(words), init=list(words), attrs=attributes)
    m.submodules[what] = memory
    port = memory.read_port()
    m.d.comb += [port.addr.eq(address), port.en.eq(enable)]
    return port.data


#: Name, values (C,) or (1,), and a type that holds them: what each channel has of a constant.
Column = tuple[str, NDArray[np.int64], IntType]


def channel_images(columns: Sequence[Column], pe: int) -> list[Image]:
    """The memories of the columns that vary, `pe` channels in a word."""
    return [Image(name, tuple(pattern(values[at:at + pe].tolist(), kind) for at in range(0, len(values), pe)), pe * kind.bits)
            for name, values, kind in columns if kind.levels > 1]


def channel_constants(m: Module, stem: str, columns: Sequence[Column], pe: int, fold: Value, enable: Value,
                      loads: Mapping[str, Load]) -> list[list[Value]]:
    """Constants per channel, `pe` channels at a time, from one memory for each column that varies.

    Parameters
    ----------
    columns : sequence of (name, int64 (C,) or (1,), type)
        The type holds all values of the column; a column of one value becomes a constant.
    fold : Value
        Which group of `pe` channels is wanted in the next cycle.
    loads : column's name -> Load
        For memories whose contents come while the hardware runs.

    Returns
    -------
    list of `pe` values per column
        The integers.  Those of columns that vary come a clock cycle after `fold`.
    """
    images = {image.name: image for image in channel_images(columns, pe)}
    found = []
    for name, _, kind in columns:
        if name not in images:
            found.append([Const(kind.lo)] * pe)
            continue
        image = images[name]
        word = rom(m, name, stem, image.words, image.bits, fold, enable, load=loads.get(name))
        found.append([number(part, kind) for part in lanes(word, kind)])
    return found

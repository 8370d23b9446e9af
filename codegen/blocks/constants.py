"""Constants of a block: wired in where no step changes them, else read from a memory, a word for each step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Const, Module, Value, unsigned
from amaranth.lib.memory import Memory
from numpy.typing import NDArray

from intir import IntType

from .numbers import lanes, number, pattern


def rom(m: Module, what: str, stem: str, words: Sequence[int], width: int, address: Value, enable: Value,
        style: str = "auto") -> Value:
    """The word at an address, one clock cycle later; a constant where all words are alike.

    Parameters
    ----------
    what : str
        Name of the memory in the block; its file is ``STEM_WHAT.mem``.
    words : non-negative integers of `width` bits
    enable : Value
        The address is read in cycles in which this is high.
    style : str
        Where synthesis puts it: one of `hwsim.engines.memories.STYLES`.
    """
    if len(set(words)) == 1:
        return Const(words[0], width)
    attributes = {"init_file": f"{stem}_{what}"} | ({} if style == "auto" else {"rom_style": style})
    memory = Memory(shape=unsigned(width), depth=len(words), init=list(words), attrs=attributes)
    m.submodules[what] = memory
    port = memory.read_port()
    m.d.comb += [port.addr.eq(address), port.en.eq(enable)]
    return port.data


def channel_constants(m: Module, stem: str, columns: Sequence[tuple[str, NDArray[np.int64], IntType]], pe: int, fold: Value,
                      enable: Value) -> list[list[Value]]:
    """Constants per channel, `pe` channels at a time, from one memory for each column that varies.

    Parameters
    ----------
    columns : sequence of (name, int64 (C,) or (1,), type)
        The type holds all values of the column; a column of one value becomes a constant.
    fold : Value
        Which group of `pe` channels is wanted in the next cycle.

    Returns
    -------
    list of `pe` values per column
        The integers.  Those of columns that vary come a clock cycle after `fold`.
    """
    found = []
    for name, values, kind in columns:
        if kind.levels == 1:
            found.append([Const(kind.lo)] * pe)
            continue
        words = [pattern(values[at:at + pe].tolist(), kind) for at in range(0, len(values), pe)]
        found.append([number(part, kind) for part in lanes(rom(m, name, stem, words, pe * kind.bits, fold, enable), kind)])
    return found

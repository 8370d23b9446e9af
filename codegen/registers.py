"""The registers of a generated design: the one source of its Verilog, SystemRDL, C header, drivers and tables.

What a field does is said here once; `codegen.control` lays it out.  Behaviour in words: docs/blocks/control.md.
"""

from __future__ import annotations

from dataclasses import dataclass

#: "BITW", most significant byte first.
ID = 0x42495457
#: Of the register map: raised when a driver written for the one before would go wrong.
MAP_VERSION = 1
#: Bytes from one register to the next, and bits of the address: a page of 4 KiB.
REGISTER_BYTES, ADDRESS_BITS = 4, 12

#: What software and hardware do with a field.
ACCESS = {
    "rw": "read and written",
    "ro": "read",
    "w1c": "read; writing 1 clears it",
    "pulse": "writing 1 acts, once; reads as 0",
    "wo": "written; reads as 0",
}


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Parameters
    ----------
    name : str
        Lower case, unique in its register.
    at, bits : int
        Least significant bit, and width.
    access : str
        One of `ACCESS`.
    description : str
    signal : str
        The Verilog that it is read from; of a ``pulse`` the wire that it raises, of a ``wo`` field none.
    reset : int, or str
        Its value after reset; the name of a Verilog parameter of the top where that says it.
    is_volatile : bool
        The hardware changes it.
    """

    name: str
    at: int
    bits: int
    access: str
    description: str
    signal: str = ""
    reset: int | str = 0
    is_volatile: bool = False

    @property
    def mask(self) -> int:
        """Of its bits in the register."""
        return ((1 << self.bits) - 1) << self.at


@dataclass(frozen=True)
class Register:
    """One 32-bit register.

    Parameters
    ----------
    name : str
        Lower case, unique in the map.
    offset : int
        Byte address in the page.
    description : str
    fields : tuple of Field, from the least significant bit on
    """

    name: str
    offset: int
    description: str
    fields: tuple[Field, ...]

    def reset(self, **parameters: int) -> int:
        """Its value after reset, for values of the Verilog's parameters."""
        return sum((parameters[one.reset] if isinstance(one.reset, str) else one.reset) << one.at for one in self.fields)

    @property
    def is_volatile(self) -> bool:
        """Whether the hardware changes it."""
        return any(one.is_volatile for one in self.fields)


@dataclass(frozen=True)
class LoadedMemory:
    """A memory of a block that software can write.

    Parameters
    ----------
    stage, what : str
        The block, and which of its memories.
    depth, bits : int
        Words, and bits of a word.
    """

    stage: str
    what: str
    depth: int
    bits: int

    @property
    def name(self) -> str:
        """As drivers know it, and its file behind the top's name."""
        return f"{self.stage}_{self.what}"

    @property
    def parts(self) -> int:
        """Parts of 32 bits in which a word comes."""
        return -(-self.bits // 32)

    @property
    def address_bits(self) -> int:
        """Of the port by which its block is written, as far as it counts."""
        return max(1, (self.depth - 1).bit_length())


@dataclass(frozen=True)
class Facts:
    """What the registers of a design say about it.

    Parameters
    ----------
    version : tuple of three int
        Of the generator.
    design_hash : str
        Sixteen hexadecimal digits.
    beats_in, beats_out : int
        Of a frame.
    bytes_in, bytes_out : int
        Of TDATA.
    memories : tuple of LoadedMemory
        That software can write.
    """

    version: tuple[int, int, int]
    design_hash: str
    beats_in: int
    beats_out: int
    bytes_in: int
    bytes_out: int
    memories: tuple[LoadedMemory, ...] = ()


def register_map(facts: Facts) -> tuple[Register, ...]:
    """All registers of a design, by offset."""
    number = int(facts.design_hash, 16)
    listed: list[tuple[str, str, tuple[Field, ...]]] = [
        ("control", "What runs", (
            Field("start", 0, 1, "pulse", "Begins a run of frames_wanted frames with all counters at 0. Ignored while busy, unless "
                  "soft_reset is written with it: then the run begins behind the reset", "start"),
            Field("stop", 1, 1, "pulse", "Closes the input behind the frame that is being taken or offered; what is inside still "
                  "leaves", "stop"),
            Field("soft_reset", 2, 1, "pulse", "Drops all frames, closes the input, and clears the counters and interrupt_status; "
                  "frames_wanted and the enables stay", "soft_reset"),
            Field("clear", 3, 1, "pulse", "Sets cycles, stalls and errors to 0, not the counters of frames", "clear"),
            Field("busy", 8, 1, "ro", "The input is open, or frames are inside", "busy", "AUTO_START", True),
            Field("input_open", 9, 1, "ro", "Beats of s_axis are taken", "is_open", "AUTO_START", True),
            Field("auto_start", 10, 1, "ro", "The Verilog parameter AUTO_START: the input is open from reset on", "AUTO_STARTS",
                  "AUTO_START"),
        )),
        ("interrupt_global", "Whether the interrupt port can rise", (
            Field("enable", 0, 1, "rw", "The port is high while an enabled bit of interrupt_status is set", "interrupts_on"),
        )),
        ("interrupt_enable", "Which events raise the interrupt port", _events("rw", "Enables ", "interrupt_enable")),
        ("interrupt_status", "Events since they were cleared", _events("w1c", "", "interrupt_status")),
        ("id", "What this is", (Field("id", 0, 32, "ro", "The letters BITW, most significant byte first", _hex(ID), ID),)),
        ("version", "Who made it", (
            Field("map", 0, 8, "ro", "Of this register map; a driver must know it", f"8'd{MAP_VERSION}", MAP_VERSION),
            *(Field(name, at, 8, "ro", f"Generator's {name} version", f"8'd{value}", value)
              for name, at, value in zip(("patch", "minor", "major"), (8, 16, 24), reversed(facts.version), strict=True)),
        )),
        ("design_hash_low", "Ties hardware, plan and drivers together", _whole("hash", "Bits 31..0", number & 0xFFFFFFFF)),
        ("design_hash_high", "The same", _whole("hash", "Bits 63..32", number >> 32)),
        ("frames_wanted", "Frames of a run", (
            Field("frames", 0, 32, "rw", "The input closes behind so many; 0: never. Write it while not busy", "frames_wanted"),)),
        ("frames_in", "Frames taken", (_count("Frames of the run whose last beat was taken", "frames_in"),)),
        ("frames_out", "Frames given", (_count("Frames of the run whose last beat has left", "frames_out"),)),
        ("cycles_low", "Time", (_count("Clock cycles of the run, while it is busy, bits 31..0; reading it keeps bits 63..32 of the "
                                       "same moment in cycles_high", "cycles[31:0]"),)),
        ("cycles_high", "Time", (_count("Bits 63..32 as they were when cycles_low was read", "cycles_high"),)),
        ("input_stalls", "Waiting for data", (
            _count("Cycles of the run in which a beat could have been taken, but none was offered", "input_stalls"),)),
        ("output_stalls", "Waiting for the sink", (
            _count("Cycles of the run in which a beat was offered, but not taken", "output_stalls"),)),
        ("input_errors", "TLAST", (
            _count("Beats taken with s_axis_tlast high that were not the last of their frame", "input_errors"),)),
        ("beats_in", "Shape of a frame", _whole("beats", "Input beats a frame", facts.beats_in)),
        ("beats_out", "Shape of a frame", _whole("beats", "Output beats a frame", facts.beats_out)),
        ("beat_bytes", "Shape of a beat", (
            Field("input", 0, 16, "ro", "Bytes of s_axis_tdata", f"16'd{facts.bytes_in}", facts.bytes_in),
            Field("output", 16, 16, "ro", "Bytes of m_axis_tdata", f"16'd{facts.bytes_out}", facts.bytes_out))),
    ]
    if facts.memories:
        select, address = ((number - 1).bit_length() or 1 for number in
                           (len(facts.memories), max(one.depth for one in facts.memories)))
        listed += [
            ("memory_select", "Which memory is written", (
                Field("memory", 0, select, "rw", "Its number; INTERFACE.md lists them", "memory_select"),)),
            ("memory_address", "Where", (
                Field("word", 0, address, "rw", "The word that is written next; it moves on behind each word", "memory_address",
                      is_volatile=True),)),
            ("memory_data", "What", (
                Field("part", 0, 32, "wo", "32 bits of a word, least significant first; the last part writes the word. Writing "
                      "memory_select or memory_address begins a word. Refused with SLVERR while busy", ""),)),
        ]
    return tuple(Register(name, n * REGISTER_BYTES, text, fields) for n, (name, text, fields) in enumerate(listed))


def _events(access: str, before: str, signal: str) -> tuple[Field, ...]:
    """A bit for each event."""
    events = (("done", "a run has ended: the input is closed and the last frame has left"), ("frame", "a frame has left"),
              ("input_error", "TLAST came with a beat that is not a frame's last"))
    return tuple(Field(name, n, 1, access, f"{before}{name}: {text}" if before else text[0].upper() + text[1:],
                       f"{signal}[{n}]", is_volatile=access == "w1c") for n, (name, text) in enumerate(events))


def _whole(name: str, description: str, value: int) -> tuple[Field, ...]:
    """A constant in 32 bits."""
    return (Field(name, 0, 32, "ro", description, _hex(value), value),)


def _count(description: str, signal: str) -> Field:
    """A counter of 32 bits."""
    return Field("count", 0, 32, "ro", description, signal, is_volatile=True)


def _hex(value: int) -> str:
    return f"32'h{value:08x}"

"""A processing element of the sparse engine: a queue of columns, and a pipeline from an entry's address to its sum.

Registers, from the cycle in which an entry is issued (its address is at the matrix memory):

    word of the matrix memory | entry | row, weight, activation | product | sum

Columns come one at a time; all entries of a column are issued one behind the other, so the row of an entry is that of the
entry before it, or the beginning of the column, and the index on top.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from hwsim.engines.eie import Eie

from .constants import Image, Load, rom
from .numbers import lanes, number, pattern, selected, shape_of
from .sequencer import register, wrapping


def address_bits(count: int) -> int:
    """Bits of a port that carries a number below `count`; 1 where there is nothing to carry."""
    return max(1, (count - 1).bit_length())


def book_image(p: Eie, codebooks: NDArray[np.int64]) -> Image:
    """The codebooks of all layers, as every PE has them."""
    return Image("codebook", tuple(pattern([int(value)], p.w_type) for value in codebooks.ravel()), p.w_type.bits)


class EiePe(wiring.Component):
    """A processing element.

    Its read-only memories are outside of it, so that one module serves for all.

    Parameters
    ----------
    params : Eie
    codebooks : int64 (layers, 2**code_bits)
    stem : str
        Prefix of its memory file.

    Members
    -------
    incoming : a column comes, with `x`, its activation, and its pointers
    even, odd : from the banks of the pointers of even and odd columns; `swapped` where the column itself is odd
    room : high where there is room for a column to be accepted in this cycle
    idle : nothing is left of the columns that came before this cycle
    address : of the matrix memory; `word` is what lies there, a cycle later
    layer : which codebook
    load_enable, load_address, load_data : of the codebooks, where weights are loaded
    draining : the sums are read and cleared, not added to
    row, sum : the sum of a row, at once, while draining; `clear` sets it to 0
    """

    def __init__(self, params: Eie, codebooks: NDArray[np.int64], stem: str) -> None:
        self.params, self.codebooks, self.stem = params, codebooks, stem
        p = params
        super().__init__({
            "incoming": In(1), "x": In(p.x_type.bits), "even": In(p.position_bits), "odd": In(p.position_bits), "swapped": In(1),
            "room": Out(1), "idle": Out(1),
            "address": Out(address_bits(p.depth)), "word": In(p.read_entries * (p.index_bits + p.code_bits)),
            "layer": In(address_bits(p.layers)),
            **({"load_enable": In(1), "load_address": In(address_bits(codebooks.size)),
                "load_data": In(p.w_type.bits)} if p.loaded else {}),
            "draining": In(1), "row": In(address_bits(p.rows)), "clear": In(1), "sum": Out(p.sum_type.bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        always = Const(1)
        column, starts, busy = self._queue(m)
        position, issues, first, x = self._issue(m, column, starts, busy)

        p = self.params
        within = (p.read_entries - 1).bit_length()  # bits of a position that choose an entry of a word
        m.d.comb += self.address.eq(position >> within)
        chosen = register(m, always, Cat(position, Const(0, within))[:within], "chosen")
        entry = selected(chosen, [self.word[n:n + p.index_bits + p.code_bits]
                                  for n in range(0, len(self.word), p.index_bits + p.code_bits)])
        entry = register(m, always, entry, "entry")
        index, code = entry[:p.index_bits], entry[p.index_bits:]
        begins = register(m, always, register(m, always, first, "first"), "begins")

        row = Signal(len(self.row), reset_less=True)
        m.d.sync += row.eq(Mux(begins, 0, row + 1) + index)
        x = register(m, always, register(m, always, x, "entry_x"), "operand")
        load = Load(self.load_enable, self.load_address, self.load_data) if p.loaded else None
        w = rom(m, "codebook", self.stem, book_image(p, self.codebooks).words, p.w_type.bits, Cat(code, self.layer), always,
                "distributed", load)
        (a,), (b,) = lanes(x, p.x_type), lanes(w, p.w_type)
        product = Signal(shape_of(p.sum_type), reset_less=True)  # modulo its width, as the sum
        m.d.sync += product.eq(number(a, p.x_type) * number(b, p.w_type))
        adds = self._valid(m, self._valid(m, issues, 2) & code.any(), 2)  # padding adds nothing
        self._sums(m, register(m, always, row, "target"), product, adds)
        return m

    def _queue(self, m: Module) -> tuple[Value, Value, Value]:
        """The column to be worked on next (its first entry, how many, activation); whether it starts; whether one is under way."""
        p = self.params
        count = p.rows.bit_length()
        begin, end = Mux(self.swapped, self.odd, self.even), Mux(self.swapped, self.even, self.odd)
        entries = Signal(count, name="entries_incoming")
        m.d.comb += entries.eq(end[:count] - begin[:count])
        incoming = Cat(begin, entries, self.x)

        slots = p.queue_depth - 1
        level = Signal(range(slots + 1))  # columns in the queue
        waits, busy, starts, pushes, pops = (Signal(name=name) for name in ("waits", "busy", "starts", "pushes", "pops"))
        m.d.comb += [waits.eq(level.any()), starts.eq(~busy & (waits | self.incoming)), pops.eq(starts & waits),
                     pushes.eq(self.incoming & (~starts | waits)), self.idle.eq(~(busy | waits))]
        ahead = Signal.like(level)
        m.d.comb += ahead.eq(level + pushes - pops)
        # Room is known a cycle ahead for both cases, so that what joins all PEs hangs on registers.
        room, room_behind = Signal(init=1), Signal(init=slots > 1)
        m.d.sync += [level.eq(ahead), room.eq(ahead < slots), room_behind.eq(ahead < slots - 1 if slots > 1 else 0)]
        m.d.comb += self.room.eq(Mux(self.incoming, room_behind, room))

        if slots == 1:
            waiting: Value = register(m, pushes, incoming, "waiting")
        else:
            m.submodules.queue = queue = Memory(shape=unsigned(len(incoming)), depth=slots, init=[])
            write, read = queue.write_port(), queue.read_port(domain="comb")
            m.d.comb += [write.addr.eq(wrapping(m, pushes, slots, "newest")), write.data.eq(incoming), write.en.eq(pushes),
                         read.addr.eq(wrapping(m, pops, slots, "oldest"))]
            waiting = read.data
        return Mux(waits, waiting, incoming), starts, busy

    def _issue(self, m: Module, column: Value, starts: Value, busy: Signal) -> tuple[Value, Value, Value, Value]:
        """The position of the entry that is issued, whether there is one, whether it is its column's first; a cycle later, x."""
        p = self.params
        count = p.rows.bit_length()
        left, position = Signal(count), Signal(p.position_bits, reset_less=True)  # still to issue, and where the next of them is
        entries, here = Signal(count), Signal(p.position_bits)
        m.d.comb += [busy.eq(left.any()), here.eq(Mux(busy, position, column[:p.position_bits])),
                     entries.eq(Mux(busy, left, column[p.position_bits:p.position_bits + count]))]
        issues = (busy | starts) & entries.any()
        m.d.sync += position.eq(here + 1)
        with m.If(issues):
            m.d.sync += left.eq(entries - 1)
        return here, issues, ~busy, register(m, starts, column[p.position_bits + count:], "activation")

    def _sums(self, m: Module, row: Value, product: Value, adds: Value) -> None:
        """Accumulators: read, added to and written in one cycle."""
        p = self.params
        shape = shape_of(p.sum_type)
        m.submodules.sums = sums = Memory(shape=unsigned(shape.width), depth=p.rows, init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")
        address = Mux(self.draining, self.row, row)
        m.d.comb += [read.addr.eq(address), write.addr.eq(address), write.en.eq(adds | self.clear), self.sum.eq(read.data),
                     write.data.eq(Mux(self.draining, 0, read.data + product))]

    @staticmethod
    def _valid(m: Module, valid: Value, cycles: int) -> Value:
        """A flag some cycles later."""
        for _ in range(cycles):
            held = Signal(name="valid")
            m.d.sync += held.eq(valid)
            valid = held
        return valid

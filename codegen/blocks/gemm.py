"""`gemm`: an array that runs a list of commands on tiles.  Parameters: `hwsim.engines.gemm.Gemm`.

Here are the loader, the tile memories, what the array is told in each cycle, and the way of sums to the output.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwsim.engines.gemm import Gemm

from .gemm_array import GemmArray
from .numbers import encoded, fit, lanes


class GemmBlock(wiring.Component):
    """An array with its memories and its queue of commands.

    Parameters
    ----------
    params : Gemm
    stem : str
        Prefix of its elements' module.

    Members
    -------
    commands : stream of commands, fields as `params.fields`
    i : stream of words of tiles, in the order in which the commands load them, a command's activations first
    o : stream of rows of sums, and above them whether it is the last row of a command that ends
    """

    def __init__(self, params: Gemm, stem: str = "gemm") -> None:
        self.params, self.stem = params, stem
        super().__init__({
            "commands": In(stream.Signature(unsigned(params.command_bits))),
            "i": In(stream.Signature(unsigned(params.word_in.bits))),
            "o": Out(stream.Signature(unsigned(params.word_out.bits + 1))),
        })

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        command = self._fields(self.commands.payload)
        loads = Cat(command["load_x"], command["load_w"])
        m.submodules.load_queue = load_queue = SyncFIFO(width=len(loads), depth=p.commands)
        rest = [(name, bits) for name, bits in p.fields if name not in ("load_x", "load_w")]
        wanted = Cat(command["load_x"].any(), command["load_w"].any(), *(command[name] for name, _ in rest))
        m.submodules.queue = queue = SyncFIFO(width=len(wanted), depth=p.commands)
        takes = Signal()
        m.d.comb += [
            takes.eq(self.commands.valid & load_queue.w_rdy & queue.w_rdy), self.commands.ready.eq(load_queue.w_rdy & queue.w_rdy),
            load_queue.w_en.eq(takes), queue.w_en.eq(takes), load_queue.w_data.eq(loads), queue.w_data.eq(wanted),
        ]

        # Of each operand, a half is `full` from its last word on until the array begins to read it; it is `early` if the array
        # began while words were still coming in.
        stems = ("x", "w")
        reads, fills, full, early, filled, begins = ([Signal(name=f"{what}_{stem}") for stem in stems] for what in
                                                     ("half", "fill", "full", "early", "filled", "begin"))
        for n in range(2):
            m.d.sync += [
                reads[n].eq(reads[n] ^ begins[n]), fills[n].eq(fills[n] ^ filled[n]),
                full[n].eq(Mux(full[n], ~begins[n] | filled[n], ~early[n] & filled[n] & ~begins[n])),
                early[n].eq(Mux(early[n], ~filled[n], ~full[n] & begins[n] & ~filled[n])),
            ]
        opens = [~is_full | begin for is_full, begin in zip(full, begins, strict=True)]
        writes, address, here = self._loader(m, load_queue, opens, filled)

        # The array's command, and how far it is.
        busy, first, left = Signal(), Signal(), Signal(p.depth.bit_length())
        now = {name: Signal(bits, name=f"now_{name}") for name, bits in [("new_x", 1), ("new_w", 1), *rest]}
        issue, last, draining, room, there = Signal(), Signal(), Signal(), Signal(), Signal(2)
        for n, stem in enumerate(stems):
            is_new, came = first & now[f"new_{stem}"], here[n] & (now[f"{stem}_at"] < address)
            m.d.comb += [there[n].eq(Mux(is_new, full[n] | (~early[n] & came), ~early[n] | came)), begins[n].eq(issue & is_new)]
        m.d.comb += [
            last.eq(left == 1), draining.eq(now["rows"].any()), issue.eq(busy & there.all() & (~last | ~draining | room)),
            queue.r_en.eq(~busy | (issue & last)),
        ]
        with m.If(issue):
            m.d.sync += [first.eq(0), left.eq(left - 1), now["x_at"].eq(now["x_at"] + 1), now["w_at"].eq(now["w_at"] + 1)]
        with m.If(queue.r_en):
            m.d.sync += [Cat(now.values()).eq(queue.r_data), busy.eq(queue.r_rdy), first.eq(1)]
            m.d.sync += left.eq(self._fields(queue.r_data, [("new_x", 1), ("new_w", 1), *rest])["words"])

        m.submodules.array = array = GemmArray(p, self.stem)
        for n, (name, word, target) in enumerate((("x", p.x_word, array.x), ("w", p.w_word, array.w))):
            m.submodules[f"tiles_{name}"] = memory = Memory(shape=unsigned(word.bits), depth=2 * p.depth, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(writes[n]), write.addr.eq(Cat(address, fills[n])), write.data.eq(self.i.payload),
                read.en.eq(issue), read.addr.eq(Cat(now[f"{name}_at"], ~(reads[n] ^ begins[n]))), target.eq(read.data),
            ]
        valid, anew = Signal(), Signal(reset_less=True)
        m.d.sync += [valid.eq(issue), anew.eq(first & ~now["keeps"])]
        m.d.comb += [array.valid.eq(valid), array.first.eq(anew)]
        self._drain(m, array, issue & last & draining, now, room)
        return m

    def _loader(self, m: Module, queue: SyncFIFO, opens: list[Value],
                filled: list[Signal]) -> tuple[list[Value], Signal, list[Value]]:
        """Which memory takes a word, where in the half that is filled, and which of them the loader is at."""
        p = self.params
        left_x, left_w = Signal(p.depth.bit_length()), Signal(p.depth.bit_length())
        address = Signal(p.address_bits, name="load_at")
        of_x, takes, done = Signal(), Signal(), Signal()
        m.d.comb += [
            of_x.eq(left_x.any()), self.i.ready.eq(Mux(of_x, opens[0], left_w.any() & opens[1])),
            takes.eq(self.i.valid & self.i.ready), filled[0].eq(takes & (left_x == 1)),
            filled[1].eq(takes & ~of_x & (left_w == 1)),
            done.eq(Mux(of_x, filled[0] & ~left_w.any(), ~left_w.any() | filled[1])), queue.r_en.eq(done),
        ]
        with m.If(takes):
            m.d.sync += [left_x.eq(left_x - of_x), left_w.eq(left_w - ~of_x),
                         address.eq(Mux(filled[0] | filled[1], 0, address + 1))]
        with m.If(done & queue.r_rdy):
            m.d.sync += Cat(left_x, left_w).eq(queue.r_data)
        return [takes & of_x, takes & ~of_x], address, [of_x, ~of_x]

    def _drain(self, m: Module, array: GemmArray, captures: Value, now: dict[str, Signal], room: Signal) -> None:
        """Finished tiles from the array's memory to the output."""
        p = self.params
        # Rows of a tile come one a cycle, so the next tile may not follow closer than this one has rows.
        places = (p.places - 1).bit_length()
        gap, held = Signal(p.row_bits), Signal(places + 1)
        put, take, arrived, row = Signal(places), Signal(places), Signal(places + 1), Signal(p.row_bits)
        m.d.comb += room.eq((gap == 0) & ~held[-1])
        last_row = Signal(p.row_bits)
        m.d.comb += [last_row.eq(now["rows"] - 1), array.captures.eq(captures), array.last_row.eq(last_row)]
        m.d.sync += [gap.eq(Mux(captures, last_row, gap - gap.any())), put.eq(put + captures)]
        # What the output needs to know of each tile.
        about = [last_row, now["ends"], *([now["terms"]] if p.is_binary else [])]
        m.submodules.about = memory = Memory(shape=unsigned(sum(map(len, about))), depth=p.places, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [write.en.eq(captures), write.addr.eq(put), write.data.eq(Cat(about)), read.addr.eq(take)]
        final, ends, terms = read.data[:p.row_bits], read.data[p.row_bits], read.data[p.row_bits + 1:]

        advance, fires, done = Signal(), Signal(), Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready), fires.eq(advance & arrived.any()),
            done.eq(fires & (row == final)), array.address.eq(Cat(row, take)),
        ]
        m.d.sync += [held.eq(held + captures - done), arrived.eq(arrived + array.arrives - done)]
        with m.If(fires):
            m.d.sync += [row.eq(Mux(done, 0, row + 1)), take.eq(take + done)]
        sums: list[Value] = []
        for part in lanes(array.sums, p.kept_type):
            sums.append(fit((part << 1) - terms, p.sum_type) if p.is_binary else encoded(part, p.sum_type))
        payload = Signal(len(self.o.payload), reset_less=True)
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(arrived.any()), payload.eq(Cat(*sums, done & ends))]
        m.d.comb += self.o.payload.eq(payload)

    def _fields(self, word: Value, fields: list[tuple[str, int]] | None = None) -> dict[str, Value]:
        """A command's parts."""
        at, parts = 0, {}
        for name, bits in fields or self.params.fields:
            parts[name] = word[at:at + bits]
            at += bits
        return parts

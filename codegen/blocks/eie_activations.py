"""The two activation memories of the sparse engine, and how a frame is loaded into them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwsim.engines.eie import Eie

from .eie_pe import address_bits
from .numbers import lanes, recoded
from .sequencer import wrapping


class EieActivations(wiring.Component):
    """Activation memories.

    A layer reads one of the two, and its results go into the other, which the next layer reads.  The next frame is loaded
    into that which the last layer does not read.

    Parameters
    ----------
    params : Eie

    Members
    -------
    i : stream of lanes_in elements
    full : a frame has been loaded
    begin : its first layer begins in the next cycle
    swap : a later layer begins in the next cycle
    open : in the next cycle, `i` takes words again; with `begin` at the earliest
    write : `results`, of an inner layer, are word number `position`
    address, enable : of the memory that is read; `word` is what lies there, a cycle later
    """

    def __init__(self, params: Eie) -> None:
        self.params = params
        p = params
        self.words = max(p.scan_words(layer) for layer in range(p.layers))
        bits = p.lanes * p.x_type.bits
        super().__init__({
            "i": In(stream.Signature(unsigned(p.word_in.bits))), "full": Out(1), "begin": In(1), "swap": In(1), "open": In(1),
            "write": In(1), "position": In(address_bits(self.words)), "results": In(bits),
            "address": In(address_bits(self.words)), "enable": In(1), "word": Out(bits),
        })

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        loading, reading = Signal(), Signal()  # which of the two
        with m.If(self.begin):
            m.d.sync += [reading.eq(loading), loading.eq(loading ^ (p.layers % 2))]
        with m.Elif(self.swap):
            m.d.sync += reading.eq(~reading)

        loads, place, loaded = self._load(m)
        words = []
        for bank in range(2):
            m.submodules[f"bank{bank}"] = memory = Memory(shape=unsigned(len(self.word)), depth=self.words, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                # Never both: the other bank is read while a frame is loaded, and none is loaded before the last layer.
                write.en.eq((loads & (loading == bank)) | (self.write & (reading != bank))),
                write.addr.eq(Mux(self.write, self.position, place)),
                write.data.eq(Mux(self.write, self.results, loaded)),
                read.addr.eq(self.address), read.en.eq(self.enable & (reading == bank)),
            ]
            words.append(read.data)
        m.d.comb += self.word.eq(Mux(reading, words[1], words[0]))
        return m

    def _load(self, m: Module) -> tuple[Value, Value, Value]:
        """Whether a word of the memory is complete, where it goes, and the word."""
        p = self.params
        is_open, takes, ends = Signal(init=1), Signal(), Signal()
        part, place = Signal(range(p.lanes // p.lanes_in)), Signal(range(self.words))
        count = wrapping(m, takes, p.words_in_frame, "count")
        m.d.comb += [self.i.ready.eq(is_open), takes.eq(is_open & self.i.valid), ends.eq(count == p.words_in_frame - 1)]
        with m.If(takes & ends):
            m.d.sync += [is_open.eq(0), self.full.eq(1)]
        with m.If(self.begin):
            m.d.sync += self.full.eq(0)
        with m.If(self.open):
            m.d.sync += is_open.eq(1)

        completes = ends | (part == p.lanes // p.lanes_in - 1)
        with m.If(takes):
            m.d.sync += part.eq(Mux(completes, 0, part + 1))
            with m.If(completes):
                m.d.sync += place.eq(Mux(ends, 0, place + 1))
        taken = Signal(p.lanes_in * p.x_type.bits)
        m.d.comb += taken.eq(Cat(recoded(one, p.first_type, p.x_type) for one in lanes(self.i.payload, p.first_type)))
        parts: list[Value] = []
        for n in range(p.lanes // p.lanes_in - 1):
            held = Signal(len(taken), name=f"part{n}")
            # What a frame's last word does not fill is 0, so parts are cleared when their word is written.
            with m.If(takes & completes):
                m.d.sync += held.eq(0)
            with m.Elif(takes & (part == n)):
                m.d.sync += held.eq(taken)
            parts.append(Mux(part == n, taken, held))
        whole = part == p.lanes // p.lanes_in - 1
        parts.append(taken & whole.replicate(len(taken)))
        return takes & completes, place, Cat(parts)

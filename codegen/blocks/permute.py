"""`permute`: channels of a pixel in another order.  Parameters, schedule and latency: `hwsim.engines.permute.Permute`.

Where a pixel has several words, each output lane has a copy of the input lanes that it reads: then it reads any one of
them in any cycle, whatever the other lanes read.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib.memory import Memory

from hwsim.engines.permute import Permute

from .numbers import selected
from .sequencer import register, sequencer, wrapping
from .stream_block import StreamBlock


class PermuteBlock(StreamBlock[Permute]):
    """A permutation of channels.

    Parameters
    ----------
    params : Permute

    Members
    -------
    i, o : streams of lanes elements
    """

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        bits = p.type.bits
        elements = [self.i.payload[n * bits:(n + 1) * bits] for n in range(p.lanes)]
        if p.folds == 1:
            control = sequencer(m, self.i, self.o, latency=1)
            m.d.comb += self.o.payload.eq(register(m, control.advance, Cat(elements[channel] for channel in p.order), "result"))
            return m
        # Pixels come in turn into the two halves; `ahead` of those that came have not yet gone.
        ahead, full = Signal(range(3)), Signal()
        enters, leaves, advance = Signal(), Signal(), Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), self.i.ready.eq(ahead != 2), enters.eq(self.i.valid & self.i.ready),
                     leaves.eq(advance & (ahead != 0)), self.o.valid.eq(full)]
        write_at, read_at = wrapping(m, enters, p.folds, "write_at"), wrapping(m, leaves, p.folds, "read_at")
        came, gone = enters & (write_at == p.folds - 1), leaves & (read_at == p.folds - 1)
        write_half, read_half = wrapping(m, came, 2, "write_half"), wrapping(m, gone, 2, "read_half")
        m.d.sync += ahead.eq(ahead + came - gone)
        with m.If(advance):
            m.d.sync += full.eq(leaves)

        results = []
        for n, sources in enumerate(p.sources):
            m.submodules[f"lane{n}"] = memory = Memory(shape=unsigned(len(sources) * bits), depth=2 * p.folds, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [write.addr.eq(write_at + Mux(write_half, p.folds, 0)), write.en.eq(enters),
                         write.data.eq(Cat(elements[source] for source in sources))]
            wanted = p.order[n::p.lanes]
            address = selected(read_at, [Const(channel // p.lanes, range(p.folds)) for channel in wanted])
            m.d.comb += read.addr.eq(address + Mux(read_half, p.folds, 0))
            choices = [read.data[k * bits:(k + 1) * bits] for k in range(len(sources))]
            which = selected(read_at, [Const(sources.index(channel % p.lanes), range(len(sources))) for channel in wanted])
            results.append(selected(which, choices))
        m.d.comb += self.o.payload.eq(register(m, advance, Cat(results), "result"))
        return m

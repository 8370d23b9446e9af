"""`width`: the stream width converter.  Parameters, schedule and latency: `hwsim.engines.width.Width`."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal

from hwsim.engines.width import Width

from .sequencer import sequencer, wrapping
from .stream_block import StreamBlock


class WidthBlock(StreamBlock[Width]):
    """A stream width converter.

    Parameters
    ----------
    params : Width

    Members
    -------
    i, o : streams of lanes_in and lanes_out elements; the first element in the least significant bits
    """

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        part = Signal(range(p.ratio))
        first, last = part == 0, part == p.ratio - 1
        held = Signal(max(p.word_in.bits, p.word_out.bits), reset_less=True)
        if p.widens:
            control = sequencer(m, self.i, self.o, latency=1, emits=last)
            with m.If(control.fires):
                m.d.sync += held.eq(Cat(held, self.i.payload)[p.word_in.bits:])
        else:
            control = sequencer(m, self.i, self.o, latency=1, needs=first)
            with m.If(control.fires):
                m.d.sync += held.eq(Mux(first, self.i.payload, held >> p.word_out.bits))
        m.d.comb += [part.eq(wrapping(m, control.fires, p.ratio, "count")), self.o.payload.eq(held[:p.word_out.bits])]
        return m

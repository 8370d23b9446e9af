"""`topk`: insertion into a sorted list.  Parameters, schedule and latency: `hwsim.engines.topk.TopK`.

Every place compares its value with the new one.  Places from the first that the new one beats on move down by one; a value
that is not greater stays behind its equals, so the lowest channel of equals comes first.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal

from hwsim.engines.topk import TopK

from .numbers import encoded, lanes, shape_of
from .sequencer import sequencer, wrapping
from .stream_block import StreamBlock


class TopKBlock(StreamBlock[TopK]):
    """A sorter of k places.

    Parameters
    ----------
    params : TopK

    Members
    -------
    i : stream of one element
    o : stream of k indices
    """

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        last = Signal()
        control = sequencer(m, self.i, self.o, latency=1, emits=last)
        channel = wrapping(m, control.fires, p.channels, "channel")
        first = channel == 0
        m.d.comb += last.eq(channel == p.channels - 1)
        (new,) = lanes(self.i.payload, p.x_type)
        values = [Signal(shape_of(p.x_type), name=f"value{k}", reset_less=True) for k in range(p.k)]
        channels = [Signal(range(p.channels), name=f"channel{k}", reset_less=True) for k in range(p.k)]
        # Places that no channel has filled yet lose against any; place k is filled from channel k + 1 on.
        beats = [first | (new > value) | (channel <= k) for k, value in enumerate(values)]
        with m.If(control.fires):
            for k in range(p.k):
                above = beats[k - 1] if k else Const(0, 1)
                with m.If(beats[k]):
                    m.d.sync += [values[k].eq(Mux(above, values[k - 1] if k else new, new)),
                                 channels[k].eq(Mux(above, channels[k - 1] if k else channel, channel))]
        m.d.comb += self.o.payload.eq(Cat(encoded(one, p.out_type) for one in channels))
        return m

"""`fork`: one stream to several.  Parameters: `hwsim.engines.fork.Fork`."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal

from hwsim.engines.fork import Fork

from .stream_block import StreamBlock


class ForkBlock(StreamBlock[Fork]):
    """Gives every word to all its outputs, each in its own time.

    Parameters
    ----------
    params : Fork

    Members
    -------
    i, o0, o1, ... : streams of lanes elements
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        outputs = [getattr(self, f"o{n}") for n in range(self.params.outputs)]
        has = Signal(len(outputs))  # who has the present word
        served = has | Cat(o.ready for o in outputs)
        m.d.comb += self.i.ready.eq(served.all())
        for n, o in enumerate(outputs):
            m.d.comb += [o.payload.eq(self.i.payload), o.valid.eq(self.i.valid & ~has[n])]
        with m.If(self.i.valid):
            m.d.sync += has.eq(served & ~self.i.ready.replicate(len(outputs)))
        return m

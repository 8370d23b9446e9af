"""`fifo`: the queue between blocks.  Parameters: `hwsim.engines.fifo.StreamFifo`.

A word written in cycle t can leave from cycle t + 1 on; ready depends on the level at the start of the cycle only, so
no combinational path runs through the queue.
"""

from __future__ import annotations

from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from hwsim.engines.fifo import StreamFifo


class FifoBlock(wiring.Component):
    """A queue.

    Parameters
    ----------
    params : StreamFifo

    Members
    -------
    i, o : streams of lanes elements
    """

    def __init__(self, params: StreamFifo) -> None:
        self.params = params
        signature = stream.Signature(unsigned(params.word_in.bits))
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fifo = fifo = SyncFIFO(width=self.params.word_in.bits, depth=self.params.depth)
        wiring.connect(m, wiring.flipped(self.i), fifo.w_stream)
        wiring.connect(m, wiring.flipped(self.o), fifo.r_stream)
        return m

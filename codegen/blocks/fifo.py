"""`fifo`: the queue between blocks.  Parameters: `hwsim.engines.fifo.StreamFifo`.

A word written in cycle t can leave from cycle t + 1 on; ready depends on the level at the start of the cycle only, so
no combinational path runs through the queue.
"""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO

from hwsim.engines.fifo import StreamFifo

from .stream_block import StreamBlock


class FifoBlock(StreamBlock[StreamFifo]):
    """A queue.

    Parameters
    ----------
    params : StreamFifo

    Members
    -------
    i, o : streams of lanes elements
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fifo = fifo = SyncFIFO(width=self.params.word_in.bits, depth=self.params.depth)
        wiring.connect(m, wiring.flipped(self.i), fifo.w_stream)
        wiring.connect(m, wiring.flipped(self.o), fifo.r_stream)
        return m

"""`argmax`: the index of the greatest channel.  Parameters, schedule and latency: `hwsim.engines.argmax.Argmax`."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value

from hwsim.engines.argmax import Argmax

from .numbers import fit, lanes, shape_of
from .sequencer import sequencer, wrapping
from .stream_block import StreamBlock

Entry = tuple[Value, Value]


class ArgmaxBlock(StreamBlock[Argmax]):
    """An argmax unit; of equal channels the first wins.

    Parameters
    ----------
    params : Argmax

    Members
    -------
    i : stream of pe elements
    o : stream of one index
    """

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        last = Signal()
        control = sequencer(m, self.i, self.o, latency=2, emits=last)
        fold = wrapping(m, control.fires, p.folds, "fold")
        m.d.comb += last.eq(fold == p.folds - 1)
        entries: list[Entry] = [(element, Const(n, range(p.channels))) for n, element in enumerate(lanes(self.i.payload, p.x_type))]
        while len(entries) > 1:
            entries = [_better(a, b) for a, b in zip(entries[::2], entries[1::2], strict=False)] \
                + ([entries[-1]] if len(entries) % 2 else [])
        (value, lane), = entries
        top, top_index = Signal(shape_of(p.x_type), reset_less=True), Signal(range(p.channels), reset_less=True)
        best, best_index = Signal(shape_of(p.x_type), reset_less=True), Signal(range(p.channels), reset_less=True)
        starts, live = Signal(), Signal()
        with m.If(control.advance):
            m.d.sync += [top.eq(value), top_index.eq(fold * p.pe + lane), starts.eq(fold == 0), live.eq(control.fires)]
            with m.If(live & (starts | (top > best))):
                m.d.sync += [best.eq(top), best_index.eq(top_index)]
        m.d.comb += self.o.payload.eq(fit(best_index, p.out_type))
        return m


def _better(a: Entry, b: Entry) -> Entry:
    wins = b[0] > a[0]
    return Mux(wins, b[0], a[0]), Mux(wins, b[1], a[1])

"""`pool`: maximum or sum per channel.  Parameters, schedule and latency: `hwsim.engines.pool.Pool`."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory

from hwsim.engines.pool import Pool

from .numbers import balanced_sum, encoded, lanes, recoded, shape_of
from .sequencer import sequencer, wrapping
from .stream_block import StreamBlock


class PoolBlock(StreamBlock[Pool]):
    """A pool.

    Parameters
    ----------
    params : Pool

    Members
    -------
    i : stream of simd * pe elements: (tap, channel)
    o : stream of pe elements
    """

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        last = Signal()
        control = sequencer(m, self.i, self.o, latency=1, emits=last)
        fires = control.fires
        if p.order == "taps" or p.folds == 1:
            tap = wrapping(m, fires, p.steps, "tap")
        else:
            fold = wrapping(m, fires, p.folds, "fold")
            tap = wrapping(m, fires & (fold == p.folds - 1), p.steps, "tap")
        m.d.comb += last.eq(tap == p.steps - 1)

        shape = shape_of(p.counter_type)
        totals = [Signal(shape, name=f"total{n}", reset_less=True) for n in range(p.pe)]
        so_far: list[Value] = list(totals)
        if p.keeps:
            m.submodules.kept = memory = Memory(shape=unsigned(p.pe * shape.width), depth=p.folds, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            so_far = lanes(read.data, p.counter_type)
        results = [Signal(shape, name=f"result{n}") for n in range(p.pe)]
        elements = lanes(self.i.payload, p.x_type)
        for n, (result, kept) in enumerate(zip(results, so_far, strict=True)):
            m.d.comb += result.eq(self._joined(self._together(m, elements[n::p.pe], n), kept, tap == 0))
        if p.keeps:
            m.d.comb += [read.addr.eq(fold), write.addr.eq(fold), write.en.eq(fires), write.data.eq(Cat(results))]
        with m.If(fires):
            m.d.sync += [total.eq(result) for total, result in zip(totals, results, strict=True)]
        m.d.comb += self.o.payload.eq(Cat(self._result(total) for total in totals))
        return m

    def _together(self, m: Module, elements: list[Value], n: int) -> Value:
        """The maximum or the sum of the elements that come at once."""
        if self.params.operation == "sum":
            return balanced_sum(elements)
        while len(elements) > 1:
            pairs: list[Value] = []
            for a, b in zip(elements[::2], elements[1::2], strict=False):
                greater = Signal(Value.cast(a).shape(), name=f"greater{n}_{len(elements)}_{len(pairs)}")
                m.d.comb += greater.eq(Mux(a > b, a, b))
                pairs.append(greater)
            elements = pairs + ([elements[-1]] if len(elements) % 2 else [])
        return elements[0]

    def _joined(self, element: Value, kept: Value, first: Value) -> Value:
        """The result with one element more."""
        p = self.params
        if p.steps == 1:
            return element
        if p.operation == "sum":
            return element + Mux(first, 0, kept)
        return Mux(first | (element > kept), element, kept)

    def _result(self, total: Value) -> Value:
        p = self.params
        if p.operation == "max":
            return recoded(total, p.x_type, p.out_type)
        if p.x_type.is_coded:
            return encoded(total, p.out_type, p.x_type.step, p.taps * p.x_type.lo)
        return encoded(total, p.out_type)

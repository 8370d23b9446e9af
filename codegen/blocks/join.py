"""Joins of streams.  Parameters, schedules and latencies: `hwsim.engines.join`."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory

from hwsim.engines.join import Arithmetic, Concat

from .numbers import encoded, lanes, number, recoded, selected
from .sequencer import register, sequencer, wrapping
from .stream_block import StreamBlock


class ArithmeticBlock(StreamBlock[Arithmetic]):
    """Sum, difference or product of two streams, element by element.

    Parameters
    ----------
    params : Arithmetic

    Members
    -------
    i0, i1 : streams of lanes elements (i1 of one, where all channels of a pixel use it)
    o : stream of lanes elements
    """

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        fresh = Signal()
        control = sequencer(m, [self.i0, self.i1], self.o, latency=p.schedule.latency_cycles, needs=[1, fresh])
        advance = control.advance
        second = self._second(m, control.fires, fresh)
        a_elements = [number(element, p.a_type) for element in lanes(self.i0.payload, p.a_type)]
        b_elements = [number(element, p.b_type) for element in lanes(second, p.b_type)]
        results = []
        for n, a in enumerate(a_elements):
            b = b_elements[n % len(b_elements)]
            if p.operation == "mul":
                value: Value = register(m, advance, a * b, f"product{n}")
            else:
                value = {"add": a + b, "sub": a - b, "rsub": b - a}[p.operation]
            results.append(encoded(value, p.out_type))
        m.d.comb += self.o.payload.eq(register(m, advance, Cat(results), "result"))
        return m

    def _second(self, m: Module, fires: Value, fresh: Value) -> Value:
        """The word of the second input that a step uses; it is taken in steps in which `fresh` is high."""
        p = self.params
        word: Value = self.i1.payload
        if p.period_cycles == 1 or (p.repeat == "pixels" and p.pixels == 1):
            m.d.comb += fresh.eq(1)
            return word
        fold = wrapping(m, fires, p.folds, "fold")
        if p.repeat == "channels":
            m.d.comb += fresh.eq(fold == 0)
            return Mux(fresh, word, register(m, fires & fresh, word, "kept"))
        pixel = wrapping(m, fires & (fold == p.folds - 1), p.pixels, "pixel")
        m.d.comb += fresh.eq(pixel == 0)
        if p.folds == 1:
            return Mux(fresh, word, register(m, fires & fresh, word, "kept"))
        m.submodules.kept = memory = Memory(shape=unsigned(len(word)), depth=p.folds, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [write.addr.eq(fold), write.data.eq(word), write.en.eq(fires & fresh), read.addr.eq(fold)]
        return Mux(fresh, word, read.data)


class ConcatBlock(StreamBlock[Concat]):
    """Streams one after the other.

    Parameters
    ----------
    params : Concat

    Members
    -------
    i0, i1, ... : streams of lanes elements
    o : stream of lanes elements
    """

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        ports = [getattr(self, f"i{n}") for n in range(len(p.counts))]
        which, word = Signal(range(len(p.counts))), Signal(range(max(p.counts)))
        taken = [which == n for n in range(len(ports))]
        control = sequencer(m, ports, self.o, latency=1, needs=taken)
        last = Signal()
        m.d.comb += last.eq(selected(which, [Value.cast(word == count - 1) for count in p.counts]))
        payload = selected(which, [Cat(recoded(element, kind, p.out_type) for element in lanes(port.payload, kind))
                                   for port, kind in zip(ports, p.types, strict=True)])
        with m.If(control.fires):
            m.d.sync += word.eq(Mux(last, 0, word + 1))
            with m.If(last):
                m.d.sync += which.eq(Mux(taken[-1], 0, which + 1))
        m.d.comb += self.o.payload.eq(register(m, control.advance, payload, "result"))
        return m

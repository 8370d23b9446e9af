"""The scan of the sparse engine: finds the nonzero activations of a layer, one a cycle, and offers them to all PEs."""

from __future__ import annotations

from itertools import accumulate

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.engines.eie import Eie

from .eie_pe import address_bits
from .numbers import selected
from .sequencer import register


class EieScan(wiring.Component):
    """The scan.

    Parameters
    ----------
    params : Eie

    Members
    -------
    start : the first cycle of a layer's scan
    layer : which one
    address, enable : of the activation memory; `word` is what lies there, a cycle later
    valid, x : a nonzero activation is offered; it is gone in the next cycle where all PEs have room (`accept`)
    even, odd, swapped : where its column's pointers are in the two banks, and whether the column is odd
    done : all words have been seen, and all nonzeros offered but for what `valid` says
    """

    def __init__(self, params: Eie) -> None:
        self.params = params
        p = params
        words = max(p.scan_words(layer) for layer in range(p.layers))
        super().__init__({
            "start": In(1), "layer": In(address_bits(p.layers)),
            "address": Out(address_bits(words)), "enable": Out(1), "word": In(p.lanes * p.x_type.bits),
            "valid": Out(1), "accept": In(1), "x": Out(p.x_type.bits),
            "even": Out(address_bits(p.columns // 2 + 1)), "odd": Out(address_bits(p.columns // 2 + 1)), "swapped": Out(1),
            "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        words = [p.scan_words(layer) for layer in range(p.layers)]
        following = Signal(range(max(words) + 1))  # number of the word that is read next
        seen, last, finished, takes = Signal(), Signal(), Signal(), Signal()
        elements = [self.word[n:n + p.x_type.bits] for n in range(0, len(self.word), p.x_type.bits)]
        used = Signal(p.lanes)  # lanes of the word that have been offered
        rest = Signal(p.lanes)
        m.d.comb += rest.eq(Cat(element.any() for element in elements) & ~used)
        lowest = Signal(p.lanes)
        m.d.comb += lowest.eq(Cat(rest[n] & ~rest[:n].any() for n in range(p.lanes)))
        m.d.comb += [
            takes.eq(seen & rest.any() & (~self.valid | self.accept)),
            finished.eq(seen & ~(rest & ~lowest).any() & (~rest.any() | ~self.valid | self.accept)),
            last.eq(following == selected(self.layer, [Const(count, len(following)) for count in words])),
            self.address.eq(following), self.enable.eq(self.start | (finished & ~last)),
        ]
        m.d.sync += used.eq(used | (lowest & takes.replicate(p.lanes)))
        with m.If(self.enable):
            m.d.sync += [following.eq(following + 1), used.eq(0), seen.eq(1)]
        with m.If(finished & last):
            m.d.sync += [following.eq(0), seen.eq(0)]

        begins = list(accumulate(p.sizes[:-2], initial=0))  # the first column of each layer
        origin = Signal(range(p.columns + p.lanes), reset_less=True)  # that of the word that is seen
        with m.If(self.start):
            m.d.sync += origin.eq(selected(self.layer, [Const(column, len(origin)) for column in begins]))
        with m.Elif(finished):
            m.d.sync += origin.eq(origin + p.lanes)

        lane, element = Signal(range(p.lanes)), Signal(p.x_type.bits)
        m.d.comb += lane.eq(Cat(Cat(lowest[n] for n in range(p.lanes) if n >> bit & 1).any() for bit in range(len(lane))))
        m.d.comb += element.eq(Cat(Cat(lowest[n] & one[bit] for n, one in enumerate(elements)).any()
                                   for bit in range(p.x_type.bits)))
        column, after = Signal(len(origin) + 1), Signal(len(origin) + 1)
        # One carry chain each; the lowest bit of the second makes a carry.
        m.d.comb += [column.eq(origin + lane), after.eq((Cat(Const(1, 1), origin) + Cat(Const(1, 1), lane)) >> 1)]
        with m.If(takes):
            m.d.sync += self.valid.eq(1)
        with m.Elif(self.accept):
            m.d.sync += self.valid.eq(0)
        # One register, so that no part of it is without a reader where all pointers of a bank are alike.
        offer = Cat(element, column[0], (column >> 1)[:len(self.odd)], (after >> 1)[:len(self.even)])
        m.d.comb += Cat(self.x, self.swapped, self.odd, self.even).eq(register(m, takes, offer, "offered"))
        with m.If(self.start):
            m.d.sync += self.done.eq(0)
        with m.Elif(finished & last):
            m.d.sync += self.done.eq(1)
        return m

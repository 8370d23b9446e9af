"""How sums leave the processing elements of the sparse engine: row by row, some PEs at a time, and cleared on the way."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.engines.eie import Eie

from .eie_pe import address_bits
from .numbers import selected


class EieDrain(wiring.Component):
    """Steps of draining, and of clearing after reset.

    Parameters
    ----------
    params : Eie

    Members
    -------
    clearing : a row of all PEs is cleared
    fires : a step is done
    layer, is_last : which layer, and whether it is the last one
    row : of all PEs
    clear : which of them are cleared
    sums : of all PEs at that row, the first in the least significant bits
    cleared : this is the last row
    drained : this is the last step of the layer
    word : sums of `lanes` PEs, of this step
    part : `lanes_out` of them, of this step of the last layer
    """

    def __init__(self, params: Eie) -> None:
        self.params = params
        p = params
        super().__init__({
            "clearing": In(1), "fires": In(1), "layer": In(address_bits(p.layers)), "is_last": In(1),
            "row": Out(address_bits(p.rows)), "clear": Out(p.pes), "sums": In(p.pes * p.sum_type.bits),
            "cleared": Out(1), "drained": Out(1),
            "word": Out(p.lanes * p.sum_type.bits), "part": Out(p.lanes_out * p.sum_type.bits),
        })

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        groups, parts = p.pes // p.lanes, p.lanes // p.lanes_out
        steps = [p.drain_words(layer) for layer in range(p.layers)]
        step, part, group, row = Signal(range(max(steps))), Signal(range(parts)), Signal(range(groups)), Signal(range(p.rows))
        last_part, last_group = Signal(), Signal()
        m.d.comb += [
            self.row.eq(row), self.cleared.eq(row == p.rows - 1),
            self.drained.eq(step == selected(self.layer, [Const(count - 1, len(step)) for count in steps])),
            last_part.eq(~self.is_last | (part == parts - 1)), last_group.eq(group == groups - 1),
        ]
        ends = self.fires & self.drained
        with m.If(self.fires):
            m.d.sync += [step.eq(step + 1), part.eq(Mux(last_part, 0, part + 1))]
            with m.If(last_part):
                m.d.sync += group.eq(Mux(last_group, 0, group + 1))
        with m.If(self.clearing | (self.fires & last_part & last_group)):
            m.d.sync += row.eq(row + 1)
        with m.If(ends):
            m.d.sync += [step.eq(0), part.eq(0), group.eq(0)]
        with m.If(ends | (self.clearing & self.cleared)):
            m.d.sync += row.eq(0)

        chosen = [(group == n // p.lanes) & (~self.is_last | (part == n % p.lanes // p.lanes_out)) for n in range(p.pes)]
        m.d.comb += self.clear.eq(Cat(self.clearing | (self.fires & one) for one in chosen))
        m.d.comb += [self.word.eq(_chosen(group, self.sums, groups)), self.part.eq(_chosen(part, self.word, parts))]
        return m


def _chosen(number: Value, word: Value, parts: int) -> Value:
    """One of the equal parts of a word."""
    bits = len(word) // parts
    return selected(number, [word[n:n + bits] for n in range(0, len(word), bits)])

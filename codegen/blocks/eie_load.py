"""How a sparse engine's weights come in over a stream: every memory in turn, word after word.

A host sends the words of one memory after the other, as `images` lists them; nothing else, so there are no addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .constants import Image, Load
from .eie_pe import address_bits
from .numbers import selected


def beats(images: Sequence[Image]) -> list[int]:
    """What a host sends."""
    return [word for image in images for word in image.words]


class EieLoader(wiring.Component):
    """Writes what comes into one memory after the other.

    Parameters
    ----------
    images : sequence of Image
        Their order and sizes count, not their words.

    Members
    -------
    i : stream of words, each in the least significant bits
    open : words may come; looked at before the first of them only
    loaded : all memories have been filled since reset, and nothing is on its way
    """

    def __init__(self, images: Sequence[Image]) -> None:
        self.images = images
        self.groups = [(len(list(alike)), depth) for depth, alike in groupby(len(image.words) for image in images)]
        self.bits = max(image.bits for image in images)
        super().__init__({"i": In(stream.Signature(unsigned(self.bits))), "open": In(1), "loaded": Out(1)})
        self.valid, self.data = Signal(name="load_valid"), Signal(self.bits, name="load_data", reset_less=True)
        self.address = Signal(address_bits(max(depth for _, depth in self.groups)), name="load_address", reset_less=True)
        self.group = Signal(address_bits(len(self.groups)), name="load_group", reset_less=True)
        self.member = Signal(address_bits(max(count for count, _ in self.groups)), name="load_member", reset_less=True)

    def write(self, name: str) -> Load:
        """What writes into a memory."""
        place = [image.name for image in self.images].index(name)
        image, group = self.images[place], 0
        while place >= self.groups[group][0]:
            place, group = place - self.groups[group][0], group + 1
        enable = self.valid & (self.group == group) & (self.member == place)
        return Load(enable, self.address[:address_bits(len(image.words))], self.data[:image.bits])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        address, member, group = (Signal(len(one), name=name) for one, name in ((self.address, "next_address"),
                                                                                  (self.member, "next_member"),
                                                                                  (self.group, "next_group")))

        def limit(values: Sequence[int]) -> Value:
            return selected(group, [Const(value, max(values).bit_length() or 1) for value in values])

        ready, takes = Signal(), Signal()
        word_ends, member_ends, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            ready.eq(~self.loaded | self.open), self.i.ready.eq(ready), takes.eq(ready & self.i.valid),
            word_ends.eq(address == limit([depth - 1 for _, depth in self.groups])),
            member_ends.eq(word_ends & (member == limit([count - 1 for count, _ in self.groups]))),
            ends.eq(member_ends & (group == len(self.groups) - 1)),
        ]
        # One cycle later, so that the decoding of which memory it is has a cycle of its own.
        m.d.sync += [self.valid.eq(takes), self.data.eq(self.i.payload), self.address.eq(address), self.member.eq(member),
                     self.group.eq(group)]
        complete = Signal()  # the last word is being written
        m.d.sync += complete.eq(takes & ends)
        with m.If(takes):
            m.d.sync += [
                self.loaded.eq(0), address.eq(Mux(word_ends, 0, address + 1)),
                member.eq(Mux(member_ends, 0, member + word_ends)),
                group.eq(Mux(ends, 0, group + member_ends)),
            ]
        with m.Elif(complete):
            m.d.sync += self.loaded.eq(1)
        return m

"""`window`: the sliding-window unit.  Parameters, schedule and latency: `hwsim.engines.window.Window`.

Its place in the two streams is held in three numbers, which constants move:

- `slot`: where the next input word goes in the circular memory;
- `lead`: how many words the input is ahead of the word to be given.  That has come in if `lead` is not negative, and then
  lies `lead` words behind the newest one;
- `room`: how many words may come in before one is overwritten that is still needed, less one.

Both count words along the frames, one after the other, and padding as if it had a place there; rows and columns are counted
only where padding must be told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib.memory import Memory

from hwsim.engines.window import Window

from .numbers import lanes, pattern, recoded
from .sequencer import sequencer, wrapping
from .stream_block import StreamBlock


class WindowBlock(StreamBlock[Window]):
    """A sliding-window unit.

    Parameters
    ----------
    params : Window

    Members
    -------
    i, o : streams of lanes elements
    """

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        available, gives, takes = Signal(), Signal(), Signal()
        control = sequencer(m, [], self.o, latency=p.schedule.latency_cycles, emits=available)
        m.d.comb += [gives.eq(control.advance & available), takes.eq(self.i.valid & self.i.ready)]
        walk = _Walk(m, p, gives)
        inside, distance = walk.places(m, gives)
        lead = _lead(m, p, walk, takes, Mux(gives, distance, 0))
        m.d.comb += [available.eq(~lead[-1] | ~inside), self.i.ready.eq(_room(m, p, walk, takes))]
        if p.gather[0] < 0:  # padding, which waits for the frame's first word
            begins = Signal(init=1)
            with m.If(gives):
                m.d.sync += begins.eq(walk.frame_ends)
            with m.If(begins):
                m.d.comb += available.eq(lead >= -walk.start)

        word = self._memory(m, takes, lead, control.advance)
        result: Value = Cat(recoded(lane, p.type, p.word_out.type) for lane in lanes(word, p.type))
        if p.has_pads:
            present = Signal(reset_less=True)
            with m.If(control.advance):
                m.d.sync += present.eq(inside)
            result = Mux(present, result, Const(pattern([p.pad_value] * p.lanes, p.word_out.type), p.word_out.bits))
        held = Signal(p.word_out.bits, reset_less=True)
        with m.If(control.advance):
            m.d.sync += held.eq(result)
        m.d.comb += self.o.payload.eq(held)
        return m

    def _memory(self, m: Module, takes: Value, lead: Signal, advance: Value) -> Value:
        """The word that lies `lead` behind the newest one, a cycle later."""
        p = self.params
        style = {} if p.memory == "auto" else {"ram_style": p.memory}
        m.submodules.rows = memory = Memory(shape=unsigned(p.word_in.bits), depth=p.depth, init=[], attrs=style)
        slot = wrapping(m, takes, p.depth, "slot")
        behind = Signal(signed(max(len(slot), len(lead)) + 1))
        m.d.comb += behind.eq(slot + ~lead)  # slot - 1 - lead
        address = Mux(behind < 0, behind + p.depth, behind) if p.depth & (p.depth - 1) else behind
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [write.addr.eq(slot), write.data.eq(self.i.payload), write.en.eq(takes),
                     read.addr.eq(address), read.en.eq(advance)]
        return read.data


@dataclass(frozen=True)
class _Axis:
    """A coordinate of the position: one of the frame's axes where some positions lie outside, all others together."""

    origin: int
    steps: list[int]  # per loop
    words: int  # from one position inside the frame to the next
    size: int = 0
    insert: int = 1

    def moves(self, counts: Sequence[int]) -> list[int]:
        """How far it moves when each loop steps and those inside it start again; at last, when a frame ends."""
        returns = [(count - 1) * step for count, step in zip(counts, self.steps, strict=True)]
        return [step - sum(returns[n + 1:]) for n, step in enumerate(self.steps)] + [-sum(returns)]


class _Walk:
    """The counters of the nest.

    Loops of one iteration are left out, and loops that together step evenly are one, as long as they move no coordinate
    that is counted by itself; the outermost stays, since it decides about the rows.
    """

    def __init__(self, m: Module, p: Window, gives: Value) -> None:
        self.frame_words = p.height * p.row_words
        sizes = (p.row_words, p.words, 1)
        self.axes: list[_Axis] = []
        together = _Axis(0, [0] * len(p.loops), 1)
        for axis, (size, insert) in enumerate(zip(p.frame, (*p.insert, 1), strict=True)):
            one = _Axis(p.origin[axis], [loop.step[axis] for loop in p.loops], sizes[axis], size, insert)
            places = p.positions(axis) // insert
            if insert > 1 or places.min() < 0 or places.max() >= size:
                self.axes.append(one)
            else:
                together = _Axis(together.origin + one.origin * one.words,
                                 [a + b * one.words for a, b in zip(together.steps, one.steps, strict=True)], 1)
        self.axes.append(together)
        self.counts = [loop.count for loop in p.loops]
        for n in reversed(range(1, len(self.counts))):
            even = n > 1 and together.steps[n - 1] == self.counts[n] * together.steps[n] \
                and not any(one.steps[n - 1] or one.steps[n] for one in self.axes[:-1])
            if even:
                self.counts[n - 1] *= self.counts.pop(n)
                for one in self.axes:
                    del one.steps[n - 1]
            elif self.counts[n] == 1:
                del self.counts[n]
                for one in self.axes:
                    del one.steps[n]

        self.lasts: list[Value] = []  # per loop: it is in its last iteration
        enable = gives
        for n in reversed(range(len(self.counts))):
            self.outer_steps = enable
            self.outer = wrapping(m, enable, self.counts[n], f"loop{n}")
            last = Signal(name=f"last{n}")
            m.d.comb += last.eq(self.outer == self.counts[n] - 1)
            self.lasts.insert(0, last)
            enable = enable & last
        self.frame_ends = enable

    @property
    def start(self) -> int:
        """Where the first word of a frame lies, in words from the frame's first; padding may lie before it."""
        return sum(axis.origin // axis.insert * axis.words for axis in self.axes)

    def chosen(self, values: Sequence[int]) -> Value | int:
        """The value of the loop that steps next; the last one if the frame ends."""
        result: Value | int = values[-1]
        for last, value in zip(self.lasts, values, strict=False):
            result = value if isinstance(result, int) and value == result else Mux(last, result, value)
        return result

    def places(self, m: Module, gives: Value) -> tuple[Value, Value]:
        """Whether the position lies in the frame, and how many words it moves next."""
        words = [0] * len(self.counts) + [self.frame_words]
        inside: list[Value] = []
        carried: Value | int = 0
        for n, axis in enumerate(self.axes):
            moves = axis.moves(self.counts)
            words = [a + b // axis.insert * axis.words for a, b in zip(words, moves, strict=True)]
            if not axis.size:
                continue
            carry: Value | int = 0
            if axis.insert > 1:
                phase = Signal(range(axis.insert), name=f"phase{n}", init=axis.origin % axis.insert)
                total = phase + self.chosen([move % axis.insert for move in moves])
                carry = Signal(name=f"carry{n}")
                m.d.comb += carry.eq(total >= axis.insert)
                with m.If(gives):
                    m.d.sync += phase.eq(Mux(carry, total - axis.insert, total))
                carried = carried + Mux(carry, axis.words, 0)
                inside.append(phase == 0)
            reach = [(count - 1) * step for count, step in zip(self.counts, axis.steps, strict=True)]
            low = (axis.origin + sum(min(0, r) for r in reach)) // axis.insert
            high = (axis.origin + sum(max(0, r) for r in reach)) // axis.insert
            place = Signal(range(low, high + 2), name=f"place{n}", init=axis.origin // axis.insert)
            with m.If(gives):
                m.d.sync += place.eq(place + self.chosen([move // axis.insert for move in moves]) + carry)
            inside += [place >= 0] if low < 0 else []
            inside += [place < axis.size] if high >= axis.size else []
        return Cat(inside).all() if inside else Const(1, 1), Value.cast(self.chosen(words) + carried)


def _lead(m: Module, p: Window, walk: _Walk, takes: Value, distance: Value) -> Signal:
    """The register `lead`; exact where the word to be given is one of the frame, or its first output word."""
    available, words = p.schedule.available, p.schedule.words_in
    come = np.maximum.accumulate(np.append(int(available.max()) - words, available))[:-1]  # at least
    at = np.append(walk.start, p.gather[1:])
    exact = at >= 0
    exact[0] = True
    least = int((come - at - 1)[exact].min())
    most = (int(p.live[0]) + p.kept_rows) * p.row_words - 1 - min(walk.start, 0)
    bits = 1 + max(most.bit_length(), (-least - 1).bit_length())
    lead = Signal(signed(bits), init=-walk.start - 1)
    back = Signal(signed(bits))
    m.d.comb += back.eq(-distance)
    m.d.sync += lead.eq(_with_carry(lead, back, takes))
    return lead


def _room(m: Module, p: Window, walk: _Walk, takes: Value) -> Value:
    """Whether a word may come in; holds the register `room`."""
    available, words, live = p.schedule.available, p.schedule.words_in, p.live
    grows = np.append(np.diff(live[:-1]), p.height - live[-2] + live[0]) * p.row_words
    # When an iteration of the outermost loop begins, all that the ones before it needed has come in.
    needed = np.append(int(available.max()) - words, available.reshape(len(grows), -1).max(axis=1))
    most = int(((live[:-1] + p.kept_rows) * p.row_words - np.maximum.accumulate(needed)[:-1]).max())
    bits = 1 + most.bit_length()
    room = Signal(signed(bits), init=(int(live[0]) + p.kept_rows) * p.row_words - 1)
    usual = Counter(grows.tolist()).most_common(1)[0][0]
    growth: Value | int = usual - 1
    for size in sorted(set(grows.tolist()) - {usual}):
        growth = Mux(walk.outer.matches(*np.flatnonzero(grows == size).tolist()), size - 1, growth)
    change = Signal(signed(bits))
    m.d.comb += change.eq(Mux(walk.outer_steps, growth, -1))
    m.d.sync += room.eq(_with_carry(room, change, ~takes))
    return ~room[-1]


def _with_carry(a: Value, b: Value, carry: Value) -> Value:
    """a + b + carry in one chain, at the width that a and b have."""
    return (Cat(Const(1, 1), a) + Cat(carry, b))[1:len(a) + 1]

"""`linebuffer`: all taps of a window at once.  Parameters, schedule and latency: `hwsim.engines.linebuffer.LineBuffer`.

The scan is one long sequence of words, frame and padding, and a tap is a word of it some steps ago.  So there are two delay
lines, one after the other:

- rows: the new word and those above it are a column of the window.  A memory as deep as a row of the scan holds columns; a step
  reads what lies above its word and writes it back one place further up, with the new word below;
- columns: the new column and those to its left are the window, in the same way.

A delay of one or two steps is registers instead.  Registers, from a step to its output:

    word, and what the memories give | window
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory

from hwsim.engines.linebuffer import MOST_REGISTERS, LineBuffer, Scan

from .numbers import lanes, pattern, recoded
from .sequencer import Sequencer, register, sequencer, wrapping
from .stream_block import StreamBlock


class LineBufferBlock(StreamBlock[LineBuffer]):
    """A line buffer.

    Parameters
    ----------
    params : LineBuffer

    Members
    -------
    i : stream of `lanes` elements
    o : stream of `taps` * `lanes` elements: (tap row, tap column, lane)
    """

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        needs, emits, live, moves = Signal(), Signal(), Signal(), Signal()
        control = sequencer(m, self.i, self.o, latency=p.schedule.latency_cycles, needs=needs, emits=emits)
        inside, ends = self._scan(m, control.fires)
        m.d.comb += [needs.eq(inside), emits.eq(ends), moves.eq(control.advance & live)]
        with m.If(control.advance):
            m.d.sync += live.eq(control.fires)

        value: Value = Cat(recoded(lane, p.type, p.kept_type) for lane in lanes(self.i.payload, p.type))
        if p.has_pads:
            value = Mux(needs, value, Const(pattern([p.pad_value] * p.lanes, p.kept_type), len(value)))
        column: list[Value] = [register(m, control.advance, value, "word")]
        if p.row_delay > MOST_REGISTERS:
            column += self._kept(m, "rows", column[0], p.kernel[0] - 1, p.row_delay, control, moves, p.memory)
        while len(column) < p.kernel[0]:
            column.append(_later(m, moves, column[-1], p.row_delay, f"row{len(column)}"))

        columns: list[Value] = [Cat(column)]
        if p.col_delay > MOST_REGISTERS:
            columns += self._kept(m, "columns", columns[0], p.kernel[1] - 1, p.col_delay, control, moves, "auto")
        window: list[Value] = []
        for b in range(p.kernel[1]):  # the newest first
            if b == len(columns):
                columns.append(_later(m, moves, window[-1], p.col_delay - 1, f"gap{b}"))
            window.append(register(m, moves, columns[b], f"column{b}"))
        bits = p.lanes * p.kept_type.bits
        m.d.comb += self.o.payload.eq(Cat(window[b][a * bits:(a + 1) * bits] for a in reversed(range(p.kernel[0]))
                                          for b in reversed(range(p.kernel[1]))))
        return m

    def _kept(self, m: Module, name: str, newest: Value, count: int, delay: int, control: Sequencer, moves: Value,
              style: str) -> list[Value]:
        """What came `delay` steps before the newest, twice as many steps before, ..., out of one memory."""
        if not count:
            return []
        width = len(newest)
        attrs = {} if style == "auto" else {"ram_style": style}
        m.submodules[name] = memory = Memory(shape=unsigned(count * width), depth=delay, init=[], attrs=attrs)
        slot = wrapping(m, control.fires, delay, f"{name}_slot")
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [read.addr.eq(slot), read.en.eq(control.advance),
                     write.addr.eq(register(m, control.advance, slot, f"{name}_back")),
                     write.data.eq(Cat(newest, read.data)), write.en.eq(moves)]
        return [read.data[n * width:(n + 1) * width] for n in range(count)]

    def _scan(self, m: Module, fires: Value) -> tuple[Value, Value]:
        """Whether the present step takes a word, and whether it ends a window."""
        p = self.params
        pixel = fires & (wrapping(m, fires, p.words, "channel") == p.words - 1) if p.words > 1 else fires
        cols = _walk(m, pixel, p.cols, "col", p.start)
        line = pixel & cols.last
        rows = _walk(m, line, p.rows, "row", 0)
        if p.start:  # a frame begins inside of a row
            with m.If(line & rows.last):
                m.d.sync += [count.eq(first) for count, first in cols.counters]
        return rows.inside & cols.inside, rows.ends & cols.ends


@dataclass(frozen=True)
class _Walk:
    """Where the scan is along an axis."""

    last: Value  # at the last position
    inside: Value  # at a position of the frame
    ends: Value  # where windows end
    counters: list[tuple[Signal, int]]  # and what they begin with


def _walk(m: Module, step: Value, scan: Scan, name: str, start: int) -> _Walk:
    """Counters along an axis: the position, and its phases in the insertion and in the stride."""
    last = Signal(name=f"{name}_last")
    counters: list[tuple[Signal, int]] = []

    def counter(label: str, period: int, base: int) -> Signal:
        """The position less `base`, modulo a period."""
        count = Signal(range(period), name=label, init=(start - base) % period)
        ahead = count + 1 if period & (period - 1) == 0 or period == scan.length else Mux(count == period - 1, 0, count + 1)
        with m.If(step):
            m.d.sync += count.eq(Mux(last, -base % period, ahead))
        counters.append((count, (start - base) % period))
        return count

    def among(first: int, final: int, period: int, phase: str) -> Value:
        """Whether the position is one of first, first + period, ..., final."""
        if first == final:
            return place == first
        parts = [counter(phase, period, first) == 0] if period > 1 else []
        parts += [place >= first] if first >= period else []
        parts += [place <= final] if final + period < scan.length else []
        return Cat(parts).all() if parts else Const(1, 1)

    place = counter(name, scan.length, 0)
    m.d.comb += last.eq(place == scan.length - 1)
    inside = among(scan.before, scan.before + scan.seen - 1, scan.insert, f"{name}_insert")
    return _Walk(last, inside, among(scan.first, scan.last, scan.stride, f"{name}_stride"), counters)


def _later(m: Module, moves: Value, value: Value, steps: int, name: str) -> Value:
    """A value some steps later."""
    for n in range(steps):
        value = register(m, moves, value, f"{name}_{n}")
    return value

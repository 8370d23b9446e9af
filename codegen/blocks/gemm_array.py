"""The array of a `gemm`: elements, the skew of their operands, and the way of finished sums into a memory of two tiles.

Element (r, c) is r + c cycles behind (0, 0), so in each column one sum is complete a cycle, row after row, and column c is c
cycles behind the first.  A column's sums therefore leave through one multiplexer, at once, into the column's memory; the
elements need no second register.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwsim.engines.gemm import ELEMENT_CYCLES, Gemm

from ..platform import VerilogPlatform, flat_ports
from .numbers import balanced_sum, lanes, number, selected, shape_of
from .products import product
from .sequencer import register


class GemmElement(wiring.Component):
    """Multiplies, adds, and hands its operands on.

    Members
    -------
    x, w : operands, `lanes` elements each
    valid, first : whether they are any, and whether the sum begins with them
    x_next, w_next, valid_next, first_next : the same, a cycle later
    total : the sum, complete four cycles after the tile memories gave its last operands
    """

    def __init__(self, params: Gemm) -> None:
        self.params = p = params
        x_bits, w_bits = p.lanes * p.x_type.bits, p.lanes * p.w_type.bits
        super().__init__({
            "x": In(x_bits), "w": In(w_bits), "valid": In(1), "first": In(1), "x_next": Out(x_bits), "w_next": Out(w_bits),
            "valid_next": Out(1), "first_next": Out(1), "total": Out(p.kept_type.bits),
        })

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        always = Const(1)
        x, w, first = (register(m, always, value, f"{name}_held") for name, value in
                       (("x", self.x), ("w", self.w), ("first", self.first)))
        valid, adds = Signal(name="valid_held"), Signal()
        m.d.sync += [valid.eq(self.valid), adds.eq(valid)]
        starts = register(m, always, first, "starts")
        if p.is_binary:
            addend = product(m, platform, always, p.products, p.kept_type, 0, x, w)
        else:
            addend = register(m, always, balanced_sum([number(a, p.x_type) * number(b, p.w_type) for a, b in
                                                       zip(lanes(x, p.x_type), lanes(w, p.w_type), strict=True)]), "product0")
        total = Signal(shape_of(p.kept_type), reset_less=True)
        with m.If(adds):
            m.d.sync += total.eq(addend + Mux(starts, 0, total))
        m.d.comb += [self.x_next.eq(x), self.w_next.eq(w), self.valid_next.eq(valid), self.first_next.eq(first),
                     self.total.eq(total)]
        return m


class GemmArray(wiring.Component):
    """Elements and the memory of finished sums.

    Parameters
    ----------
    params : Gemm
    stem : str
        Prefix of the elements' module.

    Members
    -------
    x, w : words of the tile memories, a cycle after they were asked for
    valid, first : with them
    captures : a tile's last words are being asked for, and its sums are to leave, up to `last_row`; tiles go into one place
        of the memory after the other
    arrives : the first row of a tile is written
    address : place and row to be read; `sums` is that row, at once
    """

    def __init__(self, params: Gemm, stem: str) -> None:
        self.params, self.stem = params, stem
        p = params
        super().__init__({
            "x": In(p.x_word.bits), "w": In(p.w_word.bits), "valid": In(1), "first": In(1), "captures": In(1),
            "last_row": In(p.row_bits), "arrives": Out(1), "address": In(p.sum_address_bits),
            "sums": Out(p.columns * p.kept_type.bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        totals = self._elements(m, platform)
        self._capture(m, totals)
        return m

    def _elements(self, m: Module, platform: object) -> list[list[Value]]:
        """Sums by row and column."""
        p = self.params
        x_bits, w_bits = p.lanes * p.x_type.bits, p.lanes * p.w_type.bits
        always = Const(1)
        down = [self._late(m, self.w[c * w_bits:(c + 1) * w_bits], c, f"w{c}") for c in range(p.columns)]
        flags = (self.valid, self.first)
        totals: list[list[Value]] = []
        for r in range(p.rows):
            if r:
                valid = Signal(name=f"valid{r}")
                m.d.sync += valid.eq(flags[0])
                flags = (valid, register(m, always, flags[1], f"first{r}"))
            across, (valid, first) = self._late(m, self.x[r * x_bits:(r + 1) * x_bits], r, f"x{r}"), flags
            totals.append([])
            for c in range(p.columns):
                name = f"element{r}_{c}"
                outs = {port: Signal(bits, name=f"{name}_{port}") for port, bits in
                        (("x_next", x_bits), ("w_next", w_bits), ("valid_next", 1), ("first_next", 1), ("total", p.kept_type.bits))}
                ports = {"x": across, "w": down[c], "valid": valid, "first": first, **outs}
                m.submodules[name] = self._element(m, platform, ports)
                across, valid, first, down[c] = (outs[port] for port in ("x_next", "valid_next", "first_next", "w_next"))
                totals[-1].append(outs["total"])
        return totals

    def _element(self, m: Module, platform: object, ports: dict[str, Value]) -> object:
        """An element with its ports connected; in Verilog, an instance of one module."""
        if isinstance(platform, VerilogPlatform):
            return platform.block(f"{self.stem}_element", lambda: GemmElement(self.params), clocked=True, **ports)
        part = GemmElement(self.params)
        for port, (theirs, flow) in flat_ports(part).items():
            m.d.comb += theirs.eq(ports[port]) if flow is wiring.In else ports[port].eq(theirs)
        return part

    @staticmethod
    def _late(m: Module, value: Value, cycles: int, name: str) -> Value:
        for n in range(cycles):
            value = register(m, Const(1), value, f"{name}_late{n}")
        return value

    def _capture(self, m: Module, totals: list[list[Value]]) -> None:
        """The memory of finished sums, a part of its own for each column."""
        p = self.params
        begins, final = self.captures, self.last_row
        for n in range(ELEMENT_CYCLES - 1):
            late = Signal(name=f"captures_late{n}")
            m.d.sync += late.eq(begins)
            begins, final = late, register(m, Const(1), final, f"last_row_late{n}")
        # Which row is complete in the first column; the tile before has been through when the next one begins.
        writes, row, last_row = Signal(), Signal(p.row_bits), Signal(p.row_bits)
        place = Signal((p.places - 1).bit_length(), init=p.places - 1)
        m.d.sync += [writes.eq(begins | (writes & (row != last_row))), row.eq(Mux(begins, 0, row + 1)), place.eq(place + begins)]
        with m.If(begins):
            m.d.sync += last_row.eq(final)
        for c in range(p.columns):
            kept = register(m, Const(1), selected(row, [line[c] for line in totals]), f"kept{c}")
            write_next = Signal(name=f"writes{c}")
            m.d.sync += write_next.eq(writes)
            where = register(m, Const(1), Cat(row, place), f"where{c}")
            writes, row, place = write_next, where[:p.row_bits], where[p.row_bits:]
            m.submodules[f"sums{c}"] = memory = Memory(shape=unsigned(p.kept_type.bits), depth=1 << p.sum_address_bits, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [write.en.eq(writes), write.addr.eq(where), write.data.eq(kept), read.addr.eq(self.address),
                         self.sums[c * p.kept_type.bits:(c + 1) * p.kept_type.bits].eq(read.data)]
        m.d.comb += self.arrives.eq(writes & (row == 0))

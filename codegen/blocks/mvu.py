"""`mvu`: the matrix-vector unit.  Parameters, schedule and latency: `hwsim.engines.mvu.Mvu`.

Registers, from a step to its output:

    operands | replayed operand (order "outputs" with several groups of outputs) | product | accumulator | output

In the order "outputs", the first pass over a vector takes its words from the stream and keeps them; later passes read
them back.  In the order "inputs", a word stays in the operand register while all outputs use it, and a memory keeps
the sums of all outputs.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from hwsim.engines.mvu import Mvu

from ..platform import VerilogPlatform
from .numbers import balanced_sum, carried, fit, lanes, number, pattern, shape_of
from .popcount import Popcount, module_name
from .sequencer import Sequencer, sequencer, wrapping


class MvuBlock(wiring.Component):
    """The matrix-vector unit of a layer.

    Parameters
    ----------
    params : Mvu
    weights : int64 (K, N)
    thresholds : int64 (N, T) or None
        In the unit of ``params.counter_type``.
    stem : str
        Prefix of its memory files.

    Members
    -------
    i : stream of simd elements
    o : stream of pe elements
    """

    def __init__(self, params: Mvu, weights: NDArray[np.int64], thresholds: NDArray[np.int64] | None, stem: str) -> None:
        self.params, self.weights, self.thresholds, self.stem = params, weights, thresholds, stem
        super().__init__({
            "i": In(stream.Signature(unsigned(params.word_in.bits))),
            "o": Out(stream.Signature(unsigned(params.word_out.bits))),
        })

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        synapse, neuron = Signal(range(p.synapse_folds)), Signal(range(p.neuron_folds))
        first_word, last_word, first_group, last_group = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [first_word.eq(synapse == 0), last_word.eq(synapse == p.synapse_folds - 1),
                     first_group.eq(neuron == 0), last_group.eq(neuron == p.neuron_folds - 1)]
        control = sequencer(m, self.i, self.o, latency=p.latency_cycles, needs=first_group, emits=last_word)
        advance = control.advance
        inner, inner_last, outer, outer_last = (synapse, last_word, neuron, last_group) if p.order == "outputs" \
            else (neuron, last_group, synapse, last_word)
        with m.If(control.fires):
            m.d.sync += inner.eq(Mux(inner_last, 0, inner + 1))
            with m.If(inner_last):
                m.d.sync += outer.eq(Mux(outer_last, 0, outer + 1))

        x, w, delay = self._operands(m, control.fires, advance, first_group, synapse)
        first = self._delayed(m, advance, first_word, delay + 1)
        live = self._delayed(m, advance, control.fires, delay + 1)
        products = [self._product(m, platform, advance, n, x, w_n)
                    for n, w_n in enumerate(self._split(w, p.simd * p.w_type.bits))]
        if p.keeps_sums:
            group = self._delayed(m, advance, neuron, delay + 1)
            sums = self._kept_sums(m, advance, live, first, group, products)
        else:
            sums = [self._sum(m, advance, live, first, n, product) for n, product in enumerate(products)]
        self._output(m, control, sums)
        return m

    def _operands(self, m: Module, fires: Value, advance: Value, first_group: Value,
                  synapse: Value) -> tuple[Value, Value, int]:
        """Registered input word and weights of a step, and the cycles that they come after it."""
        p = self.params
        word = Signal(p.word_in.bits, reset_less=True)
        with m.If(advance & first_group):
            m.d.sync += word.eq(self.i.payload)
        step = wrapping(m, fires, p.synapse_folds * p.neuron_folds, "step")
        if not p.replays:
            return word, self._rom(m, "weights", self._weight_words(), p.pe * p.simd * p.w_type.bits, step, advance), 1
        m.submodules.replay = replay = Memory(shape=unsigned(p.word_in.bits), depth=p.synapse_folds, init=[])
        write, read = replay.write_port(), replay.read_port()
        m.d.comb += [
            write.addr.eq(synapse), write.data.eq(self.i.payload), write.en.eq(fires & first_group),
            read.addr.eq(synapse), read.en.eq(advance),
        ]
        fresh, x, address = Signal(), Signal(p.word_in.bits, reset_less=True), Signal.like(step)
        with m.If(advance):
            m.d.sync += [fresh.eq(first_group), x.eq(Mux(fresh, word, read.data)), address.eq(step)]
        return x, self._rom(m, "weights", self._weight_words(), p.pe * p.simd * p.w_type.bits, address, advance), 2

    def _product(self, m: Module, platform: object, advance: Value, n: int, x: Value, w: Value) -> Signal:
        """Product register of processing element n."""
        p = self.params
        if p.arithmetic == "xnor":
            result: Value = Signal(p.popcount.out_bits, name=f"count{n}")
            ports = {"x": x, "w": w, "count": result}
            if isinstance(platform, VerilogPlatform):
                m.submodules[f"popcount{n}"] = platform.block(module_name(p.popcount), lambda: Popcount(p.popcount), **ports)
            else:
                m.submodules[f"popcount{n}"] = tree = Popcount(p.popcount)
                m.d.comb += [tree.x.eq(x), tree.w.eq(w), result.eq(tree.count)]
        else:
            terms = [number(a, p.x_type) * number(b, p.w_type)
                     for a, b in zip(lanes(x, p.x_type), lanes(w, p.w_type), strict=True)]
            result = balanced_sum(terms)
        product = Signal(p.popcount.out_bits if p.arithmetic == "xnor" else shape_of(p.counter_type), name=f"product{n}",
                         reset_less=True)
        with m.If(advance):
            m.d.sync += product.eq(result)
        return product

    def _sum(self, m: Module, advance: Value, live: Value, first: Value, n: int, product: Signal) -> Signal:
        """Accumulator register of processing element n, started anew by the first word of a vector."""
        total = Signal(shape_of(self.params.counter_type), name=f"total{n}", reset_less=True)
        if self.params.synapse_folds == 1:
            with m.If(advance):
                m.d.sync += total.eq(product)
        else:
            # The product comes first: an adder's carry chain then takes the gated accumulator in its own LUTs.
            with m.If(advance & live):
                m.d.sync += total.eq(product + Mux(first, 0, total))
        return total

    def _kept_sums(self, m: Module, advance: Value, live: Value, first: Value, group: Value,
                   products: list[Signal]) -> list[Signal]:
        """Accumulators of all outputs in a memory that is read, added to and written in one cycle."""
        p = self.params
        shape = shape_of(p.counter_type)
        m.submodules.sums = memory = Memory(shape=unsigned(p.pe * shape.width), depth=p.neuron_folds, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        totals = [Signal(shape, name=f"total{n}", reset_less=True) for n in range(p.pe)]
        added = [Signal(shape, name=f"added{n}") for n in range(p.pe)]
        for value, product, kept in zip(added, products, self._split(read.data, shape.width), strict=True):
            m.d.comb += value.eq(product + Mux(first, 0, kept.as_signed() if shape.signed else kept))
        m.d.comb += [read.addr.eq(group), write.addr.eq(group), write.en.eq(advance & live), write.data.eq(Cat(added))]
        with m.If(advance):
            m.d.sync += [total.eq(value) for total, value in zip(totals, added, strict=True)]
        return totals

    def _output(self, m: Module, control: Sequencer, sums: list[Signal]) -> None:
        """The output register: levels reached, or the sums."""
        p = self.params
        results = []
        if self.thresholds is None:
            for total in sums:
                results.append(fit(2 * total - p.inputs if p.arithmetic == "xnor" else total, p.out_type))
        else:
            width = p.threshold_type.bits
            words = [pattern(self.thresholds[f * p.pe:(f + 1) * p.pe].ravel().tolist(), p.threshold_type)
                     for f in range(p.neuron_folds)]
            total_bits = p.pe * p.thresholds * width
            if p.neuron_folds == 1:
                rows: Value = Const(words[0], total_bits)
            else:
                # Read one cycle ahead of the comparison, so the address moves when the product register empties.
                fold = wrapping(m, control.advance & control.valid[2], p.neuron_folds, "fold")
                rows = self._rom(m, "thresholds", words, total_bits, fold, control.advance)
            for total, row in zip(sums, self._split(rows, p.thresholds * width), strict=True):
                reached = [total >= level for level in lanes(row, p.threshold_type)]
                results.append(fit(carried(balanced_sum(reached), p.out_type), p.out_type))
        packed = Signal(p.word_out.bits, reset_less=True)
        with m.If(control.advance):
            m.d.sync += packed.eq(Cat(results))
        m.d.comb += self.o.payload.eq(packed)

    def _weight_words(self) -> list[int]:
        p = self.params
        return [pattern(self.weights[s * p.simd:(s + 1) * p.simd, f * p.pe:(f + 1) * p.pe].T.ravel().tolist(), p.w_type)
                for f, s in self._steps()]

    def _steps(self) -> list[tuple[int, int]]:
        """(group of outputs, input word) of every step."""
        p = self.params
        if p.order == "outputs":
            return [(f, s) for f in range(p.neuron_folds) for s in range(p.synapse_folds)]
        return [(f, s) for s in range(p.synapse_folds) for f in range(p.neuron_folds)]

    def _rom(self, m: Module, what: str, words: list[int], width: int, address: Value, enable: Value) -> Value:
        rom = Memory(shape=unsigned(width), depth=len(words), init=words, attrs={"init_file": f"{self.stem}_{what}"})
        m.submodules[what] = rom
        port = rom.read_port()
        m.d.comb += [port.addr.eq(address), port.en.eq(enable)]
        return port.data

    @staticmethod
    def _delayed(m: Module, enable: Value, signal: Value, cycles: int) -> Value:
        for _ in range(cycles):
            register = Signal.like(Value.cast(signal))
            with m.If(enable):
                m.d.sync += register.eq(signal)
            signal = register
        return signal

    @staticmethod
    def _split(word: Value, width: int) -> list[Value]:
        return [word[n:n + width] for n in range(0, len(word), width)]

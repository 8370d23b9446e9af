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
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Member
from numpy.typing import NDArray

from hwsim.engines.mvu import Mvu

from .constants import Image, Load, rom
from .levels import levels, threshold_words
from .numbers import carried, encoded, fit, pattern, shape_of
from .products import product
from .sequencer import Sequencer, sequencer, wrapping
from .stream_block import StreamBlock


def address_bits(image: Image) -> int:
    """Bits of an address of its words."""
    return (len(image.words) - 1).bit_length()


def load_members(images: list[Image]) -> dict[str, Member]:
    """Ports through which they are written."""
    if not images:
        return {}
    return {f"load_{image.name}": In(1) for image in images} | {
        "load_address": In(max(1, *map(address_bits, images))), "load_data": In(max(image.bits for image in images))}


def unit_images(p: Mvu, weights: NDArray[np.int64], thresholds: NDArray[np.int64] | None = None) -> list[Image]:
    """What a unit has in memories that can be written: nothing, unless it is reloadable."""
    if not p.reloadable:
        return []
    found = [Image("weights", tuple(weight_words(p, weights)), p.pe * p.simd * p.w_type.bits)]
    if p.products.has_start:
        found.append(Image("starts", tuple(start_words(p, weights)), p.pe * p.counter_type.bits))
    if thresholds is not None:
        found.append(Image("thresholds", tuple(threshold_words(p.levels, thresholds, p.threshold_type)),
                           p.pe * p.thresholds * p.threshold_type.bits))
    return found


def weight_words(p: Mvu, weights: NDArray[np.int64]) -> list[int]:
    """The weights of every step."""
    return [pattern(weights[s * p.simd:(s + 1) * p.simd, f * p.pe:(f + 1) * p.pe].T.ravel().tolist(), p.w_type)
            for f, s in _steps(p)]


def start_words(p: Mvu, weights: NDArray[np.int64]) -> list[int]:
    """What the accumulators of every `pe` outputs start with."""
    kind = p.counter_type
    start = p.products.start(weights)
    mask = (1 << kind.bits) - 1  # a start may lie outside the range of the sums: what counts is its residue
    return [sum((int(value) & mask) << (n * kind.bits) for n, value in enumerate(start[at:at + p.pe]))
            for at in range(0, p.outputs, p.pe)]


def _steps(p: Mvu) -> list[tuple[int, int]]:
    """(`pe` outputs, input word) of every step."""
    if p.order == "outputs":
        return [(f, s) for f in range(p.neuron_folds) for s in range(p.synapse_folds)]
    return [(group + f, s) for group in range(0, p.neuron_folds, p.group_folds)
            for s in range(p.synapse_folds) for f in range(p.group_folds)]


class MvuBlock(StreamBlock[Mvu]):
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
    load_NAME, load_address, load_data : of a unit that is reloadable, for each of `images`: write the word; while no word is inside
    """

    def __init__(self, params: Mvu, weights: NDArray[np.int64], thresholds: NDArray[np.int64] | None = None,
                 stem: str = "") -> None:
        self.weights, self.thresholds, self.stem = weights, thresholds, stem
        images = unit_images(params, weights, thresholds)
        super().__init__(params, **load_members(images))
        self.loads = {image.name: Load(getattr(self, f"load_{image.name}"), self.load_address[:address_bits(image)],
                                       self.load_data[:image.bits], has_contents=True) for image in images}

    @property
    def images(self) -> list[Image]:
        return unit_images(self.params, self.weights, self.thresholds)

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        synapse, neuron = Signal(range(p.synapse_folds)), Signal(range(p.group_folds))
        first_word, last_word, first_group, last_group = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [first_word.eq(synapse == 0), last_word.eq(synapse == p.synapse_folds - 1),
                     first_group.eq(neuron == 0), last_group.eq(neuron == p.group_folds - 1)]
        needs = Const(1) if p.schedule.needs.all() else first_group
        control = sequencer(m, self.i, self.o, latency=p.latency_cycles, needs=needs, emits=last_word)
        advance = control.advance
        inner, inner_last, outer, outer_last = (synapse, last_word, neuron, last_group) if p.order == "outputs" \
            else (neuron, last_group, synapse, last_word)
        with m.If(control.fires):
            m.d.sync += inner.eq(Mux(inner_last, 0, inner + 1))
            with m.If(inner_last):
                m.d.sync += outer.eq(Mux(outer_last, 0, outer + 1))

        x, w, delay = self._operands(m, control.fires, advance, needs, synapse)
        first = self._delayed(m, advance, first_word, delay + 1)
        live = self._delayed(m, advance, control.fires, delay + 1)
        products = [product(m, platform, advance, p.products, p.counter_type, n, *operands)
                    for n, operands in enumerate(zip(self._inputs(x), self._split(w, p.simd * p.w_type.bits), strict=True))]
        # Sums start with the first word of a vector: that is when the number among the outputs of all groups has to be right.
        fold: Value = neuron
        if p.groups > 1 and p.products.has_start:
            fold = wrapping(m, control.fires & first_word, p.neuron_folds, "start_fold")
        starts = self._starts(m, advance, self._delayed(m, advance, fold, delay))
        if p.keeps_sums:
            group = self._delayed(m, advance, neuron, delay + 1)
            sums = self._kept_sums(m, advance, live, first, group, products, starts)
        else:
            sums = [self._sum(m, advance, live, first, n, *operands)
                    for n, operands in enumerate(zip(products, starts, strict=True))]
        self._output(m, control, sums)
        return m

    def _inputs(self, x: Value) -> list[Value]:
        """The inputs of each processing element: here, all have the same."""
        return [x] * self.params.pe

    def _operands(self, m: Module, fires: Value, advance: Value, needs: Value,
                  synapse: Value) -> tuple[Value, Value, int]:
        """Registered input word and weights of a step, and the cycles that they come after it."""
        p = self.params
        word = Signal(p.word_in.bits, reset_less=True)
        with m.If(advance & needs):
            m.d.sync += word.eq(self.i.payload)
        step = wrapping(m, fires, p.synapse_folds * p.neuron_folds, "step")
        if not p.replays:
            return word, self._weights(m, step, advance), 1
        m.submodules.replay = replay = Memory(shape=unsigned(p.word_in.bits), depth=p.synapse_folds, init=[])
        write, read = replay.write_port(), replay.read_port()
        m.d.comb += [
            write.addr.eq(synapse), write.data.eq(self.i.payload), write.en.eq(fires & needs),
            read.addr.eq(synapse), read.en.eq(advance),
        ]
        fresh, x, address = Signal(), Signal(p.word_in.bits, reset_less=True), Signal.like(step)
        with m.If(advance):
            m.d.sync += [fresh.eq(needs), x.eq(Mux(fresh, word, read.data)), address.eq(step)]
        return x, self._weights(m, address, advance), 2

    def _weights(self, m: Module, step: Value, advance: Value) -> Value:
        """The weights of a step, a cycle later."""
        p = self.params
        return rom(m, "weights", self.stem, weight_words(p, self.weights), p.pe * p.simd * p.w_type.bits, step, advance, p.memory,
                   self.loads.get("weights"))

    def _starts(self, m: Module, advance: Value, group: Value) -> list[Value]:
        """What the accumulators start with, a cycle after the group of outputs is known."""
        p = self.params
        kind = p.counter_type
        codes = start_words(p, self.weights)
        if not any(codes) and "starts" not in self.loads:
            return [Const(0)] * p.pe
        return self._split(rom(m, "starts", self.stem, codes, p.pe * kind.bits, group, advance, load=self.loads.get("starts")),
                           kind.bits)

    def _sum(self, m: Module, advance: Value, live: Value, first: Value, n: int, addend: Signal, start: Value) -> Signal:
        """Accumulator register of processing element n, started anew by the first word of a vector."""
        total = Signal(shape_of(self.params.counter_type), name=f"total{n}", reset_less=True)
        if self.params.synapse_folds == 1:
            with m.If(advance):
                m.d.sync += total.eq(addend + start)
        else:
            # The product comes first: an adder's carry chain then takes the gated accumulator in its own LUTs.
            with m.If(advance & live):
                m.d.sync += total.eq(addend + Mux(first, start, total))
        return total

    def _kept_sums(self, m: Module, advance: Value, live: Value, first: Value, group: Value,
                   products: list[Signal], starts: list[Value]) -> list[Signal]:
        """Accumulators of all outputs in a memory that is read, added to and written in one cycle."""
        p = self.params
        shape = shape_of(p.counter_type)
        m.submodules.sums = memory = Memory(shape=unsigned(p.pe * shape.width), depth=p.group_folds, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        totals = [Signal(shape, name=f"total{n}", reset_less=True) for n in range(p.pe)]
        added = [Signal(shape, name=f"added{n}") for n in range(p.pe)]
        for value, addend, start, kept in zip(added, products, starts, self._split(read.data, shape.width), strict=True):
            m.d.comb += value.eq(addend + Mux(first, start, kept))
        m.d.comb += [read.addr.eq(group), write.addr.eq(group), write.en.eq(advance & live), write.data.eq(Cat(added))]
        with m.If(advance):
            m.d.sync += [total.eq(value) for total, value in zip(totals, added, strict=True)]
        return totals

    def _output(self, m: Module, control: Sequencer, sums: list[Signal]) -> None:
        """The output register: levels reached, or the sums."""
        p = self.params
        if self.thresholds is None:
            results = [encoded(total, p.out_type, 2, -p.inputs) if p.arithmetic == "xnor" else encoded(total, p.out_type)
                       for total in sums]
        else:
            # Read one cycle ahead of the comparison, so the address moves when the product register empties.
            fold = wrapping(m, control.advance & control.valid[p.levels.steps + 1], p.neuron_folds, "fold")
            counts = levels(m, p.levels, self.thresholds, p.threshold_type, [*sums], fold, control.advance, self.stem,
                            self.loads.get("thresholds"))
            results = [fit(carried(count, p.out_type), p.out_type) for count in counts]
        packed = Signal(p.word_out.bits, reset_less=True)
        with m.If(control.advance):
            m.d.sync += packed.eq(Cat(results))
        m.d.comb += self.o.payload.eq(packed)

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

"""`thresholding`: compares elements with thresholds.  Parameters, schedule and latency:
`hwsim.engines.thresholding.Thresholding`.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from hwsim.engines.thresholding import Thresholding

from .numbers import balanced_sum, carried, fit, lanes, number, pattern
from .sequencer import sequencer, wrapping


class ThresholdingBlock(wiring.Component):
    """The thresholding unit of a layer.

    Parameters
    ----------
    params : Thresholding
    thresholds : int64 (channels, T), or (1, T) where common
    stem : str
        Prefix of its memory file.

    Members
    -------
    i, o : streams of pe elements
    """

    def __init__(self, params: Thresholding, thresholds: NDArray[np.int64], stem: str) -> None:
        self.params, self.thresholds, self.stem = params, thresholds, stem
        super().__init__({
            "i": In(stream.Signature(unsigned(params.word_in.bits))),
            "o": Out(stream.Signature(unsigned(params.word_out.bits))),
        })

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        control = sequencer(m, self.i, self.o, latency=p.schedule.latency_cycles)
        x: Value = self.i.payload
        if p.from_memory:
            words = [pattern(self.thresholds[f * p.pe:(f + 1) * p.pe].ravel().tolist(), p.threshold_type)
                     for f in range(p.folds)]
            rom = Memory(shape=unsigned(p.pe * p.thresholds * p.threshold_type.bits), depth=p.folds, init=words,
                         attrs={"init_file": f"{self.stem}_thresholds"})
            m.submodules.rom = rom
            port, held = rom.read_port(), Signal(p.word_in.bits, reset_less=True)
            m.d.comb += [port.addr.eq(wrapping(m, control.fires, p.folds, "fold")), port.en.eq(control.advance)]
            with m.If(control.advance):
                m.d.sync += held.eq(x)
            x, flat = held, lanes(port.data, p.threshold_type)
            rows = [flat[n * p.thresholds:(n + 1) * p.thresholds] for n in range(p.pe)]
        else:
            rows = [[Const(int(t)) for t in self.thresholds[n % len(self.thresholds)]] for n in range(p.pe)]
        levels = []
        for element, row in zip(lanes(x, p.x_type), rows, strict=True):
            value = number(element, p.x_type)
            levels.append(fit(carried(balanced_sum([Value.cast(value >= level) for level in row]), p.out_type), p.out_type))
        result = Signal(p.word_out.bits, reset_less=True)
        with m.If(control.advance):
            m.d.sync += result.eq(Cat(levels))
        m.d.comb += self.o.payload.eq(result)
        return m

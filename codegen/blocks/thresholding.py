"""`thresholding`: compares elements with thresholds.  Parameters, schedule and latency:
`hwsim.engines.thresholding.Thresholding`.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Const, Module, Value
from numpy.typing import NDArray

from hwsim.engines.thresholding import Thresholding

from .constants import Image
from .levels import levels, threshold_words
from .numbers import carried, fit, lanes, number
from .sequencer import register, sequencer, wrapping
from .stream_block import StreamBlock


class ThresholdingBlock(StreamBlock[Thresholding]):
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
        super().__init__(params)
        self.thresholds, self.stem = thresholds, stem

    @property
    def images(self) -> list[Image]:
        p = self.params
        if not p.from_memory or p.levels.bisects:
            return []
        words = threshold_words(p.levels, self.thresholds, p.threshold_type)
        return [Image("thresholds", tuple(words), p.pe * p.thresholds * p.threshold_type.bits)]

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        control = sequencer(m, self.i, self.o, latency=p.schedule.latency_cycles)
        x: Value = self.i.payload
        fold: Value = Const(0)
        if p.from_memory:
            x, fold = register(m, control.advance, x, "held"), wrapping(m, control.fires, p.folds, "fold")
        elements = [number(element, p.x_type) for element in lanes(x, p.x_type)]
        counts = levels(m, p.levels, self.thresholds, p.threshold_type, elements, fold, control.advance, self.stem,
                        self.loads.get("thresholds"))
        results = [fit(carried(count, p.out_type), p.out_type) for count in counts]
        m.d.comb += self.o.payload.eq(register(m, control.advance, Cat(results), "result"))
        return m

"""`thresholding`: compares elements with thresholds.  Parameters, schedule and latency:
`hwsim.engines.thresholding.Thresholding`.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Const, Module, Value
from numpy.typing import NDArray

from hwsim.engines.thresholding import Thresholding

from .constants import Image, rom
from .numbers import balanced_sum, carried, fit, lanes, number, pattern
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
        if not p.from_memory:
            return []
        words = (pattern(self.thresholds[f * p.pe:(f + 1) * p.pe].ravel().tolist(), p.threshold_type) for f in range(p.folds))
        return [Image("thresholds", tuple(words), p.pe * p.thresholds * p.threshold_type.bits)]

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        control = sequencer(m, self.i, self.o, latency=p.schedule.latency_cycles)
        x: Value = self.i.payload
        if p.from_memory:
            (image,) = self.images
            word = rom(m, image.name, self.stem, image.words, image.bits, wrapping(m, control.fires, p.folds, "fold"),
                       control.advance, load=self.loads.get(image.name))
            flat = lanes(word, p.threshold_type)
            x = register(m, control.advance, x, "held")
            rows = [flat[n * p.thresholds:(n + 1) * p.thresholds] for n in range(p.pe)]
        else:
            rows = [[Const(int(t)) for t in self.thresholds[n % len(self.thresholds)]] for n in range(p.pe)]
        levels = []
        for element, row in zip(lanes(x, p.x_type), rows, strict=True):
            value = number(element, p.x_type)
            levels.append(fit(carried(balanced_sum([Value.cast(value >= level) for level in row]), p.out_type), p.out_type))
        m.d.comb += self.o.payload.eq(register(m, control.advance, Cat(levels), "result"))
        return m

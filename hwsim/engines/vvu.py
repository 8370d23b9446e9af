"""`vvu`: depthwise convolution, a product for each channel with weights of its own.

It is an `mvu` whose processing elements each have an input of their own: `pe` channels at a time, one tap a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ..schedule import Schedule
from .base import Word
from .mvu import Mvu


@dataclass(frozen=True)
class Vvu(Mvu):
    """Parameters of one depthwise unit: those of `Mvu`.

    Parameters
    ----------
    inputs, outputs : int
        Taps of the window, and channels.
    pe, simd : int
        Channels at a time; 1.
    order : str
        ``outputs``: all taps of `pe` channels, then the next channels; so come the words of the window.
    """

    kind: ClassVar[str] = "vvu"

    @property
    def word_in(self) -> Word:
        return Word(self.pe, self.x_type)

    @property
    def replays(self) -> bool:
        return False

    @cached_property
    def schedule(self) -> Schedule:
        """Period ``inputs * outputs / pe``: a word in every step, a word out with the last tap of its channels; latency 4."""
        step = np.arange(self.inputs * self.neuron_folds)
        return Schedule(step >= 0, step % self.inputs == self.inputs - 1, self.latency_cycles)

"""`vvu`: depthwise convolution, a product for each channel with weights of its own.

It is an `mvu` whose processing elements each have inputs of their own: `pe` channels at a time, one tap a step or all of them.
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
        Channels at a time; taps at a time, 1 or all.
    order : str
        ``outputs``: all taps of `pe` channels, then the next channels; so come the words of the window.
    """

    kind: ClassVar[str] = "vvu"

    @property
    def word_in(self) -> Word:
        """(tap, channel)."""
        return Word(self.simd * self.pe, self.x_type)

    @property
    def replays(self) -> bool:
        return False

    @cached_property
    def schedule(self) -> Schedule:
        """Period ``inputs / simd * outputs / pe``: a word in every step, a word out with its channels' last tap; latency 4."""
        step = np.arange(self.synapse_folds * self.neuron_folds)
        return Schedule(step >= 0, step % self.synapse_folds == self.synapse_folds - 1, self.latency_cycles)

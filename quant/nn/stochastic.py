"""Stochastic rounding in training, to the nearest in evaluation and in the exported file.

Source: Gupta and others, "Deep Learning with Limited Numerical Precision", 2015.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .uniform import IntQuant


class StochasticQuant(IntQuant):
    """`IntQuant` that rounds up, in training, with a probability equal to the fraction.

    The expected value of a level is then the value itself, so updates far smaller than a step aren't lost.
    Evaluation and export round to the nearest: the hardware draws no random numbers.  Parameters are those of `IntQuant`.
    """

    def rounded(self, clamped: Tensor) -> Tensor:
        # The ends of the clamp are integers, so no draw leaves it: floor(n + u) is n for every u below 1.
        return torch.floor(clamped + torch.rand_like(clamped)) if self.training else torch.round(clamped)

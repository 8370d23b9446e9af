"""Calibration: watch a tensor, then fit a uniform quantizer to what was seen.

Sources: Jacob and others, 2018 (min-max, zero point); Krishnamoorthi, "Quantizing deep convolutional networks for efficient
inference: A whitepaper", 2018 (per channel); Wu and others, "Integer Quantization for Deep Learning Inference: Principles
and Empirical Evaluation", 2020 (percentile); Sung and others, "Resiliency of Deep Neural Networks under Quantization", 2015
(mean squared error).
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from intir.errors import BitwrightError

from .uniform import IntQuant

Method = Literal["minmax", "percentile", "mse"]
METHODS: Final[tuple[str, ...]] = get_args(Method)

#: Fitted scales have so many significant bits.  Integers that are added come from differently scaled tensors, and their
#: common unit, which must be exact, is then a few bits finer and not 24; the range grows by 1 part in 128 at most.
SCALE_BITS: Final = 8
LEAST_SCALE: Final = 2.0**-100
MAX_KEPT_VALUES: Final = 1 << 16
#: Parts of the whole range that the search for the least mean squared error tries.
_PARTS: Final = torch.linspace(1.0, 0.15, 86, dtype=torch.float64)


class CalibrationError(BitwrightError):
    """A quantizer can't be fitted to what a tensor held."""


class Observer:
    """Remembers least and greatest values exactly, and of all values a random sample (the same one each time).

    Parameters
    ----------
    method
        ``minmax`` covers everything; ``percentile`` leaves out the outermost values on either side; ``mse`` takes the part
        of the range with the least mean squared error.
    percentile
        For ``percentile``: how many of 100 values lie below the upper end, above 50 and at most 100.
    axis
        Fit one quantizer per index along this axis; None for one in all.
    """

    def __init__(self, method: Method = "mse", *, percentile: float = 99.99, axis: int | None = None) -> None:
        if method not in METHODS:
            raise ValueError(f"the calibration method must be one of {', '.join(METHODS)}, not {method!r}")
        if not 50 < percentile <= 100:
            raise ValueError(f"the percentile must be above 50 and at most 100, not {percentile}")
        self.method, self.percentile, self.axis = method, percentile, axis
        self.low = self.high = torch.zeros(0)
        self._shape: tuple[int, ...] = ()
        self._kept: list[Tensor] = []  # each (channels, values)
        self._share = 1.0
        self._draw = torch.Generator().manual_seed(0)

    def update(self, x: Tensor) -> None:
        """Take the values of `x`, of any shape.

        Errors
        ------
        CalibrationError
            A value isn't finite.
        """
        x = x.detach()
        if not bool(torch.isfinite(x).all()):
            raise CalibrationError(f"{x[~torch.isfinite(x)].flatten()[0].item()} came up during calibration: mend the weights or "
                                   "the calibration set, which must give finite numbers everywhere")
        if self.axis is not None and not 0 <= self.axis < x.ndim:
            raise ValueError(f"the axis must be from 0 to {x.ndim - 1} for a tensor of shape {tuple(x.shape)}, not {self.axis}")
        if x.numel() == 0:
            return
        rows = x.reshape(1, -1) if self.axis is None else x.movedim(self.axis, 0).flatten(1)
        self._shape = () if self.axis is None else tuple(len(rows) if i == self.axis else 1 for i in range(x.ndim))
        low, high = rows.amin(1), rows.amax(1)
        self.low = torch.minimum(self.low, low) if self._kept else low
        self.high = torch.maximum(self.high, high) if self._kept else high
        self._kept.append(self._thinned(rows, self._share))
        while sum(one.numel() for one in self._kept) > max(MAX_KEPT_VALUES, len(rows) * len(self._kept)):
            self._kept, self._share = [self._thinned(one, 0.5) for one in self._kept], self._share / 2

    def _thinned(self, rows: Tensor, share: float) -> Tensor:
        if share == 1:
            return rows.clone()
        # At random: equal strides would meet the same columns of every image.
        count = rows.shape[1]
        return rows[:, torch.randint(count, (math.ceil(count * share),), generator=self._draw)]

    def quantizer(self, bits: int, *, symmetric: bool = True, narrow: bool = False, power_of_two: bool = False) -> IntQuant:
        """The fitted quantizer.

        Parameters
        ----------
        bits
            Width of the levels.
        symmetric
            With values below zero: signed levels with the zero point 0, or unsigned ones with another zero point.  Without
            such values the levels are unsigned and the zero point is 0 either way.
        narrow
            Leave out the level that makes signed levels lopsided.
        power_of_two
            Scales that are powers of two.

        Errors
        ------
        CalibrationError
            Nothing was seen.
        """
        if not self._kept:
            raise CalibrationError("nothing was seen during calibration: give a calibration set with at least one sample")
        signed = symmetric and bool((self.low < 0).any())
        probe = IntQuant(bits, signed=signed, narrow=narrow and signed)
        fit = _Fit(probe.lowest, probe.highest, signed, power_of_two)
        values = torch.cat(self._kept, dim=1).to(torch.float64)
        low, high = self.low.to(torch.float64), self.high.to(torch.float64)
        if self.method == "percentile":
            low, high = self._percentiles(values)
        scale, zero = fit(low, high)
        if self.method == "mse":
            scale, zero = _least_squared_error(fit, values, low, high)
        return IntQuant(bits, signed=signed, narrow=narrow and signed, scale=scale.reshape(self._shape),
                        zero_point=zero.reshape(self._shape))

    def _percentiles(self, values: Tensor) -> tuple[Tensor, Tensor]:
        ordered = values.sort(dim=1).values
        last = ordered.shape[1] - 1
        above = round(last * self.percentile / 100)
        return ordered[:, last - above], ordered[:, above]


class _Fit:
    """Scale and zero point, float64 of shape (channels,), that cover a range with given levels."""

    def __init__(self, lowest: int, highest: int, signed: bool, power_of_two: bool) -> None:
        self.lowest, self.highest, self.signed, self.power_of_two = lowest, highest, signed, power_of_two

    def __call__(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        low, high = low.clamp_max(0.0), high.clamp_min(0.0)  # 0 has a level of its own: padding, and what a ReLU cut
        reach = torch.maximum(high / self.highest, low / self.lowest) if self.signed else (high - low) / self.highest
        # A channel of zeros alone has no range; any scale does.
        scale = rounded_up(torch.where(reach > 0, reach, torch.ones_like(reach)).clamp_min(LEAST_SCALE), self.power_of_two)
        zero = torch.zeros_like(scale) if self.signed else torch.round(-low / scale).clamp(self.lowest, self.highest)
        return scale, zero

    def squared_error(self, values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        """Of each channel, the mean."""
        scale, zero = scale[:, None], zero[:, None]
        levels = torch.round(values / scale + zero).clamp(self.lowest, self.highest)
        return ((levels - zero) * scale - values).square().mean(1)


def _least_squared_error(fit: _Fit, values: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    best = torch.full_like(low, torch.inf)
    scale, zero = fit(low, high)
    for part in _PARTS:
        tried = fit(low * part, high * part)
        error = fit.squared_error(values, *tried)
        better = error < best
        best = torch.where(better, error, best)
        scale, zero = torch.where(better, tried[0], scale), torch.where(better, tried[1], zero)
    return scale, zero


def rounded_up(scale: Tensor, power_of_two: bool = False) -> Tensor:
    """The next number, not below, of `SCALE_BITS` significant bits, or the next power of two."""
    mantissa, exponent = torch.frexp(scale)  # scale = mantissa * 2**exponent, mantissa from 1/2 to 1
    steps = 2 if power_of_two else 1 << SCALE_BITS  # a power of two has a mantissa of 1/2
    return torch.ldexp(torch.ceil(mantissa * steps) / steps, exponent)


def fit_weight(weight: Tensor, bits: int, *, axis: int | None = 0, method: Method = "mse", symmetric: bool = True,
               power_of_two: bool = False, percentile: float = 99.99) -> IntQuant:
    """A quantizer for weights, narrow where it is symmetric (from -127 to 127 for 8 bits).

    Parameters
    ----------
    weight
        A layer's weights.
    bits
        Width of the levels; 2 symmetric ones are ternary.
    axis
        That of the output channels, to each of which a scale is fitted; None for one scale in all.
    method, symmetric, power_of_two, percentile
        As in `Observer`.
    """
    observer = Observer(method, percentile=percentile, axis=axis)
    observer.update(weight)
    return observer.quantizer(bits, symmetric=symmetric, narrow=True, power_of_two=power_of_two)

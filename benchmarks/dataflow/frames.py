"""Real digits as inputs of the networks: pixels of another size, feature maps, codes of a generator; all as integers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Int64 = NDArray[np.int64]
Digits = NDArray[np.uint8]


def resized(digits: Digits, side: int, channels: int = 1) -> Int64:
    """(N, channels, side, side): digits interpolated to another size, the same in each channel."""
    images = torch.from_numpy(digits.astype(np.float64))
    if side != images.shape[-1]:
        images = functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
    pixels: Int64 = images.round().clamp(0, 255).numpy().astype(np.int64)
    return np.repeat(pixels, channels, axis=1)


def feature_maps(digits: Digits, side: int, channels: int, bits: int = 4) -> Int64:
    """(N, channels, side, side), unsigned of `bits`: as a first layer with drawn 5x5 kernels gives them."""
    kernels = np.random.RandomState(0).randint(-2, 3, (channels, 1, 5, 5))
    images, weights = (torch.from_numpy(one.astype(np.float64)) for one in (resized(digits, side), kernels))
    sums = functional.conv2d(images, weights, padding=2)  # of integers, so exact in any order
    maps: Int64 = np.clip(sums.numpy().astype(np.int64) >> 11 - bits, 0, 2**bits - 1)
    return maps


def codes(digits: Digits, size: int) -> Int64:
    """(N, size, 1, 1), -8 to 7: drawn numbers; of the digits only their count matters."""
    drawn: Int64 = np.random.RandomState(0).randint(-8, 8, (len(digits), size, 1, 1))
    return drawn

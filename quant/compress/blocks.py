"""Compact blocks: what a standard convolution is replaced by in small networks.

Each is an ordinary module of convolutions, batch norms, ReLUs, slices and concatenations, so that `quant.nn.quantize` takes it.
The formulas count weights of convolutions, with C channels in, D out, k x k kernels; multiplications are these weights times
the positions of the output that each is used at.  A standard convolution has k*k*C*D.

Sources: Howard and others, "MobileNets", 2017; Iandola and others, "SqueezeNet", 2016; Zhang and others, "ShuffleNet", 2018; Han
and others, "GhostNet: More Features from Cheap Operations", 2020; Wu and others, "Shift: A Zero FLOP, Zero Parameter Alternative to
Spatial Convolutions", 2018.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .errors import CompressionError


class DepthwiseSeparable(nn.Sequential):
    """MobileNet's block: a k x k convolution of each channel by itself, then a 1x1 convolution over channels.

    Weights: k*k*C + C*D.

    Parameters
    ----------
    inputs, outputs
        Channels.
    kernel
        Side of the depthwise kernel, odd.
    stride

    Shapes: input (N, inputs, H, W), output (N, outputs, ceil(H / stride), ceil(W / stride)).

    Raises
    ------
    CompressionError
        A number is no whole number above 0, or the kernel is even.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        _check(inputs=inputs, outputs=outputs, stride=stride)
        super().__init__(_norm_conv(inputs, inputs, kernel, stride, groups=inputs), nn.ReLU(),
                         _norm_conv(inputs, outputs), nn.ReLU())


class Fire(nn.Module):
    """SqueezeNet's block: a 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side.

    Weights: C*squeeze + squeeze*ones + 9*squeeze*threes.

    Parameters
    ----------
    inputs, squeeze
        Channels that go in, and that the squeeze leaves.
    ones, threes
        Channels of the 1x1 and of the 3x3 convolution, concatenated in this order.

    Shapes: input (N, inputs, H, W), output (N, ones + threes, H, W).

    Raises
    ------
    CompressionError
        A number is no whole number above 0.
    """

    def __init__(self, inputs: int, squeeze: int, ones: int, threes: int) -> None:
        super().__init__()
        _check(inputs=inputs, squeeze=squeeze, ones=ones, threes=threes)
        self.squeeze = nn.Sequential(_norm_conv(inputs, squeeze), nn.ReLU())
        self.ones = nn.Sequential(_norm_conv(squeeze, ones), nn.ReLU())
        self.threes = nn.Sequential(_norm_conv(squeeze, threes, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.ones(x), self.threes(x)], dim=1)


class ShuffleUnit(nn.Module):
    """ShuffleNet's unit: grouped 1x1 convolutions with a shuffle of channels in between, around a depthwise 3x3 convolution.

    With stride 1, the sum with its input; with stride 2, the concatenation with its average-pooled input.  With M = the middle's
    channels (a quarter of the outputs by default) and g groups, weights: C*M/g + 9*M + M*(D or D - C)/g.

    Parameters
    ----------
    inputs, outputs
        Channels: equal for stride 1; more outputs than inputs for stride 2.
    groups
        Of the 1x1 convolutions.
    stride
        1 or 2.
    middle
        Channels of the depthwise convolution; outputs / 4 by default.

    Shapes: input (N, inputs, H, W), output (N, outputs, H, W), or halves of H and W for stride 2, rounded up.

    Raises
    ------
    CompressionError
        The groups don't divide all channels, the stride is another, or the channels don't fit to it.
    """

    def __init__(self, inputs: int, outputs: int, groups: int = 2, stride: int = 1, *, middle: int | None = None) -> None:
        super().__init__()
        middle = max(1, outputs // 4) if middle is None else middle
        _check(inputs=inputs, outputs=outputs, groups=groups, middle=middle)
        if stride not in (1, 2) or (outputs != inputs if stride == 1 else outputs <= inputs):
            raise CompressionError(f"a ShuffleUnit of stride {stride} can't make {outputs} channels of {inputs}: it takes stride 1 "
                                   "and as many channels out as in, or stride 2 and more out than in")
        branch = outputs if stride == 1 else outputs - inputs
        for what, channels in (("inputs", inputs), ("middle channels", middle), ("outputs of its branch", branch)):
            if channels % groups:
                raise CompressionError(f"a ShuffleUnit's {groups} groups don't divide its {channels} {what}: choose other numbers")
        self.branch = nn.Sequential(
            _norm_conv(inputs, middle, groups=groups), nn.ReLU(), nn.ChannelShuffle(groups),
            _norm_conv(middle, middle, 3, stride, groups=middle), _norm_conv(middle, branch, groups=groups))
        self.shortcut = nn.AvgPool2d(3, 2, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            return functional.relu(x + self.branch(x))
        return functional.relu(torch.cat([self.shortcut(x), self.branch(x)], dim=1))


class Ghost(nn.Module):
    """GhostNet's module: a convolution for a part of the channels, and cheap depthwise ones that make the others of these.

    With m = ceil(D / ratio), weights: k*k*C*m + cheap*cheap*m*(ratio - 1); channels beyond D are left out behind.

    Parameters
    ----------
    inputs, outputs
        Channels.
    kernel, stride
        Of the first convolution.
    ratio
        Channels per channel of the first convolution, 2 or more.
    cheap
        Side of the depthwise kernels.
    relu
        Whether ReLUs are behind both.

    Shapes: input (N, inputs, H, W), output (N, outputs, ceil(H / stride), ceil(W / stride)).

    Raises
    ------
    CompressionError
        A number is no whole number above 0, a kernel is even, or the ratio is below 2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, ratio: int = 2, cheap: int = 3,
                 relu: bool = True) -> None:
        super().__init__()
        _check(inputs=inputs, outputs=outputs, stride=stride, ratio=ratio)
        if ratio < 2:
            raise CompressionError(f"a Ghost module makes 2 channels or more of one, so its ratio must be 2 or more, not {ratio}")
        self.outputs = outputs
        primary = -(-outputs // ratio)

        def behind() -> list[nn.Module]:
            return [nn.ReLU()] if relu else []

        self.primary = nn.Sequential(_norm_conv(inputs, primary, kernel, stride), *behind())
        self.cheap = nn.Sequential(_norm_conv(primary, primary * (ratio - 1), cheap, groups=primary), *behind())

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], dim=1)[:, :self.outputs]


class GhostBottleneck(nn.Module):
    """GhostNet's bottleneck: a Ghost module to more channels, with stride 2 a depthwise convolution, a Ghost module to few.

    What goes in is added, through a depthwise separable convolution where shapes differ.

    Parameters
    ----------
    inputs, middle, outputs
        Channels.
    kernel, stride
        Of the depthwise convolution.

    Shapes: input (N, inputs, H, W), output (N, outputs, ceil(H / stride), ceil(W / stride)).

    Raises
    ------
    CompressionError
        As `Ghost`.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        _check(inputs=inputs, middle=middle, outputs=outputs, stride=stride)
        between = [_norm_conv(middle, middle, kernel, stride, groups=middle)] if stride > 1 else []
        self.branch = nn.Sequential(Ghost(inputs, middle), *between, Ghost(middle, outputs, relu=False))
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(_norm_conv(inputs, inputs, kernel, stride, groups=inputs),
                                                                 _norm_conv(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.branch(x) + self.shortcut(x)
        return result


class Shift(nn.Module):
    """Moves each channel by a fixed step up, down, left or right and fills up with zeros: no weights, no multiplications.

    Of C channels, floor(C / k**2) go in each of the k x k directions and those left over stay.  As 1x1 convolutions before and
    behind can reorder channels, which channel goes where is of no importance.  Padding and slices do it: hardware moves
    values and computes nothing.

    Parameters
    ----------
    channels
    kernel
        Side of the square of directions, odd.

    Shapes: input and output (N, channels, H, W).

    Raises
    ------
    CompressionError
        A number is no whole number above 0, the kernel is even, or there are fewer channels than directions.
    """

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        _check(channels=channels)
        self.reach = _padding(kernel)
        each = channels // kernel**2
        if not each:
            raise CompressionError(f"a Shift of kernel {kernel} moves channels in {kernel**2} directions, but there are only "
                                   f"{channels}: take a smaller kernel or more channels")
        moves = list(itertools.product(range(-self.reach, self.reach + 1), repeat=2))
        moves.append(moves.pop(len(moves) // 2))  # those that stay come last, with the ones left over
        #: For each direction: first channel, channel behind the last, rows down, columns to the right.
        self.moves = [(number * each, channels if number == kernel**2 - 1 else (number + 1) * each, *move)
                      for number, move in enumerate(moves)]

    def forward(self, x: Tensor) -> Tensor:
        reach = self.reach
        if not reach:
            return x
        padded = functional.pad(x, (reach, reach, reach, reach))
        # Ends count from behind, so that no size has to be known.
        return torch.cat([padded[:, first:behind, reach - down:-(reach + down) or None, reach - right:-(reach + right) or None]
                          for first, behind, down, right in self.moves], dim=1)

    def extra_repr(self) -> str:
        return f"channels={self.moves[-1][1]}, kernel={2 * self.reach + 1}"


class ShiftUnit(nn.Module):
    """The block of the Shift paper: 1x1 convolution, shift, 1x1 convolution; the sum with its input where shapes agree.

    Weights: C*M + M*D, with M = expansion * D channels in the middle.

    Parameters
    ----------
    inputs, outputs
        Channels.
    expansion
        Channels in the middle per output channel.
    kernel
        Of the shift.
    stride
        Of the second convolution.

    Shapes: input (N, inputs, H, W), output (N, outputs, ceil(H / stride), ceil(W / stride)).

    Raises
    ------
    CompressionError
        As `Shift`.
    """

    def __init__(self, inputs: int, outputs: int, *, expansion: int = 1, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        _check(inputs=inputs, outputs=outputs, expansion=expansion, stride=stride)
        middle = expansion * outputs
        self.branch = nn.Sequential(_norm_conv(inputs, middle), nn.ReLU(), Shift(middle, kernel),
                                    _norm_conv(middle, outputs, stride=stride))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.branch(x)
        return functional.relu(found + x if self.adds else found)


def _norm_conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, _padding(kernel), groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def _padding(kernel: Any) -> int:
    """So that a stride of 1 keeps the size.  Raises CompressionError."""
    if not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0:
        raise CompressionError(f"the kernel of a block must be an odd number above 0, not {kernel}")
    return kernel // 2


def _check(**numbers: Any) -> None:
    """Refuse what is no count.  Raises CompressionError."""
    for what, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CompressionError(f"the {what} of a block must be a whole number above 0, not {value}")

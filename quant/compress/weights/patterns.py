"""N:M sparsity: of each M weights in a row at most N aren't 0, which hardware reads with a fixed number of multipliers.

A group is M consecutive input channels of one output at one position of the kernel, as NVIDIA's sparse tensor cores and
its ASP library have it (2:4): along axis 1 of a weight (outputs, inputs / groups, ...), and so along the reduction axis of a
matrix product whose rows have channels last.  Channels that are no multiple of M end in a shorter group, which counts
as if it were filled up with zeros: it may keep N, too.

A linear layer behind a flatten of (channels, height, width) has channels outermost in PyTorch and innermost in hardware: with its
number of positions, height * width, its groups are those of hardware.

Sources: Mishra and others, "Accelerating Sparse Deep Neural Networks", 2021 (2:4, magnitudes, retraining); Zhou and others,
"Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch", 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import CompressionError
from ..networks import checked_copy, chosen_layers
from .held import Retrain, finished


def pattern_mask(weight: Tensor, n: int, m: int) -> Tensor:
    """The weights that an N:M pattern keeps: of each group the N of greatest magnitude, of equal ones the first.

    No other choice keeps a greater sum of magnitudes, or of squares.

    Parameters
    ----------
    weight : shape (outputs, inputs / groups, ...)
        Of a linear layer or a convolution.
    n, m
        At most n of each m stay, 1 <= n < m.

    Returns
    -------
    bool, shape of `weight`

    Raises
    ------
    CompressionError
        `n` and `m` are no pattern, or `weight` has no input axis.
    """
    groups = _grouped(weight.detach().abs(), n, m, -1.0)  # what fills a short group up is the first to go
    first = torch.argsort(groups, dim=-1, descending=True, stable=True)[..., :n]
    kept = torch.zeros(groups.shape, dtype=torch.bool).scatter_(-1, first, torch.tensor(True).expand(first.shape))
    return kept.flatten(-2)[..., :weight.shape[1]].movedim(-1, 1)


def is_pattern(weight: Tensor, n: int, m: int) -> bool:
    """Whether at most n of each m consecutive input channels of a weight aren't 0.

    Raises
    ------
    CompressionError
        As `pattern_mask`.
    """
    return int(torch.count_nonzero(_grouped(weight.detach(), n, m, 0.0), dim=-1).max()) <= n


def pattern_pruning(network: nn.Module, n: int, m: int, *, layers: Iterable[str] | None = None,
                    positions: Mapping[str, int] | None = None, retrain: Retrain | None = None) -> nn.Module:
    """A copy of a network whose layers keep an N:M pattern of their weights, those of greatest magnitude.

    Layers with no more than n input channels (a first convolution, a depthwise one) have the pattern as they are.

    Parameters
    ----------
    network
    n, m
        At most n of each m consecutive input channels stay, 1 <= n < m: 2 and 4 for NVIDIA's.
    layers
        Names of `Linear`, `Conv1d` and `Conv2d` layers; all by default.
    positions
        Of linear layers behind a flatten, by name: how many positions of each channel it put side by side.  What is pruned so has
        the pattern as ``weight.view(outputs, channels, positions)``.
    retrain
        Called once, with the zeros held.

    Returns
    -------
    The pruned network in evaluation mode, with plain zeros.

    Raises
    ------
    CompressionError
        The network, the pattern or a layer doesn't do; retraining broke the network.
    """
    result = checked_copy(network)
    chosen = chosen_layers(result, layers)
    views = {name: layer.weight for name, layer in chosen.items()}
    for name, count in (positions or {}).items():
        if not isinstance(chosen.get(name), nn.Linear):
            raise CompressionError(f"positions are given for `{name}`, which isn't a linear layer to prune: leave it out")
        if count < 1 or views[name].shape[1] % count:
            raise CompressionError(f"layer `{name}` with {views[name].shape[1]} inputs isn't behind a flatten of channels with "
                                   f"{count} positions each: give height * width there")
        views[name] = views[name].reshape(len(views[name]), -1, count)
    kept = {name: pattern_mask(view, n, m).reshape(chosen[name].weight.shape) for name, view in views.items()}
    with torch.no_grad():
        for name, layer in chosen.items():
            layer.weight.copy_(torch.where(kept[name], layer.weight, 0.0))
    return finished(result, retrain, kept)


def _grouped(weight: Tensor, n: int, m: int, filler: float) -> Tensor:
    """A weight with the input axis last, in groups: shape (outputs, ..., groups, m)."""
    if not all(isinstance(one, int) for one in (n, m)) or not 1 <= n < m:
        raise CompressionError(f"no pattern keeps {n} of each {m} weights: give whole numbers with 1 <= n < m")
    if weight.ndim < 2 or not weight.numel():
        raise CompressionError(f"a weight of shape {tuple(weight.shape)} has no input axis: give one of (outputs, inputs, ...)")
    moved = weight.movedim(1, -1)
    filled = functional.pad(moved, (0, -moved.shape[-1] % m), value=filler)
    return filled.reshape(*filled.shape[:-1], -1, m)

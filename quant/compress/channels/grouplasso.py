"""Structured sparsity by group lasso: whole filters, channels or kernel positions become 0 in training, and channels then go.

Source: Wen and others, "Learning Structured Sparsity in Deep Neural Networks", 2016.  The proximal step: Yuan and Lin, 2006.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from ..errors import CompressionError
from .coupling import couple
from .reconstruction import absorb_means
from .removal import without
from .units import Unit, made_weights, read_weights

Over = Literal["filters", "channels", "shapes"]
_OVER: Final = ("filters", "channels", "shapes")


class GroupLasso:
    """Groups of a network's weights that are to be 0 together.

    Parameters
    ----------
    network
        Its parameters are read, and by `step` changed, in place; any training loop goes on with them.
    images : shape (N, ...)
        One or two samples are enough: they give shapes.
    over
        What the groups are.  `filters`: all weights that make a channel.  `channels`: all weights that read one.  Of coupled
        layers, a residual network's, the weights of all of them are one group, since the channel goes only if all are 0.
        `shapes`: the weights of all filters of a convolution at one input channel and kernel position; they make zeros, which no
        smaller dense layer follows from.

    Raises
    ------
    CompressionError
        As `couple`; nothing or something else is named, or the network has no such groups.
    """

    def __init__(self, network: nn.Module, images: Tensor, *, over: Iterable[Over] = ("filters", "channels")) -> None:
        self.over = tuple(dict.fromkeys(over))
        if not self.over or any(one not in _OVER for one in self.over):
            raise CompressionError(f"groups are over 'filters', 'channels' or 'shapes', some of them, not {self.over}")
        # Of each set of groups: layers, whether their inputs are meant, and the group that each channel is in (-1: none).
        self._sets: list[tuple[int, list[tuple[Any, bool, Tensor]]]] = []
        self._shaped: list[Any] = []
        for group in couple(network, images).groups:
            free = [unit for unit in group.units if not unit.fixed]
            for into in [one == "channels" for one in self.over if one != "shapes"]:
                owners: dict[str, Tensor] = {}
                for position, unit in enumerate(free):
                    for name, indices in (unit.inputs if into else unit.outputs).items():
                        layer = network.get_submodule(name)
                        owner = owners.setdefault(name, torch.full((len(_weights(layer, into)),), -1))
                        owner[list(indices)] = position
                if owners:
                    self._sets.append((len(free), [(network.get_submodule(name), into, owner) for name, owner in owners.items()]))
        if "shapes" in self.over:
            self._shaped = [part for part in network.modules() if isinstance(part, (nn.Conv1d, nn.Conv2d))
                            and math.prod(part.kernel_size) > 1]
        if not self._sets and not self._shaped:
            raise CompressionError(f"{type(network).__name__} has no groups over {' or '.join(self.over)}: none of its channels "
                                   "can go; `quant.compress.channels.couple` says why of each, and pruning by magnitude needs none")

    def norms(self) -> list[Tensor]:
        """Euclidean norms of all groups, differentiable: for each set of coupled channels and each layer's shapes a tensor."""
        squares = [self._squares(size, parts) for size, parts in self._sets]
        squares += [layer.weight.square().sum(dim=0).flatten() for layer in self._shaped]
        # A square root has no slope at 0.
        return [torch.where(one > 0, one, 1.0).sqrt() * (one > 0) for one in squares]

    def penalty(self, strength: float) -> Tensor:
        """To add to the loss: `strength` times the sum of all groups' norms.

        Raises
        ------
        CompressionError
            The strength is below 0.
        """
        _check("strength of the penalty", strength)
        return strength * torch.stack([one.sum() for one in self.norms()]).sum()

    @torch.no_grad()
    def step(self, threshold: float) -> None:
        """The proximal step, after an optimizer's: each group's norm falls by `threshold`, at most to exactly 0.

        With the threshold learning rate x strength, this takes the penalty's place.  Sets of groups follow on each other, so
        with more than one in `over` it is the step of each, not of their sum.

        Raises
        ------
        CompressionError
            The threshold is below 0.
        """
        _check("threshold of the proximal step", threshold)
        for size, parts in self._sets:
            factors = _shrink(self._squares(size, parts).sqrt(), threshold)
            for layer, into, owner in parts:
                weight = _weights(layer, into)
                factor = torch.where(owner >= 0, factors[owner], 1.0)
                weight.mul_(factor.reshape(-1, *[1] * (weight.ndim - 1)))
        for layer in self._shaped:
            layer.weight.mul_(_shrink(layer.weight.square().sum(dim=0).sqrt(), threshold))

    @staticmethod
    def _squares(size: int, parts: list[tuple[Any, bool, Tensor]]) -> Tensor:
        total = torch.zeros(size)
        for layer, into, owner in parts:
            each = _weights(layer, into).square().flatten(1).sum(dim=1)
            total = total.index_add(0, owner[owner >= 0], each[owner >= 0])
        return total


@torch.no_grad()
def remove_zeros(network: nn.Module, images: Tensor) -> nn.Module:
    """A smaller network, without the channels that no layer reads or that no weight makes.

    A channel that all layers read with weights of 0 goes without a change.  One whose filter is 0 is constant behind its bias
    and batch norm: what it adds goes to the biases behind, which is exact but at padded borders.  Each layer keeps at least
    one channel.

    Parameters
    ----------
    network
        It isn't changed.
    images : shape (N, ...)
        Give the constants their values; a few samples are enough.

    Raises
    ------
    CompressionError
        As `couple`.
    """
    coupling = couple(network, images)
    unread, unmade = list[Unit](), list[Unit]()
    for group in coupling.groups:
        left = {name: sum(name in unit.outputs for unit in group.units) for name in group.layers}
        for unit in group.units:
            if unit.fixed or any(left[name] == 1 for name in unit.outputs):
                continue
            if not any(read_weights(network.get_submodule(name))[list(indices)].any() for name, indices in unit.inputs.items()):
                unread.append(unit)
            elif not any(made_weights(network.get_submodule(name))[list(indices)].any() for name, indices in unit.outputs.items()):
                unmade.append(unit)
            else:
                continue
            for name in unit.outputs:
                left[name] -= 1
    ready = copy.deepcopy(network)
    absorb_means(ready, images, unmade)
    return without(ready, images, coupling, unread + unmade)


def _weights(layer: Any, into: bool) -> Tensor:
    """A layer's weights, input or output channels first: a differentiable view."""
    made = made_weights(layer)
    return made.transpose(0, 1) if into else made


def _shrink(norms: Tensor, threshold: float) -> Tensor:
    return torch.where(norms > threshold, 1 - threshold / torch.where(norms > 0, norms, 1.0), 0.0)


def _check(what: str, value: float) -> None:
    if not value >= 0:
        raise CompressionError(f"the {what} must be 0 or more, not {value}")

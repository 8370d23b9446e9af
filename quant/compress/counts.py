"""Parameters and multiply-accumulates of each layer, counted while the network runs once."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from .networks import check_images, forward

_CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class LayerCounts(NamedTuple):
    """What a layer holds and does.

    Members
    -------
    layer
        Its name in the network.
    parameters
        Numbers in its own parameters, biases included.
    macs
        Multiply-accumulates for one sample, of all calls; products with padding count, biases and normalizations don't.
    """

    layer: str
    parameters: int
    macs: int


@torch.no_grad()
def counts(network: nn.Module, x: Tensor) -> list[LayerCounts]:
    """Parameters and multiply-accumulates of each module with parameters, in the network's order; a last entry, `all`, sums up.

    Parameters
    ----------
    network
        Linear and convolutional layers multiply, whatever their groups; other modules count 0.
    x : shape (N, ...)
        Goes through the network once, in evaluation mode.

    Raises
    ------
    CompressionError
        The input is empty, holds numbers that aren't finite, or doesn't go through.
    """
    check_images(network, x)
    owners = {name: part for name, part in network.named_modules() if any(True for _ in part.parameters(recurse=False))}
    macs = dict.fromkeys(owners, 0)

    def watch(name: str) -> Any:
        def count(layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Any) -> None:
            macs[name] += _macs(layer, inputs or tuple(named.values()), output)
        return count

    hooks = [part.register_forward_hook(watch(name), with_kwargs=True) for name, part in owners.items()]
    try:
        forward(network, x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    rows = [LayerCounts(name, sum(one.numel() for one in part.parameters(recurse=False)), macs[name])
            for name, part in owners.items()]
    # A parameter that two modules share is one.
    return [*rows, LayerCounts("all", sum(one.numel() for one in network.parameters()), sum(macs.values()))]


def _macs(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> int:
    if isinstance(layer, nn.Linear):
        return int(output.numel()) * layer.in_features
    if isinstance(layer, _CONVOLUTIONS):  # each output sums one filter
        return int(output.numel()) * layer.weight[0].numel()
    if isinstance(layer, _TRANSPOSED):  # each input spreads one filter
        return inputs[0].numel() * layer.weight[0].numel()
    return 0


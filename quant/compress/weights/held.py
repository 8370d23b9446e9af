"""Retraining a pruned network with its zeros held: what all methods of unstructured pruning end with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from quant.nn.fold import LAYERS as PRUNABLE
from quant.nn.pruning import Density, Scope, finish_pruning, prune

from ..errors import CompressionError
from ..networks import chosen_layers

#: Trains a network in place, by any loop.  It makes its optimizer from the network's parameters as they are then: masked weights
#: are computed from them by `torch.nn.utils.parametrize`.
Retrain = Callable[[nn.Module], None]

_Network = TypeVar("_Network", bound=nn.Module)


def prune_to(network: nn.Module, density: Density, *, scope: Scope = "layer", layers: Iterable[str] | None = None,
             scores: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Make the weights of least score plain zeros, in place, as `quant.nn.prune` chooses them.

    Returns
    -------
    Which weights are kept, bool, by layer.

    Raises
    ------
    CompressionError
        As `prune`; layers share a parameter.
    """
    named = list(density) if isinstance(density, Mapping) else layers
    chosen = chosen_layers(network, named, PRUNABLE)
    try:
        prune(network, density, scope=scope, layers=layers, scores=scores)
    except ValueError as error:
        raise CompressionError(str(error)) from None
    kept = {name: layer.weight_mask.bool() for name, layer in chosen.items()}
    finish_pruning(network)
    return kept


def finished(network: _Network, retrain: Retrain | None, kept: Mapping[str, Tensor] | None = None) -> _Network:
    """The same network in evaluation mode, retrained in place if that is asked for.

    Parameters
    ----------
    network
        With plain zeros.
    retrain
    kept
        Which weights may be other than 0, by layer.  Of layers that it doesn't name, and of all by default, weights that
        are 0 now are held.

    Raises
    ------
    CompressionError
        Retraining moved a zero, took a layer away, or left numbers that aren't finite.
    """
    if retrain is not None:
        held: dict[str, Any] = {name: layer for name, layer in network.named_modules() if isinstance(layer, PRUNABLE)}
        wanted = {name: layer.weight.detach() != 0 for name, layer in held.items()} | dict(kept or {})
        for name, layer in held.items():
            parametrize.register_parametrization(layer, "weight", _Held(wanted[name]))
        retrain(network)
        there = dict(network.named_modules())
        lost = [name for name, layer in held.items()
                if id(there.get(name)) != id(layer) or not parametrize.is_parametrized(layer, "weight")]
        if lost:
            raise CompressionError(f"retraining replaced layer `{lost[0]}` or took its mask away: train the network's parameters "
                                   "in place and leave the rest to pruning")
        for name, layer in held.items():
            parametrize.remove_parametrizations(layer, "weight")
            if bool((layer.weight.detach()[~wanted[name]] != 0).any()):
                raise CompressionError(f"retraining changed the mask of layer `{name}`: load no state into the network that was "
                                       "saved before this round of pruning")
        for name, values in network.named_parameters():
            if not bool(torch.isfinite(values).all()):
                raise CompressionError(f"retraining left `{name}` with numbers that aren't finite: lower its learning rate")
    return network.eval()


class _Held(nn.Module):
    """Weights with zeros: unlike a mask of `torch.nn.utils.prune`, it lets a network be copied while it trains."""

    kept: Tensor

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", kept.clone())

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.kept, weight, 0.0)

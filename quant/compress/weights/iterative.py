"""Iterative magnitude pruning: prune a little, retrain with the zeros held, prune further.

Sources: Han and others, "Learning both Weights and Connections for Efficient Neural Networks", 2015; Frankle and Carbin, "The
Lottery Ticket Hypothesis", 2019 (kept weights go back to where they were before each retraining).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from quant.nn.pruning import Density, Scope

from ..errors import CompressionError
from ..networks import check_part, checked_copy
from .held import Retrain, finished, prune_to


def geometric_densities(density: float, rounds: int) -> list[float]:
    """Densities of pruning rounds, of which each takes away the same part of what is left; the last is `density`.

    Raises
    ------
    CompressionError
        The density isn't in (0, 1], or there are no rounds.
    """
    check_part("the density", density)
    if rounds < 1:
        raise CompressionError(f"pruning takes 1 round or more, not {rounds}")
    return [*(density ** (number / rounds) for number in range(1, rounds)), density]


def iterative_pruning(network: nn.Module, densities: Sequence[Density], retrain: Retrain, *, scope: Scope = "layer",
                      layers: Iterable[str] | None = None, rewind: nn.Module | None = None) -> nn.Module:
    """A copy of a network, pruned by magnitude in rounds, retrained after each.

    Parameters
    ----------
    network
    densities
        Part of the weights to keep after each round, each in (0, 1] and none above the one before; `geometric_densities`
        makes some.  An entry may be a mapping that gives each layer it names its own.
    retrain
        Called after each round; whatever it does, pruned weights are 0 in each forward pass.
    scope, layers
        As `quant.nn.prune`.  With the scope `global`, rounds may starve a layer whose weights stay small while others grow:
        look at `density_report`.
    rewind
        A network of the same form, as it was before or early in training.  After each round all parameters and
        statistics become as in it, pruned weights aside, so that what is trained is its sparse subnetwork.

    Returns
    -------
    The pruned network in evaluation mode, with plain zeros.

    Raises
    ------
    CompressionError
        The network, a density or a layer doesn't do; densities rise; `rewind` has another form; retraining broke the
        network.
    """
    result = checked_copy(network)
    if not densities:
        raise CompressionError("iterative pruning needs the densities of its rounds: give at least one")
    layers = layers if layers is None or isinstance(layers, str) else list(layers)
    _check_falling(densities)
    start = None if rewind is None else _values(checked_copy(rewind))
    if start is not None and {name: one.shape for name, one in start.items()} != {
            name: one.shape for name, one in _values(result).items()}:
        raise CompressionError(f"the network to rewind to, a {type(rewind).__name__}, has other parameters than the "
                               f"{type(network).__name__} to prune: give the same network as it was earlier")
    for density in densities:
        kept = prune_to(result, density, scope=scope, layers=layers)
        if start is not None:
            _rewind(result, start, kept)
        result = finished(result, retrain, kept)
    return result


def _check_falling(densities: Sequence[Density]) -> None:
    """Refuse densities that rise: what is pruned stays pruned.  Raises CompressionError."""
    last: dict[str, float] = {}
    for number, density in enumerate(densities, 1):
        rounds: Mapping[str, Any] = density if isinstance(density, Mapping) else {"": density}
        for name, value in rounds.items():
            where = f" of layer `{name}`" if name else ""
            check_part(f"the density{where} in round {number}", value)
            if value > last.get(name, 1.0):
                raise CompressionError(f"the density{where} rises from {last[name]} to {value} in round {number}: what is pruned "
                                       "stays pruned, so let densities fall")
            last[name] = value


def _values(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


@torch.no_grad()
def _rewind(network: nn.Module, start: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    for name, value in _values(network).items():
        value.copy_(start[name])
    for name, one in kept.items():
        network.get_parameter(f"{name}.weight" if name else "weight").mul_(one).add_(0.0)  # -0.0 becomes 0.0

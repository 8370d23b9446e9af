"""Magnitude pruning: the smallest weights become 0 and stay 0, at once or along a schedule, per layer or over all layers.

Masks are those of `torch.nn.utils.prune`: while a layer is masked, its parameter is `weight_orig` and `weight` is that times
`weight_mask`, so whatever an optimizer does (momentum, weight decay), a pruned weight is exactly 0 in every forward pass.

Sources: Han and others, "Learning both Weights and Connections for Efficient Neural Networks", 2015 (magnitudes, retraining);
Zhu and Gupta, "To prune, or not to prune", 2017 (the cubic schedule).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as masks

from .layers import QuantWeights

Scope = Literal["layer", "global"]
#: One number for all layers, or one for each layer by its name.
Density = float | Mapping[str, float]

_PRUNABLE: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


class LayerDensity(NamedTuple):
    """How many weights a layer has, and how many of them aren't 0.

    Members
    -------
    layer
        Its name in the network.
    weights, nonzeros
        Counts.  Of a layer with a quantizer, what the quantizer makes of the weights counts.
    """

    layer: str
    weights: int
    nonzeros: int

    @property
    def density(self) -> float:
        """Nonzeros as a part of all weights."""
        return self.nonzeros / self.weights


@torch.no_grad()
def density_report(network: nn.Module) -> list[LayerDensity]:
    """Weights and nonzeros of each linear and convolutional layer, in the network's order; a last entry, `all`, sums them up.

    Raises
    ------
    ValueError
        The network has no such layer.
    """
    rows = []
    for name, layer in _layers(network, None).items():
        weight = _weight(layer)
        if isinstance(layer, QuantWeights):
            weight = layer.weight_quant(weight)
        rows.append(LayerDensity(name, weight.numel(), int(torch.count_nonzero(weight))))
    return [*rows, LayerDensity("all", sum(one.weights for one in rows), sum(one.nonzeros for one in rows))]


@torch.no_grad()
def prune(network: nn.Module, density: Density, *, scope: Scope = "layer", layers: Iterable[str] | None = None,
          scores: Mapping[str, Tensor] | None = None) -> None:
    """Mask the weights of least magnitude, or of least score, in place; biases stay.

    Of n weights, density * n are kept, rounded to the nearest number (a half: up) and at least 1; of equal magnitudes, those
    that come first.  What was pruned before stays pruned, and a density above the present one changes nothing.  The
    parameters stay the same objects, so that an optimizer of the network goes on.

    Parameters
    ----------
    network
        Any module with linear and convolutional layers, in float or with quantizers for which 0 is 0.  Weights that have
        shared codes (`share_weights`) can't be pruned any more.
    density
        Part of the weights to keep, in (0, 1].  A mapping gives each layer that it names its own, and leaves others alone.
    scope
        `layer`: each layer gets the density.  `global`: all layers together do, by one threshold, whatever that leaves of
        each.
    layers
        Names of the layers to prune; all by default.
    scores
        What each weight is worth, by layer, of the weights' shapes, 0 or more; their magnitudes by default.

    Raises
    ------
    ValueError
        A density or a score is out of range, a layer isn't there or can't be pruned, or there is none at all.
    """
    chosen, densities = _targets(network, density, scope, layers)
    worth = {name: _scores(name, layer, scores) for name, layer in chosen.items()}
    if scope == "global":
        kept = _largest(torch.cat([one.flatten() for one in worth.values()]), next(iter(densities.values())))
        parts = torch.split(kept, [one.numel() for one in worth.values()])
        found = {name: part.view_as(one) for (name, one), part in zip(worth.items(), parts, strict=True)}
    else:
        found = {name: _largest(one, densities[name]) for name, one in worth.items()}
    for name, layer in chosen.items():
        _tighten(layer, found[name])


def finish_pruning(network: nn.Module) -> None:
    """Make plain parameters with zeros of masked weights, in place: for saving, sharing, `quantize` and export.

    Training from then on moves the zeros, too, unless the weights have shared codes.  To hold them again:
    ``prune(network, {one.layer: one.density for one in density_report(network)[:-1]})``.
    """
    for layer in network.modules():
        if isinstance(layer, _PRUNABLE) and _is_masked(layer):
            masks.remove(layer, "weight")  # type: ignore[no-untyped-call]  # torch leaves it untyped
            with torch.no_grad():
                layer.weight += 0.0  # a negative number times 0 was -0.0


def cubic_density(step: int, *, begin: int, end: int, final: float, initial: float = 1.0) -> float:
    """Density at a step: falls from `initial` at `begin` to `final` at `end`, fast first, then ever slower.

    With p = (step - begin) / (end - begin): final + (initial - final) * (1 - p)**3.  Source: Zhu and Gupta, 2017.

    Raises
    ------
    ValueError
        `end` isn't behind `begin`, or a density is out of range.
    """
    if end <= begin:
        raise ValueError(f"pruning must end behind the step where it begins, {begin}, not at step {end}")
    for one in (initial, final):
        _check_density(one)
    if step >= end:  # exactly
        return final
    left = (end - max(step, begin)) / (end - begin)
    return final + (initial - final) * left**3


class GradualPruning:
    """Pruning while training: `step` is called after each optimizer step and tightens the masks along `cubic_density`.

    Parameters
    ----------
    network, density, scope, layers
        As `prune`; the density is the one to end with.
    begin, end
        Steps of the optimizer, the first one being step 1.
    every
        Steps from one pruning to the next, between which the network recovers.
    initial
        Density to begin with: of a network that is pruned already, the present one.

    Raises
    ------
    ValueError
        As `prune` and `cubic_density`; `every` is below 1.
    """

    def __init__(self, network: nn.Module, density: Density, *, end: int, begin: int = 0, every: int = 1, initial: float = 1.0,
                 scope: Scope = "layer", layers: Iterable[str] | None = None) -> None:
        chosen, self.final = _targets(network, density, scope, layers)
        for name, layer in chosen.items():
            _scores(name, layer)  # tells now what can't be pruned
        if every < 1:
            raise ValueError(f"the steps from one pruning to the next must be 1 or more, not {every}")
        cubic_density(0, begin=begin, end=end, final=1.0, initial=initial)
        self.network, self.scope, self.begin, self.end, self.every, self.initial = network, scope, begin, end, every, initial
        self.steps = 0

    def step(self) -> None:
        """Count an optimizer step and prune if it is time."""
        self.steps += 1
        if self.begin <= self.steps <= self.end and (self.steps == self.end or (self.steps - self.begin) % self.every == 0):
            now = {name: cubic_density(self.steps, begin=self.begin, end=self.end, final=final, initial=self.initial)
                   for name, final in self.final.items()}
            if self.scope == "global":
                prune(self.network, next(iter(now.values())), scope="global", layers=now)
            else:
                prune(self.network, now)


def _targets(network: nn.Module, density: Density, scope: Scope,
             names: Iterable[str] | None) -> tuple[dict[str, Any], dict[str, float]]:
    """The layers to prune, by name, and the density of each."""
    if scope not in ("layer", "global"):
        raise ValueError(f"the scope of pruning is 'layer' or 'global', not {scope!r}")
    if isinstance(density, Mapping):
        if scope == "global" or names is not None:
            raise ValueError("densities by layer name the layers, one density for each: give neither layers nor the scope 'global'")
        names = density
    elif isinstance(names, str):
        names = [names]
    layers = _layers(network, names)
    densities = {name: density[name] if isinstance(density, Mapping) else density for name in layers}
    for name, one in densities.items():
        _check_density(one, f" of layer `{name}`" if isinstance(density, Mapping) else "")
    return layers, densities


def _check_density(density: Any, where: str = "") -> None:
    if isinstance(density, bool) or not isinstance(density, (int, float)) or not 0 < density <= 1:
        raise ValueError(f"the density{where} must be above 0 and at most 1, the part of the weights to keep, not {density}")


def _layers(network: nn.Module, names: Iterable[str] | None) -> dict[str, Any]:
    found: dict[str, Any] = {name: layer for name, layer in network.named_modules() if isinstance(layer, _PRUNABLE)}
    if not found:
        raise ValueError(f"{type(network).__name__} has no layers to prune: none in it is linear or convolutional")
    if names is None:
        return found
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        if name not in found:
            raise ValueError(f"{type(network).__name__} has no linear or convolutional layer `{name}`; it has "
                             + ", ".join(f"`{one}`" for one in found))
    if not chosen:
        raise ValueError("no layer to prune was named; leave the names out to prune all")
    return {name: layer for name, layer in found.items() if name in chosen}  # in the network's order


def _is_masked(layer: Any) -> bool:
    return hasattr(layer, "weight_mask")


def _weight(layer: Any) -> Tensor:
    """The weights as the next forward pass has them: `layer.weight` of a masked layer is those of the last one."""
    weight: Tensor = layer.weight_orig * layer.weight_mask if _is_masked(layer) else layer.weight
    return weight


def _scores(name: str, layer: Any, given: Mapping[str, Tensor] | None = None) -> Tensor:
    """Magnitudes, or what is given; below all of them for weights that are pruned already."""
    if "weight" not in layer._parameters and not _is_masked(layer):
        raise ValueError(f"layer `{name}` computes its weights from others: before it is pruned, call "
                         "torch.nn.utils.parametrize.remove_parametrizations on it")
    weight = _weight(layer).detach()
    if not bool(torch.isfinite(weight).all()):
        raise ValueError(f"layer `{name}` holds {weight[~torch.isfinite(weight)][0].item()}: weights must be finite to be pruned")
    if isinstance(layer, QuantWeights):
        _check_zero_stays(name, layer, weight)
    worth = weight.abs()
    if given is not None:
        if name not in given or given[name].shape != weight.shape:
            raise ValueError(f"layer `{name}` needs scores of shape {tuple(weight.shape)}: give one for each of its weights")
        worth = given[name].detach()
        if not bool(torch.isfinite(worth).all() & (worth >= 0).all()):
            raise ValueError(f"the scores of layer `{name}` must be finite and 0 or more")
    return torch.where(layer.weight_mask != 0, worth, -1.0) if _is_masked(layer) else worth


def _check_zero_stays(name: str, layer: QuantWeights, weight: Tensor) -> None:
    """Refuse a quantizer that makes another number of a weight that becomes 0.  Raises ValueError."""
    probe = weight.flatten().clone()
    at = int(torch.where(probe != 0, probe.abs(), torch.inf).argmin())
    probe[at] = 0.0
    with torch.no_grad():
        value = float(layer.weight_quant(probe.view_as(weight)).flatten()[at])
    if value != 0:
        raise ValueError(f"layer `{name}` can't be pruned: its quantizer {type(layer.weight_quant).__name__} makes {value:g} of a "
                         "weight of 0; prune before weights are shared, with a quantizer that has the level 0")


def _largest(scores: Tensor, density: float) -> Tensor:
    """Which scores are among the largest, bool, shape of `scores`; none below 0."""
    count = max(1, math.floor(density * scores.numel() + 0.5))
    kept = torch.zeros(scores.numel(), dtype=torch.bool)
    kept[torch.argsort(scores.flatten(), descending=True, stable=True)[:count]] = True
    return kept.view_as(scores) & (scores >= 0)


def _tighten(layer: Any, kept: Tensor) -> None:
    """Mask all that isn't kept."""
    if not _is_masked(layer):
        masks.custom_from_mask(layer, "weight", kept)  # type: ignore[no-untyped-call]
        return
    # torch would keep the former masks in a list.
    layer.weight_mask.copy_(kept)
    layer.weight = layer.weight_orig * layer.weight_mask

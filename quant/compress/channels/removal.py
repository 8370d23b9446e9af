"""Channels taken out of networks: what is left is smaller and dense, and computes what the network did without them.

Which channels go is for scores to say (`criteria`, or any others), by layer or over all layers, for a part of the channels or
of the multiply-accumulates; channels that are coupled, by a residual addition for example, go together or stay (`coupling`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from ..counts import counts
from ..errors import CompressionError
from ..networks import check_part
from .coupling import Coupling, Group, couple
from .units import Unit, check_cut, cut, listed, made_weights, read_weights

Scope = Literal["layer", "global"]
#: One number for all layers, or one for each layer by its name.
Keep = float | Mapping[str, float]
Scores = Mapping[str, Tensor]

_SLACK: Final = 1e-9  # of a budget of MACs: 0.1 + 0.2 is within 0.3


@dataclass(frozen=True)
class _Pool:
    """Units that are chosen among, best first, the first `least` of which stay in any case."""

    units: list[Unit]
    least: int

    def beyond(self, part: float) -> list[Unit]:
        """The units that go if a part stays."""
        return self.units[max(self.least, rounded(part * len(self.units))):]


def remove(network: nn.Module, images: Tensor, kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """A smaller network, of the channels that are kept.

    It computes what the network does if the weights that read the other channels are 0.

    Parameters
    ----------
    network
        It isn't changed.
    images : shape (N, ...)
        One or two samples are enough: they give shapes.
    kept
        For each layer to prune, the indices of the output channels to keep, in any order.  Layers that aren't named keep
        all.  Layers whose channels are coupled are named together, with the same channels.

    Raises
    ------
    CompressionError
        A layer isn't there, its channels can't go (the network's outputs, grouped convolutions) or only with those of other
        layers; no channel would stay.
    """
    coupling = couple(network, images)
    return without(network, images, coupling, _dropped(coupling, kept))


def without(network: nn.Module, images: Tensor, coupling: Coupling, dropped: Iterable[Unit]) -> nn.Module:
    """A smaller network, without some of its units; checked.

    Raises
    ------
    CompressionError
        The network's forward function depends on them.
    """
    gone = list(dropped)
    check_cut(network, images, gone)
    return cut(network, gone)


def keep_channels(network: nn.Module, images: Tensor, scores: Scores, *, keep: Keep | None = None, scope: Scope = "layer",
                  macs: float | None = None) -> nn.Module:
    """A smaller network, of the channels with the largest scores.

    Coupled channels count as one, whose score is the mean of theirs.  Of equal scores, those that come first stay.  Each
    layer keeps at least one channel.

    Parameters
    ----------
    network, images
        As `remove`.
    scores
        For each layer to prune, one score per output channel, shape (channels,).
    keep
        Part of the channels to keep, in (0, 1], rounded to the nearest number (a half: up).  A mapping gives each layer that it
        names its own, of coupled layers any one, and leaves others alone.
    scope
        `layer`: each layer keeps that part.  `global`: all layers with scores together do, by one threshold, so scores of
        different layers must be comparable.
    macs
        Instead of `keep`: part of the network's multiply-accumulates that may remain, in (0, 1]; as many channels stay as fit.

    Raises
    ------
    CompressionError
        A budget is out of range or can't be met; scores aren't finite, don't fit their layer, or are of a layer that can't be
        pruned.
    """
    coupling = couple(network, images)
    return without(network, images, coupling, choose(network, images, coupling, scores, keep=keep, scope=scope, macs=macs))


def choose(network: nn.Module, images: Tensor, coupling: Coupling, scores: Scores, *, keep: Keep | None = None,
           scope: Scope = "layer", macs: float | None = None) -> list[Unit]:
    """The units to drop; parameters and errors as `keep_channels`."""
    if scope not in ("layer", "global"):
        raise CompressionError(f"the scope is 'layer' or 'global', not {scope!r}")
    if (keep is None) == (macs is None):
        raise CompressionError(f"give either keep or macs, the part of channels or of multiply-accumulates to keep, not "
                               f"{'both' if macs is not None else 'neither'}")
    ranked = _ranked(coupling, scores)
    if scope == "global":
        if isinstance(keep, Mapping):
            raise CompressionError("parts by layer name the layers, one part for each: they don't go with the scope 'global'")
        pools = [_by_score([pair for pairs in ranked.values() for pair in pairs])]
    else:
        pools = [_by_score(pairs) for pairs in ranked.values()]
    if macs is not None:
        return _within(network, images, coupling, pools, macs)
    if isinstance(keep, Mapping):
        parts = parts_by_group(coupling, keep)
        for group in parts:
            if group not in ranked:
                raise CompressionError(f"there are no scores of {listed(group.layers)}, of which a part of the channels is to "
                                       "stay: give scores of each, or leave it out")
        return [unit for group, pool in zip(ranked, pools, strict=True) if group in parts for unit in pool.beyond(parts[group])]
    check_part("keep, the part of the channels to keep,", keep)
    assert isinstance(keep, (int, float))
    size = len(pools[0].units)
    if scope == "global" and rounded(keep * size) < pools[0].least:
        raise CompressionError(f"keep {keep} leaves {rounded(keep * size)} of {size} channels, but each layer keeps at least one: "
                               f"keep at least {_up(pools[0].least / size)}, or give scores of fewer layers")
    return [unit for pool in pools for unit in pool.beyond(keep)]


def parts_by_group(coupling: Coupling, keep: Keep, groups: Iterable[Group] | None = None) -> dict[Group, float]:
    """What part of its units each group is to keep.

    Parameters
    ----------
    coupling
    keep
        As `keep_channels`.
    groups
        Those that one number is for.

    Raises
    ------
    CompressionError
        A part is out of range, coupled layers are given different ones, or a layer can't be pruned.
    """
    if not isinstance(keep, Mapping):
        check_part("keep, the part of the channels to keep,", keep)
        return dict.fromkeys(groups or (), keep)
    parts: dict[Group, float] = {}
    for layer, part in keep.items():
        group = coupling.group_of(layer)
        check_part(f"keep of layer `{layer}`, the part of its channels to keep,", part)
        check_free(layer, group)
        if parts.setdefault(group, part) != part:
            raise CompressionError(f"layer `{layer}` is to keep {part} of its channels, but they are coupled with those of other "
                                   f"layers that keep {parts[group]}: give {listed(group.layers)} the same part")
    if not parts:
        raise CompressionError("no layer to prune was named: give one number to prune all")
    return parts


def check_free(layer: str, group: Group) -> None:
    """Refuse a layer of which no channel can go.  Raises CompressionError."""
    mine = [unit for unit in group.units if layer in unit.outputs]
    if all(unit.fixed for unit in mine):
        raise CompressionError(f"the channels of layer `{layer}` can't go, because {mine[0].fixed}: leave the layer out")


def free_units(group: Group) -> list[Unit]:
    """The units that can go, in order."""
    return [unit for unit in group.units if not unit.fixed]


def rounded(number: float) -> int:
    """To the nearest whole number; a half goes up."""
    return math.floor(number + 0.5)


def remaining_macs(network: nn.Module, images: Tensor, coupling: Coupling) -> Callable[[Iterable[Unit]], float]:
    """A function of units that are dropped: the multiply-accumulates for one sample then.

    Nothing is run for it but the network once: a layer does as a part of its work what stays of its outputs times what stays
    of its inputs.
    """
    whole = {row.layer: row.macs for row in counts(network, images)[:-1] if row.macs}
    layers: dict[str, Any] = {name: network.get_submodule(name) for name in whole}

    def macs(dropped: Iterable[Unit]) -> float:
        made, read = dict.fromkeys(whole, 0), dict.fromkeys(whole, 0)
        for unit in dropped:
            for part, lost in ((unit.outputs, made), (unit.followers, made), (unit.inputs, read)):
                for name, indices in part.items():
                    if name in lost:
                        lost[name] += len(indices)
        total = 0.0
        for name, layer in layers.items():
            outputs, inputs = len(made_weights(layer)), len(read_weights(layer))
            total += whole[name] * (outputs - made[name]) / outputs * (inputs - read[name]) / inputs
        return total
    return macs


def _within(network: nn.Module, images: Tensor, coupling: Coupling, pools: list[_Pool], part: float) -> list[Unit]:
    """What to drop so that a part of the multiply-accumulates remains: the pools shrink together, by bisection."""
    check_part("macs, the part of multiply-accumulates to keep,", part)
    macs = remaining_macs(network, images, coupling)
    # Each step of this staircase takes one unit more out of a pool.
    stairs = sorted({(count - 0.5) / len(pool.units) for pool in pools for count in range(1, len(pool.units) + 1)} | {0.0})

    def dropped(stair: float) -> list[Unit]:
        return [unit for pool in pools for unit in pool.beyond(stair + _SLACK)]

    whole = macs([])
    if macs(dropped(stairs[0])) > part * whole * (1 + _SLACK):
        least = macs(dropped(stairs[0])) / whole
        raise CompressionError(f"macs {part} can't be met: with one channel in each layer that has scores, {_up(least)} of the "
                               "multiply-accumulates remain; allow more, or give scores of more layers")
    low, high = 0, len(stairs)  # low fits, high doesn't
    while high - low > 1:
        middle = (low + high) // 2
        if macs(dropped(stairs[middle])) <= part * whole * (1 + _SLACK):
            low = middle
        else:
            high = middle
    return dropped(stairs[low])


def _ranked(coupling: Coupling, scores: Scores) -> dict[Group, list[tuple[float, Unit]]]:
    """Units that can go with their scores, by groups; with the greatest for those that can't."""
    if not scores:
        raise CompressionError("there are no scores to choose channels by: give some for at least one layer")
    for name, values in scores.items():
        group = coupling.group_of(name)
        check_free(name, group)
        size = coupling.sizes[name]
        if not isinstance(values, Tensor) or values.shape != (size,):
            what = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise CompressionError(f"the scores of layer `{name}` must be a tensor of shape ({size},), one per output channel, not "
                                   f"{what}")
        if not bool(torch.isfinite(values).all()):
            raise CompressionError(f"the scores of layer `{name}` hold {values[~torch.isfinite(values)][0].item()}: they must be "
                                   "finite")
    return {group: _scored(group, scores) for group in coupling.groups if any(name in scores for name in group.layers)}


def _scored(group: Group, scores: Scores) -> list[tuple[float, Unit]]:
    pairs = []
    for unit in group.units:
        given = [float(scores[name].detach().double()[list(indices)].mean()) for name, indices in unit.outputs.items()
                 if name in scores]
        # Channels that nobody scored, of a layer that others are only partly coupled with, stay.
        pairs.append((sum(given) / len(given) if given and not unit.fixed else math.inf, unit))
    return pairs


def _by_score(pairs: list[tuple[float, Unit]]) -> _Pool:
    """Units, best first; before all others come those without a score and the best of each layer."""
    order = sorted(pairs, key=lambda pair: -pair[0])
    covered: set[str] = set()
    first, rest = list[Unit](), list[Unit]()
    for score, unit in order:
        (first if score == math.inf or set(unit.outputs) - covered else rest).append(unit)
        covered |= set(unit.outputs)
    return _Pool(first + rest, len(first))


def _up(part: float) -> float:
    return math.ceil(part * 1e4) / 1e4


def _dropped(coupling: Coupling, kept: Mapping[str, Sequence[int]]) -> list[Unit]:
    """Units that lose all their channels; refuses those that would lose some.  Raises CompressionError."""
    stays: dict[str, set[int]] = {}
    for name, chosen in kept.items():
        check_free(name, coupling.group_of(name))
        size = coupling.sizes[name]
        stays[name] = {int(index) for index in chosen}
        if not stays[name]:
            raise CompressionError(f"layer `{name}` would lose all its channels: keep at least one of {size}")
        outside = [index for index in stays[name] if not 0 <= index < size]
        if outside:
            raise CompressionError(f"layer `{name}` has no output channel {outside[0]}: its {size} channels count from 0")
    dropped = []
    for name in stays:
        for unit in coupling.group_of(name).units:
            gone = {one: [index for index in ours if one in stays and index not in stays[one]]
                    for one, ours in unit.outputs.items()}
            if unit in dropped or not gone.get(name):
                continue
            if unit.fixed:
                raise CompressionError(f"channel {gone[name][0]} of layer `{name}` can't go, because {unit.fixed}: keep it")
            partial = [one for one, ours in unit.outputs.items() if len(gone[one]) < len(ours)]
            if partial:
                where = ", ".join(f"{one} of `{layer}`" for layer in partial for one in unit.outputs[layer])
                raise CompressionError(f"channel {gone[name][0]} of layer `{name}` can't go alone, because it is coupled (by an "
                                       f"addition or the like) with channel {where}: take those out, too, by giving the channels "
                                       f"to keep for each of {listed(unit.outputs)}")
            dropped.append(unit)
    return dropped

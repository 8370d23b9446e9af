"""Channels chosen by what the layers that read them make of them, and those layers fitted anew by least squares.

What LASSO channel pruning and ThiNet share: layer by layer, the inputs are those of the network pruned so far, and the outputs
to be kept are those of the original network, so errors don't pile up.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import CompressionError
from ..networks import LAYERS
from ..recorded import outputs_of, record_inputs, weight_rows
from .coupling import Coupling, Group, couple, prunable_layers
from .removal import Keep, check_free, parts_by_group, rounded, without
from .units import Unit, listed, silence

Refit = Literal["weights", "scale"]


@dataclass(frozen=True)
class Reading:
    """A layer that reads channels, with samples.

    Members
    -------
    layer
    inputs : float64, shape (rows, inputs)
        Of the network pruned so far.
    outputs : float64, shape (rows, outputs)
        Of the original network, at the same places.
    """

    layer: Any
    inputs: Tensor
    outputs: Tensor

    def columns(self, unit: Unit, name: str) -> list[int]:
        """Which inputs a unit is, in the layer of this name."""
        taps = math.prod(self.layer.weight.shape[2:])
        return [index * taps + tap for index in unit.inputs.get(name, ()) for tap in range(taps)]


@dataclass(frozen=True)
class Evidence:
    """What units add to outputs of the layers that read them, as moments.

    With z_u what unit u adds to all outputs in all rows, and y what all units together should add:

    Members
    -------
    gram : float64, shape (units, units)
        Products z_u * z_v, summed.
    wanted : float64, shape (units,)
        Products z_u * y, summed.
    """

    gram: Tensor
    wanted: Tensor


#: Of the evidence and how many units are to stay: indices of those that stay.
Pick = Callable[[Evidence, int], list[int]]


def evidence_of(reading: Reading, name: str, units: list[Unit]) -> Evidence:
    """The moments of units at one layer that reads them.

    A layer with a bias can make up for means, so they don't count there.
    """
    weight = weight_rows(reading.layer)[0].double()
    owner = torch.full((weight.shape[1],), -1)
    for position, unit in enumerate(units):
        owner[reading.columns(unit, name)] = position
    mine = owner >= 0
    x, w = reading.inputs[:, mine], weight[:, mine]
    y = reading.outputs - reading.inputs[:, ~mine] @ weight[:, ~mine].T
    if reading.layer.bias is not None:
        y = y - y.mean(dim=0)
        x = x - x.mean(dim=0)
    # z_u * z_v is the sum over inputs i of u and j of v of (x_i * x_j) (w_i * w_j).
    pairs = (x.T @ x) * (w.T @ w)
    rows = torch.zeros(len(units), len(pairs), dtype=torch.float64).index_add_(0, owner[mine], pairs)
    gram = torch.zeros(len(units), len(units), dtype=torch.float64).index_add_(1, owner[mine], rows)
    single = ((x.T @ y) * w.T).sum(dim=1)
    return Evidence(gram, torch.zeros(len(units), dtype=torch.float64).index_add_(0, owner[mine], single))


@torch.no_grad()
def refit_weights(reading: Reading, used: Tensor) -> None:
    """Give a layer, in place, the weights (and bias, if it has one) of least squared error; inputs that aren't used get 0.

    Of equally good weights, those closest to the present ones.
    """
    layer = reading.layer
    weight = weight_rows(layer)[0].double() * used
    bias = torch.zeros(len(weight), dtype=torch.float64) if layer.bias is None else layer.bias.double()
    error = reading.outputs - reading.inputs @ weight.T - bias
    inputs = reading.inputs[:, used]
    if layer.bias is not None:
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)
    change = torch.linalg.lstsq(inputs, error, driver="gelsd").solution.T
    if layer.bias is not None:
        layer.bias += change[:, -1]
        change = change[:, :-1]
    weight[:, used] += change
    layer.weight.copy_(weight.reshape(layer.weight.shape))


@torch.no_grad()
def refit_scale(reading: Reading, name: str, units: list[Unit]) -> None:
    """Multiply, in place, what a layer reads of each unit by the number of least squared error; a bias takes up means."""
    layer = reading.layer
    here = [unit for unit in units if name in unit.inputs]
    evidence = evidence_of(reading, name, here)
    ones = torch.ones(len(here), 1, dtype=torch.float64)
    change = torch.linalg.lstsq(evidence.gram, evidence.wanted[:, None] - evidence.gram @ ones, driver="gelsd").solution
    weight = weight_rows(layer)[0].double().clone()
    for unit, factor in zip(here, (ones + change)[:, 0], strict=True):
        weight[:, reading.columns(unit, name)] *= factor
    layer.weight.copy_(weight.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_((reading.outputs - reading.inputs @ weight_rows(layer)[0].double().T).mean(dim=0))


@torch.no_grad()
def absorb_means(network: nn.Module, images: Tensor, units: list[Unit]) -> None:
    """Add, in place, what units add to outputs on the mean to the biases of the layers that read them.

    If the units are constant, this is exact but at padded borders.  A layer without a bias gets one if there is something to
    add.  Transposed convolutions are left alone.
    """
    names = dict.fromkeys(name for unit in units for name in unit.inputs)
    readers = [name for name in names if isinstance(network.get_submodule(name), LAYERS)]
    for name, rows in (record_inputs(network, images, readers).items() if readers else ()):
        layer: Any = network.get_submodule(name)
        columns = [column for unit in units for column in Reading(layer, rows, rows).columns(unit, name)]
        added = weight_rows(layer)[0, :, columns].double() @ rows[0].double().mean(dim=0)[columns]
        if layer.bias is None and added.any():
            layer.bias = nn.Parameter(torch.zeros(len(added), dtype=layer.weight.dtype))
        if layer.bias is not None:
            layer.bias += added


def prune_by_reading(network: nn.Module, images: Tensor, keep: Keep, pick: Pick, refit: Refit, *, rows: int,
                     seed: int) -> nn.Module:
    """A smaller network, layer by layer; parameters and errors as `prune_by_lasso`.  `pick` chooses the units that stay."""
    if refit not in ("weights", "scale"):
        raise CompressionError(f"the refit is 'weights' or 'scale', not {refit!r}")
    coupling = couple(network, images)
    parts = _parts(network, coupling, keep)
    current = copy.deepcopy(network)
    dropped: list[Unit] = []
    again: dict[str, None] = {}
    for group, part in parts.items():
        free = [unit for unit in group.units if not unit.fixed]
        fixed = len(group.units) - len(free)
        count = max(rounded(part * len(group.units)) - fixed, 0 if fixed else 1)
        if count >= len(free):
            continue
        readings = _readings(network, current, images, group.readers, rows, seed)
        picked = set(pick(_together(readings, free), count))
        gone = [unit for position, unit in enumerate(free) if position not in picked]
        _check_left(group, gone, part)
        silence(current, gone)
        dropped += gone
        for name, reading in readings.items():
            if refit == "scale":
                refit_scale(reading, name, [unit for unit in group.units if unit not in gone])
            else:
                refit_weights(reading, _used(reading, name, dropped))
        if len(group.readers) > 1:
            again |= dict.fromkeys(group.readers)
    if refit == "weights":
        # A layer deep in a network that reads what an early one wrote was fitted before layers between them changed.
        for name in [name for name in _in_order(current) if name in again]:
            reading = _readings(network, current, images, (name,), rows, seed)[name]
            refit_weights(reading, _used(reading, name, dropped))
    return without(current, images, coupling, dropped)


def _in_order(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_modules()]


def _readings(network: nn.Module, current: nn.Module, images: Tensor, names: tuple[str, ...], rows: int,
              seed: int) -> dict[str, Reading]:
    before, now = (record_inputs(one, images, names, rows=rows, seed=seed) for one in (network, current))
    return {name: Reading(current.get_submodule(name), now[name][0].double(),
                          outputs_of(network.get_submodule(name), before[name].double())) for name in names}  # type: ignore[arg-type]


def _together(readings: dict[str, Reading], units: list[Unit]) -> Evidence:
    """Evidence of all layers that read the units, each layer's in units of its outputs' energy."""
    gram = torch.zeros(len(units), len(units), dtype=torch.float64)
    wanted = torch.zeros(len(units), dtype=torch.float64)
    for name, reading in readings.items():
        energy = float((reading.outputs - reading.outputs.mean(dim=0)).square().sum()) or 1.0
        one = evidence_of(reading, name, units)
        gram += one.gram / energy
        wanted += one.wanted / energy
    return Evidence(gram, wanted)


def _used(reading: Reading, name: str, dropped: list[Unit]) -> Tensor:
    used = torch.ones(reading.inputs.shape[1], dtype=torch.bool)
    for unit in dropped:
        used[reading.columns(unit, name)] = False
    return used


def _parts(network: nn.Module, coupling: Coupling, keep: Keep) -> dict[Group, float]:
    """Part of the units that each group keeps, in the network's order."""

    def readable(group: Group) -> bool:
        return all(isinstance(network.get_submodule(name), LAYERS) for name in group.readers) and bool(group.readers)

    able = [group for group in coupling.groups if readable(group) and any(not unit.fixed for unit in group.units)]
    parts = parts_by_group(coupling, keep, able)
    for group in parts:
        check_free(group.layers[0], group)
        if group not in able:
            raise CompressionError(f"what {listed(group.readers)} read of {listed(group.layers)} can't be reconstructed: only "
                                   "linear layers and convolutions that aren't transposed can be fitted; leave it out")
    if not parts:
        prunable_layers(network, coupling)  # which says why, where nothing can go at all
        raise CompressionError(f"{type(network).__name__} has no channels that can go and are read by linear layers or "
                               "convolutions that aren't transposed, which alone can be fitted: score filters instead")
    return {group: parts[group] for group in coupling.groups if group in parts}


def _check_left(group: Group, gone: list[Unit], part: float) -> None:
    left = {name for unit in group.units if unit not in gone for name in unit.outputs}
    for name in group.layers:
        if name not in left:
            raise CompressionError(f"layer `{name}` would lose all its channels when a part of {part} stays of those of "
                                   f"{listed(group.layers)}, which are coupled: keep more")

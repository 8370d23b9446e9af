"""Energy-aware pruning: the layer that takes most energy is pruned first, and what it keeps is fitted to its former outputs.

Each step takes one layer, the one with the most energy then:

1. its weights of least magnitude are removed, some more than the step asks for;
2. of the removed ones, those come back that lower the error of the layer's outputs most;
3. the kept weights become those with the least squared error of outputs against the unpruned network's (closed form).

The aim are the unpruned network's outputs for inputs as the pruned network has them, so a layer makes up for those before it, too.

Source: Yang, Chen and Sze, "Designing Energy-Efficient Convolutional Neural Networks using Energy-Aware Pruning", 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CompressionError
from ..networks import check_part, checked_copy, chosen_layers
from ..recorded import outputs_of, record_inputs
from .held import Retrain, finished
from .leastsquares import Moments, check_damping, fit_kept, matrices, moments_of, set_matrices, with_bias

#: The energy of one inference of a network, part by part, in any unit.  Parts with a layer's name are that layer's; others
#: (memories, pooling) count in the total alone.
Energy = Callable[[nn.Module], Mapping[str, float]]


def energy_aware_pruning(network: nn.Module, images: Tensor, energy: Energy, *, energy_kept: float, step: float = 0.8,
                         restored: float = 0.1, least: float = 0.05, layers: Iterable[str] | None = None, rows: int = 4096,
                         damping: float = 1e-3, retrain: Retrain | None = None, seed: int = 0) -> nn.Module:
    """A copy of a network, pruned until it takes no more than a part of its energy.

    Parameters
    ----------
    network
    images : shape (N, ...)
        Calibration data.
    energy
        Called with the network and its pruned forms, in evaluation mode, once a step.
    energy_kept
        Part of the given network's total energy that may be taken, in (0, 1].
    step
        Part of its nonzero weights that a layer keeps each time it is pruned, in (0, 1): closer to 1 is slower and better.
    restored
        What is removed beyond a step and restored, as a part of the weights that the step keeps, in [0, 1].
    least
        Part of its weights that each layer keeps in any case, in (0, 1]: a layer that takes most energy whatever it holds would
        lose them all. The paper stops where accuracy falls.
    layers
        Names of `Linear`, `Conv1d` and `Conv2d` layers that may be pruned; all by default.
    rows
        Most rows of inputs of each layer: see `record_inputs`.
    damping
        Above 0; of the least squares, a part of the mean of the inputs' powers.
    retrain
        Called once, with the zeros held: the paper's global fine-tuning.
    seed
        Of the draw of rows.

    Returns
    -------
    The pruned network in evaluation mode, with plain zeros.

    Raises
    ------
    CompressionError
        The network, the data, a layer or a number doesn't do; the energy model doesn't know a layer or gives no finite
        energies; pruning can't lower the energy so far; retraining broke the network.
    """
    whole = checked_copy(network).eval()
    result = checked_copy(network).eval()
    check_part("the part of the energy that is kept", energy_kept)
    check_part("the part of its weights that each layer keeps", least)
    check_damping(damping)
    if not 0 < step < 1 or not 0 <= restored <= 1:
        raise CompressionError("the part of weights that a step keeps must be between 0 and 1, and what is restored from 0 to 1, "
                               f"not {step} and {restored}")
    open_layers = chosen_layers(result, layers)
    inputs = record_inputs(whole, images, open_layers, rows=rows, seed=seed)
    wanted = {name: outputs_of(whole.get_submodule(name), one.double()) for name, one in inputs.items()}  # type: ignore[arg-type]
    taken = _energies(energy, result, open_layers)
    budget = energy_kept * sum(taken.values())
    while (total := sum(taken.values())) > budget:
        if not open_layers:
            raise CompressionError(f"pruning brings the energy from {budget / energy_kept:.6g} down to {total:.6g} and not to "
                                   f"{budget:.6g}, with {least:g} of each layer's weights or where fewer lower it no further: keep "
                                   f"more than {energy_kept}, or in Python lower `least`")
        name = max(open_layers, key=lambda one: taken[one])
        layer, before = open_layers[name], matrices(open_layers[name])
        nonzeros = int(torch.count_nonzero(layer.weight))
        count = min(math.floor(step * nonzeros + 0.5), nonzeros - 1)
        count = max(count, math.ceil(least * layer.weight.numel()))
        fewer = 1 <= count < nonzeros
        if fewer:
            seen = record_inputs(result, images, [name], rows=rows, seed=seed)[name]
            _prune(layer, moments_of(layer, seen, wanted[name]), count, restored, damping)
            now = _energies(energy, result, open_layers)
        if not fewer or sum(now.values()) >= total:
            set_matrices(layer, before)  # a layer that gains nothing keeps what it had
            del open_layers[name]
        else:
            taken = now
    return finished(result, retrain)


def _energies(energy: Energy, network: nn.Module, layers: Mapping[str, Any]) -> dict[str, float]:
    found = {name: float(value) for name, value in energy(network).items()}
    for name, value in found.items():
        if not 0 <= value < math.inf:
            raise CompressionError(f"the energy of `{name}` is {value}: energies must be finite and 0 or more")
    for name in layers:
        if name not in found:
            raise CompressionError(f"the energy model tells nothing of layer `{name}`: give it that name there, or name other "
                                   "layers to prune")
    if not sum(found.values()):
        raise CompressionError("the energy model gives 0 for the whole network: there is nothing to save")
    return found


def _prune(layer: Any, moments: Moments, count: int, restored: float, damping: float) -> None:
    """Leave `count` weights of a layer, in place."""
    start = matrices(layer)
    inputs = start.shape[2] - (layer.bias is not None)
    magnitudes = start[..., :inputs].abs()
    back = min(count, math.floor(restored * count + 0.5))
    order = torch.argsort(magnitudes.flatten(), descending=True, stable=True)
    kept = torch.zeros(magnitudes.numel(), dtype=torch.bool)
    kept[order[:count - back]] = True
    kept = kept.view_as(magnitudes)
    if back:
        fitted = fit_kept(moments, start, with_bias(layer, kept), damping)
        kept = _restored(moments, fitted, kept, magnitudes > 0, back)
    set_matrices(layer, fit_kept(moments, start, with_bias(layer, kept), damping))


def _restored(moments: Moments, weights: Tensor, kept: Tensor, may: Tensor, count: int) -> Tensor:
    """The kept weights with `count` of those that may come back: each output takes its best one at a time, until enough have.

    The best is the one that, with its best value, lowers the squared error most while the others stay (matching pursuit).
    """
    kept, may = kept.clone(), may & ~kept
    outputs, inputs = kept.shape[1:]
    missed = moments.cross.transpose(1, 2) - weights @ moments.gram  # mean of each input times what the output still misses
    power = moments.gram.diagonal(dim1=1, dim2=2).clamp(min=torch.finfo(torch.float64).tiny)
    while count:
        gains = torch.where(may, (missed**2 / power[:, None])[..., :inputs], -1.0)
        best = gains.flatten(0, 1).max(dim=1)
        rows = torch.argsort(best.values, descending=True, stable=True)[:count]
        rows = rows[best.values[rows] >= 0]
        group, output, at = rows // outputs, rows % outputs, best.indices[rows]
        missed[group, output] -= (missed[group, output, at] / power[group, at])[:, None] * moments.gram[group, at]
        kept[group, output, at], may[group, output, at] = True, False
        count -= len(rows)
    return kept

"""Optimal Brain Surgeon, layer by layer: weights are removed one at a time, and those that stay make up for each.

For one output of a layer with inputs x and H = mean of x x' (plus damping), half the squared error of the output is E = d'H d / 2
for a change d of its weights.  Removing weight q at least cost changes all by -w_q / [H^-1]_qq times column q of H^-1 and
raises E by exactly w_q^2 / (2 [H^-1]_qq).  The next removal goes on with the inverse of H without row and column q.

Sources: Hassibi and Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon", 1993; Dong, Chen and Pan,
"Learning to Prune Deep Neural Networks via Layer-wise Optimal Brain Surgeon", 2017 (H of each layer's own outputs).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from ..errors import CompressionError
from ..networks import LAYERS, check_part, checked_copy, chosen_layers
from ..recorded import record_inputs
from .held import Retrain, finished
from .leastsquares import check_damping, factored, fit_kept, matrices, moments_of, pull_of, set_matrices, with_bias

_NUMBERS_AT_ONCE: Final = 2**24  # float64: 128 MB


def surgeon_order(hessian: Tensor, weights: Tensor, removable: int) -> tuple[Tensor, Tensor]:
    """In which order the surgeon removes the weights of each output, and what each removal costs.

    Parameters
    ----------
    hessian : float64, shape (inputs, inputs)
        Positive definite, the same for all outputs.
    weights : float64, shape (outputs, inputs)
    removable
        Only the first so many inputs are removed (a bias behind them isn't).

    Returns
    -------
    order : int64, shape (outputs, removable)
        Inputs, first removed first: the one whose removal costs least then.
    costs : float64, shape (outputs, removable)
        Rise of half the squared error by each removal.
    """
    inputs = len(hessian)
    inverse = torch.cholesky_inverse(factored(hessian))
    least = 1 / hessian.diagonal()  # an inverse's diagonal never falls below it, whatever is removed
    at_once = max(1, _NUMBERS_AT_ONCE // (inputs * max(1, removable)))
    parts = [_ordered(inverse, least, part, removable) for part in torch.split(weights, at_once)]
    return torch.cat([order for order, _ in parts]), torch.cat([costs for _, costs in parts])


def _ordered(inverse: Tensor, least: Tensor, weights: Tensor, removable: int) -> tuple[Tensor, Tensor]:
    """Some outputs at once.

    The inverse without t removed inputs is the whole one minus t outer products v v': only these are kept.
    """
    outputs, inputs = weights.shape
    each = torch.arange(outputs)
    left, diagonal = weights.clone(), inverse.diagonal().repeat(outputs, 1)
    gone = torch.zeros(outputs, inputs, dtype=torch.bool)
    gone[:, removable:] = True
    taken = torch.empty(outputs, removable, inputs, dtype=weights.dtype)
    order = torch.empty(outputs, removable, dtype=torch.int64)
    costs = torch.empty(outputs, removable, dtype=weights.dtype)
    for step in range(removable):
        rises = torch.where(gone, torch.inf, left**2 / (2 * diagonal))
        at = rises.argmin(dim=1)
        order[:, step], costs[:, step] = at, rises[each, at]
        before = taken[:, :step]
        column = inverse[at] - torch.bmm(before[each, :, at][:, None], before)[:, 0]
        root = diagonal[each, at].sqrt()[:, None]
        v = column / root
        taken[:, step] = v
        left -= left[each, at][:, None] / root * v
        diagonal = torch.maximum(diagonal - v**2, least)
        gone[each, at] = True
    return order, costs


def optimal_brain_surgeon(network: nn.Module, images: Tensor, density: float | Mapping[str, float], *,
                          layers: Iterable[str] | None = None, rows: int = 4096, damping: float = 1e-3,
                          most_products: float = 3e11, retrain: Retrain | None = None, seed: int = 0) -> nn.Module:
    """A copy of a network, each layer pruned by the surgeon to keep its own outputs; biases make up for means.

    Layers are pruned independently, each for the inputs that it has in the given network, so that a layer's error is its own
    and errors add up as Dong and others bound them.

    Parameters
    ----------
    network
    images : shape (N, ...)
        Calibration data.
    density
        Part of each layer's weights to keep, in (0, 1]; a mapping gives each layer that it names its own, and leaves others
        alone.  Of n weights, density * n stay, rounded to the nearest and at least 1.  Outputs of a layer compete: the
        removal that costs least is next.
    layers
        Names of `Linear`, `Conv1d` and `Conv2d` layers; all by default.
    rows
        Most rows of inputs of each layer: see `record_inputs`.  Some times its inputs are wanted.
    damping
        Above 0; a part of the mean of H's diagonal, added to it: what keeps weights in their place where rows say little.
    most_products
        Layers with more outputs * inputs**3 are refused: time grows with that.
    retrain
        Called once, with the zeros held.
    seed
        Of the draw of rows.

    Returns
    -------
    The pruned network in evaluation mode, with plain zeros.

    Raises
    ------
    CompressionError
        The network, the data, a density or a layer doesn't do; a layer is too large; retraining broke the network.
    """
    result = checked_copy(network).eval()
    if isinstance(density, Mapping):
        if layers is not None:
            raise CompressionError("densities by layer name the layers: give no layers besides")
        layers = list(density)
    chosen = chosen_layers(result, layers, LAYERS)
    densities = {name: density[name] if isinstance(density, Mapping) else density for name in chosen}
    for name, one in densities.items():
        check_part(f"the density of layer `{name}`", one)
    check_damping(damping)
    for name, layer in chosen.items():
        outputs, inputs = len(layer.weight), math.prod(layer.weight.shape[1:])
        if (products := outputs * inputs**3) > most_products:
            raise CompressionError(f"layer `{name}` has {outputs:,} outputs of {inputs:,} inputs each, for which the surgeon takes "
                                   f"{products:.3g} multiplications, outputs times inputs cubed, more than {most_products:.3g}: "
                                   "prune by magnitude, or in Python name other layers or raise most_products")
    recorded = record_inputs(result, images, chosen, rows=rows, seed=seed)
    for name, layer in chosen.items():
        _operate(layer, recorded[name], densities[name], damping)
    return finished(result, retrain)


def _operate(layer: Any, rows: Tensor, density: float, damping: float) -> None:
    """Prune one layer in place."""
    moments, start = moments_of(layer, rows), matrices(layer)
    removable = rows.shape[2]
    found = [surgeon_order(gram + pull_of(gram, damping) * torch.eye(len(gram), dtype=gram.dtype), weights, removable)
             for gram, weights in zip(moments.gram, start, strict=True)]
    order, costs = torch.stack([one for one, _ in found]), torch.stack([one for _, one in found])
    total = order.numel()
    count = total - max(1, math.floor(density * total + 0.5))
    # The cheapest next removal of all outputs, time and again, takes them in the order of each one's highest cost so far.
    first = torch.argsort(costs.cummax(dim=2).values.flatten(), stable=True)[:count]
    removed = torch.zeros(total, dtype=torch.bool)
    removed[first] = True
    kept = torch.ones_like(order, dtype=torch.bool).scatter_(2, order, ~removed.view_as(order))
    if count:
        set_matrices(layer, fit_kept(moments, start, with_bias(layer, kept), damping))

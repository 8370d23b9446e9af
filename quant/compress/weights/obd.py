"""Optimal Brain Damage: the weights whose removal raises the loss least, by a diagonal Hessian, become 0.

To second order, at a minimum and with no regard to pairs of weights, removing weight w raises the loss by h w^2 / 2, where h is the
second derivative of the loss by it.  Two estimates of h never fall below 0 and need first derivatives alone:

- `gauss-newton`: the exact diagonal of J'BJ, where J are the derivatives of the outputs by the weights and B the second
  derivatives of the loss by the outputs.  It is what LeCun's backward recursion approximates; one backward pass per output.
- `fisher`: the mean of squared derivatives of each sample's loss (the empirical Fisher), one backward pass.

Source: LeCun, Denker and Solla, "Optimal Brain Damage", 1990.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from quant.nn.checks import reason_of
from quant.nn.fold import LAYERS as PRUNABLE
from quant.nn.pruning import Scope

from ..errors import CompressionError
from ..networks import check_images, checked_copy, chosen_layers, forward
from .held import Retrain, finished, prune_to
from .iterative import geometric_densities

Hessian = Literal["gauss-newton", "fisher"]
#: `cross-entropy` of classes (N,) and logits (N, classes), or half the sum of `squares` of what outputs miss of targets of their
#: shape; means over samples.
Loss = Literal["cross-entropy", "squares"]

_NUMBERS_AT_ONCE: Final = 2**24  # derivatives: 64 MB


def saliencies(network: nn.Module, images: Tensor, targets: Tensor | None = None, *, loss: Loss = "cross-entropy",
               hessian: Hessian = "gauss-newton", layers: Iterable[str] | None = None) -> dict[str, Tensor]:
    """What removing each weight alone adds to the loss, to second order.

    Parameters
    ----------
    network
        In evaluation mode as far as this function goes.
    images : shape (N, ...)
    targets : int64 (N,) or shape of the outputs
        Only the Fisher estimate takes them: the Gauss-Newton one of these losses doesn't depend on them.
    loss, hessian
    layers
        Names of linear and convolutional layers; all by default.

    Returns
    -------
    For each layer, of its weight's shape, 0 or more, in the loss's unit.

    Raises
    ------
    CompressionError
        The network, the data or a layer doesn't do; targets don't fit; the network can't be differentiated sample by sample.
    """
    copied = checked_copy(network).eval().requires_grad_(False)
    chosen = chosen_layers(copied, layers, PRUNABLE)
    for what, chosen_one, known in (("loss", loss, ("cross-entropy", "squares")), ("Hessian", hessian, ("gauss-newton", "fisher"))):
        if chosen_one not in known:
            raise CompressionError(f"no {what} is called {chosen_one!r}: choose '{known[0]}' or '{known[1]}'")
    check_images(copied, images)
    outputs = forward(copied, images[:1])
    if loss == "cross-entropy" and outputs.ndim != 2:
        raise CompressionError(f"cross-entropy needs logits of shape (N, classes), and {type(network).__name__} gives "
                               f"{tuple(outputs.shape)}: put the loss to 'squares', or the network into one that gives logits")
    if hessian == "fisher":
        _check_targets(targets, len(images), outputs, loss)
    parameters = {f"{name}.weight" if name else "weight": layer.weight for name, layer in chosen.items()}
    sums = {key: torch.zeros_like(value, dtype=torch.float64) for key, value in parameters.items()}

    def weighed(values: dict[str, Tensor], image: Tensor, factors: Tensor) -> Tensor:
        result: Tensor = functional_call(copied, values, (image[None],))
        return (result[0] * factors).sum()

    derivatives = vmap(grad(weighed), in_dims=(None, 0, 0))
    at_once = max(1, _NUMBERS_AT_ONCE // sum(value.numel() for value in parameters.values()))
    for start in range(0, len(images), at_once):
        batch = images[start:start + at_once]
        wanted = None if targets is None else targets[start:start + at_once]
        for factors in _factors(forward(copied, batch), wanted, loss, hessian):
            for key, value in _derived(derivatives, parameters, batch, factors, network).items():
                sums[key] += value.double().square().sum(dim=0)
    return {name: (sums[key] / len(images) * parameters[key].double() ** 2 / 2).float()
            for name, key in zip(chosen, parameters, strict=True)}


def optimal_brain_damage(network: nn.Module, images: Tensor, targets: Tensor | None = None, *, density: float,
                         scope: Scope = "global", loss: Loss = "cross-entropy", hessian: Hessian = "gauss-newton",
                         rounds: int = 1, layers: Iterable[str] | None = None, retrain: Retrain | None = None) -> nn.Module:
    """A copy of a network without its least salient weights.

    Parameters
    ----------
    network, images, targets, loss, hessian, layers
        As `saliencies`, which assume that the network was trained to a minimum of this loss.
    density
        Part of the weights to keep, in (0, 1]: see `quant.nn.prune`.
    scope
        `global`: one threshold for all layers, as saliencies are in one unit.  `layer`: each layer gets the density.
    rounds
        Saliencies are taken anew in each; densities fall by the same factor.
    retrain
        Called after each round, with the zeros held.

    Returns
    -------
    The pruned network in evaluation mode, with plain zeros.

    Raises
    ------
    CompressionError
        As `saliencies`; a density is out of range, or there are no rounds; retraining broke the network.
    """
    names = layers if layers is None or isinstance(layers, str) else list(layers)
    result: nn.Module = checked_copy(network)
    for one in geometric_densities(density, rounds):
        scores = saliencies(result, images, targets, loss=loss, hessian=hessian, layers=names)
        # Weights that are 0 already must be the last to be kept, also where an input is dead and all have saliency 0.
        least = torch.finfo(torch.float32).tiny
        weights = {name: result.get_parameter(f"{name}.weight" if name else "weight").detach() for name in scores}
        scores = {name: torch.where(weights[name] != 0, score + least, 0.0) for name, score in scores.items()}
        result = finished(result, retrain, prune_to(result, one, scope=scope, layers=names, scores=scores))
    return result


def _check_targets(targets: Any, samples: int, outputs: Tensor, loss: Loss) -> None:
    """Refuse targets that don't fit.  Raises CompressionError."""
    classes = loss == "cross-entropy"
    wanted: tuple[int, ...] = (samples,) if classes else (samples, *outputs.shape[1:])
    if not isinstance(targets, Tensor) or tuple(targets.shape) != wanted or targets.is_floating_point() == classes:
        found = f"{tuple(targets.shape)}, {targets.dtype}" if isinstance(targets, Tensor) else type(targets).__name__
        raise CompressionError(f"the Fisher estimate for {loss} needs targets of shape {wanted}, "
                               f"{'whole numbers' if classes else 'floats'}, not {found}: give them, or take 'gauss-newton'")
    if classes and not bool(((targets >= 0) & (targets < outputs.shape[1])).all()):
        raise CompressionError(f"targets must be classes from 0 to {outputs.shape[1] - 1}, the network's outputs less one")


def _factors(outputs: Tensor, targets: Tensor | None, loss: Loss, hessian: Hessian) -> Iterator[Tensor]:
    """Factors of outputs, of their shape: h is the sum over all of the squared derivative of the outputs times these.

    For Gauss-Newton they are columns of a square root of B: of a softmax with probabilities p, diag(p) - p p', sqrt(p_c) (e_c - p).
    """
    probabilities = functional.softmax(outputs, dim=1) if loss == "cross-entropy" else None
    if hessian == "fisher":
        assert targets is not None
        yield outputs - targets if probabilities is None else probabilities - functional.one_hot(targets, outputs.shape[1])
        return
    shape = outputs.shape[1:]
    for unit in torch.eye(shape.numel()):
        one = unit.view(shape).expand_as(outputs)
        yield one if probabilities is None else (probabilities * one).sum(1, keepdim=True).sqrt() * (one - probabilities)


def _derived(derivatives: Callable[..., dict[str, Tensor]], parameters: dict[str, Tensor], batch: Tensor, factors: Tensor,
             network: nn.Module) -> dict[str, Tensor]:
    try:
        return derivatives(parameters, batch, factors)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CompressionError(f"{type(network).__name__} can't be differentiated sample by sample ({reason_of(error)}): take what "
                               "depends on values or works in place out of its forward function") from error

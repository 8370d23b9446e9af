"""Batch-norm folding: an evaluated batch norm is one multiplication and one addition per channel, which the layer before
it, or behind it, can take over.

Folding is exact algebra, done in float64 and rounded once to the layer's type.  It comes before quantization: what is quantized
and fine-tuned is the folded network.  A batch norm that no layer can take stays where it is, and the lowering takes
it into the thresholds behind it.

Source: Jacob and others, 2018, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

Norm = nn.BatchNorm1d | nn.BatchNorm2d
Layer = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.Linear
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


def affine_of(norm: Norm) -> tuple[Tensor, Tensor]:
    """The batch norm in evaluation as ``x * factor + summand``, float64, one of each per channel.

    Raises
    ------
    ValueError
        It keeps no running statistics, so it depends on the batch even in evaluation.
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("it keeps no running statistics (track_running_stats=False), so it depends on the batch")
    factor = 1 / torch.sqrt(variance.detach().double() + norm.eps)
    summand = torch.zeros_like(factor)
    if norm.affine:
        factor, summand = factor * norm.weight.detach().double(), norm.bias.detach().double()
    return factor, summand - mean.detach().double() * factor


def fold_behind(layer: Layer, norm: Norm) -> None:
    """Make ``layer(x)`` what ``norm(layer(x))`` was, in place; the norm's channels are the layer's outputs."""
    factor, summand = affine_of(norm)
    weight = layer.weight.detach().double()
    if isinstance(layer, _TRANSPOSED):  # (inputs, outputs / groups, ...)
        groups = layer.groups
        split = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        weight = (split * factor.reshape(groups, 1, -1, 1)).reshape(weight.shape)
    else:
        weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    bias = 0 if layer.bias is None else layer.bias.detach().double()
    _store(layer, weight, bias * factor + summand)


def fold_before(norm: Norm, layer: Layer) -> None:
    """Make ``layer(x)`` what ``layer(norm(x))`` was, in place; `can_fold_before` must hold."""
    factor, summand = affine_of(norm)
    weight = layer.weight.detach().double()
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    # (groups, outputs / groups, inputs / groups, taps)
    split = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    added = (split * summand.reshape(groups, 1, -1, 1)).sum(dim=(2, 3)).reshape(-1)
    bias = 0 if layer.bias is None else layer.bias.detach().double()
    _store(layer, (split * factor.reshape(groups, 1, -1, 1)).reshape(weight.shape), bias + added)


def can_fold_before(layer: Layer) -> bool:
    """Whether every output of the layer sees all its taps: not at padded borders, whose zeros the norm didn't shift."""
    if isinstance(layer, nn.Linear):
        return True
    return not isinstance(layer, _TRANSPOSED) and layer.padding != "same" and not any(
        one != 0 for one in layer.padding if not isinstance(one, str))


def _store(layer: Layer, weight: Tensor, bias: Tensor) -> None:
    # New parameters: another layer may share the old ones, and hasn't this norm.
    layer.weight = nn.Parameter(weight.to(layer.weight.dtype))
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype))


def fold_batch_norms(traced: GraphModule) -> list[str]:
    """Fold every batch norm that can be, in a traced module in evaluation mode whose nodes carry shapes (`ShapeProp`).

    Returns
    -------
    The names of the modules that were folded away.
    """
    modules = dict(traced.named_modules())
    calls: dict[str, int] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1

    def owner(node: object, kinds: tuple[type, ...]) -> nn.Module | None:
        """The module that a node calls, if it is one of these kinds, is called there alone and no layer of a subclass."""
        if not isinstance(node, Node) or node.op != "call_module" or calls[str(node.target)] != 1:
            return None
        module = modules[str(node.target)]
        return module if type(module) in kinds else None

    folded = []
    for node in list(traced.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, NORMS) or norm.running_mean is None:
            continue
        source = node.args[0]
        users = list(node.users)
        before, behind = owner(source, LAYERS), owner(users[0], LAYERS) if len(users) == 1 else None
        # Behind a linear layer of more than two axes, the channels of the norm are others than the layer's outputs.
        if isinstance(before, LAYERS) and len(source.users) == 1 and (not isinstance(before, nn.Linear) or _rank(source) == 2):
            fold_behind(before, norm)
        elif isinstance(behind, LAYERS) and can_fold_before(behind) and (not isinstance(behind, nn.Linear) or _rank(node) == 2):
            fold_before(norm, behind)
        else:
            continue
        node.replace_all_uses_with(source)
        traced.graph.erase_node(node)
        folded.append(str(node.target))
    traced.graph.lint()
    traced.recompile()
    return folded


def _rank(node: Node) -> int:
    return len(node.meta["tensor_meta"].shape)

"""Scores of channels: the larger, the more a channel matters.  For `keep_channels`, which averages those of coupled layers.

Each is for the layers of which channels can go, one number per output channel.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.fx import Interpreter, Node
from torch.nn import functional

from quant.nn.checks import QuantizationError
from quant.nn.traced import Traced

from ..errors import CompressionError
from ..networks import checked_copy
from .coupling import Coupling, couple, prunable_layers
from .units import made_weights

Loss = Callable[[Tensor, Tensor], Tensor]

_BATCH: Final = 64  # samples that go through the network at a time
_RELUS: Final = (nn.ReLU, nn.ReLU6)
_RELU_FUNCTIONS: Final = (functional.relu, functional.relu_, functional.relu6, torch.relu, torch.relu_, "relu", "relu_")
_PASSING: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_ADDITIONS: Final = (operator.add, operator.iadd, torch.add, "add", "add_")


def l1_scores(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Sum of the magnitudes of each filter's weights: to compare within a layer.

    Source: Li and others, "Pruning Filters for Efficient ConvNets", 2017.

    Raises
    ------
    CompressionError
        As `couple`.
    """
    return {name: made_weights(network.get_submodule(name)).detach().abs().flatten(1).sum(dim=1)
            for name in prunable_layers(network, couple(network, images))}


def apoz_scores(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """1 - APoZ: which part of each channel's outputs isn't 0 behind its ReLU, over all samples and positions.

    The ReLU is the first one behind the layer, with nothing but a batch norm or additions between; layers without one get no
    score.

    Source: Hu and others, "Network Trimming", 2016.

    Raises
    ------
    CompressionError
        As `couple`; no layer has a ReLU.
    """
    coupling = couple(network, images)
    watched = _Activations(network, images, coupling)
    found = {name: nodes for name, nodes in watched.nodes.items() if all(watched.is_relu(node) for node in nodes)}
    if not found:
        raise CompressionError(f"{type(network).__name__} has no ReLU behind a layer whose channels can go, so there are no zeros "
                               "to count: score filters by their L1 norm, or by Taylor expansion, instead")
    nonzeros, seen = {name: torch.zeros(coupling.sizes[name]) for name in found}, dict.fromkeys(found, 0)
    with torch.no_grad():
        for batch in torch.split(images, _BATCH):
            values = watched.run(batch)[1]
            for name, nodes in found.items():
                for node in nodes:
                    by_channel = values[node].transpose(0, 1).flatten(1)
                    nonzeros[name] += torch.count_nonzero(by_channel, dim=1)
                    seen[name] += by_channel.shape[1]
    return {name: nonzeros[name] / seen[name] for name in found}


def taylor_scores(network: nn.Module, images: Tensor, labels: Tensor, *,
                  loss: Loss = functional.cross_entropy) -> dict[str, Tensor]:
    """How much the loss would change without each channel, to first order: |activation x gradient|, to compare over layers.

    For each sample, the product's mean over a map; of that the magnitude; of these the mean over samples; divided by the
    layer's Euclidean norm.  Activations are those behind the layer's ReLU, or the layer's outputs if it has none.

    Parameters
    ----------
    network, images
    labels : shape (N, ...)
        What the loss takes, for each image.
    loss
        Of outputs and labels; a mean over samples.

    Source: Molchanov and others, "Pruning Convolutional Neural Networks for Resource Efficient Inference", 2017.

    Raises
    ------
    CompressionError
        As `couple`; there isn't one label for each image.
    """
    if len(labels) != len(images):
        raise CompressionError(f"there are {len(labels)} labels for {len(images)} images: give one for each")
    coupling = couple(network, images)
    watched = _Activations(network, images, coupling)
    totals = {name: torch.zeros(coupling.sizes[name]) for name in watched.nodes}
    for batch, wanted in zip(torch.split(images, _BATCH), torch.split(labels, _BATCH), strict=True):
        with torch.enable_grad():
            outputs, values = watched.run(batch)
            order = [node for nodes in watched.nodes.values() for node in nodes]
            gradients = torch.autograd.grad(loss(outputs, wanted) * len(batch), [values[node] for node in order], allow_unused=True,
                                            materialize_grads=True)
        slope = dict(zip(order, gradients, strict=True))
        for name, nodes in watched.nodes.items():
            # (samples, channels, 1 and positions); a layer that is called twice has its channels twice.
            products = [(values[node] * slope[node]).detach().unsqueeze(2).flatten(2).mean(dim=2) for node in nodes]
            totals[name] += torch.stack(products).sum(dim=0).abs().sum(dim=0)
    return {name: total / max(float(total.norm()), torch.finfo(total.dtype).tiny) for name, total in totals.items()}


def norm_scores(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Magnitudes of the scales of the batch norms behind each channel: to compare over layers, if trained with `slimming_penalty`.

    Of a channel with several, behind coupled layers, the mean.  Layers without a batch norm get no score.

    Source: Liu and others, "Learning Efficient Convolutional Networks through Network Slimming", 2017.

    Raises
    ------
    CompressionError
        As `couple`; no channel has a batch norm with scales.
    """
    coupling = couple(network, images)
    scales = {name: part.weight.detach().abs() for name, part in network.named_modules()
              if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)) and part.affine}
    scores: dict[str, Tensor] = {}
    for name in coupling.prunable:
        values = torch.full((coupling.sizes[name],), torch.nan)
        for unit in coupling.group_of(name).units:
            mine = [scales[norm][list(indices)] for norm, indices in unit.followers.items() if norm in scales]
            if mine and name in unit.outputs:
                values[list(unit.outputs[name])] = torch.cat(mine).mean()
        if not values.isnan().any():
            scores[name] = values
    if not scores:
        raise CompressionError(f"{type(network).__name__} has no batch norm with scales behind channels that can go: score them by "
                               "L1 norm or Taylor expansion, or train with a group lasso, instead")
    return scores


class _Activations:
    """Where the activations of layers are, in a traced copy, and a run that gives them."""

    def __init__(self, network: nn.Module, images: Tensor, coupling: Coupling) -> None:
        try:
            self.traced = Traced(checked_copy(network).requires_grad_(True), images[:1])
        except QuantizationError as error:
            raise CompressionError(str(error)) from None
        self.nodes: dict[str, list[Node]] = {}
        for name in prunable_layers(network, coupling):
            calls = [node for node in self.traced.module.graph.nodes if node.op == "call_module" and str(node.target) == name]
            self.nodes[name] = list(dict.fromkeys(self._behind(node) for node in calls))

    def run(self, batch: Tensor) -> tuple[Tensor, dict[Node, Tensor]]:
        """The network's outputs and all activations."""
        kept: dict[Node, Tensor] = {}
        watched = {node for nodes in self.nodes.values() for node in nodes}

        class Watching(Interpreter):
            def run_node(self, n: Node) -> Any:
                value = super().run_node(n)
                if n in watched:
                    kept[n] = value
                return value

        return Watching(self.traced.module).run(batch), kept

    def is_relu(self, node: Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.traced.owner(node), _RELUS)
        return node.target in _RELU_FUNCTIONS

    def _behind(self, node: Node) -> Node:
        """The ReLU behind a layer, or else the layer."""
        now = node
        while True:
            relu = next((user for user in now.users if self.is_relu(user)), None)
            if relu is not None:
                return relu
            passing = [user for user in now.users if user.target in _ADDITIONS
                       or (user.op == "call_module" and isinstance(self.traced.owner(user), _PASSING))]
            if not passing:
                return node
            now = passing[0]

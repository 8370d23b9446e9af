"""Weights that are computed from fewer numbers: each weight is one entry of a short list, maybe with its sign changed.

Three methods are of this form and differ in who shares what: `productquant` (weights of like subvectors), `hashed` (weights
that a hash function throws together) and `circulant` (weights along wrapped diagonals of blocks).  The list takes the place of
the weight as a parameter of the layer, by `torch.nn.utils.parametrize`: any training loop trains it, and an entry's gradient
is the sum of those of its weights.  `finish_sharing` makes an ordinary network of it, for `quantize` and export.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import CompressionError
from ..layerwise import Layer, copied

_FLOAT_BITS: Final = 32


class SharedWeights(nn.Module):
    """Base of the parametrizations: ``weight = signs * entries[positions]``.

    A subclass says which entry each weight is; the least squares fit to a trained weight follows from that.
    """

    #: How many entries there are, in which shape.
    entries_shape: tuple[int, ...]

    def positions(self) -> Tensor:
        """Of each weight the place of its entry among the flattened entries: int64, shape of the weight."""
        raise NotImplementedError

    def signs(self) -> Tensor | None:
        """1 or -1 for each weight; None if all are 1."""
        return None

    @property
    def parameters_stored(self) -> int:
        """Real numbers to be stored: the entries."""
        return torch.Size(self.entries_shape).numel()

    @property
    def code_bits(self) -> int:
        """Bits to be stored beside the entries: 0 where positions follow from a rule."""
        return 0

    def forward(self, entries: Tensor) -> Tensor:
        weight = entries.flatten()[self.positions()]
        signs = self.signs()
        return weight if signs is None else weight * signs.to(weight.dtype)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The entries whose weight is nearest to the given one in the sum of squares; entries that no weight has are 0."""
        total = self.adjoint(weight.detach().double())
        counts = torch.bincount(self.positions().flatten(), minlength=total.numel()).clamp(min=1)
        return (total / counts.view(self.entries_shape)).to(weight.dtype)

    def adjoint(self, weight: Tensor) -> Tensor:
        """Of each entry the sum of what is given for its weights: the transpose of `forward`."""
        signs = self.signs()
        values = weight if signs is None else weight * signs.to(weight.dtype)
        total = values.new_zeros(torch.Size(self.entries_shape).numel())
        return total.index_add_(0, self.positions().flatten(), values.flatten()).view(self.entries_shape)


class LayerSharing(NamedTuple):
    """What a layer with shared weights stores.

    Members
    -------
    layer
        Its name in the network.
    weights
        How many the layer computes with.
    parameters
        Real numbers that they are made of.
    stored_bits
        The parameters as float32, with the codes where there are any.
    """

    layer: str
    weights: int
    parameters: int
    stored_bits: int

    @property
    def ratio(self) -> float:
        """How many times smaller than float32 weights."""
        return self.weights * _FLOAT_BITS / self.stored_bits


def sharing_report(network: nn.Module) -> list[LayerSharing]:
    """What each layer with shared weights stores, in the network's order; a last entry, `all`, sums them up.

    Raises
    ------
    CompressionError
        No layer has shared weights.
    """
    rows = []
    for name, layer, sharing in shared_layers(network):
        stored = sharing.parameters_stored
        rows.append(LayerSharing(name, layer.weight.numel(), stored, stored * _FLOAT_BITS + sharing.code_bits))
    return [*rows, LayerSharing("all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))]


def finish_sharing(network: nn.Module) -> nn.Module:
    """A copy with plain weights, of the values that they have now: for `quantize`, export and further methods.

    Training the copy further makes weights differ that were shared.

    Raises
    ------
    CompressionError
        No layer has shared weights.
    """
    network = copied(network)
    for _, layer, _ in list(shared_layers(network)):
        weight = layer.weight.detach().clone()
        others = dict(layer._parameters)
        # Not `remove_parametrizations`: it changes the class, which the layer that was copied shares.
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer._modules["parametrizations"]
        layer._parameters.clear()
        layer.weight = nn.Parameter(weight)
        layer._parameters.update(others)
    return network


def shared_layers(network: nn.Module) -> Iterator[tuple[str, Any, SharedWeights]]:
    """Name, layer and sharing of every layer with shared weights.  Raises CompressionError if there is none."""
    found = False
    for name, layer in network.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            sharing = layer.parametrizations["weight"][0]
            if isinstance(sharing, SharedWeights):
                found = True
                yield name, layer, sharing
    if not found:
        raise CompressionError(f"{type(network).__name__} has no layer with shared weights: call product_quantize, hash_weights or "
                               "make_circulant first")


def entries_of(layer: Any) -> nn.Parameter:
    """The parameter that the entries of a layer with shared weights are."""
    entries: nn.Parameter = layer.parametrizations["weight"].original
    return entries


def share(layer: Layer, sharing: SharedWeights) -> None:
    """Let a layer compute its weight from shared entries, fitted to the weight that it has."""
    parametrize.register_parametrization(layer, "weight", sharing)

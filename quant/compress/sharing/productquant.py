"""Product quantization: rows of a weight are cut into subvectors, and each is an entry of its subspace's codebook.

A codebook of 256 subvectors of 4 weights stores 8 bits for 4 weights.  Codebooks can be trained on, as they are the parameters
of the layer; codes stay.

Sources: Gong and others, "Compressing Deep Convolutional Networks using Vector Quantization", 2014 (linear layers); Wu and others,
"Quantized Convolutional Neural Networks for Mobile Devices", 2016 (convolutions along channels; the correction by data is
`fit_to_data`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn

from ..errors import CompressionError
from ..layerwise import check_whole, chosen_layers, copied
from .codes import SharedWeights, entries_of, share, shared_layers

_FLOAT_BITS = 32


@dataclass(frozen=True, eq=False)
class ProductCode:
    """A product-quantized weight as it is stored.

    Members
    -------
    shape
        Of the weight.
    along_channels
        Whether a row is what one tap of a kernel has for all input channels, or else a whole filter.
    codes : int64, shape (rows, subspaces)
        Rows are filters, or taps of filters with the filter's number first.
    codebooks : float, shape (subspaces, entries, subvector)
        The last subspace may have fewer columns than a subvector is long: numbers beyond them mean nothing.
    """

    shape: tuple[int, ...]
    along_channels: bool
    codes: NDArray[np.int64]
    codebooks: NDArray[np.floating]

    @property
    def columns(self) -> int:
        """Weights in a row."""
        return self.shape[1] if self.along_channels else math.prod(self.shape[1:])

    @property
    def stored_bits(self) -> int:
        """Codes of the least width, and codebooks as float32."""
        entries: int = self.codebooks.shape[1]
        return self.codes.size * (entries - 1).bit_length() + entries * self.columns * _FLOAT_BITS

    def decode(self) -> NDArray[np.floating]:
        """The weight, of the codebooks' type."""
        subspaces = self.codebooks.shape[0]
        rows = self.codebooks[np.arange(subspaces), self.codes].reshape(len(self.codes), -1)[:, :self.columns]
        if not self.along_channels:
            return rows.reshape(self.shape)
        outputs, inputs, *kernel = self.shape
        return np.moveaxis(rows.reshape(outputs, *kernel, inputs), -1, 1)


class ProductWeights(SharedWeights):
    """A weight as entries of codebooks; the codes are a buffer, so that a saved network has them.

    Parameters
    ----------
    shape, along_channels
        As `ProductCode`.
    codes : int64, shape (rows, subspaces)
    entries, subvector
        Of each codebook.
    """

    def __init__(self, shape: tuple[int, ...], along_channels: bool, codes: Tensor, entries: int, subvector: int) -> None:
        super().__init__()
        self.shape, self.along_channels = shape, along_channels
        self.entries_shape = codes.shape[1], entries, subvector
        self.register_buffer("codes", codes.to(torch.uint8 if entries <= 256 else torch.int32))

    def positions(self) -> Tensor:
        codes = self.get_buffer("codes").long()
        subspaces, entries, subvector = self.entries_shape
        first = (torch.arange(subspaces) * entries + codes) * subvector
        rows = (first[..., None] + torch.arange(subvector)).flatten(1)
        return _unrowed(rows, self.shape, self.along_channels)

    @property
    def parameters_stored(self) -> int:
        columns = self.shape[1] if self.along_channels else math.prod(self.shape[1:])
        return self.entries_shape[1] * columns

    @property
    def code_bits(self) -> int:
        return self.get_buffer("codes").numel() * (self.entries_shape[1] - 1).bit_length()


def product_quantize(network: nn.Module, *, subvector: int = 4, entries: int = 256, layers: Iterable[str] | None = None,
                     seed: int = 0) -> nn.Module:
    """A copy of a trained network whose weights are entries of codebooks, found by k-means in each subspace.

    Of a convolution with at least `subvector` input channels, rows run along channels, and all taps share codebooks; of others,
    a row is a whole filter.  `fit_to_data` then moves the entries to lower the layers' errors on data, and training moves them
    as any parameter; `product_codes` has what is stored, and `finish_sharing` makes a plain network.

    Parameters
    ----------
    network
        With `nn.Linear` and `nn.Conv2d` layers.
    subvector
        Weights that one code stands for.
    entries
        Of each codebook, 1 to 65,536; fewer where there are fewer different subvectors.
    layers
        Names of the layers; by default all that get smaller.
    seed
        Of k-means.

    Raises
    ------
    CompressionError
        A number is out of range, a layer isn't there, can't be changed or doesn't get smaller, or none does.
    """
    check_whole("the length of a subvector", subvector, 1)
    check_whole("the number of entries", entries, 1, 1 << 16)
    check_whole("the seed", seed, 0, (1 << 32) - 1)
    network = copied(network)
    named = layers is not None
    smaller = {}
    for name, layer in chosen_layers(network, layers).items():
        shape = tuple(layer.weight.shape)
        along_channels = len(shape) > 2 and shape[1] >= subvector
        rows = _rowed(layer.weight.detach(), along_channels).double().numpy()
        codes, count = _clustered(rows, subvector, entries, seed)
        sharing = ProductWeights(shape, along_channels, torch.from_numpy(codes), count, min(subvector, rows.shape[1]))
        stored, dense = sharing.code_bits + _FLOAT_BITS * sharing.parameters_stored, _FLOAT_BITS * layer.weight.numel()
        if stored < dense:
            smaller[name] = layer, sharing
        elif named:
            raise CompressionError(f"layer `{name}` takes {dense} bits as float32, and {stored} with {count} entries for each "
                                   f"{subvector} columns: leave it out, or ask for fewer entries (--codes)")
    if not smaller:
        raise CompressionError(f"no layer of {type(network).__name__} gets smaller with {entries} entries for each {subvector} "
                               "columns: ask for fewer entries (--codes)")
    for layer, sharing in smaller.values():
        share(layer, sharing)
    return network


def product_codes(network: nn.Module) -> dict[str, ProductCode]:
    """Codes and codebooks of a network's product-quantized layers, as they are now, by the layers' names.

    Raises
    ------
    CompressionError
        No layer has shared weights.
    """
    return {name: ProductCode(sharing.shape, sharing.along_channels, sharing.get_buffer("codes").numpy().astype(np.int64),
                              entries_of(layer).detach().numpy().copy())
            for name, layer, sharing in shared_layers(network) if isinstance(sharing, ProductWeights)}


def _clustered(rows: NDArray[np.float64], subvector: int, entries: int, seed: int) -> tuple[NDArray[np.int64], int]:
    """Codes of all subspaces, and how many entries a codebook needs: the centroids follow from the codes."""
    codes, most = [], 1
    for start in range(0, rows.shape[1], subvector):
        part = rows[:, start:start + subvector]
        different, which = np.unique(part, axis=0, return_inverse=True)
        if len(different) > entries:
            found = KMeans(entries, n_init=1, random_state=seed).fit(part)
            which = np.unique(found.labels_, return_inverse=True)[1]  # without clusters that lost all their members
        codes.append(which.reshape(-1).astype(np.int64))
        most = max(most, int(codes[-1].max()) + 1)
    return np.stack(codes, axis=1), most


def _rowed(weight: Tensor, along_channels: bool) -> Tensor:
    return weight.movedim(1, -1).flatten(0, -2) if along_channels else weight.flatten(1)


def _unrowed(rows: Tensor, shape: tuple[int, ...], along_channels: bool) -> Tensor:
    """The inverse of `_rowed`; columns beyond the weight's are dropped."""
    if not along_channels:
        return rows[:, :math.prod(shape[1:])].reshape(shape)
    outputs, inputs, *kernel = shape
    return rows[:, :inputs].reshape(outputs, *kernel, inputs).movedim(-1, 1)

"""HashedNets: the weights of a layer share a few parameters by a hash of their place, with a sign by a second hash.

Nothing but the parameters is stored: which one a weight is follows from its place and a seed.  The dense weights come back for
the hardware, so what is saved is storage and traffic, not multiplications.

Source: Chen and others, "Compressing Neural Networks with the Hashing Trick", 2015 (sections 4.1 and 4.3: the sign factor).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import CompressionError
from ..layerwise import check_part, check_whole, chosen_layers, copied
from .codes import SharedWeights, share

_MASK: Final = 0xFFFFFFFFFFFFFFFF


class HashedWeights(SharedWeights):
    """A weight of a shape from `count` parameters.

    Parameters
    ----------
    shape
        Of the weight; a weight's place is that in C order.
    count
        Parameters.
    seed
        Another seed is another hash function.
    """

    def __init__(self, shape: tuple[int, ...], count: int, seed: int) -> None:
        super().__init__()
        self.entries_shape, self.seed = (count,), seed
        places = np.arange(math.prod(shape), dtype=np.uint64)
        hashes = mixed(places, seed)
        positions = (hashes >> np.uint64(1)) % np.uint64(count)
        signs = 1 - 2 * (mixed(places, seed + 1) >> np.uint64(63)).astype(np.int8)
        # Both follow from the seed: a saved network doesn't hold them.
        self.register_buffer("hashed_positions", torch.from_numpy(positions.astype(np.int64)).view(shape), persistent=False)
        self.register_buffer("hashed_signs", torch.from_numpy(signs).view(shape), persistent=False)

    def positions(self) -> Tensor:
        return self.get_buffer("hashed_positions")

    def signs(self) -> Tensor:
        return self.get_buffer("hashed_signs")


def hash_weights(network: nn.Module, density: float | Mapping[str, float], *, layers: Iterable[str] | None = None,
                 seed: int = 0) -> nn.Module:
    """A copy of a trained network whose layers compute their weights from few parameters, each the mean of its weights.

    That start is the nearest in the sum of squares; as the hash knows nothing of the weights it is a bad network, to be
    trained.  `finish_sharing` makes a plain network afterwards.

    Parameters
    ----------
    network
        With `nn.Linear` and `nn.Conv2d` layers.
    density
        Parameters as a part of a layer's weights, in (0, 1]; at least one is kept.  A mapping gives each layer that it names its
        own and leaves others alone.
    layers
        Names of the layers; all by default.
    seed
        Of the hash functions, one for each layer.

    Raises
    ------
    CompressionError
        A density is out of range, a layer isn't there or can't be changed, or there is none.
    """
    check_whole("the seed", seed, 0)
    if isinstance(density, Mapping):
        if layers is not None:
            raise CompressionError("densities by layer name the layers: leave `layers` out")
        layers = density
    network = copied(network)
    for number, (name, layer) in enumerate(chosen_layers(network, layers).items()):
        part = check_part(f"the density of layer `{name}`", density[name] if isinstance(density, Mapping) else density)
        count = max(1, math.floor(part * layer.weight.numel() + 0.5))
        # Two hash functions for a layer: neighbours share none.
        share(layer, HashedWeights(tuple(layer.weight.shape), count, 2 * (seed + (number << 32))))
    return network


def mixed(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """A 64-bit hash of numbers, the same on every machine.

    The seed's multiple of the golden ratio is added; then the finalizer of SplitMix64 mixes (Steele and others, "Fast
    splittable pseudorandom number generators", 2014).
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    start = np.uint64((seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) & _MASK)
    with np.errstate(over="ignore"):
        z = numbers * golden + start
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

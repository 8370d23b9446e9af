"""Deep Compression: pruning, shared weights and fine-tuning, one behind the other; coding is a step of its own behind it.

Source: Han and others, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and Huffman Coding",
2016.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.fx import GraphModule

from quant.nn import QuantizationError, SharedQuant, cubic_density, density_report, finish_pruning, prune, quantize, share_weights
from quant.nn.checks import check_model
from quant.nn.layers import QuantWeights
from quant.nn.pruning import Density, Scope

from .errors import CompressionError

Retrain = Callable[[nn.Module], None]


def deep_compress(network: nn.Module, images: Tensor, retrain: Retrain, *, density: Density, codes: int | Mapping[str, int] = 16,
                  entry_bits: int = 8, rounds: int = 3, scope: Scope = "layer", **options: Any) -> GraphModule:
    """Prune in rounds, give the weights that are left a few values per layer by k-means, and fine-tune these values.

    The network is retrained after each round of pruning, with zeros that stay, and once more with shared values.  With
    ``retrain=distilled(teacher, ...)`` it learns from the network it was.

    Parameters
    ----------
    network
        In float, traceable by torch.fx; it isn't changed.
    images : shape (N, ...)
        To calibrate activations with.
    retrain
        Trains a network in place.  It is called `rounds` + 1 times; the last network is quantized.
    density
        Part of the weights to keep, in (0, 1]: of each layer, of all together (`scope`), or by layer.  A mapping leaves layers that
        it doesn't name unpruned.
    codes
        Values per layer, 2 or more, or a mapping from layers' names; layers that it doesn't name stay `quantize`'s integers.
        Sparse hardware whose codes of 4 bits include padding has room for 15.
    entry_bits
        Width of a value: 2 to 16.
    rounds
        Of pruning: densities fall along the cubic schedule of Zhu and Gupta, 2017.
    scope
        `layer` or `global`, as `quant.nn.prune`.
    **options
        As `quant.nn.quantize`: bits of activations, what the input's integers stand for.

    Returns
    -------
    A quantized network to be exported, in evaluation mode; codes and values are in each layer's `SharedQuant`.

    Raises
    ------
    CompressionError
        A density, a number of codes or of rounds is out of range, a layer isn't there, the retraining gave numbers that aren't
        finite, or the network can't be quantized.
    """
    if not isinstance(rounds, int) or rounds < 1:
        raise CompressionError(f"pruning takes 1 round or more, not {rounds}")
    found = copy.deepcopy(network)
    try:
        check_model(found)
        names = [one.layer for one in density_report(found)[:-1]]
        wanted = _codes(names, codes, entry_bits)
        for number in range(1, rounds + 1):
            prune(found, _density(density, number, rounds), scope=scope)
            retrain(found)
        finish_pruning(found)
        left = {one.layer: one.density for one in density_report(found)[:-1]}
        quantized = quantize(found, images[:1], images, **options)
    except (ValueError, QuantizationError) as error:
        raise CompressionError(f"{type(network).__name__} can't be compressed: {error}") from error
    for name, count in wanted.items():
        layer = quantized.get_submodule(name)
        assert isinstance(layer, QuantWeights)
        layer.weight_quant = SharedQuant(count, entry_bits=entry_bits)
    share_weights(quantized)
    # Shared weights of 0 stay so by themselves; those of other layers need masks.
    masked = {name: kept for name, kept in left.items() if name not in wanted and kept < 1}
    if masked:
        prune(quantized, masked)
    retrain(quantized)
    finish_pruning(quantized)
    return quantized.eval()


def _density(final: Density, number: int, rounds: int) -> Density:
    """Of a round."""
    if isinstance(final, Mapping):
        return {name: cubic_density(number, begin=0, end=rounds, final=one) for name, one in final.items()}
    return cubic_density(number, begin=0, end=rounds, final=final)


def _codes(names: list[str], codes: int | Mapping[str, int], entry_bits: int) -> dict[str, int]:
    """Codes of each layer that shares weights.  Raises CompressionError, ValueError."""
    wanted = dict(codes) if isinstance(codes, Mapping) else dict.fromkeys(names, codes)
    for name, count in wanted.items():
        if name not in names:
            raise CompressionError(f"codes are given for `{name}`, but there is no such linear or convolutional layer; there are "
                                   + ", ".join(f"`{one}`" for one in names))
        SharedQuant(count, entry_bits=entry_bits)  # says what is wrong
    return wanted

"""Block-circulant weights: in each block of b by b weights, a wrapped diagonal holds one number, so a block stores b of them.

Hardware multiplies a block through FFTs of length b (`fft_product` is that arithmetic), or stores b numbers and rotates them.

Sources: Cheng and others, "An Exploration of Parameter Redundancy in Deep Networks with Circulant Projections", 2015; Ding and
others, "CirCNN: Accelerating and Compressing Deep Neural Networks Using Block-Circulant Weight Matrices", 2017 (blocks, and
convolutions over channels).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..errors import CompressionError
from ..layerwise import Layer, check_whole, chosen_layers, copied
from .codes import SharedWeights, share


class CirculantWeights(SharedWeights):
    """A weight whose blocks over outputs and inputs are circulant, one set of blocks for each tap of a kernel.

    With i and j the place in a block, a weight is entry ``(i - j) mod b`` of its block: the first column holds them in order.
    Blocks at the edge may be cut off, as if inputs were padded with zeros and outputs dropped.

    Parameters
    ----------
    shape
        Of the weight: (outputs, inputs) or (outputs, inputs / groups, kh, kw).
    block
        Side b of a block.
    groups
        Of a convolution: no block reaches from one into the next.
    """

    def __init__(self, shape: tuple[int, ...], block: int, groups: int = 1) -> None:
        super().__init__()
        self.block = block
        outputs, inputs, *kernel = shape
        taps = torch.Size(kernel).numel()
        per_group = outputs // groups
        down, across = -(-per_group // block), -(-inputs // block)
        #: blocks down, blocks across, taps of the kernel, entries of a block
        self.entries_shape = groups * down, across, taps, block
        output, i, j = torch.arange(outputs), torch.arange(outputs) % per_group, torch.arange(inputs)
        place = ((output // per_group * down + i // block)[:, None] * across + j // block)[..., None] * taps + torch.arange(taps)
        entry = (i[:, None] - j) % block
        self.register_buffer("places", (place * block + entry[..., None]).view(shape), persistent=False)

    def positions(self) -> Tensor:
        return self.get_buffer("places")


def make_circulant(network: nn.Module, block: int, *, layers: Iterable[str] | None = None) -> nn.Module:
    """A copy of a trained network with block-circulant weights, projected: each wrapped diagonal becomes its mean.

    That is the nearest block-circulant weight in the sum of squares.  Training goes on from there; `finish_sharing` makes a
    plain network afterwards.

    Parameters
    ----------
    network
        With `nn.Linear` and `nn.Conv2d` layers.
    block
        Side of a block, 2 or more: each block stores that many numbers instead of their square.
    layers
        Names of the layers; by default all that gain by it.  A layer with one input (depthwise, or the first convolution of a
        gray picture) doesn't.

    Raises
    ------
    CompressionError
        The block is below 2, a layer isn't there, can't be changed or doesn't gain, or none gains.
    """
    check_whole("the side of a block", block, 2)
    network = copied(network)
    named = layers is not None
    fewer = {}
    for name, layer in chosen_layers(network, layers).items():
        sharing = CirculantWeights(tuple(layer.weight.shape), block, _groups(layer))
        if torch.Size(sharing.entries_shape).numel() < layer.weight.numel():
            fewer[name] = layer, sharing
        elif named:
            raise CompressionError(f"layer `{name}` has {layer.weight.numel()} weights of shape {tuple(layer.weight.shape)}, and "
                                   f"circulant blocks of {block} would store as many or more: leave it out, or take another block")
    if not fewer:
        raise CompressionError(f"no layer of {type(network).__name__} gains by circulant blocks of {block}: take smaller ones")
    for layer, sharing in fewer.values():
        share(layer, sharing)
    return network


def fft_product(blocks: Tensor, x: Tensor, outputs: int) -> Tensor:
    """The product of a block-circulant matrix and inputs as hardware with FFTs computes it.

    Every block of the input is transformed once, products are summed in the frequency domain, and every block of the output is
    transformed back once.

    Parameters
    ----------
    blocks : shape (blocks down, blocks across, b)
        First columns of the blocks: entries of `CirculantWeights` for a linear layer, without the axis of taps.
    x : shape (..., inputs)
    outputs
        At most blocks down * b.

    Returns
    -------
    Tensor, shape (..., outputs)

    Raises
    ------
    CompressionError
        The shapes don't fit.
    """
    down, across, block = blocks.shape
    if not (across - 1) * block < x.shape[-1] <= across * block or not (down - 1) * block < outputs <= down * block:
        raise CompressionError(f"{down} by {across} blocks of {block} don't make a matrix of {outputs} outputs and {x.shape[-1]} "
                               "inputs: give the blocks of that matrix")
    padded = nn.functional.pad(x, (0, across * block - x.shape[-1])).reshape(*x.shape[:-1], across, block)
    spectrum: Tensor = torch.einsum("pqf,...qf->...pf", torch.fft.rfft(blocks), torch.fft.rfft(padded))
    product: Tensor = torch.fft.irfft(spectrum, n=block)
    return product.flatten(-2)[..., :outputs]


def _groups(layer: Layer) -> int:
    return layer.groups if isinstance(layer, nn.Conv2d) else 1

"""Least squares on data: shared entries are moved so that each layer's outputs come as near as they can to the float network's.

Weights that share entries are linear in them, so the best entries solve one linear system for each layer.  Layers are corrected
in the network's order, each on the inputs that it gets from the layers corrected before: later ones make good errors of earlier
ones.  It takes a few hundred samples without labels, and no training.

Source: Wu and others, "Quantized Convolutional Neural Networks for Mobile Devices", 2016, section 3.3 (error correction of
product quantization); here for every kind of sharing, and solved for all entries together.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional

from ..errors import CompressionError
from ..layerwise import copied
from .codes import SharedWeights, entries_of, shared_layers

_BATCH: Final = 100
_STEPS: Final = 1000  # of conjugate gradients, at most
_TOLERANCE: Final = 1e-8


def fit_to_data(network: nn.Module, reference: nn.Module, images: Tensor) -> nn.Module:
    """A copy of a network with shared weights whose entries give the least squared error of every layer's outputs.

    Biases stay.  Of several solutions, the one nearest to the present entries is taken.

    Parameters
    ----------
    network
        As `product_quantize`, `hash_weights` or `make_circulant` make it.
    reference
        The network that it was made from.
    images : shape (N, ...)

    Raises
    ------
    CompressionError
        No layer has shared weights, the reference has other layers, or the images don't go through or aren't finite.
    """
    network, reference = copied(network), copied(reference).eval()
    if not isinstance(images, Tensor) or images.ndim < 2 or not len(images):
        raise CompressionError("the images must be a tensor of at least one sample, shape (N, ...)")
    if not bool(torch.isfinite(images).all()):
        raise CompressionError("the images hold numbers that aren't finite: repair them")
    modes = {part: part.training for part in network.modules()}
    network.eval()
    originals = dict(reference.named_modules())
    for name, layer, sharing in list(shared_layers(network)):
        original: Any = originals.get(name)
        if getattr(original, "weight", None) is None or original.weight.shape != layer.weight.shape:
            raise CompressionError(f"the reference has no layer `{name}` with a weight of shape {tuple(layer.weight.shape)}: give "
                                   "the network that the shared one was made from")
        squares, crossed = _moments((network, layer), (reference, original), images)
        _solve(layer, sharing, original.weight.detach().double(), squares, crossed)
    for part, training in modes.items():
        part.training = training
    return network


@torch.no_grad()
def _solve(layer: Any, sharing: SharedWeights, target: Tensor, squares: Tensor, crossed: Tensor) -> None:
    """Entries e with ``adjoint(forward(e) squares) = adjoint(target crossed)``, the normal equations."""
    entries = entries_of(layer)
    groups, depth = squares.shape[:2]

    def times(weight: Tensor, moments: Tensor) -> Tensor:
        return (weight.reshape(groups, -1, depth) @ moments).reshape(weight.shape)

    def normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
        weight = sharing(torch.from_numpy(values).view(sharing.entries_shape))
        product: NDArray[np.float64] = sharing.adjoint(times(weight, squares)).flatten().numpy()
        return product

    wanted = sharing.adjoint(times(target, crossed)).flatten().numpy()
    operator = LinearOperator((len(wanted), len(wanted)), matvec=normal, dtype=np.float64)
    start = entries.detach().double().flatten().numpy()
    found, _ = cg(operator, wanted, x0=start, rtol=_TOLERANCE, maxiter=_STEPS)
    entries.copy_(torch.from_numpy(found).view(sharing.entries_shape))


@torch.no_grad()
def _moments(ours: tuple[nn.Module, Any], theirs: tuple[nn.Module, Any], images: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over data and positions of our inputs' products with each other, and of the reference's with ours.

    Returns
    -------
    Both of shape (groups, depth, depth), float64.
    """
    squares = crossed = torch.zeros((), dtype=torch.float64)
    for batch in torch.split(images, _BATCH):
        (inputs, others) = (_inputs(network, layer, batch) for network, layer in (ours, theirs))
        for x, other in zip(inputs, others, strict=True):
            squares = squares + x.transpose(-1, -2) @ x
            crossed = crossed + other.transpose(-1, -2) @ x
    if not squares.ndim:
        raise CompressionError("a layer with shared weights isn't reached by the images: name only layers that are called")
    return squares, crossed


def _inputs(network: nn.Module, layer: Any, batch: Tensor) -> list[Tensor]:
    """What the layer's weight is multiplied with in each of its calls: (groups, positions, depth), float64."""
    found: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, arguments: found.append(_patches(module, arguments[0].double())))
    try:
        network(batch)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CompressionError(f"images of shape {tuple(batch.shape)} do not go through {type(network).__name__} "
                               f"({str(error).splitlines()[0][:150]})") from error
    finally:
        handle.remove()
    return found


def _patches(layer: Any, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2)[None] if x.ndim > 1 else x[None, None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)  # right for 'same', too
    columns = functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)  # (N, channels * taps, positions)
    count, depth, positions = columns.shape
    by_group = columns.reshape(count, layer.groups, depth // layer.groups, positions)
    return by_group.permute(1, 0, 3, 2).flatten(1, 2)

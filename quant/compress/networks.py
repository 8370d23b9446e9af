"""What each method of compression asks of a network, its layers and its data before it begins."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from quant.nn.checks import QuantizationError, check_model, check_samples, reason_of

from .errors import CompressionError

#: Layers whose outputs are products of a matrix of weights with rows of their inputs.
Layer = nn.Linear | nn.Conv1d | nn.Conv2d
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)

_Network = TypeVar("_Network", bound=nn.Module)


def checked_copy(network: _Network) -> _Network:
    """A copy of a plain float32 network with finite numbers, with the modes of its modules.

    Raises
    ------
    CompressionError
        It is none: `quant.nn.quantize` refuses it, too.
    """
    try:
        check_model(network)
    except QuantizationError as error:
        raise CompressionError(str(error)) from None
    return copy.deepcopy(network)


def chosen_layers(network: nn.Module, names: Iterable[str] | None = None,
                  kinds: tuple[type[nn.Module], ...] = LAYERS) -> dict[str, Any]:
    """The layers of a network that a method works on, by name, in the network's order.

    Parameters
    ----------
    network
    names
        Of the layers; all of these kinds by default.
    kinds
        Classes of layers that the method can do.

    Raises
    ------
    CompressionError
        There is none; a name isn't one of a layer of these kinds; two layers share one parameter.
    """
    known = " or ".join(one.__name__ for one in kinds)
    found: dict[str, Any] = {name: layer for name, layer in network.named_modules() if isinstance(layer, kinds)}
    if not found:
        raise CompressionError(f"{type(network).__name__} has no layer to compress: none in it is a {known}")
    if names is not None:
        names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
        if not names:
            raise CompressionError("no layer to compress was named: leave the names out to take all")
        for name in names:
            if name not in found:
                raise CompressionError(f"{type(network).__name__} has no {known} `{name}`: name some of "
                                       + ", ".join(f"`{one}`" for one in found))
        found = {name: layer for name, layer in found.items() if name in names}
    _check_untied(network, found)
    return found


def _check_untied(network: nn.Module, chosen: dict[str, Any]) -> None:
    """Refuse parameters that two modules hold: what is done to one would be done to the other behind its back."""
    owners: dict[int, str] = {}
    for name, part in network.named_modules():
        for parameter in part.parameters(recurse=False):
            other = owners.setdefault(id(parameter), name)
            if other != name and (name in chosen or other in chosen):
                raise CompressionError(f"layers `{other}` and `{name}` share a parameter: give each a copy of its own, or call one "
                                       "module twice")


def check_images(network: nn.Module, images: Any) -> None:
    """Refuse what are no finite samples that go through a network, which is tried with the first.

    Raises
    ------
    CompressionError
        Says what is wrong with them.
    """
    try:
        check_samples(images, "the calibration data")
    except QuantizationError as error:
        raise CompressionError(str(error)) from None
    if not len(images):
        raise CompressionError(f"the calibration data, of shape {tuple(images.shape)}, are empty: give some samples")
    if len(bad := images[~torch.isfinite(images)]):
        raise CompressionError(f"the calibration data hold {bad[0].item()}: they must be finite")
    forward(network, images[:1])


def forward(network: nn.Module, images: Tensor) -> Tensor:
    """The network's outputs in evaluation mode, without gradients; modes are as before afterwards.

    Raises
    ------
    CompressionError
        The images don't go through.
    """
    modes = {part: part.training for part in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            outputs: Tensor = network(images)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise CompressionError(f"calibration data of shape {tuple(images.shape)}, {images.dtype}, do not go through "
                               f"{type(network).__name__} ({reason_of(error)}): give data like those it was trained on") from error
    finally:
        for part, training in modes.items():
            part.training = training
    return outputs


def check_part(what: str, value: Any) -> None:
    """Refuse a budget that isn't in (0, 1].  Raises CompressionError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise CompressionError(f"{what} must be above 0 and at most 1, not {value}")

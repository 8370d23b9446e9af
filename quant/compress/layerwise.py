"""What methods that change a network layer by layer share: which layers, that their numbers are sound, and putting others in."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import nn

from .errors import CompressionError

#: A float layer that a method can change; exactly these classes, as a subclass may compute something else.
Layer = nn.Linear | nn.Conv2d
_KINDS: Final = (nn.Linear, nn.Conv2d)


def copied(network: nn.Module) -> nn.Module:
    """A deep copy, which a method then changes.

    Raises
    ------
    CompressionError
        It is no module, or torch can't copy it.
    """
    if not isinstance(network, nn.Module):
        raise CompressionError(f"the network must be a torch.nn.Module, not a {type(network).__name__}")
    try:
        return copy.deepcopy(network)
    except (RuntimeError, TypeError) as error:
        raise CompressionError(f"{type(network).__name__} can't be copied ({str(error).splitlines()[0][:100]}): "
                               "call quant.nn.finish_pruning on it, or remove what torch can't copy") from error


def chosen_layers(network: nn.Module, names: Iterable[str] | None) -> dict[str, Layer]:
    """The linear and 2-D convolutional layers to change, by the names that were given, in the network's order.

    Parameters
    ----------
    network
    names
        All such layers if None.

    Raises
    ------
    CompressionError
        There is none, a name is unknown or that of another kind of module, or a layer's weight isn't a plain, finite parameter
        of its own.
    """
    every = dict(network.named_modules(remove_duplicate=False))  # a layer that is called twice may have two names
    if names is None:
        wanted = [name for name, one in network.named_modules() if type(one) in _KINDS]
        if not wanted:
            raise CompressionError(f"{type(network).__name__} has no nn.Linear and no nn.Conv2d to compress"
                                   + _almost(every.values()))
    else:
        wanted = [names] if isinstance(names, str) else list(names)
        if not wanted:
            raise CompressionError("no layer was named: name one, or leave the names out to take all")
    found: dict[int, tuple[str, Any]] = {}
    for name in wanted:
        layer = every.get(name)
        if layer is None or type(layer) not in _KINDS:
            problem = "is not there" if layer is None else f"is a {type(layer).__name__}, neither an nn.Linear nor an nn.Conv2d"
            known = ", ".join(f"`{one}`" for one, part in every.items() if type(part) in _KINDS) or "none"
            raise CompressionError(f"layer `{name}` of {type(network).__name__} {problem}; layers to compress are {known}"[:400])
        if found.setdefault(id(layer), (name, layer))[0] != name:
            raise CompressionError(f"`{found[id(layer)][0]}` and `{name}` are one layer of {type(network).__name__}: name it once")
    owners: dict[int, list[str]] = {}
    for name, one in network.named_modules():
        for parameter in one._parameters.values():
            owners.setdefault(id(parameter), []).append(name)
    for name, layer in found.values():
        _check_weight(name, layer)
        if len(tied := owners[id(layer.weight)]) > 1:
            raise CompressionError(f"layers `{tied[0]}` and `{tied[1]}` share one weight: give each a copy, or name other layers")
    return {found[key][0]: found[key][1] for key in map(id, network.modules()) if key in found}


def check_part(what: str, value: Any) -> float:
    """A part in (0, 1], as a float.  Raises CompressionError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise CompressionError(f"{what} must be above 0 and at most 1, not {value}")
    return float(value)


def check_whole(what: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number in a range.  Raises CompressionError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise CompressionError(f"{what} must be a whole number {bounds}, not {value}")
    return value


def replaced(network: nn.Module, replacements: Mapping[int, nn.Module]) -> nn.Module:
    """The network with modules replaced, under all of their names, in place; the replacement itself if the network is one.

    Parameters
    ----------
    network
    replacements
        New modules by the `id` of the old ones.
    """
    for parent in list(network.modules()):
        for name, child in parent._modules.items():  # named_children leaves a second name out
            parent._modules[name] = replacements.get(id(child), child)  # None stays None
    return replacements.get(id(network), network)


def _check_weight(name: str, layer: Layer) -> None:
    where = f"layer `{name}`" if name else type(layer).__name__
    if "weight" not in layer._parameters:
        raise CompressionError(f"{where} computes its weight from other parameters: call quant.nn.finish_pruning, finish_sharing "
                               "or torch.nn.utils.parametrize.remove_parametrizations first")
    for parameter in (layer.weight, layer.bias):
        if parameter is None:
            continue
        if torch.nn.parameter.is_lazy(parameter) or parameter.is_meta:
            raise CompressionError(f"{where} has no values yet: load or train the network first")
        if parameter.dtype not in (torch.float32, torch.float64):
            raise CompressionError(f"{where} holds {parameter.dtype}: call `.float()` on the network")
        if len(bad := parameter.detach()[~torch.isfinite(parameter.detach())]):
            raise CompressionError(f"{where} holds {bad[0].item()}: weights must be finite; load or train the network again")
    if not layer.weight.numel():
        raise CompressionError(f"{where} has an empty weight of shape {tuple(layer.weight.shape)}: leave the layer out")


def _almost(modules: Iterable[nn.Module]) -> str:
    """What stands in place of layers, for the end of a sentence."""
    for one in modules:
        if isinstance(one, _KINDS):
            return f"; its {type(one).__name__} is computed otherwise: give the float network, before quantizing or sharing"
    return ""

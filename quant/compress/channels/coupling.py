"""Which channels of a network can only stay or go together.

A channel that one layer makes passes batch norms, activations, depthwise convolutions, additions and concatenations
until other layers read it: taking it out cuts all of them.  torch-pruning finds the paths in the autograd graph; here they are
followed channel by channel, and what is found is tried (`units`).

Source: Fang and others, "DepGraph: Towards Any Structural Pruning", 2023 (torch-pruning).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
import torch_pruning
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning._helpers import _HybridIndex

from quant.nn.checks import reason_of

from ..errors import CompressionError
from ..networks import check_images, checked_copy, chosen_layers
from .units import FOLLOWERS, LAYERS, Unit, holds, is_depthwise, made_weights, read_weights

_MIXED: Final = ("between them and the layers that read them, the forward function mixes channels or has their number in it (use "
                "operations that keep channels apart, and flatten(x, 1))")
#: Name of the module, where it is (out, in, through or another operation), index.
_Channel = tuple[str, str, int]


@dataclass(frozen=True, eq=False)
class Group:
    """Layers whose channels are coupled with each other, by additions for example.

    Members
    -------
    layers
        Names, in the network's order.
    units
        Ordered by the channels of the first layer.
    """

    layers: tuple[str, ...]
    units: tuple[Unit, ...]

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of the layers that read any of the channels."""
        return tuple(dict.fromkeys(name for unit in self.units for name in unit.inputs))


@dataclass(frozen=True, eq=False)
class Coupling:
    """All channels of a network.

    Members
    -------
    groups
        In the network's order.
    sizes
        Output channels of each layer.
    followers
        Depthwise convolutions: their channels are those of the layers before.
    """

    groups: tuple[Group, ...]
    sizes: dict[str, int]
    followers: tuple[str, ...]

    def group_of(self, layer: str) -> Group:
        """The group that a layer is in.

        Raises
        ------
        CompressionError
            There is no such layer.
        """
        found = next((group for group in self.groups if layer in group.layers), None)
        if found is None:
            if layer in self.followers:
                raise CompressionError(f"layer `{layer}` is a depthwise convolution, whose channels are those that it reads: prune "
                                       "the layer before it instead")
            raise CompressionError(f"there is no linear or convolutional layer `{layer}`; the network's are "
                                   + ", ".join(f"`{one}`" for one in self.sizes))
        return found

    @property
    def prunable(self) -> tuple[str, ...]:
        """Names of the layers of which channels can go."""
        return tuple(name for name in self.sizes if any(name in unit.outputs and not unit.fixed
                                                        for unit in self.group_of(name).units))


def prunable_layers(network: nn.Module, coupling: Coupling) -> tuple[str, ...]:
    """Names of the layers of which channels can go.

    Raises
    ------
    CompressionError
        There is none; with why.
    """
    if not coupling.prunable:
        reasons = dict.fromkeys(unit.fixed for group in coupling.groups for unit in group.units)
        raise CompressionError(f"{type(network).__name__} has no channels that can go: {'; '.join(reasons)}; take a method that "
                               "leaves channels in their places, such as pruning by magnitude")
    return coupling.prunable


@dataclass
class _Found:
    """Sets of coupled channels while they grow: a forest of parents."""

    parents: dict[_Channel, _Channel] = field(default_factory=dict)

    def root(self, one: _Channel) -> _Channel:
        path = []
        while self.parents.setdefault(one, one) != one:
            path.append(one)
            one = self.parents[one]
        for step in path:
            self.parents[step] = one
        return one

    def join(self, one: _Channel, other: _Channel) -> None:
        self.parents[self.root(other)] = self.root(one)


def couple(network: nn.Module, images: Tensor) -> Coupling:
    """Find the units of a network.

    Parameters
    ----------
    network
        In any mode; it isn't changed.
    images : shape (N, ...)
        One or two samples are enough.

    Raises
    ------
    CompressionError
        The network has no layers, weights that aren't finite, or a form that can't be followed.
    """
    twin = checked_copy(network).eval().requires_grad_(True)
    chosen_layers(network, None, LAYERS)
    check_images(network, images)
    names = {module: name for name, module in twin.named_modules()}
    x = nn.Parameter(images[:2].detach().clone())
    graph = torch_pruning.DependencyGraph()
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The input as a parameter, and an operation behind all: what is coupled with input and output is seen.
            graph.build_dependency(twin, x, forward_fn=lambda module, given: module(given) * 1.0, verbose=False,
                                   unwrapped_parameters=[(x, 1)])
    except Exception as error:  # whatever a forward function raises
        raise CompressionError(f"the channels of {type(network).__name__} can't be followed through samples of shape "
                               f"{tuple(images.shape[1:])}: {reason_of(error)}; give samples like those it was made for") from error
    found, reasons = _followed(graph, names, x)
    modules = {name: module for module, name in names.items()}
    made = {name for name, kind, _ in found.parents if kind == "out"}
    sizes = {name: len(made_weights(layer)) for name, layer in modules.items() if name in made}
    if not sizes:
        raise CompressionError(f"{type(network).__name__} has no layers to prune: none that it runs is linear or convolutional")
    followers = tuple(name for name, module in modules.items() if isinstance(module, LAYERS) and is_depthwise(module))
    return Coupling(_tried(network, images, _groups(_units(found, reasons, sizes), list(sizes))), sizes, followers)


def _followed(graph: Any, names: dict[nn.Module, str], x: nn.Parameter) -> tuple[_Found, dict[_Channel, str]]:
    """Coupled channels of all layers, and why some can't go.

    torch-pruning's own walk, `get_pruning_group`, takes all channels of a layer together.  This one takes each by itself, so that
    channels of one layer that are coupled show, and it ends where indices run away.
    """
    found, reasons = _Found(), dict[_Channel, str]()
    most = max(max(layer.weight.shape[:2]) for layer in names if isinstance(layer, LAYERS))
    visited: dict[tuple[Any, str, int], _Channel] = {}
    for layer in names:
        if not isinstance(layer, LAYERS) or layer not in graph.module2node:
            continue
        node, begin = graph.module2node[layer], graph.get_pruner_of_module(layer).prune_out_channels
        for index in range(graph.get_out_channels(layer)):
            stack, first = [(node, begin, index)], _channel(node, begin, index, names, x)[0]
            while stack:
                node_now, handler, index_now = stack.pop()
                channel, reason = _channel(node_now, handler, index_now, names, x)
                found.join(first, channel)
                if reason:
                    reasons[channel] = reason
                if visited.setdefault((node_now, handler.__name__, index_now), first) != first or index_now >= most:
                    found.join(first, visited[node_now, handler.__name__, index_now])
                    continue
                for step in node_now.dependencies:
                    if step.is_triggered_by(handler):
                        stack += [(step.target, step.handler, one) for one in _mapped(step, index_now)
                                  if visited.get((step.target, step.handler.__name__, one)) != first]
    return found, reasons


def _mapped(step: Any, index: int) -> list[int]:
    """Where a channel goes in the next operation."""
    indices = [_HybridIndex(index, index)]
    for mapping in step.index_mapping:
        indices = indices if mapping is None else mapping(indices)
    return [one.idx for one in indices]


def _channel(node: Any, handler: Any, index: int, names: dict[nn.Module, str], x: nn.Parameter) -> tuple[_Channel, str]:
    """One channel at one of torch-pruning's nodes, and why it can't go, if so."""
    module = node.module
    if isinstance(module, LAYERS) and not is_depthwise(module):
        name = names[module]
        kind = "in" if handler.__name__ == "prune_in_channels" else "out"
        reason = _grouped(name) if getattr(module, "groups", 1) > 1 else ""
        if kind == "in" and not reason and index >= len(read_weights(module)):  # torch-pruning lost track
            reason = _MIXED
        return (name, kind, index), reason
    if isinstance(module, (*LAYERS, *FOLLOWERS)):
        return (names[module], "through", index), ""
    if isinstance(module, nn.Parameter):
        what = "the network's input" if module is x else "a parameter that isn't of a layer"
        return ("", f"parameter {id(module)}", index), f"they are coupled with {what}"
    if node.type == ops.OPTYPE.OUTPUT:
        return ("", "output", index), "they are the network's outputs"
    if module in names and node.type != ops.OPTYPE.ELEMENTWISE:
        return (names[module], "through", index), f"`{names[module]}` is a {type(module).__name__}, which mixes channels"
    return ("", f"operation {id(module)}", index), ""


def _grouped(name: str) -> str:
    return f"`{name}` is a grouped convolution, whose groups must stay of one size"


def _units(found: _Found, reasons: dict[_Channel, str], sizes: dict[str, int]) -> list[Unit]:
    members: dict[_Channel, list[_Channel]] = {}
    for one in found.parents:
        members.setdefault(found.root(one), []).append(one)
    units = []
    for ones in members.values():
        by_kind: dict[str, dict[str, list[int]]] = {"out": {}, "through": {}, "in": {}}
        for name, kind, index in sorted(ones):
            if name:
                by_kind[kind].setdefault(name, []).append(index)
        fixed = next((reasons[one] for one in ones if one in reasons), "")
        if not fixed and any(len(indices) == sizes[name] > 1 for name, indices in by_kind["out"].items()):
            fixed = _MIXED
        out, through, read = ({name: tuple(indices) for name, indices in part.items()} for part in by_kind.values())
        units.append(Unit(out, through, read, fixed))
    return units


def _groups(units: list[Unit], order: list[str]) -> tuple[Group, ...]:
    place = {name: position for position, name in enumerate(order)}
    groups: list[tuple[set[str], list[Unit]]] = []
    for unit in units:
        if not unit.outputs:
            continue  # channels of the network's input behind a depthwise layer
        layers, together = set(unit.outputs), [unit]
        for group in [group for group in groups if group[0] & layers]:
            groups.remove(group)
            layers |= group[0]
            together = group[1] + together
        groups.append((layers, together))

    def first(unit: Unit) -> tuple[int, int]:
        return min((place[name], min(indices)) for name, indices in unit.outputs.items())

    made = [Group(tuple(sorted(layers, key=place.__getitem__)), tuple(sorted(together, key=first))) for layers, together in groups]
    return tuple(sorted(made, key=lambda group: place[group.layers[0]]))


def _tried(network: nn.Module, images: Tensor, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """The groups; those whose channels torch-pruning didn't follow rightly, or the forward function counts, are fixed."""
    samples = {}
    for group in groups:
        free = [unit for unit in group.units if not unit.fixed]
        # More at the front than behind, so that channels that are mixed up or split in fixed sizes show.
        samples[group] = free[:len(free) // 3] + free[-1:] if len(group.units) > 1 else []
    if holds(network, images, [unit for some in samples.values() for unit in some]):
        return groups
    return tuple(group if holds(network, images, samples[group]) else
                 replace(group, units=tuple(replace(unit, fixed=unit.fixed or _MIXED) for unit in group.units)) for group in groups)

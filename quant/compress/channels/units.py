"""Units of channels, and how they are taken out of a network.

What is taken out is checked: a network of the same structure with random weights must give the same with the channels gone as
with the weights that read them at 0.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.pruner.function import PrunerBox

from ..errors import CompressionError
from ..networks import LAYERS as DIRECT
from ..networks import TRANSPOSED

#: Layers that make new channels of those that they read.
LAYERS: Final = (*DIRECT, *TRANSPOSED)
#: Modules that treat each channel by itself.
FOLLOWERS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)
_TOLERANCE: Final = 1e-9  # of the check, in float64, of the largest output

Channels = dict[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Unit:
    """Channels that can only stay or go together.

    Members
    -------
    outputs
        By the layers that make them: indices of output channels.
    followers
        By the modules that only pass them on (batch norms, depthwise convolutions): indices of channels.
    inputs
        By the layers that read them: indices of input channels, or of input features behind a flattening.
    fixed
        Why they can't go; empty if they can.
    """

    outputs: Channels
    followers: Channels
    inputs: Channels
    fixed: str


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a layer makes each channel of that channel alone."""
    return (isinstance(layer, (nn.Conv1d, nn.Conv2d, *TRANSPOSED)) and layer.groups > 1
            and layer.groups == layer.in_channels == layer.out_channels)


def cut(network: nn.Module, dropped: Iterable[Unit]) -> nn.Module:
    """A copy of the network without these units; not checked."""
    smaller = copy.deepcopy(network)
    gone: dict[tuple[str, bool], set[int]] = {}
    for unit in dropped:
        for into, part in ((True, unit.inputs), (False, unit.outputs), (False, unit.followers)):
            for name, indices in part.items():
                gone.setdefault((name, into), set()).update(indices)
    with torch.no_grad():
        for (name, into), chosen in gone.items():
            module = smaller.get_submodule(name)
            pruner = PrunerBox[ops.module2type(module)]
            if isinstance(module, nn.PReLU) and module.num_parameters == 1:
                continue
            (pruner.prune_in_channels if into else pruner.prune_out_channels)(module, sorted(chosen))
    return smaller


@torch.no_grad()
def silence(network: nn.Module, dropped: Iterable[Unit]) -> None:
    """Put to 0, in place, the weights that read these units: the network then computes what it does without them."""
    for unit in dropped:
        for name, indices in unit.inputs.items():
            read_weights(network.get_submodule(name))[list(indices)] = 0


def read_weights(layer: Any) -> Tensor:
    """A view of a layer's weights, input channels first."""
    weight: Tensor = layer.weight.detach()
    return weight if isinstance(layer, TRANSPOSED) else weight.transpose(0, 1)


def made_weights(layer: Any) -> Tensor:
    """A view of a layer's weights, output channels first, differentiable."""
    weight: Tensor = layer.weight
    return weight.transpose(0, 1) if isinstance(layer, TRANSPOSED) else weight


def check_cut(network: nn.Module, images: Tensor, dropped: list[Unit]) -> None:
    """Check, with random weights, that a network without units computes what it does with their readers at 0.

    Raises
    ------
    CompressionError
        It doesn't.
    """
    if not holds(network, images, dropped):
        layers = dict.fromkeys(name for unit in dropped for name in unit.outputs)
        raise CompressionError(f"these channels of {listed(layers)} can't be taken out of {type(network).__name__}: its forward "
                               "function depends on how many there are; prune fewer layers, or take sizes out of that function")


def holds(network: nn.Module, images: Tensor, dropped: list[Unit]) -> bool:
    """Whether a network with random weights computes the same without units as with their readers at 0."""
    generator = torch.Generator().manual_seed(0)

    def draw(shape: torch.Size) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    twin = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        for part in twin.modules():
            for name, values in part.named_parameters(recurse=False):
                wide = isinstance(part, LAYERS) and name == "weight"
                # Sums of many keep their size; all else is positive, so that little dies in a ReLU.
                values.copy_((draw(values.shape) - 0.4) * (12 / values[0].numel()) ** 0.5 if wide else draw(values.shape) + 0.5)
            for statistics in part.buffers(recurse=False):
                if isinstance(part, FOLLOWERS) and statistics.is_floating_point():
                    statistics.copy_(draw(statistics.shape) + 0.5)
        x = draw(torch.Size((min(2, len(images)), *images.shape[1:])))
        try:
            smaller = cut(twin, dropped)
            silence(twin, dropped)
            ours, wanted = smaller(x), twin(x)
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
        return ours.shape == wanted.shape and bool((ours - wanted).abs().max() <= _TOLERANCE * wanted.abs().max())


def listed(names: Iterable[str]) -> str:
    """Names as an error shows them."""
    return ", ".join(f"`{name}`" for name in names)

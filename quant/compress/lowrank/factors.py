"""Low-rank layers: a linear layer or a convolution becomes a chain of cheaper ones.

Sources: Jaderberg and others, "Speeding up Convolutional Neural Networks with Low Rank Expansions", 2014; Lebedev and others,
"Speeding-up Convolutional Neural Networks Using Fine-tuned CP-Decomposition", 2015; Zhang and others, "Accelerating Very Deep
Convolutional Networks for Classification and Detection", 2015 (along channels, on the outputs' statistics); Kim and others,
"Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications", 2016 (Tucker).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..counts import counts
from ..errors import CompressionError
from ..layerwise import Layer, check_part, chosen_layers, copied, replaced
from .decompose import METHODS, Method, Positions, Rank, cost, decomposed, from_outputs, size_of, spectra
from .ranks import Candidate, given_ranks, ranks_by_budget, ranks_by_energy

Float = NDArray[np.float64]
_BATCH = 100
_ONE = Positions(1, 1, 1)


class Costs(NamedTuple):
    """What a network costs.

    Members
    -------
    parameters
        All its numbers that are trained.
    macs
        Multiplications of its linear layers and convolutions, for one sample.
    """

    parameters: int
    macs: int


def lowrank(network: nn.Module, method: Method = "channel", *, rank: Rank | Mapping[str, Rank] | None = None,
            energy: float | None = None, keep: float | None = None, of: Literal["parameters", "macs"] = "parameters",
            layers: Iterable[str] | None = None, example_input: Tensor | None = None, images: Tensor | None = None,
            seed: int = 0) -> nn.Module:
    """A copy of a network with low-rank layers.  Exactly one of `rank`, `energy` and `keep` says how low.

    Every layer that changes becomes an `nn.Sequential` of plain layers, wherever the network calls it.  Training it further
    restores most of the accuracy; no weight needs to be watched.

    Parameters
    ----------
    network
        With `nn.Linear` layers, which become two by SVD whatever the method, and `nn.Conv2d` layers with one group.
    method
        For convolutions: ``channel``, ``channel_in``, ``spatial``, ``tucker`` or ``cp``; `decompose` says what they are.
    rank
        For all layers that gain by it, or by the layers' names.  Of Tucker, two numbers are those of outputs and of inputs, and
        leave linear layers alone.
    energy
        Part of the squared singular values to keep in each layer, in (0, 1]; not for CP, which has none.  Layers that wouldn't get
        smaller are left alone.
    keep, of
        Part of the whole network's parameters or multiplications (`costs`) to keep at most, in (0, 1]; the layers' ranks are
        chosen to lose as little energy as they can.
    layers
        Names of the layers; by default all that can be decomposed.
    example_input : shape (N, ...)
        Gives the positions that multiplications are counted at.
    images : shape (N, ...)
        With them, linear layers and ``channel`` lose the least of their outputs' variance on these data, not of their weights'
        energy.
    seed
        Of CP's second start.

    Raises
    ------
    CompressionError
        A number is out of range (a rank above the matrix's), a layer isn't there, has groups or can't be changed, the budget can't
        be met, or no layer gains.
    """
    if method not in METHODS:
        raise CompressionError(f"the method is {', '.join(METHODS)}, not {method!r}")
    if sum(one is not None for one in (rank, energy, keep)) != 1:
        raise CompressionError("give exactly one of rank, energy and keep")
    if isinstance(rank, Mapping):
        if layers is not None:
            raise CompressionError("ranks by layer name the layers: leave `layers` out")
        layers = rank
    network = copied(network)
    chosen = _with_one_group(network, layers)
    statistics = {} if images is None else _output_statistics(network, chosen, method, images)
    at = _positions(network, chosen, example_input) if keep is not None and of == "macs" else {}
    candidates = {name: Candidate(size_of(layer), [statistics[name][0]] if name in statistics else spectra(layer.weight, method),
                                  at.get(name, _ONE)) for name, layer in chosen.items()}
    if keep is not None:
        ranks = _by_budget(network, candidates, method, check_part("keep", keep), of, example_input)
    elif energy is not None:
        ranks = ranks_by_energy(candidates, method, energy)
    else:
        ranks = given_ranks(candidates, method, rank, named=layers is not None)
    if not ranks:
        asked = f"rank {rank}" if rank is not None else f"energy {energy}" if energy is not None else f"keep {keep}"
        raise CompressionError(f"no layer of {type(network).__name__} gets smaller by '{method}' with {asked}: ask for less, or "
                               "try another method")
    new: dict[int, nn.Module] = {}
    for name, one in ranks.items():
        layer = chosen[name]
        if name in statistics and isinstance(one, int):
            new[id(layer)] = from_outputs(layer, *statistics[name][1:], one)
        else:
            new[id(layer)] = decomposed(layer, method, one, seed=seed)
    return replaced(network, new)


def costs(network: nn.Module, example_input: Tensor) -> Costs:
    """Parameters, and multiplications for one sample.

    Parameters
    ----------
    network
    example_input : shape (N, ...)
        Its first sample is run.

    Raises
    ------
    CompressionError
        The example doesn't go through.
    """
    _, parameters, macs = counts(copied(network), _one_sample(example_input))[-1]
    return Costs(parameters, macs)


def _with_one_group(network: nn.Module, names: Iterable[str] | None) -> dict[str, Layer]:
    """The layers to decompose; those with groups are left alone unless they are named."""
    chosen = chosen_layers(network, names)
    grouped = {name: layer for name, layer in chosen.items() if isinstance(layer, nn.Conv2d) and layer.groups > 1}
    if names is not None and grouped:
        name, layer = next(iter(grouped.items()))
        raise CompressionError(f"layer `{name}` has {layer.groups} groups: only convolutions with one group are decomposed, so "
                               "leave it out")
    return {name: layer for name, layer in chosen.items() if name not in grouped}


def _by_budget(network: nn.Module, candidates: Mapping[str, Candidate], method: Method, keep: float, of: str,
               example_input: Tensor | None) -> dict[str, Rank]:
    if of == "parameters":
        total = sum(one.numel() for one in network.parameters())
    elif of == "macs":
        assert example_input is not None  # positions were counted with it
        total = costs(network, example_input).macs
    else:
        raise CompressionError(f"what is kept a part of is 'parameters' or 'macs', not {of!r}")
    fixed = total - sum(cost(one.size, method, None, one.positions) for one in candidates.values())
    return ranks_by_budget(candidates, method, int(keep * total), fixed, lambda one: one.positions, of)


def _positions(network: nn.Module, layers: Mapping[str, Layer], example_input: Tensor | None) -> dict[str, Positions]:
    """Where each layer computes for one sample, over all its calls; 0 for a layer that isn't called."""
    found = dict.fromkeys(layers, Positions(0, 0, 0))

    def note(name: str, layer: Layer, x: Tensor, y: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            count = y.numel() // y.shape[-1]
            one = Positions(count, count, count)
        else:
            (height, width), (below, right) = x.shape[-2:], y.shape[-2:]
            one = Positions(height * width, below * width, below * right)
        found[name] = Positions(*(sum(pair) for pair in zip(found[name], one, strict=True)))

    _run(network, layers, _one_sample(example_input), note)
    return found


def _one_sample(example_input: Tensor | None) -> Tensor:
    if not isinstance(example_input, Tensor) or example_input.ndim < 2 or not len(example_input):
        raise CompressionError("multiplications are counted with an example input of at least one sample, shape (N, ...): give one")
    return example_input[:1]


def _output_statistics(network: nn.Module, layers: Mapping[str, Layer], method: Method,
                       images: Tensor) -> dict[str, tuple[Float, Float, Float]]:
    """Of each layer's outputs without bias: variances along their principal directions, falling, these directions, and the mean."""
    if not isinstance(images, Tensor) or images.ndim < 2 or not len(images) or not bool(torch.isfinite(images).all()):
        raise CompressionError("the images must be a tensor of at least one sample, shape (N, ...), with finite numbers")
    sums: dict[str, list[Any]] = {}

    def note(name: str, layer: Layer, x: Tensor, y: Tensor) -> None:
        rows = (y if isinstance(layer, nn.Linear) else y.movedim(1, -1)).flatten(0, -2).double()
        if layer.bias is not None:
            rows = rows - layer.bias.double()
        entry = sums.setdefault(name, [0, 0.0, 0.0])
        for place, one in enumerate((len(rows), rows.sum(0), rows.t() @ rows)):
            entry[place] = entry[place] + one

    wanted = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear) or method == "channel"}
    for batch in torch.split(images, _BATCH):
        _run(network, wanted, batch, note)
    found = {}
    for name, (count, total, squares) in sums.items():
        mean = total / count
        values, vectors = torch.linalg.eigh(squares / count - torch.outer(mean, mean))
        most = min(wanted[name].weight.flatten(1).shape)  # no more directions than the weight has
        found[name] = (values.flip(0).clamp(min=0).numpy()[:most], vectors.flip(1).numpy(), mean.numpy())
    return found


@torch.no_grad()
def _run(network: nn.Module, layers: Mapping[str, Layer], x: Tensor, note: Any) -> None:
    """Run a copy's forward in evaluation mode and note each call of each layer: its name, itself, its input and its output."""
    handles = [layer.register_forward_hook(lambda one, arguments, y, name=name: note(name, one, arguments[0], y))
               for name, layer in layers.items()]
    modes = {part: part.training for part in network.modules()}
    try:
        network.eval()(x)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CompressionError(f"samples of shape {tuple(x.shape)} do not go through {type(network).__name__} "
                               f"({str(error).splitlines()[0][:150]})") from error
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes.items():
            part.training = training

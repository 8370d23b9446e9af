"""GAN Slimming: distillation, sparse channels and quantization as one objective, trained together; then channels are removed.

A student starts as a copy of its teacher and minimizes ``loss(student(x), teacher(x)) + sparsity * sum |scale|`` while its weights
and activations pass through quantizers.  Scales are those of batch norms, one per channel; a proximal step after each gradient
step makes many exactly 0, and what has the scale 0 is cut out.  It takes any network with batch norms, generators first of all:
no label is needed.

Sources: Wang and others, "GAN Slimming: All-in-One GAN Compression by a Unified Optimization Framework", 2020; Liu and others,
"Learning Efficient Convolutional Networks through Network Slimming", 2017 (scales of batch norms); Parikh and Boyd, "Proximal
Algorithms", 2014.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from quant.nn import QuantizationError, straight_through
from quant.nn.checks import check_bits, check_model
from quant.nn.fold import LAYERS, NORMS, Norm
from quant.nn.traced import Traced

from .channels.coupling import couple
from .channels.removal import without
from .errors import CompressionError
from .networks import TRANSPOSED

#: Of the student's and the teacher's output, a scalar; an adversarial term can be part of it.
Loss = Callable[[Tensor, Tensor], Tensor]


def gan_slim(network: nn.Module, images: Tensor, *, sparsity: float, epochs: int, loss: Loss = functional.mse_loss, bits: int = 8,
             rate: float = 1e-3, scale_rate: float = 0.05, batch: int = 16, seed: int = 0) -> nn.Module:
    """A network with fewer channels that computes what the given one does, trained for `bits`-bit arithmetic.

    Parameters
    ----------
    network
        In float, with batch norms (with scales) behind the layers whose channels may go; traceable by torch.fx.  It isn't changed.
    images : shape (N, ...)
        Inputs: for a generator from noise, the noise.
    sparsity
        Factor of the scales' absolute values in the objective, 0 or more.  The more, the fewer channels are left.
    epochs, batch
        Passes over the inputs, inputs per step.
    loss
        Between outputs, by default their mean squared distance.
    bits
        Of weights (per output channel) and activations in training, 2 to 8.
    rate, scale_rate
        Learning rates: of Adam for all but the scales, of plain gradient descent with proximal steps for these.  Both fall to 0 in
        the second half of the epochs.  A scale loses ``scale_rate * sparsity`` in each step beside what the loss gives it, so a
        loss with small gradients removes all channels or none: multiply such a loss, until its gradients at the scales are
        about as large as `sparsity`.
    seed
        Of the order of the inputs.

    Returns
    -------
    In float and in evaluation mode, to be quantized to these bits.  What is removed is exactly 0 in it, so removal changes nothing.

    Raises
    ------
    CompressionError
        An argument is out of range, there are no inputs or no batch norms with scales, the network can't be traced, or its
        training diverged.
    """
    for what, value, fine in (("sparsity", sparsity, sparsity >= 0), ("epochs", epochs, epochs >= 1), ("rate", rate, rate > 0),
                              ("scale_rate", scale_rate, scale_rate > 0), ("batch", batch, batch >= 2)):
        if not fine:
            raise CompressionError(f"the {what} of GAN slimming is out of range: {value}")
    if len(images) < 2:
        raise CompressionError(f"GAN slimming needs 2 inputs or more to train with, not {len(images)}")
    try:
        check_bits("bits", bits, 2)
        check_model(network)
        behind = _norms_behind_layers(Traced(network, images[:1]))
    except QuantizationError as error:
        raise CompressionError(f"{type(network).__name__} can't be slimmed: {error}") from error
    teacher, student = copy.deepcopy(network).eval(), copy.deepcopy(network)
    norms = [_norm(student, name) for name in behind]
    if not norms:
        raise CompressionError(f"{type(network).__name__} has no batch norm with scales behind a layer: GAN slimming needs one "
                               "wherever channels may go")
    with torch.no_grad():
        wanted = torch.cat([teacher(part) for part in torch.split(images, 100)])
    with _fake_quantized(student, bits):
        _train(student, norms, images, wanted, loss, sparsity, epochs, rate, scale_rate, batch, seed)
    return remove_channels(student.eval(), images[:8])


def shrink(values: Tensor, by: float) -> Tensor:
    """The proximal step of ``by * sum |values|``: each moves towards 0 by that much, and stops there."""
    return torch.sign(values) * torch.clamp(values.abs() - by, min=0.0)


def falling(epochs: int) -> Callable[[int], float]:
    """What is left of a rate in an epoch: all of it in the first half, then linearly towards 0, as generators are trained."""
    return lambda epoch: min(1.0, 2 * (epochs - epoch) / (epochs + 2))


def _train(student: nn.Module, norms: list[Norm], images: Tensor, wanted: Tensor, loss: Loss, sparsity: float, epochs: int,
           rate: float, scale_rate: float, batch: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    scales = [norm.weight for norm in norms]
    others = [one for one in student.parameters() if not any(one is scale for scale in scales)]
    optimizer = torch.optim.Adam(others, rate)
    steps = torch.optim.SGD(scales, scale_rate)
    student.train()
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, falling(epochs)) for one in (optimizer, steps)]
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(images), generator=draw), batch):
            if len(chosen) < 2:  # no statistics
                continue
            value = loss(student(images[chosen]), wanted[chosen])
            if not bool(torch.isfinite(value)):
                raise CompressionError(f"GAN slimming diverged, its loss is {value.item()}: lower rate ({rate}) or scale_rate "
                                       f"({scale_rate})")
            optimizer.zero_grad()
            steps.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            steps.step()
            with torch.no_grad():
                for norm in norms:
                    norm.weight.copy_(shrink(norm.weight, steps.param_groups[0]["lr"] * sparsity))
                    norm.bias[norm.weight == 0] = 0.0  # the channel is off, not constant
        for schedule in schedules:
            schedule.step()


@contextmanager
def _fake_quantized(network: nn.Module, bits: int) -> Iterator[None]:
    """Layers multiply quantized inputs with quantized weights while inside; ranges are those of the moment."""
    layers = [part for part in network.modules() if isinstance(part, LAYERS)]

    def quantize_inputs(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        x: Tensor = arguments[0]
        low, high = min(0.0, float(x.detach().min())), max(0.0, float(x.detach().max()))
        scale = (high - low) / (2**bits - 1) or 1.0
        return (straight_through(torch.round(x / scale) * scale, x), *arguments[1:])

    hooks = [layer.register_forward_pre_hook(quantize_inputs) for layer in layers]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _FakeWeight(bits, 1 if isinstance(layer, TRANSPOSED) else 0))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


class _FakeWeight(nn.Module):
    """Symmetric integers with a scale for each output channel, as `fit_weight` gives them, from the weights of the moment."""

    def __init__(self, bits: int, axis: int) -> None:
        super().__init__()
        self.most, self.axis = 2 ** (bits - 1) - 1, axis

    def forward(self, weight: Tensor) -> Tensor:
        others = [axis for axis in range(weight.ndim) if axis != self.axis]
        scale = (weight.detach().abs().amax(others, keepdim=True) / self.most).clamp_min(1e-12)
        return straight_through(torch.round(weight / scale) * scale, weight)


def remove_channels(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy without the channels whose batch norms have the scale and the shift 0; it computes the same.

    A channel goes if all layers that give it, or the others that it is added to, end in such norms.  One of each norm stays.

    Parameters
    ----------
    network
        In evaluation mode.
    example : shape (N, ...)

    Raises
    ------
    CompressionError
        Channels depend on each other in a way that can't be followed, or the outputs for the example would change: behind a
        sigmoid a channel of zeros is one of halves.
    """
    coupling = couple(network, example)
    behind = _norms_behind_layers(Traced(network, example))
    norm_of = {layer: norm for norm, layer in behind.items()}
    left = {name: part.num_features for name, part in network.named_modules() if isinstance(part, NORMS)}
    dropped = []
    for unit in (unit for group in coupling.groups for unit in group.units if not unit.fixed):
        norms = {name: indices for name, indices in unit.followers.items() if name in left}
        givers = [*unit.outputs, *(name for name in unit.followers if name in coupling.followers)]
        if (all(norm_of.get(giver) in norms for giver in givers)
                and all(_is_off(network, name, indices) and left[name] > len(indices) for name, indices in norms.items())):
            dropped.append(unit)
            for name, indices in norms.items():
                left[name] -= len(indices)
    result = without(network, example, coupling, dropped)
    with torch.no_grad():
        before, after = network(example), result(example)
    if before.shape != after.shape or not torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
        raise CompressionError(f"channels of {type(network).__name__} can't be removed: some are not 0 behind their batch norm, so "
                               "what reads them would change; use activation functions that are 0 at 0, such as ReLU")
    return result


def _is_off(network: nn.Module, name: str, places: Sequence[int]) -> bool:
    norm = _norm(network, name)
    return norm.affine and not bool(norm.weight[list(places)].any()) and not bool(norm.bias[list(places)].any())


def _norm(network: nn.Module, name: str) -> Norm:
    found = network.get_submodule(name)
    assert isinstance(found, NORMS)
    return found


def _norms_behind_layers(traced: Traced) -> dict[str, str]:
    """By the name of each norm with scales that alone reads a layer's output, that layer's name; both called once."""
    calls = [str(node.target) for node in traced.module.graph.nodes if node.op == "call_module"]
    found = {}
    for node in traced.module.graph.nodes:
        if node.op != "call_module" or not isinstance(norm := traced.owner(node), NORMS) or not norm.affine:
            continue
        (source,) = node.all_input_nodes
        if (source.op == "call_module" and isinstance(traced.owner(source), LAYERS) and len(source.users) == 1
                and calls.count(str(node.target)) == calls.count(str(source.target)) == 1):
            found[str(node.target)] = str(source.target)
    return found

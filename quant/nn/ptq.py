"""From a float network and a calibration set to a quantized network, to be exported or to be fine-tuned."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sized
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from quant.lower.spec import InputSpec

from .base import Quantizer
from .checks import QuantizationError, check_bits, check_example, check_model, check_samples, reason_of
from .fold import Layer, fold_batch_norms
from .layers import QuantConv1d, QuantConv2d, QuantConvTranspose1d, QuantConvTranspose2d, QuantLinear
from .learned import LSQ
from .observers import CalibrationError, Method, Observer, fit_weight
from .placement import Placement
from .traced import Traced
from .uniform import IntQuant

#: One width for all, or one for each by its name.
Bits = int | Mapping[str, int]

_UNNAMED_BITS: Final = 8  # of what a mapping doesn't name
_BATCH: Final = 100  # of a calibration set that is one tensor
_PROGRESS_AFTER_SECONDS: Final = 2.0
_QUANTIZED: Final[dict[type[nn.Module], Any]] = {
    nn.Conv1d: QuantConv1d, nn.Conv2d: QuantConv2d, nn.ConvTranspose1d: QuantConvTranspose1d,
    nn.ConvTranspose2d: QuantConvTranspose2d,
}


def quantize(model: nn.Module, example_input: Tensor, calibration: Tensor | Iterable[Any], *, weight_bits: Bits = 8,
             activation_bits: Bits = 8, first_last_bits: int | None = 8, per_channel: bool = True, method: Method = "mse",
             percentile: float = 99.99, symmetric: bool | None = None, power_of_two: bool = False, learn_scales: bool = False,
             input_integers: str | None = None) -> GraphModule:
    """A quantized copy of a float network.

    Batch norms are folded first.  The result computes in PyTorch what `export_qonnx` writes and `quant.lower.lower` makes
    integers of.  Trained further, it is quantization-aware training with straight-through gradients.

    Parameters
    ----------
    model
        Takes one tensor, returns one tensor; traceable by torch.fx.  It isn't changed.
    example_input : shape (N, ...)
        Gives shapes.
    calibration
        Samples, shape (N, ...), or batches of them; of a batch that is a tuple or list, the first entry counts, as data
        loaders of labelled samples give them.  Some 100 to 1,000 samples do.
    weight_bits, activation_bits
        2 to 8; activations 1 to 8.  A mapping gives each one that it names its own width, be it the first or the last, and
        others 8: weights by the name of their layer; activations by the name of their quantizer in the result, or of a layer
        that reads them.
    first_last_bits
        2 to 8, for the input, the weights of the first and of the last layer, the last layer's input, and the output where that
        is quantized; None for no exception.
    per_channel
        One weight scale per output channel, or one per layer.
    method, percentile
        How ranges are chosen: see `Observer`.
    symmetric
        True: all zero points are 0.  False: weights and activations get zero points.  None: weights don't, and activations do
        where they take values below zero.
    power_of_two
        Scales that are powers of two.
    learn_scales
        Quantizers are `LSQ`: training moves the calibrated scales, too.
    input_integers
        Which integers stand for the float input, as `bitwright lower --input`: ``u8/255`` for pixels divided by 255.  By
        default the input is quantized like an activation.

    Raises
    ------
    QuantizationError
        An operation can't be quantized, an argument is out of range or names what isn't there, or the calibration set is empty
        or gives values that aren't finite.
    """
    for what, bits, least in (("weight_bits", weight_bits, 2), ("activation_bits", activation_bits, 1),
                              ("first_last_bits", 8 if first_last_bits is None else first_last_bits, 2)):
        for whose, width in bits.items() if isinstance(bits, Mapping) else (("", bits),):
            check_bits(f"{what} of `{whose}`" if whose else what, width, least)
    if power_of_two and learn_scales:
        raise QuantizationError("learn_scales moves scales off the powers of two that power_of_two asks for: choose one of the two")
    given = None if input_integers is None else input_quantizer(str(input_integers))
    check_model(model)
    check_example(example_input)

    traced = Traced(model, example_input)
    fold_batch_norms(traced.module)
    placement = Placement(traced, lambda: Observer(method, percentile=percentile))
    traced.module.recompile()
    layers = placement.layers
    names = list(dict.fromkeys(str(node.target) for node in layers))
    ends = {str(node.target) for node in (*layers[:1], *layers[-1:])}
    wide = {placement.input, *placement.outputs, *(placement.reads(node) for node in layers[-1:])}
    weight_widths = _widths("weight_bits", weight_bits, {name: {name} for name in names}, ends, first_last_bits)
    quantizers = {name: {name} for name in placement.watchers if name != placement.input or given is None}
    read = {name: {placement.reads(node) for node in layers if str(node.target) == name} & set(quantizers) for name in names}
    read = {name: some for name, some in read.items() if some}
    widths = _widths("activation_bits", activation_bits, {**read, **quantizers}, wide, first_last_bits)
    _calibrate(traced.module, calibration, example_input.shape[1:])

    for name, watcher in placement.watchers.items():
        quantizer: Quantizer
        if name == placement.input and given is not None:
            quantizer = given
        else:
            try:
                fitted = watcher.observer.quantizer(widths[name], symmetric=symmetric is True, power_of_two=power_of_two)
            except CalibrationError as error:
                raise QuantizationError(f"`{name}` can't be calibrated: {error}") from None
            quantizer = _learned(fitted, weight=False) if learn_scales else fitted
        traced.module.set_submodule(name, quantizer)
    for name in names:
        layer: Any = traced.module.get_submodule(name)
        fitted = fit_layer(layer, weight_widths[name], per_channel=per_channel, method=method, percentile=percentile,
                           symmetric=symmetric is not False, power_of_two=power_of_two)
        traced.module.set_submodule(name, quantized_layer(layer, _learned(fitted, weight=True) if learn_scales else fitted))
    traced.module.delete_all_unused_submodules()
    traced.module.graph.lint()
    traced.module.recompile()
    return traced.module.eval()


def _widths(what: str, bits: Bits, means: Mapping[str, set[str]], ends: set[str], ends_bits: int | None) -> dict[str, int]:
    """The width of each one that any name means.

    Parameters
    ----------
    means
        By name, whose widths it gives.
    ends, ends_bits
        Those that have another width unless they are named, and which; None for no exception.

    Raises
    ------
    QuantizationError
        A name means nothing, or two names give one and the same different widths.
    """
    given = bits if isinstance(bits, Mapping) else {}
    general = _UNNAMED_BITS if isinstance(bits, Mapping) else bits
    found = {one: general if ends_bits is None or one not in ends else ends_bits for some in means.values() for one in some}
    by: dict[str, str] = {}
    for name, width in given.items():
        if name not in means:
            raise QuantizationError(f"{what} names `{name}`, which has no width of its own; there are "
                                    + ", ".join(f"`{one}`" for one in means))
        for one in sorted(means[name]):
            if one in by and found[one] != width:
                raise QuantizationError(f"{what} gives `{one}` {found[one]} bits by the name `{by[one]}` and {width} bits by the "
                                        f"name `{name}`: they are the same values, so give one width")
            found[one], by[one] = width, name
    return found


def fit_layer(layer: Layer, bits: int, *, per_channel: bool = True, **options: Any) -> IntQuant:
    """A quantizer fitted to a float layer's weights; options as `fit_weight`.

    Of a transposed convolution, whose weights are (inputs, outputs / groups, ...), output channels are found all the same.
    """
    weight = layer.weight.detach()
    if not per_channel or not isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
        return fit_weight(weight, bits, axis=0 if per_channel else None, **options)
    inputs, outputs = weight.shape[:2]
    by_output = weight.reshape(layer.groups, inputs // layer.groups, outputs, -1).transpose(1, 2).flatten(0, 1)
    fitted = fit_weight(by_output, bits, axis=0, **options)

    def spread(values: Tensor) -> Tensor:
        if values.numel() == 1 or layer.groups == 1:
            return values.reshape(1, -1, *[1] * (weight.ndim - 2))
        rows = values.reshape(layer.groups, outputs).repeat_interleave(inputs // layer.groups, dim=0)
        return rows.reshape(inputs, outputs, *[1] * (weight.ndim - 2))

    return IntQuant(bits, signed=fitted.signed, narrow=fitted.narrow, scale=spread(fitted.scale),
                    zero_point=spread(fitted.zero_point))


def quantized_layer(layer: Layer, weight_quant: Quantizer) -> nn.Module:
    """The quantized form of a float layer, with its very parameters."""
    options: dict[str, Any] = {"weight_quant": weight_quant, "bias": layer.bias is not None}
    result: Any
    with torch.random.fork_rng(devices=[]):  # the initial weights that are drawn here are thrown away
        if isinstance(layer, nn.Linear):
            result = QuantLinear(layer.in_features, layer.out_features, **options)
        else:
            options |= {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
            if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
                options["output_padding"] = layer.output_padding
            result = _QUANTIZED[type(layer)](layer.in_channels, layer.out_channels, layer.kernel_size, **options)
    result.weight, result.bias = layer.weight, layer.bias
    quantized: nn.Module = result.train(layer.training)
    return quantized


def _learned(fitted: IntQuant, weight: bool) -> LSQ:
    return LSQ(fitted.bits, signed=fitted.signed, narrow=fitted.narrow, scale=fitted.scale, zero_point=fitted.zero_point,
               weight=weight)


def input_quantizer(text: str) -> IntQuant:
    """A quantizer that gives the integers that stand for a float input, such as ``u8/255``.  Raises QuantizationError."""
    spec = InputSpec.parse(text)
    signed = spec.type.lo < 0
    if not 1 + signed <= spec.type.bits <= 16:
        raise QuantizationError(f"the input '{text}' must have {1 + signed} to 16 bits")
    return IntQuant(spec.type.bits, signed=signed, scale=float(spec.scale))


def _calibrate(module: GraphModule, calibration: Tensor | Iterable[Any], shape: torch.Size) -> None:
    """Run the set through the network, with a progress bar on a terminal once it has taken a while."""
    from rich.console import Console
    from rich.progress import Progress

    if isinstance(calibration, Tensor):
        check_samples(calibration, "the calibration set")
        calibration = torch.split(calibration, _BATCH)
    elif not isinstance(calibration, Iterable):
        raise QuantizationError(f"the calibration set is a {type(calibration).__name__}: give a tensor, or batches of samples")
    batches: Iterable[Any] = calibration
    console, started = Console(stderr=True), time.monotonic()
    with torch.no_grad(), Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("calibration", total=len(batches) if isinstance(batches, Sized) else None, visible=False)
        for position, batch in enumerate(batches):
            x = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
            if not isinstance(x, Tensor):
                raise QuantizationError(f"batch {position} of the calibration set is a {type(x).__name__}: give tensors, or "
                                        "tuples that begin with one")
            problem = (f"batch {position} of the calibration set, {x.dtype} of shape {tuple(x.shape)}, does not go through the "
                       "network")
            if x.shape[1:] != shape:
                raise QuantizationError(f"{problem} for samples of shape {tuple(shape)}: give batches like the example input")
            try:
                module.forward(x)  # not a call, which would print where it fails
            except (RuntimeError, ValueError, TypeError) as error:
                raise QuantizationError(f"{problem} ({reason_of(error)}): give batches like the example input") from error
            progress.update(task, completed=position + 1, visible=time.monotonic() - started > _PROGRESS_AFTER_SECONDS)

"""From a float network and a calibration set to a quantized network, to be exported or to be fine-tuned."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sized
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

_BATCH: Final = 100  # of a calibration set that is one tensor
_PROGRESS_AFTER_SECONDS: Final = 2.0
_QUANTIZED: Final[dict[type[nn.Module], Any]] = {
    nn.Conv1d: QuantConv1d, nn.Conv2d: QuantConv2d, nn.ConvTranspose1d: QuantConvTranspose1d,
    nn.ConvTranspose2d: QuantConvTranspose2d,
}


def quantize(model: nn.Module, example_input: Tensor, calibration: Tensor | Iterable[Any], *, weight_bits: int = 8,
             activation_bits: int = 8, first_last_bits: int | None = 8, per_channel: bool = True, method: Method = "mse",
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
        2 to 8; activations 1 to 8.
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
        An operation can't be quantized, an argument is out of range, or the calibration set is empty or gives values that
        aren't finite.
    """
    ends_bits = activation_bits if first_last_bits is None else first_last_bits
    for what, bits, least in (("weight_bits", weight_bits, 2), ("activation_bits", activation_bits, 1),
                              ("first_last_bits", 8 if first_last_bits is None else first_last_bits, 2)):
        check_bits(what, bits, least)
    if power_of_two and learn_scales:
        raise QuantizationError("learn_scales moves scales off the powers of two that power_of_two asks for: choose one of the two")
    given = None if input_integers is None else input_quantizer(str(input_integers))
    check_model(model)
    check_example(example_input)

    traced = Traced(model, example_input)
    fold_batch_norms(traced.module)
    placement = Placement(traced, lambda: Observer(method, percentile=percentile))
    traced.module.recompile()
    _calibrate(traced.module, calibration, example_input.shape[1:])

    layers = placement.layers
    ends = {str(node.target) for node in (*layers[:1], *layers[-1:])}
    wide = {placement.input, *placement.outputs, *(placement.reads(node) for node in layers[-1:])}
    for name, watcher in placement.watchers.items():
        quantizer: Quantizer
        if name == placement.input and given is not None:
            quantizer = given
        else:
            try:
                fitted = watcher.observer.quantizer(ends_bits if name in wide else activation_bits, symmetric=symmetric is True,
                                                    power_of_two=power_of_two)
            except CalibrationError as error:
                raise QuantizationError(f"`{name}` can't be calibrated: {error}") from None
            quantizer = _learned(fitted, weight=False) if learn_scales else fitted
        traced.module.set_submodule(name, quantizer)
    for name in dict.fromkeys(str(node.target) for node in layers):
        layer: Any = traced.module.get_submodule(name)
        bits = first_last_bits if first_last_bits is not None and name in ends else weight_bits
        fitted = fit_layer(layer, bits, per_channel=per_channel, method=method, percentile=percentile,
                           symmetric=symmetric is not False, power_of_two=power_of_two)
        traced.module.set_submodule(name, quantized_layer(layer, _learned(fitted, weight=True) if learn_scales else fitted))
    traced.module.delete_all_unused_submodules()
    traced.module.graph.lint()
    traced.module.recompile()
    return traced.module.eval()


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

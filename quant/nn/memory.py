"""How many bytes a network's weights and activations take, as float32 and as quantized."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from intir.errors import BitwrightError

from .checks import check_example, reason_of
from .layers import QuantWeights

_FLOAT_BITS = 32


@dataclass(frozen=True)
class Bytes:
    """Bytes of the same tensors, before and after.

    Members
    -------
    float32
        Four for each value.  What a quantizer makes of another quantizer's output counts there only, not again: a network of
        floats has one tensor in place of the two.
    quantized
        Values packed without gaps, each tensor up to a whole byte: 1 bit binary, 2 bits ternary, the bits of a code where
        weights are shared.  Weights with their scales (float32, unless all are 1) and codebooks.
    """

    float32: int
    quantized: int


@dataclass(frozen=True)
class MemoryUse:
    """What one sample's pass through a network needs.

    Members
    -------
    weights
        Of all layers with a `weight_quant`.
    activations
        Of all tensors that quantizers give, in all: what the layers read.
    largest_activation
        The largest of these tensors.
    other_bytes
        Four for each other number: biases, normalizations, layers without quantizers.  Lowering makes integers and
        thresholds of them, so they are neither here nor there.
    """

    weights: Bytes
    activations: Bytes
    largest_activation: Bytes
    other_bytes: int


def memory_use(module: nn.Module, example_input: Tensor) -> MemoryUse:
    """Count the bytes of a network's tensors; the module itself isn't touched.

    Parameters
    ----------
    module
        Takes one tensor.
    example_input : shape (N, ...)
        Its first sample is run, in evaluation mode.

    Shared layers count once, and each call of an activations' quantizer counts as a tensor of its own.
    """
    check_example(example_input)
    module = copy.deepcopy(module).eval()
    layers = [part for part in module.modules() if isinstance(part, QuantWeights)]
    weights = [_sizes(layer.weight, layer.weight_quant.bits, layer.weight_quant.constant_bits(layer.weight)) for layer in layers]
    activations = _activations(module, example_input[:1], [layer.weight for layer in layers])
    return MemoryUse(_total(weights), _total(activations),
                     Bytes(max((one.float32 for one in activations), default=0),
                           max((one.quantized for one in activations), default=0)),
                     4 * _other_numbers(module, [layer.weight for layer in layers]))


def _sizes(tensor: Tensor, bits: int, constant_bits: int = 0) -> Bytes:
    count = tensor.numel()
    return Bytes(_in_bytes(count * _FLOAT_BITS), _in_bytes(count * bits) + _in_bytes(constant_bits))


def _in_bytes(bits: int) -> int:
    return -(-bits // 8)


def _total(parts: list[Bytes]) -> Bytes:
    return Bytes(sum(one.float32 for one in parts), sum(one.quantized for one in parts))


def _activations(module: nn.Module, x: Tensor, weights: list[Tensor]) -> list[Bytes]:
    """Of each tensor that goes through a quantizer and is no weight.

    A quantizer is what has `bits`; those inside another one are its own affair.
    """
    found: list[Bytes] = []
    results: list[Any] = []

    def note(quantizer: nn.Module, arguments: tuple[Tensor, ...], result: Any) -> None:
        (x,), bits = arguments, quantizer.bits
        assert isinstance(bits, int)
        if any(x is weight for weight in weights):
            return  # an adder layer has one quantizer for its weights and its input
        sizes = _sizes(x, bits)
        found.append(Bytes(0, sizes.quantized) if any(x is one for one in results) else sizes)
        results.append(result)

    for one in _quantizers(module):
        one.register_forward_hook(note)
    with torch.no_grad():
        try:
            module(x)
        except (RuntimeError, TypeError, ValueError) as error:
            raise BitwrightError(f"the example input, of shape {tuple(x.shape)}, does not go through {type(module).__name__} "
                                 f"({reason_of(error)})") from error
    return found


def _quantizers(module: nn.Module) -> list[nn.Module]:
    """The outermost modules that have `bits`."""
    if isinstance(getattr(module, "bits", None), int):
        return [module]
    return list(dict.fromkeys(one for child in module.children() for one in _quantizers(child)))


def _other_numbers(module: nn.Module, weights: list[Tensor]) -> int:
    counted = {id(weight) for weight in weights}
    for quantizer in _quantizers(module):
        counted.update(map(id, quantizer.parameters()))
    others: list[Tensor] = [one for one in module.parameters() if id(one) not in counted]
    for norm in module.modules():
        others += [one for name, one in norm.named_buffers(recurse=False) if name in ("running_mean", "running_var")]
    return sum(one.numel() for one in others)

"""Quantizers and quantized layers for training in PyTorch, exported as QONNX nodes.

A quantizer here is two things at once: in training and in eager evaluation, torch arithmetic with a
straight-through gradient; under `torch.onnx.export(dynamo=True)`, one node of QONNX's operator set.
`Quantizer` keeps the two apart, so that a further quantizer states its arithmetic, its operator's name,
inputs and attributes, and nothing else.

Sources: QONNX operator definitions (github.com/fastmachinelearning/qonnx, docs/qonnx-custom-ops);
Courbariaux and others, "Binarized Neural Networks", 2016 (straight-through gradient, clipped latent weights).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

QONNX_DOMAIN: Final = "qonnx.custom_op.general"
QONNX_DOMAIN_VERSION: Final = 1

# What torch takes as an ONNX attribute.
AttributeValue = int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]


@runtime_checkable
class PreparesForExport(Protocol):
    """A module that changes its own state for export; called once, on a copy that training never sees."""

    def prepare_for_export(self) -> None:
        """Replace training state by what the file is to hold; the forward function must not change."""
        ...


def bipolar(x: Tensor) -> Tensor:
    """-1 where `x` is negative and +1 elsewhere: 0, and -0.0 too, give +1, as QONNX BipolarQuant defines."""
    one = torch.ones((), dtype=x.dtype, device=x.device)
    return torch.where(x >= 0, one, -one)


class Quantizer(nn.Module):
    """Base of the quantizers: eager arithmetic here, one QONNX node in an export.

    A subclass sets `qonnx_op` and overrides `quantize`, `qonnx_inputs` and, if its operator has any,
    `qonnx_attributes`.
    """

    qonnx_op: str

    def quantize(self, x: Tensor) -> Tensor:
        """Quantized values of `x`, as real numbers of the same shape, with the gradient used in training."""
        raise NotImplementedError

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        """The operator's inputs after `x`, in its order."""
        raise NotImplementedError

    def qonnx_attributes(self) -> dict[str, AttributeValue]:
        """The operator's attributes."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        """Quantize `x`, of any shape."""
        if torch.onnx.is_in_onnx_export():
            return torch.onnx.ops.symbolic(
                f"{QONNX_DOMAIN}::{self.qonnx_op}",
                (x, *self.qonnx_inputs()),
                self.qonnx_attributes(),
                dtype=x.dtype,
                shape=x.shape,
                version=QONNX_DOMAIN_VERSION,
            )
        return self.quantize(x)


class BipolarQuant(Quantizer):
    """Quantize to {-scale, +scale}: 1 bit.

    The gradient passes straight through where `|x| <= 1` and is zero elsewhere, so that a value which is
    already far on one side isn't pushed further.

    Parameters
    ----------
    scale
        Magnitude of the output; finite and above zero.  1.0 keeps the values integers.
    """

    qonnx_op = "BipolarQuant"
    scale: Tensor

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"the scale of BipolarQuant must be finite and above zero, not {scale}")
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def quantize(self, x: Tensor) -> Tensor:
        clipped = x.clamp(-1.0, 1.0)
        # The sum's value is bipolar(x) exactly only if the gradient's carrier cancels exactly: x - x is 0.0
        # for every finite x, while x + (q - x) may round.
        return (bipolar(x).detach() + (clipped - clipped.detach())) * self.scale

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        return (self.scale,)

    def extra_repr(self) -> str:
        return f"scale={self.scale.item():g}"


class BinaryLinear(nn.Module):
    """Matrix product with 1-bit weights, without bias: `y = x @ bipolar(weight).T`.

    Training keeps float latent weights; `clip_latent_weights` is to be called after each optimizer step,
    because a latent weight outside [-1, 1] gets no gradient any more and would never change its sign again.

    Parameters
    ----------
    in_features, out_features
        Sizes of the last axis of the input and of the output.

    Shapes: input (..., in_features), output (..., out_features), weight (out_features, in_features).
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.weight_quant = BipolarQuant()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the latent weights anew, small enough that few are clipped in the first steps."""
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        # Spelled out, as a linear layer would become Gemm for two axes and MatMul for more: this is one form
        # for both, Transpose and MatMul, and the one that Brevitas and FINN files have.
        weight: Tensor = self.weight_quant(self.weight)
        return x @ weight.t()

    @torch.no_grad()
    def clip_latent_weights(self) -> None:
        """Clip the latent weights to [-1, 1]."""
        self.weight.clamp_(-1.0, 1.0)

    @torch.no_grad()
    def prepare_for_export(self) -> None:
        """Keep only the weights' signs.

        The file then holds what the hardware will, and its bytes don't depend on latent values that have no
        meaning after training.
        """
        self.weight.copy_(bipolar(self.weight))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


def clip_latent_weights(module: nn.Module) -> None:
    """Clip the latent weights of every `BinaryLinear` inside `module`."""
    for part in module.modules():
        if isinstance(part, BinaryLinear):
            part.clip_latent_weights()

"""What every quantizer is: torch arithmetic in training, one QONNX node in an export.

A quantizer here is two things at once: in training and in eager evaluation, torch arithmetic with a straight-through
gradient; under `torch.onnx.export(dynamo=True)`, one node of QONNX's operator set.  `Quantizer` keeps the two apart, so
that a further quantizer states its arithmetic, its operator's name, inputs and attributes, and nothing else.

Source: QONNX operator definitions (github.com/fastmachinelearning/qonnx, docs/qonnx-custom-ops).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Protocol, runtime_checkable

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


def straight_through(value: Tensor, carrier: Tensor) -> Tensor:
    """`value`, exactly, with the gradient of `carrier`: the straight-through estimator.

    The sum is exact only because the carrier cancels exactly: x - x is 0.0 for every finite x, while x + (q - x) may
    round.
    """
    return value.detach() + (carrier - carrier.detach())


class Quantizer(nn.Module):
    """Base of the quantizers: eager arithmetic here, one QONNX node in an export.

    A subclass sets `qonnx_op` and overrides `quantize`, `qonnx_inputs` and, if its operator has any,
    `qonnx_attributes`.  One that is several nodes overrides `forward` and is built of others.
    """

    qonnx_op: str

    #: Of one quantized value, packed.
    bits: int

    #: Whether latent weights beyond [-1, 1] get no gradient, so that training is to clip them (`clip_latent_weights`).
    clips_latent_weights: ClassVar[bool] = False

    def quantize(self, x: Tensor) -> Tensor:
        """Quantized values of `x`, as real numbers of the same shape, with the gradient used in training."""
        raise NotImplementedError

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        """The operator's inputs after `x`, in its order."""
        raise NotImplementedError

    def qonnx_attributes(self) -> dict[str, AttributeValue]:
        """The operator's attributes."""
        return {}

    def constant_bits(self, weight: Tensor) -> int:
        """Bits of what a memory holds beside the packed values of a weight: its scales as float32, unless all are 1."""
        scale = getattr(self, "scale", None)
        return 0 if scale is None or bool((scale == 1).all()) else 32 * int(scale.numel())

    def prepare_weight(self, weight: Tensor) -> Tensor:
        """What an export stores in place of a layer's latent weights; called once, on a copy.

        The default is the quantized values themselves: the file then holds what the hardware will, and its bytes don't
        depend on latent values that have no meaning after training.  A quantizer whose constants come from the weights
        (a mean, a threshold) freezes them here.  Afterwards the quantizer must give the values that it gave before.
        """
        values: Tensor = self(weight)
        return values.detach()

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

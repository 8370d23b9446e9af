"""Quantizers whose step or clip is trained together with the weights: LSQ and PACT.

Sources: Esser and others, "Learned Step Size Quantization", 2020; Choi and others, "PACT: Parameterized Clipping Activation
for Quantized Neural Networks", 2018.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from intir.errors import BitwrightError

from .base import straight_through
from .uniform import UniformQuant, check_scale


class LSQ(UniformQuant):
    """Learned step size: ``(round(clamp(x / step + zero_point)) - zero_point) * step`` with a gradient for `step`.

    With v = x / step, that gradient is ``round(v) - v`` inside the clamp and the clamp's end outside, times
    ``1 / sqrt(N * highest level)``, where N is the number of elements that share a step in one sample (in all, for a
    weight).  The gradient of x passes straight through inside the clamp and is zero outside.

    Without `scale`, the first tensor that comes in training sets the step to ``2 * mean|x| / sqrt(highest level)``.

    Parameters
    ----------
    bits, signed, narrow
        As in `IntQuant`.
    scale
        First value of the step, for example a calibrated one: a number, or a tensor that broadcasts against what is quantized.
    shape
        Without `scale`: the step's shape, for example (out, 1, 1, 1) for one step per output channel of a convolution.
    zero_point
        The level that stands for 0; it isn't trained.
    weight
        Whether weights are quantized, which have no batch axis.
    """

    zero_point: Tensor
    started: Tensor

    def __init__(self, bits: int, *, signed: bool = True, narrow: bool = False, scale: float | Tensor | None = None,
                 shape: tuple[int, ...] = (), zero_point: float | Tensor = 0.0, weight: bool = False) -> None:
        super().__init__(bits, signed=signed, narrow=narrow)
        first = torch.ones(shape) if scale is None else torch.as_tensor(scale, dtype=torch.float32).detach().clone()
        check_scale(first, "LSQ")
        self.step = nn.Parameter(first)
        self.weight = weight
        self.register_buffer("zero_point", torch.as_tensor(zero_point, dtype=torch.float32).detach().clone())
        self.register_buffer("started", torch.tensor(scale is not None))

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        """The step, kept a normal number above zero: training may carry the parameter past it."""
        return self.step.abs().clamp_min(torch.finfo(torch.float32).tiny)

    def start(self, x: Tensor) -> None:
        """Set the step from values, as the paper does for the first batch."""
        kept = (1,) * (x.ndim - self.step.ndim) + tuple(self.step.shape)
        axes = [axis for axis, size in enumerate(kept) if size == 1]
        magnitude = x.detach().abs().mean(dim=axes, keepdim=True) if axes else x.detach().abs()
        step = 2 * magnitude / math.sqrt(self.highest)
        with torch.no_grad():
            self.step.copy_(torch.where(step > 0, step, torch.ones_like(step)).reshape(self.step.shape))
            self.started.fill_(True)

    def quantize(self, x: Tensor) -> Tensor:
        if self.training and not self.started:
            self.start(x)
        shared = x.numel() if self.weight else x.numel() // max(1, len(x))
        gradient_scale = 1 / math.sqrt(max(1, shared // self.step.numel()) * self.highest)
        scale = straight_through(self.scale, self.scale * gradient_scale)
        v = x / scale + self.zero_point
        clamped = torch.clamp(v, self.lowest, self.highest)
        return (straight_through(torch.round(clamped), clamped) - self.zero_point) * scale

    def prepare_for_export(self) -> None:
        """Make the parameter itself the scale, so that the file needs no arithmetic for it.

        Errors
        ------
        BitwrightError
            The step was never set.
        """
        if not self.started:
            raise BitwrightError("a quantizer LSQ has no step yet: train it on a batch, call `start`, or give it a `scale`")
        with torch.no_grad():
            self.step.copy_(self.scale)

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        return self.step, self.zero_point, torch.tensor(float(self.bits))


class PACT(UniformQuant):
    """Learned clip: ``round(clip(x, 0, alpha) * n / alpha) * alpha / n`` with n = 2**bits - 1; it is the ReLU, too.

    The gradient of alpha is 1 where x >= alpha and 0 elsewhere; that of x passes straight through from 0 to alpha.  The
    paper adds an L2 penalty on alpha to the loss: `pact_penalty`.

    Parameters
    ----------
    bits
        1 to 16.
    alpha
        First value of the clip; finite and above zero.  The paper starts high, at 10.
    """

    def __init__(self, bits: int, *, alpha: float = 10.0) -> None:
        super().__init__(bits, signed=False, narrow=False)
        first = torch.tensor(float(alpha))
        check_scale(first, "PACT")
        self.alpha = nn.Parameter(first)
        self.register_buffer("zero_point", torch.zeros(()))
        self.register_buffer("exported_scale", torch.ones(()))

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        """``alpha / (2**bits - 1)``, without gradient; alpha is kept a normal number above zero."""
        return self._alpha().detach() / self.highest

    def _alpha(self) -> Tensor:
        return self.alpha.clamp_min(torch.finfo(torch.float32).tiny * 2**self.bits)

    def quantize(self, x: Tensor) -> Tensor:
        alpha = self._alpha()
        carrier = torch.where(x >= alpha, alpha, x.clamp_min(0.0))
        return straight_through(super().quantize(x.detach()), carrier)

    def prepare_for_export(self) -> None:
        """Fix the scale, so that the file needs no arithmetic for it."""
        self.exported_scale = self.scale

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        return self.exported_scale, self.zero_point, torch.tensor(float(self.bits))


def pact_penalty(module: nn.Module) -> Tensor:
    """Sum of ``alpha**2`` over every `PACT` inside `module`: to be added to the loss, times a weight decay."""
    squares = [part.alpha.square() for part in module.modules() if isinstance(part, PACT)]
    return torch.stack(squares).sum() if squares else torch.zeros(())

"""Half-wave Gaussian quantization: ReLU and quantizer in one, for activations that a batch norm has made normal.

Source: Cai and others, "Deep Learning with Low Precision by Half-Wave Gaussian Quantization", 2017: every x <= 0 gives 0,
every x > 0 the nearest of step, 2 * step, ..., (2**k - 1) * step.  The step is the one with the least mean squared error for x
drawn from N(0, 1); the paper gives 0.538 for 2 bits.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from .base import AttributeValue, Quantizer, straight_through

#: Bits -> step.  Where the derivative of the mean squared error over the positive half of N(0, 1) is zero.
STEPS: Final = {1: 0.797885, 2: 0.538812, 3: 0.321729, 4: 0.184243, 5: 0.102984, 6: 0.056584, 7: 0.030691, 8: 0.016482}
_LEAST_NORMAL: Final = 2.0**-126


class HWGQ(Quantizer):
    """``0`` where x <= 0, else the nearest of ``step * (1, ..., 2**bits - 1)``.

    The gradient is that of the ReLU clipped at the greatest level (the paper's "clipped" form).  In QONNX, one
    `MultiThreshold` node with the thresholds 0+, 1.5 step, 2.5 step, ...; as it compares with >=, 0+ is the least normal
    float32, 2**-126, and what is below it counts as 0.

    Parameters
    ----------
    bits
        1 to 8.
    step
        Distance of the levels; by default, the best for N(0, 1).
    """

    qonnx_op = "MultiThreshold"
    thresholds: Tensor

    def __init__(self, bits: int, *, step: float | None = None) -> None:
        super().__init__()
        if bits not in STEPS:
            raise ValueError(f"HWGQ takes 1 to 8 bits, not {bits}")
        self.bits = bits
        #: As float32, which is what an attribute of the file can hold.
        self.step = torch.tensor(STEPS[bits] if step is None else step, dtype=torch.float32).item()
        if not _LEAST_NORMAL * 2**23 <= self.step <= 2.0**100:
            raise ValueError(f"the step of HWGQ must be a finite number above zero, not {step}")
        first = torch.tensor([_LEAST_NORMAL])
        others = (torch.arange(1, (1 << bits) - 1) + 0.5) * self.step
        self.register_buffer("thresholds", torch.cat([first, others])[None])

    def quantize(self, x: Tensor) -> Tensor:
        count = torch.searchsorted(self.thresholds[0].to(x.dtype), x.detach().contiguous(), right=True)
        return straight_through(count.to(x.dtype) * self.step, x.clamp(0.0, self.step * self.thresholds.numel()))

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        return (self.thresholds,)

    def qonnx_attributes(self) -> dict[str, AttributeValue]:
        return {"out_scale": self.step, "out_bias": 0.0, "out_dtype": "FLOAT32"}

    def extra_repr(self) -> str:
        return f"bits={self.bits}, step={self.step:g}"

"""Shared weights: a codebook of a few values, found by k-means and fine-tuned (Deep Compression, EIE).

Sources: Han and others, "Deep Compression", 2016, section 3 (linear initialization, gradients summed per code); Han
and others, "EIE: Efficient Inference Engine on Compressed Deep Neural Network", 2016 (16 codes, 16-bit fixed point).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from .base import AttributeValue, Quantizer, straight_through
from .layers import QuantWeights


class SharedQuant(Quantizer):
    """Weights as entries of a codebook, each a fixed-point number.

    Until `fit` is called (`share_weights` does it for a whole network), weights pass unchanged: a network is trained with
    floats first.  From then on each weight keeps its code, and training moves the entries: an entry's gradient is the
    sum of those of its weights.  Weights that are exactly 0 when `fit` is called are pruned ones: they stay 0 and take no
    code.

    Parameters
    ----------
    codes
        Entries of the codebook, 2 or more; EIE's 16 make 4-bit codes.
    entry_bits
        Width of an entry, 2 to 16: a signed integer times the least power of two that lets the greatest entry fit.
    """

    qonnx_op = "Quant"
    codes: Tensor | None
    frozen_scale: Tensor | None

    def __init__(self, codes: int = 16, *, entry_bits: int = 16) -> None:
        super().__init__()
        if codes < 2 or not 2 <= entry_bits <= 16:
            raise ValueError(f"a codebook has 2 codes or more, of 2 to 16 bits each, not {codes} of {entry_bits} bits")
        self.bits = (codes - 1).bit_length()  # of a code
        self.entry_bits = entry_bits
        self.codebook = nn.Parameter(torch.zeros(codes))
        self.register_buffer("codes", None)  # for each weight its code; the number of codes for a pruned one
        self.register_buffer("frozen_scale", None, persistent=False)

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Find the codebook and each weight's code by k-means, from entries that lie evenly between the extremes."""
        kept = weight[weight != 0].double()
        entries = self.codebook.double()
        if len(kept):
            entries = torch.linspace(float(kept.min()), float(kept.max()), len(self.codebook), dtype=torch.float64)
        values = torch.from_numpy(np.unique(kept.numpy()))
        if len(values) > len(entries):  # else every value is an entry
            found = KMeans(len(entries), init=entries[:, None].numpy(), n_init=1, tol=0.0).fit(kept[:, None].numpy())
            entries = torch.from_numpy(found.cluster_centers_[:, 0]).sort().values
        elif len(values):
            entries[:len(values)] = values
            entries = entries.sort().values
        self.codebook.copy_(entries)
        self.codes = torch.where(weight != 0, _nearest(weight.double(), entries), len(entries))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for codes where a saved network has them."""
        saved = state_dict.get(f"{prefix}codes")
        if saved is not None and self.codes is None:
            self.codes = torch.empty_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def scale(self) -> Tensor:
        """What the integer 1 of an entry is worth: a power of two."""
        if self.frozen_scale is not None:
            return self.frozen_scale
        largest = float(self.codebook.detach().abs().max())
        most = (1 << self.entry_bits - 1) - 1
        # Never below the least normal float32: what is smaller still becomes 0.
        return torch.tensor(2.0 ** max(math.ceil(math.log2(largest / most)), -126) if largest > 0 else 1.0)

    def quantize(self, x: Tensor) -> Tensor:
        if self.codes is None:
            return x
        scale = self.scale
        entries = straight_through(torch.round(self.codebook / scale) * scale, self.codebook)
        return torch.cat([entries, entries.new_zeros(1)])[self.codes]

    def constant_bits(self, weight: Tensor) -> int:
        return len(self.codebook) * self.entry_bits + 32  # entries, and the scale

    def prepare_weight(self, weight: Tensor) -> Tensor:
        """Each weight's entry; fits first if that wasn't done."""
        if self.codes is None:
            self.fit(weight)
        self.frozen_scale = self.scale
        return self.quantize(weight).detach()

    def qonnx_inputs(self) -> tuple[Tensor, ...]:
        return self.scale, torch.tensor(0.0), torch.tensor(float(self.entry_bits))

    def qonnx_attributes(self) -> dict[str, AttributeValue]:
        return {"signed": 1, "narrow": 1, "rounding_mode": "ROUND"}

    def extra_repr(self) -> str:
        return f"codes={len(self.codebook)}, entry_bits={self.entry_bits}"


def share_weights(module: nn.Module) -> None:
    """Cluster the weights of every layer inside `module` that has a `SharedQuant`; to be called once, before fine-tuning."""
    for part in module.modules():
        if isinstance(part, QuantWeights) and isinstance(part.weight_quant, SharedQuant):
            part.weight_quant.fit(part.weight)


def _nearest(values: Tensor, entries: Tensor) -> Tensor:
    """Index of the nearest of ascending entries, shape of `values`; the lower one in the middle."""
    return torch.bucketize(values, (entries[1:] + entries[:-1]) / 2)

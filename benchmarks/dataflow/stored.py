"""Trained weights in small files: integers of quantized weights, everything else as float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from quant.nn.layers import QuantWeights

CODES = ".codes"


def save(module: nn.Module, path: Path) -> None:
    """Write a module whose weights are quantized to integers of at most 8 bits times their quantizer's scale."""
    arrays = {name: value.numpy() for name, value in module.state_dict().items()}
    for name, part in module.named_modules():
        if isinstance(part, QuantWeights):
            with torch.no_grad():
                codes = torch.round(part.weight_quant(part.weight) / part.weight_quant.scale)
            del arrays[f"{name}.weight"]
            arrays[name + CODES] = codes.numpy().astype(np.int8)
    np.savez_compressed(path, **arrays)


def load(module: nn.Module, path: Path) -> None:
    """Read what `save` wrote into a module of the same topology."""
    with np.load(path, allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    codes = {name.removesuffix(CODES): state.pop(name) for name in list(state) if name.endswith(CODES)}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected and sorted(missing) == sorted(f"{name}.weight" for name in codes)
    with torch.no_grad():
        for name, values in codes.items():
            part: Any = module.get_submodule(name)
            part.weight.copy_(values * part.weight_quant.scale)

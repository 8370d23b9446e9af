"""What `quantize` refuses before it begins, and what it says then."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from intir.errors import BitwrightError

from .base import Quantizer

#: Modules around a network that `torch.fx` can't look into, by the name of their class, and how to get at what is inside.
_WRAPPERS: Final = {
    "OptimizedModule": "give the module that torch.compile took",
    "DataParallel": "give its `.module`",
    "DistributedDataParallel": "give its `.module`",
}
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks")


class QuantizationError(BitwrightError):
    """A float network can't be quantized as it is."""


def check_model(model: Any) -> None:
    """Refuse what is no plain float32 network with finite numbers.  Raises QuantizationError."""
    if not isinstance(model, nn.Module):
        raise QuantizationError(f"the model must be a torch.nn.Module, not {_described(model)}")
    for name, values in (*model.named_parameters(), *model.named_buffers()):
        if torch.nn.parameter.is_lazy(values) or values.is_meta:
            raise QuantizationError(f"`{name}` has no values yet: load or train the network first")
        if values.is_floating_point() and values.dtype != torch.float32:
            raise QuantizationError(f"`{name}` is {values.dtype}: call `.float()` on the network, and give it torch.float32 inputs")
        if len(bad := values[~torch.isfinite(values)]):
            raise QuantizationError(f"`{name}` holds {bad[0].item()}: its numbers must be finite")
    for name, part in model.named_modules():
        where = f"`{name}` ({type(part).__name__})" if name else type(part).__name__
        if isinstance(part, torch.jit.ScriptModule):
            raise QuantizationError(f"{where} is compiled by torch.jit: give the module that it was made from")
        if type(part).__name__ in _WRAPPERS:
            raise QuantizationError(f"{where} wraps a network: {_WRAPPERS[type(part).__name__]}")
        if isinstance(part, Quantizer):
            raise QuantizationError(f"{where} is a quantizer already: give the float network, or export this one as it is")
        if parametrize.is_parametrized(part):
            raise QuantizationError(f"{where} computes its weights from others: call torch.nn.utils.parametrize."
                                    "remove_parametrizations on it")
        if any(getattr(part, hooks) for hooks in _HOOKS):
            raise QuantizationError(f"{where} has a forward hook, which would be lost: remove it; of a pruned or normalized layer "
                                    "with prune.remove, remove_spectral_norm or remove_weight_norm of torch.nn.utils")


def check_samples(x: Any, what: str) -> None:
    """Refuse what is no batch of samples.  Raises QuantizationError."""
    if not isinstance(x, Tensor):
        raise QuantizationError(f"{what} is {_described(x)}: give a tensor")
    if x.ndim == 0:
        raise QuantizationError(f"{what} is a single number: give samples, of shape (N, ...)")


def check_example(x: Any) -> None:
    """Refuse what isn't at least one sample.  Raises QuantizationError."""
    check_samples(x, "the example input")
    if not len(x):
        raise QuantizationError(f"the example input, of shape {tuple(x.shape)}, is empty: give at least one sample")


def check_bits(what: str, bits: Any, least: int) -> None:
    """Refuse a width that isn't a whole number from `least` to 8.  Raises QuantizationError."""
    if not isinstance(bits, int) or isinstance(bits, bool) or not least <= bits <= 8:
        raise QuantizationError(f"{what} must be from {least} to 8, not {bits}; for binary layers use those of quant.nn")


def reason_of(error: BaseException) -> str:
    """The first line of an error's message, cut short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def line_of(error: BaseException) -> str:
    """Where, outside torch and this package, an error arose: `` at net.py:7, `if x.sum() > 0:` ``; empty if nowhere."""
    ours = (str(Path(torch.__file__).parent) + os.sep, str(Path(__file__).parent) + os.sep)
    frames = [one for one in traceback.extract_tb(error.__traceback__)
              if not one.filename.startswith((*ours, "<")) and "eval_with_key" not in one.filename]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}, `{frames[-1].line}`" if frames else ""


def _described(value: object) -> str:
    return "None" if value is None else f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"

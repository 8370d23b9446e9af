"""Attributes that convolutions and pools share, and 1-D tensors as 2-D ones of height 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .context import Context
from .errors import LoweringError
from .layout import arranged
from .node import OnnxNode
from .realise import evened
from .tensors import Act, Shape, natural


@dataclass(frozen=True)
class Windows:
    """Sliding windows over (H, W); a 1-D operator has H = 1.

    Parameters
    ----------
    kernel, stride, dilation : (int, int)
    pads : (int, int, int, int)
        Top, left, bottom, right.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]


def windows(node: OnnxNode, act: Act, kernel: Shape | None = None) -> Windows:
    """Read kernel_shape, strides, dilations, pads, auto_pad and ceil_mode for a tensor (1, C, L) or (1, C, H, W)."""
    rank = spatial_rank(act)
    listed = node.integers("kernel_shape")
    kernel = tuple(listed) if listed else kernel
    if kernel is None or len(kernel) != rank:
        raise LoweringError(f"its kernel_shape is {kernel}, but the tensor has shape {act.shape}; export the network again")
    strides, dilations = (_list(node, name, rank) for name in ("strides", "dilations"))
    sizes = act.shape[2:]
    pads = node.integers("pads") or [0] * 2 * rank
    if len(pads) != 2 * rank:
        raise LoweringError(f"its pads {pads} do not fit a tensor of shape {act.shape}; export the network again")
    mode = str(node.attribute("auto_pad", "NOTSET"))
    if mode.startswith("SAME_"):
        pads = [0] * 2 * rank
        for i, (size, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
            total = max(0, (-(-size // s) - 1) * s + d * (k - 1) + 1 - size)
            small, large = total // 2, total - total // 2
            pads[i], pads[i + rank] = (small, large) if mode == "SAME_UPPER" else (large, small)
    elif mode == "VALID":
        pads = [0] * 2 * rank
    elif mode != "NOTSET":
        raise LoweringError(f"its auto_pad is '{mode[:20]}'; use NOTSET, SAME_UPPER, SAME_LOWER or VALID")
    if node.flag("ceil_mode"):
        for i, (size, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
            room = size + pads[i] + pads[i + rank] - d * (k - 1) - 1
            count = -(-room // s) + 1
            if (count - 1) * s >= size + pads[i]:  # a window that starts behind the input is not made
                count -= 1
            pads[i + rank] = max(0, (count - 1) * s + d * (k - 1) + 1 - size - pads[i])
    return Windows(_two(kernel, 1), _two(strides, 1), _two(dilations, 1), _four(pads))


def spatial_rank(act: Act) -> int:
    """1 or 2.  Raises LoweringError for other tensors."""
    rank = len(act.shape) - 2
    if rank not in (1, 2):
        raise LoweringError(f"its input has shape {act.shape}; only (1, C, L) and (1, C, H, W) are supported")
    return rank


def as_image(ctx: Context, act: Act) -> Act:
    """The activation as (1, C, H, W) over an IR value (H, W, C); without a chain, each channel has one scale and offset."""
    if spatial_rank(act) == 1:
        act = act.moved(lambda values: values[:, :, None, :])
    shape = (*act.shape[2:], act.shape[1])
    act = arranged(ctx, act, shape, natural(shape))
    return act if act.chain else arranged(ctx, evened(ctx, act), shape, natural(shape))


def image_of(act: Act, rank: int) -> Act:
    """The result (1, C, H, W) back as (1, C, L) if the operator was 1-D."""
    return act if rank == 2 else act.moved(lambda values: np.asarray(values[:, :, 0, :]))


def _list(node: OnnxNode, name: str, rank: int) -> list[int]:
    values = node.integers(name) or [1] * rank
    if len(values) != rank or min(values) < 1:
        raise LoweringError(f"its {name} are {values}; give {rank} positive numbers")
    return values


def _two(values: list[int] | Shape, fill: int) -> tuple[int, int]:
    return (fill, values[0]) if len(values) == 1 else (values[0], values[1])


def _four(pads: list[int]) -> tuple[int, int, int, int]:
    return (0, pads[0], 0, pads[1]) if len(pads) == 2 else (pads[0], pads[1], pads[2], pads[3])

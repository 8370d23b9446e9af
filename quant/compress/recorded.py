"""What goes into each layer of a network, as rows: a layer's outputs are its rows times its matrix of weights.

Of a convolution a row is what the kernel sees at one position.  Rows are drawn at random up to a bound, and only those that are
drawn are ever copied out of the images, so memory stays bounded however large images and data are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from .errors import CompressionError
from .networks import Layer, check_images, chosen_layers, forward

_BATCH: Final = 64  # samples that go through the network at a time


def record_inputs(network: nn.Module, images: Tensor, layers: Iterable[str] | None = None, *, rows: int = 4096,
                  seed: int = 0) -> dict[str, Tensor]:
    """Rows of the inputs of layers, in evaluation mode, by the layers' names.

    Layers with as many rows as each other get the same ones: so do a network and its compressed copy, layer by layer.

    Parameters
    ----------
    network
        Masked layers (`torch.nn.utils.prune`) may be among its layers.  It isn't changed.
    images : shape (N, ...)
    layers
        Names of `Linear`, `Conv1d` and `Conv2d` layers; all by default.
    rows
        Most rows to keep for a layer, drawn from all with equal chances; if there are no more, all, in order.
    seed
        Of the draw.

    Returns
    -------
    For each layer, shape (groups, rows, inputs): `inputs` are those of one output, ordered as ``weight_rows(layer)``.

    Raises
    ------
    CompressionError
        A layer isn't there, is never called, or is called on what it can't take; the images don't go through; `rows` is below 1.
    """
    if rows < 1:
        raise CompressionError(f"the rows to keep of a layer's inputs must be 1 or more, not {rows}")
    chosen = chosen_layers(network, layers)
    check_images(network, images)
    draws = {name: _Draw(layer, rows, seed) for name, layer in chosen.items()}
    hooks = [layer.register_forward_pre_hook(draws[name].see, with_kwargs=True) for name, layer in chosen.items()]
    try:
        for batch in torch.split(images, _BATCH):
            forward(network, batch)
    finally:
        for hook in hooks:
            hook.remove()
    for name, draw in draws.items():
        if not draw.seen:
            raise CompressionError(f"layer `{name}` is never called when the calibration data go through the network: leave it out")
    return {name: draw.drawn() for name, draw in draws.items()}


def weight_rows(layer: Layer) -> Tensor:
    """A layer's weights as matrices, shape (groups, outputs / groups, inputs of an output): detached, a view where possible."""
    return layer.weight.detach().reshape(_groups(layer), -1, math.prod(layer.weight.shape[1:]))


def outputs_of(layer: Layer, rows: Tensor) -> Tensor:
    """What a layer makes of rows of its inputs.

    Parameters
    ----------
    layer
    rows : shape (groups, rows, inputs)
        As `record_inputs` gives them.

    Returns
    -------
    shape (rows, outputs), in the rows' type; channels are in the layer's order.
    """
    sums = torch.einsum("gri,goi->rgo", rows, weight_rows(layer).to(rows.dtype)).flatten(1)
    return sums if layer.bias is None else sums + layer.bias.detach().to(rows.dtype)


def unfolded(layer: Layer, x: Tensor, chosen: Tensor | None = None) -> Tensor:
    """A layer's input as rows.

    Parameters
    ----------
    layer
    x : shape (..., inputs) or (N, channels, ...)
        Input of a linear layer, or of a convolution; of the latter, without N, one sample.
    chosen : int64, shape (rows,)
        Which rows; all by default, samples outermost, then positions line by line.

    Returns
    -------
    shape (groups, rows, inputs of an output)
    """
    return _taken(layer, _windows(layer, x), chosen)


class _Draw:
    """A uniform draw from all rows that a layer sees: each row gets a random key, and the least keys stay."""

    def __init__(self, layer: Layer, most: int, seed: int) -> None:
        self.layer, self.most, self.seen = layer, most, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.keys = torch.empty(0, dtype=torch.float64)
        self.rows: Tensor | None = None

    def see(self, layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        windows = _windows(self.layer, (arguments[0] if arguments else named["input"]).detach())
        count = math.prod(_places(self.layer, windows))
        keys = torch.cat([self.keys, torch.rand(count, generator=self.generator, dtype=torch.float64)])
        stay = torch.topk(keys, min(self.most, len(keys)), largest=False).indices.sort().values  # in the order they came in
        old, new = stay[stay < len(self.keys)], stay[stay >= len(self.keys)] - len(self.keys)
        fresh = _taken(self.layer, windows, new)
        self.rows = fresh if self.rows is None else torch.cat([self.rows[:, old], fresh], dim=1)
        self.keys = keys[stay]
        self.seen += count

    def drawn(self) -> Tensor:
        assert self.rows is not None
        return self.rows


def _groups(layer: Layer) -> int:
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def _places(layer: Layer, windows: Tensor) -> tuple[int, ...]:
    """The axes of rows among those of `windows`: samples and positions."""
    axes = windows.ndim - 1 if isinstance(layer, nn.Linear) else 1 + len(layer.kernel_size)
    return tuple(windows.shape[:axes])


def _taken(layer: Layer, windows: Tensor, chosen: Tensor | None) -> Tensor:
    """Rows out of windows: the only copy that is made of them."""
    places = _places(layer, windows)
    chosen = torch.arange(math.prod(places)) if chosen is None else chosen
    taken = windows[torch.unravel_index(chosen, places)] if places else windows[None]
    return taken.reshape(len(chosen), _groups(layer), math.prod(layer.weight.shape[1:])).transpose(0, 1).contiguous()


def _windows(layer: Layer, x: Tensor) -> Tensor:
    """What a layer's outputs are made of, place by place, a view: shape (N, *positions, channels, *kernel), or a linear's x."""
    if isinstance(layer, nn.Linear):
        return x
    axes = len(layer.kernel_size)
    x = x[None] if x.ndim == axes + 1 else x
    padding: list[int] = []  # the last axis first, as torch wants it
    for axis in reversed(range(axes)):
        if layer.padding == "same":
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            padding += [total // 2, total - total // 2]
        else:
            padding += [0, 0] if layer.padding == "valid" else [int(layer.padding[axis])] * 2
    if any(padding):
        x = functional.pad(x, padding, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    for axis in range(axes):
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        x = x.unfold(2 + axis, reach, layer.stride[axis])
    for axis in range(axes):
        x = x.movedim(2 + axes + axis, -1)[..., ::layer.dilation[axis]].movedim(-1, 2 + axes + axis)
    return x.movedim(1, 1 + axes)

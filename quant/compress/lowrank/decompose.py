"""Low-rank forms of one layer: what a layer of a rank costs, and the plain layers that compute it.

Of a convolution with weight (outputs O, inputs C, height, width), rank r:

- ``channel``     height x width to r channels, then 1 x 1 to O: SVD of (O, C h w).  Zhang and others, 2015.
- ``channel_in``  1 x 1 to r channels, then height x width to O: SVD of (C, O h w).
- ``spatial``     height x 1 to r channels, then 1 x width to O: SVD of (C h, O w).  Jaderberg and others, 2014.
- ``tucker``      1 x 1 to s channels, height x width to r, 1 x 1 to O; the rank is the pair (r, s).  Kim and others, 2016.
- ``cp``          1 x 1 to r, height x 1 and 1 x width channel by channel, 1 x 1 to O.  Lebedev and others, 2015.

A linear layer becomes two, by SVD.  Stride, padding and dilation are split by axis, and the last layer has the bias.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import tensorly
import torch
from numpy.typing import NDArray
from tensorly.decomposition import parafac, partial_tucker
from torch import Tensor, nn

from ..layerwise import Layer

Method = Literal["channel", "channel_in", "spatial", "tucker", "cp"]
Rank = int | tuple[int, int]
Float = NDArray[np.float64]

METHODS: Final = ("channel", "channel_in", "spatial", "tucker", "cp")
_CP_STEPS: Final = 200
_CP_TOLERANCE: Final = 1e-9
_TUCKER_STEPS: Final = 200


class Size(NamedTuple):
    """A layer's form.

    Members
    -------
    outputs, inputs, height, width
        Of its weight; height and width are 0 for a linear layer.
    """

    outputs: int
    inputs: int
    height: int
    width: int


class Positions(NamedTuple):
    """Where a convolution computes, over one sample and all of its calls.

    Members
    -------
    before
        Positions of its input.
    between
        Rows of its output times columns of its input.
    after
        Positions of its output.
    """

    before: int
    between: int
    after: int


def size_of(layer: Layer) -> Size:
    """The form of a layer."""
    return Size(*layer.weight.shape, *((0, 0) if isinstance(layer, nn.Linear) else ()))


def most_rank(size: Size, method: Method) -> Rank:
    """The rank at which a method is exact; of CP, the rank that is always enough."""
    outputs, inputs, height, width = size
    if not height:
        return min(outputs, inputs)
    most: dict[str, Rank] = {
        "channel": min(outputs, inputs * height * width),
        "channel_in": min(inputs, outputs * height * width),
        "spatial": min(inputs * height, outputs * width),
        "tucker": (min(outputs, inputs * height * width), min(inputs, outputs * height * width)),
        "cp": min(outputs * inputs * height, outputs * inputs * width, outputs * height * width, inputs * height * width),
    }
    return most[method]


def cost(size: Size, method: Method, rank: Rank | None, at: Positions) -> int:
    """Multiplications of a layer in a low-rank form, or as it is where the rank is None; with all positions 1, its weights."""
    outputs, inputs, height, width = size
    first, second = rank if isinstance(rank, tuple) else (rank or 0, 0)
    if not height:
        return at.after * (outputs * inputs if rank is None else first * (outputs + inputs))
    taps = height * width
    if rank is None:
        return at.after * outputs * inputs * taps
    if method == "channel":
        return at.after * first * (inputs * taps + outputs)
    if method == "channel_in":
        return first * (at.before * inputs + at.after * outputs * taps)
    if method == "spatial":
        return first * (at.between * inputs * height + at.after * outputs * width)
    if method == "tucker":
        return at.before * inputs * second + at.after * first * (second * taps + outputs)
    return first * (at.before * inputs + at.between * height + at.after * (width + outputs))


def spectra(weight: Tensor, method: Method) -> list[Float]:
    """Squared singular values of the matrices whose rank the method bounds.

    One matrix for an SVD, those of outputs and of inputs for Tucker, and all seven ways to make a matrix of four axes for CP,
    none of which may have a higher rank than CP's.
    """
    w = weight.detach().double().numpy()
    ways: list[tuple[int, ...]] = [(0,)]
    if w.ndim == 4:
        all_ways: dict[str, list[tuple[int, ...]]] = {
            "channel": [(0,)], "channel_in": [(1,)], "spatial": [(1, 2)], "tucker": [(0,), (1,)],
            "cp": [(0,), (1,), (2,), (3,), (0, 1), (0, 2), (1, 2)]}
        ways = all_ways[method]
    return [np.square(np.linalg.svd(_matrix(w, rows), compute_uv=False), dtype=np.float64) for rows in ways]


def decomposed(layer: Layer, method: Method, rank: Rank, *, seed: int = 0) -> nn.Sequential:
    """Plain layers that compute a layer at a rank, in its order; the rank is within `most_rank`."""
    weight = layer.weight.detach().double().numpy()
    if isinstance(layer, nn.Linear):
        assert isinstance(rank, int)
        back, forth = _halves(weight, rank)
        return _chain(layer, [_linear(forth, None), _linear(back, layer)])
    outputs, inputs, height, width = size_of(layer)
    last: dict[str, Any] = {"bias": layer}
    if isinstance(rank, tuple):
        (core, (left, right)) = _tucker(weight, rank)
        return _chain(layer, [_conv(layer, _pointwise(right.T), ""), _conv(layer, core, "hw"),
                              _conv(layer, _pointwise(left), "", **last)])
    if method == "channel":
        back, forth = _halves(_matrix(weight, (0,)), rank)
        kernel = forth.reshape(rank, inputs, height, width)
        return _chain(layer, [_conv(layer, kernel, "hw"), _conv(layer, _pointwise(back), "", **last)])
    if method == "channel_in":
        back, forth = _halves(_matrix(weight, (1,)), rank)
        kernel = forth.reshape(rank, outputs, height, width).swapaxes(0, 1)
        return _chain(layer, [_conv(layer, _pointwise(back.T), ""), _conv(layer, kernel, "hw", **last)])
    if method == "spatial":
        back, forth = _halves(_matrix(weight, (1, 2)), rank)
        tall = back.T.reshape(rank, inputs, height, 1)
        wide = forth.reshape(rank, outputs, width).swapaxes(0, 1)[:, :, None]
        return _chain(layer, [_conv(layer, tall, "h"), _conv(layer, wide, "w", **last)])
    out, into, tall, wide = _cp(weight, rank, seed)
    return _chain(layer, [_conv(layer, _pointwise(into.T), ""), _conv(layer, tall.T[:, None, :, None], "h", groups=rank),
                          _conv(layer, wide.T[:, None, None], "w", groups=rank), _conv(layer, _pointwise(out), "", **last)])


def from_outputs(layer: Layer, basis: Float, mean: Float, rank: int) -> nn.Sequential:
    """A linear layer or a convolution (``channel``) whose outputs lie on the first directions of a basis around a mean.

    Parameters
    ----------
    layer
    basis : shape (outputs, outputs)
        Orthonormal columns, the most important first.
    mean : shape (outputs,)
        Of the outputs without bias: what the directions left out have of it goes into the bias.
    rank
    """
    back = basis[:, :rank]
    forth = back.T @ _matrix(layer.weight.detach().double().numpy(), (0,))
    if isinstance(layer, nn.Linear):
        chain = _chain(layer, [_linear(forth, None), _linear(back, layer)])
    else:
        kernel = forth.reshape(rank, *layer.weight.shape[1:])
        chain = _chain(layer, [_conv(layer, kernel, "hw"), _conv(layer, _pointwise(back), "", bias=layer)])
    shift = torch.from_numpy(mean - back @ (back.T @ mean)).to(layer.weight.dtype)
    end: Any = chain[1]
    end.bias = nn.Parameter(shift if layer.bias is None else shift + layer.bias.detach())
    return chain


def _matrix(w: Float, rows: tuple[int, ...]) -> Float:
    """A tensor as a matrix whose rows are some of its axes, in their order."""
    columns = [axis for axis in range(w.ndim) if axis not in rows]
    count = int(np.prod([w.shape[axis] for axis in rows]))
    return w.transpose(*rows, *columns).reshape(count, -1)


def _halves(matrix: Float, rank: int) -> tuple[Float, Float]:
    """The best product of two matrices of a rank; both have the singular values' roots, so that they quantize alike."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    roots = np.sqrt(s[:rank])
    return u[:, :rank] * roots, v[:rank] * roots[:, None]


def _tucker(weight: Float, rank: tuple[int, int]) -> tuple[Float, tuple[Float, Float]]:
    (core, factors), _ = partial_tucker(tensorly.tensor(weight), list(rank), modes=[0, 1], n_iter_max=_TUCKER_STEPS, tol=1e-9)
    return np.asarray(core), (np.asarray(factors[0]), np.asarray(factors[1]))


def _cp(weight: Float, rank: int, seed: int) -> tuple[Float, Float, Float, Float]:
    """Factors with the same norm in each component; of two starts the better."""
    best: tuple[float, Any] = (np.inf, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ranks beyond an axis
        for init in ("svd", "random"):
            found = parafac(tensorly.tensor(weight), rank, n_iter_max=_CP_STEPS, tol=_CP_TOLERANCE, init=init, random_state=seed)
            error = float(np.linalg.norm(tensorly.cp_to_tensor(found) - weight))
            if np.isfinite(error) and error < best[0]:
                best = error, found
    weights, factors = best[1]
    norms = [np.linalg.norm(one, axis=0) for one in factors]
    whole = np.abs(weights) * np.prod(norms, axis=0)
    even = whole ** 0.25
    scaled = [one / np.where(norm > 0, norm, 1) * even for one, norm in zip(factors, norms, strict=True)]
    scaled[0] = scaled[0] * np.sign(weights)
    return scaled[0], scaled[1], scaled[2], scaled[3]


def _pointwise(matrix: Float) -> Float:
    return matrix[:, :, None, None]


def _linear(weight: Float, bias_of: Layer | None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias_of is not None and bias_of.bias is not None, device="meta")
    return _filled(layer, weight, bias_of)


def _conv(layer: nn.Conv2d, weight: Float, axes: str, *, bias: Layer | None = None, groups: int = 1) -> nn.Module:
    """A convolution that strides, pads and dilates as a layer does along some axes, `h` and `w`."""
    def along(values: Any, none: int) -> Any:
        return values if isinstance(values, str) else tuple(
            value if axis in axes else none for axis, value in zip("hw", values, strict=True))

    new = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), stride=along(layer.stride, 1),
        padding=along(layer.padding, 0), dilation=along(layer.dilation, 1), groups=groups, padding_mode=layer.padding_mode,
        bias=bias is not None and bias.bias is not None, device="meta")  # no initial weights are drawn
    return _filled(new, weight, bias)


def _filled(layer: Any, weight: Float, bias_of: Layer | None) -> nn.Module:
    layer.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(weight)))
    if layer.bias is not None:
        assert bias_of is not None and bias_of.bias is not None
        layer.bias = nn.Parameter(bias_of.bias.detach().clone())
    filled: nn.Module = layer
    return filled


def _chain(layer: Layer, parts: list[nn.Module]) -> nn.Sequential:
    return nn.Sequential(*parts).to(layer.weight.dtype).train(layer.training)

"""Weights that make a layer's wanted outputs out of few of its inputs: least squares on second moments.

All that least squares needs of recorded rows X and wanted outputs Y are X'X / n and X'Y / n, so rows are read once.  A bias is
one more input that is always 1 and never pruned: it takes over the means of what pruned weights contributed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import CompressionError
from ..networks import Layer
from ..recorded import outputs_of, weight_rows


@dataclass(frozen=True, eq=False)
class Moments:
    """Of a layer's inputs, and of these with its wanted outputs; float64, `inputs` with a last one of 1 for a bias.

    Members
    -------
    gram : shape (groups, inputs, inputs)
        Mean over rows of x x'.
    cross : shape (groups, inputs, outputs / groups)
        Mean over rows of x y'.
    power : float
        Mean over rows of y'y, all groups together.
    """

    gram: Tensor
    cross: Tensor
    power: float

    def error(self, weights: Tensor) -> float:
        """Squared error of outputs, the mean over rows of the sum over outputs; weights as `matrices` gives them."""
        quadratic = torch.einsum("goi,gij,goj->", weights, self.gram, weights)
        return self.power + float(quadratic - 2 * torch.einsum("goi,gio->", weights, self.cross))


def moments_of(layer: Layer, rows: Tensor, outputs: Tensor | None = None) -> Moments:
    """Second moments of rows and outputs.

    Parameters
    ----------
    layer
    rows : shape (groups, rows, inputs)
        As `record_inputs` gives them.
    outputs : shape (rows, outputs)
        What is wanted for each row; what the layer makes of it by default.
    """
    rows = rows.double()
    wanted = outputs_of(layer, rows) if outputs is None else outputs.double()
    if layer.bias is not None:
        rows = functional.pad(rows, (0, 1), value=1.0)
    by_group = wanted.reshape(len(wanted), len(rows), -1)
    gram = rows.transpose(1, 2) @ rows / rows.shape[1]
    return Moments(gram, torch.einsum("gri,rgo->gio", rows, by_group) / rows.shape[1], float((wanted**2).sum()) / rows.shape[1])


def matrices(layer: Layer) -> Tensor:
    """A layer's weights, its bias as a last input: float64, shape (groups, outputs / groups, inputs)."""
    weights = weight_rows(layer).double()
    if layer.bias is None:
        return weights.clone()
    return torch.cat([weights, layer.bias.detach().double().reshape(*weights.shape[:2], 1)], dim=2)


@torch.no_grad()
def set_matrices(layer: Layer, weights: Tensor) -> None:
    """The reverse of `matrices`, in place."""
    inputs = weights.shape[2] - (layer.bias is not None)
    layer.weight.copy_(weights[..., :inputs].reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(weights[..., -1].flatten())


def with_bias(layer: Layer, kept: Tensor) -> Tensor:
    """Which entries of `matrices` stay, of which weights do: biases all; bool, shape (groups, outputs / groups, inputs)."""
    return functional.pad(kept, (0, 1), value=True) if layer.bias is not None else kept


def fit_kept(moments: Moments, start: Tensor, kept: Tensor, damping: float) -> Tensor:
    """The kept weights that bring outputs nearest to what is wanted: least squares, output by output.

    Parameters
    ----------
    moments
    start : shape (groups, outputs / groups, inputs)
        Where weights are pulled to by the damping, which decides where rows say little or nothing.
    kept : bool, shape of `start`
    damping
        Above 0; a part of the mean of the gram matrix's diagonal, added to it.

    Returns
    -------
    shape of `start`, 0 where not kept: the least of error(w) + pull * |w - start|**2 with that support
    """
    fitted = torch.zeros_like(start)
    for group, gram in enumerate(moments.gram):
        pull = pull_of(gram, damping)
        target = moments.cross[group].T + pull * start[group]
        hessian = gram + pull * torch.eye(len(gram), dtype=gram.dtype)
        for output, stays in enumerate(kept[group]):
            at = torch.nonzero(stays)[:, 0]
            if len(at):
                factor = factored(hessian[at[:, None], at])
                fitted[group, output, at] = torch.cholesky_solve(target[output, at, None], factor)[:, 0]
    return fitted


def factored(hessian: Tensor) -> Tensor:
    """The Cholesky factor.  Raises CompressionError where damping is too little for float64."""
    factor: Tensor
    factor, wrong = torch.linalg.cholesky_ex(hessian)
    if int(wrong):
        raise CompressionError(f"{len(hessian):,} inputs of a layer depend on each other, so that least squares has no one answer: "
                               "raise the damping")
    return factor


def check_damping(damping: Any) -> None:
    """Refuse damping that isn't above 0.  Raises CompressionError."""
    if isinstance(damping, bool) or not isinstance(damping, (int, float)) or not 0 < damping < math.inf:
        raise CompressionError(f"the damping must be a number above 0, not {damping}: 0.001 is usual")


def pull_of(gram: Tensor, damping: float) -> float:
    """What damping adds to the diagonal: of inputs that are all 0, anything does."""
    return damping * (float(gram.diagonal().mean()) or 1.0)

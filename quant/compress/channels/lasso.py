"""Channel pruning by LASSO regression: of the channels that a layer reads, those stay that make up its outputs best, and the
layer is fitted to them by least squares.

Source: He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", 2017.
"""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .reconstruction import Evidence, prune_by_reading
from .removal import Keep

_BISECTIONS: Final = 40  # of alpha, between one value that leaves too many channels and its double
_LEAST: Final = 1e-6  # first alpha, as a part of the one that leaves no channel


def prune_by_lasso(network: nn.Module, images: Tensor, *, keep: Keep, rows: int = 4096, seed: int = 0) -> nn.Module:
    """A smaller network, its channels chosen by LASSO and its layers fitted to them.

    Layer by layer in the network's order: beta is the solution of min 1/2 |y - sum of beta_c z_c|^2 + alpha |beta|_1, where y
    are outputs that the original network's next layer makes and z_c what channel c adds to them; alpha is raised until the
    wanted number of channels has a beta other than 0.  Then that next layer gets the weights (and bias, if it has one) of least
    squared error.  Of channels that several layers read, a residual network's, all these layers' outputs count, each in
    units of its variance.

    Parameters
    ----------
    network
        It isn't changed.
    images : shape (N, ...)
        Some hundreds; without labels.
    keep
        Part of the channels of each layer to keep, in (0, 1], rounded to the nearest number (a half: up) and at least 1.  A mapping
        gives each layer that it names its own, of coupled layers any one, and leaves others alone.  A number is for all layers
        whose channels can go and are read by `Linear`, `Conv1d` or `Conv2d` layers only.
    rows
        Most samples (output positions) of a layer to fit it by: several times as many as it has inputs.
    seed
        Of the draw of these.

    Raises
    ------
    CompressionError
        A layer isn't there or can't be pruned, the budget is out of range, or the images don't go through.
    """
    return prune_by_reading(network, images, keep, pick_by_lasso, "weights", rows=rows, seed=seed)


def pick_by_lasso(evidence: Evidence, count: int) -> list[int]:
    """Indices of the units that stay when alpha is raised until `count` of them do.

    Where no alpha leaves just as many, those of the next larger number that add most.
    """
    # Whatever the number of samples, the moments are all that the solution depends on: a square root of the matrix of
    # products stands for the samples.
    values, vectors = np.linalg.eigh(evidence.gram.numpy())
    rank = values > values.max(initial=0.0) * len(values) * np.finfo(np.float64).eps
    if not rank.any():
        return list(range(count))  # no unit adds anything
    roots = np.sqrt(values[rank])
    samples = roots[:, None] * vectors[:, rank].T
    target = (vectors[:, rank].T @ evidence.wanted.numpy()) / roots
    none = float(np.abs(samples.T @ target).max()) / len(samples)
    low, high = 0.0, none * _LEAST
    enough = np.ones(len(values))  # what the greatest alpha that leaves enough gives
    while (beta := _lasso(samples, target, high)).astype(bool).sum() > count and high < none:
        low, high, enough = high, high * 2, beta
    if beta.astype(bool).sum() == count:
        enough = beta
    else:
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            beta = _lasso(samples, target, middle)
            left = int(beta.astype(bool).sum())
            if left >= count:
                low, enough = middle, beta
            else:
                high = middle
            if left == count:
                break
    added = torch.from_numpy(np.abs(enough) * np.sqrt(np.maximum(np.diag(evidence.gram.numpy()), 0)))
    return sorted(torch.argsort(added, descending=True, stable=True)[:count].tolist())


def _lasso(samples: NDArray[np.float64], target: NDArray[np.float64], alpha: float) -> NDArray[Any]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the least alphas, which only bracket the one that is wanted
        beta: NDArray[Any] = Lasso(alpha=alpha, fit_intercept=False, max_iter=5000, tol=1e-6).fit(samples, target).coef_
    return beta

"""Network slimming: an L1 penalty makes scales of batch norms small, and channels with the smallest scales go.

Source: Liu and others, "Learning Efficient Convolutional Networks through Network Slimming", 2017.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import CompressionError
from ..networks import check_part
from .coupling import couple
from .criteria import norm_scores
from .removal import Scope, choose, without

Retrain = Callable[[nn.Module], None]


def slimming_penalty(network: nn.Module, strength: float) -> Tensor:
    """To add to the loss of any training loop: `strength` times the sum of the magnitudes of all batch norms' scales.

    Its gradient by a scale is the strength with the scale's sign (0 at 0).  The paper trains with 1e-4 and 1e-5.

    Raises
    ------
    CompressionError
        The network has no batch norm with scales, or the strength is below 0.
    """
    if not strength >= 0:
        raise CompressionError(f"the strength of the penalty must be 0 or more, not {strength}")
    scales = [part.weight for part in network.modules() if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)) and part.affine]
    if not scales:
        raise CompressionError(f"{type(network).__name__} has no batch norm whose scales could be penalized: put BatchNorm2d "
                               "behind its convolutions, or train with a group lasso instead, which needs none")
    return strength * torch.stack([scale.abs().sum() for scale in scales]).sum()


def slim(network: nn.Module, images: Tensor, *, keep: float, passes: int = 1, retrain: Retrain | None = None,
         scope: Scope = "global") -> nn.Module:
    """A smaller network, of the channels with the largest scales of batch norms.

    Coupled channels, a residual network's, go by the mean of their scales.

    Parameters
    ----------
    network
        Trained with `slimming_penalty`, so that scales can be compared.  It isn't changed.
    images : shape (N, ...)
        One or two samples are enough: they give shapes.
    keep
        Part to keep, in (0, 1], of the channels that have batch norms; coupled channels count as one.
    passes
        Prune in as many steps, each by the same factor.
    retrain
        Called with the smaller network after each pass, to train it in place, with `slimming_penalty` if another pass follows.
    scope
        `global`: by one threshold (the paper's).  `layer`: the same part of each layer.

    Raises
    ------
    CompressionError
        The network has no batch norm behind channels that can go, or the budget is out of range or can't be met.
    """
    check_part("keep, the part of the channels to keep,", keep)
    if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
        raise CompressionError(f"the number of passes must be 1 or more, not {passes}")
    at_first, smaller = 0, network
    for done in range(1, passes + 1):
        scores, coupling = norm_scores(smaller, images), couple(smaller, images)
        count = sum(len(group.units) for group in coupling.groups if set(group.layers) & set(scores))
        at_first = at_first or count
        part = min(keep ** (done / passes) * at_first / count, 1.0)
        smaller = without(smaller, images, coupling, choose(smaller, images, coupling, scores, keep=part, scope=scope))
        if retrain is not None:
            retrain(smaller)
    return smaller

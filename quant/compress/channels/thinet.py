"""ThiNet: channels go one by one, each time the one without which the next layer's outputs change least.

Source: Luo, Wu and Lin, "ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression", 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .reconstruction import Evidence, Refit, prune_by_reading
from .removal import Keep


def prune_by_thinet(network: nn.Module, images: Tensor, *, keep: Keep, refit: Refit = "scale", rows: int = 4096,
                    seed: int = 0) -> nn.Module:
    """A smaller network, its channels chosen by ThiNet's greedy search and the layers behind them fitted to what is left.

    Layer by layer in the network's order: with z_c what channel c adds to the outputs of the next layer, to the channels that go
    is added the one that makes the squared sum of their z least, until the wanted number is left.  Where that layer has a
    bias, which can take up means, deviations from the mean count.

    Parameters
    ----------
    network, images, keep, rows, seed
        As `prune_by_lasso`.
    refit
        `scale`: what the next layer reads of each channel is multiplied by one number, that of least squared error (the paper's).
        `weights`: all its weights are fitted, as by `prune_by_lasso`.

    Raises
    ------
    CompressionError
        As `prune_by_lasso`; the refit isn't known.
    """
    return prune_by_reading(network, images, keep, pick_by_thinet, refit, rows=rows, seed=seed)


def pick_by_thinet(evidence: Evidence, count: int) -> list[int]:
    """Indices of the units that stay; of equally good ones, the first goes."""
    gram = evidence.gram
    stays = torch.ones(len(gram), dtype=torch.bool)
    with_gone = torch.zeros(len(gram), dtype=gram.dtype)  # products with the sum of those that are gone
    for _ in range(len(gram) - count):
        growth = gram.diagonal() + 2 * with_gone
        worst = int(torch.where(stays, growth, torch.inf).argmin())
        stays[worst] = False
        with_gone += gram[worst]
    return torch.nonzero(stays)[:, 0].tolist()

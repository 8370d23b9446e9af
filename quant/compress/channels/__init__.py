"""Pruning of channels: smaller dense networks, residual ones included."""

from ..counts import LayerCounts, counts
from .coupling import Coupling, Group, couple
from .criteria import apoz_scores, l1_scores, norm_scores, taylor_scores
from .grouplasso import GroupLasso, remove_zeros
from .lasso import prune_by_lasso
from .removal import keep_channels, remaining_macs, remove
from .slimming import slim, slimming_penalty
from .thinet import prune_by_thinet

__all__ = [
    "Coupling", "Group", "GroupLasso", "LayerCounts", "apoz_scores", "counts", "couple", "keep_channels", "l1_scores",
    "norm_scores", "prune_by_lasso", "prune_by_thinet", "remaining_macs", "remove", "remove_zeros", "slim", "slimming_penalty",
    "taylor_scores",
]

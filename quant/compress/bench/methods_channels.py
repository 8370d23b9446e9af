"""Methods that take whole channels away: what is left is a smaller dense network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from ..channels.criteria import apoz_scores, l1_scores, taylor_scores
from ..channels.grouplasso import GroupLasso
from ..channels.lasso import prune_by_lasso
from ..channels.removal import keep_channels
from ..channels.slimming import slim, slimming_penalty
from ..channels.thinet import prune_by_thinet
from ..distill import distillation
from .job import Budget, Job, Method

#: Part of the epochs in which a penalty makes channels small, before they go.
SPARSE_TRAINING: Final = 0.5
SLIMMING_STRENGTH: Final = 1e-3
LASSO_STRENGTH: Final = 1e-3


def filters(job: Job) -> nn.Module:
    """Of each layer the filters with the largest weights stay."""
    smaller = keep_channels(job.network, job.images, l1_scores(job.network, job.images), keep=job.left)
    return job.retrain(smaller)


def apoz(job: Job) -> nn.Module:
    """Of each layer the channels that are 0 least often stay."""
    return job.retrain(keep_channels(job.network, job.images, apoz_scores(job.network, job.images), keep=job.left))


def taylor(job: Job) -> nn.Module:
    """The channels without which the loss would change least go, over all layers, until the products are few enough."""
    scores = taylor_scores(job.network, job.images, job.labels)
    return job.retrain(keep_channels(job.network, job.images, scores, macs=job.left, scope="global"))


def lasso(job: Job) -> nn.Module:
    """Channels by LASSO, and the layers that read them fitted by least squares."""
    return job.retrain(prune_by_lasso(job.network, job.images, keep=job.left, seed=job.seed))


def thinet(job: Job) -> nn.Module:
    """Channels by the next layer's outputs, greedily."""
    return job.retrain(prune_by_thinet(job.network, job.images, keep=job.left, seed=job.seed))


def slimming(job: Job) -> nn.Module:
    """Scales of batch norms are made small, and channels with the smallest ones go."""
    sparse = copy.deepcopy(job.network)
    job.retrain(sparse, epochs=job.part_of_epochs(SPARSE_TRAINING), penalty=lambda one: slimming_penalty(one, SLIMMING_STRENGTH))
    return slim(sparse, job.images, keep=job.left, retrain=job.retraining(epochs=job.part_of_epochs(1 - SPARSE_TRAINING)))


def group_lasso(job: Job) -> nn.Module:
    """Whole filters are made small by a penalty, and those with the smallest norms go."""
    sparse = copy.deepcopy(job.network)
    groups = GroupLasso(sparse, job.images[:2])
    job.retrain(sparse, epochs=job.part_of_epochs(SPARSE_TRAINING), penalty=lambda one: groups.penalty(LASSO_STRENGTH))
    smaller = keep_channels(sparse, job.images, l1_scores(sparse, job.images), keep=job.left)
    return job.retrain(smaller, epochs=job.part_of_epochs(1 - SPARSE_TRAINING))


def distilled(job: Job) -> nn.Module:
    """A network of fewer channels learns from the whole one."""
    student = keep_channels(job.network, job.images, l1_scores(job.network, job.images), keep=job.left)
    return job.retrain(student, loss=from_teacher(job.network))


def from_teacher(teacher: nn.Module) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A loss that brings logits to a teacher's, and to the labels."""

    def loss(logits: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher(inputs)
        return distillation(logits, wanted, labels)

    return loss


GROUP: Final = "fewer channels"
KEEPS: Final = Budget("keep", (0.75, 0.5, 0.35, 0.25), 0.5)
METHODS: Final = (
    Method("filters", GROUP, "filters with the smallest weights go", "Li 2017", filters, KEEPS),
    Method("apoz", GROUP, "channels that are 0 most often go", "Hu 2016", apoz, KEEPS),
    Method("taylor", GROUP, "channels that change the loss least go", "Molchanov 2017", taylor,
           Budget("macs", (0.6, 0.4, 0.25, 0.15), 0.3)),
    Method("lasso", GROUP, "channel pruning: LASSO, then least squares", "He 2017", lasso, KEEPS),
    Method("thinet", GROUP, "channels that the next layer misses least go", "Luo 2017", thinet, KEEPS),
    Method("slimming", GROUP, "small scales of batch norms, then those channels go", "Liu 2017", slimming, KEEPS),
    Method("group-lasso", GROUP, "filters made small by a penalty go", "Wen 2016", group_lasso, KEEPS),
    Method("distillation", GROUP, "fewer channels, trained from the whole network", "Hinton 2015", distilled, KEEPS),
)

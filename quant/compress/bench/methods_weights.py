"""Methods that take weights away one by one: what is left is for engines that skip zeros."""

from __future__ import annotations

import copy
from typing import Final

from torch import nn

from quant.nn import GradualPruning, finish_pruning, prune

from ..errors import CompressionError
from ..networks import LAYERS, TRANSPOSED
from ..weights.iterative import geometric_densities, iterative_pruning
from ..weights.obd import optimal_brain_damage
from ..weights.obs import optimal_brain_surgeon
from ..weights.patterns import pattern_pruning
from .job import Budget, Job, Made, Method

#: Masks are tightened in this part of a retraining's steps, every so many.
PRUNING: Final = 0.6
EVERY_STEPS: Final = 10
#: Rounds of pruning and retraining.
ROUNDS: Final = 3
#: Calibration samples that second derivatives are taken on.
HESSIAN_SAMPLES: Final = 200
#: Weights of an N:M pattern's group.
GROUP_WEIGHTS: Final = 4
#: Of a weight that stays, and of its place in the group.
WEIGHT_BITS: Final = 8
PLACE_BITS: Final = 2


def magnitude(job: Job) -> nn.Module:
    """The smallest weights of all layers together go, along a cubic schedule, while the network trains on."""
    network = copy.deepcopy(job.network)
    steps = job.epochs * job.steps_per_epoch
    pruning = GradualPruning(network, job.left, scope="global", end=max(1, int(PRUNING * steps)), every=EVERY_STEPS)
    job.retrain(network, after_step=lambda _: pruning.step())
    prune(network, job.left, scope="global")  # where there was no step
    finish_pruning(network)
    return network


def iterative(job: Job) -> nn.Module:
    """The smallest weights go in three rounds, with retraining behind each."""
    return iterative_pruning(job.network, geometric_densities(job.left, ROUNDS),
                             job.retraining(epochs=job.part_of_epochs(1 / ROUNDS)), scope="global")


def brain_damage(job: Job) -> nn.Module:
    """The least salient weights go in three rounds."""
    return optimal_brain_damage(job.network, job.images[:HESSIAN_SAMPLES], density=job.left, rounds=ROUNDS,
                                retrain=job.retraining(epochs=job.part_of_epochs(1 / ROUNDS)))


def brain_surgeon(job: Job) -> nn.Module:
    """Each layer is pruned by the surgeon, then the network is retrained."""
    return optimal_brain_surgeon(job.network, job.images, job.left, retrain=job.retraining(), seed=job.seed)


def pattern(job: Job) -> Made:
    """Of each four weights in a row some stay; a file holds those, and which they are."""
    count = job.left * GROUP_WEIGHTS
    if count != int(count) or not 1 <= count < GROUP_WEIGHTS:
        raise CompressionError(f"a pattern leaves 1, 2 or 3 of {GROUP_WEIGHTS} weights: give --density 0.25, 0.5 or 0.75, not "
                               f"{job.left:g}")
    pruned = pattern_pruning(job.network, int(count), GROUP_WEIGHTS, retrain=job.retraining())
    bits = 0
    for layer in pruned.modules():
        if isinstance(layer, TRANSPOSED):  # which is left alone
            bits += WEIGHT_BITS * layer.weight.numel()
        elif isinstance(layer, LAYERS):
            groups = layer.weight.numel() // layer.weight.shape[1] * -(-layer.weight.shape[1] // GROUP_WEIGHTS)
            kept = min(layer.weight.numel(), groups * int(count))
            bits += WEIGHT_BITS * kept + (PLACE_BITS * kept if kept < layer.weight.numel() else 0)
    return Made(job.quantized(pruned), bits)


GROUP: Final = "fewer weights"
DENSITIES: Final = Budget("density", (0.5, 0.25, 0.15, 0.08, 0.04), 0.08)
METHODS: Final = (
    Method("magnitude", GROUP, "the smallest weights of all layers go while it trains", "Han 2015, Zhu 2017", magnitude, DENSITIES),
    Method("iterative", GROUP, "the smallest weights go in three rounds", "Han 2015", iterative, DENSITIES),
    Method("obd", GROUP, "Optimal Brain Damage: by second derivatives", "LeCun 1990", brain_damage, DENSITIES),
    Method("obs", GROUP, "layer-wise Optimal Brain Surgeon", "Hassibi 1993, Dong 2017", brain_surgeon, DENSITIES),
    Method("pattern", GROUP, "N of each 4 weights in a row stay", "Mishra 2021", pattern,
           Budget("density", (0.75, 0.5, 0.25), 0.5)),
)

"""Methods that take weights away one by one, or give many of them one value."""

from __future__ import annotations

import copy
from typing import Final

from torch import nn

from quant.nn import GradualPruning, SharedQuant, finish_pruning, share_weights
from quant.nn.layers import QuantWeights

from .job import Budget, Job, Method

#: Masks are tightened in this part of a retraining's steps, every so many.
PRUNING: Final = 0.6
EVERY_STEPS: Final = 10
#: With 0, 16 values of 4 bits, as EIE has them.
SPARSE_CODES: Final = 15
ENTRY_BITS: Final = 8


def magnitude(job: Job) -> nn.Module:
    """The smallest weights of all layers together go, along a cubic schedule, while the network trains on."""
    network = copy.deepcopy(job.network)
    steps = job.epochs * job.steps_per_epoch
    pruning = GradualPruning(network, job.left, scope="global", end=max(1, int(PRUNING * steps)), every=EVERY_STEPS)
    job.retrain(network, after_step=lambda _: pruning.step())
    finish_pruning(network)
    return network


def shared(job: Job) -> nn.Module:
    """A codebook for each layer by k-means, whose entries are then trained."""
    return _shared(job, job.network, int(job.left))


def deep_compression(job: Job) -> nn.Module:
    """Pruned, then shared; Huffman coding is in how it is stored."""
    return _shared(job, magnitude(job), SPARSE_CODES)


def _shared(job: Job, network: nn.Module, codes: int) -> nn.Module:
    result = job.quantized(network, per_channel=False, power_of_two=True)
    for name, layer in list(result.named_modules()):
        if isinstance(layer, QuantWeights):
            result.set_submodule(f"{name}.weight_quant", SharedQuant(codes, entry_bits=ENTRY_BITS))
    share_weights(result)
    return job.tune(result)


DENSITIES: Final = Budget("density", (0.5, 0.25, 0.15, 0.08, 0.04), 0.08)
METHODS: Final = (
    Method("magnitude", "fewer weights", "the smallest weights of all layers go while it trains", "Han 2015, Zhu 2017", magnitude,
           DENSITIES),
    Method("sharing", "shared weights", "k-means codebooks, entries trained", "Han 2016", shared,
           Budget("codes", (64, 32, 16, 8, 4), 16, 2, 256)),
    Method("deep-compression", "shared weights", "magnitude, 15 shared values a layer, Huffman coding", "Han 2016",
           deep_compression, DENSITIES, coded=True),
)

"""Methods that ask hardware what a network costs: searches of densities and of bits, and energy-aware pruning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import nn

from ..channels.coupling import couple
from ..channels.criteria import l1_scores
from ..channels.removal import keep_channels
from ..search.choose import search_bits, search_densities
from ..training import accuracy_percent, evaluate
from ..weights.energyaware import energy_aware_pruning
from .job import Budget, Job, Method

#: Training samples, from the last one back, that a search judges a network by; the test samples are not for choosing.
JUDGED_SAMPLES: Final = 1000
#: Parts of a layer's channels that a search chooses from.
KEEPS: Final = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
#: Weights of a layer that energy-aware pruning keeps in each step: fewer steps than the method's own 0.8.
STEP: Final = 0.7


def searched_channels(job: Job) -> nn.Module:
    """AMC: how many channels each layer keeps, within a latency on the int8 array; then retrained."""
    scores = l1_scores(job.network, job.images)
    coupling = couple(job.network, job.images[:2])
    # one layer speaks for those that are coupled with it
    layers = list(dict.fromkeys(coupling.group_of(name).layers[0] for name in coupling.prunable))

    def smaller(network: nn.Module, choice: Mapping[str, float]) -> nn.Module:
        return keep_channels(network, job.images, scores, keep=choice)

    found = search_densities(job.network, _judged(job), cost=_part_of(job.asked.latency_us, job.network), compress=smaller,
                             densities=KEEPS, layers=layers, budget=job.left, seed=job.seed, **_search(job))
    job.search.done(found)
    return job.retrain(found.build(found.best))


def searched_bits(job: Job) -> nn.Module:
    """HAQ: bits of each layer's weights and activations, within a latency on the bit-serial array; then retrained."""
    options: dict[str, Any] = {"input_integers": job.data.input_integers, "learn_scales": False}
    found = search_bits(job.network, job.images, _judged(job), cost=_part_of(job.asked.bit_serial_latency_us, job.network),
                        budget=job.left, seed=job.seed, **_search(job), **options)
    job.search.done(found)
    return job.tune(found.build(found.best))


def energy_aware(job: Job) -> nn.Module:
    """The layer that takes most energy on the sparse machine is pruned first, and the rest made to fit; then retrained."""
    return energy_aware_pruning(job.network, job.images, job.asked.sparse_energies_pj, energy_kept=job.left, step=STEP,
                                retrain=job.retraining(), seed=job.seed)


def _search(job: Job) -> dict[str, Any]:
    how = job.search
    return {"trials": how.trials, "file": how.file, "about": f"{how.about} {job.data.fingerprint}", "progress": how.progress}


def _part_of(cost: Callable[[nn.Module], float], network: nn.Module) -> Callable[[nn.Module], float]:
    """A cost as a part of a network's, as budgets are given."""
    whole = cost(network)
    return lambda other: cost(other) / whole


def _judged(job: Job) -> Callable[[nn.Module], float]:
    images, labels = job.data.train_images[-JUDGED_SAMPLES:], job.data.train_labels[-JUDGED_SAMPLES:]
    return lambda network: accuracy_percent(evaluate(network.eval(), images), labels)


METHODS: Final = (
    Method("energy-aware", "fewer weights", "layers that take most energy first, on EIE", "Yang 2017", energy_aware,
           Budget("energy", (0.85, 0.7, 0.5), 0.7), asks_hardware=True),
    Method("amc", "search", "channels of each layer by latency, on the int8 array", "He 2018", searched_channels,
           Budget("latency", (0.8, 0.6, 0.4), 0.6), asks_hardware=True, searches=True),
    Method("haq", "search", "bits of each layer by latency, on the XNOR array", "Wang 2019", searched_bits,
           Budget("latency", (0.8, 0.6, 0.4), 0.6), asks_hardware=True, searches=True),
)

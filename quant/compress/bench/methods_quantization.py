"""Methods that leave every weight and give it fewer bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torch import nn

from quant.nn import BipolarQuant, Observer, Quantizer, ScaledBipolarQuant, TernaryQuant, TtqQuant, TwnQuant
from quant.nn.placement import Placement
from quant.nn.traced import Traced

from ..lowbit import inner_layers, low_bit
from .job import Budget, Job, Method


def float_weights(job: Job) -> nn.Module:
    """The network as it is; 8 bits come behind every method that says nothing else."""
    return job.network


def uniform(job: Job) -> nn.Module:
    """Weights and activations of few bits with learned scales, retrained."""
    bits = int(job.left)
    inner_layers(job.network, Placement(Traced(job.network, job.images[:1]), Observer))  # refused where none gets few bits
    return job.retrain(job.quantized(job.network, weight_bits=bits, activation_bits=bits, learn_scales=True))


def _low_bit(weight: Callable[[], Quantizer], activation: Callable[[], nn.Module] | None) -> Callable[[Job], nn.Module]:
    def run(job: Job) -> nn.Module:
        return job.retrain(low_bit(job.network, job.images, weight, activation, input_integers=job.data.input_integers))

    return run


GROUP: Final = "fewer bits"
METHODS: Final = (
    Method("int8", GROUP, "8 bits everywhere, calibrated, not retrained", "Jacob 2018", float_weights),
    Method("lsq", GROUP, "few bits in the inner layers, scales learned", "Esser 2020", uniform,
           Budget("bits", (6, 4, 3, 2), 4, 2, 8)),
    Method("twn", GROUP, "ternary weights, one magnitude a layer", "Li 2016", _low_bit(TwnQuant, None)),
    Method("ttq", GROUP, "ternary weights, two learned magnitudes a layer", "Zhu 2017", _low_bit(TtqQuant, None)),
    Method("bwn", GROUP, "binary weights", "Rastegari 2016", _low_bit(ScaledBipolarQuant, None)),
    Method("xnor", GROUP, "binary weights and activations", "Rastegari 2016", _low_bit(ScaledBipolarQuant, BipolarQuant)),
    Method("tbn", GROUP, "binary weights, ternary activations", "Wan 2018", _low_bit(ScaledBipolarQuant, TernaryQuant)),
)

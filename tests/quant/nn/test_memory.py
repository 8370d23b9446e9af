"""Bytes of weights and activations, against what a hand counts."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from torch import nn

from quant.nn import (
    AbcLinear,
    AdderLinear,
    BipolarQuant,
    Bytes,
    HorqLinear,
    IntQuant,
    QuantConv2d,
    QuantLinear,
    ScaledBipolarQuant,
    SharedQuant,
    TernaryQuant,
    TtqQuant,
    TwnQuant,
    XnorLinear,
    memory_use,
)


def use_of(quantizer):
    return memory_use(QuantLinear(10, 6, weight_quant=quantizer, bias=False), torch.zeros(1, 10)).weights


@pytest.mark.parametrize(("quantizer", "quantized"), [
    (BipolarQuant(), 8),  # 60 bits
    (BipolarQuant(0.5), 8 + 4),
    (ScaledBipolarQuant(), 8 + 6 * 4),
    (ScaledBipolarQuant(per_channel=False), 8 + 4),
    (TwnQuant(), 15 + 4),
    (TwnQuant(per_channel=True), 15 + 24),
    (TtqQuant(), 15 + 8),
    (IntQuant(3, scale=torch.full((6, 1), 0.1)), 23 + 24),  # 180 bits
    (SharedQuant(), 30 + 16 * 2 + 4),  # 4-bit codes, 16-bit entries, their scale
    (SharedQuant(3, entry_bits=5), 15 + 6),  # 2-bit codes, 3 * 5 + 32 bits
])
def test_weights(quantizer, quantized):
    assert use_of(quantizer) == Bytes(240, quantized)


def test_a_network():
    network = nn.Sequential(
        IntQuant(8), QuantConv2d(2, 4, 3, weight_quant=ScaledBipolarQuant(), bias=False), nn.BatchNorm2d(4), BipolarQuant(),
        nn.Flatten(), QuantLinear(36, 5, weight_quant=TwnQuant()), nn.BatchNorm1d(5), TernaryQuant(), nn.Linear(5, 3))
    use = memory_use(network.train(), torch.zeros(7, 2, 5, 5))
    assert use.weights == Bytes(4 * (72 + 180), (9 + 16) + (45 + 4))
    assert use.activations == Bytes(4 * (50 + 36 + 5), 50 + 5 + 2)
    assert use.largest_activation == Bytes(200, 50)
    assert use.other_bytes == 4 * (16 + 5 + 20 + 15 + 3)  # norm, bias, norm, weights, bias
    assert network.training
    assert network[7].step.batches == 0


def test_sums_of_binary_tensors_count_every_tensor():
    assert memory_use(HorqLinear(10, 6), torch.zeros(1, 10)).activations == Bytes(40, 3)  # 2 bits each
    use = memory_use(AbcLinear(10, 6, weight_bases=3, input_bases=5), torch.zeros(1, 10))
    assert use.activations == Bytes(40, 7)
    assert use.weights == Bytes(240, 23 + 12)


def test_signs_of_quantized_values_are_no_second_float_tensor():
    layer = XnorLinear(10, 6, input_scale=True, input_quant=IntQuant(8))
    assert memory_use(layer, torch.zeros(1, 10)).activations == Bytes(40, 10 + 2)
    assert memory_use(nn.Sequential(IntQuant(8), nn.Identity(), layer), torch.zeros(1, 10)).activations == Bytes(40, 10 + 10 + 2)
    assert memory_use(nn.Sequential(IntQuant(8), nn.ReLU(), layer), torch.zeros(1, 10)).activations == Bytes(80, 10 + 10 + 2)


def test_a_quantizer_of_weights_and_input_counts_for_both():
    use = memory_use(AdderLinear(10, 6, quant=IntQuant(6, scale=0.125)), torch.zeros(1, 10))
    assert use.weights == Bytes(240, 45 + 4)
    assert use.activations == Bytes(40, 8)


def test_a_network_without_quantizers_has_only_other_numbers():
    use = memory_use(nn.Linear(10, 6), torch.zeros(1, 10))
    assert (use.weights, use.activations, use.largest_activation) == (Bytes(0, 0), Bytes(0, 0), Bytes(0, 0))
    assert use.other_bytes == 4 * 66

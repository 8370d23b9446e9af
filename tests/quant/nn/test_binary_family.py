"""BinaryConnect, BNN, BWN, XNOR-Net: values, the papers' gradients, files and lowering."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from intir.errors import BitwrightError
from quant.nn import (
    BipolarQuant,
    IntQuant,
    QuantConv2d,
    QuantLinear,
    ScaledBipolarQuant,
    XnorConv2d,
    XnorLinear,
    clip_latent_weights,
)
from tests.quant.nn.meaning import check_file, check_method, network

FLOATS = st.floats(-4, 4, width=32)
MATRICES = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=FLOATS)


METHODS = ("binaryconnect", "bnn", "bwn", "xnor", "xnor, input scale")


def network_of(method):
    if method.startswith("xnor"):
        return network(partial(XnorConv2d, input_scale="scale" in method), partial(XnorLinear, input_scale="scale" in method),
                       partial(IntQuant, 8, scale=2.0**-4))
    quantizer = ScaledBipolarQuant if method == "bwn" else BipolarQuant

    def conv(*sizes, **options):
        return QuantConv2d(*sizes, weight_quant=quantizer(), **options)

    def linear(*sizes, **options):
        return QuantLinear(*sizes, weight_quant=quantizer(), **options)

    return network(conv, linear, BipolarQuant if method == "bnn" else partial(IntQuant, 8, scale=2.0**-4))


@pytest.mark.parametrize("method", METHODS)
def test_file_and_lowering_mean_what_the_module_computes(method, tmp_path):
    check_method(partial(network_of, method), tmp_path)


@given(MATRICES, st.booleans())
@settings(max_examples=200, deadline=None)
def test_prepared_weights_quantize_to_the_same_values(weight, per_channel):
    quantizer, weight = ScaledBipolarQuant(per_channel=per_channel), torch.tensor(weight)
    before = quantizer(weight).detach()
    stored = quantizer.prepare_weight(weight)
    assert torch.equal(stored, before)
    assert torch.equal(quantizer(stored), before)
    assert torch.equal(quantizer.prepare_weight(stored), before)


def test_bwn_values_and_gradient():
    weight = torch.tensor([[0.5, -0.25, 0.0, 2.0], [-1.0, 1.5, -0.5, -1.0]], requires_grad=True)
    incoming = torch.tensor([[1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -3.0, -4.0]])
    alpha = torch.tensor([[2.75 / 4], [1.0]])
    values = ScaledBipolarQuant()(weight)
    assert torch.equal(values, alpha * torch.tensor([[1.0, -1, 1, 1], [-1, 1, -1, -1]]))
    values.backward(incoming)
    # 1/n + alpha where |W| <= 1
    assert torch.equal(weight.grad, incoming * (0.25 + alpha * torch.tensor([[1.0, 1, 1, 0], [1, 0, 1, 1]])))


def test_bwn_gradient_with_one_alpha_for_the_tensor():
    weight = torch.tensor([[0.5, -0.25], [0.25, 3.0]], requires_grad=True)
    ScaledBipolarQuant(per_channel=False)(weight).sum().backward()
    assert torch.equal(weight.grad, torch.tensor([[1.25, 1.25], [1.25, 0.25]]))  # 1/4 + alpha of 1


def test_the_input_scale_map_is_the_mean_magnitude_that_each_position_sees():
    torch.manual_seed(0)
    layer = XnorConv2d(3, 2, (2, 3), input_scale=True, stride=(1, 2), padding=(1, 0))
    x = torch.randn(2, 3, 4, 5)
    windows = nn.functional.unfold(x.abs(), (2, 3), stride=(1, 2), padding=(1, 0))  # (N, C kh kw, L)
    scale = windows.mean(dim=1).reshape(2, 1, 5, 2)
    alpha = layer.weight.abs().mean(dim=(1, 2, 3), keepdim=True)
    plain = nn.functional.conv2d(torch.where(x >= 0, 1.0, -1.0), torch.where(layer.weight >= 0, 1.0, -1.0) * alpha,
                                 stride=(1, 2), padding=(1, 0))
    assert torch.allclose(layer(x), plain * scale, atol=1e-6)


def test_all_one_bit_weights_are_clipped_and_others_are_not():
    layers = nn.Sequential(QuantLinear(2, 1, weight_quant=BipolarQuant()), XnorLinear(2, 1), QuantLinear(2, 1, weight_quant=IntQuant(8)))
    for layer in layers:
        nn.init.constant_(layer.weight, 3.0)
    clip_latent_weights(layers)
    assert [layer.weight.max().item() for layer in layers] == [1.0, 1.0, 3.0]


def test_one_quantizer_for_two_layers_is_refused(tmp_path):
    shared = ScaledBipolarQuant()
    layers = nn.Sequential(QuantLinear(4, 4, weight_quant=shared), QuantLinear(4, 4, weight_quant=shared))
    with pytest.raises(BitwrightError, match="give each layer its own"):
        check_file(layers, np.ones((1, 4), np.float32), tmp_path, bit_for_bit=True)


def test_a_map_of_groups_is_refused():
    with pytest.raises(ValueError, match="one group"):
        XnorConv2d(4, 4, 3, groups=2, input_scale=True)

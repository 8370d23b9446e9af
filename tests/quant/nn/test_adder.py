"""AdderNet layers: values, the paper's gradients, files and lowering."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from torch import nn

from quant.nn import AdderConv2d, AdderLinear, IntQuant, export_qonnx, scale_adder_gradients
from tests.quant.nn.meaning import check_file, check_lowering, check_method, inputs, network, set_norms


def grid():
    return IntQuant(6, scale=2.0**-3)


def test_file_and_lowering_mean_what_the_module_computes(tmp_path):
    def conv(*sizes, **options):
        return AdderConv2d(*sizes, quant=grid(), **options)

    def linear(*sizes, **options):
        return AdderLinear(*sizes, quant=grid(), **options)

    check_method(lambda: network(conv, linear, partial(IntQuant, 8, scale=2.0**-4)), tmp_path)


def test_a_scale_that_is_no_power_of_two_is_lowered_exactly(tmp_path):
    def conv(*sizes, **options):
        return AdderConv2d(*sizes, quant=IntQuant(5, scale=0.137), **options)

    def linear(*sizes, **options):
        return AdderLinear(*sizes, quant=IntQuant(5, scale=0.211), **options)

    rng = np.random.default_rng(3)
    torch.manual_seed(3)
    module, x = network(conv, linear, partial(IntQuant, 6, scale=0.1)), inputs(rng, 200)
    set_norms(module, rng)
    check_lowering(check_file(module, x, tmp_path, bit_for_bit=False), x)


def test_the_file_has_the_agreed_form(tmp_path):
    export_qonnx(nn.Sequential(grid(), AdderConv2d(2, 3, 2, quant=grid())), torch.zeros(1, 2, 3, 3), tmp_path / "conv.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "conv.onnx").graph.node if node.op_type != "Quant"]
    assert kinds == ["Reshape", "Conv", "Reshape", "Unsqueeze", "Unsqueeze", "Sub", "Abs", "ReduceSum", "Neg", "Reshape"]
    export_qonnx(nn.Sequential(grid(), AdderLinear(4, 3, quant=grid())), torch.zeros(1, 4), tmp_path / "linear.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "linear.onnx").graph.node if node.op_type != "Quant"]
    assert kinds == ["Unsqueeze", "Sub", "Abs", "ReduceSum", "Neg"]


def test_linear_values_and_gradients():
    layer = AdderLinear(3, 2, quant=IntQuant(8, scale=0.25))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -0.5, 2.0], [0.25, 0.0, -3.0]]))
    x = torch.tensor([[0.5, 1.0, 0.0], [-2.0, 0.25, -3.25]], requires_grad=True)
    incoming = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    y = layer(x)
    difference = x.detach()[:, None] - layer.weight.detach()  # (N, O, K)
    assert torch.equal(y, -difference.abs().sum(dim=-1))
    y.backward(incoming)
    # dY/dF = X - F, dY/dX = HT(F - X)
    assert torch.equal(layer.weight.grad, (incoming[..., None] * difference).sum(dim=0))
    assert torch.equal(x.grad, (incoming[..., None] * (-difference).clamp(-1, 1)).sum(dim=1))


@pytest.mark.parametrize("options", [{}, {"padding": 1}, {"stride": 2, "padding": (1, 0)}, {"dilation": (1, 2), "padding": 2}])
def test_convolution_is_the_linear_layer_of_each_patch(options):
    torch.manual_seed(0)
    layer = AdderConv2d(2, 3, (2, 3), quant=grid(), bias=True, **options)
    x = torch.randn(2, 2, 6, 7)
    rounded = grid()(x)
    patches = nn.functional.unfold(rounded, (2, 3), **options)  # (N, K, L)
    weight = grid()(layer.weight).flatten(1)
    distances = (patches[:, None] - weight[None, :, :, None]).abs().sum(dim=2)
    plain = nn.functional.conv2d(x, layer.weight, **options)
    assert torch.equal(layer(x), (layer.bias[:, None] - distances).reshape(plain.shape))


def test_convolution_gradients():
    torch.manual_seed(0)
    layer = AdderConv2d(2, 3, 2, quant=grid(), padding=1)
    x = torch.randn(2, 2, 3, 3).requires_grad_()  # within the quantizer's clamp
    y = layer(x)
    incoming = torch.randn_like(y)
    y.backward(incoming)
    rounded, weight = grid()(x.detach()), grid()(layer.weight.detach()).flatten(1)
    patches = nn.functional.unfold(rounded, 2, padding=1)
    difference = patches[:, None] - weight[None, :, :, None]  # (N, O, K, L)
    signal = incoming.flatten(2)[:, :, None]
    assert torch.allclose(layer.weight.grad.flatten(1), (signal * difference).sum(dim=(0, 3)), atol=1e-4)
    to_patches = (signal * (-difference).clamp(-1, 1)).sum(dim=1)
    assert torch.allclose(x.grad, nn.functional.fold(to_patches, (3, 3), 2, padding=1), atol=1e-5)


def test_gradients_are_brought_to_the_norm_of_the_paper():
    layers = nn.Sequential(AdderLinear(4, 9, quant=grid()), nn.Linear(9, 1))
    for parameter in layers.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    scale_adder_gradients(layers, eta=0.5)
    assert torch.allclose(layers[0].weight.grad, torch.full((9, 4), 0.5))  # the norm is 0.5 * sqrt(36)
    assert bool((layers[1].weight.grad == 7).all())


@pytest.mark.parametrize("options", [{"groups": 2}, {"padding": 1, "padding_mode": "reflect"}, {"padding": "same"}])
def test_what_a_patch_cannot_say_is_refused(options):
    with pytest.raises(ValueError, match="AdderConv2d takes one group"):
        AdderConv2d(2, 2, 3, quant=grid(), **options)

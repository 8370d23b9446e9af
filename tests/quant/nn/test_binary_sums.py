"""HORQ and ABC-Net: values, the papers' gradients, files and lowering."""

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

from quant.nn import AbcConv2d, AbcInputs, AbcLinear, AbcQuant, HorqConv2d, HorqLinear, HorqQuant, IntQuant
from tests.quant.nn.meaning import check_method, network

MATRICES = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.floats(-4, 4, width=32))
LAYERS = {"horq": (HorqConv2d, HorqLinear),
          "abc": (partial(AbcConv2d, weight_bases=2, input_bases=3), partial(AbcLinear, weight_bases=3, input_bases=2))}


def set_constants(module):
    for part in module.modules():
        if isinstance(part, HorqQuant):
            part.magnitude.value.fill_(0.75)
            part.residual_magnitude.value.fill_(0.375)
        if isinstance(part, AbcInputs):
            with torch.no_grad():
                for n, (beta, step) in enumerate(zip(part.betas, part.steps, strict=True)):
                    beta.fill_((n + 2) / 4)
                    step.fill_(n / 2 - 0.375)
        if isinstance(part, (AbcConv2d, AbcLinear)):
            with torch.no_grad():
                part.weight.copy_(part.weight_quant.prepare_weight(part.weight))
            part.weight_quant.alphas = torch.tensor([0.5, -0.125, 0.375])[:part.weight_quant.bits]


@pytest.mark.parametrize("method", LAYERS)
def test_file_and_lowering_mean_what_the_module_computes(method, tmp_path):
    conv, linear = LAYERS[method]
    check_method(lambda: network(conv, linear, partial(IntQuant, 8, scale=2.0**-4)), tmp_path, constants=set_constants)


def test_horq_summands_and_gradient():
    quantizer = HorqQuant()
    x = torch.tensor([0.5, -2.5, 0.25, -0.75], requires_grad=True)  # b1 = 1, residuals -0.5, -1.5, -0.75, 0.25: b2 = 0.75
    first, second = quantizer(x)
    assert torch.equal(first, torch.tensor([1.0, -1, 1, -1]))
    assert torch.equal(second, torch.tensor([-0.75, -0.75, -0.75, 0.75]))
    one, two = torch.tensor([1.0, 2, 3, 4]), torch.tensor([5.0, 6, 7, 8])
    ((first * one) + (second * two)).sum().backward()
    near, near_residual = torch.tensor([1.0, 0, 1, 1]), torch.tensor([1.0, 0, 1, 1])
    assert torch.equal(x.grad, one * near + 0.75 * two * near_residual * (1 - near))
    y = torch.tensor([1.5], requires_grad=True)  # beyond 1, its residual of 0.5 is within: the gradient is b2's
    quantizer.eval()
    sum(quantizer(y)).sum().backward()
    assert y.grad.item() == 0.75


def test_horq_holds_its_magnitudes_in_evaluation():
    quantizer = HorqQuant()
    quantizer(torch.tensor([0.5, -2.5, 0.25, -0.75]))
    first, second = quantizer.eval()(torch.tensor([3.0, 0.25, 0.0]))
    assert first.tolist() == [1.0, 1.0, 1.0]
    assert second.tolist() == [0.75, -0.75, -0.75]


def test_abc_bases_and_alphas_fit_the_weights():
    torch.manual_seed(0)
    weight = torch.randn(6, 10)
    quantizer = AbcQuant(3)
    bases = quantizer.bases(weight)
    for shift, basis in zip((-1, 0, 1), bases, strict=True):
        expected = weight - weight.mean() + shift * weight.std(correction=0) >= 0
        assert torch.equal(basis, torch.where(expected, 1.0, -1.0))
    columns = torch.stack([one.flatten() for one in bases], dim=1)
    residual = weight.flatten() - columns @ quantizer.strengths(weight)
    assert torch.allclose(columns.T @ residual, torch.zeros(3), atol=1e-4)  # nothing in the bases' space is left
    assert torch.allclose(quantizer(weight), (columns @ quantizer.strengths(weight)).reshape(6, 10))


def test_abc_of_one_basis_is_bwn_of_centred_weights():
    weight = torch.tensor([[3.0, -1.0], [-2.0, 0.0]])
    assert torch.allclose(AbcQuant(1)(weight), torch.tensor([[1.5, -1.5], [-1.5, 1.5]]))


@given(MATRICES, st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_prepared_weights_quantize_to_the_same_values(weight, bases):
    quantizer, weight = AbcQuant(bases), torch.tensor(weight)
    before, values = [one.detach() for one in quantizer.bases(weight)], quantizer(weight).detach()
    stored = quantizer.prepare_weight(weight)
    assert all(torch.equal(*pair) for pair in zip(quantizer.bases(stored), before, strict=True))
    assert torch.equal(quantizer(stored), values)
    assert torch.equal(quantizer.prepare_weight(stored), stored)


def test_abc_gradients():
    torch.manual_seed(0)
    layer = AbcLinear(4, 3, weight_bases=2, input_bases=2)
    x = torch.tensor([[0.25, -1.25, 1.25, 2.0], [-0.75, 0.0, 0.75, -2.0]], requires_grad=True)
    incoming = torch.tensor([[1.0, -2.0, 3.0], [0.5, 1.0, -1.0]])
    layer(x).backward(incoming)
    bases, alphas = layer.weight_quant.bases(layer.weight), layer.weight_quant.strengths(layer.weight)
    betas, steps = list(layer.input_quant.betas), list(layer.input_quant.steps)
    signs = [torch.where(x >= step, 1.0, -1.0) for step in steps]
    signal = sum(beta * sign for beta, sign in zip(betas, signs, strict=True))
    weight = sum(alpha * basis for alpha, basis in zip(alphas, bases, strict=True))
    # dC/dW = sum over m of alpha[m] * dC/dB[m]
    assert torch.allclose(layer.weight.grad, sum(alphas) * (incoming.T @ signal))
    # dC/dx = sum over n of beta[n] * dC/dA[n] where 0 <= x + v[n] <= 1, v = 1/2 - t
    passed = [(x + 0.5 - step >= 0) & (x + 0.5 - step <= 1) for step in steps]
    assert torch.allclose(x.grad, sum(beta * one for beta, one in zip(betas, passed, strict=True)) * (incoming @ weight))
    for beta, step, sign, one in zip(betas, steps, signs, passed, strict=True):
        assert torch.allclose(beta.grad, (incoming * (sign @ weight.T)).sum())
        assert torch.allclose(step.grad, -(beta * one * (incoming @ weight)).sum())


def test_abc_computes_the_same_in_training_and_evaluation():
    torch.manual_seed(0)
    layer, x = AbcConv2d(2, 3, 3, padding=1, bias=True), torch.randn(2, 2, 5, 5)
    assert torch.allclose(layer.train()(x), layer.eval()(x), atol=1e-5)


@pytest.mark.parametrize("make", [AbcQuant, AbcInputs])
def test_no_bases_are_refused(make):
    with pytest.raises(ValueError, match="at least one basis, not 0"):
        make(0)


def test_a_horq_layer_is_two_binary_products():
    layer = HorqLinear(3, 2).eval()
    set_constants(nn.Sequential(layer))
    x = torch.tensor([[1.0, -0.5, 0.25]])
    weight = layer.weight_quant(layer.weight)
    expected = torch.tensor([[0.75 + 0.375, -0.75 + 0.375, 0.75 - 0.375]]) @ weight.T
    assert torch.allclose(layer(x), expected)

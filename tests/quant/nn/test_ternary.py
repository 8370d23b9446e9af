"""TWN, TTQ, TBN: values, the papers' gradients, files and lowering."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from quant.nn import IntQuant, QuantConv2d, QuantLinear, ScaledBipolarQuant, TernaryQuant, TtqQuant, TwnQuant, export_qonnx
from tests.quant.nn.meaning import check_method, network

FLOATS = st.floats(-4, 4, width=32)
MATRICES = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=FLOATS)
WEIGHTS = {"twn": TwnQuant, "twn per channel": partial(TwnQuant, per_channel=True), "ttq": TtqQuant, "tbn": ScaledBipolarQuant}


def network_of(method):
    def conv(*sizes, **options):
        return QuantConv2d(*sizes, weight_quant=WEIGHTS[method](), **options)

    def linear(*sizes, **options):
        return QuantLinear(*sizes, weight_quant=WEIGHTS[method](), **options)

    return network(conv, linear, TernaryQuant if method == "tbn" else partial(IntQuant, 8, scale=2.0**-4))


def set_magnitudes(network, values):
    """Of every TTQ quantizer, as if learned."""
    for part in network.modules():
        if isinstance(part, TtqQuant):
            part.fitted.fill_(True)
            with torch.no_grad():
                for parameter, value in zip((part.positive, part.negative), values, strict=True):
                    parameter.fill_(value)


def set_constants(module):
    set_magnitudes(module, (0.375, 0.25))
    for part in module.modules():
        if isinstance(part, TernaryQuant):
            part.step.value.fill_(0.5)


@pytest.mark.parametrize("method", WEIGHTS)
def test_file_and_lowering_mean_what_the_module_computes(method, tmp_path):
    check_method(partial(network_of, method), tmp_path, constants=set_constants)


@given(MATRICES, st.sampled_from(["twn", "twn per channel", "ttq"]))
@settings(max_examples=300, deadline=None)
def test_prepared_weights_quantize_to_the_same_values(weight, method):
    quantizer, weight = WEIGHTS[method](), torch.tensor(weight)
    before = quantizer(weight).detach()
    stored = quantizer.prepare_weight(weight)
    assert torch.equal(stored, before)
    assert torch.equal(quantizer(stored), before)
    assert torch.equal(quantizer.prepare_weight(stored), before)


def test_twn_values_and_gradient():
    # mean |W| is 1 in both rows and in all: the threshold is 0.7
    weight = torch.tensor([[0.5, -1.5, 0.75, -1.25], [0.25, 0.0, -3.5, 0.25]], requires_grad=True)
    incoming = torch.arange(8.0).reshape(2, 4)
    values = TwnQuant(per_channel=True)(weight)
    alpha = torch.tensor([[3.5 / 3], [3.5]])
    signs = torch.tensor([[0.0, -1, 1, -1], [0, 0, -1, 0]])
    assert torch.allclose(values, alpha * signs, rtol=1e-6)
    values.backward(incoming)
    assert torch.equal(weight.grad, incoming)
    assert torch.allclose(TwnQuant()(weight), 1.75 * signs, rtol=1e-6)


def test_twn_of_a_channel_without_weights_is_zero():
    quantizer = TwnQuant(per_channel=True)
    weight = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    stored = quantizer.prepare_weight(weight)
    assert torch.equal(stored, weight)
    assert bool((quantizer.scale > 0).all())


def test_ttq_values_and_gradients():
    quantizer = TtqQuant(ratio=0.5)
    set_magnitudes(quantizer, (0.25, 2.0))
    weight = torch.tensor([0.5, -0.25, -1.0, 0.75, 0.0, -0.625], requires_grad=True)  # threshold 0.5
    values = quantizer(weight)
    assert torch.equal(values, torch.tensor([0.0, 0, -2, 0.25, 0, -2]))
    values.backward(torch.tensor([1.0, 2, 3, 4, 5, 6]))
    assert quantizer.positive.grad.item() == 4
    assert quantizer.negative.grad.item() == -9  # the weight is -negative
    assert torch.equal(weight.grad, torch.tensor([1.0, 2, 6, 1, 5, 12]))  # times 1, negative, positive


def test_ttq_magnitudes_start_as_the_means_of_their_classes():
    quantizer = TtqQuant()
    assert torch.equal(quantizer(torch.tensor([1.0, 0.01, -2.0, 3.0, -1.0])), torch.tensor([2.0, 0.0, -1.5, 2.0, -1.5]))
    quantizer(torch.tensor([9.0, -9.0]))
    assert (quantizer.positive.item(), quantizer.negative.item()) == (2.0, 1.5)


def test_tbn_takes_the_batch_in_training_and_the_running_mean_in_evaluation():
    quantizer = TernaryQuant(ratio=0.5, momentum=0.5)
    x = torch.tensor([[1.0, -3.0, 2.0, -2.0, 0.5, 3.5]], requires_grad=True)  # mean magnitude 2: threshold 1
    values = quantizer(x)
    assert torch.equal(values, torch.tensor([[0.0, -1, 1, -1, 0, 1]]))
    values.sum().backward()
    assert torch.equal(x.grad, torch.tensor([[1.0, 0, 0, 0, 1, 0]]))
    quantizer(2 * x)
    quantizer.eval()
    assert quantizer.step.value.item() == 3.0  # of 2 and 4
    assert torch.equal(quantizer(torch.tensor([1.5, 1.5625, -1.5, -1.5625, 0.0])), torch.tensor([0.0, 1, 0, -1, 0]))


def test_ttq_is_two_one_bit_quantizers_and_a_difference(tmp_path):
    path = tmp_path / "ttq.onnx"
    export_qonnx(nn.Sequential(IntQuant(4), QuantLinear(4, 2, weight_quant=TtqQuant(), bias=False)), torch.zeros(1, 4), path)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert sorted(kinds) == ["MatMul", "Neg", "Quant", "Quant", "Quant", "Sub", "Transpose"]

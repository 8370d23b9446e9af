"""Shared weights: the codebook, its gradients, files and lowering."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("torch", reason="training and export need torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from quant.nn import IntQuant, QuantConv2d, QuantLinear, SharedQuant, export_qonnx, share_weights
from tests.quant.nn.meaning import check_method, network

MATRICES = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.floats(-4, 4, width=32))


def shared_network():
    def conv(*sizes, **options):
        return QuantConv2d(*sizes, weight_quant=SharedQuant(8, entry_bits=8), **options)

    def linear(*sizes, **options):
        return QuantLinear(*sizes, weight_quant=SharedQuant(entry_bits=12), **options)

    result = network(conv, linear, partial(IntQuant, 8, scale=2.0**-4))
    share_weights(result)
    return result


def test_file_and_lowering_mean_what_the_module_computes(tmp_path):
    check_method(shared_network, tmp_path)


def test_weights_are_floats_until_they_are_shared():
    layer = QuantLinear(3, 2, weight_quant=SharedQuant(2, entry_bits=4), bias=False)
    assert torch.equal(layer.weight_quant(layer.weight), layer.weight)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 1.5, 0.0], [-1.0, 2.0, -2.0]]))
    share_weights(nn.Sequential(layer))
    # k-means: {-1, -2} and {1, 1.5, 2}; 4-bit entries reach 7, so the step is 1/4; 0 is a pruned weight
    assert torch.equal(layer.weight_quant(layer.weight), torch.tensor([[1.5, 1.5, 0.0], [-1.5, 1.5, -1.5]]))
    assert layer.weight_quant.scale.item() == 0.25


def test_codes_are_those_of_the_nearest_entry():
    torch.manual_seed(0)
    weight = torch.randn(20, 30)
    quantizer = SharedQuant()
    quantizer.fit(weight)
    values = quantizer.codebook.detach()
    assert len(values.unique()) == 16
    distances = (weight[..., None] - values).abs()
    assert torch.equal(distances.gather(-1, quantizer.codes[..., None])[..., 0], distances.min(dim=-1).values)
    for code in quantizer.codes.unique().tolist():  # each entry is the mean of its weights: k-means has converged
        assert values[code].item() == pytest.approx(weight[quantizer.codes == code].mean().item(), abs=1e-6)


def test_an_entry_takes_the_gradients_of_all_its_weights():
    quantizer = SharedQuant(2)
    weight = torch.tensor([[1.0, 1.5, 0.0], [-1.0, 2.0, -2.0]])
    quantizer.fit(weight)
    quantizer(weight).backward(torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]))
    assert quantizer.codebook.grad.tolist() == [40.0, 19.0]


def test_a_saved_network_keeps_its_codes():
    torch.manual_seed(0)
    saved, loaded = (QuantLinear(9, 5, weight_quant=SharedQuant(4)) for _ in range(2))
    share_weights(saved)
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded.weight_quant(loaded.weight), saved.weight_quant(saved.weight))
    assert len(loaded.weight_quant(loaded.weight).unique()) <= 4


@given(MATRICES, st.integers(2, 20), st.integers(2, 16), st.floats(-3, 3))
@settings(max_examples=200, deadline=None)
def test_prepared_weights_quantize_to_the_same_values(weight, codes, entry_bits, moved):
    quantizer, weight = SharedQuant(codes, entry_bits=entry_bits), torch.tensor(weight)
    quantizer.fit(weight)
    with torch.no_grad():
        quantizer.codebook += moved  # as fine-tuning does
    before = quantizer(weight).detach()
    integers = before / quantizer.scale
    assert torch.equal(integers, torch.round(integers))
    assert integers.abs().max() < 2 ** (entry_bits - 1)
    assert bool((before[weight == 0] == 0).all())
    stored = quantizer.prepare_weight(weight)
    assert torch.equal(stored, before)
    assert torch.equal(quantizer(stored), before)
    assert torch.equal(quantizer.prepare_weight(stored), before)


def test_the_tiniest_weights_become_zero():
    quantizer, weight = SharedQuant(2, entry_bits=3), torch.tensor([2.0**-149, -(2.0**-149)])
    quantizer.fit(weight)
    assert quantizer(weight).tolist() == [0.0, 0.0]
    assert quantizer.scale.item() == 2.0**-126


def test_the_file_holds_entries_and_their_step(tmp_path):
    torch.manual_seed(0)
    layer = QuantLinear(30, 20, weight_quant=SharedQuant(entry_bits=6), bias=False)
    export_qonnx(nn.Sequential(IntQuant(4), layer), torch.zeros(1, 30), tmp_path / "shared.onnx")
    constants = {one.name: numpy_helper.to_array(one) for one in onnx.load(tmp_path / "shared.onnx").graph.initializer}
    weight = constants["1.weight"]
    scale = next(value for name, value in constants.items() if "scale" in name and name.startswith("1."))
    integers = weight / scale
    assert len(np.unique(weight)) <= 16
    assert np.array_equal(integers, np.rint(integers))
    assert 16 <= np.abs(integers).max() <= 31


@pytest.mark.parametrize(("codes", "entry_bits"), [(1, 16), (16, 1), (16, 17)])
def test_a_codebook_of_no_use_is_refused(codes, entry_bits):
    with pytest.raises(ValueError, match=f"not {codes} of {entry_bits} bits"):
        SharedQuant(codes, entry_bits=entry_bits)

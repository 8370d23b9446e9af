"""Recorded inputs: rows times weights are the layer's outputs, draws are fair, bounded and the same for the same places."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")

import torch
from torch import nn
from torch.nn.utils import prune as masks

from quant.compress import CompressionError
from quant.compress.networks import checked_copy, chosen_layers
from quant.compress.recorded import outputs_of, record_inputs, unfolded, weight_rows

CONVOLUTIONS = [nn.Conv2d(4, 8, (3, 2), stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=mode, bias=groups != 2)
                for mode, padding, (stride, dilation, groups) in itertools.product(
                    ("zeros", "reflect", "replicate", "circular"), ((1, 2), "same", "valid"),
                    (((1, 1), (1, 1), 1), ((2, 1), (1, 2), 2), ((1, 3), (2, 1), 4)))
                if padding != "same" or stride == (1, 1)]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("layer", [*CONVOLUTIONS, nn.Conv1d(4, 6, 3, stride=2, dilation=2, padding=3, groups=2)], ids=str)
def test_rows_times_weights_are_a_convolutions_outputs(layer):
    x = torch.randn(70, 4, 9, 8) if isinstance(layer, nn.Conv2d) else torch.randn(70, 4, 15)  # more than one batch
    rows = record_inputs(nn.Sequential(layer), x, rows=10**6)["0"]
    assert torch.equal(rows, unfolded(layer, x))
    wanted = layer(x).movedim(1, -1).flatten(0, -2)
    assert torch.allclose(outputs_of(layer, rows), wanted, atol=1e-5)
    matrices = torch.einsum("gri,goi->rgo", rows, weight_rows(layer)).flatten(1)
    assert torch.allclose(matrices if layer.bias is None else matrices + layer.bias, wanted, atol=1e-5)


def test_rows_of_a_linear_layer_on_more_axes():
    layer, x = nn.Linear(5, 3), torch.randn(2, 4, 5)
    rows = record_inputs(nn.Sequential(layer), x)["0"]
    assert torch.equal(rows, x.reshape(1, 8, 5))


class Twice(nn.Module):
    """A layer called twice, the second time by keyword, behind another; one that is never called."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.never = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.shared(input=torch.relu(self.shared(self.first(x))))


def test_a_shared_layers_calls_all_count():
    network, x = Twice(), torch.randn(5, 3)
    once = network.first(x)
    rows = record_inputs(network, x, ["shared"])["shared"][0]
    assert torch.allclose(rows, torch.cat([once, torch.relu(network.shared(once))]), atol=1e-6)
    with pytest.raises(CompressionError, match="`never` is never called"):
        record_inputs(network, x)


def test_draws_are_bounded_and_fair():
    x = torch.arange(1000.0).reshape(1000, 1)
    network = nn.Sequential(nn.Linear(1, 1))
    counts = np.zeros(1000)
    for seed in range(300):
        rows = record_inputs(network, x, rows=100, seed=seed)["0"][0, :, 0]
        assert len(rows) == 100
        assert torch.all(rows.diff() > 0)  # distinct, in order
        counts[rows.numpy().astype(int)] += 1
    assert abs(counts[:500].sum() / counts.sum() - 0.5) < 0.01
    assert np.sqrt(((counts - 30) ** 2).mean()) < 1.15 * np.sqrt(300 * 0.1 * 0.9)  # binomial


def test_the_same_places_of_a_network_and_its_compressed_copy():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), torch.randn(100, 1, 8, 8)
    whole = record_inputs(network, x, ["2"], rows=50)["2"]
    thin = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3))
    with torch.no_grad():
        for name, one in zip(("weight", "bias"), (network[0].weight, network[0].bias), strict=True):
            getattr(thin[0], name).copy_(one[[1, 3]])
    rows = record_inputs(thin, x, ["2"], rows=50)["2"].reshape(50, 2, 9)
    assert torch.allclose(rows, whole.reshape(50, 4, 9)[:, [1, 3]], atol=1e-6)


def test_a_network_stays_as_it_was():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8, 2)).train()
    network[2].eval()
    masks.l1_unstructured(network[4], "weight", 0.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    record_inputs(network, torch.randn(3, 1, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [part.training for part in network] == [True, True, False, True, True]
    assert not network[0]._forward_pre_hooks


def test_memory_does_not_grow_with_positions():
    """A kernel of 49 on 100 channels would unfold to 2 GB."""
    layer = nn.Conv2d(100, 1, 7, groups=1)
    rows = record_inputs(nn.Sequential(layer), torch.randn(8, 100, 120, 90), rows=16)["0"]
    assert rows.shape == (1, 16, 4900)


@pytest.mark.parametrize(("x", "message"), [
    (np.zeros((1, 3)), "is a ndarray: give a tensor"),
    (torch.zeros(0, 3), "empty"),
    (torch.tensor([[1.0, np.nan, 0.0]]), "hold nan: they must be finite"),
    (torch.zeros(2, 4), r"shape \(1, 4\), torch.float32, do not go through Sequential"),
])
def test_data_that_do_not_fit_are_refused(x, message):
    with pytest.raises(CompressionError, match=message):
        record_inputs(nn.Sequential(nn.Linear(3, 2)), x)


def test_layers_and_networks_that_do_not_fit_are_refused():
    x = torch.zeros(1, 3)
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    for bad, message in ((["7"], "has no Linear or Conv1d or Conv2d `7`: name some of `0`"), ([], "no layer to compress was named")):
        with pytest.raises(CompressionError, match=message):
            record_inputs(network, x, bad)
    with pytest.raises(CompressionError, match="must be 1 or more, not 0"):
        record_inputs(network, x, rows=0)
    with pytest.raises(CompressionError, match="has no layer to compress"):
        chosen_layers(nn.ReLU())
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    with pytest.raises(CompressionError, match="layers `0` and `1` share a parameter"):
        chosen_layers(tied)
    with torch.no_grad():
        network[0].weight[0, 0] = np.inf
    with pytest.raises(CompressionError, match="`0.weight` holds inf"):
        checked_copy(network)

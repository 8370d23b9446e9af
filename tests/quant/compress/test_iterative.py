"""Iterative pruning: densities along the schedule, zeros held through any retraining, rewinding; and integers at the end."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")

import torch
from torch import nn
from torch.nn import functional

from quant.compress import CompressionError
from quant.compress.weights.iterative import geometric_densities, iterative_pruning
from quant.nn import density_report
from tests.quant.compress.way_down import LAYERS, check_way_down, images, small_network


def retrain(network, steps=5, rate=0.05):
    torch.manual_seed(2)
    x = images()
    target = (x.flatten(1) @ torch.randn(128, 5)).argmax(1)
    optimizer = torch.optim.SGD(network.parameters(), rate, momentum=0.9, weight_decay=0.01)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), target).backward()
        optimizer.step()


def weights(network):
    return {name: network.get_submodule(name).weight.detach().numpy() for name in LAYERS}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_each_round_keeps_the_largest_of_what_the_last_one_trained(scope, tmp_path):
    network, seen = small_network(), []
    before = copy.deepcopy(network.state_dict())

    def watch(one):
        seen.append([weights(copy.deepcopy(one))])
        retrain(one)
        assert not np.array_equal(weights(one)["9"], seen[-1][0]["9"])
        seen[-1].append(weights(copy.deepcopy(one)))

    densities = [0.6, 0.35, 0.2]
    result = iterative_pruning(network, densities, watch, scope=scope)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    last = weights(network)
    for density, (pruned, trained) in zip(densities, seen, strict=True):
        parts = [np.abs(one).ravel() for one in last.values()]
        for flat, names in [(np.concatenate(parts), LAYERS)] if scope == "global" else [(part, (name,)) for part, name in zip(parts, LAYERS, strict=True)]:
            least = np.sort(flat)[::-1][math.floor(density * len(flat) + 0.5) - 1]
            for name in names:
                assert np.array_equal(pruned[name], np.where(np.abs(last[name]) >= least, last[name], 0)), name
        for name in LAYERS:
            assert np.array_equal(pruned[name] == 0, trained[name] == 0), name
        last = trained
    for name, one in weights(result).items():
        assert np.array_equal(one, last[name])
    assert not result.training
    assert not any("kept" in name or "orig" in name for name in result.state_dict())
    if scope == "global":
        check_way_down(result, images(), tmp_path)


def test_densities_by_layer():
    result = iterative_pruning(small_network(), [{"9": 0.5}, {"9": 0.25, "6": 0.5}], retrain)
    assert [one.nonzeros for one in density_report(result)] == [144, 72, 96, 192, 80, 584]


def test_retraining_in_rounds_beats_pruning_at_once():
    """The reason for the method: at the same density and the same steps of training, the loss is lower."""
    torch.manual_seed(0)
    x, teacher = torch.randn(300, 20), nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 1))
    target = teacher(x).detach()
    student = nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 1))

    def fit(one, steps):
        optimizer = torch.optim.Adam(one.parameters(), 0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            functional.mse_loss(one(x), target).backward()
            optimizer.step()

    fit(student, 200)
    losses = []
    for densities in ([0.06], geometric_densities(0.06, 5)):
        result = iterative_pruning(student, densities, lambda one: fit(one, 200 // len(densities)), scope="global")
        losses.append(functional.mse_loss(result(x), target).item())
    assert losses[1] < 0.7 * losses[0]


def test_rewinding_gives_kept_weights_their_early_values():
    early, trained = small_network(), small_network()
    retrain(trained)
    seen = []
    result = iterative_pruning(trained, [0.5, 0.25], lambda one: seen.append({name: value.copy() for name, value in weights(one).items()}), rewind=early)
    chosen = {name: np.abs(one) >= np.sort(np.abs(one), axis=None)[::-1][one.size // 2 - 1] for name, one in weights(trained).items()}
    for name, kept in chosen.items():
        assert np.array_equal(seen[0][name], np.where(kept, weights(early)[name], 0))
    for name, value in early.state_dict().items():
        if name.removesuffix(".weight") not in LAYERS:
            assert torch.equal(value, result.state_dict()[name]), name
    twice = weights(result)  # the second round prunes what the first one trained: here, the early values
    assert all(set(np.flatnonzero(twice[name])) <= set(np.flatnonzero(chosen[name])) for name in LAYERS)


def test_geometric_densities():
    found = geometric_densities(0.1, 4)
    assert found[-1] == 0.1
    assert np.allclose(np.diff(np.log(found)), np.log(0.1) / 4)


def test_a_kept_weight_that_rewinds_to_zero_still_trains():
    network, early = nn.Sequential(nn.Linear(2, 1, bias=False)), nn.Sequential(nn.Linear(2, 1, bias=False))
    nn.init.ones_(network[0].weight)
    nn.init.zeros_(early[0].weight)

    def fit(one):
        optimizer = torch.optim.SGD(one.parameters(), 0.1)
        (one(torch.ones(1, 2)) - 1).square().sum().backward()
        optimizer.step()

    assert iterative_pruning(network, [0.5], fit, rewind=early)[0].weight[0].tolist() == [pytest.approx(0.2), 0.0]


def leave_nan(network):
    with torch.no_grad():
        network[0].bias.fill_(math.nan)


def drop_masks(network):
    nn.utils.parametrize.remove_parametrizations(network[9], "weight")


def load_an_older_state(network):
    state = {name: torch.ones_like(value) for name, value in network.state_dict().items()}
    network.load_state_dict(state)


def replace_a_layer(network):
    network[11] = nn.Linear(16, 5, bias=False)


@pytest.mark.parametrize(("options", "words"), [
    ({"densities": []}, "give at least one"),
    ({"densities": [0.5, 0.6]}, "the density rises from 0.5 to 0.6 in round 2"),
    ({"densities": [{"9": 0.2}, {"9": 0.3}]}, "density of layer `9` rises from 0.2 to 0.3 in round 2"),
    ({"densities": [0.0]}, "the density in round 1 must be above 0 and at most 1, not 0.0"),
    ({"densities": [0.5], "layers": ["x"]}, "has no .* `x`: name some of `0`"),
    ({"densities": [0.5], "scope": "all"}, "'layer' or 'global', not 'all'"),
    ({"densities": [0.5], "rewind": nn.Linear(3, 2)}, "a Linear, has other parameters than the Sequential to prune"),
    ({"densities": [0.5], "retrain": leave_nan}, "retraining left `0.bias` with numbers that aren't finite"),
    ({"densities": [0.5], "retrain": drop_masks}, "replaced layer `9` or took its mask away"),
    ({"densities": [0.5], "retrain": replace_a_layer}, "replaced layer `11`"),
    ({"densities": [0.5], "retrain": load_an_older_state}, "changed the mask of layer `0`"),
])
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(CompressionError, match=words):
        iterative_pruning(small_network(), **{"retrain": lambda one: None} | options)


def test_a_network_with_nothing_to_prune_is_refused():
    with pytest.raises(CompressionError, match="no layer to compress"):
        iterative_pruning(nn.Sequential(nn.ReLU()), [0.5], lambda one: None)
    with pytest.raises(CompressionError, match="1 round or more, not 0"):
        geometric_densities(0.5, 0)

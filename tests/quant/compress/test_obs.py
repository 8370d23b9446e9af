"""Optimal Brain Surgeon: each removal is the cheapest there is and costs what the formula says, against brute-force least squares."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")

import torch
from torch import nn

from quant.compress import CompressionError
from quant.compress.recorded import outputs_of, record_inputs
from quant.compress.weights.leastsquares import fit_kept, matrices, moments_of, set_matrices
from quant.compress.weights.obs import optimal_brain_surgeon, surgeon_order
from quant.nn import density_report, finish_pruning, prune
from tests.quant.compress.way_down import LAYERS, check_way_down, images, small_network


def dependent(rows, inputs, seed=0):
    """Inputs that depend on each other, with a mean."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, inputs)) @ rng.normal(size=(inputs, inputs)) + rng.normal(size=inputs)


def least_cost(hessian, weights, removed):
    """Least d'Hd / 2 over all changes d that make the removed weights 0, and the weights then: by numpy's least squares."""
    root = np.linalg.cholesky(hessian).T  # d'Hd = |root d|^2
    stays = [one for one in range(len(weights)) if one not in removed]
    result = np.zeros(len(weights))
    result[stays] = np.linalg.lstsq(root[:, stays], root @ weights, rcond=None)[0]
    return np.sum((root @ (result - weights)) ** 2) / 2, result


@pytest.mark.parametrize("bias", [0, 1])
def test_each_removal_is_the_cheapest_and_costs_what_least_squares_says(bias):
    rng = np.random.default_rng(1)
    x = dependent(60, 9)
    hessian = x.T @ x / len(x)
    weights = rng.normal(size=(5, 9))
    order, costs = surgeon_order(torch.tensor(hessian), torch.tensor(weights), 9 - bias)
    for row, removals, rises in zip(weights, order.tolist(), costs.tolist(), strict=True):
        removed, total = [], 0.0
        for at, rise in zip(removals, rises, strict=True):
            choices = {one: least_cost(hessian, row, [*removed, one])[0] for one in range(9 - bias) if one not in removed}
            assert choices[at] == pytest.approx(min(choices.values()))
            assert rise == pytest.approx(choices[at] - total)
            left = least_cost(hessian, row, removed)[1]
            stays = [one for one in range(9) if one not in removed]
            inverse = np.linalg.inv(hessian[np.ix_(stays, stays)])
            assert rise == pytest.approx(left[at] ** 2 / (2 * inverse[stays.index(at), stays.index(at)]))
            removed, total = [*removed, at], choices[at]
        assert sorted(removals) == list(range(9 - bias))


@pytest.mark.parametrize("density", [0.3, 0.6])
def test_a_layers_outputs_compete_and_its_weights_are_refitted(density):
    """Against a greedy search over single removals in the whole layer, each followed by least squares."""
    torch.manual_seed(0)
    x = torch.tensor(dependent(80, 6), dtype=torch.float32)
    network = nn.Sequential(nn.Linear(6, 4))
    layer = network[0]
    ones = np.concatenate([x.numpy().astype(np.float64), np.ones((80, 1))], axis=1)
    hessian = ones.T @ ones / 80
    hessian += 1e-3 * hessian.diagonal().mean() * np.eye(7)
    whole = np.concatenate([layer.weight.detach().numpy(), layer.bias.detach().numpy()[:, None]], axis=1).astype(np.float64)
    removed = [[] for _ in range(4)]
    for _ in range(24 - round(24 * density)):
        options = {(row, at): least_cost(hessian, whole[row], [*removed[row], at])[0] - least_cost(hessian, whole[row], removed[row])[0]
                   for row, at in itertools.product(range(4), range(6)) if at not in removed[row]}
        row, at = min(options, key=options.get)
        removed[row].append(at)
    wanted = np.stack([least_cost(hessian, whole[row], removed[row])[1] for row in range(4)])
    found = optimal_brain_surgeon(network, x, density)[0]
    assert np.allclose(found.weight.detach().numpy(), wanted[:, :6], atol=1e-5)
    assert np.allclose(found.bias.detach().numpy(), wanted[:, 6], atol=1e-5)
    assert np.array_equal(found.weight.detach().numpy() == 0, wanted[:, :6] == 0)


def error(network, whole, name, rows):
    """Mean squared error of a layer's outputs for its inputs in the whole network."""
    one = rows[name]
    return (outputs_of(network.get_submodule(name), one) - outputs_of(whole.get_submodule(name), one)).square().sum(1).mean().item()


def test_it_beats_magnitudes_in_each_layer_on_unseen_inputs(tmp_path):
    network = small_network()
    found = optimal_brain_surgeon(network, images(), 0.4)
    plain = small_network()
    prune(plain, 0.4)
    finish_pruning(plain)
    assert density_report(found) == density_report(plain)
    rows = record_inputs(network, images(200, seed=9))
    for name in LAYERS:
        assert error(found, network, name, rows) < 0.6 * error(plain, network, name, rows), name
    x = images(200, seed=9)
    assert (found(x) - network(x)).square().mean() < 0.5 * (plain(x) - network(x)).square().mean()
    check_way_down(found, images(), tmp_path)
    assert density_report(network)[-1].density == 1


def test_densities_by_layer_and_retraining():
    network, seen = small_network(), []

    def retrain(one):
        seen.append(one)
        with torch.no_grad():
            one[9].bias.add_(1.0)

    result = optimal_brain_surgeon(network, images(), {"9": 0.25, "6": 0.001}, retrain=retrain)
    assert seen == [result]
    assert [one.nonzeros for one in density_report(result)] == [144, 72, 1, 192, 80, 489]
    assert torch.equal(result[0].weight, network[0].weight)
    once = optimal_brain_surgeon(network, images(), 0.25, layers="9")
    assert torch.equal(once[9].weight, result[9].weight)
    assert torch.allclose(once[9].bias + 1, result[9].bias)


def test_density_one_changes_nothing():
    network = small_network()
    result = optimal_brain_surgeon(network, images(20), 1.0)
    assert all(torch.equal(value, result.state_dict()[name]) for name, value in network.state_dict().items())


def test_dead_and_doubled_inputs():
    """Dead inputs go first and take nothing along; of two equal inputs one can go at no cost."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3))
    x = torch.randn(50, 4)
    x[:, 3], x[:, 1] = 0, x[:, 0]
    found = optimal_brain_surgeon(network, x, 0.5, damping=1e-9)
    assert torch.all(found[0].weight[:, 3] == 0)
    assert torch.all((found[0].weight[:, :2] == 0).sum(1) == 1)
    assert torch.allclose(found(x), network(x), atol=1e-5)
    dead = optimal_brain_surgeon(network, torch.zeros(5, 4), 0.5)
    assert torch.allclose(dead(torch.zeros(5, 4)), network(torch.zeros(5, 4)), atol=1e-6)


def test_fitting_pulls_to_the_start_where_rows_say_nothing():
    layer = nn.Linear(3, 2, bias=False)
    rows = torch.tensor([[[1.0, 0.0, 0.0]]])
    moments = moments_of(layer, rows, torch.tensor([[2.0, 3.0]]))
    fitted = fit_kept(moments, matrices(layer), torch.tensor([[[True, True, False], [True, False, True]]]), 1e-9)
    start = layer.weight.detach().double()
    assert torch.allclose(fitted[0], torch.tensor([[2.0, start[0, 1], 0.0], [3.0, 0.0, start[1, 2]]], dtype=torch.float64), atol=1e-6)
    set_matrices(layer, fitted)
    assert moments.error(fitted) == pytest.approx(0, abs=1e-12)
    assert moments.error(start[None]) == pytest.approx((start[0, 0] - 2) ** 2 + (start[1, 0] - 3) ** 2)
    assert torch.equal(layer.weight.detach().double(), fitted[0].float().double())


@pytest.mark.parametrize(("options", "words"), [
    ({"density": 0.0}, "density of layer `0` must be above 0 and at most 1, not 0.0"),
    ({"density": {"9": 2}}, "density of layer `9` .*, not 2"),
    ({"density": {"x": 0.5}}, "has no .* `x`"),
    ({"density": {"9": 0.5}, "layers": ["9"]}, "give no layers besides"),
    ({"density": 0.5, "damping": 0.0}, "damping must be a number above 0, not 0.0"),
    ({"density": 0.5, "damping": 1e-20, "images": torch.zeros(3, 2, 8, 8).fill_(1.0)}, "depend on each other, .*: raise the damping"),
    ({"density": 0.5, "most_products": 4e5}, r"layer `9` has 16 outputs of 48 inputs each, .* 1\.77e\+06 multiplications, .*than 4e\+05: prune"),
    ({"density": 0.5, "images": torch.randn(3, 1, 8, 8)}, "do not go through Sequential"),
])
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(CompressionError, match=words):
        optimal_brain_surgeon(small_network(), **{"images": images(20)} | options)

"""Optimal Brain Damage: saliencies against second derivatives that autograd takes, and what that is good for."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")

import torch
from torch import nn
from torch.nn import functional

from quant.compress import CompressionError
from quant.compress.weights.obd import optimal_brain_damage, saliencies
from quant.nn import density_report, finish_pruning, prune
from tests.quant.compress.way_down import LAYERS, check_way_down, images, small_network


def half_squares(outputs, targets):
    return (outputs - targets).square().flatten(1).sum(1).mean() / 2


LOSSES = {"cross-entropy": functional.cross_entropy, "squares": half_squares}


@pytest.mark.parametrize("loss", LOSSES)
def test_gauss_newton_is_the_hessian_of_a_network_linear_in_its_weights(loss):
    """There the second derivatives that autograd takes have no other part, and the loss of squares is exactly its second order."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(2, 3, 2, bias=False, groups=1), nn.Flatten(), nn.BatchNorm1d(12)).eval()
    x = torch.randn(30, 2, 6, 6)
    target = torch.randint(12, (30,)) if loss == "cross-entropy" else torch.randn(30, 12)
    found = saliencies(network, x, loss=loss)["1"]

    def of(weight):
        return LOSSES[loss](torch.func.functional_call(network, {"1.weight": weight}, (x,)), target)

    weight = network[1].weight.detach()
    hessian = torch.func.hessian(of)(weight).reshape(24, 24)
    assert torch.allclose(found.flatten(), hessian.diagonal() * weight.flatten() ** 2 / 2, rtol=1e-4, atol=1e-8)
    if loss == "squares":
        slope = torch.func.grad(of)(weight).flatten()
        for at in range(24):
            without = weight.flatten().clone()
            without[at] = 0
            rise = of(without.view_as(weight)) - of(weight) + slope[at] * weight.flatten()[at]  # at a minimum slopes are 0
            assert rise.item() == pytest.approx(found.flatten()[at].item(), rel=1e-2, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_fisher_is_the_mean_square_of_each_samples_gradient(loss):
    network, x = small_network(), images(7)
    target = torch.tensor([0, 1, 2, 3, 4, 0, 1]) if loss == "cross-entropy" else torch.randn(7, 5)
    found = saliencies(network, x, target, loss=loss, hessian="fisher")
    squares = dict.fromkeys(LAYERS, 0.0)
    for one, wanted in zip(x, target, strict=True):
        network.zero_grad()
        LOSSES[loss](network(one[None]), wanted[None]).backward()
        squares = {name: squares[name] + network.get_submodule(name).weight.grad ** 2 for name in LAYERS}
    for name in LAYERS:
        weight = network.get_submodule(name).weight.detach()
        assert torch.allclose(found[name], squares[name] / 7 * weight**2 / 2, rtol=1e-4, atol=1e-9), name


def test_gauss_newton_of_a_deep_network_by_its_jacobian():
    network, x = small_network(), images(5)
    found = saliencies(network, x)
    weights = {f"{name}.weight": network.get_submodule(name).weight.detach() for name in LAYERS}
    total = dict.fromkeys(LAYERS, 0.0)
    for one in x:
        jacobian = torch.func.jacrev(lambda values: torch.func.functional_call(network, values, (one[None],))[0])(weights)
        p = functional.softmax(network(one[None])[0].detach(), 0)
        for name in LAYERS:
            rows = jacobian[f"{name}.weight"].flatten(1)
            total[name] = total[name] + torch.einsum("ci,cd,di->i", rows, p.diag() - p.outer(p), rows)
    for name in LAYERS:
        weight = weights[f"{name}.weight"]
        assert torch.allclose(found[name].flatten(), total[name] / 5 * weight.flatten() ** 2 / 2, rtol=1e-3, atol=1e-9), name


def test_batches_do_not_matter(monkeypatch):
    network, x = small_network(), images(7)
    whole = saliencies(network, x)
    monkeypatch.setattr("quant.compress.weights.obd._NUMBERS_AT_ONCE", 2500)
    for name, one in saliencies(network, x).items():
        assert torch.allclose(one, whole[name], rtol=1e-4, atol=1e-10)


def test_a_shared_layer_counts_all_its_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x))

    torch.manual_seed(0)
    network, x = Twice(), torch.randn(1, 3)
    weight = network.layer.weight.detach()
    jacobian = torch.func.jacrev(lambda value: torch.func.functional_call(network, {"layer.weight": value}, (x,))[0])(weight)
    assert torch.allclose(saliencies(network, x, loss="squares")["layer"], jacobian.square().sum(0) * weight**2 / 2, rtol=1e-4)


def trained():
    """A network near a minimum of its cross-entropy, with its inputs of very unlike sizes, and samples."""
    torch.manual_seed(0)
    x = torch.randn(300, 12) * torch.logspace(-1, 1, 12)
    y = (x / torch.logspace(-1, 1, 12) @ torch.randn(12, 4)).argmax(1)
    network = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(250):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network, x, y


def test_it_beats_magnitudes():
    network, x, y = trained()
    plain = trained()[0]
    prune(plain, 0.5, scope="global")
    finish_pruning(plain)
    least = functional.cross_entropy(network(x), y).item()
    rise = functional.cross_entropy(plain(x), y).item() - least
    for hessian in ("gauss-newton", "fisher"):
        found = optimal_brain_damage(network, x, y, density=0.5, hessian=hessian)
        assert density_report(found)[-1] == density_report(plain)[-1]
        assert functional.cross_entropy(found(x), y).item() - least < 0.5 * rise, hessian


def test_rounds_take_saliencies_anew_and_hold_zeros(tmp_path):
    network, seen = small_network(), []

    def retrain(one):
        with torch.no_grad():
            one[11].parametrizations.weight.original.add_(0.5)
        seen.append(density_report(one)[-1].nonzeros)

    result = optimal_brain_damage(network, images(50), density=0.25, rounds=2, scope="layer", retrain=retrain)
    assert [one.nonzeros for one in density_report(result)] == [36, 18, 48, 192, 20, 314]
    assert seen == [628, 314]
    check_way_down(result, images(), tmp_path)
    assert density_report(network)[-1].density == 1


def test_zeros_stay_zeros_also_where_nothing_matters():
    network = nn.Sequential(nn.Linear(4, 2))
    with torch.no_grad():
        network[0].weight[:, ::2] = 0
    result = optimal_brain_damage(network, torch.zeros(3, 4), density=0.5)  # dead inputs: all saliencies are 0
    assert torch.equal(result[0].weight, network[0].weight)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else -self.layer(x)


X = images(4)


@pytest.mark.parametrize(("network", "x", "options", "words"), [
    (small_network(), X, {"loss": "hinge"}, "no loss is called 'hinge': choose 'cross-entropy' or 'squares'"),
    (small_network(), X, {"hessian": "full"}, "no Hessian is called 'full'"),
    (small_network(), X, {"hessian": "fisher"}, r"needs targets of shape \(4,\), whole numbers, not NoneType"),
    (small_network(), X, {"hessian": "fisher", "targets": torch.zeros(4)}, r"not \(4,\), torch.float32"),
    (small_network(), X, {"hessian": "fisher", "targets": torch.tensor([0, 1, 2, 5])}, "must be classes from 0 to 4"),
    (small_network(), X, {"hessian": "fisher", "loss": "squares", "targets": torch.zeros(4, 4)}, r"of shape \(4, 5\), floats"),
    (small_network()[:8], X, {}, "needs logits of shape .*, and Sequential gives"),
    (small_network(), X * math.nan, {}, "hold nan"),
    (Branching(), torch.ones(2, 3), {}, "Branching can't be differentiated sample by sample"),
    (small_network(), X, {"layers": ["x"]}, "has no .* `x`"),
    (small_network(), X, {"density": 1.5}, "must be above 0 and at most 1, not 1.5"),
    (small_network(), X, {"rounds": 0}, "1 round or more"),
])
def test_what_makes_no_sense_is_refused(network, x, options, words):
    with pytest.raises(CompressionError, match=words):
        optimal_brain_damage(network, x, **{"density": 0.5} | options)

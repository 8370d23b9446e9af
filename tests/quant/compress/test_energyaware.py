"""Energy-aware pruning: the budget holds, the hungriest layer goes first, and outputs suffer less than by magnitudes."""

from __future__ import annotations

import itertools
import math

import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")

import torch
from torch import nn

from quant.compress import CompressionError
from quant.compress.recorded import outputs_of, record_inputs
from quant.compress.weights.energyaware import energy_aware_pruning
from quant.nn import density_report, finish_pruning, prune
from tests.quant.compress.way_down import LAYERS, check_way_down, images, small_network

#: Positions that a layer's weights are used at: what makes energy unlike the number of weights.
USES = {"0": 64, "3": 16, "6": 4, "9": 1, "11": 1}


def energy(network):
    """A multiplication by each weight that isn't 0 at each position, and a part that no pruning lowers."""
    return {name: float(torch.count_nonzero(network.get_submodule(name).weight)) * uses for name, uses in USES.items()} | {"dram": 1000.0}


def total(network):
    return sum(energy(network).values())


def test_the_budget_holds_and_outputs_suffer_less_than_by_magnitudes(tmp_path):
    network = small_network()
    found = energy_aware_pruning(network, images(), energy, energy_kept=0.5)
    assert 0.4 * total(network) < total(found) <= 0.5 * total(network)
    by_magnitude, density = small_network(), 1.0
    while total(by_magnitude) > total(found):  # at no more saving
        density -= 0.01
        by_magnitude = small_network()
        prune(by_magnitude, density)
        finish_pruning(by_magnitude)
    x = images(200, seed=9)
    assert (found(x) - network(x)).square().mean() < 0.5 * (by_magnitude(x) - network(x)).square().mean()
    assert density_report(found)[-1].nonzeros > density_report(by_magnitude)[-1].nonzeros  # it knows which weights cost
    same = small_network()
    prune(same, {one.layer: one.density for one in density_report(found)[:-1]})
    finish_pruning(same)
    assert (found(x) - network(x)).square().mean() < 0.8 * (same(x) - network(x)).square().mean()
    check_way_down(found, images(), tmp_path)
    assert density_report(network)[-1].density == 1


def test_the_layer_with_most_energy_is_pruned_each_time():
    seen = []

    def watched(network):
        found = energy(network)
        seen.append(found)
        return found

    energy_aware_pruning(small_network(), images(50), watched, energy_kept=0.4, step=0.7)
    assert len(seen) > 3
    for before, after in itertools.pairwise(seen):
        changed = [name for name in LAYERS if before[name] != after[name]]
        assert changed == [max(LAYERS, key=lambda name: before[name])]
        (name,) = changed
        assert after[name] == USES[name] * math.floor(0.7 * before[name] / USES[name] + 0.5)


def test_kept_weights_are_least_squares_and_restored_ones_are_better():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, 6))
    x = torch.randn(300, 12) @ torch.randn(12, 12) + torch.randn(12)

    def flat(one):
        return {"0": float(torch.count_nonzero(one[0].weight))}

    errors = []
    for restored in (0.0, 0.5):
        found = energy_aware_pruning(network, x, flat, energy_kept=0.5, step=0.5, restored=restored, damping=1e-9)
        assert torch.count_nonzero(found[0].weight) == 36
        ones = torch.cat([x, torch.ones(300, 1)], 1).double()
        for row, bias, wanted in zip(found[0].weight, found[0].bias, network(x).T, strict=True):
            support = torch.cat([row != 0, torch.tensor([True])])
            best = torch.linalg.lstsq(ones[:, support], wanted.double()[:, None]).solution[:, 0]
            assert torch.allclose(torch.cat([row[row != 0], bias[None]]).double(), best, atol=1e-4)
        errors.append((found(x) - network(x)).square().mean().item())
    assert errors[1] < 0.9 * errors[0]


def test_a_layer_makes_up_for_those_before_it():
    """Its aim is what the unpruned network gives, for inputs of the pruned one."""
    network, x, seen = small_network(), images(), []

    def two(one):
        seen.append({"6": 4.1 * float(one[6].weight.count_nonzero()), "9": float(one[9].weight.count_nonzero())})
        return seen[-1]

    found = energy_aware_pruning(network, x, two, energy_kept=0.7, layers=["6", "9"], damping=1e-9)
    assert seen[-1]["9"] < seen[-2]["9"] and seen[-1]["6"] < seen[0]["6"]  # the last step was at 9, when 6 was as it is
    inputs, wanted = record_inputs(found, x)["9"][0], outputs_of(network[9], record_inputs(network, x)["9"])
    ones = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    for row, given, aim in zip(found[9].weight, outputs_of(found[9], inputs[None]).T, wanted.T, strict=True):
        support = torch.cat([row != 0, torch.tensor([True])])
        best = torch.linalg.lstsq(ones[:, support], aim.double()[:, None], driver="gelsd").solution  # some inputs are dead
        assert torch.allclose(given.double(), (ones[:, support] @ best)[:, 0], atol=1e-4)


def test_a_layer_that_saves_nothing_is_left_as_it_was():
    """Memory of layer 0 is moved in whole, however many weights are 0."""
    network = small_network()

    def blind(one):
        return energy(one) | {"0": 5000.0}

    found = energy_aware_pruning(network, images(50), blind, energy_kept=0.9)
    assert torch.equal(found[0].weight, network[0].weight)
    assert torch.equal(found[0].bias, network[0].bias)
    assert sum(blind(found).values()) <= 0.9 * sum(blind(network).values())
    with pytest.raises(CompressionError, match="and not to .*, with 0.05 of each layer's weights or where fewer lower it no further: keep more than 0.3"):
        energy_aware_pruning(network, images(50), blind, energy_kept=0.3, step=0.3)


def test_nothing_is_done_where_all_may_be_kept():
    network = small_network()
    found = energy_aware_pruning(network, images(20), energy, energy_kept=1.0)
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in network.state_dict().items())


def test_retraining_comes_last_with_zeros_held():
    def retrain(one):
        with torch.no_grad():
            for part in one.modules():
                if hasattr(part, "parametrizations"):
                    part.parametrizations.weight.original.add_(1.0)

    plain, trained = (energy_aware_pruning(small_network(), images(50), energy, energy_kept=0.6, retrain=how) for how in (None, retrain))
    for name in LAYERS:
        before, after = plain.get_submodule(name).weight, trained.get_submodule(name).weight
        assert torch.equal(after, torch.where(before != 0, before + 1, 0)), name


@pytest.mark.parametrize(("options", "words"), [
    ({"energy_kept": 0.0}, "the part of the energy that is kept must be above 0 and at most 1, not 0.0"),
    ({"energy_kept": 0.5, "step": 1.0}, "not 1.0 and 0.1"),
    ({"energy_kept": 0.5, "restored": -1}, "not 0.8 and -1"),
    ({"energy_kept": 0.5, "damping": -1}, "damping must be a number above 0, not -1"),
    ({"energy_kept": 0.5, "layers": ["2"]}, "has no .* `2`"),
    ({"energy_kept": 0.5, "energy": lambda _: {"0": 1.0}}, "the energy model tells nothing of layer `3`"),
    ({"energy_kept": 0.5, "energy": lambda _: dict.fromkeys(LAYERS, math.nan)}, "the energy of `0` is nan"),
    ({"energy_kept": 0.5, "energy": lambda _: dict.fromkeys(LAYERS, -1.0)}, "the energy of `0` is -1.0"),
    ({"energy_kept": 0.5, "energy": lambda _: dict.fromkeys(LAYERS, 0.0)}, "gives 0 for the whole network"),
    ({"energy_kept": 0.05, "step": 0.4}, "pruning brings the energy from .* down to .* and not to"),
])
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(CompressionError, match=words):
        energy_aware_pruning(small_network(), images(20), **{"energy": energy} | options)


def test_each_layer_keeps_its_least_part():
    """One that takes nearly all energy, whatever it holds, would lose everything else."""
    network = small_network()

    def greedy(one):
        return energy(one) | {"3": 1e6 + float(one[3].weight.count_nonzero())}

    with pytest.raises(CompressionError, match="with 0.2 of each layer's weights"):
        energy_aware_pruning(network, images(50), greedy, energy_kept=0.5, step=0.5, least=0.2)
    seen = []

    def watched(one):
        seen.append(int(one[3].weight.count_nonzero()))
        return greedy(one)

    with pytest.raises(CompressionError):
        energy_aware_pruning(network, images(50), watched, energy_kept=0.5, step=0.5, least=0.2)
    assert min(seen) == math.ceil(0.2 * network[3].weight.numel())
    with pytest.raises(CompressionError, match="the part of its weights that each layer keeps"):
        energy_aware_pruning(network, images(50), energy, energy_kept=0.5, least=0.0)

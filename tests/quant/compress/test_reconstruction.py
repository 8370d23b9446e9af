"""LASSO channel pruning and ThiNet: selections against brute force, refits against numpy, whole networks against doing nothing."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")
pytest.importorskip("torch_pruning", reason="it finds which channels go together")
pytest.importorskip("sklearn", reason="its Lasso solves the regression")

import torch
from sklearn.linear_model import Lasso
from torch import nn
from torch.nn import functional as F

from quant.compress import CompressionError
from quant.compress.channels.coupling import couple
from quant.compress.channels.lasso import pick_by_lasso, prune_by_lasso
from quant.compress.channels.reconstruction import Evidence, Reading, absorb_means, evidence_of
from quant.compress.channels.removal import remove
from quant.compress.channels.thinet import pick_by_thinet, prune_by_thinet
from quant.compress.recorded import outputs_of, unfolded
from tests.quant.compress.structured_networks import (
    Concatenated,
    Depthwise,
    Gated,
    Mlp,
    Plain,
    Residual,
    Shared,
    check_goes_to_integers,
    images,
    made,
    outputs,
)

BOTH = (prune_by_lasso, prune_by_thinet)


def added_by(network, name, inputs, units):
    """What each unit adds to a layer's outputs, by running the layer on that unit's channels alone; and what all do."""
    layer, found = network.get_submodule(name), []
    for unit in units:
        alone = torch.zeros_like(inputs)
        alone[:, list(unit.inputs[name])] = inputs[:, list(unit.inputs[name])]
        with torch.no_grad():
            found.append((layer(alone) - layer(torch.zeros_like(alone))).movedim(1, -1).flatten(0, -2).double().numpy())
    return np.stack(found)


def planted(seed, channels=7, rows=500):
    """Contributions with noise of which a few make the target: (channels, rows)."""
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(channels, rows)) * draw.uniform(0.5, 2, (channels, 1))
    chosen = sorted(draw.choice(channels, 3, replace=False))
    return z, z[chosen].sum(axis=0) + 0.05 * draw.normal(size=rows), chosen


def evidence(z, y):
    return Evidence(torch.from_numpy(z @ z.T), torch.from_numpy(z @ y))


@pytest.mark.parametrize("seed", range(8))
def test_lasso_finds_the_best_subset_of_a_planted_problem(seed):
    z, y, chosen = planted(seed)
    errors = {some: float(np.square(y - np.linalg.lstsq(z[list(some)].T, y)[0] @ z[list(some)]).sum())
              for some in itertools.combinations(range(len(z)), 3)}
    assert list(min(errors, key=errors.get)) == chosen  # brute force finds what was planted
    assert pick_by_lasso(evidence(z, y), 3) == chosen


@pytest.mark.parametrize("count", [1, 3, 6])
def test_lasso_picks_what_a_path_of_alphas_on_the_samples_leaves(count):
    draw = np.random.default_rng(count)
    z = draw.normal(size=(8, 3)) @ draw.normal(size=(3, 400)) + 0.5 * draw.normal(size=(8, 400))
    y = z.sum(axis=0)
    for alpha in np.geomspace(1e-3, 1, 400) * np.abs(z @ y).max() / 400:
        left = np.nonzero(Lasso(alpha=alpha, fit_intercept=False, tol=1e-8, max_iter=10**5).fit(z.T, y).coef_)[0].tolist()
        if len(left) <= count:
            break
    assert len(left) == count and pick_by_lasso(evidence(z, y), count) == left


@pytest.mark.parametrize("count", range(1, 20, 3))
def test_of_orthogonal_channels_those_stay_that_go_along_most_with_the_target(count):
    """There the solution is known, soft thresholds of the products with the target, whatever the channels' norms."""
    draw = np.random.default_rng(0)
    z = np.linalg.qr(draw.normal(size=(60, 20)))[0].T * draw.uniform(0.1, 10, (20, 1))
    y = draw.normal(size=60)
    assert pick_by_lasso(evidence(z, y), count) == sorted(np.argsort(-np.abs(z @ y))[:count].tolist())


def test_units_that_add_nothing_go_first_and_twins_do_not_break_it():
    z, y, chosen = planted(0)
    z[chosen[0] - 1] = z[chosen[0]] * (chosen[0] - 1 not in chosen) + z[chosen[0] - 1] * (chosen[0] - 1 in chosen)
    z = np.concatenate([z, np.zeros((2, z.shape[1]))])
    assert not set(pick_by_lasso(evidence(z, y), 5)) & {7, 8}
    assert pick_by_lasso(evidence(z * 0, y * 0), 2) == [0, 1]
    assert len(pick_by_lasso(evidence(np.stack([y, y, y]), y), 2)) == 2


@pytest.mark.parametrize("seed", range(5))
def test_thinets_greedy_choice_on_samples(seed):
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(9, 4)) @ draw.normal(size=(4, 200)) + 0.3 * draw.normal(size=(9, 200))
    gone = []
    for count in range(8, 0, -1):  # each step by brute force
        gone.append(min(set(range(9)) - set(gone), key=lambda one: np.square(z[[*gone, one]].sum(axis=0)).sum()))
        assert pick_by_thinet(evidence(z, z.sum(axis=0)), count) == sorted(set(range(9)) - set(gone))


def test_thinet_takes_the_best_subset_where_contributions_are_orthogonal():
    z = np.diag([5.0, 1, 4, 2, 3])
    errors = {some: np.square(z[list(some)].sum(axis=0)).sum() for some in itertools.combinations(range(5), 3)}
    assert pick_by_thinet(evidence(z, z.sum(axis=0)), 2) == sorted(set(range(5)) - set(min(errors, key=errors.get)))


@pytest.mark.parametrize(("kind", "layer", "reader"), [(Plain, "a", "b"), (Plain, "b", "fc1"), (Residual, "a", "b"), (Depthwise, "a", "point"),
                                                       (Gated, "squeeze", "excite"), (Concatenated, "a", "c"), (Concatenated, "a", "d")])
def test_evidence_is_that_of_running_the_layer_on_single_channels(kind, layer, reader):
    network, x = made(kind), images(3)
    taken = []
    network.get_submodule(reader).register_forward_pre_hook(lambda layer, inputs: taken.append(inputs[0]))
    outputs(network, x)
    network.get_submodule(reader)._forward_pre_hooks.clear()
    units = [unit for unit in couple(network, x).group_of(layer).units if not unit.fixed]
    z, module = added_by(network, reader, taken[0], units), network.get_submodule(reader)
    z -= z.mean(axis=1, keepdims=True) * (module.bias is not None)  # which a bias can take up
    rows = unfolded(module, taken[0]).double()
    found = evidence_of(Reading(module, rows[0], outputs_of(module, rows)), reader, units)
    assert np.allclose(found.gram, np.einsum("aro,bro->ab", z, z), atol=1e-4)
    assert np.allclose(found.wanted, np.einsum("aro,ro->a", z, z.sum(axis=0)), atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_the_refit_is_numpys_least_squares_on_what_stays(bias):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3, bias=bias), nn.Flatten(), nn.Linear(5 * 16, 3))
    x = images(60)
    smaller = prune_by_lasso(network, x, keep={"0": 0.5}, rows=10**6)
    # Which stayed: filters that are in both.
    kept = [int((network[0].weight == one).flatten(1).all(1).nonzero()[0, 0]) for one in smaller[0].weight]
    assert len(kept) == 3
    with torch.no_grad():
        inputs, wanted = network[:2](x)[:, kept], network[:3](x)
    rows = F.unfold(inputs, 3).transpose(1, 2).flatten(0, 1).double().numpy()
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1) if bias else rows
    fitted = np.linalg.lstsq(rows, wanted.flatten(2).transpose(1, 2).flatten(0, 1).double().numpy())[0].T
    assert np.allclose(smaller[2].weight.detach().flatten(1), fitted[:, :27], atol=1e-4)
    assert not bias or np.allclose(smaller[2].bias.detach(), fitted[:, 27], atol=1e-4)
    assert torch.equal(smaller[4].weight, network[4].weight)


def test_thinets_scales_are_numpys_least_squares():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3, bias=False), nn.Flatten(), nn.Linear(5 * 16, 3))
    x = images(60)
    smaller = prune_by_thinet(network, x, keep={"0": 0.5}, rows=10**6)
    kept = [int((network[0].weight == one).flatten(1).all(1).nonzero()[0, 0]) for one in smaller[0].weight]
    with torch.no_grad():
        inputs, wanted = network[:2](x), network[:3](x).numpy().ravel()
        alone = [F.conv2d(inputs[:, [one]], network[2].weight[:, [one]]).numpy().ravel() for one in kept]
    factors = np.linalg.lstsq(np.stack(alone, axis=1).astype(np.float64), wanted)[0]
    wanted = network[2].weight.detach()[:, kept].numpy() * factors[:, None, None]
    assert np.allclose(smaller[2].weight.detach(), wanted, atol=1e-4)


def test_few_samples_leave_weights_that_they_say_nothing_about():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    network[0].weight.data[4:], network[0].bias.data[4:] = 0, -1.0  # two channels are never active
    x = torch.rand(50, 4)
    smaller = prune_by_lasso(network, x, keep=5 / 6)
    assert torch.isfinite(smaller[2].weight).all()
    dead = [index for index, row in enumerate(smaller[0].bias) if row == -1]
    assert len(dead) == 1 and torch.equal(smaller[2].weight[:, dead[0]], network[2].weight[:, 4])


@pytest.mark.parametrize("prune", BOTH)
@pytest.mark.parametrize("kind", [Residual, Plain, Concatenated, Depthwise, Shared, Mlp])
def test_a_fitted_network_is_nearer_than_one_with_the_same_channels_just_cut(kind, prune):
    network, x = made(kind), images(60)
    state = copy.deepcopy(network.state_dict())
    options = {"refit": "weights"} if prune is prune_by_thinet else {}
    fitted = prune(network, x, keep=0.7, **options)
    assert all(torch.equal(network.state_dict()[name], one) for name, one in state.items())
    kept = {}
    for group in couple(network, x).groups:  # filters that are in both
        for name in group.layers:
            if not all(unit.fixed for unit in group.units):
                ours = network.get_submodule(name)
                sizes = fitted.get_submodule(name).weight.shape[0]
                assert sizes < len(ours.weight)
                kept[name] = sizes
    again = prune(network, x, keep=0.7, **options)
    assert torch.equal(outputs(again, x), outputs(fitted, x))
    first = {name: list(range(size)) for name, size in kept.items()}
    if kind is not Concatenated:  # whose first channel must stay, others shift
        cut = remove(network, x, first)
        wanted = outputs(network, x)
        assert (outputs(fitted, x) - wanted).square().sum() < (outputs(cut, x) - wanted).square().sum()


@pytest.mark.parametrize("prune", BOTH)
def test_channels_that_can_be_spared_cost_nothing(prune):
    """Half of the channels are dead or copies: the smaller network gives the same outputs."""
    network, x = made(Plain), images(60)
    network.a.weight.data[3:], network.a.bias.data[3:] = 0, 0
    network.fc1.weight.data[6:], network.fc1.bias.data[6:] = 0, -1.0
    smaller = prune(network, x, keep={"a": 0.5, "fc1": 0.5})
    assert smaller.a.weight.shape[0] == 3 and smaller.fc1.weight.shape[0] == 6
    assert torch.allclose(outputs(smaller, x), outputs(network, x), atol=1e-4)


def test_copies_of_channels_are_made_up_for_by_the_fit():
    network, x = made(Plain), images(60)
    network.a.weight.data[3:], network.a.bias.data[3:] = network.a.weight.data[:3], network.a.bias.data[:3]
    smaller = prune_by_thinet(network, x, keep={"a": 0.5}, refit="weights")
    by_scale = prune_by_thinet(network, x, keep={"a": 0.5})
    for one in (smaller, by_scale):
        kept = {tuple(row.tolist()) for row in one.a.bias.detach()[:, None]}
        if len(kept) == 3:  # one of each pair
            assert torch.allclose(outputs(one, x), outputs(network, x), atol=1e-3)


@pytest.mark.parametrize(("kind", "prune"), [(Residual, prune_by_lasso), (Plain, prune_by_thinet)])
def test_results_go_to_integers(kind, prune, tmp_path):
    check_goes_to_integers(prune(made(kind), images(), keep=0.6), images(), tmp_path)


def test_means_of_constant_channels_are_absorbed():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(80, 2))
    network[0].weight.data[1:3], network[0].bias.data[1:3] = 0, torch.tensor([0.7, 0.2])
    changed, x = copy.deepcopy(network), images(4)
    absorb_means(changed, x, list(couple(network, x).groups[0].units[1:3]))
    assert torch.allclose(outputs(remove(changed, x, {"0": [0, 3]}), x), outputs(network, x), atol=1e-5)


@pytest.mark.parametrize(("options", "words"), [
    ({"keep": 0}, "at most 1"), ({"keep": {"fc": 0.5}}, "layer `fc` can't go"), ({"keep": {"zzz": 0.5}}, "`zzz`"),
    ({"keep": {"a": 0.5, "b": 7}}, "keep of layer `b`"), ({"keep": 0.5, "rows": 0}, "rows"),
])
@pytest.mark.parametrize("prune", BOTH)
def test_arguments_are_checked(prune, options, words):
    with pytest.raises(CompressionError, match=words):
        prune(made(Residual), images(4), **options)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(CompressionError, match=r"`up` read of `out` can't be reconstructed"):
        prune_by_lasso(made(Gated), images(4), keep={"out": 0.5})
    with pytest.raises(CompressionError, match="'weights' or 'scale'"):
        prune_by_thinet(made(Plain), images(4), keep=0.5, refit="all")
    with pytest.raises(CompressionError, match="no channels that can go"):
        prune_by_lasso(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), images(4), keep=0.5)

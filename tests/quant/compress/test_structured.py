"""Criteria, slimming and group lasso: scores counted by hand, penalties' gradients, zeros that become smaller networks."""

from __future__ import annotations

import copy

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")
pytest.importorskip("torch_pruning", reason="it finds which channels go together")

import torch
from torch import nn
from torch.nn import functional as F

from examples.digits_cnn.model import DigitsCnn
from quant.compress import CompressionError
from quant.compress.channels.criteria import apoz_scores, l1_scores, norm_scores, taylor_scores
from quant.compress.channels.grouplasso import GroupLasso, remove_zeros
from quant.compress.channels.removal import keep_channels, remove
from quant.compress.channels.slimming import slim, slimming_penalty
from quant.compress.counts import counts
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


def test_l1_is_the_sum_of_magnitudes_of_a_filter():
    scores = l1_scores(made(Gated), images(2))
    network = made(Gated)
    assert set(scores) == {"a", "squeeze", "excite", "out", "up"}
    assert np.allclose(scores["a"][3], np.abs(network.a.weight[3].detach().numpy()).sum(), atol=1e-5)
    assert np.allclose(scores["up"][2], np.abs(network.up.weight[:, 2].detach().numpy()).sum(), atol=1e-5)


def test_apoz_is_counted_behind_the_relu_of_each_layer():
    network, x = made(Residual), images(70)  # more than a batch
    with torch.no_grad():
        stem = F.relu(network.norm(network.stem(x)))
        a = F.relu(network.a_norm(network.a(stem)))
        b = F.relu(stem + network.b(a))
    scores = apoz_scores(network, x)
    assert set(scores) == {"stem", "a", "b"}
    for name, maps in (("stem", stem), ("a", a), ("b", b)):
        for channel in range(maps.shape[1]):
            zeros = sum(value == 0 for value in maps[:, channel].flatten().tolist()) / maps[:, channel].numel()
            assert abs(1 - zeros - float(scores[name][channel])) < 1e-6


def test_apoz_of_linear_layers_and_of_a_layer_called_twice():
    mlp, x = made(Mlp), images(9)
    with torch.no_grad():
        assert torch.allclose(apoz_scores(mlp, x)["1"], (F.relu(mlp[2](mlp[1](x.flatten(1)))) != 0).float().mean(0))
        network = made(Shared)
        once = F.relu(network.shared(F.relu(network.a(x))))
        both = torch.cat([once, F.relu(network.shared(once))])
        assert torch.allclose(apoz_scores(network, x)["shared"], (both != 0).float().mean((0, 2, 3)), atol=1e-6)


def test_taylor_is_the_slope_along_a_factor_of_each_channel():
    """Independent: the derivative of each sample's loss by a factor that multiplies the channel behind its ReLU."""
    network, x = made(Plain).double(), images(5).double()
    labels = torch.tensor([0, 3, 1, 4, 2])
    factors = torch.ones(5, 6, dtype=torch.float64, requires_grad=True)
    maps = F.relu(network.a(x)) * factors[:, :, None, None]
    later = network.fc2(F.relu(network.fc1(F.relu(network.b(maps)).flatten(1))))
    F.cross_entropy(later, labels, reduction="sum").backward()
    wanted = factors.grad.abs().mean(0)
    scores = taylor_scores(network.float(), x.float(), labels)
    assert torch.allclose(scores["a"], (wanted / wanted.norm()).float(), atol=1e-4)
    assert all(abs(float(one.norm()) - 1) < 1e-5 for one in scores.values())
    with pytest.raises(CompressionError, match="4 labels for 5 images"):
        taylor_scores(network, x.float(), labels[:4])


def test_taylor_does_not_depend_on_batches():
    network, x = made(Residual), images(65)
    labels = torch.arange(65) % 7
    once = taylor_scores(network, x, labels)
    parts = [taylor_scores(network, x[index:index + 1], labels[index:index + 1], loss=F.cross_entropy) for index in (0, 64)]
    assert set(once) == set(parts[0]) == {"stem", "a", "b"} and not torch.allclose(once["a"], parts[0]["a"], atol=1e-3)


def test_norm_scores_are_those_behind_a_channel():
    network = made(Depthwise)
    network.norm.weight.data[2] = -3
    scores = norm_scores(network, images(2))
    assert set(scores) == {"a"} and torch.equal(scores["a"], network.norm.weight.detach().abs())
    residual = norm_scores(made(Residual), images(2))
    assert set(residual) == {"stem", "a", "b"} and torch.equal(residual["stem"], residual["b"])
    with pytest.raises(CompressionError, match="has no batch norm with scales"):
        norm_scores(made(Plain), images(2))
    with pytest.raises(CompressionError, match="no ReLU behind"):
        apoz_scores(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Linear(4, 2)), images(2))


@pytest.mark.parametrize(("kind", "score"), [(Residual, l1_scores), (Plain, apoz_scores)])
def test_pruned_by_scores_goes_to_integers(kind, score, tmp_path):
    network, x = made(kind), images()
    smaller = keep_channels(network, x, score(network, x), keep=0.6, scope="global")
    assert counts(smaller, x)[-1].macs < counts(network, x)[-1].macs
    check_goes_to_integers(smaller, x, tmp_path)


def test_the_slimming_penaltys_gradient_is_the_sign_of_each_scale():
    network = made(Residual)
    network.norm.weight.data[:3] = torch.tensor([-2.0, 0, 3])
    slimming_penalty(network, 0.25).backward()
    for norm in (network.norm, network.a_norm):
        assert torch.equal(norm.weight.grad, 0.25 * norm.weight.detach().sign())
    assert network.stem.weight.grad is None and network.norm.bias.grad is None
    with pytest.raises(CompressionError, match="BatchNorm2d behind its convolutions, or train with a group lasso instead"):
        slimming_penalty(made(Plain), 1e-4)
    with pytest.raises(CompressionError, match="0 or more"):
        slimming_penalty(network, -1)


def test_slimming_keeps_the_scales_above_one_threshold():
    network, x = made(DigitsCnn), torch.rand(2, 1, 28, 28)
    torch.manual_seed(5)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.copy_(torch.randn(len(part.weight)))
    gamma = {name: part.weight.detach().abs().numpy() for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)}
    means = {"stem.norm": gamma["stem.norm"], "residual1.first.norm": gamma["residual1.first.norm"],
             "residual2.first.norm": gamma["residual2.first.norm"]}
    for stage in "12":  # added up: coupled
        means[f"down{stage}.norm"] = (gamma[f"down{stage}.norm"] + gamma[f"residual{stage}.second.norm"]) / 2
    everything = np.sort(np.concatenate(list(means.values())))[::-1]
    threshold = everything[round(0.4 * len(everything)) - 1]
    smaller = slim(network, x, keep=0.4)
    for name, values in means.items():
        assert smaller.get_submodule(name).num_features == (values >= threshold).sum()
        alive = torch.from_numpy(network.get_submodule(name).weight.detach().numpy()[values >= threshold])
        assert torch.equal(smaller.get_submodule(name).weight.detach(), alive)
    assert smaller.residual1.second.conv.weight.shape[0] == smaller.down1.conv.weight.shape[0]


def test_slimming_in_passes_retrains_between_them(tmp_path):
    network, x = made(DigitsCnn), torch.rand(20, 1, 28, 28)
    sizes = []

    def retrain(smaller):
        sizes.append(sum(part.num_features for name, part in smaller.named_modules() if isinstance(part, nn.BatchNorm2d) and "second" not in name))
        for part in smaller.modules():  # the smallest become the largest
            if isinstance(part, nn.BatchNorm2d):
                part.weight.data.copy_(torch.rand(len(part.weight)))

    smaller = slim(network, x, keep=0.25, passes=2, retrain=retrain)
    assert sizes == [52, 26]  # half of 104, and a half again
    check_goes_to_integers(smaller, x, tmp_path)


@pytest.mark.parametrize(("network", "options", "words"), [
    (made(Plain), {"keep": 0.5}, "has no batch norm with scales"), (made(Residual), {"keep": 0}, "at most 1"),
    (made(Residual), {"keep": 0.5, "passes": 0}, "passes must be 1 or more"), (made(Residual), {"keep": 0.1}, "keep at least"),
])
def test_slimming_checks(network, options, words):
    with pytest.raises(CompressionError, match=words):
        slim(network, images(2), **options)


def test_group_norms_written_out():
    network, x = made(Plain), images(2)
    filters, channels = GroupLasso(network, x, over=["filters"]), GroupLasso(network, x, over=["channels"])
    wanted = [[np.linalg.norm(row) for row in layer.weight.detach().flatten(1).numpy()] for layer in (network.a, network.b, network.fc1)]
    assert all(np.allclose(one.detach(), other, atol=1e-5) for one, other in zip(filters.norms(), wanted, strict=True))
    fc1 = network.fc1.weight.detach().numpy().reshape(12, 8, 16)  # a channel is 16 features behind the flattening
    wanted = [[np.linalg.norm(network.b.weight.detach()[:, c]) for c in range(6)], [np.linalg.norm(fc1[:, c]) for c in range(8)],
              [np.linalg.norm(network.fc2.weight.detach()[:, c]) for c in range(12)]]
    assert all(np.allclose(one.detach(), other, atol=1e-5) for one, other in zip(channels.norms(), wanted, strict=True))
    both = GroupLasso(network, x)
    assert np.isclose(both.penalty(0.1).item(), 0.1 * sum(float(one.detach().sum()) for group in (filters, channels) for one in group.norms()))
    shapes = GroupLasso(network, x, over=["shapes"]).norms()
    assert np.isclose(shapes[1][4 * 9 + 5].item(), np.linalg.norm(network.b.weight.detach()[:, 4, 1, 2]))


def test_the_penaltys_gradient_and_that_at_zero():
    network, x = made(Plain), images(2)
    network.a.weight.data[2] = 0
    GroupLasso(network, x, over=["filters"]).penalty(0.5).backward()
    rows = network.a.weight.detach().flatten(1)
    wanted = 0.5 * rows / torch.where(rows.norm(dim=1) > 0, rows.norm(dim=1), 1.0)[:, None]
    assert torch.allclose(network.a.weight.grad.flatten(1), wanted, atol=1e-6) and not network.a.weight.grad[2].any()
    assert network.fc2.weight.grad is None  # the network's outputs


@pytest.mark.parametrize("over", ["filters", "channels", "shapes"])
def test_the_proximal_step_is_the_minimum_of_its_objective(over):
    """What it makes of the weights is where 1/2 |w - v|^2 + t * sum of norms has its minimum: subgradients hold 0."""
    network, x = made(Plain), images(2)
    before = copy.deepcopy(network)
    groups, old = GroupLasso(network, x, over=[over]), GroupLasso(before, x, over=[over])
    threshold = float(torch.cat([one.detach() for one in old.norms()]).median())
    groups.step(threshold)
    now = torch.cat([one.detach() for one in groups.norms()])
    assert torch.allclose(now, (torch.cat([one.detach() for one in old.norms()]) - threshold).clamp(min=0), atol=1e-5)
    assert 0.3 < float((now == 0).float().mean()) < 0.7  # exactly 0
    groups.penalty(threshold).backward()
    for (name, new), (_, given) in zip(network.named_parameters(), before.named_parameters(), strict=True):
        if new.grad is not None:  # of groups that aren't 0, the gradient is
            slope = new.detach() - given.detach() + new.grad
            assert torch.allclose(slope[new.detach() != 0], torch.zeros(()), atol=1e-5), name
        else:
            assert torch.equal(new, given)


def test_coupled_filters_go_together_in_a_residual_network():
    network, x = made(Residual), images(2)
    group = GroupLasso(network, x, over=["filters"])
    squares = network.stem.weight.detach().square().sum((1, 2, 3)) + network.b.weight.detach().square().sum((1, 2, 3))
    assert torch.allclose(group.norms()[0].detach(), squares.sqrt())
    group.step(float(squares.sqrt().median()) + 1e-6)
    gone = (network.stem.weight == 0).all(3).all(2).all(1)
    assert gone.sum() == 3 and torch.equal(gone, (network.b.weight == 0).all(3).all(2).all(1))


def test_unread_channels_go_without_a_change(tmp_path):
    network, x = made(Residual), images()
    GroupLasso(network, x, over=["channels"]).step(1.0)
    smaller = remove_zeros(network, x)
    assert counts(smaller, x)[-1].parameters < counts(network, x)[-1].parameters
    assert torch.allclose(outputs(smaller, x), outputs(network, x), atol=1e-5)
    check_goes_to_integers(smaller, x, tmp_path)


def test_channels_that_nothing_makes_go_and_leave_their_constants():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3, bias=False), nn.ReLU(), nn.Flatten(),
                            nn.Linear(80, 9), nn.ReLU(), nn.Linear(9, 3)).eval()
    network[1].bias.data.copy_(torch.rand(6))
    x = images()
    group = GroupLasso(network, x, over=["filters"])
    group.step(float(torch.cat([one.detach() for one in group.norms()]).median()))
    smaller = remove_zeros(network, x)
    zeros = sum(int((one == 0).sum()) for one in group.norms())
    assert zeros >= 8 and sum(part.weight.shape[0] for part in smaller if isinstance(part, (nn.Conv2d, nn.Linear))) == 23 - zeros
    assert torch.allclose(outputs(smaller, x), outputs(network, x), atol=1e-5)


def test_a_layer_that_is_all_zeros_keeps_one_channel():
    network, x = made(Concatenated), images(4)
    for part in (network.a, network.c):
        part.weight.data.zero_()
    smaller = remove_zeros(network, x)
    assert smaller.c.weight.shape[0] == 1
    assert torch.allclose(outputs(smaller, x), outputs(network, x), atol=1e-5)
    assert torch.equal(outputs(remove_zeros(made(Plain), x), x), outputs(made(Plain), x))  # nothing to remove


def test_training_with_proximal_steps_finds_the_inputs_that_matter():
    """A linear problem in 3 of 8 hidden features: the others go."""
    torch.manual_seed(0)
    teacher, student = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2)), nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(256, 5)
    with torch.no_grad():
        y = teacher(x)
    groups = GroupLasso(student, x, over=["channels"])
    for _ in range(800):
        loss = F.mse_loss(student(x), y)
        student.zero_grad()
        loss.backward()
        with torch.no_grad():
            for one in student.parameters():
                one.sub_(one.grad, alpha=0.1)
        groups.step(0.1 * 0.01)
    smaller = remove_zeros(student, x)
    assert 1 <= smaller[0].out_features < 8 and torch.allclose(smaller(x), student(x), atol=1e-5)
    assert F.mse_loss(smaller(x), y) < 0.2 * y.var()


@pytest.mark.parametrize(("over", "words"), [([], "some of them"), (["rows"], "'filters', 'channels' or 'shapes'")])
def test_group_lasso_checks(over, words):
    with pytest.raises(CompressionError, match=words):
        GroupLasso(made(Plain), images(2), over=over)
    with pytest.raises(CompressionError, match="0 or more"):
        GroupLasso(made(Plain), images(2)).penalty(-1)
    with pytest.raises(CompressionError, match="0 or more"):
        GroupLasso(made(Plain), images(2)).step(float("nan"))
    with pytest.raises(CompressionError, match="no groups over filters"):
        GroupLasso(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), images(2), over=["filters"])


def test_scores_and_zeros_agree_with_removal_by_hand():
    network, x = made(Plain), images(3)
    network.b.weight.data[[1, 4]], network.b.bias.data[[1, 4]] = 0, 0
    wanted = remove(network, x, {"b": [0, 2, 3, 5, 6, 7]})
    assert torch.allclose(outputs(remove_zeros(network, x), x), outputs(wanted, x), atol=1e-6)
    by_score = keep_channels(network, x, {"b": l1_scores(network, x)["b"]}, keep=0.75)
    assert torch.equal(outputs(by_score, x), outputs(wanted, x))

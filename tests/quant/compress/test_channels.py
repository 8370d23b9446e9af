"""Channels: what is left of a network computes what the network does with the others dead; choices meet their budgets."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")
pytest.importorskip("torch_pruning", reason="it finds which channels go together")

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from examples.digits_cnn.model import trained
from quant.compress import CompressionError
from quant.compress.channels.coupling import couple
from quant.compress.channels.removal import choose, keep_channels, remaining_macs, remove
from quant.compress.counts import counts
from tests.quant.compress.structured_networks import (
    FOLLOWED,
    Concatenated,
    Depthwise,
    Gated,
    Plain,
    Residual,
    Shared,
    check_goes_to_integers,
    images,
    made,
    outputs,
)


def kept_at_random(network, x, seed):
    """Channels to keep of each layer, as `remove` takes them, and the units that go."""
    draw, kept, gone = random.Random(seed), {}, []
    coupling = couple(network, x)
    for group in coupling.groups:
        free = [unit for unit in group.units if not unit.fixed]
        for unit in draw.sample(free, len(free) // 2):
            left = [one for one in group.units if one not in gone and one is not unit]
            if all(any(name in one.outputs for one in left) for name in group.layers):
                gone.append(unit)
        for name in group.layers:
            if any(name in unit.outputs for unit in free):
                lost = {index for unit in gone for index in unit.outputs.get(name, ())}
                kept[name] = [index for index in range(coupling.sizes[name]) if index not in lost]
    return kept, gone


def kill(network, gone):
    """Make the channels 0 where they are made, behind each ReLU: weights, biases, and shifts of batch norms."""
    dead = copy.deepcopy(network)
    for unit in gone:
        for name, indices in (*unit.outputs.items(), *unit.followers.items()):
            part, chosen = dead.get_submodule(name), list(indices)
            if isinstance(part, nn.ConvTranspose2d):
                part.weight.data[:, chosen] = 0
            elif not isinstance(part, nn.PReLU):
                part.weight.data[chosen] = 0
            if getattr(part, "bias", None) is not None:
                part.bias.data[chosen] = 0
    return dead


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FOLLOWED)
def test_what_is_left_computes_what_the_network_does_with_dead_channels(kind, seed):
    network, x = made(kind, seed), images(5)
    kept, gone = kept_at_random(network, x, seed)
    before, state = outputs(network, x), copy.deepcopy(network.state_dict())
    smaller = remove(network, x, kept)
    assert gone and torch.allclose(outputs(smaller, x), outputs(kill(network, gone), x), atol=1e-5)
    assert torch.equal(outputs(network, x), before) and all(torch.equal(network.state_dict()[name], one) for name, one in state.items())
    for name, indices in kept.items():
        layer = smaller.get_submodule(name)
        assert (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels) == len(indices)


def test_removed_by_hand_with_flattening_and_addition():
    """Without the library's groups: weights that read the channels at 0, written out."""
    network, x = made(Residual), images(5)
    smaller = remove(network, x, {"stem": [5, 0, 2], "b": [0, 2, 5], "a": [1]})
    dead = copy.deepcopy(network)
    dead.a.weight.data[:, [1, 3, 4]] = 0
    dead.b.weight.data[:, [0, 2, 3, 4]] = 0
    dead.fc.weight.data.view(7, 6, 16)[:, [1, 3, 4]] = 0
    assert torch.allclose(outputs(smaller, x), outputs(dead, x), atol=1e-5)
    assert smaller.fc.in_features == 48 and smaller.b.weight.shape == (3, 1, 3, 3) and smaller.norm.num_features == 3


def test_the_residual_digits_network_shrinks_and_goes_to_integers(tmp_path):
    network = trained()
    x = torch.rand(20, 1, 28, 28)
    scores = {name: part.weight.detach().abs().flatten(1).sum(1) for name, part in network.named_modules() if isinstance(part, nn.Conv2d)}
    smaller = keep_channels(network, x, scores, keep=0.5)
    assert [part.weight.shape[0] for part in smaller.modules() if isinstance(part, nn.Conv2d)] == [4, 8, 8, 8, 16, 16, 16]
    assert counts(smaller, x)[-1].macs < 0.3 * counts(network, x)[-1].macs
    check_goes_to_integers(smaller, x, tmp_path)


class Shuffled(nn.Module):
    def __init__(self, shuffle):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8 if shuffle == "channels" else 2, 5, 1), nn.Linear(5, 3)
        self.shuffle = nn.ChannelShuffle(2) if shuffle == "channels" else nn.PixelShuffle(2)

    def forward(self, x):
        return self.fc(F.relu(self.b(self.shuffle(self.a(x)))).mean((2, 3)))


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6 * 64, 3)

    def forward(self, x):
        return self.fc(F.relu(self.a(x)).view(-1, 6 * 64))


class Split(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(4, 5, 1), nn.Conv2d(4, 5, 1), nn.Linear(5, 3)

    def forward(self, x):
        left, right = torch.chunk(self.a(x), 2, 1)
        return self.fc(F.relu(self.b(left) + self.c(right)).mean((2, 3)))


class FlatFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.Linear(4 * 64 + 3 * 16, 3)

    def forward(self, x):
        return self.fc(torch.cat([F.relu(self.a(x)).flatten(1), F.relu(self.b(x)).flatten(1)], 1))


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.grouped, self.b, self.fc = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(4, 5, 1), nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(F.relu(self.b(self.grouped(self.a(x)))).mean((2, 3)))


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b, self.fc = nn.Conv2d(1, 6, 3), nn.GroupNorm(3, 6), nn.Conv2d(6, 5, 1), nn.Linear(5, 3)
        self.scale = nn.Parameter(torch.ones(1, 5, 1, 1))

    def forward(self, x):
        return self.fc(F.relu(self.scale * self.b(self.norm(self.a(x)))).mean((2, 3)))


@pytest.mark.parametrize(("network", "layer", "what"), [
    (Shuffled("channels"), "a", "mixes channels"), (Shuffled("pixels"), "a", "mixes channels"), (Fixed(), "a", "has their number in it"),
    (Split(), "a", "mixes channels"), (FlatFirst(), "a", "mixes channels"), (FlatFirst(), "b", "mixes channels"),
    (Grouped(), "a", "`grouped` is a grouped convolution"), (Grouped(), "grouped", "`grouped` is a grouped convolution"),
    (Normed(), "a", "`norm` is a GroupNorm"), (Normed(), "b", "a parameter that isn't of a layer"),
    (made(Residual), "fc", "the network's outputs"),
])
def test_layers_that_cannot_be_pruned_are_refused(network, layer, what):
    with pytest.raises(CompressionError, match=what) as error:
        remove(network, images(2), {layer: [0]})
    assert f"`{layer}`" in str(error.value)
    with pytest.raises(CompressionError, match=what):
        keep_channels(network, images(2), {layer: torch.ones(couple(network, images(2)).sizes[layer])}, keep=0.5)


@pytest.mark.parametrize(("network", "kept", "words"), [
    (made(Residual), {"b": [0, 1]}, ["channel 2 of layer `b`", "channel 2 of `stem`", "each of `b`, `stem`"]),
    (made(Residual), {"b": [0, 1], "stem": [0, 2]}, ["can't go alone"]),
    (made(Residual), {"a": []}, ["layer `a` would lose all its channels"]),
    (made(Residual), {"a": [0, 5]}, ["layer `a` has no output channel 5"]),
    (made(Residual), {"nowhere": [0]}, ["no linear or convolutional layer `nowhere`", "`stem`, `a`, `b`, `fc`"]),
    (made(Depthwise), {"depthwise": [0]}, ["`depthwise` is a depthwise convolution"]),
    (made(Concatenated), {"a": [0, 1, 2], "b": [0, 1, 2], "d": [1, 2, 3, 5, 6, 7]}, ["channel 0 of layer `d`", "the network's input"]),
])
def test_what_to_keep_is_checked(network, kept, words):
    with pytest.raises(CompressionError) as error:
        remove(network, images(2), kept)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(("changes", "words"), [
    ({"keep": 0}, "keep, the part of the channels"), ({"keep": 1.5}, "at most 1"), ({}, "neither"), ({"keep": 0.5, "macs": 0.5}, "both"),
    ({"macs": 0.01}, "macs 0.01 can't be met"), ({"keep": 0.1, "scope": "global"}, "keep at least 0.1"), ({"keep": 0.5, "scope": "all"}, "'all'"),
    ({"keep": {"a": 0.5}, "scope": "global"}, "'global'"), ({"keep": {"a": 2}}, "keep of layer `a`"), ({"keep": {}}, "no layer"),
    ({"keep": {"stem": 0.5, "b": 0.4}}, "`stem`, `b` the same part"), ({"keep": {"fc": 0.5}}, "layer `fc` can't go"),
    ({"keep": 0.5, "scores": {}}, "no scores"), ({"keep": 0.5, "scores": {"a": torch.ones(4)}}, r"shape \(5,\)"),
    ({"keep": 0.5, "scores": {"a": torch.tensor([1.0, 2, torch.nan, 4, 5])}}, "hold nan"),
    ({"keep": {"stem": 0.5}, "scores": {"a": torch.ones(5)}}, "no scores of `stem`, `b`"),
])
def test_budgets_and_scores_are_checked(changes, words):
    scores = changes.pop("scores", {"a": torch.arange(5.0), "b": torch.arange(6.0)})
    with pytest.raises(CompressionError, match=words):
        keep_channels(made(Residual), images(2), scores, **changes)


@pytest.mark.parametrize(("network", "x", "words"), [
    (nn.Sequential(nn.ReLU()), images(2), "no layer"), (made(Residual), images(0), "empty"), (made(Residual), images(2, channels=2), "go through"),
    (made(Residual), images(2) * torch.nan, "nan"), (nn.Sequential(nn.Flatten(), nn.Linear(64, 2).double()), images(2), "float64"),
])
def test_networks_and_images_are_checked(network, x, words):
    with pytest.raises(CompressionError, match=words):
        keep_channels(network, x, {"a": torch.ones(5)}, keep=0.5)


def test_weights_that_are_not_finite_are_refused():
    network = made(Residual)
    network.a.weight.data[0, 0, 0, 0] = torch.inf
    with pytest.raises(CompressionError, match=r"a\.weight.*inf"):
        remove(network, images(2), {"a": [0]})


def test_the_best_of_each_layer_stay_and_coupled_scores_are_means():
    network, x = made(Residual), images(2)
    scores = {"a": torch.tensor([3.0, 1, 3, 2, 3]), "stem": torch.tensor([9.0, 0, 0, 5, 1, 4]), "b": torch.tensor([0.0, 8, 0, 0, 9, 2])}
    smaller = keep_channels(network, x, scores, keep=0.5)  # means: 4.5 4 0 2.5 5 3
    wanted = remove(network, x, {"a": [0, 2, 4], "stem": [0, 1, 4], "b": [0, 1, 4]})  # 2.5 channels of a: 3
    assert torch.equal(outputs(smaller, x), outputs(wanted, x))
    assert torch.equal(outputs(keep_channels(network, x, scores, keep={"a": 0.01}), x), outputs(remove(network, x, {"a": [0]}), x))


def test_one_threshold_for_all_layers_but_each_keeps_one():
    network, x = made(Plain), images(2)
    torch.manual_seed(3)
    scores = {"a": torch.rand(6) + 1, "b": torch.rand(8) + 0.6, "fc1": torch.rand(12) * 0.1}
    smaller = keep_channels(network, x, scores, keep=0.5, scope="global")
    threshold = np.sort(torch.cat([scores["a"], scores["b"]]).numpy())[-12]  # 13 of 26 stay, one of them of fc1
    kept = {name: torch.nonzero(scores[name] >= threshold)[:, 0].tolist() for name in "ab"} | {"fc1": [int(scores["fc1"].argmax())]}
    assert torch.equal(outputs(smaller, x), outputs(remove(network, x, kept), x))


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("part", [0.15, 0.5, 0.9])
@pytest.mark.parametrize("kind", [Residual, Plain, Concatenated, Depthwise, Gated])
def test_as_many_channels_stay_as_fit_the_macs(kind, part, scope):
    network, x = made(kind), images(2)
    torch.manual_seed(1)
    coupling = couple(network, x)
    scores = {name: torch.rand(coupling.sizes[name]) for name in coupling.prunable}
    whole, macs = counts(network, x)[-1].macs, remaining_macs(network, x, coupling)
    try:
        left = counts(keep_channels(network, x, scores, macs=part, scope=scope), x)[-1].macs
    except CompressionError as error:
        assert "can't be met" in str(error) and part == 0.15
        return
    assert left <= part * whole
    # Apart from the bisection: of all parts to keep, none gives a number of MACs in between.
    others = set()
    for keep in np.linspace(0.01, 1, 100):
        try:
            others.add(macs(choose(network, x, coupling, scores, keep=float(keep), scope=scope)))
        except CompressionError:
            assert scope == "global"
    assert left in others or scope == "global"
    assert not [one for one in others if left < one <= part * whole]


@pytest.mark.parametrize("kind", [*FOLLOWED, Grouped])
def test_counts_are_those_of_torchs_counter(kind):
    network, x = made(kind), images(1)
    with FlopCounterMode(display=False) as counter:
        network(x)
    rows = counts(network, images(3))
    assert rows[-1].macs * 2 == counter.get_total_flops()
    assert rows[-1].parameters == sum(one.numel() for one in network.parameters()) == sum(one.parameters for one in rows[:-1])
    assert rows[-1].macs == remaining_macs(network, x, couple(network, x))([])


@pytest.mark.parametrize("kind", FOLLOWED)
def test_macs_that_remain_are_foretold(kind):
    network, x = made(kind), images(2)
    kept, gone = kept_at_random(network, x, 5)
    assert remaining_macs(network, x, couple(network, x))(couple_again(network, x, gone)) == counts(remove(network, x, kept), x)[-1].macs


def couple_again(network, x, gone):
    outputs_gone = [unit.outputs for unit in gone]
    return [unit for group in couple(network, x).groups for unit in group.units if unit.outputs in outputs_gone]


def test_a_shared_layer_is_pruned_once():
    network, x = made(Shared), images(2)
    smaller = remove(network, x, {"a": [0, 1, 5], "shared": [0, 1, 5]})
    assert smaller.shared.weight.shape == (3, 3, 3, 3)
    with pytest.raises(CompressionError, match="can't go alone"):
        remove(network, x, {"shared": [0]})

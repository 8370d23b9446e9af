"""Magnitude pruning: which weights go, that they stay away, the schedule, and the way down to integers with few values."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from torch import nn
from torch.nn import functional

from intir import MatMul
from quant.lower import lower
from quant.nn import (
    LSQ,
    BipolarQuant,
    ExportError,
    GradualPruning,
    IntQuant,
    QuantConv2d,
    QuantizationError,
    QuantLinear,
    SharedQuant,
    TernaryQuant,
    cubic_density,
    density_report,
    export_qonnx,
    finish_pruning,
    prune,
    quantize,
    share_weights,
)
from tests.quant.nn.meaning import meaning
from tests.quant.test_lower_oracle import reals, same

LAYERS = {"0": (6, 2, 3, 3), "3": (20, 54), "5": (4, 20)}


def float_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 20), nn.ReLU(), nn.Linear(20, 4))


def quantized_network():
    torch.manual_seed(0)
    return nn.Sequential(QuantConv2d(2, 6, 3, weight_quant=SharedQuant(15)), nn.ReLU(), nn.Flatten(),
                         QuantLinear(54, 20, weight_quant=IntQuant(8, scale=2.0**-9)), nn.ReLU(),
                         QuantLinear(20, 4, weight_quant=LSQ(8, scale=2.0**-9, weight=True)))


def weights(network):
    """Of each layer, as the last forward pass had them."""
    return {name: network.get_submodule(name).weight.detach().numpy().copy() for name in LAYERS}


def kept_by_sort(values, density):
    """The mask, from a numpy sort; magnitudes are distinct."""
    count = math.floor(density * values.size + 0.5)
    return np.abs(values) >= np.sort(np.abs(values), axis=None)[::-1][count - 1]


def train_a_little(network, optimizer, steps, after=lambda: None):
    torch.manual_seed(1)
    for _ in range(steps):
        x, target = torch.randn(16, 2, 5, 5), torch.randint(4, (16,))
        optimizer.zero_grad()
        functional.cross_entropy(network(x), target).backward()
        optimizer.step()
        after()


@pytest.mark.parametrize("build", [float_network, quantized_network])
@pytest.mark.parametrize("density", [0.08, 0.5, {"0": 0.3, "3": 0.111, "5": 1}, {"3": 0.2}])
def test_each_layer_keeps_its_largest_weights(build, density):
    network = build()
    before = weights(network)
    prune(network, density)
    for name, after in weights(network).items():
        wanted = density.get(name, 1) if isinstance(density, dict) else density
        assert np.array_equal(after, before[name] * kept_by_sort(before[name], wanted)), name


@pytest.mark.parametrize("density", [0.08, 0.5, 1.0])
@pytest.mark.parametrize("chosen", [None, ["5", "0"]])
def test_one_threshold_for_all_layers(density, chosen):
    network = float_network()
    before = weights(network)
    prune(network, density, scope="global", layers=chosen)
    named = [name for name in LAYERS if chosen is None or name in chosen]
    kept = kept_by_sort(np.concatenate([before[name].ravel() for name in named]), density)
    after = weights(network)
    assert np.array_equal(np.concatenate([after[name].ravel() for name in named]) != 0, kept)
    assert all(np.array_equal(after[name], before[name]) for name in LAYERS if name not in named)


@pytest.mark.parametrize(("count", "density", "kept"), [(10, 0.25, 3), (10, 0.24, 2), (10, 0.01, 1), (3, 0.5, 2), (1, 0.3, 1),
                                                        (100, 0.29, 29), (7, 1, 7)])
def test_counts_are_rounded_to_the_nearest_and_at_least_one(count, density, kept):
    for scope in ("layer", "global"):
        network = nn.Sequential(nn.Linear(count, 1))
        prune(network, density, scope=scope)
        assert density_report(network) == [("0", count, kept), ("all", count, kept)]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_scores_decide_instead_of_magnitudes(scope):
    network = float_network()
    before = weights(network)
    generator = torch.Generator().manual_seed(3)
    scores = {name: torch.rand(shape, generator=generator) for name, shape in LAYERS.items()}
    prune(network, 0.2, scope=scope, scores=scores)
    whole = np.concatenate([one.numpy().ravel() for one in scores.values()])
    for name, after in weights(network).items():
        one = scores[name].numpy()
        kept = kept_by_sort(one, 0.2) if scope == "layer" else one >= np.sort(whole)[::-1][math.floor(0.2 * whole.size + 0.5) - 1]
        assert np.array_equal(after, before[name] * kept), name
    once = weights(network)
    prune(network, 0.1, scope=scope, scores={name: 1 - one for name, one in scores.items()})
    for name, after in weights(network).items():
        assert not np.any(after[once[name] == 0]), name  # what was pruned stays so


@pytest.mark.parametrize(("score", "words"), [
    (torch.ones(3), r"layer `5` needs scores of shape \(4, 20\)"),
    (None, "layer `5` needs scores"),
    (-torch.ones(4, 20), "scores of layer `5` must be finite and 0 or more"),
    (torch.full((4, 20), math.nan), "scores of layer `5` must be finite"),
])
def test_scores_that_do_not_fit_are_refused(score, words):
    with pytest.raises(ValueError, match=words):
        prune(float_network(), {"5": 0.5}, scores={} if score is None else {"5": score})


def test_of_equal_weights_the_first_are_kept():
    network = nn.Sequential(nn.Linear(5, 1))
    nn.init.constant_(network[0].weight, -2.0)
    prune(network, 0.4)
    assert network[0].weight.tolist() == [[-2.0, -2.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("build", [float_network, quantized_network])
@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01), lambda p: torch.optim.Adam(p, 0.01)])
def test_masks_hold_through_training(build, make):
    network = build()
    optimizer = make(network.parameters())
    train_a_little(network, optimizer, 3)  # momentum of what is pruned next
    parameters = list(network.parameters())
    prune(network, 0.1)
    assert {id(one) for one in network.parameters()} == {id(one) for one in parameters}
    pruned = {name: one == 0 for name, one in weights(network).items()}
    before = weights(network)

    def check():
        with torch.no_grad():
            network(torch.zeros(1, 2, 5, 5))
        for name, one in weights(network).items():
            assert np.array_equal(one == 0, pruned[name]), name

    train_a_little(network, optimizer, 10, check)
    finish_pruning(network)
    for name, one in weights(network).items():
        assert np.array_equal(one == 0, pruned[name])
        assert not np.signbit(one[pruned[name]]).any()  # 0, not -0
        assert not np.array_equal(one, before[name])
    assert set(network.state_dict()) == set(build().state_dict())


def test_pruning_again_sees_the_last_step_and_keeps_what_is_pruned():
    network = float_network()
    prune(network, 0.5)
    first = weights(network)
    with torch.no_grad():  # an optimizer's step: `weight` is still that of the last forward pass
        network[3].weight_orig.copy_(network[3].weight_orig.flatten().flip(0).view(LAYERS["3"]) * 2)
    now = network[3].weight_orig.detach().numpy() * (first["3"] != 0)
    prune(network, {"3": 0.2})
    assert np.array_equal(weights(network)["3"], now * kept_by_sort(now, 0.2))
    assert np.array_equal(weights(network)["0"], first["0"])
    masks = {name: one != 0 for name, one in weights(network).items()}
    prune(network, 0.9)  # above the present density
    assert all(np.array_equal(one != 0, masks[name]) for name, one in weights(network).items())


def test_zeros_can_be_held_again():
    network = float_network()
    prune(network, 0.13, scope="global")
    finish_pruning(network)
    zeros = {name: one == 0 for name, one in weights(network).items()}
    prune(network, {one.layer: one.density for one in density_report(network)[:-1]})
    train_a_little(network, torch.optim.SGD(network.parameters(), 0.1, momentum=0.9), 5)
    finish_pruning(network)
    assert all(np.array_equal(one == 0, zeros[name]) for name, one in weights(network).items())


def test_the_cubic_schedule():
    # Zhu and Gupta: s = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, with density 1 - s
    found = [cubic_density(t, begin=10, end=50, final=0.2) for t in (0, 10, 20, 30, 40, 50, 60)]
    assert found == pytest.approx([1.0, 1.0, 0.2 + 0.8 * 0.75**3, 0.3, 0.2125, 0.2, 0.2], abs=1e-15)
    assert cubic_density(30, begin=10, end=50, final=0.2, initial=0.6) == pytest.approx(0.25, abs=1e-15)
    assert cubic_density(50, begin=10, end=50, final=0.1) == 0.1


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_gradual_pruning_follows_the_schedule(scope):
    network = float_network()
    pruning = GradualPruning(network, 0.1, begin=2, end=9, every=3, scope=scope)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    found = []

    def after():
        pruning.step()
        found.append([one.nonzeros for one in density_report(network)])

    train_a_little(network, optimizer, 12, after)
    sizes = [math.prod(shape) for shape in LAYERS.values()]
    at = [1, 2, 2, 2, 5, 5, 5, 8, 9, 9, 9, 9]  # when the masks were tightened last
    for step, row in zip(at, found, strict=True):
        density = 1 if step < 2 else 0.1 + 0.9 * ((9 - step) / 7)**3
        assert row[-1] == sum(row[:-1])
        if scope == "layer":
            assert row[:-1] == [math.floor(density * size + 0.5) for size in sizes]
        else:
            assert row[-1] == math.floor(density * sum(sizes) + 0.5)


def test_gradual_pruning_of_each_layer_to_its_own_density():
    network = float_network()
    pruning = GradualPruning(network, {"3": 0.1, "5": 0.5}, end=4)
    for _ in range(4):
        pruning.step()
    assert [one.nonzeros for one in density_report(network)] == [108, 108, 40, 256]


def test_the_report_counts_what_quantizers_make_of_weights():
    network = nn.Sequential(QuantLinear(4, 1, weight_quant=IntQuant(8, scale=0.5), bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.1, -1.0, 0.0]]))
    (one, total) = density_report(network)
    assert one == ("0", 4, 2)
    assert (total.layer, total.density) == ("all", 0.5)


@pytest.mark.parametrize(("density", "options", "words"), [
    (0, {}, "density must be above 0 and at most 1, .*, not 0$"),
    (1.5, {}, "not 1.5$"),
    (float("nan"), {}, "not nan$"),
    (True, {}, "not True$"),
    ("0.1", {}, "not 0.1$"),
    ({"3": 0}, {}, "density of layer `3` must be above 0"),
    ({"fc": 0.1}, {}, "Sequential has no linear or convolutional layer `fc`; it has `0`, `3`, `5`$"),
    (0.1, {"layers": ["1"]}, "no linear or convolutional layer `1`"),
    (0.1, {"layers": "35"}, "layer `35`"),
    (0.1, {"layers": []}, "no layer to prune was named"),
    ({}, {}, "no layer to prune was named"),
    ({"3": 0.1}, {"scope": "global"}, "give neither layers nor the scope 'global'"),
    (0.1, {"scope": "all"}, "'layer' or 'global', not 'all'"),
])
def test_what_makes_no_sense_is_refused(density, options, words):
    network = float_network()
    for call in (prune, lambda *given, **named: GradualPruning(*given, end=3, **named)):
        with pytest.raises(ValueError, match=words):
            call(network, density, **options)
    assert set(network.state_dict()) == set(float_network().state_dict())


def test_a_network_without_layers_is_refused():
    for call in (lambda one: prune(one, 0.5), density_report):
        with pytest.raises(ValueError, match="^Sequential has no layers to prune: none in it is linear or convolutional$"):
            call(nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize(("options", "words"), [
    ({"end": 0}, "must end behind the step where it begins, 0, not at step 0"),
    ({"begin": 5, "end": 4}, "begins, 5, not at step 4"),
    ({"end": 4, "every": 0}, "1 or more, not 0"),
    ({"end": 4, "initial": 2.0}, "not 2.0"),
])
def test_a_schedule_that_makes_no_sense_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        GradualPruning(float_network(), 0.5, **options)


@pytest.mark.parametrize("quantizer", [BipolarQuant(), IntQuant(4, zero_point=0.5), SharedQuant(4)])
def test_quantizers_that_lose_the_zero_are_refused(quantizer):
    torch.manual_seed(0)
    network = nn.Sequential(QuantLinear(6, 4, weight_quant=quantizer))
    if isinstance(quantizer, SharedQuant):
        share_weights(network)  # from then on the codes count
    with pytest.raises(ValueError, match=rf"layer `0` can't be pruned: its quantizer {type(quantizer).__name__} makes .* of a weight of 0"):
        prune(network, 0.5)


def test_ternary_weights_can_be_pruned():
    torch.manual_seed(0)
    network = nn.Sequential(QuantLinear(60, 4, weight_quant=TernaryQuant()))
    prune(network, 0.1)
    assert density_report(network)[0].nonzeros <= 24


def test_weights_that_cannot_be_compared_are_refused():
    network = float_network()
    with torch.no_grad():
        network[3].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match="layer `3` holds nan"):
        prune(network, 0.5)
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="layer `0` computes its weights from others"):
        prune(network, 0.5)


def test_masks_are_to_be_finished_before_export_and_quantize(tmp_path):
    network = float_network()
    prune(network, 0.5)
    with pytest.raises(ExportError, match="Sequential has masked weights: call quant.nn.finish_pruning"):
        export_qonnx(network, torch.zeros(1, 2, 5, 5), tmp_path / "masked.onnx")
    with pytest.raises(QuantizationError, match="prune.remove"):
        quantize(network, torch.zeros(1, 2, 5, 5), torch.rand(8, 2, 5, 5))


def test_prune_retrain_share_tune_lower(tmp_path):
    """The whole way: as many nonzero integers as were kept, of at most 15 values, and the integers are exactly what the file means."""
    torch.manual_seed(0)
    x = torch.randint(256, (200, 40)) / 255
    target = (x @ torch.randn(40, 5)).argmax(1)
    network = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 5))

    def train(one, steps, rate, after=lambda: None):
        optimizer = torch.optim.Adam(one.parameters(), rate)
        for _ in range(steps):
            optimizer.zero_grad()
            functional.cross_entropy(one.train()(x), target).backward()
            optimizer.step()
            after()
        return one.eval()

    train(network, 50, 0.01)
    train(network, 50, 0.01, GradualPruning(network, 0.2, end=30, scope="global").step)
    finish_pruning(network)
    quantized = quantize(network, x[:1], x, per_channel=False, power_of_two=True, input_integers="u8/255")
    for name, layer in list(quantized.named_modules()):
        if isinstance(layer, QuantLinear):
            quantized.set_submodule(f"{name}.weight_quant", SharedQuant(15, entry_bits=8))
    share_weights(quantized)
    train(quantized, 20, 0.001)
    counts = [one.nonzeros for one in density_report(network)]
    assert counts[-1] == 0.2 * (40 * 30 + 30 * 5)
    assert [one.nonzeros for one in density_report(quantized)] == counts

    export_qonnx(quantized, x[:1], tmp_path / "shared.onnx")
    lowered = lower(tmp_path / "shared.onnx", input_spec="u8/255")
    matrices = [np.asarray(node.op.weights) for node in lowered.graph.nodes if isinstance(node.op, MatMul)]
    assert [int(np.count_nonzero(one)) for one in matrices] == counts[:-1]
    for one, layer in zip(matrices, (network[0], network[2]), strict=True):
        assert np.array_equal(one != 0, (layer.weight != 0).numpy().T)
        assert 2 <= len(np.unique(one[one != 0])) <= 15
        assert np.abs(one).max() <= 127
    few = x[:20].numpy()
    assert same(reals(lowered, np.rint(few * 255).astype(np.int64)), meaning(tmp_path / "shared.onnx", few, rational=True))

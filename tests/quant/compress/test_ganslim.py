"""GAN Slimming: the proximal step, removal that changes nothing, redundant channels of generators found, lowering, mistakes."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training and export need torch")
pytest.importorskip("torch_pruning", reason="removing channels needs torch-pruning")

import torch
from torch import nn
from torch.nn import functional as F

from quant.compress import CompressionError
from quant.compress.ganslim import _fake_quantized, falling, gan_slim, remove_channels, shrink
from quant.nn import export_qonnx, quantize
from tests.quant.nn.test_ptq import check_integers, norm


def test_the_proximal_step_minimizes_its_definition():
    """argmin over z of (z - v)**2 / 2 + by * |z|, by trying many z."""
    tried = np.linspace(-3, 3, 60_001)
    for v in np.random.default_rng(0).uniform(-2, 2, 20):
        best = tried[np.argmin((tried - v) ** 2 / 2 + 0.7 * np.abs(tried))]
        assert shrink(torch.tensor([v]), 0.7).item() == pytest.approx(best, abs=1e-4)
    assert shrink(torch.tensor([0.5, -0.5, 0.0]), 0.5).tolist() == [0, 0, 0]


class ToImage(nn.Module):
    """Image to image: strided down, a residual block, up again, tanh."""

    def __init__(self, width=6):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(2, width, 3, stride=2, padding=1, bias=False), norm(width), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), norm(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
                                   norm(width))
        self.up = nn.Sequential(nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), norm(width), nn.LeakyReLU(0.1))
        self.last = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, x):
        x = self.down(x)
        x = F.relu(x + self.block(x))
        return torch.tanh(self.last(self.up(x)))


def off(network, name, channels):
    part = network.get_submodule(name)
    with torch.no_grad():
        part.weight[channels], part.bias[channels] = 0.0, 0.0


def test_removal_changes_nothing_and_takes_what_is_off_everywhere():
    torch.manual_seed(0)
    network, x = ToImage().eval(), torch.rand(4, 2, 8, 8)
    off(network, "down.1", [0, 1, 2])  # added to the block's output: only channels that are off in both go
    off(network, "block.4", [1, 2, 5])
    off(network, "block.1", [3])
    off(network, "up.1", [0, 1, 2, 3, 4, 5])  # one stays
    before = network(x)
    found = remove_channels(network, x)
    assert torch.allclose(found(x), before, atol=1e-6)
    assert [found.get_submodule(name).num_features for name in ("down.1", "block.1", "block.4", "up.1")] == [4, 5, 4, 1]
    assert found.block[0].weight.shape == (5, 4, 3, 3)
    assert found.up[0].weight.shape == (4, 1, 4, 4)
    assert network.down[1].num_features == 6


def test_depthwise_and_flattened_channels_are_removed_and_what_is_not_normed_stays():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 6, 1), norm(6), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), norm(6), nn.ReLU(),
                            nn.Conv2d(6, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), norm(8, nn.BatchNorm1d), nn.Linear(8, 3)).eval()
    x = torch.rand(4, 2, 4, 4)
    off(network, "1", [0, 3, 4])
    off(network, "4", [0, 3, 5])
    off(network, "10", [7])
    found = remove_channels(network, x)
    assert torch.allclose(found(x), network(x), atol=1e-6)
    assert [found[place].weight.shape[0] for place in (0, 3, 6, 9)] == [4, 4, 4, 7]


class Plain(nn.Module):
    """Layers for a sum with a layer that has no norm, and for a norm that has no layer."""

    def __init__(self):
        super().__init__()
        self.a, self.a_norm, self.b, self.last = nn.Conv2d(2, 4, 1), norm(4), nn.Conv2d(2, 4, 1), nn.Conv2d(4, 1, 1)
        self.c, self.c_norm, self.second = nn.Conv2d(2, 4, 1), norm(4), norm(4)


class Sum(Plain):
    def forward(self, x):
        return self.last(F.relu(self.a_norm(self.a(x)) + self.b(x)))


class Norms(Plain):
    def forward(self, x):
        return self.last(F.relu(self.second(F.relu(self.c_norm(self.c(x))))))


@pytest.mark.parametrize("kind", [Sum, Norms])
def test_channels_that_something_else_feeds_stay(kind):
    torch.manual_seed(0)
    network, x = kind().eval(), torch.rand(4, 2, 4, 4)
    off(network, "a_norm", [0, 2])
    off(network, "c_norm", [1, 3])
    found = remove_channels(network, x)
    assert torch.equal(found(x), network(x))
    assert found.last.in_channels == 4


def test_channels_that_a_sigmoid_makes_halves_of_are_refused():
    network = nn.Sequential(nn.Conv2d(2, 4, 1), norm(4), nn.Sigmoid(), nn.Conv2d(4, 1, 1)).eval()
    off(network, "1", [0])
    with pytest.raises(CompressionError, match="not 0 behind their batch norm"):
        remove_channels(network, torch.rand(2, 2, 4, 4))


def test_training_sees_quantized_weights_and_activations_and_leaves_no_trace():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False)), torch.rand(1, 2, 6, 6) - 0.2
    weight = network[0].weight.detach().clone()
    with _fake_quantized(network, 3):
        found = network[0].weight
        for row, floats in zip(found, weight, strict=True):
            step = floats.abs().max() / 3
            assert torch.allclose(row / step, torch.round(floats / step), atol=1e-5)
        step = (x.max() - x.min()) / 7
        wanted = F.conv2d(torch.round(x / step) * step, found)
        assert torch.allclose(network(x), wanted, atol=1e-5)
        network(x).sum().backward()
        assert (network[0].parametrizations.weight.original.grad != 0).any()
    assert torch.equal(network[0].weight, weight)
    assert not network[0]._forward_pre_hooks
    assert type(network[0]) is nn.Conv2d


def generator():
    """Noise to images; of its channels only some reach the next layer at all."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.ConvTranspose2d(8, 12, 4), nn.BatchNorm2d(12), nn.ReLU(), nn.ConvTranspose2d(12, 8, 4, stride=2, padding=1),
                            nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    with torch.no_grad():
        network[3].weight[[1, 4, 5, 10]] = 0
        network[6].weight[:, [0, 7]] = 0
        network[6].weight.mul_(4)
        network.train()
        for _ in range(30):
            network(torch.randn(64, 8, 1, 1))
    return network


def test_a_generator_loses_what_is_redundant_and_is_lowered_exactly(tmp_path):
    network, noise = generator(), torch.randn(96, 8, 1, 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    slim = gan_slim(network, noise, sparsity=0.004, epochs=40, scale_rate=3.0, rate=2e-3, batch=32)
    wanted = network.eval()(noise)
    assert (slim[1].num_features, slim[4].num_features) == (8, 6)  # four and two reach nothing
    assert slim[0].weight.shape == (8, slim[1].num_features, 4, 4)
    error = F.mse_loss(slim(noise), wanted) / wanted.var()
    assert error < 0.15
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    quantized = quantize(slim, noise[:1], noise)
    assert F.mse_loss(quantized(noise), wanted) / wanted.var() < 0.2
    export_qonnx(quantized, noise[:1], tmp_path / "network.onnx")
    check_integers(quantized, noise[:20], tmp_path / "network.onnx")


def test_rates_fall_in_the_second_half():
    assert [falling(4)(epoch) for epoch in range(4)] == pytest.approx([1, 1, 2 / 3, 1 / 3])
    assert falling(1)(0) == pytest.approx(2 / 3)
    assert all(0 < falling(epochs)(epoch) <= 1 for epochs in range(1, 20) for epoch in range(epochs))


def test_more_sparsity_leaves_fewer_channels_and_none_leaves_all():
    torch.manual_seed(0)
    network, x = ToImage(8), torch.rand(32, 2, 8, 8)
    left = []
    for sparsity in (0.0, 0.03, 0.1):
        slim = gan_slim(network, x, sparsity=sparsity, epochs=16, scale_rate=1.0)
        left.append(sum(part.num_features for part in slim.modules() if isinstance(part, nn.BatchNorm2d)))
        assert slim(x).shape == x.shape
    assert left[0] == 32
    assert left[0] > left[1] > left[2] >= 4


@pytest.mark.parametrize(("options", "message"), [
    ({"sparsity": -1.0}, "sparsity of GAN slimming is out of range: -1.0"),
    ({"epochs": 0}, "epochs of GAN slimming is out of range: 0"),
    ({"bits": 1}, "bits must be from 2 to 8, not 1"),
    ({"images": torch.rand(1, 2, 8, 8)}, "2 inputs or more"),
    ({"network": nn.Conv2d(2, 2, 1)}, "no batch norm with scales"),
    ({"network": nn.Sequential(nn.Conv2d(2, 2, 1), nn.CELU(), nn.BatchNorm2d(2))}, "no batch norm with scales"),
    ({"images": torch.rand(8, 3, 8, 8)}, "does not go through ToImage"),
    ({"loss": lambda found, wanted: (found - wanted).sum() * float("nan")}, "diverged, its loss is nan"),
])
def test_mistakes_are_told(options, message):
    with pytest.raises(CompressionError, match=message):
        gan_slim(**{"network": ToImage(), "images": torch.rand(8, 2, 8, 8), "sparsity": 0.1, "epochs": 1, **options})

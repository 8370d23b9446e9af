"""Batch-norm folding: the same function before and after, in float64, and no folding where it would be another one."""

import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from torch import nn

from quant.nn import fold_before, fold_behind
from quant.nn.fold import affine_of, can_fold_before, fold_batch_norms
from quant.nn.traced import Traced

LAYERS = {
    "conv": (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False), (3, 4, 7, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, stride=2), (3, 4, 7, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 8, (1, 3), groups=4), (3, 4, 7, 6)),
    "1-D": (lambda: nn.Conv1d(4, 6, 3, dilation=2), (3, 4, 9)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, bias=False), (3, 4, 5, 6)),
    "grouped transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, output_padding=1, stride=2), (3, 4, 5, 6)),
    "transposed 1-D": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (3, 4, 9)),
    "linear": (lambda: nn.Linear(4, 6), (9, 4)),
}


def norm_of(channels, rank, affine=True):
    """A batch norm with statistics and gains of both signs, as if trained."""
    norm = (nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d)(channels, affine=affine)
    with torch.no_grad():
        norm.running_mean.uniform_(-2, 2)
        norm.running_var.uniform_(0.01, 4)
        if affine:
            norm.weight.uniform_(-2, 2)
            norm.bias.uniform_(-2, 2)
    return norm


def same(a, b):
    return a.shape == b.shape and bool(((a - b).abs() <= 1e-12 * (1 + b.abs().max())).all())


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_norm_behind_a_layer(name, affine):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer, norm = make(), norm_of(6 if name != "depthwise" else 8, len(shape), affine)
    x = torch.randn(shape, dtype=torch.float64)
    wanted = nn.Sequential(layer, norm).double().eval()(x)
    fold_behind(layer, norm)
    assert same(layer(x), wanted)
    assert not same(layer(x) * 1.001, wanted)


@pytest.mark.parametrize("name", [name for name, (make, _) in LAYERS.items() if can_fold_before(make())])
def test_a_norm_before_a_layer(name):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer, norm = make(), norm_of(4, len(shape))
    x = torch.randn(shape, dtype=torch.float64)
    wanted = nn.Sequential(norm, layer).double().eval()(x)
    fold_before(norm, layer)
    assert same(layer(x), wanted)


def test_which_layers_take_a_norm_before_them():
    assert {name for name, (make, _) in LAYERS.items() if can_fold_before(make())} == {"grouped", "depthwise", "1-D", "linear"}
    assert not can_fold_before(nn.Conv2d(1, 1, 3, padding="same"))
    assert can_fold_before(nn.Conv2d(1, 1, 3, padding="valid"))


def test_float32_weights_are_rounded_once():
    torch.manual_seed(0)
    layer, norm = nn.Linear(4, 6), norm_of(6, 2)
    factor, summand = affine_of(norm)
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    fold_behind(layer, norm)
    assert torch.equal(layer.weight, (weight * factor[:, None]).float())
    assert torch.equal(layer.bias, (bias * factor + summand).float())


class Everything(nn.Module):
    """Norms that can be folded (a, b, e, g), and norms that can't."""

    def __init__(self):
        super().__init__()
        self.a, self.a_norm = nn.Conv2d(3, 4, 3, padding=1), norm_of(4, 4)
        self.b, self.b_norm = nn.Conv2d(4, 4, 3, bias=False), norm_of(4, 4)
        self.shared, self.shared_norm = nn.Conv2d(4, 4, 1), norm_of(4, 4)  # called twice
        self.c, self.c_norm = nn.Conv2d(4, 4, 1), norm_of(4, 4)  # its sums are read elsewhere, too
        self.d_norm, self.d = norm_of(4, 4), nn.Conv2d(4, 4, 3, padding=1)  # in front of padding
        self.e_norm, self.e = norm_of(4, 4), nn.Conv2d(4, 4, 3)
        self.f, self.f_norm = nn.Linear(3, 3), norm_of(4, 3)  # over another axis than the layer's outputs
        self.g, self.g_norm = nn.Linear(12, 5), norm_of(5, 2)

    def forward(self, x):
        x = torch.relu(self.a_norm(self.a(x)))
        x = torch.relu(self.b_norm(self.b(x)))
        x = self.shared_norm(self.shared(torch.relu(self.shared(x))))
        sums = self.c(torch.relu(x))
        x = torch.relu(self.c_norm(sums)) + sums
        x = self.d(self.d_norm(x))
        x = self.e(self.e_norm(torch.relu(x)))
        x = self.f_norm(self.f(torch.flatten(x, 2)))
        return self.g_norm(self.g(torch.flatten(torch.relu(x), 1)))


def test_a_network_keeps_its_function_and_what_cannot_be_folded():
    torch.manual_seed(0)
    network = Everything().double().eval()
    x = torch.randn(5, 3, 5, 7, dtype=torch.float64)
    wanted = network(x)
    traced = Traced(network, x)
    assert fold_batch_norms(traced.module) == ["a_norm", "b_norm", "e_norm", "g_norm"]
    assert same(traced.module(x), wanted)
    assert same(network(x), wanted), "the network itself was changed"
    left = {name for name, part in traced.module.named_modules() if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d))}
    called = {str(node.target) for node in traced.module.graph.nodes}
    assert left & called == {"shared_norm", "c_norm", "d_norm", "f_norm"}


def test_a_norm_without_statistics_is_refused():
    with pytest.raises(ValueError, match="no running statistics"):
        affine_of(nn.BatchNorm2d(3, track_running_stats=False))

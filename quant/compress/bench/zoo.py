"""Trained float networks to compress: LeNet-300-100, LeNet-5, a small VGG and a small ResNet, on the digits.

The LeNets are those of Deep Compression: LeNet-5 is Caffe's, with 431,080 parameters, not LeCun's of 1998.
Weights are kept as float16, which changes no digit's class by more than chance; the networks are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from quant.data import CLASSES

from ..errors import CompressionError

_FOLDER: Final = Path(__file__).resolve().parent / "trained"


@dataclass(frozen=True)
class ZooNetwork:
    """A network of the zoo.

    Members
    -------
    name, title, source
        For the command line, for people, and who described it.
    build
        Makes it, untrained.
    epochs, peak_learning_rate
        Of the training that its weights come from; everything else is `training.Recipe`'s.
    retrain_rate
        Peak learning rate of retraining what was made of it.
    """

    name: str
    title: str
    source: str
    build: Callable[[], nn.Module]
    epochs: int
    peak_learning_rate: float
    retrain_rate: float

    @property
    def path(self) -> Path:
        """Its weights."""
        return _FOLDER / f"{self.name}.npz"


def lenet300() -> nn.Sequential:
    """LeNet-300-100: 784-300-100-10 with ReLU, 266,610 parameters; takes (N, 1, 28, 28)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, CLASSES))


def lenet5() -> nn.Sequential:
    """LeNet-5 as Caffe has it: convolutions 20 and 50 of 5x5, max pools, 800-500-10; 431,080 parameters."""
    return nn.Sequential(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(50 * 4 * 4, 500), nn.ReLU(), nn.Linear(500, CLASSES))


def vgg() -> nn.Sequential:
    """Three pairs of 3x3 convolutions, 16, 32 and 64 channels, batch norms, max pools, a classifier; 77,786 parameters."""
    layers: list[nn.Module] = []
    inputs = 1
    for channels in (16, 32, 64):
        for _ in range(2):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            inputs = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 3 * 3, CLASSES))


class ResidualBlock(nn.Module):
    """``relu(shortcut(x) + f(x))``, f two 3x3 convolutions with batch norms; the shortcut is a 1x1 one where sizes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second_norm(self.second(self.relu(self.first_norm(self.first(x)))))
        total: Tensor = self.relu(self.shortcut(x) + inner)
        return total


def resnet() -> nn.Sequential:
    """A stem of 16 channels and residual blocks of 16, 32 and 64, then a mean over each map and a classifier; 77,754 parameters."""
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
                         ResidualBlock(16, 16, 1), ResidualBlock(16, 32, 2), ResidualBlock(32, 64, 2), nn.AvgPool2d(4),
                         nn.Flatten(), nn.Linear(64, CLASSES))


#: By name.
ZOO: Final = {one.name: one for one in (
    ZooNetwork("lenet300", "LeNet-300-100", "LeCun 1998, Han 2016", lenet300, 100, 0.003, 0.003),
    ZooNetwork("lenet5", "LeNet-5", "LeCun 1998, Caffe", lenet5, 25, 0.003, 0.002),
    ZooNetwork("vgg", "small VGG", "Simonyan 2015", vgg, 20, 0.01, 0.005),
    ZooNetwork("resnet", "small ResNet", "He 2016", resnet, 25, 0.01, 0.005),
)}


def untrained(name: str) -> nn.Module:
    """A network of the zoo with weights drawn from torch's generator.  Raises CompressionError."""
    return _found(name).build()


def trained(name: str) -> nn.Module:
    """A network of the zoo with its trained weights, in evaluation mode.

    Raises
    ------
    CompressionError
        There is no such network, or its weights aren't installed.
    """
    found = _found(name)
    network = found.build()
    try:
        with np.load(found.path, allow_pickle=False) as arrays:
            state = {one: torch.from_numpy(np.asarray(arrays[one], np.float32 if arrays[one].dtype == np.float16 else None))
                     for one in arrays.files}
    except OSError as error:
        raise CompressionError(f"the weights of {found.title} are not at '{found.path}' ({error.strerror}): install bitwright "
                               f"again, or make them with `python -m quant.compress.bench.train_zoo {name}`") from None
    network.load_state_dict(state)
    return network.eval()


def save(name: str, network: nn.Module) -> None:
    """Keep a trained network's weights as float16."""
    path = _found(name).path
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **{one: value.numpy().astype(np.float16) if value.is_floating_point() else value.numpy()
                                 for one, value in network.state_dict().items()})


def _found(name: str) -> ZooNetwork:
    if name not in ZOO:
        raise CompressionError(f"there is no network '{name}' in the zoo: it has {', '.join(ZOO)}")
    return ZOO[name]

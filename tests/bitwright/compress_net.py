"""Networks of a user's own for `bitwright compress`, and samples: three classes of 8x8 pictures, told apart by a bar's place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SAMPLES, TRAIN = 120, 80


def samples(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, SAMPLES)
    images = rng.integers(0, 60, (SAMPLES, 1, 8, 8)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 1 + 2 * label:3 + 2 * label, 1:7] = rng.integers(150, 255, (2, 6))
    return {"train_images": images[:TRAIN], "train_labels": labels[:TRAIN], "test_images": images[TRAIN:], "test_labels": labels[TRAIN:]}


def write(folder: Path, seed: int = 0) -> Path:
    np.savez(folder / "bars.npz", **samples(seed))
    return folder / "bars.npz"


class Block(nn.Module):
    """A residual one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(x + self.norm(self.conv(x)))


def trained() -> nn.Module:
    """A small residual network, right on all samples but a few."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the same sums of floats each time
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), Block(),
                            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    found = samples()
    x, labels = torch.tensor(found["train_images"] / np.float32(255)), torch.tensor(found["train_labels"])
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(25):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), labels).backward()
        optimizer.step()
    return network.eval()


def nothing() -> None:
    """Returns no network."""


def fails() -> nn.Module:
    return nn.Linear(3, 2, shape="round")


def empty() -> nn.Module:
    return nn.Flatten()


def two_classes() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))


def maps() -> nn.Module:
    return nn.Conv2d(1, 3, 3)


def broken() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        network[1].weight[0, 0] = float("nan")
    return network


def shallow() -> nn.Module:
    """Only a first and a last layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))


def softplus() -> nn.Module:
    """An activation that has no form in integers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Softplus(), nn.Linear(8, 3))


weights = [1, 2, 3]

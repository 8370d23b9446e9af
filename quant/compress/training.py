"""Training that every small network here shares: pixels as input, distortions, the loop, accuracy, weights in files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

Network = TypeVar("Network", bound=nn.Module)
#: From logits (N, C), labels (N,) and inputs (N, ...) to what is to become small.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

#: Learning rate of the parameters that are to learn slowly, as a part of the others'.
SLOW: Final = 0.01


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Members
    -------
    epochs
        Passes over the training samples, each with distortions drawn anew.
    batch_digits
        Samples per optimizer step.
    peak_learning_rate
        Of Adam; reached after 5% of the steps and then lowered along a cosine to zero.
    rotation_degrees, zoom, shear, shift_pixels
        Largest distortion of an image, either way; all 0 for none.
    seed
        Of torch's generator: initial weights, order, distortions.
    """

    epochs: int = 400
    batch_digits: int = 100
    peak_learning_rate: float = 0.01
    rotation_degrees: float = 7.0
    zoom: float = 0.07
    shear: float = 0.07
    shift_pixels: float = 1.0
    seed: int = 0

    @property
    def distorts(self) -> bool:
        """Whether images are distorted at all."""
        return any((self.rotation_degrees, self.zoom, self.shear, self.shift_pixels))


def as_input(images: NDArray[Any]) -> NDArray[np.float32]:
    """What networks take: pixel / 255 of uint8 pixels, other numbers as they are; float32."""
    if images.dtype != np.uint8:
        return images.astype(np.float32)
    return images.astype(np.float32) / np.float32(255)


def distort(images: Tensor, recipe: Recipe) -> Tensor:
    """Rotate, zoom, shear and shift each image by amounts of its own; shape (N, C, H, W) in and out."""

    def draw(largest: float) -> Tensor:
        return (torch.rand(len(images)) * 2 - 1) * largest

    angle = draw(math.radians(recipe.rotation_degrees))
    zoom_x, zoom_y, shear = 1 + draw(recipe.zoom), 1 + draw(recipe.zoom), draw(recipe.shear)
    half_height, half_width = images.shape[-2] / 2, images.shape[-1] / 2  # the grid's coordinates run from -1 to 1
    shift_x, shift_y = draw(recipe.shift_pixels / half_width), draw(recipe.shift_pixels / half_height)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    row_x = torch.stack((cosine * zoom_x, (shear - sine) * zoom_y, shift_x), dim=1)
    row_y = torch.stack((sine * zoom_x, cosine * zoom_y, shift_y), dim=1)
    transforms = torch.stack((row_x, row_y), dim=1)
    grid = functional.affine_grid(transforms, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _cross_entropy(logits: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels)


def train(build: Callable[[], Network], images: NDArray[Any], labels: NDArray[np.int64], recipe: Recipe, *,
          threads: int = 1, after_step: Callable[[Network], None] | None = None, penalty: Callable[[Network], Tensor] | None = None,
          slow: Callable[[Network], list[nn.Parameter]] | None = None, loss: Loss = _cross_entropy,
          progress: bool = True) -> Network:
    """Build a network and train it with Adam and a one-cycle learning rate.

    Parameters
    ----------
    build
        Makes the network; called once the seed is set, which its initial weights come from.
    images, labels : uint8 or float (N, ...), int64 (N,)
        Only images of shape (N, C, H, W) can be distorted.
    recipe
    threads
        Of torch; part of the recipe, as sums of floats are split over threads, so their number changes last bits.
    after_step
        Called with the network after each optimizer step, to clip latent weights for example.
    penalty
        Of the network, added to the loss.
    slow
        Picks parameters that learn at a hundredth of the rate: Adam's steps are as long as the rate whatever the gradient,
        too long for a quantizer's step size.
    loss
        By default the cross-entropy.
    progress
        Show a progress bar.

    Returns
    -------
    The network, in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)
    inputs, targets = torch.from_numpy(as_input(images)), torch.from_numpy(labels.copy())

    network = build()
    slowed = slow(network) if slow is not None else []
    kept = {id(parameter) for parameter in slowed}
    groups = [[parameter for parameter in network.parameters() if id(parameter) not in kept], slowed]
    rates = [recipe.peak_learning_rate, recipe.peak_learning_rate * SLOW]
    optimizer = torch.optim.Adam([{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True)])
    steps_per_epoch = len(inputs) // recipe.batch_digits
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        rates,
        total_steps=recipe.epochs * steps_per_epoch,
        pct_start=max(0.05, 2 / (recipe.epochs * steps_per_epoch)),  # torch divides by zero for a rise of one step
        cycle_momentum=False,
    )
    for _ in track(range(recipe.epochs), description="training", disable=not progress):
        order = torch.randperm(len(inputs))
        shuffled_inputs, shuffled_targets = inputs[order], targets[order]
        if recipe.distorts:
            shuffled_inputs = distort(shuffled_inputs, recipe)
        for step in range(steps_per_epoch):
            batch = slice(step * recipe.batch_digits, (step + 1) * recipe.batch_digits)
            lost = loss(network(shuffled_inputs[batch]), shuffled_targets[batch], shuffled_inputs[batch])
            if penalty is not None:
                lost = lost + penalty(network)
            optimizer.zero_grad()
            lost.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
            if after_step is not None:
                after_step(network)
    _measure_statistics(network, inputs, recipe)
    return network.eval()


@torch.no_grad()
def _measure_statistics(network: nn.Module, inputs: Tensor, recipe: Recipe) -> None:
    """Measure the batch normalizations' statistics anew, with the final weights.

    A binary weight changes by 2 or not at all, so the running averages lag behind the weights that they go
    with.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all that follows
    network.train()
    for _ in range(5 if recipe.distorts else 1):
        network(distort(inputs, recipe) if recipe.distorts else inputs)


def accuracy_percent(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Share of samples whose largest logit is that of their class; the lowest class wins a tie."""
    return 100 * float(np.mean(logits.argmax(axis=1) == labels))


def evaluate(network: nn.Module, images: NDArray[Any]) -> NDArray[np.float32]:
    """Logits, float32, shape (N, C), as torch computes them."""
    with torch.no_grad():
        logits: NDArray[np.float32] = network(torch.from_numpy(as_input(images))).numpy()
    return logits


def save_weights(network: nn.Module, path: Path) -> None:
    """Write all parameters and statistics as a `.npz` of float32 arrays (and integer counters)."""
    np.savez(path, **{name: value.numpy() for name, value in network.state_dict().items()})


def load_weights(network: Network, path: Path) -> Network:
    """The network with what `save_weights` wrote, in evaluation mode."""
    with np.load(path, allow_pickle=False) as arrays:
        network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    network.eval()
    return network

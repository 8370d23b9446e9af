"""Train the demo network, TFC with 1-bit weights and activations, and export it as QONNX.

Run from the repository's root: `python examples/tfc/train.py`.  The recipe and what it reaches are in
README.md.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from quant.data import CLASSES, IMAGE_SIDE_PIXELS, MnistDigits, mnist_digits
from quant.nn import BinaryLinear, BipolarQuant, clip_latent_weights, export_qonnx
from quant.qonnx_exec import execute

HIDDEN_FEATURES: Final = (64, 64, 64)
# A power of two: float32 logits are then exact, and equal to the integer accumulators but for a shift.
LOGIT_SCALE: Final = 2.0**-3
HELD_OUT_DIGITS: Final = 1000
# Part of the recipe: sums of floats are split over threads, so their number changes last bits.
THREADS: Final = 2


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Members
    -------
    epochs
        Passes over the train digits, each with distortions drawn anew.
    batch_digits
        Digits per optimizer step.
    peak_learning_rate
        Of Adam; reached after 5% of the steps and then lowered along a cosine to zero.
    rotation_degrees, zoom, shear, shift_pixels
        Largest distortion of a digit, either way.
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


class Tfc(nn.Module):
    """784-64-64-64-10, 1-bit weights and activations.

    Input: float32, shape (N, 1, 28, 28), pixel / 255.  Output: logits, float32, shape (N, 10), multiples of
    1/8.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_quant = BipolarQuant()
        blocks = []
        features = IMAGE_SIDE_PIXELS * IMAGE_SIDE_PIXELS
        for out_features in HIDDEN_FEATURES:
            blocks.append(Block(features, out_features))
            features = out_features
        self.hidden = nn.Sequential(*blocks)
        self.classifier = BinaryLinear(features, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_quant(x * 2.0 - 1.0)  # ink where the pixel is above one half
        logits: Tensor = self.classifier(self.hidden(torch.flatten(x, 1))) * LOGIT_SCALE
        return logits


class Block(nn.Module):
    """Binary matrix product, batch normalization, binary activation: in hardware, popcount and threshold."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = BinaryLinear(in_features, out_features)
        self.norm = nn.BatchNorm1d(out_features)
        self.quant = BipolarQuant()

    def forward(self, x: Tensor) -> Tensor:
        activations: Tensor = self.quant(self.norm(self.linear(x)))
        return activations


def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels as the network takes them: float32, pixel / 255."""
    return images.astype(np.float32) / np.float32(255)


def distort(images: Tensor, recipe: Recipe) -> Tensor:
    """Rotate, zoom, shear and shift each digit by amounts of its own; shape (N, 1, 28, 28) in and out."""

    def draw(largest: float) -> Tensor:
        return (torch.rand(len(images)) * 2 - 1) * largest

    angle = draw(math.radians(recipe.rotation_degrees))
    zoom_x, zoom_y, shear = 1 + draw(recipe.zoom), 1 + draw(recipe.zoom), draw(recipe.shear)
    half_side = IMAGE_SIDE_PIXELS / 2  # the grid's coordinates run from -1 to 1
    shift_x, shift_y = draw(recipe.shift_pixels / half_side), draw(recipe.shift_pixels / half_side)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    row_x = torch.stack((cosine * zoom_x, (shear - sine) * zoom_y, shift_x), dim=1)
    row_y = torch.stack((sine * zoom_x, cosine * zoom_y, shift_y), dim=1)
    transforms = torch.stack((row_x, row_y), dim=1)
    grid = functional.affine_grid(transforms, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(images: NDArray[np.uint8], labels: NDArray[np.int64], recipe: Recipe) -> Tfc:
    """Train on `images`, uint8, shape (N, 1, 28, 28), and return the network in evaluation mode."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(THREADS)
    inputs, targets = torch.from_numpy(as_input(images)), torch.from_numpy(labels.copy())

    network = Tfc()
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.peak_learning_rate)
    steps_per_epoch = len(inputs) // recipe.batch_digits
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.peak_learning_rate,
        total_steps=recipe.epochs * steps_per_epoch,
        pct_start=0.05,
        cycle_momentum=False,
    )
    for _ in track(range(recipe.epochs), description="training"):
        order = torch.randperm(len(inputs))
        shuffled_inputs, shuffled_targets = distort(inputs[order], recipe), targets[order]
        for step in range(steps_per_epoch):
            batch = slice(step * recipe.batch_digits, (step + 1) * recipe.batch_digits)
            loss = functional.cross_entropy(network(shuffled_inputs[batch]), shuffled_targets[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
            clip_latent_weights(network)
    _measure_statistics(network, inputs, recipe)
    return network.eval()


@torch.no_grad()
def _measure_statistics(network: Tfc, inputs: Tensor, recipe: Recipe) -> None:
    """Measure the batch normalizations' statistics anew, with the final weights.

    A binary weight changes by 2 or not at all, so the running averages lag behind the weights that they go
    with.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all that follows
    network.train()
    for _ in range(5):
        network(distort(inputs, recipe))


def accuracy_percent(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of digits whose largest logit is that of their class; the lowest class wins a tie."""
    return 100 * float(np.mean(logits.argmax(axis=1) == labels))


def evaluate(network: Tfc, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits, float32, shape (N, 10), as torch computes them."""
    with torch.no_grad():
        logits: NDArray[np.float32] = network(torch.from_numpy(as_input(images))).numpy()
    return logits


def validate(digits: MnistDigits, recipe: Recipe) -> None:
    """Train without the last 1,000 train digits and tell the accuracy on them: how this recipe was chosen."""
    network = train(digits.train_images[:-HELD_OUT_DIGITS], digits.train_labels[:-HELD_OUT_DIGITS], recipe)
    logits = evaluate(network, digits.train_images[-HELD_OUT_DIGITS:])
    held_out = accuracy_percent(logits, digits.train_labels[-HELD_OUT_DIGITS:])
    print(f"accuracy on {HELD_OUT_DIGITS:,} digits held out of training: {held_out:.1f}%")


def make(digits: MnistDigits, recipe: Recipe, out: Path) -> None:
    """Train on all train digits, export, and run the file on the test digits with the qonnx package."""
    network = train(digits.train_images, digits.train_labels, recipe)
    example = torch.zeros(1, 1, IMAGE_SIDE_PIXELS, IMAGE_SIDE_PIXELS)
    export_qonnx(network, example, out, input_name="image", output_name="logits")
    logits = execute(out, as_input(digits.test_images))
    differing = int(np.sum(logits != evaluate(network, digits.test_images)))
    print(f"wrote {out}")
    accuracy = accuracy_percent(logits, digits.test_labels)
    print(f"test accuracy of the file, as the qonnx package runs it: {accuracy:.1f}%")
    print(f"logits that differ from torch's: {differing} of {logits.size:,}")


def main() -> None:
    """Read the command line, train, tell."""
    default = Recipe()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=default.epochs, help="passes over the train digits")
    parser.add_argument("--seed", type=int, default=default.seed, help="seed of weights, order, distortions")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_name("tfc_w1a1.onnx"), help="QONNX file to write"
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help=f"hold {HELD_OUT_DIGITS:,} train digits out, tell the accuracy on them, and write nothing",
    )
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs must be 1 or more, not {arguments.epochs}")
    if not arguments.out.parent.is_dir():
        parser.error(f"--out names a file in a folder that isn't there: {arguments.out.parent}")
    recipe = Recipe(epochs=arguments.epochs, seed=arguments.seed)

    started = time.monotonic()
    digits = mnist_digits()
    if arguments.validate:
        validate(digits, recipe)
    else:
        make(digits, recipe, arguments.out)
    print(f"took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

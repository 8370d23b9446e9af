"""Train the demo network, TFC with 1-bit weights and activations, and export it as QONNX.

Run from the repository's root: `python -m examples.tfc.train`.  The recipe and what it reaches are in
README.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.digits import Recipe, accuracy_percent, as_input, evaluate, train
from quant.data import CLASSES, IMAGE_SIDE_PIXELS, MnistDigits, mnist_digits
from quant.nn import BinaryLinear, BipolarQuant, clip_latent_weights, export_qonnx
from quant.qonnx_exec import execute

HIDDEN_FEATURES: Final = (64, 64, 64)
# A power of two: float32 logits are then exact, and equal to the integer accumulators but for a shift.
LOGIT_SCALE: Final = 2.0**-3
HELD_OUT_DIGITS: Final = 1000
# Part of the recipe: sums of floats are split over threads, so their number changes last bits.
THREADS: Final = 2


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


def train_tfc(images: NDArray[np.uint8], labels: NDArray[np.int64], recipe: Recipe) -> Tfc:
    """Train on `images`, uint8, shape (N, 1, 28, 28), and return the network in evaluation mode."""
    return train(Tfc, images, labels, recipe, threads=THREADS, after_step=clip_latent_weights)


def validate(digits: MnistDigits, recipe: Recipe) -> None:
    """Train without the last 1,000 train digits and tell the accuracy on them: how this recipe was chosen."""
    network = train_tfc(digits.train_images[:-HELD_OUT_DIGITS], digits.train_labels[:-HELD_OUT_DIGITS], recipe)
    logits = evaluate(network, digits.train_images[-HELD_OUT_DIGITS:])
    held_out = accuracy_percent(logits, digits.train_labels[-HELD_OUT_DIGITS:])
    print(f"accuracy on {HELD_OUT_DIGITS:,} digits held out of training: {held_out:.1f}%")


def make(digits: MnistDigits, recipe: Recipe, out: Path) -> None:
    """Train on all train digits, export, and run the file on the test digits with the qonnx package."""
    network = train_tfc(digits.train_images, digits.train_labels, recipe)
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

"""Train LeNet-5 in float, quantize it to int8, fine-tune it with 4 bits, and export both as QONNX.

Run from the repository's root: `python -m examples.lenet.train`.  The recipe and what it reaches are in README.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

import torch
from torch import nn

from examples.digits import Recipe, accuracy_percent, as_input, evaluate, save_weights, train
from quant.data import mnist_digits
from quant.nn import LSQ, export_qonnx

from .model import CALIBRATION_DIGITS, HERE, INT8, W4A4, WEIGHTS, LeNet, int8, w4a4

#: Of the float training; the fine-tuning takes half the epochs and a fifth of the rate.
RECIPE: Final = Recipe(epochs=40, peak_learning_rate=0.005)


def steps(network: nn.Module) -> list[nn.Parameter]:
    """The learned scales, which move slowly."""
    return [part.step for part in network.modules() if isinstance(part, LSQ)]


def make(recipe: Recipe, folder: Path) -> None:
    """Train, write the three files, and tell how torch's networks do on the test digits."""
    digits = mnist_digits()
    images, labels = digits.train_images, digits.train_labels
    calibration = torch.from_numpy(as_input(images[:CALIBRATION_DIGITS]))
    network = train(LeNet, images, labels, recipe)
    save_weights(network, folder / WEIGHTS.name)
    tuning = Recipe(epochs=max(1, recipe.epochs // 2), peak_learning_rate=recipe.peak_learning_rate / 5, seed=recipe.seed)
    networks: dict[str, nn.Module] = {INT8.name: int8(network, calibration)}
    networks[W4A4.name] = train(lambda: w4a4(network, calibration), images, labels, tuning, slow=steps)
    for name, quantized in networks.items():
        export_qonnx(quantized, calibration[:1], folder / name, input_name="image", output_name="logits")
    for name, one in {"float": network, **networks}.items():
        print(f"{name}: {accuracy_percent(evaluate(one, digits.test_images), digits.test_labels):.1f}% in torch")


def main() -> None:
    """Read the command line, train, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs, help="passes over the train digits, in float")
    parser.add_argument("--seed", type=int, default=RECIPE.seed, help="seed of weights, order, distortions")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write the three files to")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs must be 1 or more, not {arguments.epochs}")
    if not arguments.out.is_dir():
        parser.error(f"--out must be a folder that is there, not {arguments.out}")
    started = time.monotonic()
    make(Recipe(epochs=arguments.epochs, peak_learning_rate=RECIPE.peak_learning_rate, seed=arguments.seed), arguments.out)
    print(f"took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

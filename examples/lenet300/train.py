"""Train LeNet-300-100, prune it while it trains on, share its weights, fine-tune them, and export the result as QONNX.

Run from the repository's root: `python -m examples.lenet300.train`.  The recipe and what it reaches are in README.md.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from examples.digits import Recipe, accuracy_percent, as_input, evaluate, save_weights, train
from quant.data import mnist_digits
from quant.nn import GradualPruning, export_qonnx, finish_pruning

from .model import CALIBRATION_DIGITS, COMPRESSED, DENSITY, HERE, PRUNED, QONNX, WEIGHTS, LeNet300, share

#: Of the float training, and of the retraining while weights are pruned.
RECIPE: Final = Recipe(epochs=100, peak_learning_rate=0.003)
#: The fine-tuning of shared weights takes a tenth of the epochs and of the rate.
TUNING: Final = 0.1
#: The masks are tightened in this part of the retraining's steps, ...
PRUNING: Final = 0.6
#: ... every so many.
EVERY_STEPS: Final = 20


def retrain(network: LeNet300, images: NDArray[np.uint8], labels: NDArray[np.int64], recipe: Recipe) -> LeNet300:
    """Prune a copy of a trained network to `DENSITY` while it trains on, by one threshold for all layers."""
    pruning: list[GradualPruning] = []
    steps = recipe.epochs * (len(images) // recipe.batch_digits)

    def build() -> LeNet300:
        result = copy.deepcopy(network).train()
        pruning.append(GradualPruning(result, DENSITY, scope="global", end=max(1, int(PRUNING * steps)), every=EVERY_STEPS))
        return result

    result = train(build, images, labels, recipe, after_step=lambda _: pruning[0].step())
    finish_pruning(result)
    return result


def save_small(network: nn.Module, path: Path) -> None:
    """`save_weights`, compressed: most numbers are zeros, or codes."""
    np.savez_compressed(path, **{name: value.numpy() for name, value in network.state_dict().items()})


def make(recipe: Recipe, folder: Path) -> None:
    """Train, write the four files, and tell how torch's networks do on the test digits and how long each took."""
    digits = mnist_digits()
    images, labels = digits.train_images, digits.train_labels
    calibration = torch.from_numpy(as_input(images[:CALIBRATION_DIGITS]))
    started = time.monotonic()

    def tell(what: str, network: nn.Module) -> None:
        nonlocal started
        percent = accuracy_percent(evaluate(network, digits.test_images), digits.test_labels)
        print(f"{what}: {percent:.1f}% in torch, {time.monotonic() - started:.0f} s", flush=True)
        started = time.monotonic()

    network = train(LeNet300, images, labels, recipe)
    save_weights(network, folder / WEIGHTS.name)
    tell("float", network)
    small = retrain(network, images, labels, recipe)
    save_small(small, folder / PRUNED.name)
    tell("pruned", small)
    tuning = replace(recipe, epochs=max(1, int(TUNING * recipe.epochs)), peak_learning_rate=TUNING * recipe.peak_learning_rate)
    tuned = train(lambda: share(small, calibration), images, labels, tuning)
    for part in tuned.modules():  # the weights behind the codes mean nothing any more: keep those that the codes stand for
        if isinstance(part, nn.Linear):
            part.prepare_for_export()
    save_small(tuned, folder / COMPRESSED.name)
    export_qonnx(tuned, calibration[:1], folder / QONNX.name, input_name="image", output_name="logits")
    tell("compressed", tuned)


def main() -> None:
    """Read the command line, train, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs, help="passes over the train digits, in float and when pruning")
    parser.add_argument("--seed", type=int, default=RECIPE.seed, help="seed of weights, order, distortions")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write the four files to")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs must be 1 or more, not {arguments.epochs}")
    if not arguments.out.is_dir():
        parser.error(f"--out must be a folder that is there, not {arguments.out}")
    make(replace(RECIPE, epochs=arguments.epochs, seed=arguments.seed), arguments.out)


if __name__ == "__main__":
    main()

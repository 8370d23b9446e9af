"""Train the digits CNN in float, save its weights, and export it as plain float ONNX.

Run from the repository's root: `python -m examples.digits_cnn.train`.  The recipe and what it reaches are in README.md.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

from examples.digits import Recipe, accuracy_percent, as_input, evaluate, save_weights, train
from quant.data import IMAGE_SIDE_PIXELS, mnist_digits
from quant.nn import export_qonnx

from .model import FLOAT_ONNX, WEIGHTS, ConvNorm, DigitsCnn


def folded(network: DigitsCnn) -> DigitsCnn:
    """A copy with each batch normalization folded into the convolution before it, as deployment tools expect."""
    network = copy.deepcopy(network).eval()
    for part in network.modules():
        if isinstance(part, ConvNorm):
            part.conv = fuse_conv_bn_eval(part.conv, part.norm)
            part.norm = torch.nn.Identity()  # type: ignore[assignment]
    return network


def make(recipe: Recipe, weights: Path, onnx_file: Path) -> None:
    """Train on all train digits, write both files, and run the ONNX file on the test digits with onnxruntime."""
    digits = mnist_digits()
    network = train(DigitsCnn, digits.train_images, digits.train_labels, recipe)
    save_weights(network, weights)
    example = torch.zeros(1, 1, IMAGE_SIDE_PIXELS, IMAGE_SIDE_PIXELS)
    export_qonnx(folded(network), example, onnx_file, input_name="image", output_name="logits")

    session = onnxruntime.InferenceSession(onnx_file)
    images = as_input(digits.test_images)
    logits = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
    furthest = np.abs(logits - evaluate(network, digits.test_images)).max()
    print(f"wrote {weights} and {onnx_file}: {sum(one.numel() for one in network.parameters()):,} parameters")
    print(f"test accuracy of torch: {accuracy_percent(evaluate(network, digits.test_images), digits.test_labels):.1f}%")
    print(f"test accuracy of the file under onnxruntime: {accuracy_percent(logits, digits.test_labels):.1f}%")
    print(f"furthest logit from torch's: {furthest:.1e}")


def main() -> None:
    """Read the command line, train, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20, help="passes over the train digits")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order, distortions")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="file of weights to write")
    parser.add_argument("--out", type=Path, default=FLOAT_ONNX, help="ONNX file to write")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs must be 1 or more, not {arguments.epochs}")
    for option, path in (("--weights", arguments.weights), ("--out", arguments.out)):
        if not path.parent.is_dir():
            parser.error(f"{option} names a file in a folder that isn't there: {path.parent}")
    started = time.monotonic()
    make(Recipe(epochs=arguments.epochs, seed=arguments.seed), arguments.weights, arguments.out)
    print(f"took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

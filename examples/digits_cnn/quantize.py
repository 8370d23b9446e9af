"""From the trained float network to int8 and int4, down to integers.

Run from the repository's root: `python -m examples.digits_cnn.quantize`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

import bitwright
from examples.digits import accuracy_percent, as_input, evaluate
from quant.data import mnist_digits
from quant.nn import export_qonnx, quantize

from .model import trained

CALIBRATION_DIGITS: Final = 500
FOLDER: Final = Path("build") / "digits_cnn"


def main() -> None:
    """Quantize, export, lower, run on the test digits, tell."""
    digits = mnist_digits()
    calibration = torch.from_numpy(as_input(digits.train_images[:CALIBRATION_DIGITS]))
    network = trained()
    print(f"float: {accuracy_percent(evaluate(network, digits.test_images), digits.test_labels):.1f}% of 1,000 test digits")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for bits in (8, 4):
        quantized = quantize(network, calibration[:1], calibration, weight_bits=bits, activation_bits=bits, input_integers="u8/255")
        path = FOLDER / f"int{bits}.onnx"
        export_qonnx(quantized, calibration[:1], path, input_name="image", output_name="logits")
        logits = bitwright.run(bitwright.lower(path, input="u8/255"), digits.test_images, real=True)
        percents = [accuracy_percent(one, digits.test_labels) for one in (evaluate(quantized, digits.test_images), logits)]
        print(f"int{bits}: {percents[0]:.1f}% in torch, {percents[1]:.1f}% in integers only; wrote {path}")


if __name__ == "__main__":
    main()

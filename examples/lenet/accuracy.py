"""What the committed files reach on the 1,000 test digits: in float, and as integers only.

Run from the repository's root: `python -m examples.lenet.accuracy`.
"""

from __future__ import annotations

import numpy as np

import bitwright
from examples.digits import accuracy_percent, as_input, evaluate
from quant.data import mnist_digits
from quant.qonnx_exec import execute

from .model import INPUT, INT8, W4A4, trained


def main() -> None:
    """Run each file as the qonnx package does, lower it, run the integers, compare, tell."""
    digits = mnist_digits()
    images, labels = digits.test_images, digits.test_labels
    print(f"float: {accuracy_percent(evaluate(trained(), images), labels):.1f}% of {len(images):,} test digits")
    for path in (INT8, W4A4):
        logits = execute(path, as_input(images))
        integers = bitwright.run(bitwright.lower(path, input=INPUT), images, real=True)
        same = int(np.sum(logits.argmax(axis=1) == integers.argmax(axis=1)))
        print(f"{path.name}: {accuracy_percent(logits, labels):.1f}% as the qonnx package runs it in float32, "
              f"{accuracy_percent(integers, labels):.1f}% in integers only; {same:,} of {len(images):,} digits get the same class")


if __name__ == "__main__":
    main()

"""One row: export, lower, run in integers, and compare with the float and with the exact execution of the same file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import intir
from examples.digits import accuracy_percent, as_input, evaluate
from quant.exact import ExactNetwork, whole
from quant.lower import host_input, lower
from quant.nn import export_qonnx
from quant.qonnx_exec import execute

#: Digits that exact arithmetic takes at once: its big integers are Python objects.
_EXACT_DIGITS = 250


@dataclass(frozen=True)
class Measured:
    """What one network gives on the test digits.

    Members
    -------
    torch_percent, ir_percent
        Accuracy of the torch module and of the integer-only network.
    logits
        How many logits are compared.
    differing
        Logits of the float execution (the qonnx package's) that are not those of the integer network: nearer to another of
        its integers, as reals.
    rounded
        Of those, where the integer network has what exact arithmetic gives: the float execution rounded.
    inexact
        Logits of the integer network that are not what exact arithmetic gives.
    """

    torch_percent: float
    ir_percent: float | None = None
    logits: int = 0
    differing: int = 0
    rounded: int = 0
    inexact: int = 0


def measure(network: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Measured:
    """Take a trained, quantized network all the way."""
    torch_percent = accuracy_percent(evaluate(network, images), labels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_qonnx(network, torch.zeros(1, *images.shape[1:]), path, input_name="image", output_name="logits")
        graph = lower(path, input_spec="u8/255").graph
        integers = intir.run(graph, host_input(graph, images)).reshape(len(images), -1)
        floats = execute(path, as_input(images), batch_rounding=True).reshape(integers.shape)
        exact = exact_logits(path, images)
    affine = graph.output.affine
    scale, offset = np.array(affine.scale, object), np.array(affine.offset, object)
    reals = integers.astype(object) * scale + offset
    differing = np.rint((floats - offset.astype(np.float64)) / scale.astype(np.float64)) != integers
    right = reals == exact
    return Measured(torch_percent, accuracy_percent(reals.astype(np.float64), labels), integers.size, int(differing.sum()),
                    int((differing & right).sum()), int((~right).sum()))


def exact_logits(path: Path, images: NDArray[np.uint8]) -> NDArray[np.object_]:
    """Logits as Fractions, shape (N, 10), by rational arithmetic on the file."""
    network = ExactNetwork(path)
    parts = []
    for start in range(0, len(images), _EXACT_DIGITS):
        digits = whole(images[start:start + _EXACT_DIGITS].astype(np.int64), unit=Fraction(1, 255))
        parts.append(network.run(digits)[0].fractions().reshape(len(digits.integers), -1))
    return np.concatenate(parts)

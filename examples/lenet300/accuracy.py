"""What each step of the compression costs on the 1,000 test digits, down to integers, and what is left of each layer.

Run from the repository's root: `python -m examples.lenet300.accuracy`.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from examples.digits import accuracy_percent, as_input, evaluate
from intir import MatMul, run, to_source
from quant.data import mnist_digits
from quant.lower import host_input
from quant.nn import density_report, finish_pruning, prune

from .model import CALIBRATION_DIGITS, DENSITY, compressed, graph, pruned, share, trained


def main() -> None:
    """Run every stored network, torch's and the integers, and print two tables."""
    digits = mnist_digits()
    images, labels = digits.test_images, digits.test_labels
    calibration = torch.from_numpy(as_input(digits.train_images[:CALIBRATION_DIGITS]))
    at_once = copy.deepcopy(trained())
    prune(at_once, DENSITY, scope="global")
    finish_pruning(at_once)
    networks = {"float": trained(), "pruned at once, not retrained": at_once, "pruned while retrained": pruned(),
                "shared, activations of 8 bits": share(pruned(), calibration), "shared, fine-tuned": compressed()}
    integers = graph()

    table = Table("network", "test digits %", "nonzero weights", "density %")
    for name, network in networks.items():
        last = density_report(network)[-1]
        table.add_row(name, f"{accuracy_percent(evaluate(network, images), labels):.1f}", f"{last.nonzeros:,}",
                      f"{100 * last.density:.2f}")
    layers = [np.asarray(node.op.weights) for node in integers.nodes if isinstance(node.op, MatMul)]
    left, all_weights = sum(int(np.count_nonzero(one)) for one in layers), sum(one.size for one in layers)
    logits = to_source(run(integers, host_input(integers, images)), integers)
    percent = accuracy_percent(logits, labels)
    table.add_row("the same in integers only", f"{percent:.1f}", f"{left:,}", f"{100 * left / all_weights:.2f}")

    each = Table("layer", "weights", "nonzeros", "density %", "distinct nonzero values")
    for one in layers:
        each.add_row(f"{one.shape[0]} x {one.shape[1]}", f"{one.size:,}", f"{np.count_nonzero(one):,}",
                     f"{100 * np.count_nonzero(one) / one.size:.2f}", str(len(np.unique(one[one != 0]))))
    console = Console(width=100)
    console.print(table)
    console.print(each)
    same = int(np.sum(logits.argmax(axis=1) == evaluate(networks["shared, fine-tuned"], images).argmax(axis=1)))
    console.print(f"{same:,} of {len(labels):,} digits get the same class from torch and from the integers")


if __name__ == "__main__":
    main()

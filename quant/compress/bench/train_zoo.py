"""Train the zoo's networks again: ``python -m quant.compress.bench.train_zoo [NAME ...]``, from any folder.

One thread, seed 0 and torch's deterministic algorithms: a rerun on the same type of machine gives the same weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from quant.data import mnist_digits

from ..training import Recipe, accuracy_percent, evaluate, train
from .zoo import ZOO, save, trained


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, train, keep the weights, tell."""
    parser = argparse.ArgumentParser(prog="python -m quant.compress.bench.train_zoo", description="Train the zoo's networks again.",
                                     epilog="example: python -m quant.compress.bench.train_zoo lenet300 vgg")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"networks, by default all: {', '.join(ZOO)}")
    parser.add_argument("--epochs", type=int, help="passes over the train digits (default: as many as each needs)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in ZOO]
    if unknown:
        parser.error(f"there is no network '{unknown[0]}' in the zoo; it has {', '.join(ZOO)}")
    if options.epochs is not None and options.epochs < 1:
        parser.error(f"--epochs must be 1 or more, not {options.epochs}")
    digits = mnist_digits()
    for name in options.names or ZOO:
        one, started = ZOO[name], time.monotonic()
        network = train(one.build, digits.train_images, digits.train_labels,
                        Recipe(epochs=options.epochs or one.epochs, peak_learning_rate=one.peak_learning_rate))
        save(name, network)
        percents = [accuracy_percent(evaluate(some, digits.test_images), digits.test_labels) for some in (network, trained(name))]
        print(f"{one.title}: {sum(some.numel() for some in network.parameters()):,} parameters, {percents[0]:.1f}% of 1,000 test "
              f"digits, {percents[1]:.1f}% as float16; {one.path.stat().st_size:,} bytes, {time.monotonic() - started:.0f} s",
              flush=True)


if __name__ == "__main__":
    main()

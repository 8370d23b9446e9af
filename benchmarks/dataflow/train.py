"""Train the multilayer perceptrons on the digits and store their weights (`python -m benchmarks.dataflow.train`).

Quantization-aware from the start; recipe, threads and seed are fixed, so a rerun on the same type of machine writes the same
weights.  Accuracies are those of the integers, on the 1,000 test digits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

import intir
from examples.digits import Recipe, accuracy_percent, train
from quant.data import mnist_digits
from quant.nn import clip_latent_weights

from .networks import NETWORKS
from .stored import save

RECIPE: Final = Recipe(epochs=30)
#: Name -> side of the digits in pixels, classes that make one.
TRAINED: Final = {"mlp_w1": (28, 1), "mlp_int8": (28, 1), "mlp_6bit": (4, 2)}


class Resized(nn.Module):
    """A network behind an interpolation of 28x28 digits, pixel / 255, to another size and multiples of 1/256."""

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        self.network, self.side = network, side

    @classmethod
    def of(cls, source: Callable[[], nn.Module], side: int) -> Resized:
        """Around a new network."""
        return cls(source(), side)

    def forward(self, x: Tensor) -> Tensor:
        if self.side != x.shape[-1]:
            x = functional.interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
        logits: Tensor = self.network(torch.round(x * 255) / 256)
        return logits


def main() -> None:
    """Train, store, tell."""
    digits = mnist_digits()
    for name, (side, merged) in TRAINED.items():
        network = NETWORKS[name]
        assert network.weights is not None and callable(network.source)
        trained = train(partial(Resized.of, network.source, side), digits.train_images, digits.train_labels // merged, RECIPE,
                        after_step=clip_latent_weights)
        save(trained.network, network.weights)
        graph = network.make()
        logits = intir.to_source(intir.run(graph, network.frames(graph, len(digits.test_images))), graph)
        print(f"{name}: {accuracy_percent(logits, digits.test_labels // merged):.1f}% in integers; "
              f"wrote {network.weights.name}, {network.weights.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

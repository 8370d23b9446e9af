"""What every training on the demo digits shares; the loop itself is `quant.compress.training`."""

from __future__ import annotations

from quant.compress.training import (
    SLOW,
    Network,
    Recipe,
    accuracy_percent,
    as_input,
    distort,
    evaluate,
    load_weights,
    save_weights,
    train,
)

__all__ = ["SLOW", "Network", "Recipe", "accuracy_percent", "as_input", "distort", "evaluate", "load_weights", "save_weights",
           "train"]

"""Training one row and measuring it; every row is a job of its own process."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from examples.digits import Recipe, accuracy_percent, as_input, evaluate, train
from quant.data import MnistDigits
from quant.nn import LSQ, clip_latent_weights
from quant.nn.memory import Bytes, MemoryUse, memory_use

from .measure import Measured, measure
from .methods import METHODS, Method
from .network import DigitsNet

CALIBRATION_DIGITS = 500
#: Quantization-aware training of a float network's quantized copy moves it little.
TUNING_RATE = 0.001

State = dict[str, NDArray[Any]]
BY_NAME = {method.name: method for method in METHODS}
FLOAT_NAME = METHODS[0].name


@dataclass(frozen=True)
class Row:
    """One line of the table; `measured` compares nothing where the network is a float one."""

    method: str
    source: str
    weight_bits: str
    activation_bits: str
    training: str
    measured: Measured
    weights: Bytes
    activations: Bytes
    training_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def tuning_epochs(epochs: int) -> int:
    """Epochs of a network that starts from the float one's weights."""
    return max(1, epochs // 3)


def train_float(epochs: int, digits: MnistDigits) -> tuple[Row, State]:
    """The float row, and the weights that others start from."""
    started = time.monotonic()
    method = BY_NAME[FLOAT_NAME]
    network = trained(method, None, epochs, digits)
    seconds = time.monotonic() - started
    percent = accuracy_percent(evaluate(network, digits.test_images), digits.test_labels)
    weights = 4 * sum(one.numel() for one in network.parameters() if one.ndim > 1)
    activations = float_activation_bytes(network, digits)
    row = Row(method.name, "", "32", "32", f"{epochs} epochs", Measured(percent), Bytes(weights, weights),
              Bytes(activations, activations), seconds)
    return row, {name: value.numpy() for name, value in network.state_dict().items()}


def float_activation_bytes(network: nn.Module, digits: MnistDigits) -> int:
    """Bytes of what the layers read for one digit, as float32: the pixels and each activation."""
    sizes = [digits.test_images[0].size]
    hooks = [part.register_forward_hook(lambda part, inputs, output: sizes.append(output[0].numel()))
             for part in network.modules() if isinstance(part, nn.ReLU)]
    evaluate(network, digits.test_images[:1])
    for hook in hooks:
        hook.remove()
    return 4 * sum(sizes)


def make_row(name: str, epochs: int, digits: MnistDigits, float_state: State | None) -> Row:
    """Train and measure one method.

    Parameters
    ----------
    name
        Of one of `METHODS`.
    epochs
        Of training from scratch.
    digits
        To train and to test on.
    float_state
        Weights of the trained float network, for the methods that start from it.
    """
    method = BY_NAME[name]
    started = time.monotonic()
    network = trained(method, float_state, epochs, digits)
    seconds = time.monotonic() - started
    memory: MemoryUse = memory_use(network, torch.zeros(1, *digits.test_images.shape[1:]))
    training = f"{epochs} epochs"
    if method.convert is not None:
        training = f"float, then {tuning_epochs(epochs)}" if method.tuned else "float, calibrated"
    return Row(method.name, method.source, method.weight_bits, method.activation_bits, training,
               measure(network, digits.test_images, digits.test_labels), memory.weights, memory.activations, seconds)


def trained(method: Method, float_state: State | None, epochs: int, digits: MnistDigits) -> nn.Module:
    """The network of a method, in evaluation mode, as `make_row` measures it."""
    images, labels = digits.train_images, digits.train_labels

    def build() -> nn.Module:
        if method.build is not None:
            return method.build()
        assert method.convert is not None and float_state is not None
        start = BY_NAME[FLOAT_NAME].build()  # type: ignore[misc]
        start.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in float_state.items()})
        assert isinstance(start, DigitsNet)
        return method.convert(start.eval(), torch.from_numpy(as_input(images[:CALIBRATION_DIGITS])))

    if not method.tuned:
        return build()
    recipe = Recipe(epochs=epochs)
    if method.convert is not None:
        recipe = Recipe(epochs=tuning_epochs(epochs), peak_learning_rate=TUNING_RATE)
    return train(build, images, labels, recipe, after_step=clip_latent_weights, penalty=method.penalty, slow=_step_sizes,
                 progress=False)


def _step_sizes(network: nn.Module) -> list[nn.Parameter]:
    return [part.step for part in network.modules() if isinstance(part, LSQ)]

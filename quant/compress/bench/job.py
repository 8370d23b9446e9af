"""What a method of the toolbox is, and what it is given: a network, samples, a budget, and ways to retrain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from quant.nn import clip_latent_weights, quantize
from quant.nn.learned import LSQ

from ..errors import CompressionError
from ..search.choose import Progress, SearchResult
from ..training import Recipe, train
from .data import Data
from .models import Model

Network = nn.Module
#: Share of the epochs that fine-tuning takes, behind a retraining, and of its rate.
TUNING: Final = 0.2
TUNING_RATE: Final = 0.1


class Hardware(Protocol):
    """What networks cost; given from above, as nothing here knows hardware."""

    def latency_us(self, network: Network) -> float:
        """Of one sample, on an array of integers."""
        ...

    def bit_serial_latency_us(self, network: Network) -> float:
        """Of one sample, on an array whose time grows with bits."""
        ...

    def sparse_energies_pj(self, network: Network) -> Mapping[str, float]:
        """Of one sample and each layer, on a machine that skips weights of 0."""
        ...


@dataclass(frozen=True)
class Search:
    """How a method that searches goes about it.

    Members
    -------
    trials
        Networks that it tries.
    file
        Keeps them; a search goes on from it.
    about
        What costs depend on: a file of a search about something else is refused.
    progress, done
        Told of each network that was tried, and what was found.
    """

    trials: int = 20
    file: Path | None = None
    about: str = ""
    progress: Progress | None = None
    done: Callable[[SearchResult], None] = lambda found: None


@dataclass(frozen=True)
class Budget:
    """How much a method is to leave, as a keyword with a range.

    Members
    -------
    option
        ``density`` (part of the weights), ``keep`` (part of the channels), ``macs`` (part of the products), ``codes`` (values
        of a layer's weights), ``bits`` (of a weight and an activation), or ``latency`` or ``energy`` (part of the network's).
    levels
        Values of a rate-distortion curve, from the largest network to the smallest.
    default
        What one run takes unless it is told.
    least, most
        Whole numbers where `whole`; a fraction is above `least` otherwise.
    """

    option: str
    levels: tuple[float, ...]
    default: float
    least: float = 0.0
    most: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return self.option in ("bits", "codes")

    def checked(self, method: str, value: float) -> float:
        """The value, if it is in range.  Raises CompressionError."""
        if self.whole and (value != int(value) or not self.least <= value <= self.most):
            raise CompressionError(f"--{self.option} of {method} is a whole number from {self.least:g} to {self.most:g}, not "
                                   f"{value:g}")
        if not self.whole and not self.least < value <= self.most:
            raise CompressionError(f"--{self.option} of {method} is the part to leave, above {self.least:g} and at most "
                                   f"{self.most:g}, not {value:g}")
        return value


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a method.

    Members
    -------
    model, data
    budget
        As the method's `Budget` says; None for a method that has none.
    epochs
        Of a retraining; 0 for none.
    seed
        Of retraining, and of what a method draws.
    hardware
        For methods that ask it; None where there is none.
    search
        For methods that search.
    """

    model: Model
    data: Data
    budget: float | None = None
    epochs: int = 10
    seed: int = 0
    hardware: Hardware | None = None
    search: Search = Search()

    @property
    def network(self) -> nn.Module:
        """The float network, in evaluation mode; not to be changed."""
        return self.model.network

    @property
    def images(self) -> Tensor:
        """Samples to calibrate on, shape (N, ...)."""
        return self.data.calibration

    @property
    def left(self) -> float:
        """The budget of a method that has one."""
        if self.budget is None:
            raise CompressionError("this method needs a budget")
        return self.budget

    @property
    def asked(self) -> Hardware:
        """The hardware, of a method that asks it."""
        if self.hardware is None:
            raise CompressionError("this method needs to know what networks cost on hardware")
        return self.hardware

    @property
    def labels(self) -> Tensor:
        """Classes of the samples to calibrate on."""
        return torch.from_numpy(self.data.train_labels[:len(self.images)].copy())

    @property
    def steps_per_epoch(self) -> int:
        """Of the optimizer."""
        return len(self.data.train_images) // self.batch_samples

    @property
    def batch_samples(self) -> int:
        """Of the optimizer: fewer where there are few samples, so that an epoch has ten steps or more."""
        return min(Recipe.batch_digits, len(self.data.train_images) // 10)

    def retrain(self, network: nn.Module, *, epochs: int | None = None, rate: float = 1.0, **options: Any) -> nn.Module:
        """Train a network on, in place.

        Parameters
        ----------
        network
        epochs
            By default all of the job's.
        rate
            Part of the model's rate of retraining.
        options
            `training.train`'s: ``after_step``, ``penalty``, ``loss``.
        """
        if epochs == 0 or self.epochs == 0:
            return network.eval()
        recipe = Recipe(epochs=self.epochs if epochs is None else epochs, peak_learning_rate=rate * self.model.retrain_rate,
                        seed=self.seed, batch_digits=self.batch_samples)
        if not self.data.distorted:
            recipe = replace(recipe, rotation_degrees=0.0, zoom=0.0, shear=0.0, shift_pixels=0.0)
        after_step = options.pop("after_step", clip_latent_weights)
        done: nn.Module = train(network.train, self.data.train_images, self.data.train_labels, recipe, after_step=after_step,
                                slow=_step_sizes, progress=False, **options)
        return done

    def retraining(self, **options: Any) -> Callable[[nn.Module], None]:
        """`retrain` with some options, as methods take a retraining."""

        def train_on(network: nn.Module) -> None:
            self.retrain(network, **options)

        return train_on

    def part_of_epochs(self, part: float) -> int:
        """Of all epochs, rounded; at least 1 if there is one."""
        return min(self.epochs, max(1, round(part * self.epochs)))

    def tune(self, network: nn.Module, **options: Any) -> nn.Module:
        """Train a network on for a fifth of the epochs at a tenth of the rate, in place."""
        return self.retrain(network, epochs=self.part_of_epochs(TUNING), rate=TUNING_RATE, **options)

    def quantized(self, network: nn.Module, **options: Any) -> nn.Module:
        """Post-training quantization, by default to 8 bits; options as `quant.nn.quantize`."""
        return quantize(network, self.images[:1], self.images, input_integers=self.data.input_integers, **options)


@dataclass(frozen=True, eq=False)
class Made:
    """A network whose weights a file need not hold as they are.

    Members
    -------
    network
    weight_bits
        What a file holds instead.
    """

    network: nn.Module
    weight_bits: int


@dataclass(frozen=True)
class Method:
    """A way to make a network smaller.

    Members
    -------
    name, group
        For the command line, and what it is listed under.
    says, source
        One line for people, and who described it.
    run
        From a job to a new network: a float one, which is then quantized to 8 bits, or a quantized one.  With `Made` it says
        what the weights take where they are computed from fewer numbers.
    budget
        None if nothing is to choose.
    coded
        Whether its weights are stored Huffman coded.
    asks_hardware, searches
        Whether it needs `Job.hardware`; whether it goes about it as `Job.search` says.
    """

    name: str
    group: str
    says: str
    source: str
    run: Callable[[Job], nn.Module | Made] = field(repr=False)
    budget: Budget | None = None
    coded: bool = False
    asks_hardware: bool = False
    searches: bool = False

    def label(self, budget: float | None) -> str:
        """The name, with what is left where the method has a budget."""
        return self.name if self.budget is None or budget is None else f"{self.name} {budget:g}"


def _step_sizes(network: nn.Module) -> list[nn.Parameter]:
    return [part.step for part in network.modules() if isinstance(part, LSQ)]

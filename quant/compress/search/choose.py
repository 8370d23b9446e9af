"""Automatic search: how many weights each layer keeps, or how many bits each has, by a cost that hardware has.

Optuna proposes, the networks are made and judged here.  A bound on the cost is never passed: what is proposed beyond it is lowered
until it fits, as AMC and HAQ do it.

Sources: He and others, "AMC: AutoML for Model Compression and Acceleration on Mobile Devices", 2018 (a density for each layer,
later layers cut to meet the budget); Wang and others, "HAQ: Hardware-Aware Automated Quantization", 2019 (bits for each layer,
lowered in turn to meet the budget); Akiba and others, "Optuna", 2019; Bergstra and others, "Algorithms for Hyper-Parameter
Optimization", 2011 (TPE); Deb and others, "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.
"""

from __future__ import annotations

import copy
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from quant.nn import IntQuant, QuantizationError, density_report, finish_pruning, prune, quantize
from quant.nn.layers import QuantWeights

from ..errors import CompressionError
from .study import Choice, Sampler, Space, Trial, run

Retrain = Callable[[nn.Module], None]
#: A trial that was finished, and how many there will be.
Progress = Callable[[Trial, int], None]
Picture = Literal["svg", "png", "pdf"]

DENSITIES: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_SUFFIX: Final = ".weight"  # of a layer's weights among what has bits


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Members
    -------
    trials
        All of them, in order.
    best
        By the objective; of equal ones the cheaper, then the earlier.  Of a search for score and cost, the best score.
    front
        The trials than which no other is better in score or cost and as good in both; ascending costs.
    budget
        The bound on costs, or None.
    build
        Makes the network of a trial again (and retrains it).
    """

    trials: tuple[Trial, ...]
    best: Trial
    front: tuple[Trial, ...]
    budget: float | None
    build: Callable[[Trial], nn.Module]

    def draw(self, kind: Picture = "svg", *, cost: str = "cost", score: str = "score") -> bytes:
        """A picture of all trials, the front, the best one and the budget; `cost` and `score` label the axes."""
        import matplotlib
        from matplotlib.figure import Figure

        if kind not in get_args(Picture):
            raise CompressionError(f"pictures are drawn as {', '.join(get_args(Picture))}, not as {kind}")
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        dots = axes.scatter([one.cost for one in self.trials], [one.score for one in self.trials], s=16, alpha=0.7,
                            c=[one.number for one in self.trials], cmap="viridis")
        axes.step([one.cost for one in self.front], [one.score for one in self.front], where="post", color="black", linewidth=1,
                  label="front")
        axes.scatter([self.best.cost], [self.best.score], s=140, facecolors="none", edgecolors="black", label="best")
        if self.budget is not None:
            axes.axvline(self.budget, color="gray", linestyle="--", linewidth=1, label="budget")
        axes.set(xlabel=cost, ylabel=score)
        axes.grid(True, alpha=0.25)
        axes.legend()
        figure.colorbar(dots, ax=axes, label="trial")
        data = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": "bitwright"}):  # the same trials, the same bytes
            figure.savefig(data, format=kind, metadata={"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind))
        return data.getvalue()


def search_densities(network: nn.Module, evaluate: Callable[[nn.Module], float], *, cost: Callable[[nn.Module], float],
                     budget: float | None = None, reward: Callable[[float, float], float] | None = None,
                     densities: Sequence[float] = DENSITIES, layers: Iterable[str] | None = None, retrain: Retrain | None = None,
                     compress: Callable[[nn.Module, Choice], nn.Module] | None = None, trials: int = 100, seed: int = 0,
                     sampler: Sampler = "tpe", file: str | os.PathLike[str] | None = None, about: str = "",
                     progress: Progress | None = None) -> SearchResult:
    """Search a density for each layer (AMC).

    Parameters
    ----------
    network
        In float; it isn't changed.
    evaluate
        How good a compressed network is, for example its accuracy on samples apart; more is better.
    cost
        What it costs: latency, energy, size.  It should fall with the densities; the bound holds whether it does or not.
    budget
        Most cost.  A proposal beyond it has its last layers cut to the least density, as many as need be.
    reward
        From score and cost, what is to be maximal, as AMC's ``-(1 - score) * log(cost)``; by default the score if there is a
        budget, else both are objectives of their own.
    densities
        To choose from, each in (0, 1].
    layers
        Names of layers; by default all that have weights to prune.
    retrain
        Trains each pruned network before it is evaluated; zeros stay.
    compress
        Makes the network of a choice in place of `quant.nn.prune`, which takes single weights of least magnitude.
    trials
        In all.  The first one is the greatest density that all layers can have within the budget.
    seed
        Of the proposals.
    sampler
        `tpe` or `nsga2`.
    file
        Where the search keeps its trials.  If it is there, the search goes on.  The caller sees to it that `evaluate`, `cost`,
        `retrain` and `compress` are the same, by `about` for example.
    about
        What these depend on, for example the samples: a file of a search about something else is refused.
    progress
        Called after each trial.

    Raises
    ------
    CompressionError
        An argument is out of range, the budget can't be met, a score or a cost is no finite number, or the file isn't this
        search's.
    """
    values = sorted(set(densities))
    if not values or not all(0 < one <= 1 for one in values):
        raise CompressionError(f"densities are above 0 and at most 1, not {list(densities)}")
    names = list(layers) if layers is not None else []
    try:
        rows = [one.layer for one in density_report(network)[:-1]]
        prune(copy.deepcopy(network), dict.fromkeys(names or rows, 1.0))  # says what is wrong
    except ValueError as error:
        raise CompressionError(str(error)) from None
    space = {name: values for name in rows if not names or name in names}

    def made(choice: Choice) -> nn.Module:
        if compress is not None:
            return compress(copy.deepcopy(network), choice)
        pruned = copy.deepcopy(network)
        prune(pruned, choice)
        return pruned

    def build(choice: Choice) -> nn.Module:
        found = made(choice)
        if retrain is not None:
            retrain(found)
        finish_pruning(found)
        return found.eval()

    def plain(choice: Choice) -> nn.Module:
        found = made(choice)
        finish_pruning(found)
        return found.eval()

    def lower(at: dict[str, int]) -> list[str]:
        """Layers to lower by a step, in turn: the last ones first."""
        return [name for name in reversed(at) for _ in range(at[name])]

    return _Search(space, plain, build, lower, evaluate, cost, budget, reward).run(
        {"kind": "densities", "network": _digest(network), "samples or costs": about}, trials, seed, sampler, file, progress)


def search_bits(network: nn.Module, images: Tensor, evaluate: Callable[[nn.Module], float], *, cost: Callable[[nn.Module], float],
                budget: float | None = None, reward: Callable[[float, float], float] | None = None,
                weight_bits: tuple[int, int] = (2, 8), activation_bits: tuple[int, int] = (2, 8), first_last_bits: int | None = 8,
                retrain: Retrain | None = None, trials: int = 100, seed: int = 0, sampler: Sampler = "tpe",
                file: str | os.PathLike[str] | None = None, about: str = "", progress: Progress | None = None,
                **options: Any) -> SearchResult:
    """Search bits for each layer's weights and for each quantizer of activations (HAQ).

    Choices are named as `quantize` takes them: weights by their layer's name and ``.weight``, activations by their quantizer.

    Parameters
    ----------
    network, evaluate, cost, reward, retrain, trials, seed, sampler, file, about, progress
        As `search_densities`; the networks are what `quant.nn.quantize` gives.
    images : shape (N, ...)
        To calibrate with.
    budget
        Most cost.  A proposal beyond it loses a bit of each layer in turn, from the first to the last, as many as need be.
    weight_bits, activation_bits
        Least and most, from 2 to 8.
    first_last_bits, **options
        As `quantize`; what has the bits of first and last layers isn't searched.

    Raises
    ------
    CompressionError
        As `search_densities`; the network can't be quantized.
    """
    ranges = {}
    for what, (least, most) in (("weight_bits", weight_bits), ("activation_bits", activation_bits)):
        if not (isinstance(least, int) and isinstance(most, int) and 2 <= least <= most <= 8):
            raise CompressionError(f"{what} must be two whole numbers from 2 to 8, the least and the most, not ({least}, {most})")
        ranges[what] = list(range(least, most + 1))
    probe = 3 if first_last_bits == 2 else 2  # a width that only what is searched has

    def quantized(weights: Any, activations: Any) -> nn.Module:
        try:
            return quantize(network, images[:1], images, weight_bits=weights, activation_bits=activations,
                            first_last_bits=first_last_bits, **options)
        except QuantizationError as error:
            raise CompressionError(f"the network can't be quantized: {error}") from error

    space: dict[str, Sequence[float]] = {}
    for name, part in quantized(probe, probe).named_modules():
        if isinstance(part, QuantWeights) and part.weight_quant.bits == probe:
            space[name + _SUFFIX] = ranges["weight_bits"]
        elif isinstance(part, IntQuant) and "." not in name and part.bits == probe:
            space[name] = ranges["activation_bits"]
    if not space:
        raise CompressionError(f"{type(network).__name__} has no bits to search: all belong to its first and last layers, which "
                               "keep 8; take a network with more layers, or in Python give first_last_bits=None")

    def made(choice: Choice) -> nn.Module:
        bits = {name: int(width) for name, width in choice.items()}
        return quantized({name.removesuffix(_SUFFIX): width for name, width in bits.items() if name.endswith(_SUFFIX)},
                         {name: width for name, width in bits.items() if not name.endswith(_SUFFIX)})

    def build(choice: Choice) -> nn.Module:
        found = made(choice)
        if retrain is not None:
            retrain(found)
        return found.eval()

    def lower(at: dict[str, int]) -> list[str]:
        """What loses a bit, in turn: from first to last, again and again."""
        return [name for turn in range(max(at.values())) for name in at if at[name] > turn]

    return _Search(space, made, build, lower, evaluate, cost, budget, reward).run(
        {"kind": "bits", "network": _digest(network), "samples or costs": about, "images": _digest(images), "options": repr((
            first_last_bits, sorted(options.items())))}, trials, seed, sampler, file, progress)


class _Search:
    """What both searches share: costs, the bound, the objective."""

    def __init__(self, space: Space, made: Callable[[Choice], nn.Module], build: Callable[[Choice], nn.Module],
                 lower: Callable[[dict[str, int]], list[str]], evaluate: Callable[[nn.Module], float],
                 cost: Callable[[nn.Module], float], budget: float | None, reward: Callable[[float, float], float] | None) -> None:
        self.space, self.made, self.build, self.lower = space, made, build, lower
        self.evaluate, self.cost_of, self.budget, self.reward = evaluate, cost, budget, reward
        self.costs: dict[tuple[float, ...], float] = {}
        self.scores: dict[tuple[float, ...], float] = {}

    def run(self, identity: dict[str, Any], trials: int, seed: int, sampler: Sampler, file: str | os.PathLike[str] | None,
            progress: Progress | None) -> SearchResult:
        if not isinstance(trials, int) or trials < 1:
            raise CompressionError(f"a search needs 1 trial or more, not {trials}")
        if sampler not in get_args(Sampler):
            raise CompressionError(f"the sampler of a search is one of {', '.join(get_args(Sampler))}, not {sampler!r}")
        if not isinstance(seed, int) or seed < 0:
            raise CompressionError(f"the seed of a search must be a whole number from 0 on, not {seed}")
        two = self.budget is None and self.reward is None
        identity |= {"space": {name: list(some) for name, some in self.space.items()}, "budget": self.budget, "seed": seed,
                     "sampler": sampler, "objective": "reward" if self.reward else "score and cost" if two else "score"}
        found = run(self.space, self._judge, lambda score, cost: [score, cost] if two else [self._reward(score, cost)],
                    directions=["maximize", "minimize"] if two else ["maximize"], identity=identity, first=self._uniform(),
                    trials=trials, seed=seed, sampler=sampler, file=file, progress=progress)
        best = max(found, key=lambda one: (self._reward(one.score, one.cost), -one.cost, -one.number))
        return SearchResult(tuple(found), best, _front(found), self.budget, lambda trial: self.build(trial.choice))

    def _reward(self, score: float, cost: float) -> float:
        return score if self.reward is None else _finite("the reward", self.reward(score, cost))

    def _cost(self, choice: Choice) -> float:
        key = tuple(choice.values())
        if key not in self.costs:
            self.costs[key] = _finite("the cost", self.cost_of(self.made(choice)))
        return self.costs[key]

    def _judge(self, proposal: Choice) -> tuple[Choice, float, float]:
        choice = self._fitting(self._lowered(proposal))
        key = tuple(choice.values())
        if key not in self.scores:
            self.scores[key] = _finite("the score", self.evaluate(self.build(choice)))
        return choice, self.scores[key], self._cost(choice)

    def _lowered(self, proposal: Choice) -> list[Choice]:
        """The proposal, and what becomes of it step by step, down to the least of everything."""
        at = {name: list(some).index(proposal[name]) for name, some in self.space.items()}
        steps = [dict(proposal)]
        for name in self.lower(dict(at)):
            at[name] -= 1
            steps.append({**steps[-1], name: self.space[name][at[name]]})
        return steps

    def _fitting(self, steps: list[Choice]) -> Choice:
        """The first of ever cheaper choices that meets the budget: the last one does."""
        if self.budget is None or self._cost(steps[0]) <= self.budget:
            return steps[0]
        beyond, within = 0, len(steps) - 1
        while within - beyond > 1:
            middle = (beyond + within) // 2
            if self._cost(steps[middle]) <= self.budget:
                within = middle
            else:
                beyond = middle
        return steps[within]

    def _uniform(self) -> Choice:
        """The most that everything can have alike.  Raises CompressionError if the budget can't be met at all."""
        longest = max(len(some) for some in self.space.values())
        steps = [{name: some[max(0, len(some) - 1 - down)] for name, some in self.space.items()} for down in range(longest)]
        if self.budget is not None and not self._cost(steps[-1]) <= self.budget:
            raise CompressionError(f"the budget of {self.budget:g} can't be met: with the least of everything the cost is "
                                   f"{self._cost(steps[-1]):g}; raise the budget or allow less")
        return self._fitting(steps)


def _front(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    best, kept = -math.inf, []
    for one in sorted(trials, key=lambda one: (one.cost, -one.score, one.number)):
        if one.score > best:
            kept.append(one)
            best = one.score
    return tuple(kept)


def _finite(what: str, value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise CompressionError(f"{what} of a network in the search is {number}: it must be a finite number")
    return number


def _digest(what: nn.Module | Tensor) -> str:
    """Tells networks, or samples, apart."""
    found = hashlib.sha256()
    for name, values in what.state_dict().items() if isinstance(what, nn.Module) else (("", what),):
        found.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        found.update(torch.as_tensor(values).detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()

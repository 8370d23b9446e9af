"""How much each layer's pruning costs: a score as a function of one layer's density, all others left whole.

Source: Han and others, "Learning both Weights and Connections for Efficient Neural Networks", 2015, section 4 (thresholds by each
layer's sensitivity).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any, Final, Literal

import torch
from torch import nn

from quant.nn.fold import LAYERS as PRUNABLE

from ..errors import CompressionError
from ..networks import check_part, checked_copy, chosen_layers
from .held import prune_to

#: A network's worth, higher is better: accuracy on held-out samples, or a loss times -1.
Score = Callable[[nn.Module], float]
#: Makes a network of which each named layer has the density that is given for it.
Method = Callable[[nn.Module, Mapping[str, float]], nn.Module]

DENSITIES: Final = (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)


@dataclass(frozen=True)
class SensitivityRow:
    """One measurement.

    Members
    -------
    layer
        The only one that was pruned.
    density
        What was asked for, a part of its weights.
    weights, nonzeros
        Of that layer, as measured.
    score
        Of the whole network.
    """

    layer: str
    density: float
    weights: int
    nonzeros: int
    score: float


@dataclass(frozen=True)
class Sensitivity:
    """What `analyse_sensitivity` measured.

    Members
    -------
    baseline
        Score of the network as it was given.
    rows
        Layer by layer in the network's order, densities falling.
    """

    baseline: float
    rows: tuple[SensitivityRow, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names, in the network's order."""
        return tuple(dict.fromkeys(row.layer for row in self.rows))

    def of(self, layer: str) -> tuple[SensitivityRow, ...]:
        """The rows of one layer."""
        return tuple(row for row in self.rows if row.layer == layer)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"baseline": self.baseline, "rows": [asdict(row) for row in self.rows]}

    def plot(self, kind: Literal["svg", "png", "pdf"] = "svg") -> bytes:
        """A picture: score over density, a line for each layer.

        Raises
        ------
        CompressionError
            The kind isn't known.
        """
        if kind not in ("svg", "png", "pdf"):
            raise CompressionError(f"cannot draw a sensitivity as '{kind}': choose svg, png or pdf")
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.axhline(self.baseline, color="gray", linestyle="--", linewidth=1, label="not pruned")
        for number, layer in enumerate(self.layers):
            rows = self.of(layer)
            axes.plot([row.density for row in rows], [row.score for row in rows], marker="osv^D"[number // 10 % 5], markersize=4,
                      label=layer)
        axes.set(xlabel="density of the one layer that is pruned", ylabel="score")
        axes.invert_xaxis()
        axes.grid(True, alpha=0.25)
        axes.legend(fontsize="small", ncols=1 + len(self.layers) // 12)
        data = io.BytesIO()
        with rc_context({"svg.hashsalt": "bitwright"}):  # the same bytes each time
            figure.savefig(data, format=kind, metadata={"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}[kind])
        return data.getvalue()


def analyse_sensitivity(network: nn.Module, score: Score, densities: Sequence[float] = DENSITIES, *,
                        layers: Iterable[str] | None = None, method: Method | None = None) -> Sensitivity:
    """Prune each layer alone to each density, and see what the network is worth then.

    Parameters
    ----------
    network
    score
        Called with networks in evaluation mode, once for each layer and density and once for the whole network; higher is
        better.
    densities
        In (0, 1], in any order.
    layers
        Names; all linear and convolutional layers by default.
    method
        How to prune; by magnitude by default.

    Raises
    ------
    CompressionError
        The network, a density or a layer doesn't do, or a score isn't finite.
    """
    whole = checked_copy(network).eval()
    chosen = chosen_layers(whole, layers, PRUNABLE)
    if not densities:
        raise CompressionError("a sensitivity needs densities to measure at: give at least one")
    for density in densities:
        check_part("a density to measure at", density)
    falling = sorted(set(densities), reverse=True)
    baseline = _scored(score, whole, "of the whole network")
    rows = []
    for name, layer in chosen.items():
        for density in falling:
            pruned = _by_magnitude(whole, {name: density}) if method is None else method(whole, {name: density}).eval()
            found: Any = pruned.get_submodule(name)
            rows.append(SensitivityRow(name, density, layer.weight.numel(), int(torch.count_nonzero(found.weight)),
                                       _scored(score, pruned, f"with layer `{name}` at density {density}")))
    return Sensitivity(baseline, tuple(rows))


def densities_for(analysis: Sensitivity, loss: float) -> dict[str, float]:
    """For each layer the least density down to which its own pruning never costs more than a bound.

    Densities below the first that costs more aren't trusted even where the score recovers.  Pruned all together, layers may
    cost more than each alone: retrain, or measure again.

    Parameters
    ----------
    analysis
    loss
        Most that a layer may take off the baseline, in the score's unit, 0 or more.

    Raises
    ------
    CompressionError
        The bound is below 0, or a layer breaks it at each density that was measured.
    """
    if not loss >= 0 or math.isinf(loss):
        raise CompressionError(f"the loss that each layer may cost must be a number of 0 or more, not {loss}")
    most = loss + 1e-9 * max(1.0, abs(analysis.baseline))  # 0.95 - 0.94 is a little above 0.01
    found = {}
    for layer in analysis.layers:
        rows = analysis.of(layer)
        cost = analysis.baseline - rows[0].score
        met = list(takewhile(lambda row: analysis.baseline - row.score <= most, rows))
        if not met:
            raise CompressionError(f"layer `{layer}` costs {cost:.6g} at density {rows[0].density}, the "
                                   f"highest measured, so a loss of {loss} can't be kept: allow more, or measure at 1.0, too")
        found[layer] = met[-1].density
    return found


def _by_magnitude(network: nn.Module, densities: Mapping[str, float]) -> nn.Module:
    pruned = checked_copy(network)
    prune_to(pruned, densities)
    return pruned


def _scored(score: Score, network: nn.Module, where: str) -> float:
    found = float(score(network))
    if not math.isfinite(found):
        raise CompressionError(f"the score {where} is {found}: it must be a finite number")
    return found

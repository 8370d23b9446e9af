"""Which rank for which layer: as asked, by energy, or by a budget of weights or multiplications over the whole network.

For a budget, each layer gets the rank that is best at one price for cost: the least error plus price times cost.  The price is
bisected until the network fits, and what is left of the budget goes where it lowers the error most.  A layer's error is the part
of its weight's (or its outputs') energy that its rank must lose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CompressionError
from ..layerwise import check_part, check_whole
from .decompose import Method, Positions, Rank, Size, cost, most_rank

Float = NDArray[np.float64]
_BISECTIONS = 60


class Choice(NamedTuple):
    """A layer at a rank; None: as it is.

    Members
    -------
    rank, cost
    error
        Part of the energy lost, 0 to 1.
    """

    rank: Rank | None
    cost: int
    error: float


class Candidate(NamedTuple):
    """A layer that may be decomposed.

    Members
    -------
    size, spectra
        Its form, and the squared singular values of the matrices that its rank bounds.
    positions
        Where it computes.
    """

    size: Size
    spectra: list[Float]
    positions: Positions


def given_ranks(candidates: Mapping[str, Candidate], method: Method, rank: Any, *, named: bool) -> dict[str, Rank]:
    """Ranks as asked, checked.

    One rank for all leaves alone what doesn't gain by it, unless layers were named.  Raises CompressionError.
    """
    if isinstance(rank, Mapping):
        return {name: _checked(name, candidates[name].size, method, rank[name]) for name in candidates}
    if named:
        return {name: _checked(name, one.size, method, rank) for name, one in candidates.items()}
    both = rank if isinstance(rank, tuple) else (rank,)
    if isinstance(rank, tuple) and (method != "tucker" or len(rank) != 2):
        raise CompressionError(f"the rank {rank} is for Tucker, of outputs and of inputs: give '{method}' one number")
    for one in both:
        check_whole("the rank", one, 1)
    return {name: _pair(one.size, method, rank) for name, one in candidates.items()
            if _fits(one.size, method, rank) and _gains(one, method, _pair(one.size, method, rank))}


def ranks_by_energy(candidates: Mapping[str, Candidate], method: Method, energy: Any) -> dict[str, Rank]:
    """The least ranks that keep a part of the squared singular values; layers that don't gain are left out.

    Raises CompressionError.
    """
    part = check_part("the energy", energy)
    found = {}
    for name, one in candidates.items():
        if method == "cp" and one.size.height:
            raise CompressionError("CP has no singular values to keep the energy of: give rank or keep")
        rank = _pair(one.size, method, tuple(_least(spectrum, part) for spectrum in one.spectra))
        if _gains(one, method, rank):
            found[name] = rank
    return found


def ranks_by_budget(candidates: Mapping[str, Candidate], method: Method, budget: int, fixed: int,
                    counted: Callable[[Candidate], Positions], what: str) -> dict[str, Rank]:
    """Ranks with which the candidates and the fixed rest cost no more than a budget.

    Raises
    ------
    CompressionError
        Even rank 1 everywhere costs more.
    """
    choices = {name: _choices(one, method, counted(one)) for name, one in candidates.items()}
    least = fixed + sum(min(one.cost for one in options) for options in choices.values())
    if least > budget:
        raise CompressionError(f"the budget of {budget} {what} can't be met: with rank 1 everywhere {least} are left; keep more "
                               "of them")

    def at(price: float) -> dict[str, Choice]:
        return {name: min(options, key=lambda one: (one.error + price * one.cost, one.cost)) for name, options in choices.items()}

    def total(chosen: dict[str, Choice]) -> int:
        return fixed + sum(one.cost for one in chosen.values())

    cheapest = {name: min(options, key=lambda one: (one.cost, one.error)) for name, options in choices.items()}
    low, high, chosen = 0.0, 4.0, cheapest  # no error is above 2
    if total(at(low)) <= budget:
        chosen = at(low)
    else:
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            found = at(middle)
            if total(found) <= budget:
                high, chosen = middle, found
            else:
                low = middle
    _fill(chosen, choices, budget - total(chosen))
    return {name: one.rank for name, one in chosen.items() if one.rank is not None}


def _fill(chosen: dict[str, Choice], choices: Mapping[str, list[Choice]], left: int) -> None:
    """Spend what is left, in place: again and again the step that lowers the error most for its cost."""
    while True:
        steps = [((now.error - one.error) / (one.cost - now.cost), name, one) for name, now in chosen.items()
                 for one in choices[name] if one.error < now.error and now.cost < one.cost <= now.cost + left]
        if not steps:
            return
        _, name, best = max(steps, key=lambda step: step[0])
        left -= best.cost - chosen[name].cost
        chosen[name] = best


def _choices(one: Candidate, method: Method, at: Positions) -> list[Choice]:
    """A layer as it is, and at every rank that costs less."""
    size, whole = one.size, cost(one.size, method, None, at)
    options = [Choice(None, whole, 0.0)]
    totals = [max(float(spectrum.sum()), np.finfo(float).tiny) for spectrum in one.spectra]
    most = most_rank(size, method)
    if isinstance(most, tuple):
        # Both ranks together, along the energies they keep: as many pairs as there are singular values.
        parts = {float(part) for spectrum, total in zip(one.spectra, totals, strict=True)
                 for part in np.cumsum(spectrum) / total}
        ranks: list[Rank] = sorted({(_least(one.spectra[0], part), _least(one.spectra[1], part)) for part in parts | {0.0}})
    else:
        ranks = list(range(1, most + 1))
    for rank in ranks:
        price = cost(size, method, rank, at)
        if price >= whole:
            continue
        each = rank if isinstance(rank, tuple) else (rank,) * len(one.spectra)
        lost = [float(spectrum[r:].sum()) / total for spectrum, r, total in zip(one.spectra, each, totals, strict=True)]
        # Tucker's error is at most the sum over its axes, and CP's at least that of any matrix.
        options.append(Choice(rank, price, sum(lost) if isinstance(rank, tuple) else max(lost)))
    return options


def _least(spectrum: Float, part: float) -> int:
    """The least rank that keeps a part of the energy."""
    kept = np.cumsum(spectrum)
    return min(int(np.searchsorted(kept, part * kept[-1] * (1 - 1e-12))) + 1, len(spectrum))


def _pair(size: Size, method: Method, rank: Any) -> Rank:
    """A rank as the method takes it; of one number for Tucker, both are that, as far as they can be."""
    if method == "tucker" and size.height:
        most: Any = most_rank(size, method)
        return rank if isinstance(rank, tuple) else (min(rank, most[0]), min(rank, most[1]))
    found: int = rank[0] if isinstance(rank, tuple) else rank
    return found


def _fits(size: Size, method: Method, rank: Any) -> bool:
    most = most_rank(size, method)
    if not size.height and isinstance(rank, tuple):
        return False  # two ranks are for convolutions
    if isinstance(most, tuple):
        return not isinstance(rank, tuple) or (rank[0] <= most[0] and rank[1] <= most[1])
    return bool(rank <= most)


def _gains(one: Candidate, method: Method, rank: Rank) -> bool:
    weights = Positions(1, 1, 1)
    return cost(one.size, method, rank, weights) < cost(one.size, method, None, weights)


def _checked(name: str, size: Size, method: Method, rank: Any) -> Rank:
    """A rank for one layer.  Raises CompressionError."""
    most = most_rank(size, method)
    where = f"the rank of layer `{name}`"
    if isinstance(most, tuple):
        pair = rank if isinstance(rank, tuple) else (rank, rank)
        if len(pair) != 2:
            raise CompressionError(f"{where} must be a number or the two of outputs and of inputs, not {rank}")
        return (check_whole(f"{where}, of its outputs,", pair[0], 1, most[0]),
                check_whole(f"{where}, of its inputs,", pair[1], 1, most[1]))
    return check_whole(where, rank, 1, most)

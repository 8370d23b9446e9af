"""Pareto fronts: what no other is better than in every respect."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto(costs: ArrayLike) -> NDArray[np.bool_]:
    """Which rows no other row is as good as in every column and better in one; of equal rows the first.

    Parameters
    ----------
    costs : float (N, D)
        Less is better; nan counts as the worst.
    """
    table = np.nan_to_num(np.atleast_2d(np.asarray(costs, np.float64)), nan=np.inf, posinf=np.inf)
    order = np.lexsort(table.T[::-1])
    kept: list[int] = []
    front = np.empty((0, table.shape[1]))
    for at in order:  # what beats a row comes before it
        if not (front <= table[at]).all(axis=1).any():
            kept.append(int(at))
            front = table[kept]
    chosen = np.zeros(len(table), np.bool_)
    chosen[kept] = True
    return chosen

"""Quantizers behind functions that are not monotone: the quantizer's level at every integer that can occur.

Every integer goes through the chain in exact arithmetic, or in an enclosure that lies on one side of every boundary.
The result is a `Threshold` or a `Requant` where the levels rise after all, else a `Lookup`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from intir import Lookup
from intir.ranges import Range

from .chain import Half
from .context import Context
from .encoding import Levels, encoding
from .errors import LoweringError
from .exact import Ints
from .steps import Steps
from .tensors import Act, Carrier, fresh

MAX_DOMAIN = 2**16  #: integers per channel
MAX_ENTRIES = 2**20  #: over all channels


def domain_of(proven: Range, channels: int, limited: bool = True) -> list[range]:
    """The integers that can occur, for each of `channels` channels or for all at once; to be gone through if `limited`.

    Raises
    ------
    LoweringError
        If they are too many to go through one by one.
    """
    if channels == 1:
        kind = proven.type
        found = [range(kind.lo, kind.hi + 1, kind.step)]
    else:
        found = [range(int(low), int(high) + 1, proven.step) for low, high in zip(proven.lo, proven.hi, strict=True)]
    if limited and not is_narrow(proven, channels):
        most, total = max(map(len, found)), sum(map(len, found))
        raise LoweringError("the function in front of it is not monotone, so it becomes a table, but its input takes "
                            f"{most} values ({total} over all channels; the limits are {MAX_DOMAIN} and {MAX_ENTRIES}); put a "
                            "quantizer with fewer bits before that function")
    return found


def is_narrow(proven: Range, channels: int) -> bool:
    """True if the integers are few enough to go through them one by one."""
    if channels == 1:
        return proven.type.levels <= MAX_DOMAIN
    counts = (proven.hi - proven.lo) // proven.step + 1
    return int(counts.max()) <= MAX_DOMAIN and int(counts.sum()) <= MAX_ENTRIES


def level(bounds: Sequence[Half], low: Fraction, high: Fraction) -> int:
    """How many of the rising half-lines, each inside the one before, hold a value enclosed by low and high.

    Raises
    ------
    LoweringError
        If the enclosure does not decide it.
    """
    def count(x: Fraction) -> int:
        return bisect_left(bounds, True, key=lambda bound: not bound.holds(x))

    most = count(high)
    least = most if low == high else count(low)
    if least != most:
        raise LoweringError("its input lies closer to one of its boundaries than 200 bits resolve; change its scale slightly")
    return most


def lookup(ctx: Context, act: Act, steps: Steps, levels: list[Ints], domains: list[range], proven: Range) -> Act:
    """Add a Lookup for levels (counted from `steps.lo`) that do not rise with the integer."""
    assert isinstance(act.carrier, Carrier)
    low = min(int(one.min()) for one in levels)
    gaps = np.concatenate([one - low for one in levels])
    step = int(np.gcd.reduce(gaps)) or 1
    spaced = Levels(steps.lo + low, step, max(2, int(gaps.max()) // step + 1))
    chosen = encoding(spaced, steps.scale, steps.offset)
    kind = proven.type
    whole = np.arange(kind.lo, kind.hi + 1, kind.step)
    table = np.empty((len(levels), len(whole)), np.int64)
    for row, one, domain in zip(table, levels, domains, strict=True):
        nearest = np.clip((whole - domain.start) // domain.step, 0, len(domain) - 1)  # entries beyond the channel's own are idle
        row[:] = chosen.type.lo + chosen.type.step * ((one[nearest] - low) // step)
    if bool((table == table[0]).all()):
        table = table[:1]
    rows = "for all channels" if len(table) == 1 else f"for each of {len(table)} channels"
    name = ctx.emit(Lookup(table, kind), [act.carrier.name()], act.trail,
                    f"Lookup, {len(whole)} entries {rows}, from {kind} to {chosen.type}")
    scale, offset = chosen.meaning(spaced, steps.scale, steps.offset)
    return fresh(name, act.carrier.shape, act.where, scale, offset)

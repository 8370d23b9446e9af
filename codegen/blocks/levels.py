"""Levels: how many of its thresholds an element reaches.  Parameters and method: `hwsim.engines.levels.Levels`."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Const, Module, Value
from numpy.typing import NDArray

from hwsim.engines.levels import MOST_WIRED, Levels
from intir import IntType

from .constants import Load, rom
from .numbers import balanced_sum, lanes, pattern, selected
from .sequencer import register

Int64 = NDArray[np.int64]


def levels(m: Module, p: Levels, rows: Int64, kind: IntType, elements: list[Value], fold: Value, advance: Value, stem: str,
           load: Load | None = None) -> list[Value]:
    """The level numbers of a word's elements, ``p.steps - 1`` cycles later.

    Parameters
    ----------
    rows : int64 (folds * pe, T), or (1, T) where common
    kind : IntType
        Of the thresholds; its least value is one that every element reaches.
    elements : list of pe Values
    fold : Value
        Which word comes next, a cycle before it does; any where ``p.folds`` is 1.
    stem : str
        Prefix of the memory files.
    load : Load, optional
        Where the thresholds are loaded; only without bisection.
    """
    rows = np.broadcast_to(rows, (p.folds * p.pe, rows.shape[1]))
    if p.bisects:
        return _bisected(m, p, rows, kind, elements, fold, advance, stem)
    bits = p.pe * p.thresholds * p.bits
    flat = lanes(rom(m, "thresholds", stem, threshold_words(p, rows, kind), bits, fold, advance, p.memory, load), kind)
    return [balanced_sum([Value.cast(x >= t) for t in flat[n * p.thresholds:(n + 1) * p.thresholds]])
            for n, x in enumerate(elements)]


def threshold_words(p: Levels, rows: Int64, kind: IntType) -> list[int]:
    """The words of the memory that is read where nothing bisects: all thresholds of `pe` elements."""
    return [pattern(rows[f * p.pe:(f + 1) * p.pe].ravel().tolist(), kind) for f in range(p.folds)]


def _bisected(m: Module, p: Levels, rows: Int64, kind: IntType, elements: list[Value], fold: Value, advance: Value,
              stem: str) -> list[Value]:
    extra = p.stored - p.thresholds
    padded = np.concatenate([np.full((len(rows), extra), kind.lo), np.sort(rows, axis=1)], axis=1)
    tables = padded.reshape(p.folds, p.pe, p.stored)
    middles = [pattern(word.tolist(), kind) for word in tables[:, :, p.stored // 2]]
    first = rom(m, "thresholds", stem, middles, p.pe * p.bits, fold, advance, p.memory)
    places: list[Value] = [fold if p.folds > 1 else Const(0, 0)]  # the word's number, as it goes along
    for step in range(1, p.steps):
        places.append(register(m, advance, places[-1], f"fold_{step}") if p.folds > 1 else places[-1])
    counts: list[Value] = []
    for n, (element, middle) in enumerate(zip(elements, lanes(first, kind), strict=True)):
        held, found = element, Cat(element >= middle)
        for step in range(1, p.steps):
            # Below the threshold of this step stand those of all bits that were found, and half of what is left.
            half = 1 << p.steps - 1 - step
            below = (np.arange(1 << step) << p.steps - step) + half - 1
            words = [pattern([value], kind) for value in tables[:, n, below].ravel().tolist()]
            address = Cat(found, places[step])
            if len(words) <= MOST_WIRED:
                word = register(m, advance, selected(address, [Const(one, p.bits) for one in words]), f"threshold_{step}_{n}")
            else:
                word = rom(m, f"thresholds_{step}_{n}", stem, words, p.bits, address, advance, p.memory)
            held = register(m, advance, held, f"held_{step}_{n}")
            found = Cat(held >= lanes(word, kind)[0], register(m, advance, found, f"found_{step}_{n}"))
        counts.append((found - extra)[:p.thresholds.bit_length()] if extra else found)
    return counts

"""Networks that are loaded into an engine one behind the other: when it takes their weights, and what its frames do then.

Weights are offered while the last frame of the network before is in the engine, in the cycle in which they may come, or later; so
are the new network's first words: among its weights, or ahead of them, with the last of a frame in the very cycle of the first
weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hwsim.dataflow import simulate
from hwsim.schedule import Task

from .case import Bits, Moves

#: From the cycle in which the last weight is taken to the first in which a frame that is there can begin.
SETTLE_CYCLES = 2
#: When weights are offered, in turn: so many cycles behind the first in which they may come; None: from the last frame's last
#: word on.
ASKS = (None, 4, 0, 30, 1)


@dataclass(frozen=True, eq=False)
class Network:
    """What an engine computes with some weights.

    Parameters
    ----------
    loads : list of int
        Words of the weights.
    words, expected : list of int
        Those of its frames, and what comes out.
    task : Task
        The cycles.
    """

    loads: list[int]
    words: list[int]
    expected: list[int]
    task: Task


@dataclass(frozen=True, eq=False)
class Session:
    """When what moves of one network: weights, then frames; and the cycles from which on they may be offered."""

    asks: int
    loads: list[int]
    begins: int
    taken: list[int]
    given: list[int]


@dataclass(frozen=True, eq=False)
class Loading:
    """The model of an engine with the inputs `i` and `load`.

    Parameters
    ----------
    networks : sequence of Network
        All for the same engine, each with two output words a frame or more.
    clear_cycles : int
        After reset, until a frame can begin.
    """

    networks: Sequence[Network]
    clear_cycles: int

    def moves(self, sources: Sequence[Bits], sinks: Sequence[Bits]) -> Moves:
        """The cycles of all transfers."""
        played = self.sessions(sources, sinks)
        taken, loads, given = ([cycle for one in each for cycle in one]
                               for each in zip(*((s.taken, s.loads, s.given) for s in played), strict=True))
        return [taken, loads], [given]

    def offers(self, sources: Sequence[Bits], sinks: Sequence[Bits]) -> list[Bits]:
        """The cycles in which frames and weights may begin to be offered."""
        played = self.sessions(sources, sinks)
        cycles = np.arange(played[-1].given[-1] + 1)
        found = []
        spans = [(s.begins, s.taken[-1]) for s in played], [(s.asks, s.loads[-1]) for s in played]
        for source, ranges in zip(sources, spans, strict=True):
            there = np.zeros(len(cycles), np.bool_)
            for first, last in ranges:
                there[first:last + 1] = True
            found.append(there & source[cycles % len(source)])
        return found

    def sessions(self, sources: Sequence[Bits], sinks: Sequence[Bits]) -> list[Session]:
        """What each network does, where sources offer and the sink takes in these cycles."""
        frames, weights = sources
        played: list[Session] = []
        for number, network in enumerate(self.networks):
            opens, asks = 0, 0
            if played:
                opens = played[-1].given[-2] + 1  # the last word was drained as the one before it left
                later = ASKS[(number - 1) % len(ASKS)]
                asks = played[-1].taken[-1] + 1 if later is None else opens + later
            loads = _offered(weights, asks, len(network.loads))
            loads[0] = max(loads[0], opens)
            loads[1:] = _offered(weights, loads[0] + 1, len(loads) - 1)
            begins = max(opens, loads[0] - (network.task.words_in - 1))  # with a whole frame there, no weights come
            ready = max(0 if played else self.clear_cycles, loads[-1] + SETTLE_CYCLES - begins)
            trace = simulate([replace(network.task, clear_cycles=ready)], len(network.words), len(network.expected),
                             source=np.roll(frames, -begins), sink=np.roll(sinks[0], -begins), drains=True)
            played.append(Session(asks, loads, begins, (begins + trace.in_cycles).tolist(), (begins + trace.out_cycles).tolist()))
        for one, other in pairwise(played):
            assert one.given[-1] < other.loads[-1], "the model knows nothing of a word that stands at the output still"
        return played


def _offered(source: Bits, first: int, count: int) -> list[int]:
    """The cycles of so many offers that are taken at once."""
    cycles: list[int] = []
    cycle = first
    while len(cycles) < count:
        if source[cycle % len(source)]:
            cycles.append(cycle)
        cycle += 1
    return cycles

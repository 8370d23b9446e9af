"""One candidate for every layer: the cheapest together, queues and converters between them included.

Layers share nothing but the device and the widths of their streams.  With prices on LUTs, block RAMs and DSPs each layer's best
choice is found directly, given its neighbours'; prices of what a device is short of rise until everything fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from intir import Graph

from ..engines.fork import Fork
from ..engines.memories import Resources
from ..layers import Layer, source_of
from ..queues import link_luts
from .candidates import Candidate

Float = NDArray[np.float64]
Int = NDArray[np.int64]
#: A choice: for each layer, the index of its candidate.
Choice = tuple[int, ...]
#: How often prices rise before a target counts as too fast for the device.
ROUNDS = 24


@dataclass(frozen=True)
class Prices:
    """What a choice pays for.

    Parameters
    ----------
    luts, brams, dsps : float
        For the whole device.
    cycles : float
        For a cycle of any layer.
    energy : float
        For a pJ a frame.
    """

    luts: float = 1.0
    brams: float = 1e-3
    dsps: float = 1e-3
    cycles: float = 0.0
    energy: float = 0.0


@dataclass(frozen=True)
class _Link:
    """A stream between two layers: the LUTs of its queue and converters, by both candidates."""

    producer: int
    consumer: int
    luts: Int


class Space:
    """All choices for a network on a device.

    Parameters
    ----------
    graph : Graph
    layers : sequence of Layer
        Producers before consumers.
    found : for each layer, its candidates; none is empty
    room : Resources
        Of the device.
    shell : Resources
        What every choice takes besides.
    family : str
        FPGA family.
    """

    def __init__(self, graph: Graph, layers: Sequence[Layer], found: Sequence[Sequence[Candidate]], room: Resources,
                 shell: Resources = Resources(), family: str = "generic") -> None:  # noqa: B008 - frozen
        self.layers, self.found, self.room, self.shell = list(layers), [list(one) for one in found], room, shell
        self.cycles = [np.array([one.cycles for one in each], np.int64) for each in found]
        self.energy = [np.array([one.energy_pj for one in each]) for each in found]
        self.taken = [np.array([(one.resources.luts, one.resources.brams, one.resources.dsps) for one in each], np.int64)
                      for each in found]
        self.links: list[_Link] = []
        self._connect(graph, family)

    def _connect(self, graph: Graph, family: str) -> None:
        makers = {layer.value: number for number, layer in enumerate(self.layers)}
        readers: dict[int, int] = {}
        for number, layer in enumerate(self.layers):
            for position, value in enumerate(layer.sources):
                producer = makers.get(source_of(graph, value))
                if producer is not None:
                    readers[producer] = readers.get(producer, 0) + 1
                    self.links.append(_Link(producer, number, np.array([
                        [link_luts(one.type_out, one.lanes_out, other.lanes_in[position], family) for other in self.found[number]]
                        for one in self.found[producer]], np.int64)))
        end = makers.get(source_of(graph, graph.output.value))
        if end is not None:  # a queue stands in front of the output, too
            readers[end] = readers.get(end, 0) + 1
            self.taken[end][:, 0] += [link_luts(one.type_out, one.lanes_out, one.lanes_out, family) for one in self.found[end]]
        for number, count in readers.items():
            if count > 1:
                forks = [Fork(one.lanes_out, one.type_out, count) for one in self.found[number]]
                self.taken[number][:, 0] += [one.resources(family).luts for one in forks]

    @cached_property
    def targets(self) -> list[int]:
        """Cycles a frame that some choice has, ascending."""
        least = max(int(one.min()) for one in self.cycles)
        every = np.unique(np.concatenate(self.cycles))
        return [int(one) for one in every if one >= least]

    def resources(self, choice: Choice) -> Resources:
        """What a choice takes together, with queues of the least depth."""
        total = sum((taken[at] for taken, at in zip(self.taken, choice, strict=True)), np.zeros(3, np.int64))
        luts = sum(int(link.luts[choice[link.producer], choice[link.consumer]]) for link in self.links)
        return self.shell + Resources(int(total[0]) + luts, int(total[1]), int(total[2]))

    def slowest(self, choice: Choice) -> int:
        """Cycles a frame of its slowest layer."""
        return max(int(cycles[at]) for cycles, at in zip(self.cycles, choice, strict=True))

    def total_cycles(self, choice: Choice) -> int:
        """Cycles of its layers one after the other."""
        return sum(int(cycles[at]) for cycles, at in zip(self.cycles, choice, strict=True))

    def energy_pj(self, choice: Choice) -> float:
        """Of its layers, a frame."""
        return sum(float(energy[at]) for energy, at in zip(self.energy, choice, strict=True))

    def entries(self, choice: Choice) -> list[Candidate]:
        """Its candidates."""
        return [each[at] for each, at in zip(self.found, choice, strict=True)]

    def cheapest(self, target: int, prices: Prices) -> Choice | None:
        """The cheapest choice of at most `target` cycles a frame that fits; None where none is found."""
        allowed = [cycles <= target for cycles in self.cycles]
        if not all(one.any() for one in allowed):
            return None
        room = np.maximum(1, [self.room.luts, self.room.brams, self.room.dsps])
        scale = np.array([prices.luts, prices.brams, prices.dsps])
        start: Choice | None = None
        for _ in range(ROUNDS):
            start = self._settled(allowed, scale / room, prices, start)
            taken = self.resources(start)
            excess = np.array([taken.luts, taken.brams, taken.dsps]) / room
            if self.room.holds(taken):
                return self._bettered(allowed, start, prices)
            scale = np.where(excess > 1, np.maximum(scale, 0.01) * np.minimum(4.0, 1.1 * excess), scale)
        return None

    @property
    def smallest(self) -> Resources:
        """What the smallest choice takes, whether it fits or not."""
        room = np.maximum(1, [self.room.luts, self.room.brams, self.room.dsps])
        return self.resources(self._settled([cycles > 0 for cycles in self.cycles], 1 / room, Prices(), None))

    def _settled(self, allowed: Sequence[NDArray[np.bool_]], price: Float, prices: Prices, start: Choice | None) -> Choice:
        """Each layer's best choice beside its neighbours', until none changes."""
        own = [np.where(can, taken @ price + prices.cycles * cycles + prices.energy * energy, np.inf)
               for can, taken, cycles, energy in zip(allowed, self.taken, self.cycles, self.energy, strict=True)]
        choice = [int(np.argmin(one)) for one in own] if start is None else list(start)
        for _ in range(10):
            changed = False
            for number in reversed(range(len(choice))):
                best = int(np.argmin(own[number] + price[0] * self._around(number, choice)))
                changed |= best != choice[number]
                choice[number] = best
            if not changed:
                break
        return tuple(choice)

    def _around(self, number: int, choice: Sequence[int]) -> Int:
        """LUTs of the streams of a layer, by its candidate."""
        luts = np.zeros(len(self.found[number]), np.int64)
        for link in self._links_of[number]:
            luts += link.luts[:, choice[link.consumer]] if link.producer == number else link.luts[choice[link.producer], :]
        return luts

    @cached_property
    def _links_of(self) -> list[list[_Link]]:
        return [[link for link in self.links if number in (link.producer, link.consumer)] for number in range(len(self.layers))]

    def _bettered(self, allowed: Sequence[NDArray[np.bool_]], choice: Choice, prices: Prices) -> Choice:
        """Raised prices bought room that may not be needed: take back what still fits, layer by layer."""
        limit = np.array([self.room.luts, self.room.brams, self.room.dsps])
        price = np.array([prices.luts, prices.brams, prices.dsps]) / np.maximum(1, limit)
        now = list(choice)
        for _ in range(4):
            changed = False
            for number in range(len(now)):
                taken = self.resources(tuple(now))
                around = self._around(number, now)
                use = self.taken[number] + np.stack([around, np.zeros_like(around), np.zeros_like(around)], axis=1)
                rest = np.array([taken.luts, taken.brams, taken.dsps]) - use[now[number]]
                cost = use @ price + prices.cycles * self.cycles[number] + prices.energy * self.energy[number]
                cost = np.where(allowed[number] & (rest + use <= limit).all(axis=1), cost, np.inf)
                best = int(np.argmin(cost))
                if cost[best] < cost[now[number]] - 1e-12:
                    now[number], changed = best, True
            if not changed:
                break
        return tuple(now)

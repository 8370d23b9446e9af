"""A deliberately naive model of streams, one object per block and one method per rule: the witness of `hwsim.dataflow`.

It moves numbered words, so that it also shows that none is lost, doubled or reordered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hwsim.dataflow import Block, Fifo
from hwsim.schedule import Schedule


class Sequencer:
    """Walks through a schedule; finished words move through registers that all step together."""

    def __init__(self, schedule: Schedule) -> None:
        self.plan, self.at, self.made = schedule, 0, 0
        self.registers: list[int | None] = [None] * schedule.latency_cycles
        self.fired = self.starved = self.blocked = self.peak = 0

    def offers(self) -> int | None:
        return self.registers[-1]

    def accepts(self, taken_behind: bool) -> bool:
        return self.advances(taken_behind) and bool(self.plan.needs[self.at])

    def advances(self, taken_behind: bool) -> bool:
        return self.registers[-1] is None or taken_behind

    def clock(self, arriving: int | None, leaving: bool) -> None:
        if not self.advances(leaving):
            self.blocked += 1
            return
        entering = None
        if self.plan.needs[self.at] and arriving is None:
            self.starved += 1
        else:
            if self.plan.emits[self.at]:
                entering, self.made = self.made, self.made + 1
            self.at = (self.at + 1) % len(self.plan.needs)
            self.fired += 1
        self.registers = [entering, *self.registers[:-1]]


class Queue:
    """Holds up to `depth` words; what comes in can leave in the next cycle."""

    def __init__(self, fifo: Fifo) -> None:
        self.depth, self.words = fifo.depth, deque()
        self.fired = self.starved = self.blocked = self.peak = 0

    def offers(self) -> int | None:
        return self.words[0] if self.words else None

    def accepts(self, taken_behind: bool) -> bool:
        return len(self.words) < self.depth

    def clock(self, arriving: int | None, leaving: bool) -> None:
        if leaving:
            self.words.popleft()
            self.fired += 1
        if arriving is not None:
            self.words.append(arriving)
        self.peak = max(self.peak, len(self.words))


@dataclass
class Record:
    """What the naive model saw."""

    in_cycles: list[int] = field(default_factory=list)
    out_cycles: list[int] = field(default_factory=list)
    out_words: list[int] = field(default_factory=list)
    counters: list[list[int]] = field(default_factory=list)  # after each output word: fired, starved, blocked, peak per block


def run(blocks: Sequence[Block], words_in: int, source: Sequence[bool], sink: Sequence[bool], idle_limit: int) -> Record:
    """Run until nothing has left or come in for `idle_limit` cycles."""
    row = [Queue(block) if isinstance(block, Fifo) else Sequencer(block) for block in blocks]
    record, cycle, idle, offered = Record(), 0, 0, False
    while idle < idle_limit:
        offered = len(record.in_cycles) < words_in and (offered or bool(source[cycle % len(source)]))
        offers = [len(record.in_cycles) if offered else None, *(block.offers() for block in row)]
        # From the sink backwards: whether what each block offers is taken.
        taken = [bool(sink[cycle % len(sink)]) and offers[-1] is not None]
        for block, offer in zip(reversed(row), reversed(offers[:-1]), strict=True):
            taken.insert(0, offer is not None and block.accepts(taken[0]))
        if taken[0]:
            record.in_cycles.append(cycle)
            offered = False
        for number, block in enumerate(row):
            block.clock(offers[number] if taken[number] else None, taken[number + 1])
        if taken[-1]:
            record.out_cycles.append(cycle)
            record.out_words.append(offers[-1])
            record.counters.append([[block.fired, block.starved, block.blocked, block.peak] for block in row])
        idle = 0 if taken[0] or taken[-1] else idle + 1
        cycle += 1
    return record

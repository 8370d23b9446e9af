"""A deliberately naive model of streams, one object per block and one method per rule: the witness of `hwsim.dataflow`.

It moves numbered words, so that it also shows that none is lost, doubled or reordered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hwsim.dataflow import Block, Fifo, Fork, Wires, row
from hwsim.schedule import Buffer, Schedule, Task

Word = int | None


class Pipeline:
    """Registers that all step together: when the last one is empty, or its word is taken."""

    def __init__(self, latency: int) -> None:
        self.made = 0
        self.registers: list[Word] = [None] * latency
        self.fired = self.starved = self.blocked = self.peak = 0

    def offers(self, there: list[Word]) -> list[Word]:
        return [self.registers[-1]]

    def advances(self, taken_behind: list[bool]) -> bool:
        return self.registers[-1] is None or taken_behind[0]

    def clock(self, there: list[Word], taken: list[bool], taken_behind: list[bool]) -> None:
        if not self.advances(taken_behind):
            self.blocked += 1
        else:
            fires, emits = self.steps(there)
            self.fired += fires
            self.starved += not fires
            self.registers = [self.made if emits else None, *self.registers[:-1]]
            self.made += emits


class Sequencer(Pipeline):
    """Walks through a schedule; takes the words that a step needs all together or not at all."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule.latency_cycles)
        self.needs = [np.atleast_1d(one).tolist() for one in schedule.needs]
        self.emits, self.at = schedule.emits.tolist(), 0

    def complete(self, there: list[Word]) -> bool:
        return all(word is not None or not need for word, need in zip(there, self.needs[self.at], strict=True))

    def takes(self, there: list[Word], taken_behind: list[bool]) -> list[bool]:
        fires = self.advances(taken_behind) and self.complete(there)
        return [fires and need for need in self.needs[self.at]]

    def steps(self, there: list[Word]) -> tuple[bool, bool]:
        if not self.complete(there):
            return False, False
        emits = self.emits[self.at]
        self.at = (self.at + 1) % len(self.emits)
        return True, emits


class Store(Pipeline):
    """A buffer: counts the words of each round that have come and gone, and asks its tables."""

    def __init__(self, buffer: Buffer) -> None:
        super().__init__(buffer.latency_cycles)
        self.available, self.room, self.came = buffer.available.tolist(), buffer.room.tolist(), 0

    def takes(self, there: list[Word], taken_behind: list[bool]) -> list[bool]:
        rounds, word = divmod(self.came, len(self.room))
        return [there[0] is not None and self.made >= rounds * len(self.available) + self.room[word]]

    def steps(self, there: list[Word]) -> tuple[bool, bool]:
        rounds, word = divmod(self.made, len(self.available))
        gives = self.came >= rounds * len(self.room) + self.available[word]
        return gives, gives

    def clock(self, there: list[Word], taken: list[bool], taken_behind: list[bool]) -> None:
        super().clock(there, taken, taken_behind)
        self.came += taken[0]


class Worker(Pipeline):
    """A task: takes a frame, works, gives a frame; the next frame may come while it works."""

    def __init__(self, task: Task) -> None:
        super().__init__(task.latency_cycles)
        self.task, self.cycle, self.frame = task, 0, 0
        self.is_open, self.full, self.came, self.gone = True, False, 0, 0
        self.begun: int | None = None  # the cycle in which the work on the frame began, unless it waits for one

    def takes(self, there: list[Word], taken_behind: list[bool]) -> list[bool]:
        return [there[0] is not None and self.is_open]

    def clock(self, there: list[Word], taken: list[bool], taken_behind: list[bool]) -> None:
        advances, waits = self.advances(taken_behind), self.begun is None
        at = self.frame % len(self.task.busy)
        gives = advances and not waits and self.cycle >= self.begun + self.task.busy[at]
        self.blocked += not advances
        self.starved += waits
        self.fired += gives
        if advances:
            self.registers = [self.made if gives else None, *self.registers[:-1]]
            self.made += gives
        if waits and self.full and self.cycle >= self.task.clear_cycles:
            self.begun, self.full = self.cycle + 1, False
        if self.begun is not None and self.cycle + 1 == self.begun + self.task.open_at[at]:
            self.is_open = True
        self.gone += gives
        if self.gone == self.task.words_out:
            self.begun, self.gone, self.frame = None, 0, self.frame + 1
        self.came += taken[0]
        if self.came == self.task.words_in:
            self.came, self.is_open, self.full = 0, False, True
        self.cycle += 1


class Queue:
    """Holds up to `depth` words; what comes in can leave in the next cycle."""

    def __init__(self, fifo: Fifo) -> None:
        self.depth, self.words = fifo.depth, deque()
        self.fired = self.starved = self.blocked = self.peak = 0

    def offers(self, there: list[Word]) -> list[Word]:
        return [self.words[0] if self.words else None]

    def takes(self, there: list[Word], taken_behind: list[bool]) -> list[bool]:
        return [there[0] is not None and len(self.words) < self.depth]

    def clock(self, there: list[Word], taken: list[bool], taken_behind: list[bool]) -> None:
        if taken_behind[0]:
            self.words.popleft()
            self.fired += 1
        if taken[0]:
            self.words.append(there[0])
        self.peak = max(self.peak, len(self.words))


class Splitter:
    """A fork: the word stays at its input until every reader has had it, each once."""

    def __init__(self, readers: int) -> None:
        self.served = [False] * readers
        self.fired = self.starved = self.blocked = self.peak = 0

    def offers(self, there: list[Word]) -> list[Word]:
        return [None if served else there[0] for served in self.served]

    def takes(self, there: list[Word], taken_behind: list[bool]) -> list[bool]:
        return [there[0] is not None and all(a or b for a, b in zip(self.served, taken_behind, strict=True))]

    def clock(self, there: list[Word], taken: list[bool], taken_behind: list[bool]) -> None:
        self.fired += taken[0]
        self.served = [not taken[0] and (a or b) for a, b in zip(self.served, taken_behind, strict=True)]


@dataclass
class Record:
    """What the naive model saw."""

    in_cycles: list[int] = field(default_factory=list)
    out_cycles: list[int] = field(default_factory=list)
    out_words: list[int] = field(default_factory=list)
    counters: list[list[int]] = field(default_factory=list)  # after each output word: fired, starved, blocked, peak per block


def model(block: Block, wires: Wires) -> Sequencer | Store | Worker | Queue | Splitter:
    if isinstance(block, Task):
        return Worker(block)
    if isinstance(block, Fork):
        return Splitter(len(wires.outputs))
    return Queue(block) if isinstance(block, Fifo) else Store(block) if isinstance(block, Buffer) else Sequencer(block)


def run(blocks: Sequence[Block], words_in: int, source: Sequence[bool], sink: Sequence[bool], idle_limit: int,
        wires: Sequence[Wires] | None = None) -> Record:
    """Run until no word has moved over any stream for `idle_limit` cycles."""
    wires = row(blocks) if wires is None else wires
    parts = [(model(block, one), one.inputs, one.outputs) for block, one in zip(blocks, wires, strict=True)]
    (last,) = {s for one in wires for s in one.outputs} - {s for one in wires for s in one.inputs}
    record, cycle, idle, offered = Record(), 0, 0, False
    while idle < idle_limit:
        offered = len(record.in_cycles) < words_in and (offered or bool(source[cycle % len(source)]))
        there: dict[int, Word] = {0: len(record.in_cycles) if offered else None}
        for part, inputs, outputs in parts:
            there |= zip(outputs, part.offers([there[s] for s in inputs]), strict=True)
        # From the sink backwards: whether the word that each stream offers is taken.
        taken = {last: bool(sink[cycle % len(sink)]) and there[last] is not None}
        for part, inputs, outputs in reversed(parts):
            taken |= zip(inputs, part.takes([there[s] for s in inputs], [taken[s] for s in outputs]), strict=True)
        if taken[0]:
            record.in_cycles.append(cycle)
            offered = False
        for part, inputs, outputs in parts:
            part.clock([there[s] for s in inputs], [taken[s] for s in inputs], [taken[s] for s in outputs])
        if taken[last]:
            record.out_cycles.append(cycle)
            record.out_words.append(there[last])
            record.counters.append([[part.fired, part.starved, part.blocked, part.peak] for part, _, _ in parts])
        idle = 0 if any(taken.values()) else idle + 1
        cycle += 1
    return record

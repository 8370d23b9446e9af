"""Cycles of the sparse engine against a machine that is stepped cycle by cycle, with its registers as the hardware has them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.engines.csc import Csc, encode
from hwsim.engines.eie import SETTLE_CYCLES, Eie
from hwsim.engines.eie_cycles import frame_cycles, layer_cycles, run_frame, run_layer
from intir import IntType


@dataclass
class Pe:
    """Registers of a processing element, and what was seen of it."""

    counts: np.ndarray  # entries in each column
    queue: deque[int] = field(default_factory=deque)  # what was accepted and not started, incoming included
    remaining: int = 0  # steps of the present column that are still to be issued
    column: int = -1
    busy: list[tuple[int, int]] = field(default_factory=list)  # (cycle, column) of every issued entry
    empty: int = 0

    def step(self, cycle: int) -> None:
        if self.remaining:
            self.remaining -= 1
        elif self.queue:
            self.column = self.queue.popleft()
            self.remaining = max(1, self.counts[self.column]) - 1
        else:
            return
        if self.counts[self.column]:
            self.busy.append((cycle, self.column))
        else:
            self.empty += 1


def stepped(counts: np.ndarray, x: np.ndarray, lanes: int, depth: int) -> tuple[int, list[Pe], int, int, list[int]]:
    """(E - c0, PEs, cycles with the broadcast register waiting for room, cycles without it for want of nonzeros, held columns)."""
    pes = [Pe(each) for each in counts]
    words = [[word * lanes + lane for lane, value in enumerate(x[word * lanes:(word + 1) * lanes]) if value]
             for word in range(-(-len(x) // lanes))]
    left: list[list[int]] = [list(word) for word in words]
    broadcast: int | None = None
    word, cycle, full, bubbles = 0, 1, 0, 0  # in cycle 0 the address of word 0 is presented
    held: list[int] = []
    while True:
        here = [len(pe.queue) + (pe.remaining > 0) for pe in pes]
        if word == len(words) and broadcast is None and not any(here):
            return cycle, pes, full, bubbles, held
        held += here
        accepts = broadcast is not None and all(len(pe.queue) < depth - 1 for pe in pes)
        full += broadcast is not None and not accepts
        arriving = broadcast if accepts else None
        for pe in pes:
            pe.step(cycle)
        if accepts:
            broadcast = None
        if word < len(words):
            if not left[word]:
                bubbles += broadcast is None and any(left[word:])
                word += 1
            elif broadcast is None:
                broadcast = left[word].pop(0)
                word += not left[word]
        if arriving is not None:
            for pe in pes:
                pe.queue.append(arriving)
        cycle += 1


def drawn(seed: int, inputs: int, outputs: int, density: float, active: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((inputs, outputs)) < density, rng.integers(1, 16, (inputs, outputs)), 0)
    x = np.where(rng.random(inputs) < active, rng.integers(-9, 10, inputs), 0)
    return weights.astype(np.int64), x


def check(weights: np.ndarray, x: np.ndarray, pes: int, lanes: int, depth: int, index_bits: int = 4, read_entries: int = 4,
          base: np.ndarray | None = None) -> None:
    matrix = encode(weights, pes, index_bits=index_bits)
    cycles, machines, full, bubbles, held = stepped(matrix.counts, x, lanes, depth)
    assert layer_cycles(matrix, x, lanes=lanes, queue_depth=depth) == cycles
    run = run_layer(matrix, x, lanes=lanes, queue_depth=depth, read_entries=read_entries, base=base)
    assert run.cycles == cycles
    assert run.broadcasts == np.count_nonzero(x) and run.pointer_reads == 2 * pes * run.broadcasts
    assert (run.full_wait_cycles, run.scan_wait_cycles) == (full, bubbles)
    assert run.busy_cycles.tolist() == [len(one.busy) for one in machines]
    assert run.empty_cycles.tolist() == [one.empty for one in machines]
    assert np.array_equal(run.starved_cycles + run.busy_cycles + run.empty_cycles, np.full(pes, cycles))
    assert run.held_peak == max(held, default=0) <= depth
    assert run.held_mean == pytest.approx(sum(held) / (cycles * pes))
    assert run.load_balance == pytest.approx(sum(len(one.busy) for one in machines) / (cycles * pes))
    check_entries(matrix, machines, run.word_reads, run.padding_entries, run.same_row_entries, read_entries, base)
    assert run.entries == matrix.counts[:, x != 0].sum()


def check_entries(matrix: Csc, machines: list[Pe], word_reads: int, padding: int, same_row: int, read_entries: int, base: np.ndarray | None) -> None:
    """Walks the entries that the stepped machine issued."""
    words = pads = follows = 0
    for pe, machine in enumerate(machines):
        earlier, row, at, word = (-9, -9), 0, 0, -1
        for place, (cycle, column) in enumerate(machine.busy):
            if place == 0 or machine.busy[place - 1][1] != column:
                at, row, word = int(matrix.pointers[pe, column]), -1, -1
            number = at + (0 if base is None else base[pe])
            words += number // read_entries != word
            word = number // read_entries
            row += int(matrix.indices[matrix.first[pe] + at]) + 1
            kept = matrix.codes[matrix.first[pe] + at] > 0
            pads += not kept
            follows += bool(kept) and earlier == (cycle - 1, row)
            earlier, at = (cycle, row), at + 1
    assert (word_reads, padding, same_row) == (words, pads, follows)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 60), st.integers(1, 9), st.floats(0, 1), st.floats(0, 1), st.integers(1, 9), st.integers(2, 9),
       st.integers(1, 4))
def test_cycles_are_those_of_the_stepped_machine(seed: int, inputs: int, outputs: int, pes: int, density: float, active: float, lanes: int, depth: int,
                                                 index_bits: int) -> None:
    weights, x = drawn(seed, inputs, outputs, density, active)
    base = np.random.default_rng(seed).integers(0, 9, pes)
    check(weights, x, pes, lanes, depth, index_bits, 2 ** (seed % 5), base if seed % 2 else None)


@pytest.mark.parametrize("depth", [2, 3, 8])
@pytest.mark.parametrize(("pes", "lanes"), [(1, 1), (4, 4), (8, 4)])
def test_corners(pes: int, lanes: int, depth: int) -> None:
    weights, x = drawn(5, 24, 30, 0.4, 0.5)
    check(weights, np.zeros(24), pes, lanes, depth)
    check(np.zeros((24, 30), np.int64), x, pes, lanes, depth)
    check(weights, np.ones(24), pes, lanes, depth)
    for gap in (slice(0, 12), slice(8, 16), slice(9, 24)):  # empty words in front, between, behind
        with_gap = np.ones(24)
        with_gap[gap] = 0
        check(weights, with_gap, pes, lanes, depth)
    lonely = np.zeros(24)
    lonely[23] = 1
    check(weights, lonely, pes, lanes, depth)
    check(weights, x, pes, 100, depth)  # a single, partial word


def test_padding_in_the_row_of_the_entry_before_is_no_sum() -> None:
    weights = np.zeros((6, 4), np.int64)
    weights[:, 3] = 1  # with one bit of index: padding in row 1, then row 3
    weights[[0, 2], 1:] = [1, 0, 0]
    check(weights, np.ones(6), 1, 6, 4, index_bits=1)
    weights[:, :] = 1
    check(weights[:, :1], np.ones(6), 1, 6, 4)


def test_the_smallest_cases() -> None:
    one = encode(np.ones((1, 1), np.int64), 1)
    # seen in cycle 1, in the broadcast register from 2 on and accepted there, worked on in 3
    assert layer_cycles(one, np.ones(1), lanes=1, queue_depth=2) == 4
    assert layer_cycles(one, np.zeros(1), lanes=1, queue_depth=2) == 2
    ones = encode(np.ones((5, 1), np.int64), 1)
    assert layer_cycles(ones, np.ones(5), lanes=1, queue_depth=8) == 8
    assert layer_cycles(ones, np.ones(5), lanes=1, queue_depth=2) == 12  # one column queued at a time: every other cycle


def engine(sizes: tuple[int, ...], pes: int, lanes: int, depth: int) -> Eie:
    some = IntType(-8, 7)
    return Eie(pes, lanes, 1, 1, depth, 4, 4, 8, sizes, 1000, some, some, some, some)


def test_layers_of_a_frame_follow_one_another() -> None:
    rng = np.random.default_rng(3)
    sizes = (20, 33, 8, 5)
    params = engine(sizes, 4, 4, 3)
    matrices = [encode((rng.random(shape) < 0.4).astype(np.int64), 4) for shape in pairwise(sizes)]
    batches = [rng.integers(0, 2, (6, inputs)) for inputs in sizes[:-1]]
    batches[1][2] = 0
    open_at, busy = frame_cycles(params, matrices, batches)
    for frame in range(6):
        start = done = 0
        for layer, matrix in enumerate(matrices):
            start = 0 if layer == 0 else done + SETTLE_CYCLES + [9, 2][layer - 1] + params.feedback_cycles
            done = start + stepped(matrix.counts, batches[layer][frame], 4, 3)[0]
        assert (open_at[frame], busy[frame]) == (start, done + SETTLE_CYCLES)
    assert len(set(busy.tolist())) > 1


def test_the_layers_of_a_frame_share_the_matrix_memory() -> None:
    rng = np.random.default_rng(4)
    sizes = (20, 33, 8, 5)
    params = engine(sizes, 4, 4, 3)
    matrices = [encode((rng.random(shape) < 0.4).astype(np.int64), 4) for shape in pairwise(sizes)]
    frame = [rng.integers(0, 2, inputs) for inputs in sizes[:-1]]
    runs = run_frame(params, matrices, frame)
    _, busy = frame_cycles(params, matrices, [x[None] for x in frame])
    between = sum(params.drain_words(layer) + params.feedback_cycles for layer in range(2)) + 3 * SETTLE_CYCLES
    assert sum(run.cycles for run in runs) + between == busy[0]
    for layer, (run, matrix, x) in enumerate(zip(runs, matrices, frame, strict=True)):
        base = sum((one.pointers[:, -1] for one in matrices[:layer]), np.zeros(4, np.int64))
        machines = stepped(matrix.counts, x, 4, 3)[1]
        check_entries(matrix, machines, run.word_reads, run.padding_entries, run.same_row_entries, 8, base)


def test_a_frame_of_one_layer() -> None:
    matrix = encode(np.ones((3, 2), np.int64), 2)
    open_at, busy = frame_cycles(engine((3, 2), 2, 1, 2), [matrix], [np.eye(3, dtype=np.int64)])
    assert open_at.tolist() == [0, 0, 0]
    assert busy.tolist() == [layer_cycles(matrix, row, lanes=1, queue_depth=2) + SETTLE_CYCLES for row in np.eye(3)]


def test_errors() -> None:
    matrix = encode(np.ones((3, 2), np.int64), 2)
    with pytest.raises(ValueError, match=r"^activations of the shape \(4,\); the matrix has 3 inputs$"):
        layer_cycles(matrix, np.ones(4), lanes=1, queue_depth=2)
    with pytest.raises(ValueError, match="^a queue depth of 1; give 2 or more$"):
        run_layer(matrix, np.ones(3), lanes=1, queue_depth=1)
    with pytest.raises(ValueError, match="^read_entries is 6; give a power of two$"):
        run_layer(matrix, np.ones(3), lanes=1, queue_depth=2, read_entries=6)
    with pytest.raises(ValueError, match=r"^matrices of \[\(3, 2, 2\)\] inputs, outputs and PEs; the engine has layers of \[\(3, 2\)\] and 1 PEs$"):
        frame_cycles(engine((3, 2), 1, 1, 2), [matrix], [np.ones((1, 3))])
    with pytest.raises(ValueError, match=r"^activations of the shapes \[\(3,\)\]; give \(frames, inputs\) for each of \[\(3, 2\)\]$"):
        frame_cycles(engine((3, 2), 2, 1, 2), [matrix], [np.ones(3)])
    with pytest.raises(ValueError, match=r"^activations of the shapes \[\(1, 4\)\]; give \(frames, inputs\) for each of \[\(3, 2\)\]$"):
        run_frame(engine((3, 2), 2, 1, 2), [matrix], [np.ones(4)])

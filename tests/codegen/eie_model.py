"""A plain model of the sparse engine, written from the cycle rules in `hwsim.engines.eie`: bits, and the cycle of every transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.engines.csc import Csc
from hwsim.engines.eie import SETTLE_CYCLES, Eie

Int64 = NDArray[np.int64]


@dataclass
class Frame:
    """Outputs of a frame; when its last layer's scan begins, and when that is drained, in cycles after the first layer's c0."""

    outputs: Int64
    open_at: int
    busy: int


def scan_and_work(engine: Eie, csc: Csc, x: Int64) -> int:
    """E, counted from c0: when all words have been seen and all entries issued."""
    words = np.concatenate([x, np.zeros(-len(x) % engine.lanes, np.int64)]).reshape(-1, engine.lanes)
    room = engine.queue_depth - 1
    starts: list[list[int]] = []  # [nonzero][pe]
    ends = [0] * engine.pes
    seen, accepted = 1, 0
    for number, word in enumerate(words):
        done = seen
        for lane in np.flatnonzero(word):
            done = max(seen, accepted)  # when it goes into the broadcast register
            accepted = done + 1
            if len(starts) >= room:
                accepted = max(accepted, max(starts[-room]) + 1)
            starts.append([max(accepted + 1, end) for end in ends])
            entries = csc.counts[:, number * engine.lanes + int(lane)].tolist()
            ends = [start + max(1, count) for start, count in zip(starts[-1], entries, strict=True)]
        seen = done + 1
    return max(seen, *ends)


def frame(engine: Eie, matrices: list[Csc], x: Int64, inner: Callable[[int, Int64], Int64]) -> Frame:
    """One frame; `inner` makes activations of the sums of an inner layer, given its number."""
    cycle = open_at = busy = 0
    for layer, csc in enumerate(matrices):
        open_at = cycle
        busy = cycle + scan_and_work(engine, csc, x) + SETTLE_CYCLES
        x = x @ csc.decode()
        if layer < len(matrices) - 1:
            x = inner(layer, x)
            last_word = busy + -(-len(x) // engine.lanes) - 1
            cycle = last_word + engine.feedback_cycles + 1
    return Frame(x, open_at, busy)


@dataclass
class Transfers:
    """The cycles of all words, counted from the first after reset."""

    in_cycles: list[int]
    out_cycles: list[int]


def transfers(engine: Eie, frames: list[Frame], source: NDArray[np.bool_], sink: NDArray[np.bool_]) -> Transfers:
    """Cycle by cycle, from what each frame takes by itself."""
    seen = Transfers([], [])
    total = len(frames) * engine.words_in_frame
    is_open, full, valid, offers = True, False, False, False
    state, wait_from, opens, drains, steps, begun = "WAIT", engine.rows, -1, -1, 0, 0
    cycle = 0
    while len(seen.out_cycles) < len(frames) * engine.words_out_frame or len(seen.in_cycles) < total:
        assert cycle < 1_000_000, "the engine waits for ever"
        if cycle == opens:
            is_open = True
        offers = len(seen.in_cycles) < total and (offers or bool(source[cycle % len(source)]))
        ready = bool(sink[cycle % len(sink)])
        moves = ready or not valid
        after = {"open": is_open, "full": full, "valid": valid and not ready}
        if is_open and offers:
            seen.in_cycles.append(cycle)
            offers = False
            if len(seen.in_cycles) % engine.words_in_frame == 0:
                after["open"], after["full"] = False, True
        if valid and ready:
            seen.out_cycles.append(cycle)
        if state == "WAIT" and cycle >= wait_from and full:
            after["full"] = False
            opens, drains, steps = cycle + 1 + frames[begun].open_at, cycle + 1 + frames[begun].busy, 0
            state, begun = "BUSY", begun + 1
        elif state == "BUSY" and cycle >= drains and moves:
            after["valid"] = True
            steps += 1
            if steps == engine.words_out_frame:
                state = "WAIT"
        is_open, full, valid = after["open"], after["full"], after["valid"]
        cycle += 1
    return seen

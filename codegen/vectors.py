"""Stimulus and expectation of a bench: beats from the reference, cycles from the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.design import Design
from intir import run

from .axi import AxiPort

#: Share of cycles in which a stalling port moves data.
ACTIVE_SHARE = 0.6


def stall_patterns(ii_cycles: int, seed: int = 1,
                   active_share: float = ACTIVE_SHARE) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """The four ways to stall: name -> (source pattern, sink pattern).

    A stalling port alternates between stretches that move data in most cycles and pauses of up to two initiation
    intervals, long enough to fill every queue and stop every block.

    Parameters
    ----------
    ii_cycles : int
    seed : int
    active_share : float
        Part of the cycles of a stretch in which data move.
    """
    rng = np.random.default_rng(seed)
    always = np.ones(1, np.bool_)

    def stalling() -> NDArray[np.bool_]:
        parts = []
        for _ in range(4):
            parts.append(rng.random(int(rng.integers(8, 8 + ii_cycles))) < active_share)
            parts.append(np.zeros(int(rng.integers(1, 2 + 2 * ii_cycles)), np.bool_))
        return np.concatenate([*parts, np.ones(1, np.bool_)])

    source, sink = stalling(), stalling()
    return {"unstalled": (always, always), "stalling_source": (source, always), "stalling_sink": (always, sink),
            "stalling_both": (source, sink)}


def make_vectors(design: Design, s_axis: AxiPort, m_axis: AxiPort, x: NDArray[np.int64], weights: Sequence[Sequence[str]] = (),
                 seed: int = 1) -> dict[str, Any]:
    """What the bench needs, ready for JSON.

    Parameters
    ----------
    design : Design
    s_axis, m_axis : AxiPort
    x : int64 (frames, *input shape)
    weights : sequence of sequences of hexadecimal words
        What goes in before the frames, for each port that takes weights.
    seed : int
        Of the stall patterns.
    """
    y = run(design.graph, x)
    fed, patterns = design.with_frames(x), {}
    for name, (source, sink) in stall_patterns(design.rate()[0], seed).items():
        trace = fed.simulate(len(x), source=source, sink=sink, drains=True)
        patterns[name] = {"source": pattern_text(source), "sink": pattern_text(sink), "in_cycles": trace.in_cycles.tolist(),
                          "out_cycles": trace.out_cycles.tolist()}
    return {"frames": len(x), "ii_cycles": design.rate()[0], "beats_out_per_frame": design.words_out,
            "beats_in": _beats(x, s_axis), "beats_out": _beats(y, m_axis), "patterns": patterns,
            "weights": [list(words) for words in weights]}


def random_frames(design: Design, frames: int, seed: int = 0) -> NDArray[np.int64]:
    """Random input that reaches far into the network, int64 (frames, *input shape).

    Uniform noise looks alike to a layer that sums many inputs, so only every fourth frame is that.  The others are darker
    or brighter by an amount of their own, and mixtures of lowest and highest values in a share of their own; the first
    two are all lowest and all highest.
    """
    value = design.graph.values[design.graph.input.value]
    kind = value.type
    rng = np.random.default_rng(seed)
    top = kind.levels - 1
    shape = (frames, *value.shape)
    each = (frames,) + (1,) * len(value.shape)
    uniform = rng.integers(0, kind.levels, shape)
    shaded = np.floor(kind.levels * rng.random(shape) ** (4.0 ** rng.uniform(-1, 1, each))).astype(np.int64).clip(0, top)
    sparse = top * (rng.random(shape) < rng.random(each)).astype(np.int64)
    which = (np.arange(frames) % 4).reshape(each)
    levels = np.where(which == 0, uniform, np.where(which == 1, shaded, sparse))
    levels[:1], levels[1:2] = 0, top
    return levels * kind.step + kind.lo


def _beats(values: NDArray[np.int64], port: AxiPort) -> list[str]:
    return [f"{port.pack(beat.tolist()):x}" for beat in values.reshape(-1, port.word.lanes)]


def pattern_text(pattern: NDArray[np.bool_]) -> str:
    """A stall pattern as the bench reads it."""
    return "".join("1" if bit else "0" for bit in pattern)

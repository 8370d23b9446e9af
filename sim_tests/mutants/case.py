"""A block with its bench: words for every input, the words that must come out, and the cycle of every transfer.

The bench is that of co-verification, brought to the ports of one block: the reference's bits, hwsim's cycles, the four stall
patterns of `codegen.vectors`.  What the model says is known before the simulation runs, so the stimulus of every cycle is known,
too: up to the first difference a block takes and gives words when the model does.  A run is therefore a list of vectors, a line a
clock cycle, and a harness that plays them is the same few lines in every simulator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

import hwsim
from codegen.generate import _mem, module_files
from codegen.platform import VerilogPlatform, flat_ports
from codegen.vectors import stall_patterns
from codegen.verilog import convert

Bits = NDArray[np.bool_]
#: For each input, then for each output: the cycles of its transfers.
Moves = tuple[list[list[int]], list[list[int]]]
#: Cycles with an idle source and an open sink behind the last transfer, in which nothing may come.
DRAIN_CYCLES = 24
#: How often a pattern is cut off after it was played, and the most cycles until a reset does it.
CUTS, CUT_CYCLES = 5, 120


@dataclass(frozen=True)
class Port:
    """A stream port of a block: its name, its width, and whether it is an input."""

    name: str
    bits: int
    is_input: bool


@dataclass(frozen=True)
class Rule:
    """What users of a block keep to: bits `first` to `first + bits - 1` of a port's words are one of `codes`."""

    port: str
    first: int
    bits: int
    codes: frozenset[int]


@dataclass(frozen=True, eq=False)
class Case:
    """One block in one configuration.

    Parameters
    ----------
    kind : str
        Of the engine.
    name : str
        The configuration.
    component : Component
    inputs, outputs : port -> words
        In the order of `moves`.
    moves : callable
        Of a stall pattern for each input and for each output.
    period_cycles : int
        Of the block: pauses are up to twice as long.
    offers : callable, optional
        Of the same patterns: the cycles in which each input may begin to offer a word, where inputs wait for other ports.
    cut_cycles : int
        The most cycles until a reset cuts a pattern off.
    legal : tuple of Rule
        What words may hold, where that is not everything; proofs assume it.
    """

    kind: str
    name: str
    component: wiring.Component
    inputs: dict[str, list[int]]
    outputs: dict[str, list[int]]
    moves: Callable[[Sequence[Bits], Sequence[Bits]], Moves]
    period_cycles: int
    offers: Callable[[Sequence[Bits], Sequence[Bits]], Sequence[Bits]] | None = None
    cut_cycles: int = CUT_CYCLES
    legal: tuple[Rule, ...] = ()

    @property
    def title(self) -> str:
        """The configuration in words."""
        return f"{self.kind}: {self.name}"

    @property
    def ports(self) -> list[Port]:
        """Inputs, then outputs."""
        signals = flat_ports(self.component)
        names = [*((name, True) for name in self.inputs), *((name, False) for name in self.outputs)]
        return [Port(name, len(signals[f"{name}_payload"][0]), is_input) for name, is_input in names]

    @property
    def module(self) -> str:
        """Name of the block's module, and prefix of its memories."""
        return module_name(self.title)


def module_name(title: str) -> str:
    """A title as a Verilog identifier."""
    return "_".join(re.findall(r"\w+", title))


def files(cases: Sequence[Case]) -> list[dict[str, str]]:
    """Verilog and memories of each block as codegen generates them: relative path -> text."""
    platform = VerilogPlatform()
    texts = convert({case.module: case.component for case in cases}, platform)
    verilog = module_files(texts, platform, f"bitwright {hwsim.__version__}", lambda name: name)
    found = []
    for case in cases:
        names, wanted = [], [case.module]
        while wanted:
            names.append(wanted.pop())
            used = set(re.findall(r"^  (\w+) ", verilog[f"{names[-1]}.v"], re.MULTILINE))
            wanted += sorted(name for name in used if f"{name}.v" in verilog and name not in (*names, *wanted))
        text = {f"rtl/{name}.v": verilog[f"{name}.v"] for name in names}
        stems = re.findall(r'"mem/(\w+)\.mem"', "".join(text.values()))
        found.append(text | {f"mem/{stem}.mem": _mem(*platform.memories[stem]) for stem in dict.fromkeys(stems)})
    return found


@dataclass(frozen=True)
class Run:
    """The vectors of all stall patterns after one another.

    Parameters
    ----------
    lines : list of int
        One a clock cycle; fields from the most significant: reset; whether the ports are checked; valid and payload of each
        input; ready of each output; whether each input moves; whether each output moves, and its payload.
    starts : pattern -> number of its first line, which is a cycle of reset
    """

    lines: list[int]
    starts: dict[str, int]

    @property
    def ranges(self) -> dict[str, tuple[int, int]]:
        """Pattern -> numbers of its first and last line."""
        ends = [*list(self.starts.values())[1:], len(self.lines)]
        return {name: (start, end - 1) for (name, start), end in zip(self.starts.items(), ends, strict=True)}


def vectors(case: Case, seed: int = 1, longest: int | None = None, more_shares: Sequence[float] = ()) -> Run:
    """The bench of a case: each stall pattern behind one cycle of reset; every port stalls in its own way.

    A pattern is played to its end, while registers begin unknown.  Then it begins again some times and is cut off by a reset after any
    number of cycles, and by the end of the run after many.

    Parameters
    ----------
    longest : int, optional
        Cycles of a pattern at most; what is behind them is cut off.
    more_shares : sequence of float
        For each, both ends stall once more, and move data in that part of the cycles of a stretch.
    """
    rng = np.random.default_rng(seed)
    patterns = [_patterns(case.period_cycles, seed + 100 * n, more_shares) for n in range(len(case.inputs) + len(case.outputs))]
    ports, lines, starts = case.ports, [], {}
    for name in patterns[0]:
        starts[name] = len(lines)
        sources = [patterns[n][name][0] for n in range(len(case.inputs))]
        sinks = [patterns[len(case.inputs) + n][name][1] for n in range(len(case.outputs))]
        played = _pattern(case, ports, sources, sinks)[:longest]
        lines += played
        for cut in (*rng.integers(2, min(case.cut_cycles, len(played)), CUTS - 1), 4 * case.cut_cycles):
            lines += played[:cut]
    return Run(lines, starts)


def _patterns(period_cycles: int, seed: int, more_shares: Sequence[float]) -> dict[str, tuple[Bits, Bits]]:
    more = [stall_patterns(period_cycles, seed + 10_000 * n, share) for n, share in enumerate(more_shares, 1)]
    return stall_patterns(period_cycles, seed) | {f"stalling_both_{n}": one["stalling_both"] for n, one in enumerate(more, 2)}


def _pattern(case: Case, ports: list[Port], sources: list[Bits], sinks: list[Bits]) -> list[int]:
    taken, given = case.moves(sources, sinks)
    sources = list(case.offers(sources, sinks)) if case.offers else sources
    for moves, words in zip([*taken, *given], [*case.inputs.values(), *case.outputs.values()], strict=True):
        assert len(moves) == len(words), f"{case.title}: the model moves {len(moves)} of {len(words)} words"
    end = 1 + max(cycle for moves in (*taken, *given) for cycle in moves)
    fields: list[list[tuple[int, int]]] = []  # of every cycle: (value, bits)
    taken_at, given_at = [set(moves) for moves in taken], [set(moves) for moves in given]
    came, left, holds = [0] * len(taken), [0] * len(given), [False] * len(taken)
    inputs = [(port, words) for port, words in zip(ports, case.inputs.values(), strict=False)]
    outputs = [(port, words) for port, words in zip([port for port in ports if not port.is_input], case.outputs.values(), strict=True)]
    for cycle in range(end + case.period_cycles + DRAIN_CYCLES):
        offers, moves_in, readies, moves_out = [], [], [], []
        for n, (port, words) in enumerate(inputs):
            holds[n] = came[n] < len(words) and (holds[n] or bool(sources[n][cycle % len(sources[n])]))
            word = words[min(came[n], len(words) - 1)]
            offers += [(holds[n], 1), (word if holds[n] else _other(word, port), port.bits)]
            moves = cycle in taken_at[n]
            moves_in.append((moves, 1))
            came[n] += moves
            holds[n] = holds[n] and not moves
        for n, (port, words) in enumerate(outputs):
            readies.append((cycle >= end or sinks[n][cycle % len(sinks[n])], 1))
            moves = cycle in given_at[n]
            moves_out += [(moves, 1), (words[left[n]] if moves else 0, port.bits)]
            left[n] += moves
        fields.append([(0, 1), (1, 1), *offers, *readies, *moves_in, *moves_out])
    idle = [(0, bits) for _, bits in fields[0]]
    return [_line([(1, 1), *idle[1:]]), *map(_line, fields)]


def _other(word: int, port: Port) -> int:
    """What is on a port while nothing is offered: no word that anyone wants."""
    return ~word & (1 << port.bits) - 1


def _line(fields: Sequence[tuple[int, int]]) -> int:
    line = 0
    for value, bits in fields:
        line = line << bits | int(value)
    return line

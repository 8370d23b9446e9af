"""What the streams of a block must obey, as Verilog assertions around it.

- Rules: valid is low in reset; a word that is offered stays, unchanged, until it is taken; see `netlist` for the one that no
  assertion says, that valid does not look at ready.
- Counts: the words taken so far say how many may have been given (`Flow`).  No word beyond that is ever offered, and each is
  offered within a number of cycles, ready or not: so none is lost, made twice or made up, and the block never stands still.
- Data (`Spec`): one round, chosen freely among all, is remembered as it comes, and what it makes must come out in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.blocks.stream_block import port_names
from codegen.templates import render
from hwsim.engines.base import Engine, Word
from hwsim.engines.eie import Eie
from hwsim.engines.fifo import StreamFifo
from hwsim.engines.fork import Fork
from hwsim.schedule import Buffer, Schedule
from intir import IntType

from .dut import Dut

TOP = "proof"
#: Numbers in specifications have so many bits.
NUMBER_BITS = 40

#: Cycles within which a sparse engine as small as ours has done with a frame.
EIE_PATIENCE = 40

#: Elements as integers, by input, word of the round and lane: names of Verilog wires.
Elements = list[list[list[str]]]


@dataclass(frozen=True)
class Flow:
    """How many words of an output the words of one input allow.

    Parameters
    ----------
    first : int
        Words before any of this input has come (an output may need other inputs first).
    makes : tuple of int
        For each word of a round, how many more.
    most : int
        No more than this are ever owed.
    patience : int
        Cycles after which a word that is owed by all inputs is offered.
    passes : bool
        A word is given while it is still offered at the input.
    room : int or None
        As long as fewer are owed, the input is ready.
    """

    first: int
    makes: tuple[int, ...]
    most: int
    patience: int
    passes: bool = False
    room: int | None = None


@dataclass(frozen=True)
class Spec:
    """What a round gives, written from the definition of the operation.

    Parameters
    ----------
    values : callable
        Names of the round's elements -> a Verilog expression for each element of each word that it gives, (words, lanes).
    """

    values: Callable[[Elements], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class StreamHarness:
    """A block with assertions around it.

    Parameters
    ----------
    dut : Dut
    engine : Engine
        Its parameters.
    spec : Spec, optional
        What a round gives; without it, rules and counts only.
    """

    dut: Dut
    engine: Engine
    spec: Spec | None = None

    @property
    def files(self) -> dict[str, str]:
        """Everything that a solver reads; the top module is `TOP`."""
        return {**self.dut.files, f"{TOP}.sv": self._text()}

    def _text(self) -> str:
        ins, outs = list(self.engine.words_in), [self.engine.word_out] * self.engine.streams_out
        in_names, out_names = port_names("i", len(ins)), port_names("o", len(outs))
        made = [flow_of(self.engine, n) for n in range(len(ins))]
        flows = []
        for source, flow in zip(in_names, made, strict=True):
            for target in out_names:
                usual = Counter(flow.makes).most_common(1)[0][0]
                flows.append({
                    "name": source + target, "input": source, "output": target, "first": flow.first, "most": flow.most,
                    "bits": (flow.most + max(flow.makes) + 1).bit_length(), "passes": flow.passes, "room": flow.room, "usual": usual,
                    "makes": [(place, words) for place, words in enumerate(flow.makes) if words != usual],
                })
        patience = max(flow.patience for flow in made)
        counts = [len(flow.makes) for flow in made]
        return render(
            "proof_stream.sv.j2", top=TOP, block=self.dut.module, flows=flows, source_keeps_rules=made[0].passes,
            inputs=[{"name": name, "bits": word.bits, "words": count, "at_bits": max(1, (count - 1).bit_length())}
                    for name, word, count in zip(in_names, ins, counts, strict=True)],
            outputs=[{"name": name, "bits": word.bits, "patience": patience, "idle_bits": max(1, (patience + 1).bit_length()),
                      "due": " && ".join(f"{flow['name']}_owed != 0" for flow in flows if flow["output"] == name)}
                     for name, word in zip(out_names, outs, strict=True)],
            watch=self._watch(in_names, ins, counts) if self.spec else None)

    def _watch(self, names: list[str], words: list[Word], counts: list[int]) -> dict[str, object]:
        assert self.spec is not None
        lines, elements = [], []
        for name, word, count in zip(names, words, counts, strict=True):
            elements.append([[f"{name}_{place}_{lane}" for lane in range(word.lanes)] for place in range(count)])
            for place in range(count):
                for lane in range(word.lanes):
                    bits = f"{name}_word{place}[{(lane + 1) * word.type.bits - 1}:{lane * word.type.bits}]"
                    lines.append(f"wire signed [{NUMBER_BITS - 1}:0] {name}_{place}_{lane} = {number(bits, word.type)};")
        given = []
        out = self.engine.word_out
        for k, row in enumerate(self.spec.values(elements)):
            assert len(row) == out.lanes
            for lane, value in enumerate(row):
                lines.append(f"wire signed [{NUMBER_BITS - 1}:0] y_{k}_{lane} = {value};")
                lines.append(f"wire [{out.type.bits - 1}:0] code_{k}_{lane} = {code(f'y_{k}_{lane}', out.type)};")
            given.append("{" + ", ".join(f"code_{k}_{lane}" for lane in reversed(range(out.lanes))) + "}")
        return {
            # The first input's first word begins a round: other inputs wait for it, or come with it.
            "moves": f"{names[0]}_moves", "at_start": " && ".join(f"{name}_at == 0" for name in names),
            "words": [{"name": f"{name}_word{place}", "port": name, "place": place, "bits": word.bits}
                      for name, word, count in zip(names, words, counts, strict=True) for place in range(count)],
            "lines": lines, "expected": given, "count": len(given), "k_bits": max(1, (len(given) - 1).bit_length()),
        }


def rule_files(dut: Dut, inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, str]:
    """A module with assertions about the rules of its output streams only; its top module is `TOP`."""
    ins, outs = ([{"name": name, "bits": dut.ports[f"{name}_payload"]} for name in names] for names in (inputs, outputs))
    text = render("proof_stream.sv.j2", top=TOP, block=dut.module, flows=[], source_keeps_rules=False, inputs=ins, outputs=outs, watch=None)
    return {**dut.files, f"{TOP}.sv": text}


def number(bits: str, kind: IntType) -> str:
    """The integer that an element stands for, from its bits."""
    if kind.is_coded:
        return f"{kind.lo} + {kind.step} * $signed({{1'b0, {bits}}})"
    return f"$signed({bits})" if kind.signed else f"$signed({{1'b0, {bits}}})"


def code(value: str, kind: IntType) -> str:
    """The bits that stand for an integer."""
    return f"({value} - ({kind.lo})) / {kind.step}" if kind.is_coded else value


def flow_of(engine: Engine, n: int) -> Flow:
    """What an engine's schedule says about its input number n."""
    if isinstance(engine, StreamFifo):
        return Flow(0, (1,), engine.depth, 0, room=engine.depth)
    if isinstance(engine, Fork):
        return Flow(0, (1,), 1, 0, passes=True)
    if isinstance(engine, Eie):  # how long a frame takes depends on its data
        return Flow(0, (*[0] * (engine.words_in_frame - 1), engine.words_out_frame), 3 * engine.words_out_frame, EIE_PATIENCE)
    schedule = engine.schedule
    if isinstance(schedule, Buffer):
        available = np.maximum.accumulate(schedule.available)  # words go out in their order: one waits for those before it
        makes = tuple(int((available == k + 1).sum()) for k in range(schedule.words_in))
        # Buffers hold a round more than they give.
        return Flow(0, makes, 2 * schedule.words_out + schedule.latency_cycles, schedule.latency_cycles + 1)
    assert isinstance(schedule, Schedule)
    return _sequenced(schedule, n)


def _sequenced(schedule: Schedule, n: int) -> Flow:
    needs, emits = np.atleast_2d(schedule.needs.T)[n], schedule.emits
    steps = np.flatnonzero(needs)
    ends = np.append(steps[1:], steps[0] + len(needs))
    twice = np.append(emits, emits)
    makes = [int(twice[start:end].sum()) for start, end in zip(steps, ends, strict=True)]
    # The longest way from the last word that an output needs, or the output before it, to the output.
    starts = np.append(schedule.needs.reshape(len(needs), -1).any(axis=1), np.zeros(len(needs), np.bool_))
    events = np.flatnonzero(starts | np.roll(starts, len(needs)) | np.append(False, twice[:-1]))
    gap = max(int(e - events[events <= e].max()) for e in np.flatnonzero(twice) if e >= len(needs))
    return Flow(int(emits[:steps[0]].sum()), tuple(makes), schedule.latency_cycles + sum(makes), schedule.latency_cycles + gap)

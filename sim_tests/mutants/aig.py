"""And-inverter graphs with registers, read from Yosys and written for abc (AIGER 1.9, http://fmv.jku.at/aiger)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Literals: twice a variable's number, one more for its negation.
FALSE, TRUE = 0, 1


@dataclass(frozen=True)
class Circuit:
    """A netlist of AND gates and registers.

    Parameters
    ----------
    inputs, latches : list of int
        Their literals.
    following : list of int
        What each register holds next.
    outputs : list of int
    gates : list of (int, int, int)
        Literal, and what it is the AND of; in an order in which each gate comes behind those it reads.
    input_names, output_names : (name, bit) -> number
    """

    inputs: list[int]
    latches: list[int]
    following: list[int]
    outputs: list[int]
    gates: list[tuple[int, int, int]]
    input_names: dict[tuple[str, int], int]
    output_names: dict[tuple[str, int], int]


def read(text: str, names: str) -> Circuit:
    """A circuit from `write_aiger -ascii -map`."""
    lines = text.splitlines()
    _, inputs, latches, outputs, gates = (int(number) for number in lines[0].split()[1:6])
    numbers = [[int(number) for number in line.split()] for line in lines[1:1 + inputs + latches + outputs + gates]]
    rows = numbers[inputs:inputs + latches]
    at = inputs + latches
    found: dict[str, dict[tuple[str, int], int]] = {"input": {}, "output": {}}
    for line in names.splitlines():
        kind, number, bit, name = line.split(maxsplit=3)
        if kind in found:
            found[kind][name, int(bit)] = int(number)
    return Circuit([row[0] for row in numbers[:inputs]], [row[0] for row in rows], [row[1] for row in rows],
                   [row[0] for row in numbers[at:at + outputs]], [(row[0], row[1], row[2]) for row in numbers[at + outputs:]],
                   found["input"], found["output"])


class Builder:
    """A circuit in the making."""

    def __init__(self) -> None:
        self.kinds: list[tuple[int, int] | None] = [None]  # of a variable: what it is the AND of, or None
        self.inputs: list[int] = []
        self.latches: dict[int, int] = {}
        self._known: dict[tuple[int, int], int] = {}

    def _new(self, kind: tuple[int, int] | None) -> int:
        self.kinds.append(kind)
        return 2 * (len(self.kinds) - 1)

    def input(self) -> int:
        """A free input."""
        self.inputs.append(self._new(None))
        return self.inputs[-1]

    def latch(self) -> int:
        """A register that begins as 0; what it holds next is set in `latches`."""
        literal = self._new(None)
        self.latches[literal] = FALSE
        return literal

    def all(self, *literals: int) -> int:
        """AND."""
        result = TRUE
        for literal in literals:
            result = self._and(result, literal)
        return result

    def _and(self, a: int, b: int) -> int:
        a, b = max(a, b), min(a, b)
        if b == FALSE or a == b ^ 1:
            return FALSE
        if b in (TRUE, a):
            return a
        if (a, b) not in self._known:
            self._known[a, b] = self._new((a, b))
        return self._known[a, b]

    def any(self, *literals: int) -> int:
        """OR."""
        return self.all(*(literal ^ 1 for literal in literals)) ^ 1

    def differ(self, a: int, b: int) -> int:
        """XOR."""
        return self.any(self.all(a, b ^ 1), self.all(a ^ 1, b))

    def mux(self, choice: int, yes: int, no: int) -> int:
        """``choice ? yes : no``."""
        return self.any(self.all(choice, yes), self.all(choice ^ 1, no))

    def copy(self, circuit: Circuit, inputs: Sequence[int], latches: Sequence[int]) -> tuple[list[int], list[int]]:
        """The outputs of a circuit, and what its registers hold next."""
        literal = {FALSE: FALSE, TRUE: TRUE}
        for theirs, ours in [*zip(circuit.inputs, inputs, strict=True), *zip(circuit.latches, latches, strict=True)]:
            literal |= {theirs: ours, theirs ^ 1: ours ^ 1}
        for gate, a, b in circuit.gates:
            made = self._and(literal[a], literal[b])
            literal |= {gate: made, gate ^ 1: made ^ 1}
        return [literal[one] for one in circuit.outputs], [literal[one] for one in circuit.following]

    def binary(self, output: int) -> bytes:
        """The circuit as a binary AIGER file with one output."""
        gates = [number for number, kind in enumerate(self.kinds) if kind]
        order = [literal // 2 for literal in (*self.inputs, *self.latches)] + gates
        place = {0: 0} | {number: n for n, number in enumerate(order, 1)}

        def renamed(literal: int) -> int:
            return 2 * place[literal // 2] + (literal & 1)

        parts = [f"aig {len(order)} {len(self.inputs)} {len(self.latches)} 1 {len(gates)}\n".encode()]
        parts += [f"{renamed(following)}\n".encode() for following in self.latches.values()]
        parts.append(f"{renamed(output)}\n".encode())
        for number in gates:
            kind = self.kinds[number]
            assert kind
            high, low = sorted((renamed(kind[0]), renamed(kind[1])), reverse=True)
            parts += [_delta(2 * place[number] - high), _delta(high - low)]
        return b"".join(parts)


def _delta(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)

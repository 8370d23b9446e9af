"""Runs the mutants of a block through its bench, and asks for a proof of those that pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codegen.errors import ToolError

from . import equivalence, rtl, simulate
from .case import Case, vectors

#: What a mutant can come to.
KILLED, EQUIVALENT, EXCUSED, SURVIVED = "killed", "equivalent", "excused", "survived"
#: Of what registers and memories hold at the start.
RESET_SEED = 11
#: Both ends stall thrice more: with words that come one by one, which leave bubbles of every length, and with words that rarely wait.
MORE_SHARES = (0.2, 0.2, 0.8)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Parameters
    ----------
    number : int
    change : str
    outcome : str
        `KILLED`, `EQUIVALENT` (proven), `EXCUSED` (its reason is documented) or `SURVIVED`.
    how : str
        The first difference and its stall pattern, or what the proof said.
    """

    number: int
    change: str
    outcome: str
    how: str


@dataclass(frozen=True)
class Result:
    """The mutants of a case."""

    title: str
    cells: int
    cycles: int
    outcomes: list[Outcome]

    def count(self, outcome: str) -> int:
        """How many came to that."""
        return sum(one.outcome == outcome for one in self.outcomes)

    @property
    def by_pattern(self) -> dict[str, int]:
        """How many died first in each stall pattern."""
        found: dict[str, int] = {}
        for one in self.outcomes:
            if one.outcome == KILLED:
                pattern = one.how.partition(":")[0]
                found[pattern] = found.get(pattern, 0) + 1
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {outcome: self.count(outcome) for outcome in (KILLED, EQUIVALENT, EXCUSED, SURVIVED)} \
            | {"mutants": len(self.outcomes), "by_pattern": self.by_pattern}


def measure(case: Case, files: Mapping[str, str], folder: Path, *, mutants: int = 200, seed: int = 1, seconds: float = 60,
            excuses: Mapping[str, str] | None = None, objects: Path | None = None,
            progress: Callable[[str, int, int], None] = lambda step, done, total: None) -> Result:
    """Make mutants of a block, run its bench on each, and prove what survives.

    Parameters
    ----------
    case : Case
    files : relative path -> text
        Of `case.files`.
    folder : Path
        To work in.
    mutants, seed : int
        How many changes, at most, and which.
    seconds : float
        Of processor time, for a proof.
    excuses : change -> reason, optional
        Why a change does not matter, where there is no proof.
    objects : Path, optional
        Keeps what every simulation has.
    progress : callable
        Told the step, and how much of it is done.

    Raises
    ------
    ToolError
        If a tool is missing or fails, or the unchanged netlist does not pass.
    """
    progress("mutating", 0, 1)
    made = rtl.mutated(files, case.module, mutants, seed)
    run = vectors(case, more_shares=MORE_SHARES)
    progress("compiling", 0, 1)
    memories = {name: text for name, text in files.items() if name.startswith("mem/")}
    bench = simulate.verilator(folder, [simulate.Bench(case, run, {f"{case.module}.v": made.verilog} | memories)], mutant_bits=rtl.MUTANT_BITS,
                               objects=objects)
    if wrong := bench.first_difference(seed=RESET_SEED):
        raise ToolError(f"{case.title}: the block fails its bench without any change ({wrong})")
    outcomes, both = [], None
    for done, mutant in enumerate(made.mutants):
        progress("running", done, len(made.mutants))
        how = bench.first_difference(mutant=mutant.number, seed=RESET_SEED)
        if how:
            outcomes.append(Outcome(mutant.number, mutant.text, KILLED, how))
            continue
        if excuse := (excuses or {}).get(mutant.text, ""):
            outcomes.append(Outcome(mutant.number, mutant.text, EXCUSED, excuse))
            continue
        if both is None:
            both = equivalence.circuit(made, files)
        proof = equivalence.prove(case, both, mutant.number, seconds)
        outcomes.append(Outcome(mutant.number, mutant.text, EQUIVALENT if proof == equivalence.PROVEN else SURVIVED, proof))
    progress("running", len(made.mutants), len(made.mutants))
    return Result(case.title, made.cells, len(run.lines), outcomes)

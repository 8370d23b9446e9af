"""A proof: what is claimed, how it is shown, and what came of it."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .solver import Outcome, solve

#: One of these says how far a proof reaches.
FOR_ALL_TIME = "PDR, for all time"
FOR_ALL_INPUTS = "SAT, for all inputs"
BY_NETLIST = "netlist, for all states"
BY_SUMS = "netlist, for all inputs"


@dataclass(frozen=True)
class Proof:
    """One entry of the list.

    Parameters
    ----------
    block : str
        What hardware, with its sizes.
    claim : str
    method : str
        How it is shown, and how far that reaches.
    run : callable
        Shows it.
    quick : bool
        Belongs to those that the tests run.
    """

    block: str
    claim: str
    method: str
    run: Callable[[], Outcome]
    quick: bool = False

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.block}: {self.claim}"


@dataclass(frozen=True)
class Result:
    """What came of a proof, and how long it took."""

    proof: Proof
    outcome: Outcome
    seconds: float


def attempt(proof: Proof) -> Result:
    """Run a proof; its seconds are those of the processor, its solvers' included, whatever else the machine does."""
    start = _seconds()
    outcome = proof.run()
    return Result(proof, outcome, _seconds() - start)


def _seconds() -> float:
    mine, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in (mine, children))


def by_solver(top: str, files: Callable[[], Mapping[str, str]], engine: str, depth: int = 0) -> Callable[[], Outcome]:
    """A proof by a solver; its files are made when it runs."""
    return lambda: solve(top, files(), engine, depth)


def bounded(cycles: int) -> str:
    """The method's name for a bounded proof."""
    return f"BMC, {cycles} cycles"

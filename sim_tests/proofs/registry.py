"""The list of all proofs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hwsim.engines.eie import Eie
from hwsim.engines.popcount import PopcountTree

from . import popcount
from .cases import Case, cases, gemm_dut
from .dut import Dut
from .netlist import looks_at_no_ready
from .proof import BY_NETLIST, BY_SUMS, FOR_ALL_INPUTS, FOR_ALL_TIME, Proof, bounded, by_solver
from .requant import requant_cases
from .shell import shell_dut, shell_files
from .solver import Outcome
from .streams import TOP, rule_files

#: Trees compared with a plain sum: (size, pairs, family).
SMALL_TREES = [(8, "xnor", "xilinx"), (16, "xnor", "xilinx"), (24, "xnor", "xilinx"), (24, "and", "xilinx"), (24, None, "xilinx"),
               (16, "xnor", "ecp5"), (24, "xnor", "ecp5"), (16, "xnor", "generic")]
#: Trees whose cells are added up.
LARGE_TREES = [(32, "xnor", "xilinx"), (64, "and", "xilinx"), (128, None, "xilinx"), (128, "xnor", "xilinx"), (128, "xnor", "ecp5")]


def proofs() -> list[Proof]:
    """All of them, each block's together."""
    return [*(proof for case in cases() for proof in _of_streams(case)), *_of_rules_alone(), *_of_shell(), *_of_popcounts(), *_of_requants()]


def _of_streams(case: Case) -> list[Proof]:
    found = [Proof(case.name, "stream rules, counts, no standstill", bounded(case.rule_cycles) if case.rule_cycles else FOR_ALL_TIME,
                   by_solver(TOP, partial(case.files, False), "bmc" if case.rule_cycles else "pdr", case.rule_cycles), case.quick),
             Proof(case.name, "valid and payload look at no ready", BY_NETLIST, lambda: looks_at_no_ready(case.dut), case.quick)]
    if case.spec is not None:
        method, engine = (bounded(case.cycles), "bmc") if case.cycles else (FOR_ALL_TIME, "pdr")
        found.append(Proof(case.name, "any round gives what it must, in its place", method,
                           by_solver(TOP, partial(case.files, True), engine, case.cycles), case.quick))
    return found


def _of_rules_alone() -> list[Proof]:
    """Blocks whose counts depend on their data or commands: the rules by themselves, for all time."""
    eie = next(case for case in cases() if isinstance(case.engine, Eie))
    found = []
    for name, make, inputs in ((eie.name, lambda: eie.dut, ["i"]), ("gemm 1 x 1, s3 x s3", gemm_dut, ["commands", "i"])):
        found.append(Proof(name, "stream rules", FOR_ALL_TIME, by_solver(TOP, partial(_rules, make, inputs), "pdr")))
    return [*found, Proof("gemm 1 x 1, s3 x s3", "valid and payload look at no ready", BY_NETLIST, lambda: looks_at_no_ready(gemm_dut()))]


def _rules(make: Callable[[], Dut], inputs: list[str]) -> dict[str, str]:
    return rule_files(make(), inputs, ["o"])


def _of_shell() -> list[Proof]:
    return [Proof("shell of a small design", claim, FOR_ALL_TIME, by_solver(TOP, partial(shell_files, bus), "pdr"), bus)
            for claim, bus in (("AXI4-Lite rules, an answer for each request", True), ("AXI4-Stream rules, whole frames", False))] \
        + [Proof("shell of a small design", "valid, data and answers look at no ready", BY_NETLIST, lambda: looks_at_no_ready(shell_dut()))]


def _of_popcounts() -> list[Proof]:
    found = [Proof(f"compressor cells, {family}, {pairs or 'bits'}", "each is the sum of its inputs", FOR_ALL_INPUTS,
                   by_solver(TOP, partial(popcount.cell_files, family, pairs), "bmc", 2), family == "ecp5" and pairs is None)
             for family in ("xilinx", "ecp5") for pairs in ("xnor", "and", None)]
    for size, pairs, family in SMALL_TREES:
        found.append(Proof(f"popcount {size} {pairs or 'bits'}, {family}", "equals a plain sum", FOR_ALL_INPUTS,
                           by_solver(TOP, partial(_tree, size, pairs, family), "bmc", 2), size == 8))
    for size, pairs, family in LARGE_TREES:
        found.append(Proof(f"popcount {size} {pairs or 'bits'}, {family}", "its cells add up to the sum", BY_SUMS,
                           partial(_sums, size, pairs, family), size == 32))
    return found


def _of_requants() -> list[Proof]:
    return [Proof(case.name, "rounds exactly, from any state", FOR_ALL_INPUTS,
                  by_solver(TOP, case.files, "bitwuzla", case.cycles), case.rounding == "half_even" and case.multiplier > 3)
            for case in requant_cases()]


def _tree(size: int, pairs: str | None, family: str) -> dict[str, str]:
    return popcount.tree_files(PopcountTree(size, pairs, family))


def _sums(size: int, pairs: str | None, family: str) -> Outcome:
    return popcount.telescopes(PopcountTree(size, pairs, family))

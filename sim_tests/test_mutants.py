"""A quick share of `make mutants`: what two benches do not see changes nothing; and the measurement itself can find a weak bench."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from codegen.bundle import load
from codegen.vectors import stall_patterns
from hwsim.dataflow import Fifo
from hwsim.schedule import Task
from sim_tests.mutants import equivalence, measure, rtl, shell, shell_equivalence
from sim_tests.mutants.aig import FALSE, TRUE, Builder, read
from sim_tests.mutants.case import Case, files
from sim_tests.mutants.cases import CASES
from sim_tests.mutants.loading import SETTLE_CYCLES, Loading, Network
from sim_tests.mutants.measure import EQUIVALENT, KILLED, SURVIVED, Result
from sim_tests.mutants.models import in_a_row

MUTANTS = 40


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Result]:
    objects = tmp_path_factory.mktemp("objects") / "all"

    def run(case: Case) -> Result:
        (text,) = files([case])
        return measure.measure(case, text, tmp_path_factory.mktemp("mutants"), mutants=MUTANTS, objects=objects)

    return run


@pytest.mark.parametrize("title", ["fifo: 5 words of 15 bits", "width: 2 to 6 elements of 4 bits"])
def test_no_mutant_survives(title: str, measured: Callable[[Case], Result]) -> None:
    result = measured(CASES[title]())
    assert len(result.outcomes) == MUTANTS
    assert [one for one in result.outcomes if one.outcome == SURVIVED] == []
    assert result.count(KILLED) > 0.7 * MUTANTS
    assert result.count(KILLED) + result.count(EQUIVALENT) == MUTANTS


def test_a_weak_bench_lets_mutants_survive(measured: Callable[[Case], Result]) -> None:
    """Words that are all alike say nothing about their order; the proof says that there is something to see."""
    case = CASES["fifo: 5 words of 15 bits"]()
    words = [0x5555] * 3
    weak = replace(case, inputs={"i": words}, outputs={"o": words}, moves=in_a_row(Fifo(5), 3, 3))
    survived = [one for one in measured(weak).outcomes if one.outcome == SURVIVED]
    assert len(survived) > 3
    assert {one.how for one in survived} == {equivalence.DIFFERENT}


def test_proofs_tell_what_shows_from_what_does_not() -> None:
    """Of a queue of five words, whose pointers end at 4: one bit of a comparison with 4 is of no use, another one is."""
    case = CASES["fifo: 5 words of 15 bits"]()
    (text,) = files([case])
    made = rtl.mutated(text, case.module, 400)
    both = equivalence.circuit(made, text)
    ready = next(one for one in made.mutants if one.text.startswith("Y[0] (wire i_ready[0])") and one.text.endswith("inverted"))
    assert equivalence.prove(case, both, ready.number) == equivalence.DIFFERENT
    assert equivalence.prove(case, both, 0) == equivalence.PROVEN


def test_networks_are_loaded_at_every_time() -> None:
    """Weights are offered in vain while a frame is in the engine, taken while its last word stands at the output, and with a frame's last word."""
    task = Task(4, 2, np.zeros(1, np.int64), np.full(1, 31))
    loading = Loading([Network(list(range(20)), [0] * 40, [0] * 20, task)] * 6, clear_cycles=3)
    stalls = [stall_patterns(30, seed, 0.4) for seed in (1, 2, 3)]
    waited, at_output, with_frame, behind_words = set(), set(), set(), set()
    for name in stalls[0]:
        played = loading.sessions([stalls[0][name][0], stalls[1][name][0]], [stalls[2][name][1]])
        for before, one in pairwise(played):
            waited.add(one.loads[0] - one.asks > 10)
            at_output.add(one.loads[0] < before.given[-1])
            with_frame.add(one.taken[3] == one.loads[0])
            behind_words.add(one.taken[0] < one.loads[0])
            assert one.loads[0] > before.given[-2]
            assert one.given[0] >= one.loads[-1] + SETTLE_CYCLES + 1 + 31  # c0 is a cycle later
    assert waited == at_output == with_frame == behind_words == {False, True}


def test_mutants_of_the_control_shell(tmp_path: Path) -> None:
    """Few of them, for cocotb's bench takes its time; proofs say of one that it shows, and that no change is none."""
    pytest.importorskip("cocotbext.axi")
    result = shell.measure(tmp_path, mutants=4)
    assert [one.outcome for one in result.outcomes].count(KILLED) >= 2
    assert [one for one in result.outcomes if one.outcome == SURVIVED] == []
    made = shell.mutated(load(tmp_path / "built"), 4, 1)
    both = equivalence.circuit(made, {})
    killed = next(one for one in result.outcomes if one.outcome == KILLED)
    assert shell_equivalence.prove(shell.TITLE, both, killed.number) != equivalence.PROVEN
    assert shell_equivalence.prove(shell.TITLE, both, 0) == equivalence.PROVEN


def test_gates_that_are_built() -> None:
    b = Builder()
    x, y = b.input(), b.input()
    assert [b.all(), b.all(x, FALSE), b.all(x, x ^ 1), b.all(x, TRUE), b.any()] == [TRUE, FALSE, FALSE, x, FALSE]
    assert b.all(x, y) == b.all(y, x) == b.any(x ^ 1, y ^ 1) ^ 1
    assert b.differ(x, x) == FALSE
    assert b.mux(TRUE, x, y) == x


def test_a_circuit_is_written_as_the_format_says() -> None:
    """A toggle, as in the report on AIGER: a register that holds its own negation next."""
    b = Builder()
    register = b.latch()
    b.latches[register] = register ^ 1
    assert b.binary(register) == b"aig 1 0 1 1 0\n3\n2\n"
    b = Builder()
    x, y = b.input(), b.input()
    assert b.binary(b.all(x, y)) == b"aig 3 2 0 1 1\n6\n\x02\x02"


def test_a_circuit_is_read() -> None:
    text = "aag 4 2 1 1 1\n2\n4\n6 8 6\n8\n8 4 2\n"
    one = read(text, "input 0 0 a\ninput 1 3 b\noutput 0 0 y\nlatch 0 0 r\n")
    assert (one.inputs, one.latches, one.following, one.outputs, one.gates) == ([2, 4], [6], [8], [8], [(8, 4, 2)])
    assert (one.input_names, one.output_names) == ({("a", 0): 0, ("b", 3): 1}, {("y", 0): 0})

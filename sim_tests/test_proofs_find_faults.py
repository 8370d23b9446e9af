"""Every kind of property fails where it should: proofs of blocks that were broken on purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwsim.engines.popcount import PopcountTree
from intir import signed
from sim_tests.proofs import __main__ as command
from sim_tests.proofs import popcount
from sim_tests.proofs.cases import Case, cases
from sim_tests.proofs.dut import Dut
from sim_tests.proofs.netlist import looks_at_no_ready
from sim_tests.proofs.proof import Proof
from sim_tests.proofs.requant import RequantCase
from sim_tests.proofs.solver import Outcome, solve
from sim_tests.proofs.streams import TOP, StreamHarness

CASES = {case.name: case for case in cases()}
FIFO, WIDTH, FORK = CASES["fifo 4 x 8 bits"], CASES["width 1 to 3, 4 bits"], CASES["fork to 2, 4 bits"]
MVU = CASES["mvu 4 x 4, pe 2, simd 2, xnor, 3 thresholds"]


def outcome(case: Case, dut: Dut, with_data: bool = False, engine: str = "bmc", cycles: int = 16) -> Outcome:
    return solve(TOP, StreamHarness(dut, case.engine, case.spec if with_data else None).files, engine, cycles)


#: What is wrong: the case, the Verilog and what it becomes, words of the assertions that may be the first to fail.
RULES: dict[str, tuple[Case, str, str, tuple[str, ...]]] = {
    "valid is high after reset": (WIDTH, "if (rst) o__valid <= 1'h0;", "if (rst) o__valid <= 1'h1;", ("was_rst", "owed != 0")),
    "valid drops when the source pauses": (WIDTH, "assign o_valid = o__valid;", "assign o_valid = o__valid & i_valid;", ("o_waited",)),
    "the payload moves while it waits": (WIDTH, "if (signal_11) o__payload <=", "if (i_valid) o__payload <=", ("o_payload == o_was",)),
    "words with their lowest bit set never come out": (FIFO, "assign o_valid = fifo_r_rdy;", "assign o_valid = fifo_r_rdy & ~o_payload[0];",
                                                       ("idle <",)),
    "a word is used that was not taken": (WIDTH, "assign i_ready = signal_2;", "assign i_ready = signal_2 & ~i_payload[0];", ("owed != 0",)),
    "a word is taken and not used": (WIDTH, "assign signal_11 = & { i_valid, signal_2 };",
                                     "assign signal_11 = & { i_valid, signal_2, i_payload != 4'd5 };", ("idle <", "owed <=")),
    "the queue is full one word too early": (FIFO, "fifo_level != 3'h4", "fifo_level != 3'h3", ("i_ready",)),
}


@pytest.mark.parametrize("fault", RULES)
def test_stream_rules_and_counts(fault: str) -> None:
    case, old, new, words = RULES[fault]
    found = outcome(case, case.dut.broken(old, new))
    assert found.result == "refuted"
    assert any(word in found.reason for word in words), found.reason
    assert "$enddefinitions" in found.trace


def test_order_and_data() -> None:
    swapped = FIFO.dut.broken(".raddr(fifo_r_port__addr)", ".raddr(fifo_r_port__addr ^ (fifo_level == 3'd3))")
    found = outcome(FIFO, swapped, with_data=True)
    assert found.result == "refuted"
    assert "expected" in found.reason or "o_was" in found.reason


@pytest.mark.parametrize("fault", ["threshold", "weight"])
def test_a_matrix_vector_unit_with_a_fault(fault: str) -> None:
    if fault == "threshold":
        dut = MVU.dut.broken("total0 >= port__data[5:3]", "total0 > port__data[5:3]")
    else:
        good = MVU.dut
        name = "mem/proof_mvu_weights.mem"
        first, *rest = good.files[name].splitlines()
        dut = replace(good, files={**good.files, name: "\n".join([f"{int(first, 16) ^ 2:x}", *rest])})
    found = outcome(MVU, dut, with_data=True, cycles=MVU.cycles)
    assert found.result == "refuted"
    assert "o_payload == expected" in found.reason


def test_a_valid_that_waits_for_ready() -> None:
    assert looks_at_no_ready(FIFO.dut.broken("assign o_valid = fifo_r_rdy;", "assign o_valid = fifo_r_rdy & o_ready;")) == \
        Outcome("refuted", "a path without a register leads from o_ready to o_valid")
    fork = FORK.dut
    assert looks_at_no_ready(fork).result == "proved"


def test_a_fault_needs_one_place() -> None:
    with pytest.raises(ValueError, match="'o_valid' is . times in the Verilog of proof_fifo"):
        FIFO.dut.broken("o_valid", "x")


def test_a_cell_with_a_wrong_table() -> None:
    files = popcount.cell_files("ecp5", None)
    name, text = next((name, text) for name, text in files.items() if "localparam" in text)
    value = text.split("'h", 1)[1].split(";", 1)[0]
    files[name] = text.replace(f"'h{value};", f"'h{int(value, 16) ^ 4:0{len(value)}x};", 1)
    assert solve(TOP, files, "bmc", 2).result == "refuted"


def test_a_tree_that_misses_an_input() -> None:
    tree = PopcountTree(12, None, "xilinx")
    good = popcount.tree_dut(tree)
    bad = good.broken(".row({ sum0[2:1], sum1[0] })", ".row({ sum0[2:1], sum0[0] })")
    assert popcount.telescopes(tree).result == "proved"
    assert popcount.telescopes(tree, bad).result == "refuted"
    assert solve(TOP, popcount.with_sum(tree, bad), "bmc", 2).result == "refuted"


def test_another_rounding() -> None:
    """A block that rounds ties up does not round them to even."""
    even, up = (RequantCase(signed(32), signed(8), 1_509_949_440, 38, -3, rounding) for rounding in ("half_even", "half_up"))
    assert solve(TOP, even.files(up.dut), "bitwuzla", even.cycles).result == "refuted"


def test_the_command_reports_what_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = WIDTH.dut.broken("assign o_valid = o__valid;", "assign o_valid = o__valid & i_valid;")
    listed = [Proof("width, broken", "stream rules", "BMC", lambda: outcome(WIDTH, broken), True),
              Proof("nothing", "holds", "none", lambda: Outcome("proved"), True)]
    monkeypatch.setattr(command, "proofs", lambda: listed)
    app = command.typer.Typer()
    app.command()(command.main)
    done = CliRunner().invoke(app, ["--traces", str(tmp_path)])
    assert done.exit_code == 1
    assert "1 of 2 proved" in done.output
    assert (tmp_path / "width_broken_stream_rules.vcd").stat().st_size > 0
    assert CliRunner().invoke(app, ["--only", "nothing"]).exit_code == 0
    assert CliRunner().invoke(app, ["--only", "no such proof"]).exit_code == 2
    assert CliRunner().invoke(app, ["--only", "("]).exit_code == 2

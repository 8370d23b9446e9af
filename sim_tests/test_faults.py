"""The check can fail: wrong bits, wrong cycles and broken streams are found, counted, and end in exit code 1."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import codegen.bundle
from bitwright.cli import app
from codegen.bundle import MANIFEST, Bundle, build
from codegen.cosim import FAULTS, verify
from codegen.errors import ToolError
from hwsim.engines.mvu import Mvu
from tests.networks import folded, mlp

GRAPH = mlp((16, 8, 6), name="tiny")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return build(GRAPH, folded(GRAPH, [(4, 4), (2, 4)], ["outputs", "inputs"]), tmp_path_factory.mktemp("faults") / "tiny")


@pytest.fixture
def edited(bundle: Bundle, tmp_path: Path) -> Callable[[str, Callable[[str], str]], Path]:
    """Change a file of a copy and its hash in the manifest, as someone would who wants it to pass."""
    def edit(name: str, change: Callable[[str], str]) -> Path:
        copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
        before = (copy / name).read_text()
        after = change(before)
        assert after != before
        (copy / name).write_text(after)
        manifest = json.loads((copy / MANIFEST).read_text())
        manifest["files"][name] = hashlib.sha256(after.encode()).hexdigest()
        (copy / MANIFEST).write_text(json.dumps(manifest))
        return copy

    return edit


def faults(folder: Path, *options: str) -> tuple[int, dict]:
    result = CliRunner().invoke(app, ["verify", str(folder), "--json", *options])
    assert "Traceback" not in result.stderr
    data = json.loads(result.stdout)
    for fault in FAULTS:
        assert data[fault] == sum(pattern[fault] for pattern in data["patterns"].values())
    assert data["passed"] == (not any(data[fault] for fault in FAULTS)) == (result.exit_code == 0)
    return result.exit_code, data


def test_what_is_right_passes(bundle: Bundle, tmp_path: Path) -> None:
    code, data = faults(bundle.path, "--frames", "7")
    assert (code, data["frames"], data["simulator"], data["top"]) == (0, 7, "verilator", "tiny")
    assert [pattern["beats"] for pattern in data["patterns"].values()] == [7 * 3] * 4


def test_one_wrong_weight_gives_wrong_bits_and_right_cycles(edited: Callable) -> None:
    """One of the 8 x 6 last weights turned: every logit of its output is off by two."""
    def turn(text: str) -> str:
        return f"{int(text[0], 16) ^ 1:x}" + text[1:]

    code, data = faults(edited("mem/tiny_l1_mvu_weights.mem", turn), "--frames", "5")
    assert code == 1
    assert data["differing_bits"] > 0
    assert all(pattern["differing_bits"] >= 5 for pattern in data["patterns"].values())
    for pattern in data["patterns"].values():
        seen = re.fullmatch(r"output frame (\d), beat \d: got (0x\w{4}, TLAST \d), cycle (\d+); expected (0x\w{4}, TLAST \d), cycle (\d+)",
                            pattern["first_difference"])
        assert seen
        assert (seen[1], seen[3]) == ("0", seen[5])  # the first frame has it already, in the right cycle
        assert seen[2] != seen[4]
    assert {fault: data[fault] for fault in FAULTS if fault != "differing_bits"} == dict.fromkeys(set(FAULTS) - {"differing_bits"}, 0)


def test_a_wrong_prediction_gives_wrong_cycles_and_right_bits(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Mvu.latency_cycles.fget
    monkeypatch.setattr(Mvu, "latency_cycles", property(lambda self: right(self) + 1))
    code, data = faults(bundle.path, "--frames", "3")
    assert code == 1
    assert data["differing_cycles"] > 0
    assert data["differing_bits"] == data["missing_beats"] == 0


def test_a_slower_rtl_gives_wrong_cycles(edited: Callable) -> None:
    """The input is taken in every other cycle only: the same bits, later."""
    def slow(text: str) -> str:
        gate = "    reg turn;\n    always @(posedge aclk) turn <= rst ? 1'b0 : !turn;\n"
        return text.replace("    assign s0_valid = s_axis_tvalid && is_open;", gate + "    assign s0_valid = s_axis_tvalid && is_open && turn;") \
            .replace("assign s_axis_tready = s0_ready && is_open;", "assign s_axis_tready = s0_ready && is_open && turn;")

    code, data = faults(edited("rtl/tiny.v", slow), "--frames", "3")
    assert code == 1
    assert data["differing_cycles"] > 0
    assert data["differing_bits"] == 0


def test_a_wrong_tlast_is_found(edited: Callable) -> None:
    code, data = faults(edited("rtl/tiny.v", lambda text: text.replace("assign m_axis_tlast = beat == 2'd2;", "assign m_axis_tlast = beat == 2'd1;")),
                        "--frames", "3")
    assert code == 1
    assert data["differing_tlast"] > 0
    assert data["differing_bits"] == data["differing_cycles"] == 0


def test_data_that_does_not_hold_is_found(edited: Callable) -> None:
    """While a beat waits, its data flickers; the beat that is taken is right."""
    code, data = faults(edited("rtl/tiny.v", lambda text: text.replace("assign m_axis_tdata = ", "assign m_axis_tdata = m_axis_tready ? 16'd0 | ")
                               .replace(";\n    assign m_axis_tvalid", " : 16'hffff;\n    assign m_axis_tvalid")), "--frames", "4")
    assert code == 1
    assert data["unstable_beats"] > 0
    assert data["patterns"]["unstalled"]["unstable_beats"] == 0  # nothing waits there
    assert data["patterns"]["stalling_sink"]["first_difference"].startswith("the beat that waits changes in cycle ")
    assert data["differing_bits"] == data["differing_cycles"] == 0


def test_a_dead_output_is_found(edited: Callable) -> None:
    code, data = faults(edited("rtl/tiny.v", lambda text: text.replace("assign m_axis_tvalid = ", "assign m_axis_tvalid = 1'b0 & ")), "--frames", "2")
    assert code == 1
    assert data["missing_beats"] == 4 * 2 * 3
    assert re.fullmatch(r"output frame 0, beat 0: got none; expected 0x\w{4}, TLAST 0, cycle \d+",
                        data["patterns"]["unstalled"]["first_difference"])


def test_a_beat_after_the_last_is_found(edited: Callable) -> None:
    """Long after the last of 3 x 3 beats, when the sink is always ready, one more comes."""
    def again(text: str) -> str:
        state = ("    reg [3:0] gone;\n    reg [5:0] later;\n    always @(posedge aclk)\n        if (rst) begin\n            gone <= 0;\n"
                 "            later <= 0;\n        end else begin\n            if (m_axis_tvalid && m_axis_tready) gone <= gone + 4'd1;\n"
                 "            if (gone == 9) later <= later + 6'd1;\n        end\n")
        return text.replace("    assign m_axis_tvalid = ", state + "    assign m_axis_tvalid = later == 50 || ")

    code, data = faults(edited("rtl/tiny.v", again), "--frames", "3")
    assert code == 1
    assert {fault: data[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0) | {"extra_beats": 4}
    for pattern in data["patterns"].values():
        cycle = pattern["last_output_cycle"] + 51
        assert re.fullmatch(rf"output frame 3, beat 0: got 0x\w{{4}}, TLAST 0, cycle {cycle}; expected none", pattern["first_difference"])


def test_data_that_is_taken_without_valid_is_found(edited: Callable) -> None:
    """The input's data is taken one cycle late, where it may be the next beat's or nobody's."""
    def late(text: str) -> str:
        return text.replace("= s_axis_tdata[", "= late[") \
            .replace("    wire rst = ", "    reg [3:0] late;\n    always @(posedge aclk) late <= s_axis_tdata[3:0];\n    wire rst = ")

    code, data = faults(edited("rtl/tiny.v", late), "--frames", "5")
    assert code == 1
    assert all(pattern["differing_bits"] > 0 for pattern in data["patterns"].values())
    assert data["differing_cycles"] == 0


def test_verilog_that_does_not_compile_is_an_error_with_a_log(edited: Callable, tmp_path: Path) -> None:
    folder = edited("rtl/tiny.v", lambda text: text.replace("endmodule", "endmodul"))
    result = CliRunner().invoke(app, ["verify", str(folder), "--frames", "1"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    log = folder.parent / "copy.verilator.log"
    assert result.stderr == (f"bitwright: the bench of '{folder}' ran 0 of 4 stall patterns under verilator (exit code 2); the simulator's "
                             f"output is in '{log}'\n")
    assert "endmodul" in log.read_text()


def test_icarus_where_it_is_installed(bundle: Bundle) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not installed")
    assert verify(bundle.path, frames=3, simulator="icarus").passed


def test_a_bundle_that_was_changed_is_not_run(bundle: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    (copy / "mem" / "tiny_l0_mvu_weights.mem").write_text("0\n")
    with pytest.raises(codegen.bundle.BundleError, match="is not the one that was built"):
        verify(copy, frames=1)


def test_zero_frames(bundle: Bundle) -> None:
    with pytest.raises(ToolError, match="^0 frames to verify; give 1 or more$"):
        verify(bundle.path, frames=0)

"""The bench's judgement of a trace, without a simulator: counts, unknown bits, and the first difference in words."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codegen.bundle import Bundle
from codegen.cosim import FAULTS, run_group
from codegen.templates import render

#: Two frames of two output beats, three input beats each; 8 bits out.
CASE = {"in_cycles": [0, 1, 2, 4, 5, 6], "out_cycles": [7, 8, 11, 12]}
RIGHT = "".join(f"in {cycle}\n" for cycle in CASE["in_cycles"]) + \
    "out 7 00001010 0\nout 8 11110000 1\nout 11 00000001 0\nout 12 00000010 1\n"
VECTORS = ('{"frames": 2, "ii_cycles": 4, "beats_out_per_frame": 2, "beats_in": ["1", "2", "3", "4", "5", "6"], '
           '"beats_out": ["a", "f0", "1", "2"], "patterns": {"unstalled": {}}}')

Judge = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    cocotb = pytest.importorskip("cocotb")
    folder = tmp_path_factory.mktemp("bench")
    (folder / "vectors.json").write_text(VECTORS)
    (folder / "bench.py").write_text(render("bench.py.j2", top="top", out_bits=8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_VECTORS", str(folder / "vectors.json"))
        patch.setenv("BENCH_RESULTS", str(folder / "results.json"))
        patch.setattr(cocotb, "plusargs", {"bench": str(folder)}, raising=False)
        bench = runpy.run_path(str(folder / "bench.py"))
    assert bench["FAULTS"] == FAULTS
    return lambda text: bench["compare"](bench["Trace"](text), CASE)


def test_no_path_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tb").mkdir()
    (tmp_path / "top.f").write_text("")
    (tmp_path / "tb" / "run.py").write_text(render("run.py.j2", top="top"))
    monkeypatch.delenv("PATH")
    monkeypatch.setenv("VERILATOR_ROOT", "")
    runpy.run_path(str(tmp_path / "tb" / "run.py"))["put_verilator_on_path"]()
    assert os.environ.get("PATH", os.defpath).endswith(os.defpath)


def test_objects_of_an_environment_that_has_gone(tmp_path: Path) -> None:
    (tmp_path / "top.f").write_text("")
    (tmp_path / "tb").mkdir()
    (tmp_path / "tb" / "run.py").write_text(render("run.py.j2", top="top"))
    for stem, header in (("old", "/no/such/venv/verilated.h"), ("new", __file__)):
        (tmp_path / f"{stem}.d").write_text(f"{stem}.o: {stem}.cpp \\\n {header}\n")
        (tmp_path / f"{stem}.o").write_text("")
    runpy.run_path(str(tmp_path / "tb" / "run.py"))["drop_stale"](tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.[do]")) == ["new.d", "new.o"]


def test_an_interrupted_simulation_ends(tmp_path: Path) -> None:
    """With everything that it started: the pipe has no writer then."""
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_group(["sh", "-c", "exec 9> alive; sleep 60 & echo started; echo started >&9; wait"], tmp_path)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert os.read(reader, 100) == b"started\n"
    for _ in range(100):
        with contextlib.suppress(BlockingIOError):
            assert os.read(reader, 100) == b""
            break
        time.sleep(0.05)
    else:
        pytest.fail("what the program started goes on")
    os.close(reader)


def test_what_is_right(judge: Judge) -> None:
    found = judge(RIGHT)
    assert {fault: found[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0)
    assert found["first_difference"] is None
    assert (found["beats"], found["first_output_cycle"], found["last_output_cycle"], found["predicted_last_output_cycle"]) == (4, 7, 12, 12)


@pytest.mark.parametrize(("before", "after", "counts", "words"), [
    ("11110000 1", "11100001 1", {"differing_bits": 2}, "output frame 0, beat 1: got 0xe1, TLAST 1, cycle 8; expected 0xf0, TLAST 1, cycle 8"),
    ("11110000 1", "1111xz00 1", {"differing_bits": 2}, "output frame 0, beat 1: got 0xfx, TLAST 1, cycle 8; expected 0xf0, TLAST 1, cycle 8"),
    ("out 11 ", "out 10 ", {"differing_cycles": 1},
     "output frame 1, beat 0: got 0x01, TLAST 0, cycle 10; expected 0x01, TLAST 0, cycle 11"),
    ("00000010 1", "00000010 x", {"differing_tlast": 1},
     "output frame 1, beat 1: got 0x02, TLAST x, cycle 12; expected 0x02, TLAST 1, cycle 12"),
    ("out 12 00000010 1\n", "", {"missing_beats": 1}, "output frame 1, beat 1: got none; expected 0x02, TLAST 1, cycle 12"),
    ("00000010 1\n", "00000010 1\nout 40 00000000 0\n", {"extra_beats": 1},
     "output frame 2, beat 0: got 0x00, TLAST 0, cycle 40; expected none"),
    ("in 5\n", "in 3\n", {"differing_cycles": 1}, "input frame 1, beat 1: taken in cycle 3; expected 5"),
    ("in 6\n", "", {"differing_cycles": 1}, "input frame 1, beat 2: taken in cycle none; expected 6"),
    ("out 12 ", "unstable 12\nout 12 ", {"unstable_beats": 1}, "the beat that waits changes in cycle 12"),
    ("in 0\n", "unknown 0\nin 0\n", {"differing_bits": 1}, "tvalid or tready is unknown in cycle 0"),
])
def test_each_fault(judge: Judge, before: str, after: str, counts: dict[str, int], words: str) -> None:
    assert RIGHT.count(before) == 1
    found = judge(RIGHT.replace(before, after))
    assert {fault: found[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0) | counts
    assert found["first_difference"] == words


def test_the_earliest_of_several(judge: Judge) -> None:
    """In time, not in order of the ports; an output of other bits comes after the input that was taken late."""
    found = judge(RIGHT.replace("11110000", "11110001").replace("in 4\n", "in 5\n").replace("in 5\nin 5\n", "in 5\nin 6\n"))
    assert found["first_difference"] == "input frame 1, beat 0: taken in cycle 5; expected 4"


def test_nothing_at_all(judge: Judge) -> None:
    found = judge("")
    assert (found["missing_beats"], found["differing_cycles"], found["last_output_cycle"]) == (4, 6, None)


def test_the_harness_is_lint_clean(bundle: Bundle) -> None:
    """With the design inside, every rule on: `verilator -Wall`, as the bench's build has it."""
    from tests.codegen.test_rtl import lint_of

    done = lint_of(bundle.path, ["--no-timing", "--top-module", "every_block_harness", "lint.vlt", "tb/every_block_harness.v",
                                 "-f", "every_block.f"])
    assert (done.returncode, done.stderr) == (0, "")

"""Sweeps: every point once, whatever is killed, wherever it runs; a file belongs to one sweep."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.explore.schedulers import SchedulerError, scheduled
from hwsim.explore.spec import SweepError, SweepSpec, axis_of, load_spec, spec_of
from hwsim.explore.sweep import FOUND, best, front, run_point, sweep
from hwsim.systems.machine_file import MachineError, load_machine
from hwsim.systems.run import simulate
from hwsim.systems.topologies import topology

ROOT = Path(__file__).resolve().parents[2]
RUN = ("-m", "tests.hwsim.sweep_run")
SPEC = SweepSpec(("lenet5", "lenet300"), ("edge_npu_int8",), (1, 4), axes=(
    axis_of("array.rows+array.columns", [8, 16], "t"), axis_of("clock_mhz", {"from": 100, "to": 400, "steps": 3, "scale": "log"}, "t")))


def rows_of(path: Path) -> list[dict[str, str]]:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# bitwright sweep 1, spec ")
    return list(csv.DictReader(lines[2:]))


def test_a_row_is_what_the_simulator_says(tmp_path: Path) -> None:
    rows = sweep(SPEC, tmp_path / "r.csv", jobs=1)
    assert len(rows) == len(SPEC) == 2 * 2 * 2 * 3
    for row, number in zip(rows, range(len(SPEC)), strict=True):
        point = SPEC.point(number)
        assert point.overrides["array.rows"] == point.overrides["array.columns"] == int(row["array.rows+array.columns"])
        report = simulate(topology(row["network"]), load_machine(row["machine"], point.overrides), batch=int(row["batch"]))
        assert int(row["point"]) == number
        assert int(row["cycles"]) == report.cycles
        assert float(row["frames_per_second"]) == report.frames_per_second
        assert float(row["energy_uj_per_frame"]) * report.batch * 1e6 == pytest.approx(report.total_pj)
        assert float(row["dram_bytes_per_frame"]) * report.batch == pytest.approx(report.dram_bytes)
    assert {row["clock_mhz"] for row in rows} == {"100.0", "200.0", "400.0"}
    kept = rows_of(tmp_path / "r.csv")
    assert [{name: cell for name, cell in row.items() if cell} for row in kept] == rows
    assert set(FOUND) <= set(kept[0])


def test_a_finished_sweep_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.csv"
    rows, text = sweep(SPEC, path, jobs=1), path.read_bytes()
    monkeypatch.setattr("hwsim.explore.sweep.run_points", lambda spec, numbers: pytest.fail(f"{numbers} computed again"))
    assert sweep(SPEC, path, jobs=1) == rows
    assert path.read_bytes() == text


@pytest.mark.parametrize("cut", [0, 5, 60, 400, 1500, 2501, -1])
def test_whatever_is_left_of_the_file_is_gone_on_with(tmp_path: Path, cut: int) -> None:
    """A kill, or a full disk, may cut a file anywhere."""
    path = tmp_path / "r.csv"
    rows = sweep(SPEC, path, jobs=1)
    text = path.read_bytes()
    path.write_bytes(text[:cut])
    assert sweep(SPEC, path, jobs=1) == rows
    assert path.read_bytes() == text


def test_invalid_points_are_rows(tmp_path: Path) -> None:
    spec = SweepSpec(("lenet5",), ("edge_npu_int8",), axes=(axis_of("sram.weights.kib", [256, 0, -3, 1e-9], "t"),))
    rows = sweep(spec, tmp_path / "r.csv", jobs=1)
    assert "error" not in rows[0]
    assert all("sram.weights.kib" in row["error"] and "cycles" not in row for row in rows[1:])
    assert front(rows) == [rows[0]]
    assert set(map(str, best(rows).values())) == {str(rows[0])}
    assert best(rows[1:]) == {} and front(rows[1:]) == []


def test_another_sweep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    sweep(SPEC, path, jobs=1)
    text = path.read_bytes()
    for other, said in ((replace(SPEC, batch=(1,)), "they differ in batch"), (replace(SPEC, axes=SPEC.axes[:1]), "they differ in axes"),
                        (replace(SPEC, random=3, seed=5), "they differ in random, seed")):
        with pytest.raises(SweepError, match=f"has the results of another sweep, {SPEC.fingerprint}, and this one is {other.fingerprint}: {said}"):
            sweep(other, path, jobs=1)
    (tmp_path / "n.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SweepError, match=r"is no file of a sweep's results \(it begins with 'a,b'\)"):
        sweep(SPEC, tmp_path / "n.csv", jobs=1)
    path.write_bytes(text[:-40] + b"\nx,y\n")
    with pytest.raises(SweepError, match=r"line 2[67], is no row of this sweep"):
        sweep(SPEC, path, jobs=1)
    with pytest.raises(SweepError, match="cannot write"):
        sweep(SPEC, tmp_path / "no" / "r.csv", jobs=1)


def test_a_changed_file_is_another_sweep(tmp_path: Path) -> None:
    machine = tmp_path / "m.toml"
    text = (ROOT / "hwsim/data/machines/edge_npu_int8.toml").read_text()
    machine.write_text(text)
    spec = SweepSpec(("lenet5",), (str(machine),))
    sweep(spec, tmp_path / "r.csv", jobs=1)
    machine.write_text(text.replace("clock_mhz = 1000", "clock_mhz = 900"))
    with pytest.raises(SweepError, match="a network's or a machine's file has changed since"):
        sweep(SweepSpec(("lenet5",), (str(machine),)), tmp_path / "r.csv", jobs=1)


def environment(tmp_path: Path, delay: float) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "SWEEP_DELAY": str(delay), "SWEEP_LOG": str(tmp_path / "log")}


def computed(tmp_path: Path) -> Counter[int]:
    return Counter(int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines())


def test_a_killed_sweep_goes_on(tmp_path: Path) -> None:
    """kill -9 of the whole group midway; then the same again: nothing is lost, no row is twice, and kept ones aren't computed again."""
    path, points = tmp_path / "r.csv", 40
    command = [sys.executable, *RUN, path, str(points), "local"]
    first = subprocess.Popen(command, env=environment(tmp_path, 0.1), cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    while not path.exists() or len(path.read_bytes().splitlines()) < 12:
        assert first.poll() is None
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kept = {int(row["point"]) for row in rows_of(path)}
    before = computed(tmp_path)
    assert 8 <= len(kept) < points
    (tmp_path / "log").unlink()
    subprocess.run(command, env=environment(tmp_path, 0), cwd=ROOT, check=True)
    rows = rows_of(path)
    assert [int(row["point"]) for row in rows] == list(range(points))
    again = computed(tmp_path)
    assert not kept & set(again)
    assert set(again) | kept == set(range(points))
    assert max((before + again).values()) <= 2  # what was computed but not kept when the kill came, and nothing else
    fresh = tmp_path / "fresh.csv"
    subprocess.run([sys.executable, *RUN, fresh, str(points), "local"], env=environment(tmp_path, 0), cwd=ROOT, check=True)
    assert fresh.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("scheduler", ["local", "dask", "ray"])
def test_a_killed_worker_costs_nothing(tmp_path: Path, scheduler: str) -> None:
    if scheduler != "local":
        pytest.importorskip({"dask": "distributed", "ray": "ray"}[scheduler], reason=f"{scheduler} is not installed")
    path, points = tmp_path / "r.csv", 40
    process = subprocess.Popen([sys.executable, *RUN, path, str(points), scheduler], env=environment(tmp_path, 0.1), cwd=ROOT,
                               stderr=subprocess.DEVNULL)
    while not (tmp_path / "log").exists() or len((tmp_path / "log").read_text().splitlines()) < 9:
        assert process.poll() is None
        time.sleep(0.05)
    victim = int((tmp_path / "log").read_text().split()[-1])
    assert victim != process.pid
    os.kill(victim, signal.SIGKILL)
    assert process.wait(timeout=120) == 0
    rows = rows_of(path)
    assert [int(row["point"]) for row in rows] == list(range(points))
    after = (tmp_path / "log").read_text().splitlines()
    assert max(number for number, line in enumerate(after) if int(line.split()[1]) == victim) < len(after) - 10  # others went on
    assert {int(row["point"]) for row in rows if row["error"]} == set(range(3, points, 7))


def test_two_sweeps_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    process = subprocess.Popen([sys.executable, *RUN, path, "40", "local"], env=environment(tmp_path, 0.1), cwd=ROOT,
                               start_new_session=True, stderr=subprocess.DEVNULL)
    while not path.exists() or not path.read_bytes():
        time.sleep(0.02)
    with pytest.raises(SweepError, match="another sweep writes .* just now"):
        sweep(SPEC, path, jobs=1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_schedulers_that_are_not_there() -> None:
    with pytest.raises(SchedulerError, match="there is no scheduler 'slurm'; choose one of local, dask, ray"):
        list(scheduled(str, [1], scheduler="slurm"))
    with pytest.raises(SchedulerError, match="means nothing for the scheduler local"):
        list(scheduled(str, [1], address="tcp://x:1"))


# Specs

TEXT = """
networks = ["lenet5"]
machines = "edge_npu_int8"
batch = [1, 8]
algorithm = ["best", "im2col"]

[axes]
"array.rows" = [8, 16]
clock_mhz = { from = 100, to = 1600, steps = 5, scale = "log" }
sram.weights.kib = { from = 64, to = 256, steps = 3 }
"""


def test_a_spec_file(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(TEXT)
    spec = load_spec(path).checked()
    assert len(spec) == 2 * 2 * 2 * 5 * 3
    assert [axis.values for axis in spec.axes] == [(8, 16), (100, 200, 400, 800, 1600), (64, 160, 256)]
    assert spec.point(0).values == {"array.rows": 8, "clock_mhz": 100, "sram.weights.kib": 64}
    assert spec.point(len(spec) - 1).values == {"array.rows": 16, "clock_mhz": 1600, "sram.weights.kib": 256}
    assert [spec.point(number).values["sram.weights.kib"] for number in range(4)] == [64, 160, 256, 64]


CHANGES = [
    ("networks =", "network =", "line 2: unknown key 'network'; did you mean 'networks'?"),
    ('["lenet5"]', "[5]", "line 2: networks holds 5; give names or paths in quotes"),
    ("[1, 8]", "[0]", "line 4: batch is 0; give a whole number from 1"),
    ("im2col", "im2row", "line 5: there is no algorithm 'im2row'; did you mean 'im2col'?"),
    ("[8, 16]", "[]", r"line 8: array.rows is \[\]; give a list of values"),
    ("from = 100,", "", "line 9: clock_mhz goes from nothing; give a number"),
    ("from = 100", "from = 2000", "line 9: clock_mhz goes from 2000 to 1600; give numbers that rise, above 0 for a log scale"),
    ("from = 100", "from = -1", "line 9: clock_mhz goes from -1 to 1600"),
    ("steps = 5", "steps = 1", "line 9: clock_mhz has 1 steps"),
    ("steps = 5", "stops = 5", "line 9: clock_mhz has an unknown key 'stops'; did you mean 'steps'?"),
    ('"log"', '"cubic"', "line 9: the scale of clock_mhz is 'cubic'; choose one of linear, log"),
    ("[8, 16]", "[8, 16", "is no valid TOML"),
]


@pytest.mark.parametrize(("old", "new", "said"), CHANGES, ids=[one[1] or "gone" for one in CHANGES])
def test_mistakes_in_a_spec_name_file_and_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(SweepError, match=f"sweep '.*s.toml'.*{said}"):
        load_spec(path)


@pytest.mark.parametrize(("data", "said"), [
    ({"axes": {"array.rosw": [1, 2]}}, "there is no key 'rosw' in [array]; did you mean 'rows'?"),
    ({"axes": {"array.rows": [0, -1]}}, "array.rows"),
    ({"machines": ["edge_npu"]}, "there is no machine 'edge_npu'"),
    ({"networks": ["lenet6"]}, "there is no topology 'lenet6'; did you mean 'lenet5'?"),
    ({"networks": []}, "the sweep has no networks"),
    ({"axes": {"clock_mhz": {"from": 100, "to": 200}}}, "a range without steps"),
    ({"axes": {"array.rows": [8], "array.rows+array.columns": [8]}}, "array.rows is in two axes"),
    ({"axes": {"a. b": [8]}}, "a. b"),
    ({"axes": {"clock_mhz": {"from": 1.0, "to": 9.0, "steps": 100_000}, "array.rows": list(range(1, 200))}}, "at most 10,000,000"),
])
def test_a_sweep_that_cannot_be_is_refused_at_once(data: dict[str, object], said: str) -> None:
    from intir import BitwrightError
    with pytest.raises(BitwrightError) as caught:
        sweep(spec_of({"networks": ["lenet5"], "machines": ["edge_npu_int8"]} | data), jobs=1)
    assert said in str(caught.value)
    assert isinstance(caught.value, (SweepError, MachineError)) or "topology" in said


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(1, 30), st.integers(0, 29))
def test_random_points_depend_on_seed_and_number_only(seed: int, count: int, number: int) -> None:
    spec = spec_of({"networks": ["lenet5", "lenet300"], "machines": ["edge_npu_int8"], "random": count, "seed": seed, "axes": {
        "clock_mhz": {"from": 100.0, "to": 1000.0, "scale": "log"}, "array.rows": {"from": 4, "to": 64}, "array.columns": [8, 16]}})
    assert len(spec) == count
    point = spec.point(number)
    assert point == replace(spec, random=count + 5).point(number)
    assert 100 <= point.values["clock_mhz"] <= 1000
    assert isinstance(point.values["array.rows"], int) and 4 <= point.values["array.rows"] <= 64
    assert point.values["array.columns"] in (8, 16)


def test_a_dataflow_machine_wants_a_network_with_weights() -> None:
    row = run_point(SweepSpec(("lenet5",), ("pynq_z1",)).point(0))
    assert "give a .intir file instead of a table of shapes" in row["error"]

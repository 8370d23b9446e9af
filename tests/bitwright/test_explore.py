"""`bitwright search` and `bitwright sweep`: what they write, show and refuse."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import intir
from bitwright.show_explored import ascii_plot, energy
from hwsim import plan as plans
from hwsim.design import make_design
from tests.bitwright.conftest import Files, invoke


def ok(*arguments: object) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.stderr
    return result.stdout


def refused(*arguments: object) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.stdout
    assert result.stderr.startswith("bitwright: ")
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def test_search_writes_what_it_shows(files: Files, tmp_path: Path) -> None:
    plan, front, plot = tmp_path / "p.toml", tmp_path / "f.csv", tmp_path / "f.svg"
    text = ok("search", files.intir, "--device", "xc7z010", "--fps", "5e6", "-o", plan, "--pareto", front, "--plot", plot, "--points", "6")
    assert "tiny on xc7z010 at 100 MHz" in text
    assert "frames/s" in text and all(f"wrote {path}" in text.replace("\n", "") for path in (plan, front, plot))
    design = make_design(intir.load(files.intir), plans.load(plan))
    assert design.rate()[0] <= 20
    with front.open() as file:
        rows = list(csv.DictReader(file))
    assert 2 <= len(rows) <= 6
    assert str(design.rate()[0]) in {row["initiation_interval_cycles"] for row in rows}
    assert set(rows[0]) == {"frames_per_second", "initiation_interval_cycles", "latency_us", "energy_uj_per_frame", "luts", "brams_18kbit", "dsps", "checked"}
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    ok("search", files.intir, "--device", "xc7z010", "--points", "3", "--plot", tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    ok("sim", files.intir, "--plan", plan)


def test_search_for_scripts(files: Files) -> None:
    data = json.loads(ok("search", files.intir, "--device", "ecp5-25k", "--objective", "latency", "--points", "0", "--json"))
    assert data["front"] == []
    assert data["objective"] == "latency" and data["best"]["checked"] == "sized"
    cheap = json.loads(ok("search", files.intir, "--device", "ecp5-25k", "--objective", "luts", "--points", "0", "--json", "--energy", "45nm"))
    assert cheap["best"]["luts"] < data["best"]["luts"] and cheap["best"]["latency_us"] > data["best"]["latency_us"]


@pytest.mark.parametrize(("options", "said"), [
    (["--device", "xc9"], "device is 'xc9', which is not known; choose one of xc7s50"),
    (["--device", "xc7z010", "--fps", "1e12"], "is out of reach: the fastest design found makes"),
    (["--device", "xc7z010", "--fps", "0"], "0 frames per second wanted; give a positive number"),
    (["--device", "xc7z010", "--objective", "speed"], "the objective is 'speed'; choose one of fps, latency, luts, energy"),
    (["--device", "xc7z010", "--plot", "x.gif"], "cannot draw 'x.gif': pictures end in .svg, .png, .pdf"),
    (["--device", "xc7z010", "--points", "0", "--plot", "x.svg"], "--points is 0, but --pareto and --plot want a front"),
    (["--device", "xc7z010", "--energy", "46nm"], "46nm"),
    (["--device", "xc7z010", "-o", "/nowhere/p.toml"], "cannot write '/nowhere/p.toml'"),
])
def test_search_refuses(files: Files, options: list[str], said: str) -> None:
    assert said in refused("search", files.intir, *options)


SWEEP = ["sweep", "--network", "lenet5", "--machine", "edge_npu_int8", "--set", "array.rows=8,16", "--set", "clock_mhz=100:400:3:log", "--jobs", "1"]


def test_sweep_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    text = ok(*SWEEP, "-o", path)
    assert "lenet5: the best of 6 points" in text and "fastest" in text
    before = path.read_bytes()
    data = json.loads(ok(*SWEEP, "-o", path, "--json"))
    assert path.read_bytes() == before
    assert (data["points"], data["errors"]) == (6, 0)
    assert data["fingerprint"] in before.decode().splitlines()[0]
    assert data["best"]["lenet5"]["fastest"]["clock_mhz"] == "400.0"
    assert data["best"]["lenet5"]["fastest"] in data["front"]["lenet5"]


def test_sweep_from_a_file_with_options_on_top(tmp_path: Path) -> None:
    spec = tmp_path / "s.toml"
    spec.write_text('networks = ["lenet5"]\nmachines = ["edge_npu_int8"]\nbatch = [1, 2]\n[axes]\n"array.rows" = [8, 16]\n')
    assert json.loads(ok("sweep", spec, "--jobs", "1", "--json"))["points"] == 4
    assert json.loads(ok("sweep", spec, "--jobs", "1", "--json", "--batch", "4", "--set", "array.rows=32"))["points"] == 1
    assert json.loads(ok("sweep", spec, "--jobs", "1", "--json", "--network", "lenet300", "--random", "3", "--seed", "1"))["points"] == 3
    text = ok("sweep", spec, "--jobs", "1", "--set", "sram.weights.kib=1e-9,256")
    assert "4 of 8 points are invalid; the first: " in text


def test_sweep_takes_a_lowered_network(files: Files) -> None:
    data = json.loads(ok("sweep", "--network", files.intir, "--machine", "edge_npu_int8", "--machine", "xnor_64", "--jobs", "1", "--json"))
    assert (data["points"], data["errors"]) == (2, 0)


@pytest.mark.parametrize(("options", "said"), [
    (["sweep"], "the sweep has no networks; name one in the file, or with --network"),
    (["sweep", "--network", "lenet5"], "the sweep has no machines"),
    (["sweep", "no.toml"], "cannot read the sweep 'no.toml'"),
    ([*SWEEP, "--set", "array.rosw=1,2"], "there is no key 'rosw' in [array]; did you mean 'rows'?"),
    ([*SWEEP, "--set", "array.rows"], "--set is 'array.rows'; write KEY=VALUES"),
    ([*SWEEP, "--set", "clock_mhz=400:100:3"], "clock_mhz goes from 400 to 100; give numbers that rise"),
    ([*SWEEP, "--batch", "1,x"], "batch is 'x'; give a whole number"),
    ([*SWEEP, "--algorithm", "fast"], "there is no algorithm 'fast'"),
    ([*SWEEP, "--scheduler", "slurm"], "there is no scheduler 'slurm'; choose one of local, dask, ray"),
    ([*SWEEP, "--scheduler", "local", "--address", "tcp://h:1"], "means nothing for the scheduler local"),
])
def test_sweep_refuses(options: list[str], said: str) -> None:
    assert said in refused(*options)


def test_a_plot_of_text() -> None:
    text = ascii_plot([(1, 1000), (10, 100), (100, 10)], "frames/s", "LUTs", 40, 5)
    lines = text.splitlines()
    assert [line.find("*") for line in lines[1:6]] == [lines[1].find("*"), -1, lines[3].find("*"), -1, len(lines[5]) - 1]
    assert lines[1].startswith(" 1,000 |*") and lines[-1].endswith("100 frames/s")
    assert max(map(len, lines)) <= 40
    assert ascii_plot([(5, 5)], "x", "y", 40).count("*") == 1


def test_energies_read_well() -> None:
    assert [energy(pj) for pj in (1.5e9, 2.5e6, 3.25e3, 0.5)] == ["1.5 mJ", "2.5 uJ", "3.25 nJ", "0.0005 nJ"]

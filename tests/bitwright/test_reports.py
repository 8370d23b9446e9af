"""`bitwright sim --html --csv --trace`: what is written is the report, whole or not at all."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

import bitwright
from hwsim.reports.html import html_page
from hwsim.reports.tables import csv_table
from tests.bitwright.conftest import Files, invoke


def test_the_three_files(files: Files, tmp_path: Path) -> None:
    pytest.importorskip("perfetto", reason="the package perfetto is not installed")
    paths = {option: tmp_path / f"tiny.{option}" for option in ("html", "csv", "trace")}
    done = invoke("sim", files.intir, "--plan", files.plan, "--json", *(word for name, path in paths.items() for word in (f"--{name}", path)))
    assert (done.exit_code, done.stderr) == (0, "")
    blocks = json.loads(done.stdout)["blocks"]
    with paths["csv"].open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [block["name"] for block in blocks]
    report = bitwright.simulate(files.intir, files.plan, history=True)
    assert paths["html"].read_bytes() == html_page(report)
    assert paths["csv"].read_bytes() == csv_table(report)
    assert paths["trace"].read_bytes().count(b"l0_") >= 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["tiny.csv", "tiny.html", "tiny.trace"]


def test_a_folder_that_is_not_there(files: Files, tmp_path: Path) -> None:
    done = invoke("sim", files.intir, "--html", tmp_path / "none" / "x.html")
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr == (f"bitwright: cannot write '{tmp_path}/none/x.html': No such file or directory; choose a folder that exists "
                           "and is writable; nothing was written\n")


def test_nothing_is_written_if_one_cannot_be_made(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace", None)
    done = invoke("sim", files.intir, "--html", tmp_path / "x.html", "--trace", tmp_path / "x.pftrace")
    assert done.exit_code == 2 and list(tmp_path.iterdir()) == []
    assert done.stderr == ("bitwright: a trace for Perfetto needs the package 'perfetto'; install it with `pip install "
                           "'bitwright[trace]'`\n")


def test_a_bundle_has_the_page(files: Files) -> None:
    digest = json.loads((files.bundle / "bundle.json").read_text())["design"]
    assert (files.bundle / "report.html").read_bytes() == html_page(bitwright.simulate(files.intir, files.plan, history=True), digest)

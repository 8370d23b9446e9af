"""Hostile machines, tables, energies, sweeps and targets: one sentence each, and nothing half written."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from hwsim.systems.machine_file import machine_text
from tests.bitwright.conftest import invoke

HUGE = "1" + "0" * 400
MACHINE = machine_text("edge_npu_int8")
TABLE = "layer,kind,height,width,channels,kernel,filters,activation_bits,weight_bits\na,conv,8,8,3,3,4,8,8\n"
ENERGY = ('name = "mine"\nnode_nm = 28\nvolts = 0.9\nunit = "pJ"\nbase = "45nm"\n\naction,bits,other_bits,bytes,kind,energy,sure,source\n'
          "int_multiply,8,8,,,0.07,m,x\n")


def said(*arguments: object) -> str:
    """The sentence of a refusal."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert result.stderr.startswith("bitwright: ") and result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize(("old", "new", "words"), [
    ("rows = 32", f"rows = {HUGE}", "line 11: rows is 1000"),
    ("channels = 2", f"gb_per_s = {HUGE}", "line 30: gb_per_s is 1000"),
    ('energy = "7nm"', 'energy = "a\\u0000.csv"', "zero byte"),
    ("[array]", ".".join(["a"] * 20_000) + " = 1\n[array]", "more than 16 parts (at line 9)"),
    ("node_nm", "#" + "x" * 2**20 + "\nnode_nm", "at most 1,048,576 are read"),
])
def test_machines(old: str, new: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MACHINE.replace(old, new, 1))
    start = time.process_time()
    assert words in said("sim", "lenet5", "--machine", tmp_path / "m.toml")
    assert time.process_time() - start < 5


@pytest.mark.parametrize(("old", "new", "words"), [
    ("0.9", "9" * 5000, "e.csv:"),
    ("name", "a = " + "[" * 100_000 + "\nname", "is not TOML"),
    ("8,8,,", "9" * 400 + ",8,,", "e.csv:8: bits is '999"),
    (",x\n", "," + "x" * 200_000 + "\n", "e.csv:8: the line is no row"),
    ("0.07", "1e308", "e.csv:8: the energy of int_multiply is '1e308', 1e+308 pJ; give at most 1e+15 pJ"),
    ('"45nm"', '"a\\u0000.csv"', "zero byte"),
])
def test_energy_tables(old: str, new: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MACHINE.replace('"7nm"', '"e.csv"'))
    (tmp_path / "e.csv").write_text(ENERGY.replace(old, new, 1))
    assert words in said("sim", "lenet5", "--machine", tmp_path / "m.toml")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    for name, text in (("m.toml", MACHINE), ("t.csv", TABLE)):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
    (tmp_path / "s.toml").write_text('networks = ["t.csv"]\nmachines = ["m.toml"]\n', encoding="utf-8-sig")
    assert invoke("sim", tmp_path / "t.csv", "--machine", tmp_path / "m.toml").exit_code == 0
    assert invoke("sweep", tmp_path / "s.toml", "--jobs", 1).exit_code == 0


@pytest.mark.parametrize(("text", "words"), [
    ("batch = []", "batch is []"), ("algorithm = []", "algorithm is []"),
    (f'[axes]\n"array.rows" = {{from = 1, to = {HUGE}, steps = 3}}', "array.rows goes to 1000"),
    ("[axes]\n" + ".".join(["a"] * 3000) + " = 1", "more than 16 parts"),
])
def test_sweeps(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(f'networks = ["lenet5"]\nmachines = ["edge_npu_int8"]\n{text}\n')
    assert words in said("sweep", tmp_path / "s.toml")


def test_rows_that_are_none_are_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    command = ("sweep", "--network", "lenet5", "--machine", "edge_npu_int8", "--set", "array.rows=8,16", "--jobs", 1, "-o", path)
    assert invoke(*command).exit_code == 0
    good = path.read_bytes()
    row = good.splitlines()[4]
    for bad in (row.replace(b"lenet5", b"other"), b"1" + b"," * row.count(b","), row.replace(b"1000.0", b"abc"), b"x" * 200_000,
                row.replace(b",16,", b",17,"), row + b"\xff"):
        path.write_bytes(good.replace(row, bad))
        assert "r.csv', line 5, is no row of this sweep" in said(*command)
        assert path.read_bytes() == good.replace(row, bad)
    assert "is a device" in said(*command[:-1], "/dev/null")


def test_reports_are_written_all_or_none(tmp_path: Path) -> None:
    command = ("sim", "lenet5", "--machine", "edge_npu_int8", "--html", tmp_path / "a.html")
    for target in (tmp_path / "no" / "a.csv", tmp_path, tmp_path / "a.html"):
        said(*command, "--csv", target)
        assert not list(tmp_path.iterdir())


def test_names_are_printed_as_they_are() -> None:
    assert "'a:b:c'" in said("sim", "lenet5", "--machine", "edge_npu_int8", "--set", "array.rows=a:b:c")


def test_a_machine_of_ones_own_is_a_file_already(tmp_path: Path) -> None:
    assert "is a file already" in said("machines", "mine.toml", "--toml")
    assert "rows is '1" in said("sim", "lenet5", "--machine", "edge_npu_int8", "--set", "array.rows=1\nfoo=3")


def test_an_overlay_s_manifest_is_checked(tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert invoke("overlay", "--rows", 1, "--columns", 1, "--depth", 2, "-o", made).exit_code == 0
    for table, key, value in (("gemm", "rows", 1.0), ("gemm", "rows", True), ("", "version", 99)):
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(made, tmp_path / "bad")
        manifest = json.loads((made / "bundle.json").read_text())
        (manifest[table] if table else manifest)[key] = value
        (tmp_path / "bad" / "bundle.json").write_text(json.dumps(manifest))
        assert "is no manifest of version 1" in said("show", tmp_path / "bad")

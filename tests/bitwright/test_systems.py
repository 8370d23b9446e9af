"""Whole accelerators from a shell: machines, complexity, sim --machine, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bitwright
from bitwright.api import is_topology, workload_of
from bitwright.commands.systems import parse_overrides
from hwsim.systems.machine_file import load_machine, machine_names, machine_text, parse_machine
from hwsim.systems.topologies import topology
from tests.bitwright.conftest import Files, invoke
from tests.bitwright.test_bad_input import ANY, refused
from tests.bitwright.test_cli import ok

TABLE = "layer,kind,height,width,channels,kernel,filters,activation_bits,weight_bits\na,conv,8,8,3,3,16,8,8\nb,dense,6,6,16,,10,8,8\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(TABLE)
    return path


def test_machines_are_listed_and_shown(tmp_path: Path) -> None:
    text = ok("machines")
    assert all(name in text for name in machine_names())
    shown = ok("machines", "eyeriss")
    assert "row stationary 12x14 int16" in shown and "168 multiply-accumulates a cycle" in shown and "buffer" in shown
    assert [one["name"] for one in json.loads(ok("machines", "--json"))] == machine_names()


@pytest.mark.parametrize("name", machine_names())
def test_a_printed_file_is_the_machine(name: str, tmp_path: Path) -> None:
    text = ok("machines", name, "--toml")
    assert text == machine_text(name)
    path = tmp_path / f"{name}.toml"
    path.write_text(text)
    assert parse_machine(text, name) == load_machine(path) == load_machine(name)


def test_complexity_of_a_table_and_of_a_network(files: Files, table: Path) -> None:
    shown = ok("complexity", table)
    made = json.loads(ok("complexity", table, "--json"))
    assert made["totals"]["macs"] == 36 * 27 * 16 + 576 * 10 and made["machine"] == ""
    assert f"{made['totals']['macs']:,}" in shown
    tiny = json.loads(ok("complexity", files.intir, "--json"))
    assert [layer["arithmetic"] for layer in tiny["layers"] if layer["parameters"]] == ["binary", "binary"]
    assert tiny["totals"]["binary_operations"] == tiny["totals"]["macs"] == 12 * 8 + 8 * 4
    assert tiny["compression"] == 32


def test_complexity_on_a_machine_and_against_another_network(table: Path) -> None:
    made = json.loads(ok("complexity", "cnv", "--against", "resnet18", "--machine", "xnor_64", "--json"))
    assert made["ratios"]["multiply-accumulates"] == topology("resnet18").macs / topology("cnv").macs
    assert {layer["roofline"]["bound"] for layer in made["layers"] if layer["roofline"]} == {"array", "dram"}
    text = ok("complexity", table, "--against", "cnv", "--machine", "xnor_64", "--set", "dram.gb_per_s=1000")
    assert "mine against cnv" in text and "least time on the machine" in text


def test_a_network_on_a_machine(files: Files, table: Path) -> None:
    for network in (files.intir, table, "lenet300"):
        shown = ok("sim", network, "--machine", "edge_npu_int8", "--batch", "2")
        made = json.loads(ok("sim", network, "--machine", "edge_npu_int8", "--batch", "2", "--json"))
        assert made["batch"] == 2 and f"{made['cycles']:,} cycles" in shown and made["memory_model"] in " ".join(shown.split())
        assert made["macs"] == 2 * workload_of(network).macs
        report = bitwright.simulate_on(network, "edge_npu_int8", batch=2)
        assert (report.cycles, report.total_pj) == (made["cycles"], made["total_pj"])


def test_a_changed_machine(table: Path) -> None:
    slow, fast = (json.loads(ok("sim", table, "--machine", "edge_npu_int8", "--set", f"dram.gb_per_s={speed}", "--json"))["cycles"] for speed in (0.1, 100))
    assert slow > fast
    machine = load_machine("edge_npu_int8", {"array.rows": 8})
    assert bitwright.simulate_on(table, machine) == bitwright.simulate_on(table, "edge_npu_int8", overrides={"array.rows": 8})


def test_without_a_machine_sim_is_a_design_s(files: Files) -> None:
    assert "initiation interval" in ok("sim", files.intir)


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_topology("alexnet") and is_topology("x/y.CSV") and not is_topology("alexnet.intir") and not is_topology(tmp_path)
    (tmp_path / "alexnet").write_text("a file of that name")
    assert not is_topology("alexnet")
    assert workload_of(topology("cnv")) is topology("cnv")


def test_overrides_are_values_of_toml() -> None:
    assert parse_overrides(["array.rows=64", "dram.kind=HBM2", 'dram.kind2="HBM2"', "a = true", "b=[1, 2]", "c=1e3", "d==x"]) == {
        "array.rows": 64, "dram.kind": "HBM2", "dram.kind2": "HBM2", "a": True, "b": [1, 2], "c": 1000.0, "d": "=x"}
    assert parse_overrides(None) == {}


@pytest.mark.parametrize(("arguments", "pattern"), [
    (["machines", "eyeris"], "there is no machine 'eyeris'; did you mean 'eyeriss'\\?"),
    (["machines", "--toml"], "--toml prints the file of one machine; name it" + ANY),
    (["machines", "no.toml"], "cannot read the machine 'no.toml': No such file or directory" + ANY),
    (["complexity", "resnet19"], "there is no topology 'resnet19'; did you mean 'resnet18'\\?"),
    (["complexity", "no.intir"], ANY + "no.intir" + ANY),
    (["complexity", "cnv", "--machine", "pynq_z1"], "machine pynq_z1 is folded for each network, so it has no roofline" + ANY),
    (["complexity", "cnv", "--set", "array.rows=3"], "--set changes a machine; add --machine"),
    (["sim", "resnet18"], "'resnet18' is no file of a network with weights" + ANY + "add --machine" + ANY),
    (["sim", "resnet18", "--machine", "eyeriss", "--frames", "3"], "--frames is of a generated design, not of a machine \\(--batch is its number of frames\\)" + ANY),
    (["sim", "resnet18", "--machine", "eyeriss", "--plan", "plan.toml"], "--plan is of a generated design, not of a machine; leave it or --machine out"),
    (["sim", "resnet18", "--machine", "eyeriss", "--input", "x.npy"], "--input is of a generated design" + ANY),
    (["sim", "x.intir", "--batch", "3"], "--batch is of a machine; add --machine" + ANY),
    (["sim", "x.intir", "--algorithm", "fft"], "--algorithm is of a machine; add --machine" + ANY),
    (["sim", "x.intir", "--set", "a=3"], "--set is of a machine; add --machine" + ANY),
    (["sim", "cnv", "--machine", "xnor_64", "--set", "array.rows"], "--set is 'array.rows'; write KEY=VALUE" + ANY),
    (["sim", "cnv", "--machine", "xnor_64", "--set", "array.row=3"], "override array.row: there is no key 'row' in \\[array\\]; did you mean 'rows'\\?"),
    (["sim", "cnv", "--machine", "xnor_64", "--algorithm", "fft"], ANY + "fft" + ANY),
    (["sim", "cnv", "--machine", "pynq_z1"], "machine pynq_z1 is a design that is made from a network with its weights; give a .intir file" + ANY),
    (["sim", "bad.csv", "--machine", "xnor_64"], "topology 'bad.csv', line 2: kernel 'x' is no whole number" + ANY),
    (["sim", "cnv", "--machine", "bad.toml"], "machine 'bad.toml', line 3: 'clock' has no unit; write clock_mhz"),
], ids=lambda one: " ".join(one) if isinstance(one, list) else "")
def test_refused(arguments: list[str], pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text(TABLE.replace("8,8,3,3,16", "8,8,3,x,16"))
    (tmp_path / "bad.toml").write_text("# mine\nnode_nm = 45\nclock = 200\n")
    refused(pattern, *arguments, folder=tmp_path)


def test_sim_with_help_names_the_machine() -> None:
    assert "--machine" in invoke("sim", "--help").stdout

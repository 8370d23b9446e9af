"""Every command's way through, on a small network, and the Python names that do the same."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.main import get_command

import bitwright
import intir
from bitwright.cli import app
from codegen import bundle as bundles
from hwsim import plan as plans
from intir import Graph
from quant.qonnx_exec import execute
from tests.bitwright.conftest import CLASSES, PIXELS, Files, invoke, tiny_qonnx

COMMANDS = ["lower", "check", "run", "plan", "sim", "build", "verify", "synth", "search", "sweep", "overlay", "show", "export", "machines", "complexity",
            "compress", "sensitivity"]


def ok(*arguments: object) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.stderr
    return result.stdout


def test_the_commands_are_these() -> None:
    assert sorted(get_command(app).commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_has_an_example_that_names_real_options(command: str, flag: str) -> None:
    text = ok(command, flag)
    example = " ".join(text.split("Example: bitwright ")[1].split("\n\n")[0].split())
    assert example.startswith(f"{command} ")
    real = {option for parameter in get_command(app).commands[command].params for option in parameter.opts}
    given = {word for word in example.split("─")[0].split("╭")[0].split() if word.startswith("-")}
    assert given <= real


def test_without_arguments_the_first_step_is_named() -> None:
    result = invoke()
    assert "bitwright lower NET.onnx -o NET.intir --input u8/255" in result.stdout + result.stderr
    assert all(command in result.stdout + result.stderr for command in COMMANDS)


def test_it_runs_as_a_program(files: Files) -> None:
    done = subprocess.run([Path(sys.executable).parent / "bitwright", "show", files.plan], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "plan for tiny" in done.stdout


def test_lower_and_run_give_what_the_network_gives(files: Files, tmp_path: Path) -> None:
    x = np.load(files.x)
    ok("run", files.intir, files.x, "-o", tmp_path / "real.npy", "--float")
    assert "int64 (6, 4)" in ok("run", files.intir, files.x, "-o", tmp_path / "y.npy")
    real, y = np.load(tmp_path / "real.npy"), np.load(tmp_path / "y.npy")
    expected = execute(files.onnx, (x / np.float32(255)).astype(np.float32)).reshape(6, CLASSES)
    np.testing.assert_array_equal(real, expected)
    np.testing.assert_array_equal(y, expected)
    floats = tmp_path / "floats.npy"
    np.save(floats, (x / np.float32(255)).astype(np.float32))
    ok("run", files.intir, floats, "-o", tmp_path / "again.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), y)


def test_lower_names_its_file_after_the_network(files: Files, tmp_path: Path) -> None:
    copy = tmp_path / "net.onnx"
    copy.write_bytes(files.onnx.read_bytes())
    assert f"wrote {tmp_path / 'net.intir'}" in ok("lower", copy, "--input", "u8/255").replace("\n", "")
    assert intir.load(tmp_path / "net.intir") == replace(intir.load(files.intir), name="net")


def test_lower_prints_ranges_and_widths(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "t.intir"
    text = ok("lower", files.onnx, "-o", out, "--input", "u8/255")
    assert "proven range" in text
    assert "[-12, 12]" in text
    data = json.loads(ok("lower", files.onnx, "-o", out, "--input", "u8/255", "--json"))
    assert [row["proven_bits"] for row in data["accumulators"]] == [4, 4]
    assert {value["name"]: (value["lo"], value["hi"]) for value in data["values"]}["x"] == (0, 255)
    assert "nothing stands in the way" in ok("lower", files.onnx, "--explain", "--input", "u8/255").replace("\n", " ")


def test_lower_with_argmax_decides(files: Files, tmp_path: Path) -> None:
    ok("lower", files.onnx, "-o", tmp_path / "t.intir", "--input", "u8/255", "--argmax")
    ok("run", tmp_path / "t.intir", files.x, "-o", tmp_path / "top.npy")
    ok("run", files.intir, files.x, "-o", tmp_path / "y.npy")
    assert np.load(tmp_path / "top.npy").ravel().tolist() == np.load(tmp_path / "y.npy").argmax(axis=1).tolist()


def requantizing(path: Path) -> Path:
    """uint8 to uint8 with 3/2 of the scale: 3 n / 2 has ties, which the scales' float32 errors move."""
    constants = {"s": np.float32(0.3), "t": np.float32(0.2), "z": np.uint8(0)}
    nodes = [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["real"]), helper.make_node("Relu", ["real"], ["positive"], name="relu"),
             helper.make_node("QuantizeLinear", ["positive", "t", "z"], ["y"])]
    graph = helper.make_graph(nodes, "requantizing", [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 256])],
                              [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 256])],
                              [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_lower_has_the_arithmetic_of_a_runtime(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, x = requantizing(tmp_path / "m.onnx"), np.arange(256, dtype=np.uint8)[None]
    np.save(tmp_path / "x.npy", x)
    found = {}
    for semantics in ("exact", "onnxruntime", "tflite"):
        out = tmp_path / f"{semantics}.intir"
        text = ok("lower", model, "-o", out, "--semantics", semantics)
        assert (f"the integers are those of {semantics}" in text) == (semantics != "exact")
        assert intir.load(out) == bitwright.lower(model, semantics=semantics).graph
        ok("run", out, tmp_path / "x.npy", "-o", tmp_path / "y.npy")
        found[semantics] = np.load(tmp_path / "y.npy").ravel().tolist()
    assert ok("lower", model, "-o", tmp_path / "m.intir") == ok("lower", model, "-o", tmp_path / "m.intir", "--semantics", "exact")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert found["onnxruntime"] == session.run(None, {"x": x})[0].ravel().tolist()
    assert found["exact"] != found["onnxruntime"]
    assert found["onnxruntime"] != found["tflite"]
    text = ok("lower", model, "--explain", "--semantics", "onnxruntime")
    assert "nothing stands in the way" in text.replace("\n", " ")


def test_lower_names_the_semantics_and_what_they_refuse(files: Files, tmp_path: Path) -> None:
    result = invoke("lower", files.onnx, "--semantics", "ort")
    assert result.exit_code == 2
    assert "the semantics 'ort' are unknown; choose one of exact, onnxruntime, onnxruntime-int8, tflite, tflite-single" in result.stderr
    onnx.save(tiny_qonnx(quantized=False), tmp_path / "float.onnx")
    result = invoke("lower", tmp_path / "float.onnx", "--semantics", "onnxruntime", "--explain")
    assert result.exit_code == 2
    assert [line.split("'")[1] for line in result.stdout.splitlines()] == ["fc0", "relu", "fc1"]
    assert not (tmp_path / "float.intir").exists()


def test_plan_writes_what_it_shows(files: Files, tmp_path: Path) -> None:
    plan = plans.load(files.plan)
    assert [(layer.pe, layer.simd) for layer in plan.layers.values() if layer.simd] == [(2, 6), (2, 4)]
    ok("plan", files.intir, "-o", tmp_path / "p.toml", "--fps", "20e6", "--clock-mhz", "200", "--family", "ecp5")
    fast = plans.load(tmp_path / "p.toml")
    assert (fast.family, fast.clock_mhz) == ("ecp5", 200.0)
    report = json.loads(ok("sim", files.intir, "--plan", tmp_path / "p.toml", "--json"))
    assert report["frames_per_second"] >= 20e6


def test_sim_counts_cycles(files: Files) -> None:
    report = json.loads(ok("sim", files.intir, "--plan", files.plan, "--frames", "9", "--json"))
    assert report == json.loads(json.dumps(bitwright.simulate(files.intir, files.plan, frames=9).as_dict()))
    assert report["frames"] == 9
    assert (report["total_cycles"] - report["first_output_latency_cycles"]) // report["initiation_interval_cycles"] == 8
    text = ok("sim", files.intir, "--plan", files.plan)
    assert f"{report['initiation_interval_cycles']} cycles" in text
    assert json.loads(ok("sim", files.intir, "--json"))["network"] == "tiny"


def test_build_writes_the_bundle(files: Files) -> None:
    made = bundles.load(files.bundle)
    assert made.top == "tiny"
    vectors = json.loads((files.bundle / "tb" / "vectors.json").read_text())
    assert vectors["frames"] == 6


def test_build_replaces_on_demand(files: Files, tmp_path: Path) -> None:
    target = tmp_path / "b"
    ok("build", files.intir, "-o", target)
    before = (target / "plan.toml").read_bytes()
    ok("build", files.intir, "--plan", files.plan, "-o", target, "--force")
    assert (target / "plan.toml").read_bytes() != before


@pytest.mark.parametrize(("what", "text"), [("intir", "proven range"), ("plan", "plan for tiny"), ("bundle", "top tiny")])
def test_show(files: Files, what: str, text: str) -> None:
    assert text in ok("show", getattr(files, what))


def test_show_text_parses_back(files: Files) -> None:
    from intir import text

    assert text.loads(ok("show", files.intir, "--text")) == intir.load(files.intir)


def test_export_runs_in_onnxruntime(files: Files, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    ok("export", files.intir, "-o", tmp_path / "out.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
    (only,) = session.get_inputs()
    x = np.load(files.x)
    dtype = {"tensor(uint8)": np.uint8, "tensor(int64)": np.int64, "tensor(int32)": np.int32}[only.type]
    (y,) = session.run(None, {only.name: x.astype(dtype)})
    np.testing.assert_array_equal(y, bitwright.run(files.intir, x))


def test_the_python_names_do_the_same(files: Files, tmp_path: Path) -> None:
    assert sorted(bitwright.__all__) == ["__version__", "build", "check", "lower", "run", "simulate", "simulate_on", "synth", "verify"]
    network = bitwright.lower(files.onnx, input="u8/255")
    assert isinstance(network.graph, Graph)
    assert network.graph == intir.load(files.intir) == bitwright.lower(onnx.load(files.onnx), input="u8/255").graph
    x = np.load(files.x)
    np.testing.assert_array_equal(bitwright.run(network, x), bitwright.run(files.intir, x))
    assert bitwright.simulate(network, files.plan) == bitwright.simulate(network.graph, plans.load(files.plan))
    made = bitwright.build(network, tmp_path / "b", files.plan, samples=x)
    assert made.manifest == bundles.load(files.bundle).manifest


def test_the_network_is_what_the_tests_think() -> None:
    model = tiny_qonnx()
    assert (model.graph.input[0].type.tensor_type.shape.dim[1].dim_value, len(model.graph.node)) == (PIXELS, 8)

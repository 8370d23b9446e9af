"""Names from outside that mean something to Verilog, shells, make, TOML, HTML, templates or terminals: they end as legal names, or as text."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import onnx
import pytest

from bitwright.shell import one_line
from codegen.bundle import build, load
from codegen.naming import top_identifier
from intir import BIPOLAR, Graph, GraphBuilder, MatMul, Threshold
from tests.bitwright.conftest import Files, invoke, tiny_qonnx
from tests.codegen.test_rtl import assert_clean
from tests.networks import draw, folded

EVIL = '*/ `include "/etc/passwd" \n\\ {{ 7*7 }} {% raw %} <script>alert(1)</script> $(touch pwned) # é "\' ]] ../../x \x1b[31m'


def hostile_qonnx() -> onnx.ModelProto:
    """The graph, its nodes and its tensors have such names; two layers differ in case only, one has 300 letters."""
    model = tiny_qonnx()
    graph, fresh = model.graph, {}
    for number, node in enumerate(graph.node):
        node.name = {0: "LAYER", 1: "layer", 2: "x" * 300, 3: "module", 4: "end"}.get(number, f"{EVIL}{number}")
        fresh |= {name: f"{EVIL}{name}" for name in (*node.input, *node.output)}
    graph.name = EVIL
    for node in graph.node:
        for names in (node.input, node.output):
            renamed = [fresh[name] for name in names]
            del names[:]
            names.extend(renamed)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = fresh[value.name]
    return model


def test_a_hostile_network_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(hostile_qonnx(), "net.onnx")
    folder = "[red] $(touch pwned) 'é' #1 {{ x }}"
    for command in (["lower", "net.onnx", "-o", "net.intir", "--input", "u8/255"], ["plan", "net.intir", "-o", "plan.toml"],
                    ["build", "net.intir", "--plan", "plan.toml", "-o", folder], ["show", folder], ["sim", "net.intir", "--html", "sim.html"]):
        result = invoke(*command)
        assert result.exit_code == 0, result.stderr or result.exception
    assert sorted(os.listdir(tmp_path)) == sorted(["net.intir", "net.onnx", "plan.toml", "sim.html", folder])
    bundle = load(folder)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,60}", bundle.top)
    assert_clean(tmp_path / folder, bundle.top)
    assert set(tomllib.loads((tmp_path / "plan.toml").read_text())["layers"]) == set(bundle.design.plan.layers)
    for name, data in bundle.files.items():
        assert re.fullmatch(r"[A-Za-z0-9_./-]+", name)
        if not name.endswith(".intir"):  # which keeps the names of the source network, as text
            assert not any(word in data for word in (b"/etc/passwd", b"alert(1)", b"$(touch", b"\x1b", b"% raw", b"7*7")), name
    names = [Path(name).name.lower() for name in bundle.files if name.startswith("rtl/")]
    assert len(names) == len(set(names))


def two_layers(name: str, first: str, second: str) -> Graph:
    import numpy as np

    rng = np.random.default_rng(0)
    net = GraphBuilder(name)
    value = net.node(MatMul(draw(BIPOLAR, (4, 4), rng)), net.input("x", (4,), BIPOLAR), name=first)
    value = net.node(Threshold(np.zeros((4, 1), np.int64), BIPOLAR), value, name=f"{first[:190]}_act")
    net.output(net.node(MatMul(draw(BIPOLAR, (4, 2), rng)), value, name=second))
    return net.build()


@pytest.mark.parametrize(("name", "first", "second"), [
    ("n", "A", "a"), ("aux", "endmodule", "begin"), ("entity", "l" * 190 + "0", "l" * 190 + "1"), ("a/../../etc/passwd", "a/../x", "b"),
    ("tb", "tb", "bench"), ("x_harness", "x_harness", "x_"), ("L0", "l0_mvu", "L0_mvu")])
def test_hostile_names_of_a_graph(name: str, first: str, second: str, tmp_path: Path) -> None:
    graph = two_layers(name, first, second)
    bundle = build(graph, folded(graph, [(2, 2), (1, 2)]), tmp_path / "b")
    assert bundle.top == top_identifier(name)
    assert load(bundle.path).design.plan == bundle.design.plan
    assert_clean(bundle.path, bundle.top)
    lower = [path.lower() for path in bundle.files]
    assert len(lower) == len(set(lower))
    assert not [path for path in lower if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)\..*", path.rpartition("/")[2])]


def test_messages_are_one_line_on_every_terminal(files: Files, tmp_path: Path) -> None:
    for name in ("a\nb", "\x1b[31mred", os.fsdecode(b"\xff"), "[red]", "x" * 300):
        result = invoke("build", tmp_path / name / "net.intir", "-o", tmp_path / "b")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
        assert "\x1b" not in result.stderr
    assert one_line("été 网络") == "été 网络"
    assert one_line("a\tb\x00c\udcff") == r"a\tb\x00c\udcff"


@pytest.mark.parametrize("command", ["build", "overlay"])
def test_folders_that_cannot_be(files: Files, tmp_path: Path, command: str) -> None:
    """The same sentences for both commands that write folders."""
    (tmp_path / "regular").write_text("mine")
    start = ["build", files.intir] if command == "build" else ["overlay", "--rows", 1, "--columns", 1, "--depth", 2]
    for where, said in (("regular", "exists and is no bundle"), ("regular/b", "is no folder that can be written"), ("none/b", "is no folder"),
                        ("x" * 256, "File name too long"), ("/proc/b", "cannot "), (files.bundle / "rtl" / "b", "is inside the bundle"),
                        ("", "")):
        result = invoke(*start, "-o", where if where == "" else tmp_path / where)
        assert result.exit_code == 2, where
        assert said in result.stderr
        assert "Traceback" not in result.stderr
    assert os.listdir(tmp_path) == ["regular"]


SLOW = """
import signal, sys, time
from pathlib import Path
fast = Path.write_bytes
def write(path, data):
    print("writing", flush=True)
    time.sleep(0.3)
    return fast(path, data)
Path.write_bytes = write
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs this in the background ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup this
from bitwright.cli import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_command(files: Files, tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOW, "build", files.intir, "-o", "b"], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    while "writing" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == code
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("where", "code", "said"), [
    (">&-", 0, ""), ("> /dev/full", 2, "bitwright: cannot write to standard output: No space left on device; send it where there is room\n")])
@pytest.mark.parametrize("option", ["", "--toml"])
def test_standard_output_that_cannot_be_written(where: str, code: int, said: str, option: str) -> None:
    """A closed one is nobody's; a full disk is said in a sentence, also when it shows at the very end only."""
    done = subprocess.run(f"{sys.executable} -m bitwright machines eie_64 {option} {where}", shell=True, stderr=subprocess.PIPE, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert (done.returncode, done.stderr) == (code, said)


def test_a_terminal_that_knows_no_letters(files: Files, tmp_path: Path) -> None:
    """Standard output in ASCII, a folder whose name is no Unicode: the command ends as it should."""
    folder = tmp_path / os.fsdecode(b"no \xff unicode")
    done = subprocess.run([sys.executable, "-m", "bitwright", "build", files.intir, "-o", folder], capture_output=True, check=False, cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads((folder / "bundle.json").read_text())["network"] == "tiny"

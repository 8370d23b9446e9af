"""A small QONNX network as a file, and what each command makes of it, once per session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from bitwright.cli import app

QONNX = "qonnx.custom_op.general"
CLASSES, PIXELS = 4, 12


def tiny_qonnx(*, floats: bool = False, quantized: bool = True) -> onnx.ModelProto:
    """12 pixels -> 8 -> 4, binary weights and activations, no pixel on a threshold; `floats` leaves a float layer in the middle."""
    rng = np.random.default_rng(0)
    constants = {"one": np.float32(1), "half": np.float32(0.3), "w0": rng.choice([-1, 1], (PIXELS, 8)), "w1": rng.choice([-1, 1], (8, CLASSES)),
                 "f": rng.normal(size=(8, 8)), "b": rng.normal(size=8)}

    def sign(x: str, y: str) -> onnx.NodeProto:
        return helper.make_node("BipolarQuant", [x, "one"], [y], name=f"sign_{y}", domain=QONNX)

    nodes = [helper.make_node("Sub", ["x", "half"], ["centred"], name="centre"), sign("centred", "a0"),
             sign("w0", "q0"), helper.make_node("MatMul", ["a0", "q0"], ["s0"], name="fc0"),
             helper.make_node("MatMul", ["s0", "f"], ["s1"], name="float_layer") if floats
             else helper.make_node("Add", ["s0", "b"], ["s1"], name="bias"),
             sign("s1", "a1"), sign("w1", "q1"), helper.make_node("MatMul", ["a1", "q1"], ["y"], name="fc1")]
    if not quantized:  # an ordinary float network
        nodes = [helper.make_node("MatMul", ["x", "w0"], ["s0"], name="fc0"), helper.make_node("Relu", ["s0"], ["a0"], name="relu"),
                 helper.make_node("MatMul", ["a0", "w1"], ["y"], name="fc1")]
        constants |= {"w0": rng.normal(size=(PIXELS, 8)), "w1": rng.normal(size=(8, CLASSES))}
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(nodes, "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, PIXELS])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CLASSES])],
                              [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items() if name in used])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)], ir_version=8)


@dataclass(frozen=True)
class Files:
    """The files of one network."""

    onnx: Path
    intir: Path
    plan: Path
    bundle: Path
    x: Path


def invoke(*arguments: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Made by the commands themselves."""
    folder = tmp_path_factory.mktemp("tiny")
    made = Files(folder / "tiny.onnx", folder / "tiny.intir", folder / "plan.toml", folder / "bundle", folder / "x.npy")
    onnx.save(tiny_qonnx(), made.onnx)
    np.save(made.x, np.random.default_rng(1).integers(0, 256, (6, PIXELS), np.uint8))
    for step in (("lower", made.onnx, "-o", made.intir, "--input", "u8/255"), ("plan", made.intir, "-o", made.plan, "--folding", "2,6/2,4"),
                 ("build", made.intir, "--plan", made.plan, "-o", made.bundle, "--samples", made.x)):
        result = invoke(*step)
        assert (result.exit_code, result.stderr) == (0, ""), result.stderr
    return made

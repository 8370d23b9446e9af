"""The committed LeNet-300-100: as small and as accurate as its README says, as integers and as torch's networks; docs/pytorch.md's way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import intir
from intir import MatMul, Requant, ScaleChannels
from quant.data import mnist_digits
from quant.lower import host_input, lower
from quant.qonnx_exec import execute

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "lenet300"
SHAPES = [(784, 300), (300, 100), (100, 10)]
NONZEROS = [17956, 3066, 274]
CORRECT = 977


def test_the_integers_are_as_small_and_as_accurate_as_stated() -> None:
    path = FOLDER / "lenet300_compressed.onnx"
    graph = lower(path, input_spec="u8/255").graph
    assert [type(node.op) for node in graph.nodes[1:]] == [MatMul, ScaleChannels, Requant, MatMul, ScaleChannels, Requant, MatMul]
    products = [node for node in graph.nodes if isinstance(node.op, MatMul)]
    matrices = [np.asarray(node.op.weights) for node in products if isinstance(node.op, MatMul)]
    assert [one.shape for one in matrices] == SHAPES
    assert [int(np.count_nonzero(one)) for one in matrices] == NONZEROS
    assert sum(NONZEROS) == 21296 == round(0.08 * sum(one.size for one in matrices))
    assert [len(np.unique(one[one != 0])) for one in matrices] == [15, 15, 15]
    assert max(int(np.abs(one).max()) for one in matrices) <= 127
    assert all(graph.values[node.inputs[0]].type == intir.IntType(0, 255) for node in products)

    digits = mnist_digits()
    integers = intir.to_source(intir.run(graph, host_input(graph, digits.test_images)), graph)
    assert int(np.sum(integers.argmax(axis=1) == digits.test_labels)) == CORRECT

    few = digits.test_images[:20]
    floats = execute(path, (few / np.float32(255)).astype(np.float32))
    np.testing.assert_allclose(floats, integers[:20], rtol=1e-4, atol=1e-4)


def test_the_readme_states_what_is_tested_here() -> None:
    page = (FOLDER / "README.md").read_text()
    assert f"| the same in integers only | {CORRECT / 10}% |" in page
    for shape, nonzeros in zip(SHAPES, NONZEROS, strict=True):
        assert f"| {shape[0]} x {shape[1]} | {shape[0] * shape[1]:,} | {nonzeros:,} | {100 * nonzeros / (shape[0] * shape[1]):.2f}% | 15 |" in page


@pytest.mark.parametrize(("name", "correct", "nonzeros"), [("trained", 978, 266200), ("pruned", 976, 21296), ("compressed", CORRECT, 21296)])
def test_the_stored_networks_of_torch(name: str, correct: int, nonzeros: int) -> None:
    pytest.importorskip("torch", reason="torch's networks need torch")
    from examples.digits import evaluate
    from examples.lenet300 import model
    from quant.nn import density_report

    network = getattr(model, name)()
    digits = mnist_digits()
    assert density_report(network)[-1].nonzeros == nonzeros
    right = int(np.sum(evaluate(network, digits.test_images).argmax(axis=1) == digits.test_labels))
    assert abs(right - correct) <= 1  # float sums differ between machines


def test_the_guide_to_pruning_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    code = (ROOT / "docs" / "pytorch.md").read_text().split("## Fewer weights")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    printed = capsys.readouterr().out
    assert "all: 21,296 of 266,200\n" in printed
    products = re.findall(r"MatMul (\d+) x (\d+), weights", printed)
    assert [tuple(map(int, one)) for one in products] == SHAPES
    graph = lower(tmp_path / "lenet300.onnx", input_spec="u8/255").graph
    for node in graph.nodes:
        if isinstance(node.op, MatMul):
            weights = np.asarray(node.op.weights)
            assert len(np.unique(weights[weights != 0])) <= 15

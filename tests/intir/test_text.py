"""The text form: readable, canonical, and parsed back exactly."""


from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intir import BIPOLAR, BitwrightError, FileFormatError, GraphBuilder, MatMul, Node, Threshold, unsigned
from intir.graph import Graph
from intir.random_graph import random_graph
from intir.text import dumps, load_text, loads

TEXT = """\
intir 1 tiny
input x (2,) u8
node y (1,) [-255, 255] = MatMul(x) weights=[[1],[-1]] source="MatMul_3"
node z (1,) bipolar = Threshold(y) thresholds=[[5]] out="bipolar"
output z scale=["1/2"]
"""


def test_text_is_what_a_person_reads() -> None:
    graph = loads(TEXT)
    assert [node.op.kind for node in graph.nodes] == ["MatMul", "Threshold"]
    assert graph.nodes[1] == Node("z", Threshold(np.array([[5]]), BIPOLAR), ("y",), "z")
    assert dumps(graph) == TEXT


def test_comments_and_empty_lines_are_skipped() -> None:
    assert loads("# a comment\n\n" + TEXT.replace("\n", "\n\n# more\n")) == loads(TEXT)


@pytest.mark.parametrize("seed", range(150))
def test_text_parses_back_exactly(seed: int) -> None:
    graph = random_graph(seed)
    assert loads(dumps(graph)) == graph
    assert dumps(loads(dumps(graph))) == dumps(graph)


def test_names_apart_from_values_survive() -> None:
    build = GraphBuilder("g")
    x = build.input("x", (2,), unsigned(8))
    build.output(build.node(MatMul(np.array([[1], [-1]])), x, name="y"))
    graph = build.build()
    renamed = Graph(graph.name, graph.inputs, graph.outputs, (Node("n", graph.nodes[0].op, ("x",), "y", 'quote " and = ('),), graph.values)
    assert loads(dumps(renamed)) == renamed


@pytest.mark.parametrize(("change", "message"), [
    (("intir 1 tiny", ""), "the text does not begin with 'intir <version> <name>'"),
    (("intir 1", "intir 3"), "this bitwright reads 'intir' version 1"),
    (("input x", "imput x"), "line 2 is 'imput x"),
    (("= MatMul(x)", "MatMul(x)"), "line 3: ' MatMul.x. weights.* follows the type; it must be ' = OPERATION.INPUTS.'"),
    (("[[1],[-1]]", "[[1],[-1,2]]"), "an array has rows of different lengths"),
    (("[[1],[-1]]", "3"), "an array is '3'; write nested lists of integers"),
    (("[[1],[-1]]", "[[1.5],[-1]]"), "line 3, weights: it holds the number 1.5"),
    (("[[1],[-1]]", "[[1],"), "line 3, weights is no valid JSON"),
    ((" source=", "source="), "line 3: 'source=.* should be ' name=value', each name once"),
    ((" source=", " weights=[[1]] source="), "line 3: ' weights=.* each name once"),
    (("MatMul(x)", "Softmax(x)"), "the operation 'Softmax' is unknown"),
    (("output z scale=", "output z colour="), r"outputs\[0\]: the field 'colour' is unknown"),
    (("[-255, 255]", "[-2, 255]"), r"can give \[-255, 255\], but 'y' is declared \[-2, 255\].*rule: ranges"),
])
def test_a_bad_text_says_what_is_wrong(change: tuple[str, str], message: str) -> None:
    assert change[0] in TEXT
    with pytest.raises(BitwrightError, match=message):
        loads(TEXT.replace(*change))


@pytest.mark.parametrize("seed", range(300))
def test_damaged_texts_give_the_clear_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = dumps(random_graph(seed))
    a, b = sorted(rng.integers(0, len(text), 2))
    piece = ["", "9" * 30, "[", "{", '"', "\n", " = ", "\x00", "(", "\ud800", "-"][rng.integers(11)]
    try:
        loads(text[:a] + piece + text[b if rng.random() < 0.3 else a + 1:])
    except BitwrightError as error:
        assert "\n" not in str(error)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    assert load_text(str(path)) == loads(TEXT)
    path.write_text("intir")
    with pytest.raises(FileFormatError, match="'.*a.txt': the text does not begin"):
        load_text(str(path))
    with pytest.raises(FileFormatError, match="cannot read '.*b.txt'"):
        load_text(str(tmp_path / "b.txt"))

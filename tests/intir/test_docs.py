"""docs/intir.md: its examples run, and its table has every operation with every attribute."""


from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path

import intir
from intir.codec import attribute_kinds
from intir.ops.requant import NAMES
from intir.text import dumps, loads

PAGE = (Path(__file__).parents[2] / "docs" / "intir.md").read_text()


def example(language: str) -> str:
    return PAGE.split(f"```{language}\n")[1].split("```")[0]


def test_the_python_example_prints_what_it_says() -> None:
    code = example("python")
    said = re.findall(r"^print.*# (.*)$", code, re.MULTILINE)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    assert printed.getvalue().splitlines() == said
    assert dumps(names["graph"]) == example("intir")  # type: ignore[arg-type]


def test_the_text_example_parses_back() -> None:
    assert dumps(loads(example("intir"))) == example("intir")


def test_the_table_has_every_operation_with_its_attributes() -> None:
    rows = {name: row for row in re.findall(r"^\| `.*$", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    for name in intir.OPS:
        attributes = rows[name].split("|")[3]
        if attributes.strip() == "as `Conv2d`":
            attributes = rows["Conv2d"].split("|")[3]
        assert all(re.search(rf"\b{one}\b", attributes) for one in attribute_kinds(name)), name
    assert all(name in rows for name in NAMES)


def test_examples_in_docstrings_run() -> None:
    from intir import graph

    assert doctest.testmod(graph).failed == 0

"""`bitwright compress`: its list of methods, one method to the end, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import intir
from tests.bitwright.conftest import invoke
from tests.bitwright.test_explore import ok, refused


def test_the_methods_are_listed() -> None:
    listed = json.loads(ok("compress", "--methods", "--json"))
    assert {"magnitude", "lasso", "slimming", "deep-compression", "tucker", "tbn"} <= {one["name"] for one in listed}
    assert all(one["source"] and one["says"] for one in listed)


def test_one_method_gives_integers_that_are_sparse(tmp_path: Path) -> None:
    written = tmp_path / "small.intir"
    result = invoke("compress", "lenet300", "--method", "magnitude", "--density", "0.1", "--epochs", "1", "--json", "-o", written)
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    weights = [node.op.weights for node in intir.load(written).nodes if hasattr(node.op, "weights")]
    nonzeros, all_ = sum(np.count_nonzero(one) for one in weights), sum(one.size for one in weights)
    assert nonzeros / all_ <= 0.1
    assert row["model"] == "lenet300" and row["method"] == "magnitude"


@pytest.mark.parametrize(("arguments", "says"), [
    ((), "say what to do"),
    (("lenet300", "--method", "magic"), "magic"),
    (("lenet300", "--method", "magnitude", "--density", "1.5"), "1.5"),
    (("lenet300", "--method", "magnitude", "--keep", "0.5"), "magnitude takes --density, not --keep"),
    (("nothing.py:make", "--method", "int8"), "nothing.py"),
    (("lenet300", "--method", "int8", "--data", "none.npz"), "none.npz"),
    (("lenet300", "--method", "slimming"), "batch norm"),
], ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "")
def test_bad_input(arguments: tuple[str, ...], says: str) -> None:
    assert says in refused("compress", *arguments)

"""docs/plans.md: its plan reads, it names every key, its error is what is said."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from hwsim.plan import LayerPlan, Plan, PlanError, fingerprint, loads
from quant.lower import lower

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plans.md").read_text()


def test_its_plan_reads_and_is_of_the_demo() -> None:
    plan = loads(PAGE.split("```toml\n")[1].split("```")[0])
    graph = lower(ROOT / "examples" / "tfc" / "tfc_w1a1.onnx", input_spec="u8/255").graph
    assert (plan.network, plan.structure) == (graph.name, fingerprint(graph))
    assert plan.layers == {"hidden_0_linear_MatMul": LayerPlan("mvu", 16, 49)}


@pytest.mark.parametrize("kind", [Plan, LayerPlan])
def test_every_key_has_a_row(kind: type) -> None:
    keys = {key for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    assert {field.name for field in dataclasses.fields(kind)} - {"layers"} <= keys


def test_its_error_is_what_is_said() -> None:
    graph = lower(ROOT / "examples" / "tfc" / "tfc_w1a1.onnx", input_spec="u8/255").graph
    plan = auto_plan(graph)
    name = "hidden_1_linear_MatMul"
    wrong = dataclasses.replace(plan, layers=plan.layers | {name: dataclasses.replace(plan.layers[name], pe=7)})
    with pytest.raises(PlanError) as error:
        make_design(graph, wrong)
    assert f"bitwright: {error.value}\n" in PAGE

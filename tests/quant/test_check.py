"""`bitwright check`: what it counts, and that it finds a wrong lowering."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import bitwright
import quant.check
from bitwright.cli import app
from intir import BitwrightError
from quant.check import check
from quant.lower import lower
from tests.quant.test_lower_oracle import f32, network, node

RNG = np.random.default_rng(0)


def perceptron(scale=0.1, **attributes):
    """Quant, MatMul, Quant: the second quantizer's ties depend on the scales."""
    attributes = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **attributes}
    nodes = [node("Quant", ["x", "s", "z", "b"], "a", **attributes), node("Quant", ["w0", "s", "z", "b"], "w", **attributes),
             node("MatMul", ["a", "w"], "m"), node("Quant", ["m", "t", "z", "b"], "y", **attributes)]
    constants = {"s": f32(scale), "t": f32(scale * 2), "z": f32(0), "b": f32(4), "w0": f32(RNG.integers(-7, 8, (8, 5)) * scale)}
    return network(nodes, (1, 8), (1, 5), constants)


def test_float_that_cannot_round_never_differs():
    result = check(perceptron(0.5), count=300, witnesses=300)
    assert (result.inputs, result.values, result.exact_values) == (300, 1500, 1500)
    assert (result.float_differs, result.float_rounded, result.ir_differs, result.undecided) == (0, 0, 0, 0)
    assert result.passed and result.examples == ()


def test_differences_of_the_float_execution_are_decided():
    """0.1 as float32 squared against 0.2: ties in the integers that float32 products miss."""
    result = check(perceptron(0.1), count=1000)
    assert result.float_differs > 0
    assert result.exact_agrees == result.float_differs
    assert result.exact_inputs == result.differing_inputs + 8
    first = result.examples[0]
    assert first.exact_value == first.ir_value != first.float_value
    limited = check(perceptron(0.1), count=1000, most=1, witnesses=0)
    assert limited.exact_inputs == 1
    assert limited.exact_agrees + limited.undecided == limited.float_differs


def test_double_precision_is_an_option():
    single, double = (check(perceptron(0.1), count=200, float64=wide) for wide in (False, True))
    assert double.passed and double.float_rounded <= single.float_rounded


@pytest.fixture
def wrong_lowering(monkeypatch):
    """A lowering whose output is one step off."""
    def off_by_one(model, **options):
        found = lower(model, **options)
        graph = found.graph
        (output,) = graph.outputs
        affine = replace(output.affine, offset=tuple(one + output.affine.scale[0] for one in output.affine.offset))
        return replace(found, graph=replace(graph, outputs=(replace(output, affine=affine),)))
    monkeypatch.setattr(quant.check, "lower", off_by_one)


def test_a_wrong_lowering_is_found(wrong_lowering):
    result = check(perceptron(0.5), count=20, witnesses=0)
    assert (result.float_differs, result.exact_agrees, result.ir_differs) == (100, 0, 100)
    assert not result.passed


def test_a_wrong_lowering_that_float_confirms_is_found(wrong_lowering, monkeypatch):
    """The witnesses are computed exactly although float and integers agree."""
    import quant.qonnx_exec

    right = quant.qonnx_exec.execute
    monkeypatch.setattr(quant.qonnx_exec, "execute", lambda *arguments, **options: right(*arguments, **options) + 1)  # a step of 0.5 * 2
    result = check(perceptron(0.5), count=20, witnesses=4)
    assert (result.float_differs, result.exact_inputs, result.ir_differs) == (0, 4, 20)


def test_given_inputs_as_floats_and_as_integers():
    model, x = perceptron(0.5), RNG.integers(-8, 8, (30, 8))
    as_integers, as_floats = (check(model, input_spec="s4*0.5", x=values, witnesses=30) for values in (x, x * np.float32(0.5)))
    assert replace(as_integers, lower_seconds=0) == replace(as_floats, lower_seconds=0)
    assert (as_integers.inputs, as_integers.ir_differs, as_integers.float_differs) == (30, 0, 0)


@pytest.mark.parametrize(("x", "spec", "message"), [
    (np.zeros((3, 7), np.float32), None, r"the inputs have shape \(3, 7\); the network takes \(N, 8\)"),
    (np.zeros((3, 8), np.int64), None, "the inputs are int64; pass the floats that the network takes"),
    (np.full((3, 8), np.nan, np.float32), None, "the input holds NaN"),
    (np.full((3, 8), 99), "s4*0.5", r"the input holds integers from 99 to 99"),
])
def test_inputs_that_do_not_fit_are_refused(x, spec, message):
    with pytest.raises(BitwrightError, match=message):
        check(perceptron(), x=x, input_spec=spec)


def test_argmax_compares_classes():
    result = check(perceptron(0.1), argmax=True, count=100, witnesses=100)
    assert (result.values, result.exact_values, result.ir_differs) == (100, 100, 0)


def test_the_python_name_is_the_same():
    model = perceptron(0.1)
    assert replace(bitwright.check(model, count=50), lower_seconds=0) == replace(check(model, count=50), lower_seconds=0)


def test_the_command(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(perceptron(0.5).SerializeToString())
    np.save(tmp_path / "x.npy", RNG.uniform(-4, 4, (40, 8)).astype(np.float32))
    shown = CliRunner().invoke(app, ["check", str(path), "--inputs", str(tmp_path / "x.npy")])
    assert shown.exit_code == 0, shown.output
    assert "40 inputs, 200 output values" in shown.output
    assert "passed: wherever exact arithmetic was done, the integers equal it" in shown.output
    found = CliRunner().invoke(app, ["check", str(path), "--count", "25", "--seed", "3", "--json"])
    assert json.loads(found.output)["inputs"] == 25 and json.loads(found.output)["passed"] is True


def test_the_command_ends_with_1_where_integers_are_wrong(tmp_path, wrong_lowering):
    path = tmp_path / "net.onnx"
    path.write_bytes(perceptron(0.5).SerializeToString())
    shown = CliRunner().invoke(app, ["check", str(path), "--count", "4"])
    assert shown.exit_code == 1
    assert "FAILED: 20 values differ from exact arithmetic" in shown.output


def test_the_command_ends_with_2_on_bad_input(tmp_path):
    assert CliRunner().invoke(app, ["check", str(tmp_path / "none.onnx")]).exit_code == 2

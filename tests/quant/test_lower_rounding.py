"""Quantizers written out with Round, Floor and Ceil, against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest

from quant.lower import LoweringError, lower
from tests.quant.test_lower_conv import check, quantizer, weights
from tests.quant.test_lower_oracle import conv, each, exact, f32, network, node, quant

PYTHON = {"Round": round, "Floor": math.floor, "Ceil": math.ceil}


def written_out(source, target, op, *, zero=0.0, low=-4.0, high=3.0):
    return [node("Div", [source, "s"], f"{target}d"), node("Add", [f"{target}d", "z"], f"{target}a"),
            node(op, [f"{target}a"], f"{target}r"), node("Clip", [f"{target}r", "lo", "hi"], f"{target}c"),
            node("Sub", [f"{target}c", "z"], f"{target}u"), node("Mul", [f"{target}u", "s"], target)]


@pytest.mark.parametrize("op", PYTHON)
@pytest.mark.parametrize("zero", [0.0, 2.0])
@pytest.mark.parametrize("ends", [(-4.0, 3.0), (0.0, 7.0), (-3.5, 2.25)])
def test_a_quantizer_written_out(op, zero, ends):
    rng = np.random.default_rng(0)
    constants = {"s": f32(0.37), "z": f32(zero), "lo": f32(ends[0]), "hi": f32(ends[1])}
    first, q0 = quantizer("u4", "x", "q0", constants)
    made, w = weights(rng, (3, 2, 2, 2), constants)
    again, w2 = weights(rng, (2, 3, 1, 1), constants, "v")
    nodes = [first, made, again, node("Conv", ["q0", "w"], "c"), *written_out("c", "q", op), node("Conv", ["q", "v"], "y")]

    def meaning(x):
        s, low, high = Fraction(float(constants["s"])), Fraction(ends[0]), Fraction(ends[1])
        q = each(conv(q0(x), w, None, {}), lambda v: (min(max(Fraction(PYTHON[op](v / s + Fraction(zero))), low), high) - Fraction(zero)) * s)
        return conv(q, w2, None, {})

    check(nodes, (1, 2, 4, 4), (1, 2, 3, 3), constants, meaning)


def test_the_network_may_start_with_one():
    constants = {"s": f32(0.37), "z": f32(0), "lo": f32(-4), "hi": f32(3), "w": f32([[1, -1], [2, 3]])}
    nodes = [*written_out("x", "q", "Round"), node("MatMul", ["q", "w"], "y")]
    s = Fraction(float(constants["s"]))
    check(nodes, (1, 2), (1, 2), constants,
          lambda x: each(x, lambda v: min(max(round(v / s), -4), 3) * s) @ exact(constants["w"]))


def test_a_straight_through_estimator_left_in_the_graph():
    """x + (q(x) - x), as a traced training function leaves it."""
    constants = {"s": f32(0.37), "z": f32(0), "lo": f32(-4), "hi": f32(3), "w": f32([[1, -1], [2, 3]]), "k": f32([[3, -2], [1, 1]]),
                 "t": f32(0.5), "b": f32(4)}
    first, q0 = quantizer("s3", "x", "q0", constants)
    nodes = [first, node("MatMul", ["q0", "k"], "m"), *written_out("m", "q", "Round"), node("Sub", ["q", "m"], "d"),
             node("Add", ["m", "d"], "e"), node("MatMul", ["e", "w"], "n"), node("Quant", ["n", "t", "z", "b"], "y", signed=1, narrow=0)]
    s = Fraction(float(constants["s"]))

    def meaning(x):
        m = q0(x) @ exact(constants["k"])
        return quant(each(m, lambda v: min(max(round(v / s), -4), 3) * s) @ exact(constants["w"]), f32(0.5), 0, 4, signed=1, narrow=0)

    check(nodes, (1, 2), (1, 2), constants, meaning)


def test_without_a_clip():
    constants = {"s": f32(0.5), "w": f32([[1, -1], [2, 3]])}
    rounded = [node("Div", ["x", "s"], "d"), node("Round", ["d"], "r"), node("MatMul", ["r", "w"], "y")]
    net = lower(network(rounded, (1, 2), (1, 2), constants), input_spec="s5/4")
    assert [one.op.kind for one in net.graph.nodes][-1] == "MatMul"
    with pytest.raises(LoweringError, match=r"node 'MatMul_y' \(MatMul\): it rounds to any integer; clip the rounded values"):
        lower(network(rounded, (1, 2), (1, 2), constants))

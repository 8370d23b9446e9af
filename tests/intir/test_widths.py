"""The width report."""

from __future__ import annotations

import numpy as np

from intir import BIPOLAR, Conv2d, GraphBuilder, MatMul, Reshape, unsigned
from intir.widths import width_report


def test_rows_hold_the_proof_beside_the_rule_of_thumb() -> None:
    build = GraphBuilder("widths")
    x = build.input("x", (4, 4, 3), unsigned(8))
    y = build.node(Conv2d(np.ones((3, 3, 3, 2), int)), x)
    build.output(build.node(MatMul(np.array([[100], [-28]] * 4)), build.node(Reshape((8,)), y)))
    b = build.input("b", (64,), BIPOLAR)
    build.output(build.node(MatMul(np.random.default_rng(0).choice([-1, 1], (64, 5))), b))
    conv, dense, binary = width_report(build.build())
    # 27 terms of at most 255: 6885, 13 bits; the rule says 2 * 8 + 5
    assert (conv.op, conv.terms, conv.activation_bits, conv.weight_bits) == ("Conv2d", 27, 8, 1)
    assert (conv.proven_bits, conv.rule_bits, conv.saved_bits, conv.accumulators) == (13, 21, 8, 8)
    assert (dense.terms, dense.activation_bits, dense.weight_bits, dense.rule_bits) == (8, 13, 8, 2 * 13 + 3)
    # 65 levels in steps of two
    assert (binary.proven_bits, binary.rule_bits) == (7, 2 * 1 + 6)

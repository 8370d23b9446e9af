"""The sparse engine in Amaranth's simulator: every bit and the cycle of every transfer, against a plain model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from hwsim.engines.eie import SETTLE_CYCLES
from hwsim.engines.elementwise import Lookup
from intir import IntType, unsigned
from tests.codegen.eie_cases import Case, Int64, case, drawn, inputs
from tests.codegen.eie_model import transfers
from tests.codegen.harness import Driver, packed, patterns, unpacked


def check(one: Case, xs: Int64, seed: int) -> None:
    """Under every stall pattern: the outputs, and the cycle of each transfer at both ports."""
    engine = one.engine
    frames = one.frames(xs)
    expected = np.concatenate([made.outputs for made in frames]).reshape(-1, engine.lanes_out)
    words = packed(xs, engine.word_in)
    driver = Driver(one.block())
    for source, sink in patterns(seed):
        seen = driver.run(words, len(expected), source, sink, extra_cycles=60)
        assert unpacked(seen.out_words, engine.word_out).tolist() == expected.tolist()
        model = transfers(engine, frames, source, sink)
        assert seen.in_cycles == model.in_cycles
        assert seen.out_cycles == model.out_cycles


@pytest.mark.parametrize("seed", range(14))
def test_any_engine(seed: int) -> None:
    one = drawn(seed)
    check(one, inputs(np.random.default_rng(seed), one.engine, 4), seed)


def dense(*shape: int, value: int = 3) -> Int64:
    return np.full(shape, value, np.int64)


def none(*shape: int) -> Int64:
    return np.zeros(shape, np.int64)


def lopsided(inputs: int, outputs: int, pes: int) -> Int64:
    """All entries in one PE's rows: the others wait for it."""
    w = none(inputs, outputs)
    w[:, ::pes] = np.arange(1, 8)[np.arange(inputs) % 7, None]
    return w


CORNERS: dict[str, dict[str, Any]] = {
    "one of everything": {"sizes": (1, 1), "pes": 1, "lanes": 1, "queue_depth": 2, "read_entries": 1, "matrices": [dense(1, 1)]},
    "more PEs than rows": {"sizes": (4, 3, 2), "pes": 8, "lanes": 2},
    "nothing in a layer": {"sizes": (6, 5, 4), "pes": 2, "lanes": 2, "matrices": [none(6, 5), dense(5, 4)]},
    "nothing at all": {"sizes": (4, 4), "pes": 2, "lanes": 2, "matrices": [none(4, 4)]},
    "nothing in the last": {"sizes": (4, 4, 4), "pes": 4, "lanes": 4, "lanes_out": 2, "matrices": [dense(4, 4), none(4, 4)]},
    "dense, shallow queue": {"sizes": (8, 24), "pes": 4, "lanes": 4, "lanes_in": 1, "lanes_out": 1, "queue_depth": 2,
                             "matrices": [dense(8, 24)]},
    "dense, deep queue": {"sizes": (16, 12), "pes": 3, "lanes": 3, "lanes_in": 1, "queue_depth": 8, "read_entries": 8,
                          "matrices": [dense(16, 12)]},
    "lopsided": {"sizes": (15, 12, 6), "pes": 6, "lanes": 3, "queue_depth": 3, "matrices": [lopsided(15, 12, 6), lopsided(12, 6, 6)]},
    "much padding": {"sizes": (5, 31), "pes": 1, "lanes": 1, "index_bits": 1, "density": 0.08},
    "one code, one bit": {"sizes": (9, 9, 9, 3), "pes": 3, "lanes": 1, "code_bits": 1, "x_type": unsigned(1), "post": "clip"},
    "partial words": {"sizes": (6, 7, 5, 4), "pes": 8, "lanes": 4, "lanes_in": 2, "lanes_out": 2, "post": "requant"},
    "partial words, constants from memories": {"sizes": (7, 5, 4), "pes": 2, "lanes": 2, "lanes_in": 1, "post": "scale"},
    "thresholds": {"sizes": (8, 9, 8), "pes": 4, "lanes": 2, "post": "thresholds"},
    "wide activations": {"sizes": (8, 8), "pes": 2, "lanes": 2, "x_type": IntType(-200, 180), "density": 0.9},
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name: str) -> None:
    rng = np.random.default_rng(7)
    one = case(rng, **CORNERS[name])
    check(one, inputs(rng, one.engine, 5), 7)


def test_all_activations_nonzero_or_all_zero() -> None:
    """A scan that is always behind the PEs, and one that never offers anything."""
    rng = np.random.default_rng(3)
    one = case(rng, (12, 8, 4), pes=4, lanes=4, queue_depth=4)
    check(one, np.concatenate([dense(2, 12), none(2, 12), dense(1, 12)]), 3)


def test_a_lookup_between_layers() -> None:
    """A table whose value at 0 is not 0: lanes beyond the layer stay 0 all the same."""
    one = case(np.random.default_rng(11), (4, 5, 4), pes=4, lanes=4, x_type=unsigned(3), code_bits=2)
    sums = one.engine.sum_type
    table = np.arange(sums.lo, sums.hi + 1)[None, :] % 5 + 2
    engine = dataclasses.replace(one.engine, post=(Lookup(8, 4, sums, one.engine.x_type, True),))
    check(Case(engine, one.matrices, one.constants | {"post0_table": table}, lambda layer, y: table[0, y - sums.lo]),
          inputs(np.random.default_rng(11), engine, 4), 11)


def test_the_scan_goes_on_through_zeros_while_a_nonzero_waits() -> None:
    """Three columns fill the only PE; the many zeros behind them take longer than it does."""
    one = case(np.random.default_rng(5), (60, 12), pes=1, lanes=1, queue_depth=2, matrices=[dense(60, 12)])
    x = none(3, 60)
    x[:, :3] = 1
    made = one.frames(x)[0]
    assert made.busy == 62 + SETTLE_CYCLES  # word 59 is seen in cycle 61: the third nonzero waited a cycle for the register
    check(one, x, 5)

"""Named roundings against their definitions in rational numbers, and gemmlowp's against its C code."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from intir import GraphError, IntType, Requant, signed
from intir.ops.requant import NAMES, shifted


def half(x: Fraction, tie: Callable[[int], int]) -> int:
    low = math.floor(x)
    return tie(low) if x - low == Fraction(1, 2) else math.floor(x + Fraction(1, 2))


EXACT: dict[str, Callable[[Fraction], int]] = {
    "floor": math.floor, "ceil": math.ceil, "toward_zero": math.trunc, "half_even": round,
    "half_up": lambda x: half(x, lambda low: low + 1),
    "half_away": lambda x: half(x, lambda low: low + (low >= 0)),
}


@pytest.mark.parametrize("rounding", EXACT)
@pytest.mark.parametrize("shift", [0, 1, 2, 5])
def test_rounding_is_its_definition(rounding: str, shift: int) -> None:
    p = np.arange(-200, 201)
    expected = [EXACT[rounding](Fraction(int(one), 2**shift)) for one in p]
    np.testing.assert_array_equal(shifted(p, np.full_like(p, shift), rounding), expected)


@pytest.mark.parametrize("rounding", EXACT)
def test_rounding_holds_at_the_greatest_values(rounding: str) -> None:
    p = np.array([2**62 - 1, -2**62 + 1, 2**61, -2**61, 2**61 + 2**60, -2**61 - 2**60, 0])
    for shift in (1, 30, 60, 61):
        expected = [EXACT[rounding](Fraction(int(one), 2**shift)) for one in p]
        np.testing.assert_array_equal(shifted(p, np.full_like(p, shift), rounding), expected)


def gemmlowp(x: int, multiplier: int, right: int) -> int:
    """SaturatingRoundingDoublingHighMul and RoundingDivideByPOT, as fixedpoint/fixedpoint.h has them."""
    product = x * multiplier
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    high = math.trunc(Fraction(product + nudge, 1 << 31))
    mask = (1 << right) - 1
    return (high >> right) + (1 if (high & mask) > (mask >> 1) + (1 if high < 0 else 0) else 0)


def test_gemmlowp_is_its_c_code() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.integers(-2**31 + 1, 2**31, 3000), rng.integers(-300, 300, 3000)])
    for multiplier in (2**30, 2**30 + 1, 2**31 - 1, 3 * 2**29, int(rng.integers(2**30, 2**31))):
        for right in (0, 1, 4, 12):
            op = Requant(np.array([multiplier]), np.array([31 + right]), np.array([0]), "gemmlowp", signed(40))
            expected = [gemmlowp(int(one), multiplier, right) for one in x]
            np.testing.assert_array_equal(op.evaluate(x[:, None], ranges=[])[:, 0], expected)


def test_names_are_all_covered() -> None:
    assert set(NAMES) == {*EXACT, "gemmlowp"}


@pytest.mark.parametrize(("change", "message"), [
    ({"rounding": "nearest"}, "the rounding 'nearest' is unknown; choose one of floor, ceil"),
    ({"rounding": "gemmlowp"}, "shift goes from 3 to 3; gemmlowp takes 31 to 62"),
    ({"shift": np.array([-1])}, "shift goes from -1 to -1; floor takes 0 to 62"),
    ({"out": IntType(-1, 1, 2)}, "the output type bipolar has a step of 2"),
    ({"multiplier": np.array([0.5])}, "multiplier is an array of float64"),
])
def test_bad_attributes_are_refused(change: dict[str, object], message: str) -> None:
    good = {"multiplier": np.array([1]), "shift": np.array([3]), "zero_point": np.array([0]), "rounding": "floor", "out": signed(8)}
    with pytest.raises(GraphError, match=message):
        Requant(**{**good, **change})  # type: ignore[arg-type]

"""The plan of the compressor tree, walked cell by cell, counts exactly."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.engines.popcount import ZERO, PopcountTree
from hwsim.engines.popcount_search import plan_tree

LARGE = (1, 2, 3, 7, 13, 49, 64, 100, 128, 257, 512)


def every_vector(n_bits: int) -> np.ndarray:
    return (np.arange(1 << n_bits)[:, None] >> np.arange(n_bits)) & 1


@pytest.mark.parametrize("family", ["xilinx", "ecp5", "generic"])
@pytest.mark.parametrize("n_bits", range(1, 11))
def test_counts_every_vector(n_bits: int, family: str) -> None:
    x = every_vector(n_bits)
    bits = PopcountTree(n_bits, pairs=None, family=family)
    np.testing.assert_array_equal(bits.evaluate(x), x.sum(axis=1))
    # All equality patterns, each under several activations.
    pairs = PopcountTree(n_bits, pairs="xnor", family=family)
    for seed in range(4):
        w = np.random.default_rng(seed).integers(0, 2, n_bits)
        np.testing.assert_array_equal(pairs.evaluate(x, np.broadcast_to(w, x.shape)), (x == w).sum(axis=1))


@pytest.mark.parametrize("pairs", ["xnor", "and", None])
@pytest.mark.parametrize("family", ["xilinx", "ecp5"])
@pytest.mark.parametrize("n_bits", LARGE)
def test_counts_random_vectors(n_bits: int, family: str, pairs: str | None) -> None:
    tree = PopcountTree(n_bits, pairs, family)
    rng = np.random.default_rng(n_bits)
    density = rng.random((400, 1))
    equal = (rng.random((400, n_bits)) < density).astype(np.uint8)
    equal[0], equal[1] = 0, 1
    w = rng.integers(0, 2, equal.shape, dtype=np.uint8)
    if pairs == "and":
        np.testing.assert_array_equal(tree.evaluate(equal, w), (equal & w).sum(axis=1))
        w[:] = 1
    counted = {"xnor": lambda: tree.evaluate(1 ^ equal ^ w, w), "and": lambda: tree.evaluate(equal, w), None: lambda: tree.evaluate(equal)}[pairs]()
    np.testing.assert_array_equal(counted, equal.sum(axis=1))


@pytest.mark.parametrize("pairs", ["xnor", "and", None])
@pytest.mark.parametrize("family", ["xilinx", "ecp5"])
@pytest.mark.parametrize("n_bits", LARGE)
def test_plan_conserves_weight_and_uses_each_bit_once(n_bits: int, family: str, pairs: str | None) -> None:
    """Weighted sum in = weighted sum out: with every cell proven, that proves the tree for all inputs."""
    tree = PopcountTree(n_bits, pairs, family)
    known, used = set(range(n_bits)), set()
    for cell in tree.cells:
        reads = [bit for bit in cell.inputs if bit != ZERO]
        assert set(reads) <= known and not used & set(reads) and len(reads) == len(set(reads))
        for bit, offset, is_pair in zip(cell.inputs, cell.kind.offsets, cell.kind.is_pair(), strict=True):
            assert bit == ZERO or tree.columns[bit] == cell.column + offset
            assert is_pair == (pairs is not None and 0 <= bit < n_bits)
        used |= set(reads)
        known |= {bit for bit in cell.outputs if bit != ZERO}
        # What a cell can count fits its outputs; those above the count's width are 0, as the total fits it.
        assert sum(1 << offset for offset in cell.kind.offsets) < 1 << cell.kind.n_outputs
        assert all(cell.column + i >= tree.out_bits for i, bit in enumerate(cell.outputs) if bit == ZERO)
    assert known - used == {bit for bit in tree.result if bit != ZERO}
    assert all(tree.columns[bit] == i for i, bit in enumerate(tree.result) if bit != ZERO)
    assert len(tree.result) == tree.out_bits == n_bits.bit_length()


@pytest.mark.parametrize(
    ("family", "n_bits", "bound"),
    [
        ("xilinx", 64, 91),
        ("xilinx", 128, 175),
        ("xilinx", 512, 697),
        ("ecp5", 64, 176),
        ("ecp5", 128, 366),
        ("xilinx", 8, 7),
        ("xilinx", 64, 64),
        ("xilinx", 512, 512),
        ("ecp5", 512, 1400),
    ],
)
def test_luts_stay_below_bound(family: str, n_bits: int, bound: int) -> None:
    assert 0 < PopcountTree(n_bits, "xnor", family).luts <= bound


def test_plan_is_deterministic() -> None:

    assert plan_tree.__wrapped__(49, True, "xilinx") == plan_tree.__wrapped__(49, True, "xilinx")
    assert PopcountTree(49).cells == PopcountTree(49).cells


@pytest.mark.parametrize("n_bits", [0, -1, 2.0, True])
def test_size_is_refused(n_bits: object) -> None:
    with pytest.raises(
        ValueError, match=r"PopcountTree n_bits is .*; give a whole number of bits, 1 or more"
    ):
        PopcountTree(n_bits)  # type: ignore[arg-type]


def test_family_is_refused() -> None:
    with pytest.raises(ValueError, match="family is 'cyclone'; choose one of xilinx, ecp5, generic"):
        PopcountTree(8, "xnor", "cyclone")


def test_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs is 'or'; choose 'xnor', 'and' or None"):
        PopcountTree(8, "or")


def test_operands_are_refused() -> None:
    with pytest.raises(ValueError, match="pass w exactly when it counts pairs"):
        PopcountTree(8).evaluate(np.zeros(8))
    with pytest.raises(ValueError, match="last axis must be 8"):
        PopcountTree(8).evaluate(np.zeros(7), np.zeros(7))

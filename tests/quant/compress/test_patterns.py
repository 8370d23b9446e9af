"""N:M patterns: on the right axis, the best choice of each group by brute force, short groups, and the same in the IR."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")

import torch

from quant.compress import CompressionError
from quant.compress.weights.patterns import is_pattern, pattern_mask, pattern_pruning
from tests.quant.compress.test_iterative import retrain
from tests.quant.compress.way_down import check_way_down, images, small_network

SHAPES = [(3, 8), (2, 7), (2, 3), (2, 1), (2, 10, 3), (3, 6, 2, 3), (4, 1, 3, 3)]


def groups_of(array, m):
    """Each group of m input channels, by loops; the last one may be shorter."""
    for output in range(array.shape[0]):
        for place in np.ndindex(array.shape[2:]):
            row = array[(output, slice(None), *place)]
            yield from (row[start:start + m] for start in range(0, len(row), m))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2), (3, 8), (2, 3)])
def test_no_other_choice_keeps_more(shape, n, m):
    torch.manual_seed(0)
    weight = torch.randn(shape)
    pruned = torch.where(pattern_mask(weight, n, m), weight, 0)
    assert is_pattern(pruned, n, m)
    for group, whole in zip(groups_of(pruned.numpy(), m), groups_of(weight.numpy(), m), strict=True):
        assert np.count_nonzero(group) == min(n, len(whole))
        best = max(sum(np.abs(whole[list(some)])) for some in itertools.combinations(range(len(whole)), min(n, len(whole))))
        assert np.abs(group).sum() == pytest.approx(best)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_weight_too_many_is_seen(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape)
    pruned = torch.where(pattern_mask(weight, 2, 4), weight, 0)
    for at in np.ndindex(*shape):
        more = pruned.clone()
        more[at] = 1.0
        wanted = max(np.count_nonzero(group) for group in groups_of(more.numpy(), 4)) <= 2
        assert is_pattern(more, 2, 4) == wanted


def test_of_equal_weights_the_first_are_kept():
    assert pattern_mask(torch.full((1, 6), -1.0), 2, 4).tolist() == [[True, True, False, False, True, True]]
    assert pattern_mask(torch.zeros(1, 5), 1, 4).tolist() == [[True, False, False, False, True]]


def test_the_integers_have_the_pattern_where_hardware_reads_it(tmp_path):
    network = small_network()
    result = pattern_pruning(network, 2, 4, positions={"9": 4}, retrain=retrain)
    lowered = check_way_down(result, images(), tmp_path)
    for name, one in lowered.items():
        weight = torch.tensor(one)
        assert is_pattern(weight.view(16, 12, 4) if name == "9" else weight, 2, 4), name
    assert torch.count_nonzero(result[6].weight) == 12 * 2 * 4  # of 4 input channels of a group 2
    assert torch.count_nonzero(result[9].weight) == 16 * 48 // 2
    assert torch.count_nonzero(result[0].weight) == 144  # 2 channels have the pattern
    assert not torch.equal(result[9].bias, network[9].bias)  # retrained


def test_only_named_layers():
    network = small_network()
    result = pattern_pruning(network, 1, 4, layers=["11"])
    assert torch.count_nonzero(result[11].weight) == 20
    assert torch.equal(result[9].weight, network[9].weight)
    assert torch.count_nonzero(network[11].weight) == 80


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (2, 1), (1.5, 4)])
def test_no_pattern(n, m):
    for call in (lambda: pattern_pruning(small_network(), n, m), lambda: is_pattern(torch.ones(2, 4), n, m)):
        with pytest.raises(CompressionError, match=f"no pattern keeps {n} of each {m} weights"):
            call()


def test_what_does_not_fit_is_refused():
    with pytest.raises(CompressionError, match=r"a weight of shape \(4,\) has no input axis"):
        is_pattern(torch.ones(4), 2, 4)
    with pytest.raises(CompressionError, match="`6`, which isn't a linear layer to prune"):
        pattern_pruning(small_network(), 2, 4, positions={"6": 4})
    with pytest.raises(CompressionError, match="layer `9` with 48 inputs isn't behind a flatten of channels with 5 positions"):
        pattern_pruning(small_network(), 2, 4, positions={"9": 5})

"""Sensitivity: each layer alone, as measured by hand; densities that hold a bound; JSON and pictures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks to compress are torch modules")

import torch
from torch import nn

from quant.compress import CompressionError
from quant.compress.weights.patterns import pattern_pruning
from quant.compress.weights.sensitivity import Sensitivity, SensitivityRow, analyse_sensitivity, densities_for
from tests.quant.compress.way_down import LAYERS, images, small_network

DENSITIES = (0.2, 1.0, 0.5)


def score_by(network):
    """Minus the mean squared change of outputs."""
    x = images(50)
    whole = network(x).detach()
    return lambda one: -(one(x) - whole).square().mean().item()


def test_each_layer_alone_as_by_hand():
    network = small_network()
    score = score_by(network)
    found = analyse_sensitivity(network, score, DENSITIES)
    assert found.baseline == 0
    assert found.layers == LAYERS
    assert [(row.layer, row.density) for row in found.rows] == [(name, density) for name in LAYERS for density in (1.0, 0.5, 0.2)]
    for row in found.rows:
        again = small_network()
        weight = again.get_submodule(row.layer).weight.data.numpy()
        count = math.floor(row.density * weight.size + 0.5)
        weight[np.abs(weight) < np.sort(np.abs(weight), axis=None)[::-1][count - 1]] = 0
        assert (row.weights, row.nonzeros) == (weight.size, count)
        assert row.score == pytest.approx(score(again), abs=1e-9)


def test_any_method_of_pruning_can_be_analysed():
    def pattern(network, densities):
        ((layer, density),) = densities.items()
        return pattern_pruning(network, round(4 * density), 4, layers=[layer]) if density < 1 else network

    network = small_network()
    found = analyse_sensitivity(network, score_by(network), (0.5, 0.25), layers=["9"], method=pattern)
    assert [row.nonzeros for row in found.rows] == [384, 192]


def table(**scores):
    return Sensitivity(0.95, tuple(SensitivityRow(layer, density, 100, round(100 * density), score) for layer, row in scores.items()
                                   for density, score in zip((0.8, 0.5, 0.2, 0.1), row, strict=True)))


def test_densities_for_a_bound():
    found = table(a=(0.95, 0.94, 0.9, 0.5), b=(0.96, 0.9, 0.95, 0.95), c=(0.95, 0.95, 0.95, 0.94))
    assert densities_for(found, 0.01) == {"a": 0.5, "b": 0.8, "c": 0.1}
    assert densities_for(found, 0.05) == {"a": 0.2, "b": 0.1, "c": 0.1}
    with pytest.raises(CompressionError, match="layer `d` costs 0.05 at density 0.8, the highest measured, so a loss of 0.01"):
        densities_for(table(d=(0.9, 0.95, 0.95, 0.95)), 0.01)
    for bad in (-0.1, math.nan, math.inf):
        with pytest.raises(CompressionError, match="must be a number of 0 or more"):
            densities_for(found, bad)


def test_densities_hold_the_bound():
    network = small_network()
    score, bound = score_by(network), 0.001
    found = analyse_sensitivity(network, score, (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1))
    chosen = densities_for(found, bound)
    assert len(set(chosen.values())) > 1
    for layer, density in chosen.items():
        rows = {row.density: -row.score for row in found.of(layer)}
        assert rows[density] <= bound
        below = [one for one in rows if one < density]
        assert not below or rows[max(below)] > bound


def test_json_and_pictures():
    found = table(a=(0.95, 0.94, 0.9, 0.5), b=(0.96, 0.9, 0.95, 0.95))
    read = json.loads(json.dumps(found.as_dict()))
    assert read["baseline"] == 0.95
    assert Sensitivity(read["baseline"], tuple(SensitivityRow(**row) for row in read["rows"])) == found
    svg = found.plot()
    assert svg == found.plot("svg")
    assert b"<svg" in svg and b"Date" not in svg and b"dc:date" not in svg
    assert found.plot("png").startswith(b"\x89PNG")
    assert found.plot("pdf") == found.plot("pdf")
    with pytest.raises(CompressionError, match="as 'gif': choose svg, png or pdf"):
        found.plot("gif")


@pytest.mark.parametrize(("call", "words"), [
    (lambda one: analyse_sensitivity(one, lambda _: 1.0, ()), "give at least one"),
    (lambda one: analyse_sensitivity(one, lambda _: 1.0, (0.5, 0)), "above 0 and at most 1, not 0"),
    (lambda one: analyse_sensitivity(one, lambda _: 1.0, layers=["1"]), "has no .* `1`"),
    (lambda one: analyse_sensitivity(one, lambda _: math.nan), "the score of the whole network is nan"),
    (lambda one: analyse_sensitivity(one, lambda it: 1.0 if torch.all(it[0].weight != 0) else math.nan), "with layer `0` at density 0.8 is nan"),
    (lambda one: analyse_sensitivity(nn.ReLU(), lambda _: 1.0), "no layer to compress"),
])
def test_what_makes_no_sense_is_refused(call, words):
    with pytest.raises(CompressionError, match=words):
        call(small_network())

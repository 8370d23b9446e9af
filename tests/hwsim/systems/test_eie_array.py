"""EIE's array: the exact engine's cycles, from the weights or from a sample at their density."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.engines.csc import encode_entries
from hwsim.engines.eie_cycles import layer_cycles
from hwsim.systems.eie_array import QUEUE_DEPTH, SEED, run_layer
from hwsim.systems.machine import Machine, Sram
from hwsim.systems.machine_file import load_machine
from hwsim.systems.run import simulate
from hwsim.systems.work import Work
from tests.hwsim.systems.examples import TABLE, conv, dense, network


def eie() -> Machine:
    return load_machine("eie_64")


def sparse(terms: int, filters: int, density: float, active: float, seed: int = 5) -> Work:
    """A dense layer with its matrix, of which such a share is not zero."""
    matrix = (np.random.default_rng(seed).random((filters, terms)) < density).astype(np.int64)
    work = dense("fc", terms, filters)
    assert work.weights is not None
    return replace(work, matrix=matrix, weights=replace(work.weights, density=matrix.mean()), reads=(replace(work.reads[0], density=active),))


def test_given_weights_take_the_exact_engines_cycles() -> None:
    work = sparse(600, 400, 0.1, 0.4)
    assert work.matrix is not None
    rows, columns = np.nonzero(work.matrix)
    matrix = encode_entries(rows, columns, np.ones(len(rows), np.int64), (600, 400), 64, np.array([0, 1]))
    x = np.random.default_rng(SEED + 1).random(600) < 0.4
    run = run_layer(work, eie(), 3)
    assert run.array_cycles + run.fill_cycles == 3 * layer_cycles(matrix, x, lanes=64, queue_depth=QUEUE_DEPTH)


@pytest.mark.parametrize(("density", "active"), [(0.09, 0.35), (0.25, 1.0), (0.04, 0.2)])
def test_a_sample_is_near_the_whole_matrix(density: float, active: float) -> None:
    whole = sparse(4096, 1024, density, active)
    drawn = replace(whole, matrix=None)
    cycles = [run.array_cycles + run.fill_cycles for run in (run_layer(whole, eie(), 1), run_layer(drawn, eie(), 1))]
    assert cycles[1] == pytest.approx(cycles[0], rel=0.1)


def test_a_convolution_is_a_product_for_each_pixel() -> None:
    work = conv(size=(6, 6), channels=32, filters=128)
    one = run_layer(work, eie(), 1)
    assert one.array_cycles + one.fill_cycles == pytest.approx(36 * 288 * 2, rel=0.05)  # two rows of 128 for each of 64 elements


def test_weights_that_fit_are_loaded_before_the_run() -> None:
    made = eie()
    fits = simulate(network(sparse(600, 400, 0.1, 0.4)), made, table=TABLE)
    assert fits.layers[0].bytes_at("dram", what="weights") == 0
    assert fits.notes == ("all compressed weights are on chip before the run begins",)
    small = replace(made, srams=tuple(Sram(one.name, 64, one.width_bits, 1, one.holds, False) if "weights" in one.holds else one for one in made.srams))
    loaded = simulate(network(sparse(600, 400, 0.1, 0.4)), small, table=TABLE)
    assert loaded.layers[0].bytes_at("dram", "read", "weights") >= 24_000  # a byte for each nonzero
    for report in (fits, loaded):
        layer = report.layers[0]
        assert layer.array_cycles + sum(layer.stall_cycles.values()) == layer.cycles

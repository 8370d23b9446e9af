"""The pieces of `make bench-eie`, on small data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.eie import real, timing
from benchmarks.eie.__main__ import main
from benchmarks.eie.authors import authors_cycles, measured
from benchmarks.eie.layers import CLOCK_MHZ, DEPTHS, Encoded, Layer, activations, drawn, published
from hwsim.engines.csc import encode

LAYERS = {row.name: row for row in published()}


def test_the_published_layers() -> None:
    assert len(LAYERS) == 9
    for row in LAYERS.values():
        # the authors' own draw lies within 4% of the density, and no layer is faster than its products
        assert row.drawn_active == pytest.approx(row.inputs * row.activation_density, rel=0.04) and row.drawn_active <= row.inputs
        assert row.drawn_nonzeros == pytest.approx(row.inputs * row.outputs * row.weight_density, rel=0.01)
        assert list(row.simulated_us) == list(DEPTHS) and min(row.simulated_us.values()) > row.drawn_ideal_us * 0.99
    assert (LAYERS["VGG-6"].inputs, LAYERS["VGG-6"].actual_us, LAYERS["NT-We"].simulated_us[2]) == (25088, 34.4, 14.65)


def test_drawn_layers_have_the_density_and_repeat() -> None:
    row = LAYERS["NT-LSTM"]
    layer, again, other = drawn(row), drawn(row), drawn(row, 2)
    size = row.inputs * row.outputs
    deviation = np.sqrt(size * row.weight_density * (1 - row.weight_density))
    for one in (layer, other):
        assert abs(len(one.rows) - size * row.weight_density) < 4 * deviation
        place = one.columns * row.outputs + one.rows
        assert (np.diff(place) > 0).all() and place[-1] < size and one.rows.max() < row.outputs
        # no row or column is favoured
        assert np.bincount(one.rows).std() < 2 * np.sqrt(row.inputs * row.weight_density)
        assert np.bincount(one.columns).std() < 2 * np.sqrt(row.outputs * row.weight_density)
        assert np.count_nonzero(one.x) == row.drawn_active and one.codebook[0] == 0 and (one.codebook[1:] != 0).all()
    assert np.array_equal(layer.rows, again.rows) and np.array_equal(layer.x, again.x)
    assert len(layer.rows) != len(other.rows)
    assert np.count_nonzero(activations(1000, 17)) == 17 and not activations(5, 0).any()


def plain_recurrence(counts: list[list[int]], depth: int) -> int:
    """The formula as it is in `hwsim.engines.eie`, (pes, columns), with a scan that never waits; the greatest end."""
    pes, columns = len(counts), len(counts[0])
    t, start, end = [0] * columns, [[0] * columns for _ in range(pes)], [[0] * columns for _ in range(pes)]
    for k in range(columns):
        t[k] = (t[k - 1] if k else 0) + 1
        if k >= depth - 1:
            t[k] = max(t[k], *(start[p][k - (depth - 1)] + 1 for p in range(pes)), 0)
        for p in range(pes):
            start[p][k] = max(t[k] + 1, end[p][k - 1] if k else 0)
            end[p][k] = start[p][k] + max(1, counts[p][k])
    return max(row[-1] for row in end)


@pytest.mark.parametrize("depth", [2, 3, 8])
def test_the_authors_recurrence(depth: int) -> None:
    rng = np.random.default_rng(depth)
    matrix = encode((rng.random((50, 30)) < 0.4).astype(np.int64), 4)
    x = activations(50, 31)
    counts = matrix.counts[:, x != 0].tolist()
    assert authors_cycles(matrix, x, depth, scan=False, stops=False) == plain_recurrence(counts, depth) + 6


@pytest.mark.parametrize("name", ["NT-LSTM", "NT-We", "VGG-7"])
def test_the_model_of_their_machine_is_their_simulator(name: str) -> None:
    layer = drawn(LAYERS[name])
    matrix = layer.encode()
    for depth in DEPTHS:
        assert authors_cycles(matrix, layer.x, depth) == measured()[name, depth]


def test_the_model_on_real_layers(shared_models: Path) -> None:
    layers = real.read(shared_models / real.NAME)
    assert len(layers) == 26 and sum(len(layer.rows) for layer in layers) == 415_921
    for layer in layers:
        matrix = layer.encode()
        for depth in real.DEPTHS:
            assert authors_cycles(matrix, layer.x, depth) == measured()[layer.name, depth]


def small(active: int, inputs: int = 700) -> Encoded:
    rng = np.random.default_rng(active)
    columns, rows = np.nonzero(rng.random((inputs, 200)) < 0.2)
    return Encoded.of(Layer("small", rows, columns, rng.integers(1, 16, len(rows)), (inputs, 200), np.arange(16), activations(inputs, active)))


def test_every_cycle_of_difference_is_named() -> None:
    failures: list[str] = []
    for active, waits in ((700, False), (300, False), (4, True)):
        theirs, *parts, ours = timing.explained(small(active), 8, failures)
        assert theirs + sum(parts) == ours == timing.cycles(small(active), 8)
        assert parts[2] == -5 and (parts[3] > 0) == waits
    assert not failures


def test_a_difference_without_a_name_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "START_CYCLES", 0)
    failures: list[str] = []
    timing.explained(small(300), 8, failures)
    assert failures == ["small at depth 8: 1 cycles that nothing explains; the scan waits for 0"]
    monkeypatch.setattr(timing, "START_CYCLES", 1)
    monkeypatch.setattr(timing, "measured", lambda: {("small", 8): 7})
    failures.clear()
    timing.differences([small(300)], (8,), "", seed=1, failures=failures)
    assert len(failures) == 1 and failures[0].startswith("small at depth 8: their simulator takes 7 cycles, the model of it ")


def test_convolutions_are_read_as_matrices(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, (6, 3, 2, 2)).astype(np.uint8)
    book = np.zeros(256, np.float32)
    book[:4] = [0, 0.5, -0.25, 2**-14]
    np.savez(tmp_path / "net.npz", **{"conv/a_codes": codes, "conv/a_cb": book, "conv/a_bias": np.zeros(6)})
    (layer,) = real.read(tmp_path / "net.npz")
    assert (layer.name, layer.shape) == ("conv/a", (12, 6))
    dense = layer.encode(4).decode()
    assert dense[7, 5] == {0: 0, 1: 8192, 2: -4096, 3: 1}[int(codes[5, 1, 1, 1])]
    assert np.array_equal(dense, np.array([0, 8192, -4096, 1])[codes.reshape(6, 12).T])
    assert np.count_nonzero(layer.x) == 6
    encoded = [Encoded.of(layer)]
    assert real.sizes(encoded).startswith("stored: 0 KiB as float32; ")


def test_the_benchmark_prints_and_judges(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["--only", "NT-LSTM", "--squeezenet", "nowhere/squeezenet.npz"]
    monkeypatch.setattr(timing, "BOUND_RATIO", 0.0)  # no test of speed: other processes share the machine
    assert main(asked) == 0
    text = capsys.readouterr().out
    ours = timing.cycles(Encoded.of(drawn(LAYERS["NT-LSTM"])), 8)
    assert f"{ours:,}" in text and f"{ours / CLOCK_MHZ:.2f} / 6.72" in text
    assert "skipped: the real layers of SqueezeNet, for want of squeezenet.npz" in text and "MISSED" not in text
    monkeypatch.setattr(timing, "BOUND_PERCENT", 0.001)
    assert main([*asked, "--no-machine"]) == 1
    text = capsys.readouterr().out
    assert "MISSED: NT-LSTM at depth 8: 6." in text and "scipy" not in text

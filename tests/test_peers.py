"""What the peers' benchmark reads and counts; the peers themselves run in the benchmark only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import environments
from benchmarks.dataflow import peers
from benchmarks.dataflow.exchange import PeerError, describe
from benchmarks.dataflow.peer_networks import NETWORKS
from codegen.yosys import SynthResult, synthesize
from intir import BIPOLAR, GlobalSumPool, GraphBuilder

PRODUCT = """
module product(input clk, input signed [15:0] a, b, output reg signed [31:0] y);
  reg signed [15:0] c, d;
  always @(posedge clk) begin
    c <= a; d <= b; y <= c * d;
  end
endmodule
"""


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_described_network_computes_what_the_reference_does(name: str) -> None:
    arrays = describe(NETWORKS[name]())
    network = json.loads(str(arrays["network"]))
    value = arrays["x"]
    for number, layer in enumerate(network["layers"]):
        weights = arrays[f"weights{number}"]
        if weights.ndim == 4:
            windows = np.lib.stride_tricks.sliding_window_view(value, weights.shape[:2], axis=(0, 1))
            value = np.einsum("hwcab,abcn->hwn", windows, weights)
        else:
            value = value.ravel() @ weights
        value = (value + arrays[f"bias{number}"]) * arrays[f"multiplier{number}"]
        if layer["activation"] == "sign":
            value = np.where(value > 0, 1, -1)
        elif layer["activation"] == "relu":
            value = np.clip((value + (1 << layer["shift"] >> 1)) >> layer["shift"], 0, 2**layer["bits"] - 1)
        if "pool" in layer:
            (height, width), _ = layer["pool"]
            value = value.reshape(value.shape[0] // height, height, value.shape[1] // width, width, -1).max(axis=(1, 3))
    assert np.array_equal(value, arrays["ours"])
    assert len(np.unique(value)) > 1


def test_a_network_without_a_counterpart_is_refused() -> None:
    build = GraphBuilder("pooled")
    build.output(build.node(GlobalSumPool(), build.input("x", (4, 4, 2), BIPOLAR), name="pool"))
    with pytest.raises(PeerError, match="'pool'"):
        describe(build.build())


BENCH = "cycles      58233\noutput         -14\noutput           7\n- bench.v:1304: Verilog $finish\n"


def test_a_bench_is_read() -> None:
    assert peers.parse_bench(BENCH, [-14, 7]) == 58233


@pytest.mark.parametrize(("text", "expected", "match"), [
    (BENCH, [-14, 8], "its software"), (BENCH, [-14], "its software"), ("cycles         xx\n", [], "no cycles")])
def test_a_bench_that_went_wrong_gives_no_cycles(text: str, expected: list[int], match: str) -> None:
    with pytest.raises(PeerError, match=match):
        peers.parse_bench(text, expected)


def test_a_peer_that_does_not_install_gives_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)

    def fails(command: list[str], what: str, *_: object) -> str:
        raise PeerError(f"{what} failed: no such version")

    monkeypatch.setattr(environments, "run_command", fails)
    monkeypatch.setattr(environments.venv, "create", lambda *_, **__: None)
    row = peers.alkaid(NETWORKS["mlp_6bit"](), "mlp_6bit")
    assert row.note == "installing alkaid failed: no such version" and row.luts is None and row.cycles is None
    row = peers.nngen(NETWORKS["mlp_int8"](), "mlp_int8", 4)
    assert row.note == "installing nngen failed: no such version" and (row.cycles, row.cycles_source) == (19_985, "recorded")


def test_ultrascale_cells_are_counted() -> None:
    cells = synthesize({"product.v": PRODUCT}, "product", "xcup")
    assert cells.cells["DSP48E2"] == cells.dsps == 1


def test_a_large_block_ram_counts_as_two_small_ones() -> None:
    assert SynthResult("xcup", {"RAMB36E2": 3, "RAMB18E2": 1}).bram18s == 7

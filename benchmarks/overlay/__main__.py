"""Real layers on arrays (`make bench-overlay`): RTL under Verilator, the exact model, the approximate one; then cells.

Every sum is compared with the IR's reference, and every transfer's cycle with the exact model's.  The approximate model is
`hwsim.systems.run.simulate` of the machine that `hwsim.engines.gemm_machine` makes of the array.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from codegen import overlay
from codegen.cosim import FAULTS, run_bench
from codegen.errors import ToolError
from codegen.yosys import synthesize
from hwsim.engines.gemm import Gemm
from hwsim.engines.gemm_commands import tile
from hwsim.engines.gemm_cycles import simulate
from hwsim.engines.gemm_machine import machine_of, workload_of
from hwsim.systems.run import simulate as approximate
from intir import BIPOLAR, signed, unsigned

from .layers import Layer, large_layers, network_layers

#: The approximate model may be off by so much, or by so many cycles in a layer that takes a few dozen.
BOUND, BOUND_CYCLES = 0.02, 10
INT8, XNOR = (unsigned(8), signed(8)), (BIPOLAR, BIPOLAR)
ARRAYS = {
    "int8 16x16": Gemm(16, 16, 1, *INT8, 32, depth=8192, commands=32),
    "int8 8x8": Gemm(8, 8, 1, *INT8, 32, depth=2048, commands=32),
    "xnor 16x16x32": Gemm(16, 16, 32, *XNOR, 16, depth=256, commands=32),
    "xnor 8x8x64": Gemm(8, 8, 64, *XNOR, 16, depth=256, commands=32),
}
FAMILIES = ("xilinx", "ecp5")
SYNTHESIS_SECONDS = 3600.0


def layers(array: str, quick: bool) -> Iterable[Layer]:
    """What runs on an array."""
    gemm = ARRAYS[array]
    if gemm.is_binary:
        yield from network_layers("cnv_w1a1", 1 if quick else 8, gemm.x_type, gemm.w_type)
        return
    yield from network_layers("lenet_int8", 16, gemm.x_type, gemm.w_type)
    if not quick:
        yield from network_layers("resnet8", 1, gemm.x_type, gemm.w_type)
    if gemm.rows == 16:
        yield from large_layers("conv3_x" if quick else "")


def compare(array: str, quick: bool, console: Console) -> bool:
    """Run the layers, print their cycles; whether every bit and cycle is right and the approximate model within its bound."""
    gemm, passed = ARRAYS[array], True
    totals: dict[str, list[int]] = {}
    table = Table(title=f"{array}, {gemm.peak_macs:,} multiply-accumulates a cycle, half a tile memory {gemm.depth:,} words")
    for column in ("layer", "M", "K", "N", "RTL cycles", "exact model", "approximate", "/ RTL", "busy", "differing",
                   "GMAC/s simulated"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        path = overlay.build(gemm, Path(folder) / "overlay")
        for layer in layers(array, quick):
            tiling = tile(gemm, *layer.shape)
            exact = simulate(gemm, tiling.commands()).cycles
            (report,) = approximate(workload_of(array, {layer.name: tiling}), machine_of(gemm)).layers
            vectors = overlay.make_vectors([tiling], [(layer.x, layer.w)], stalls=False)
            # What the RTL is held to is the reference's.
            passed &= bool((tiling.result(tiling.rows(layer.x, layer.w)) == layer.y).all())
            with console.status(f"{array}: {layer.name}"):
                started = time.monotonic()
                if not table.rows:  # the first one compiles the simulation
                    run_bench(path, vectors, "verilator", Path(folder) / "build")
                    started = time.monotonic()
                (found,) = run_bench(path, vectors, "verilator", Path(folder) / "build").values()
                seconds = time.monotonic() - started
            faults = sum(found[fault] for fault in FAULTS)
            cycles = (found["last_output_cycle"] or 0) + 1
            passed &= not faults and cycles == exact and _near(report.cycles, cycles)
            total = totals.setdefault(layer.name.split()[0], [0, 0, 0, 0])
            totals[layer.name.split()[0]] = [a + b for a, b in zip(total, (cycles, exact, report.cycles, layer.macs), strict=True)]
            table.add_row(layer.name, *(f"{one:,}" for one in (*layer.shape, cycles, exact, report.cycles)),
                          _ratio(report.cycles, cycles),
                          f"{layer.macs / cycles / gemm.peak_macs:.1%}", str(faults), f"{layer.macs / seconds / 1e9:.3f}")
    table.add_section()
    for network, (cycles, exact, roughly, macs) in totals.items():
        table.add_row(network, "", "", "", *(f"{one:,}" for one in (cycles, exact, roughly)), _ratio(roughly, cycles),
                      f"{macs / cycles / gemm.peak_macs:.1%}")
    console.print(table)
    return passed


def _near(roughly: int, cycles: int) -> bool:
    return abs(roughly - cycles) <= max(BOUND * cycles, BOUND_CYCLES)


def _ratio(roughly: int, cycles: int) -> str:
    text = f"{roughly / cycles:.4f}"
    return text if _near(roughly, cycles) else f"[red]{text} ![/red]"


def cells(families: Iterable[str], console: Console) -> None:
    """Cells of whole arrays in Yosys; an element is mapped once."""
    table = Table(title="cells of arrays with 2 x 2 x 1024 words of tiles (XNOR: 2 x 2 x 256), Yosys, beside the estimate")
    for column in ("array", "family", "LUTs", "estimated", "of an element", "FFs", "block RAMs", "estimated", "multipliers",
                   "estimated"):
        table.add_column(column, justify="left" if column in ("array", "family") else "right")
    for size in (8, 16):
        for kind, lanes, types, depth in (("int8", 1, INT8, 1024), ("xnor", 32, XNOR, 256)):
            for family in families:
                gemm = Gemm(size, size, lanes, *types, 16 if kind == "xnor" else 32, depth=depth, commands=16, family=family)
                rtl = overlay.generate(gemm)
                files = {path: _kept(text) if path.endswith("_element.v") else text for path, text in rtl.files.items()}
                with console.status(f"{kind} {size}x{size}: synthesis for {family}"):
                    try:
                        whole = synthesize(files, rtl.top, family, SYNTHESIS_SECONDS)
                        one = synthesize(rtl.files, f"{rtl.top}_element", family, SYNTHESIS_SECONDS)
                    except ToolError as error:
                        table.add_row(f"{kind} {size}x{size}x{lanes}", family, str(error))
                        continue
                need = gemm.resources(gemm.family)
                table.add_row(f"{kind} {size}x{size}x{lanes}", family, *(f"{number:,}" for number in (
                    whole.luts, need.luts, one.luts, whole.ffs, whole.bram18s, need.brams, whole.dsps, need.dsps)))
    console.print(table)


def _kept(text: str) -> str:
    """A module that is mapped alone."""
    return re.sub(r"^module ", '(* keep_hierarchy = "yes" *)\nmodule ', text, flags=re.MULTILINE)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; 1 if a bit or a cycle differs or the approximate model misses its bound."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overlay", description="Real layers on systolic and XNOR arrays.",
                                     epilog="example: python -m benchmarks.overlay --only 'int8 16x16' --quick --no-synth")
    parser.add_argument("--only", action="append", choices=list(ARRAYS), help="an array, may be repeated (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller layers")
    parser.add_argument("--no-synth", action="store_true", help="count no cells")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="synthesize for one family only")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 150)
    passed = [compare(array, options.quick, console) for array in options.only or ARRAYS]
    if not options.no_synth:
        cells(options.family or FAMILIES, console)
    console.print(f"every sum and every cycle as predicted, approximate model within {BOUND:.0%} or {BOUND_CYCLES} cycles of "
                  f"every layer: {'yes' if all(passed) else 'NO'}")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The command on arrays that layers share: overlay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..shell import InputError, out, user_errors


@user_errors
def overlay(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to make.")],
    rows: Annotated[int, typer.Option("--rows", help="Rows of elements.")] = 16,
    columns: Annotated[int, typer.Option("--columns", help="Columns of elements.")] = 16,
    kind: Annotated[str, typer.Option(
        "--kind", help="int8 (u8 activations, s8 weights), xnor (both bipolar), or types like s8,s8 or u4,s4.")] = "int8",
    lanes: Annotated[int | None, typer.Option(
        "--lanes", help="Products that an element sums in a cycle [default: 1; 32 for xnor].")] = None,
    sum_bits: Annotated[int | None, typer.Option("--sum-bits", help="Bits of a sum [default: 32; 16 for xnor].")] = None,
    depth: Annotated[int, typer.Option("--depth", help="Words in half a tile memory, a power of two.")] = 1024,
    commands: Annotated[int, typer.Option("--commands", help="Commands that the queue holds.")] = 32,
    family: Annotated[str, typer.Option("--family", help="FPGA family of xnor counters: xilinx, ecp5 or generic.")] = "xilinx",
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that was made by this command or by `build`.")] = False,
) -> None:
    """Generate an array for products of matrices, which layers share: Verilog with its bench; `bitwright verify DIR` runs it.

    Example: bitwright overlay --rows 8 --columns 8 --kind int8 -o build/array
    """
    from codegen.overlay import build, top_name
    from hwsim.engines.gemm import Gemm
    from intir import BIPOLAR, IntType

    kinds = {"int8": "u8,s8", "xnor": "bipolar,bipolar"}
    parts = kinds.get(kind, kind).split(",")
    if len(parts) != 2:
        raise InputError(f"--kind is '{kind}'; choose int8 or xnor, or give the types of activations and weights, like s8,s8")
    x_type, w_type = (IntType.parse(part) for part in parts)
    binary = x_type == w_type == BIPOLAR
    gemm = Gemm(rows, columns, (32 if binary else 1) if lanes is None else lanes, x_type, w_type,
                (16 if binary else 32) if sum_bits is None else sum_bits, depth, commands, family)
    with out.status("generating Verilog"):
        build(gemm, output, overwrite=force)
    need = gemm.resources(gemm.family)
    out.print(f"wrote {output}: {top_name(gemm)}, {gemm.peak_macs:,} multiply-accumulates a cycle, about {need.luts:,} LUTs, "
              f"{need.brams} block RAMs, {need.dsps} DSPs", markup=False, highlight=False)

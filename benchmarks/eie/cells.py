"""Cells of whole sparse engines of 64 elements in Yosys: LeNet-300-100 and a layer of 1024 x 1024 at 10% density."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from codegen.errors import ToolError
from codegen.generate import generate
from codegen.yosys import synthesize
from examples.lenet300.model import graph as lenet300
from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from intir import Graph, GraphBuilder, MatMul, unsigned

PES = 64
FAMILIES = ("xilinx", "ecp5")
TIMEOUT_SECONDS = 3600.0


def square() -> Graph:
    """A layer of 1024 x 1024, 10% nonzero, 15 weights of 8 bits."""
    rng = np.random.default_rng(1)
    build = GraphBuilder("square")
    values = rng.choice(np.setdiff1d(np.arange(-100, 100), [0]), 15, replace=False)
    weights = rng.choice(values, (1024, 1024)) * (rng.random((1024, 1024)) < 0.1)
    build.output(build.node(MatMul(weights), build.input("x", (1024,), unsigned(8)), name="fc"))
    return build.build()


def cells(console: Console, families: Sequence[str] = FAMILIES) -> Table:
    """Synthesize the engines; elements are mapped once and counted 64 times."""
    table = Table(title=f"cells of whole engines, {PES} PEs, Yosys; estimated: what a plan's device is compared with")
    for column in ("engine", "family", "LUTs", "estimated", "of a PE", "FFs", "of a PE", "BRAM18", "estimated", "of a PE",
                   "multipliers", "estimated"):
        table.add_column(column, justify="left" if column in ("engine", "family") else "right")
    for name, graph in (("LeNet-300-100, 8%", lenet300()), ("1024 x 1024, 10%", square())):
        for family in families:
            design = make_design(graph, auto_plan(graph, sparse=PES, family=family)).bare
            rtl = generate(design, "benchmark")
            files = {path: _kept(text) if path.endswith("_pe.v") else text for path, text in rtl.files.items()}
            with console.status(f"{name}: synthesis for {family}"):
                try:
                    found = synthesize(files, rtl.top, family, TIMEOUT_SECONDS)
                except ToolError as error:
                    table.add_row(name, family, str(error))
                    continue
            console.print(f"{name}, {family}: {found.luts:,} LUT, {found.ffs:,} FF, {found.bram18s} BRAM18, {found.dsps} DSP",
                          highlight=False)
            need = [sum(getattr(one, key) for one in design.resources.values()) for key in ("luts", "brams", "dsps")]
            table.add_row(name, family, *(f"{one:,}" for one in (
                found.luts, need[0], round(found.luts / PES), found.ffs, round(found.ffs / PES), found.bram18s, need[1],
                round(found.bram18s / PES), found.dsps, need[2])))
    return table


def _kept(text: str) -> str:
    """A module that is mapped alone."""
    return re.sub(r"^module ", '(* keep_hierarchy = "yes" *)\nmodule ', text, flags=re.MULTILINE)

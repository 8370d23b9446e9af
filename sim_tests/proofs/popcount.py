"""Compressor trees: every cell is the sum of its inputs, and so is every tree.

Small trees are compared with a plain sum by SAT, which stops scaling near 64 inputs.  For any size, the netlist is taken as what it
is: cells, each of which says "what I drive, weighted, is what I read, weighted" (which SAT shows of each cell alone).  Added up, with
the weights of the columns, all that lies between inputs and outputs must cancel.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

from codegen.blocks.popcount import Popcount, cell_module, module_name
from codegen.templates import render
from codegen.yosys import run_yosys
from hwsim.engines.popcount import CellKind, PopcountTree

from .dut import Dut, component
from .solver import Outcome

TOP = "proof"
PORTS = ("carry_in", "row", "x", "w", "bits")


def tree_dut(tree: PopcountTree) -> Dut:
    """A tree as Verilog, with its cells."""
    return component(module_name(tree), Popcount(tree))


def tree_files(tree: PopcountTree) -> dict[str, str]:
    """A tree beside a plain sum; the top module is `TOP`."""
    return with_sum(tree, tree_dut(tree))


def with_sum(tree: PopcountTree, dut: Dut) -> dict[str, str]:
    """A circuit that claims to be a tree beside a plain sum."""
    ones = {"xnor": "~(x ^ w)", "and": "x & w", None: "x"}[tree.pairs]
    return {**dut.files, f"{TOP}.sv": render("proof_popcount.sv.j2", top=TOP, block=dut.module, bits=tree.n_bits, pairs=bool(tree.pairs),
                                             out_bits=tree.out_bits, ones=ones)}


@cache
def kinds(family: str, pairs: str | None, most: int = 160) -> tuple[CellKind, ...]:
    """The cells of all trees up to a size (and of a few above it), each kind once."""
    sizes = [*range(1, 41), 48, 56, 64, 80, 96, 100, 128, most]
    return tuple(dict.fromkeys(cell.kind for n in sizes for cell in PopcountTree(n, pairs, family).cells))


def cell_files(family: str, pairs: str | None) -> dict[str, str]:
    """All kinds of cells beside the sums of their inputs; the top module is `TOP`."""
    files, cells = {}, []
    for kind in kinds(family, pairs):
        name, text = cell_module(kind, family, pairs)
        files[f"{name}.v"] = text
        widths = Counter(port for port, _, _ in weights(kind))
        if widths["x"]:
            widths["w"] = widths["x"]
        join = "&" if pairs == "and" else "~^"
        terms = [f"({name}_{port}[{bit}]{f' {join} {name}_w[{bit}]' if port == 'x' else ''} ? {1 << offset} : 0)"
                 for port, bit, offset in weights(kind)]
        cells.append({"name": name, "sum_bits": kind.n_outputs, "expected": " + ".join(terms),
                      "inputs": [{"name": port, "bits": widths[port]} for port in PORTS if widths[port]]})
    return {**files, f"{TOP}.sv": render("proof_cells.sv.j2", top=TOP, cells=cells)}


def weights(kind: CellKind) -> list[tuple[str, int, int]]:
    """For each input of a cell: its port, its bit there (a pair is that bit of x and of w), its column."""
    places: Counter[str] = Counter()
    head = ["carry_in"] * kind.carry_in + ["row"] * kind.row
    found = []
    for n, (offset, is_pair) in enumerate(zip(kind.offsets, kind.is_pair(), strict=True)):
        port = head[n] if n < len(head) else "x" if is_pair else "bits"
        found.append((port, places[port], offset))
        places[port] += 1
    return found


def telescopes(tree: PopcountTree, dut: Dut | None = None) -> Outcome:
    """Whether the weighted sums of a tree's cells add up to "count = number of ones", by its netlist."""
    dut = dut or tree_dut(tree)
    module = _netlist(dut)
    by_name = {cell_module(kind, tree.family, tree.pairs)[0]: kind for kind in {cell.kind for cell in tree.cells}}
    pairs = dict(zip(module["ports"]["x"]["bits"], module["ports"]["w"]["bits"] if tree.pairs else [None] * tree.n_bits, strict=True))
    column: dict[Any, int] = {}
    balance: Counter[Any] = Counter()
    cells = list(module["cells"].values())
    if strange := next((cell["type"] for cell in cells if cell["type"] not in by_name), None):
        return Outcome("refuted", f"the netlist has a cell of type {strange} that is none of the tree's")
    # Outputs of a cell weigh what their column says: found from the inputs, which begin with column 0 and must agree.
    column |= dict.fromkeys(pairs, 0)
    waiting = cells
    while waiting:
        later = []
        for cell in waiting:
            kind, wires = by_name[cell["type"]], cell["connections"]
            reads = [(wires[port][bit], offset, port, bit) for port, bit, offset in weights(kind)]
            known = {column[wire] - offset for wire, offset, _, _ in reads if wire in column}
            if not known or not all(wire in column or isinstance(wire, str) for wire, *_ in reads):
                later.append(cell)
                continue
            if len(known) > 1:
                return Outcome("refuted", f"a cell of type {cell['type']} adds wires of different weight")
            (base,) = known
            for wire, offset, port, bit in reads:
                if port == "x" and pairs.get(wire) != wires["w"][bit]:
                    return Outcome("refuted", f"a cell of type {cell['type']} pairs bits that are no pair")
                balance[wire] -= 1 << (base + offset)
            for n, wire in enumerate(wires["sum"]):
                column[wire] = base + n
                balance[wire] += 1 << (base + n)
        if len(later) == len(waiting):
            return Outcome("refuted", f"{len(later)} cells read wires that nothing drives")
        waiting = later
    for n, wire in enumerate(module["ports"]["count"]["bits"]):
        balance[wire] -= 1 << n
    for wire in pairs:
        balance[wire] += 1
    balance["0"] = 0
    left = {wire: weight for wire, weight in balance.items() if weight}
    return _may_stay(tree, left, column)


def _may_stay(tree: PopcountTree, left: dict[Any, int], column: dict[Any, int]) -> Outcome:
    """What does not cancel may only be outputs that nothing reads and that weigh more than all inputs together."""
    for wire, weight in left.items():
        if wire not in column or weight != 1 << column[wire] or weight <= tree.n_bits:
            return Outcome("refuted", f"the sums do not add up: {weight} times a wire of the tree is left")
    return Outcome("proved")


def _netlist(dut: Dut) -> dict[str, Any]:
    reads = "\n".join(f"read_verilog {name}" for name in dut.verilog)
    script = f"{reads}\nhierarchy -top {dut.module}\nproc\nopt_clean\nwrite_json out.json\n"
    module: dict[str, Any] = json.loads(run_yosys(dut.files, script)["out.json"])["modules"][dut.module]
    return module

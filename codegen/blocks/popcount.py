"""`popcount`: the number of ones, or of pairs of an activation and a weight that are equal or both 1, in few LUTs.

The plan (which cells, how they are wired) and its software model are `hwsim.engines.popcount.PopcountTree`.
"""

from __future__ import annotations

from functools import cache

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.engines.popcount import ZERO, CellKind, Group, PopcountTree

from ..templates import render
from .numbers import balanced_sum

_PREFIX = {"xilinx": "bw_lut6_", "ecp5": "bw_lut4_"}


class Popcount(wiring.Component):
    """Combinational population count; latency 0 cycles.

    On a platform with a method ``cell(module_name, verilog_text)`` each cell of the plan is an instance of a
    Verilog module that is kept apart through synthesis: mapped as one design, the tree would be rebuilt from
    full adders. Without, cells are Amaranth expressions and the block simulates.

    Parameters
    ----------
    tree : PopcountTree

    Members
    -------
    x : n_bits activations
    w : n_bits weights (only if the tree counts pairs)
    count : out_bits, the number of ones of ``~(x ^ w)``, ``x & w`` or ``x``
    """

    def __init__(self, tree: PopcountTree) -> None:
        self.tree = tree
        operands = {"x": In(tree.n_bits)} | ({"w": In(tree.n_bits)} if tree.pairs else {})
        super().__init__(operands | {"count": Out(tree.out_bits)})

    @property
    def module_name(self) -> str:
        """Name of its Verilog module."""
        return module_name(self.tree)

    def elaborate(self, platform: object) -> Module:
        """Cells as instances or as expressions, whichever the platform takes; a plain sum without a plan."""
        m = Module()
        tree = self.tree
        if not tree.cells:
            bits = _joined(tree.pairs, self.x, self.w) if tree.pairs else self.x
            m.d.comb += self.count.eq(balanced_sum(list(bits)))
            return m
        # A pair is the two-bit value {w, x}; a bit is a one-bit value.
        values: dict[int, Value] = {ZERO: Const(0, 1)}
        values |= {i: Cat(self.x[i], self.w[i]) if tree.pairs else self.x[i] for i in range(tree.n_bits)}
        register = getattr(platform, "cell", None)
        for number, cell in enumerate(tree.cells):
            total = Signal(cell.kind.n_outputs, name=f"sum{number}")
            inputs = [values[bit] for bit in cell.inputs]
            if register is None:
                m.d.comb += total.eq(_behaviour(cell.kind, tree.pairs, inputs))
            else:
                name, text = cell_module(cell.kind, tree.family, tree.pairs)
                register(name, text)
                m.submodules[f"cell{number}"] = Instance(name, **_connections(cell.kind, inputs), o_sum=total)
            values |= {bit: total[i] for i, bit in enumerate(cell.outputs) if bit != ZERO}
        m.d.comb += self.count.eq(Cat(values[bit] for bit in tree.result))
        return m


def module_name(tree: PopcountTree) -> str:
    """A name that says all that makes this counter different from others."""
    return f"bw_popcount_{tree.pairs or 'bits'}{tree.n_bits}_{tree.family}"


def _split(kind: CellKind, inputs: list[Value]) -> tuple[list[Value], list[Value], list[Value], list[Value]]:
    """(carry in, row, pairs, other bits) of a cell, each in input order."""
    head = kind.carry_in + kind.row
    pairs = [value for value, pair in zip(inputs, kind.is_pair(), strict=True) if pair]
    others = [value for value, pair in list(zip(inputs, kind.is_pair(), strict=True))[head:] if not pair]
    return inputs[: kind.carry_in], inputs[kind.carry_in : head], pairs, others


def _connections(kind: CellKind, inputs: list[Value]) -> dict[str, Value]:
    carry, row, pairs, bits = _split(kind, inputs)
    ports = {
        "i_carry_in": carry,
        "i_row": row,
        "i_x": [p[0] for p in pairs],
        "i_w": [p[1] for p in pairs],
        "i_bits": bits,
    }
    return {name: Cat(values) for name, values in ports.items() if values}


def _joined(pairs: str | None, x: Value, w: Value) -> Value:
    return x & w if pairs == "and" else ~(x ^ w)


def _behaviour(kind: CellKind, pairs: str | None, inputs: list[Value]) -> Value:
    """The sum, as Amaranth's simulator evaluates it."""
    terms = [
        (_joined(pairs, value[0], value[1]) if pair else value) << offset
        for value, pair, offset in zip(inputs, kind.is_pair(), kind.offsets, strict=True)
    ]
    return balanced_sum(terms)


@cache
def cell_module(kind: CellKind, family: str, pairs: str | None = "xnor") -> tuple[str, str]:
    """Name and Verilog text of a cell's module."""
    is_and = pairs == "and" and any(kind.is_pair())
    name = _PREFIX[family] + kind.name + ("_and" if is_and else "")
    return name, render("compressor.v.j2", **_view(kind, name, is_and, guarded=family == "xilinx"))


def _view(kind: CellKind, name: str, is_and: bool, guarded: bool) -> dict[str, object]:
    """What the template lays out.

    ``guarded`` adds a table bit above the row that is always 0. Yosys makes the narrower operand of an adder
    its A, and only A reaches the carry multiplexers without passing a LUT; the row has to be that operand.
    """
    n_pairs, n_bits = sum(g.pairs for g in kind.groups), sum(g.ones + g.twos for g in kind.groups)
    ports = [
        ("input ", 1 * kind.carry_in, "carry_in"),
        ("input ", kind.row, "row"),
        ("input ", n_pairs, "x"),
        ("input ", n_pairs, "w"),
        ("input ", n_bits, "bits"),
        ("output", kind.n_outputs, "sum"),
    ]
    pair_of = "x{0} & w{0}" if is_and else "~(x{0} ^ w{0})"
    wires = [("", f"p{i}", pair_of.format(f"[{i}]" if n_pairs > 1 else "")) for i in range(n_pairs)]
    tables: dict[str, tuple[int, int]] = {}
    columns: list[str] = []
    pair = bit = 0
    for index, group in enumerate(kind.groups):
        members = [f"p{pair + i}" for i in range(group.pairs)]
        members += [f"bits[{bit + i}]" if n_bits > 1 else "bits" for i in range(group.ones + group.twos)]
        pair, bit = pair + group.pairs, bit + group.ones + group.twos
        if len(members) <= 1 and not group.twos:
            columns += members or ["1'b0"]
            continue
        select = f"s{index}"
        wires.append((f"[{len(members) - 1}:0]", select, "{" + ", ".join(reversed(members)) + "}"))
        for offset in range(group.span):
            table = f"{group.code.upper()}_BIT{offset}"
            tables[table] = 1 << len(members), _truth_table(group, offset)
            wires.append(("", f"t{len(columns)}", f"{table}[{select}]"))
            columns.append(f"t{len(columns)}")
    total = "{" + ", ".join(reversed(columns)) + "}" if len(columns) > 1 else columns[0]
    if kind.is_chain:
        total = _chain_sum(kind, columns, wires, guarded)
    return {
        "name": name,
        "title": "bits added to a row on the carry chain" if kind.is_chain else "how many inputs are 1",
        "notes": _notes(kind, is_and),
        "ports": [{"direction": d, "range": _range(n), "name": p} for d, n, p in ports if n],
        "port_column": max(len(_range(n)) for _, n, _ in ports),
        "tables": [
            {"name": t, "high": size - 1, "value": f"{size}'h{value:0{max(1, size // 4)}x}"}
            for t, (size, value) in tables.items()
        ],
        "wires": [{"range": r, "name": n, "value": v} for r, n, v in wires],
        "wire_column": max((len(r) for r, _, _ in wires), default=0),
        "name_column": max((len(n) for _, n, _ in wires), default=0),
        "sum": total,
    }


def _chain_sum(kind: CellKind, columns: list[str], wires: list[tuple[str, str, str]], guarded: bool) -> str:
    """row + table bits + carry in, every operand at the width of the sum."""
    columns = list(columns)
    if guarded and len(columns) <= kind.row:
        columns += ["1'b0"] * (kind.row - len(columns))
        # Never 1, but only logic optimization finds out, which comes after the operands are ordered.
        other = "row[0]" if kind.row > 1 else "row"
        wires.append(("", "guard", f"{other} & ~({other} | {columns[0]})"))
        columns.append("guard")
    width = kind.n_outputs

    def extend(bits: list[str]) -> str:
        zeros = [f"{width - len(bits)}'b{'0' * (width - len(bits))}"] if len(bits) < width else []
        return "{" + ", ".join(zeros + bits[::-1]) + "}"

    row = f"{{{width - kind.row}'b{'0' * (width - kind.row)}, row}}"
    carry = f" + {{{width - 1}'b{'0' * (width - 1)}, carry_in}}" if kind.carry_in else ""
    return f"{row} + {extend(columns)}{carry}"


def _truth_table(group: Group, offset: int) -> int:
    """Bit `offset` of the group's count for every value of its members, the first member lowest."""
    table = 0
    for value in range(1 << group.n_inputs):
        count = sum((value >> i & 1) << weight for i, weight in enumerate(group.offsets))
        table |= (count >> offset & 1) << value
    return table


def _range(width: int) -> str:
    return f"[{width - 1}:0]" if width > 1 else ""


def _notes(kind: CellKind, is_and: bool) -> list[str]:
    """The contract of the cell, for its header."""
    terms = (["carry_in"] if kind.carry_in else []) + (["row"] if kind.row else [])
    base = pair = bit = 0
    for group in kind.groups:
        for n, weight, is_pair in (
            (group.pairs, base, True),
            (group.ones, base, False),
            (group.twos, base + 1, False),
        ):
            for _ in range(n):
                source = f"(x[{pair}] {'&' if is_and else '=='} w[{pair}])" if is_pair else f"bits[{bit}]"
                pair, bit = pair + is_pair, bit + (not is_pair)
                terms.append(source if not weight else f"{1 << weight} * {source}")
        base += group.span
    lines = ["sum = " + terms[0]]
    for term in terms[1:]:
        if len(lines[-1]) + len(term) > 95:
            lines.append("      + " + term)
        else:
            lines[-1] += " + " + term
    return [
        *lines,
        "Kept apart through synthesis: merged with its neighbours it would be rebuilt from full adders.",
    ]

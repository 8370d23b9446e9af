"""An adder graph as one Verilog module: thousands of nodes, written directly, take a moment instead of minutes."""

from __future__ import annotations

from hwsim.engines.adder_graph import Add, Count
from hwsim.engines.unrolled import Unrolled

from ..platform import VerilogPlatform
from ..templates import render
from .popcount import Popcount, module_name


def adder_module(p: Unrolled, name: str, platform: VerilogPlatform) -> str:
    """The text of a module with ports x (the codes), y (the values of outputs that have one), advance and clk.

    Counters become blocks of the platform.
    """
    graph = p.graph
    lines: list[str] = []
    loads: list[str] = []
    names: dict[tuple[int, int], str] = {}
    home = [p.stage(level) for level in graph.levels]

    def at(value: int, stage: int) -> str:
        if (value, stage) not in names:
            before = at(value, stage - 1)
            names[value, stage] = f"v{value}_{stage}"
            lines.append(f"reg  {_range(graph.bits(value))}v{value}_{stage};")
            loads.append(f"v{value}_{stage} <= {before};")
        return names[value, stage]

    width = p.x_type.bits
    for k in range(p.inputs):
        names[k, 1] = f"v{k}"
        low, high = k * width, (k + 1) * width - 1
        code = f"x[{low}]" if width == 1 else f"x[{high}:{low}]"
        if p.x_type.signed:
            code = f"{{~x[{high}], x[{high - 1}:{low}]}}" if width > 1 else f"~x[{low}]"
        lines.append(f"wire {_range(width)}v{k} = {code};")
    for number, node in enumerate(graph.nodes, graph.inputs):
        stage, bits = home[number], graph.bits(number)
        if isinstance(node, Count):
            tree = node.tree(graph.family)
            module = module_name(tree)
            if module not in platform.blocks:
                platform.blocks[module] = Popcount(tree)
            members = ", ".join(f"{'~' * flip}{at(bit, stage)}" for bit, flip in reversed(list(zip(*node, strict=True))))
            lines += [f"wire {_range(bits)}v{number};", f"{module} n{number} (.x({{{members}}}), .count(v{number}));"]
        else:
            lines += _add(number, node, at(node.a, stage), at(node.b, stage), graph.bits(node.a), graph.bits(node.b), bits)
        names[number, stage] = f"v{number}"
    ends = [at(out.value, p.result_stage(out)) for out in graph.outputs if out.value is not None]
    y_bits = sum(graph.bits(out.value) for out in graph.outputs if out.value is not None)
    return render("adder_graph.v.j2", name=name, inputs=p.inputs, adders=graph.adders, counters=len(graph.nodes) - graph.adders,
                  x_bits=p.word_in.bits, y_bits=y_bits, lines=lines, loads=loads, y=", ".join(reversed(ends)))


def _add(number: int, node: Add, a: str, b: str, a_bits: int, b_bits: int, bits: int) -> list[str]:
    """Declarations of an adder; bits below the other operand pass beside it."""
    shift = node.a_shift or node.b_shift
    low, low_bits, high, high_bits = (b, b_bits, a, a_bits) if node.a_shift else (a, a_bits, b, b_bits)
    low_sign, high_sign = ("~" * node.flip, "") if node.a_shift else ("", "~" * node.flip)
    if low_bits <= shift:
        gap = [f"{shift - low_bits}'d0"] if shift > low_bits else []
        return [f"wire {_range(bits)}v{number} = {{{', '.join([high_sign + high, *gap, low_sign + low])}}};"]
    rest, rest_bits = (low if not shift else f"{low}[{_slice(shift, low_bits)}]"), low_bits - shift
    one, one_bits, two, two_bits = (high, high_bits, rest, rest_bits) if node.a_shift else (rest, rest_bits, high, high_bits)
    sum_bits = max(one_bits, two_bits) + 1
    total = f"s{number}" if sum_bits + shift > bits or shift else f"v{number}"
    found = [f"wire {_range(sum_bits)}{total};",
             f"bw_add #(.A_BITS({one_bits}), .B_BITS({two_bits}), .SUM_BITS({sum_bits}), .FLIP({int(node.flip)})) "
             f"n{number} (.a({one}), .b({two}), .sum({total}));"]
    if total != f"v{number}":
        top = f"{total}[{_slice(0, bits - shift)}]"
        whole = f"{{{top}, {low_sign}{low}[{_slice(0, shift)}]}}" if shift else top
        found.append(f"wire {_range(bits)}v{number} = {whole};")
    return found


def _slice(low: int, high: int) -> str:
    return f"{low}" if high == low + 1 else f"{high - 1}:{low}"


def _range(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""

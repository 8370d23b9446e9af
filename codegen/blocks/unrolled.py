"""`unrolled`: the matrix-vector unit with its weights built in.  Parameters, schedule and latency:
`hwsim.engines.unrolled.Unrolled`.

A value is made in front of the register that its level says; where it is used behind later registers, it is delayed, and so
are outputs that are complete early.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, Value

from hwsim.engines.adder_graph import Add, Output
from hwsim.engines.popcount import PopcountTree
from hwsim.engines.unrolled import Cuts, Unrolled

from ..platform import VerilogPlatform
from .numbers import balanced_sum, carried, encoded, fit
from .popcount import Popcount, module_name
from .sequencer import register, sequencer
from .stream_block import StreamBlock


class UnrolledBlock(StreamBlock[Unrolled]):
    """The unrolled matrix-vector unit of a layer.

    Parameters
    ----------
    params : Unrolled

    Members
    -------
    i : stream of all inputs
    o : stream of all outputs
    """

    def elaborate(self, platform: object) -> Module:
        p, graph = self.params, self.params.graph
        m = Module()
        advance = sequencer(m, self.i, self.o, latency=p.latency_cycles).advance
        values: dict[tuple[int, int], Value] = {}  # value, stage -> it, or its delayed copy
        home = [p.stage(level) for level in graph.levels]

        def at(value: int, stage: int) -> Value:
            if (value, stage) not in values:
                values[value, stage] = register(m, advance, at(value, stage - 1), f"v{value}_{stage}")
            return values[value, stage]

        width = p.x_type.bits
        for k in range(p.inputs):
            code = self.i.payload[k * width:(k + 1) * width]
            values[k, 1] = Cat(code[:-1], ~code[-1]) if p.x_type.signed else code
        for number, node in enumerate(graph.nodes, graph.inputs):
            stage = home[number]
            made = Signal(graph.bits(number), name=f"v{number}")
            if isinstance(node, Add):
                made_of = _sum(m, platform, f"add{number}", node, at(node.a, stage), at(node.b, stage))
            else:
                bits = [~at(bit, stage) if flip else at(bit, stage) for bit, flip in zip(*node, strict=True)]
                made_of = _count(m, platform, f"count{number}", PopcountTree(len(bits), xnor=False, family=graph.family), Cat(bits))
            m.d.comb += made.eq(made_of)
            values[number, stage] = made
        results = []
        for n, output in enumerate(graph.outputs):
            stage = p.result_stage(output)
            result = self._result(n, output, Const(0, 1) if output.value is None else at(output.value, stage))
            if isinstance(result, Const):
                results.append(result)
                continue
            for later in range(stage, p.latency_cycles + 1):
                result = register(m, advance, result, f"y{n}_{later}")
            results.append(result)
        m.d.comb += self.o.payload.eq(Cat(results))
        return m

    def _result(self, n: int, output: Output, value: Value) -> Value:
        """An output, encoded, from its value in the graph."""
        p = self.params
        if not p.thresholds:
            if output.value is None:
                return Const(int(p.out_type.encode(output.offset)), p.out_type.bits)  # type: ignore[arg-type]
            return encoded(value, p.out_type, -(1 << output.shift) if output.negative else 1 << output.shift, output.offset)
        cuts = p.thresholds[n]
        if output.value is None:
            level = sum(cut <= 0 for cut in cuts.cuts)
            return Const(int(p.out_type.encode(p.out_type.lo + p.out_type.step * level)), p.out_type.bits)  # type: ignore[arg-type]
        return fit(carried(_level(value, cuts), p.out_type), p.out_type)


def _level(value: Value, cuts: Cuts) -> Value:
    """How many cuts the value reaches, or does not."""
    most, k = len(cuts.cuts), cuts.shift
    if k is None:
        return balanced_sum([(value < cut) if cuts.negative else (value >= cut) for cut in cuts.cuts])
    # The number of cuts c, c + 2**k, ... that v reaches is (v - c + 2**k) >> k, where that is between none and all of them.
    steps = (value - (cuts.cuts[0] - (1 << k))) >> k
    level = Mux(steps < 0, 0, Mux(steps > most, most, steps))[:most.bit_length()]
    return (most - level)[:most.bit_length()] if cuts.negative else level


def _sum(m: Module, platform: object, name: str, node: Add, a: Value, b: Value) -> Value:
    """The sum of a node; bits below the other operand pass beside the adder."""
    flipped = ~b if node.flip else b
    if node.a_shift:
        low, high, shift = flipped, a, node.a_shift
    else:
        low, high, shift = a, flipped, node.b_shift
    if len(low) <= shift:
        return Cat(low, Const(0, shift - len(low)), high)
    if not isinstance(platform, VerilogPlatform):
        return Cat(low[:shift], low[shift:] + high)
    one, two = (a, b[shift:]) if node.a_shift else (a[shift:], b)
    total = Signal(max(len(one), len(two)) + 1, name=f"{name}_sum")
    m.submodules[name] = Instance("bw_add", p_A_BITS=len(one), p_B_BITS=len(two), p_SUM_BITS=len(total), p_FLIP=int(node.flip),
                                  i_a=one, i_b=two, o_sum=total)
    return Cat(low[:shift], total)


def _count(m: Module, platform: object, name: str, tree: PopcountTree, bits: Value) -> Value:
    """The number of ones."""
    result = Signal(tree.out_bits, name=f"{name}_count")
    if isinstance(platform, VerilogPlatform):
        m.submodules[name] = platform.block(module_name(tree), lambda: Popcount(tree), x=bits, count=result)
    else:
        m.submodules[name] = made = Popcount(tree)
        m.d.comb += [made.x.eq(bits), result.eq(made.count)]
    return result

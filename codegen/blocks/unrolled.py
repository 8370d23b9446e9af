"""`unrolled`: the matrix-vector unit with its weights built in.  Parameters, schedule and latency:
`hwsim.engines.unrolled.Unrolled`.

A value is made in front of the register that its level says; where it is used behind later registers, it is delayed, and so
are outputs that are complete early.  In Verilog, the graph is a module of its own, written directly (`adder_text`).
"""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value

from hwsim.engines.adder_graph import Add, Output
from hwsim.engines.unrolled import Cuts, Unrolled

from ..platform import VerilogPlatform
from .adder_text import adder_module
from .numbers import balanced_sum, carried, encoded, fit
from .sequencer import register, sequencer
from .stream_block import StreamBlock


class UnrolledBlock(StreamBlock[Unrolled]):
    """The unrolled matrix-vector unit of a layer.

    Parameters
    ----------
    params : Unrolled
    stem : str
        Prefix of its module for the graph.

    Members
    -------
    i : stream of all inputs
    o : stream of all outputs
    """

    def __init__(self, params: Unrolled, stem: str = "") -> None:
        super().__init__(params)
        self.stem = stem

    def elaborate(self, platform: object) -> Module:
        p, graph = self.params, self.params.graph
        m = Module()
        advance = sequencer(m, self.i, self.o, latency=p.latency_cycles).advance
        if isinstance(platform, VerilogPlatform):
            values = self._instance(m, platform, advance)
        else:
            values = self._values(m, advance)
        results = []
        for n, output in enumerate(graph.outputs):
            stage = p.result_stage(output)
            result = self._result(n, output, values[n])
            if isinstance(result, Const):
                results.append(result)
                continue
            for later in range(stage, p.latency_cycles + 1):
                result = register(m, advance, result, f"y{n}_{later}")
            results.append(result)
        m.d.comb += self.o.payload.eq(Cat(results))
        return m

    def _instance(self, m: Module, platform: VerilogPlatform, advance: Value) -> list[Value]:
        """The value of each output at its last register, from a Verilog module that holds the graph."""
        p, graph = self.params, self.params.graph
        values = [Const(0, 1) if out.value is None else Signal(graph.bits(out.value), name=f"sum{n}")
                  for n, out in enumerate(graph.outputs)]
        found = [value for value in values if not isinstance(value, Const)]
        if found:
            name = f"{self.stem}_graph"
            platform.cell(name, adder_module(p, name, platform))
            y = Signal(sum(len(value) for value in found), name="y")
            m.submodules.graph = Instance(name, i_clk=ClockSignal(), i_advance=advance, i_x=self.i.payload, o_y=y)
            at = 0
            for value in found:
                m.d.comb += value.eq(y[at:at + len(value)])
                at += len(value)
        return values

    def _values(self, m: Module, advance: Value) -> list[Value]:
        """The value of each output at its last register, as Amaranth's simulator evaluates it."""
        p, graph = self.params, self.params.graph
        values: dict[tuple[int, int], Value] = {}  # value, stage -> it, or its delayed copy

        def at(value: int, stage: int) -> Value:
            if (value, stage) not in values:
                values[value, stage] = register(m, advance, at(value, stage - 1), f"v{value}_{stage}")
            return values[value, stage]

        width = p.x_type.bits
        for k in range(p.inputs):
            code = self.i.payload[k * width:(k + 1) * width]
            values[k, 1] = Cat(code[:-1], ~code[-1]) if p.x_type.signed else code
        for number, node in enumerate(graph.nodes, graph.inputs):
            stage = p.stage(graph.levels[number])
            made = Signal(graph.bits(number), name=f"v{number}")
            if isinstance(node, Add):
                a, b = at(node.a, stage), at(node.b, stage)
                total = (a << node.a_shift) + ((~b if node.flip else b) << node.b_shift)
            else:
                total = balanced_sum([~at(bit, stage) if flip else at(bit, stage) for bit, flip in zip(*node, strict=True)])
            m.d.comb += made.eq(total)
            values[number, stage] = made
        return [Const(0, 1) if out.value is None else at(out.value, p.result_stage(out)) for out in graph.outputs]

    def _result(self, n: int, output: Output, value: Value) -> Value:
        """An output, encoded, from its value in the graph."""
        p = self.params
        if not p.thresholds:
            if output.value is None:
                return Const(int(p.out_type.encode(output.offset)), p.out_type.bits)  # type: ignore[arg-type]
            offset = output.offset
            if output.negative:  # -v is ~v less a constant
                value, offset = ~value, offset - (((1 << len(value)) - 1) << output.shift)
            return encoded(value, p.out_type, 1 << output.shift, offset)
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


"""`unrolled`: a matrix-vector product with the weights built in, one vector a cycle.

Weights are constants, so nothing is multiplied and nothing is stored: the product is a graph of adders and counters
(`adder_graph`), found from the weights.  A weight of 0 is no adder, equal weights and pairs of weights are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from intir import IntType

from ..schedule import Schedule
from .adder_graph import AdderGraph, Int64, Output, width
from .adder_search import adder_graph, digits, normal_columns
from .base import Actions, Engine, Word
from .cells import mixed
from .products import origin

#: Adders between registers.
LEVELS_PER_STAGE = 3
#: Thresholds in reach up to which comparing with each is cheaper than a shift.
MAX_COMPARED = 3


@dataclass(frozen=True)
class Cuts:
    """The thresholds of an output, as comparisons of its value in the graph.

    Parameters
    ----------
    cuts : tuple of int
        Ascending; the level is the number of them that the value reaches.
    negative : bool
        It is the number of those that it does not reach.
    """

    cuts: tuple[int, ...]
    negative: bool

    @property
    def shift(self) -> int | None:
        """k, if several cuts are ``2**k`` apart: the level is then a shifted difference, held to its bounds."""
        distances = {b - a for a, b in zip(self.cuts, self.cuts[1:], strict=False)}
        if len(self.cuts) <= MAX_COMPARED or len(distances) != 1:
            return None
        (distance,) = distances
        return distance.bit_length() - 1 if distance > 0 and distance & (distance - 1) == 0 else None

    def luts(self, bits: int) -> int:
        """Estimated LUTs, for a value of so many bits."""
        if self.shift is not None:
            return bits + len(self.cuts).bit_length() + 2
        compared = sum(0 < cut < 1 << bits for cut in self.cuts)
        return compared * -(-bits // 3) + 2 * max(0, compared - 1)


@dataclass(frozen=True)
class Unrolled(Engine):
    """Parameters of one unrolled matrix-vector unit.

    Parameters
    ----------
    x_type, w_type : IntType
        Input elements and weights.
    out_type : IntType
        Output elements.
    graph : AdderGraph
        From the unsigned codes of the inputs (`x_type` as carried; two's complement with its sign bit turned) to the sums.
    thresholds : tuple of Cuts
        One per output; empty for the sums themselves.
    levels_per_stage : int
        Adders between registers.
    """

    kind: ClassVar[str] = "unrolled"

    x_type: IntType
    w_type: IntType
    out_type: IntType
    graph: AdderGraph
    thresholds: tuple[Cuts, ...] = ()
    levels_per_stage: int = LEVELS_PER_STAGE

    @property
    def inputs(self) -> int:
        """K."""
        return self.graph.inputs

    @property
    def outputs(self) -> int:
        """N."""
        return len(self.graph.outputs)

    @property
    def pe(self) -> int:
        """Outputs at a time: all."""
        return self.outputs

    @property
    def simd(self) -> int:
        """Inputs at a time: all."""
        return self.inputs

    @property
    def word_in(self) -> Word:
        return Word(self.inputs, self.x_type)

    @property
    def word_out(self) -> Word:
        return Word(self.outputs, self.out_type)

    @property
    def accumulator_bits(self) -> int:
        """Width of the widest sum."""
        return max((self.graph.bits(out.value) for out in self.graph.outputs if out.value is not None), default=0)

    def stage(self, level: int) -> int:
        """The register, counted from the input, in front of which a value of a level is made."""
        return max(1, -(-level // self.levels_per_stage))

    def result_stage(self, output: Output) -> int:
        """The register that takes the encoded output; its encoding is one more level."""
        return 1 if output.value is None else self.stage(self.graph.levels[output.value] + 1)

    @cached_property
    def latency_cycles(self) -> int:
        """Registers from the input to the output."""
        return max(self.result_stage(output) for output in self.graph.outputs)

    @cached_property
    def schedule(self) -> Schedule:
        """One step, which takes a word and gives one `latency_cycles` later.  Period 1."""
        return Schedule(np.ones(1, np.bool_), np.ones(1, np.bool_), self.latency_cycles)

    @property
    def actions(self) -> Actions:
        return Actions(operations=self.inputs * self.outputs)

    def logic_luts(self, family: str) -> int:
        turned = self.inputs * self.x_type.signed
        results = [self.graph.bits(out.value) for out in self.graph.outputs if out.value is not None]
        if self.thresholds:
            results = [cuts.luts(self.graph.bits(out.value)) for cuts, out in zip(self.thresholds, self.graph.outputs, strict=True)
                       if out.value is not None]
        return self.graph.node_luts + turned + sum(results) + mixed(4, family)


def unrolled(weights: Int64, x_type: IntType, out_type: IntType, rows: Int64 | None = None, family: str = "xilinx",
             levels_per_stage: int = LEVELS_PER_STAGE) -> Unrolled:
    """The unit for a matrix.

    Parameters
    ----------
    weights : int64 (K, N)
    x_type, out_type : IntType
    rows : int64 (N, T), optional
        Thresholds of each output, ascending.
    family : str
        FPGA family that counters are made for.
    levels_per_stage : int
        Adders between registers.
    """
    zero, step = origin(x_type), x_type.step if x_type.is_coded else 1
    bounds = ((x_type.lo - zero) // step, (x_type.hi - zero) // step)
    graph = adder_graph(weights * step, [bounds] * len(weights), family)
    constants = zero * weights.sum(axis=0)
    graph = replace(graph, outputs=tuple(out._replace(offset=out.offset + int(constant))
                                         for out, constant in zip(graph.outputs, constants, strict=True)))
    cuts: tuple[Cuts, ...] = ()
    if rows is not None:
        cuts = tuple(_cuts(out, row.tolist(), (0, 0) if out.value is None else graph.ranges[out.value])
                     for out, row in zip(graph.outputs, rows, strict=True))
    return Unrolled(x_type, IntType.of(weights), out_type, graph, cuts, levels_per_stage)


def _cuts(output: Output, row: Sequence[int], bounds: tuple[int, int]) -> Cuts:
    """Thresholds of a sum as cuts of the value that it is made of.

    ``offset + (v << s) >= t`` where v is at least ``ceil((t - offset) / 2**s)``; ``offset - (v << s) >= t`` where v is at most
    ``floor((offset - t) / 2**s)``, which is where it does not reach the number above.
    """
    if output.value is None:
        return Cuts(tuple(0 if output.offset >= t else 1 for t in row), False)
    if output.negative:
        cuts = Cuts(tuple(((output.offset - t) >> output.shift) + 1 for t in reversed(row)), True)
    else:
        cuts = Cuts(tuple(-((output.offset - t) >> output.shift) for t in row), False)
    lo, hi = bounds
    if cuts.shift is not None and sum(lo < cut <= hi for cut in cuts.cuts) > MAX_COMPARED:
        return cuts
    # Out of reach: always, or never.
    always, never = 0, 1 << width(bounds)
    return Cuts(tuple(always if cut <= lo else never if cut > hi else cut for cut in cuts.cuts), cuts.negative)



def quick_luts(weights: Int64, x_type: IntType) -> int:
    """LUTs as random weights of these sizes need them, without a search: to rank foldings."""
    distinct = np.unique(normal_columns(weights)[0], axis=1)
    values, counts = np.unique(distinct, return_counts=True)
    terms = sum(len(digits(weight)) * count for weight, count in zip(values.tolist(), counts.tolist(), strict=True))
    return int(weights.shape[1]) + int(terms * (0.3 if x_type.bits == 1 else 0.45 * (x_type.bits + 3)))

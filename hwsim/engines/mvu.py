"""`mvu`: a matrix-vector product, folded.

The unit has `pe` processing elements (outputs at a time), each with `simd` lanes (inputs at a time).  A vector of
K inputs and N outputs takes ``(N / pe) * (K / simd)`` steps, one per clock cycle, in one of two orders:

- ``outputs``: finish `pe` outputs before the next.  Inputs are taken in the first pass and kept for the others; outputs
  come evenly over the round.
- ``inputs``: use an input word for all outputs before the next.  Sums of all outputs are kept; inputs are taken evenly
  over the round, and outputs come together at its end.

Behind a unit that gives its outputs evenly, one that takes its inputs evenly has next to nothing left to do when the
last one arrives.  Alternating orders makes the first output of a deep network come much earlier.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from intir import IntType

from ..schedule import Schedule
from .base import Actions, Engine, Word
from .cells import mixed
from .levels import MOST_AT_ONCE, Levels
from .memories import Memory
from .products import Products

#: In which order the two loops over a matrix run.
ORDERS = ("outputs", "inputs")


@dataclass(frozen=True)
class Mvu(Engine):
    """Parameters of one matrix-vector unit.

    Parameters
    ----------
    inputs, outputs : int
        K and N, the matrix's size.
    pe, simd : int
        Folding: outputs and inputs computed at a time; they divide N and K.
    x_type, w_type : IntType
        Input elements and weights.
    acc_type : IntType
        Proven range of the accumulated sum.
    thresholds : int
        Thresholds per output; 0 gives the sums themselves.
    threshold_type : IntType
        Thresholds as the comparison sees them, in the unit of `counter_type`.
    out_type : IntType
        Output elements.
    family : str
        FPGA family that the popcount's cells are made for.
    order : str
        One of `ORDERS`.
    distance : bool
        ``-sum |x - w|`` instead of ``sum x * w``.
    groups : int
        Matrices, each for a vector of its own: a round takes `groups` vectors of K inputs, and each gives its part of the N
        outputs.  `pe` divides such a part.
    multiplier : str
        One of `products.MULTIPLIERS`.
    memory : str
        Where the weights are: one of `memories.STYLES`.
    reloadable : bool
        Its constants can be written while it runs.  Then nothing else depends on them: its types hold for any weights of
        `w_type`.
    """

    kind: ClassVar[str] = "mvu"

    inputs: int
    outputs: int
    pe: int
    simd: int
    x_type: IntType
    w_type: IntType
    acc_type: IntType
    thresholds: int
    threshold_type: IntType
    out_type: IntType
    family: str = "xilinx"
    order: str = "outputs"
    distance: bool = False
    groups: int = 1
    multiplier: str = "auto"
    memory: str = "auto"
    reloadable: bool = False

    @property
    def products(self) -> Products:
        """What each processing element computes."""
        return Products(self.simd, self.x_type, self.w_type, self.distance, self.family, self.multiplier)

    @property
    def arithmetic(self) -> str:
        """``xnor``, ``planes``, ``distance`` or ``integer``, as the operands' types allow; see `products`."""
        return self.products.arithmetic

    @property
    def synapse_folds(self) -> int:
        """Steps over the inputs: K / simd."""
        return self.inputs // self.simd

    @property
    def neuron_folds(self) -> int:
        """Steps over the outputs: N / pe."""
        return self.outputs // self.pe

    @property
    def group_folds(self) -> int:
        """Steps over the outputs of a group."""
        return self.neuron_folds // self.groups

    @property
    def replays(self) -> bool:
        """Whether the input vector is kept to be used again for further outputs."""
        return self.group_folds > 1 and self.order == "outputs"

    @property
    def keeps_sums(self) -> bool:
        """Whether the sums of all outputs are kept while the inputs come."""
        return self.group_folds > 1 and self.synapse_folds > 1 and self.order == "inputs"

    @property
    def word_in(self) -> Word:
        return Word(self.simd, self.x_type)

    @property
    def word_out(self) -> Word:
        return Word(self.pe, self.out_type)

    @property
    def counter_type(self) -> IntType:
        """What the accumulator register holds: the number of equal bits for ``xnor``, else the sum."""
        return self.products.counter_type(self.acc_type, self.inputs)

    @property
    def accumulator_bits(self) -> int:
        """Width of each accumulator register."""
        return self.counter_type.bits

    @property
    def latency_cycles(self) -> int:
        """Registers from a step to its output: operands, (replayed operands,) product, accumulator, (levels,) output."""
        return 3 + self.replays + self.levels.steps

    @cached_property
    def levels(self) -> Levels:
        """How sums are compared with thresholds."""
        bisects = self.thresholds > MOST_AT_ONCE and not self.reloadable
        return Levels(self.pe, self.thresholds, self.threshold_type.bits, self.neuron_folds, bisects, self.memory)

    @cached_property
    def schedule(self) -> Schedule:
        """One step per pair of an input word and a group of outputs, `latency_cycles` from a group's last step to its word.

        Period ``(N / pe) * (K / simd)``.
        """
        step = np.tile(np.arange(self.synapse_folds * self.group_folds), self.groups)
        if self.order == "outputs":
            synapse, neuron = step % self.synapse_folds, step // self.synapse_folds
        else:
            synapse, neuron = step // self.group_folds, step % self.group_folds
        return Schedule(neuron == 0, synapse == self.synapse_folds - 1, self.latency_cycles)

    @property
    def actions(self) -> Actions:
        steps = self.synapse_folds * self.neuron_folds
        vector_bits = self.inputs * self.groups * self.x_type.bits
        sum_bits = self.outputs * self.accumulator_bits * self.keeps_sums
        return Actions(
            operations=self.inputs * self.outputs,
            weight_bits_read=steps * self.pe * self.simd * self.w_type.bits,
            threshold_bits_read=self.levels.bits_read + self.start_bits,
            buffer_bits_read=vector_bits * (self.group_folds - 1) * self.replays + sum_bits * (self.synapse_folds - 1),
            buffer_bits_written=vector_bits * self.replays + sum_bits * self.synapse_folds,
        )

    @property
    def weight_bits(self) -> int:
        """Bits of the weight memory."""
        return self.inputs * self.outputs * self.w_type.bits

    @property
    def start_bits(self) -> int:
        """Bits of what the accumulators start with."""
        return self.outputs * self.accumulator_bits * self.products.has_start

    @property
    def memory_bits(self) -> int:
        return self.weight_bits + self.levels.memory_bits + self.start_bits

    @property
    def memories(self) -> tuple[Memory, ...]:
        acc, folds = self.accumulator_bits, self.neuron_folds
        stored = [Memory(folds * self.synapse_folds, self.pe * self.simd * self.w_type.bits, style=self.memory),
                  *self.levels.memories]
        if self.products.has_start:
            stored.append(Memory(folds, self.pe * acc))
        if self.reloadable:
            stored = [replace(memory, kind="ram") for memory in stored]
        if self.replays:
            stored.append(Memory(self.synapse_folds, self.word_in.bits, "ram"))
        if self.keeps_sums:
            stored.append(Memory(self.group_folds, self.pe * acc, "ram"))  # its address comes from a register
        return tuple(stored)

    def dsps(self, family: str) -> int:
        return self.pe * self.products.dsps(family)

    def _accumulator_luts(self, family: str) -> int:
        """Of one processing element.

        What starts the sum anew takes LUTs of its own in an ECP5, whose adders have no input left for it.  Of a single product in a
        DSP of 7 series, the sum is kept there.
        """
        kept = family == "xilinx" and self.simd == 1 and self.products.dsps(family) and not self.keeps_sums
        if kept and self.synapse_folds > 1:
            return 0
        return self.accumulator_bits * (1 + (family == "ecp5" and self.synapse_folds > 1))

    def logic_luts(self, family: str) -> int:
        sums = self.pe * (self.products.luts(family) + self._accumulator_luts(family)) + self.levels.luts(family)
        return sums + self.word_in.bits * self.replays + mixed(20, family)

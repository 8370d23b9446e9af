"""Energy of a frame in a generated design: what its blocks do, as actions that an energy table prices.

Only what moves and what is computed counts; neither clock tree, nor leakage, nor the wires of an FPGA do, so a design's energy does
not depend on its rate, and designs of one network can be compared, not chips.  A memory in block RAM counts as reads of 32 bits out
of 2 KiB, here as in `systems.dataflow_machine`; one in LUTs, and a queue, as reads of registers.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..design import Design
from ..devices import Device
from ..engines.base import Engine
from ..engines.elementwise import Requant, Scale
from ..engines.fifo import StreamFifo
from ..engines.memories import Memory
from ..engines.mvu import Mvu
from ..engines.unrolled import Unrolled
from ..systems.actions import Action
from .table import EnergyTable, energy_table

#: What a block RAM of 18 kbit is priced as.
RAM_BITS, RAM_BYTES = 32, 2048
#: Component -> action -> count.
Counts = dict[str, dict[Action, float]]


def engine_counts(engine: Engine, rounds: int, family: str) -> Counts:
    """What a block does in a frame of so many rounds, on an FPGA family, which decides where memories are.

    Components are ``compute``, ``weights``, ``thresholds``, ``buffers`` and ``queues``.
    """
    counts: Counts = {}

    def add(component: str, action: Action, count: float) -> None:
        if count:
            entry = counts.setdefault(component, {})
            entry[action] = entry.get(action, 0.0) + count

    actions = engine.actions
    if isinstance(engine, StreamFifo):  # `rounds` are its words
        for verb in ("write", "read"):
            add("queues", *_access(engine.memories[0], verb, rounds * engine.word_in.bits, family))
        return counts
    for action, each in _compute(engine, actions.operations):
        add("compute", action, rounds * each)
    constants = [one for one in engine.memories if one.kind == "rom" and not one.is_empty]
    buffers = [one for one in engine.memories if one.kind != "rom" and not one.is_empty]
    for component, memory, bits, verb in (
            ("weights", constants[:1], actions.weight_bits_read, "read"),
            ("thresholds", constants[1:2], actions.threshold_bits_read, "read"),
            ("buffers", buffers[:1], actions.buffer_bits_read, "read"),
            ("buffers", buffers[:1], actions.buffer_bits_written, "write")):
        for one in memory:
            add(component, *_access(one, verb, rounds * bits, family))
    return counts


def design_counts(design: Design) -> Counts:
    """Over all blocks of a design, for one frame."""
    return summed(engine_counts(stage.engine, stage.rounds, design.plan.family) for stage in design.stages)


def summed(parts: Iterable[Counts]) -> Counts:
    """Counts of several blocks together."""
    total: Counts = {}
    for part in parts:
        for component, counts in part.items():
            entry = total.setdefault(component, {})
            for action, count in counts.items():
                entry[action] = entry.get(action, 0.0) + count
    return total


def frame_table(device: Device) -> EnergyTable:
    """The energy table nearest to a device's technology: 28 nm, 16 nm (UltraScale+) or 40 nm."""
    return energy_table("45nm" if device.family == "ecp5" else "22nm" if device.name.startswith("xczu") else "28nm")


def counts_pj(counts: Counts, table: EnergyTable) -> float:
    """Energy of counts in pJ."""
    return sum(table.price(counts).values())


def _compute(engine: Engine, operations: int) -> list[tuple[Action, float]]:
    """Arithmetic of a round."""
    if isinstance(engine, Mvu):
        acc, products = engine.accumulator_bits, engine.products
        compared = [(Action("compare", engine.threshold_type.bits), engine.levels.comparisons)]
        if engine.arithmetic == "integer":
            return [(Action("int_multiply", engine.x_type.bits, engine.w_type.bits), operations),
                    (Action("int_add", acc), operations), *compared]
        if engine.arithmetic == "distance":
            return [(Action("int_add", max(engine.x_type.bits, engine.w_type.bits)), operations),
                    (Action("int_add", acc), operations), *compared]
        pairs = 1 if engine.arithmetic == "xnor" else sum(len(members) for members in products.planes)
        return [(Action("binary_accumulate", acc), operations * pairs), *compared]
    if isinstance(engine, Unrolled):  # a LUT adds a bit
        return [(Action("int_add", 1), engine.logic_luts("xilinx"))]
    if isinstance(engine, (Scale, Requant)):
        return [(Action("int_multiply", engine.x_type.bits, engine.multiplier_type.bits), operations),
                (Action("int_add", engine.out_type.bits), operations)]
    return [(Action("int_add", engine.word_in.type.bits), operations)]


def _access(memory: Memory, verb: str, bits: float, family: str) -> tuple[Action, float]:
    """Reads or writes of so many bits in all, and how many they are."""
    if memory.is_block(family):
        return Action(f"sram_{verb}", RAM_BITS, bytes=RAM_BYTES), bits / RAM_BITS
    return Action(f"register_{verb}", RAM_BITS), bits / RAM_BITS

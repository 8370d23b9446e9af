"""Energy of a frame in a generated design: what its blocks do, as actions that an energy table prices.

Only what moves and what is computed counts; neither clock tree nor leakage does, so a design's energy does not depend on its rate.
Memories in LUTs and registers count as registers, memories in block RAM as SRAM of the size that they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .design import Design
from .engines.base import Engine
from .engines.elementwise import Requant, Scale
from .engines.fifo import StreamFifo
from .engines.memories import Memory
from .engines.mvu import Mvu
from .engines.unrolled import Unrolled
from .systems.actions import Action

#: Component -> action -> count.
Counts = dict[str, dict[Action, float]]


def engine_counts(engine: Engine, rounds: int) -> Counts:
    """What a block does in a frame of so many rounds.

    Components are ``compute``, ``weights``, ``thresholds``, ``buffers`` and ``queues``.
    """
    counts: Counts = {}

    def add(component: str, action: Action, count: float) -> None:
        if count:
            entry = counts.setdefault(component, {})
            entry[action] = entry.get(action, 0.0) + count

    actions = engine.actions
    if isinstance(engine, StreamFifo):  # `rounds` are its words
        for name in ("register_write", "register_read"):
            add("queues", Action(name, engine.word_in.bits, bytes=_bytes(engine.memories[0])), rounds)
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
            add(component, _access(one, verb), rounds * bits / one.bits)
    return counts


def design_counts(design: Design) -> Counts:
    """Over all blocks of a design, for one frame."""
    return summed(engine_counts(stage.engine, stage.rounds) for stage in design.stages)


def summed(parts: Iterable[Counts]) -> Counts:
    """Counts of several blocks together."""
    total: Counts = {}
    for part in parts:
        for component, counts in part.items():
            entry = total.setdefault(component, {})
            for action, count in counts.items():
                entry[action] = entry.get(action, 0.0) + count
    return total


def counts_pj(counts: Counts) -> float:
    """Energy of counts at 45 nm."""
    return sum(_pj(action) * count for entry in counts.values() for action, count in entry.items())


def _compute(engine: Engine, operations: int) -> list[tuple[Action, float]]:
    """Arithmetic of a round."""
    if isinstance(engine, Mvu):
        acc, products = engine.accumulator_bits, engine.products
        compared = [(Action("compare", engine.threshold_type.bits), engine.outputs * engine.thresholds)]
        if engine.arithmetic == "integer":
            return [(Action("int_multiply", engine.x_type.bits, engine.w_type.bits), operations),
                    (Action("int_add", acc), operations), *compared]
        if engine.arithmetic == "distance":
            return [(Action("int_add", max(engine.x_type.bits, engine.w_type.bits)), operations),
                    (Action("int_add", acc), operations), *compared]
        pairs = 1 if engine.arithmetic == "xnor" else sum(len(members) for members in products.planes)
        return [(Action("binary_accumulate", acc), operations * pairs), *compared]
    if isinstance(engine, Unrolled):  # a LUT adds a bit
        return [(Action("int_add", 1), engine.logic_luts)]
    if isinstance(engine, (Scale, Requant)):
        return [(Action("int_multiply", engine.x_type.bits, engine.multiplier_type.bits), operations),
                (Action("int_add", engine.out_type.bits), operations)]
    return [(Action("int_add", engine.word_in.type.bits), operations)]


def _access(memory: Memory, verb: str) -> Action:
    return Action(f"{'sram' if memory.is_block else 'register'}_{verb}", memory.bits, bytes=_bytes(memory))


def _bytes(memory: Memory) -> int:
    return -(-memory.depth * memory.bits // 8)


def _pj(action: Action) -> float:
    """A first, rough price: Horowitz's 45 nm figures, straight lines between them; CACTI's SRAM about a square root of the size."""
    bits = action.bits
    if action.name == "int_multiply":
        return 3.1 * bits * action.other_bits / 1024
    if action.name in ("int_add", "compare"):
        return 0.1 * bits / 32
    if action.name == "binary_accumulate":
        return 0.1 / 32 * 2
    if action.name.startswith("register"):
        return bits / 32
    return 5.29 * bits / 64 * math.sqrt(max(1.0, action.bytes / 8192))

"""What a layer on the sparse engine does, as an energy table prices it."""

from __future__ import annotations

from dataclasses import dataclass

from ..systems.actions import Action
from .eie_cycles import LayerRun

#: Of sums, activations and what queues hold.
REGISTER_BITS = 32


@dataclass(frozen=True)
class SparseMemories:
    """Memories of a processing element of the sparse engine; by default those of the paper.

    Parameters
    ----------
    pointer_bits, pointer_bytes : int
        Width and size of the even bank of pointers, and of the odd one.
    read_bits, matrix_bytes : int
        Of the matrix memory.
    sum_bytes : int
        Register file of sums, and of activations.
    queue_bytes : int
        Registers of a queue: 8 of 32 bits.
    """

    pointer_bits: int = 16
    pointer_bytes: int = 16 << 10
    read_bits: int = 64
    matrix_bytes: int = 128 << 10
    sum_bytes: int = 256
    queue_bytes: int = 32


def sparse_layer_actions(run: LayerRun, inputs: int, outputs: int, *,
                         memories: SparseMemories = SparseMemories()) -> dict[str, dict[Action, float]]:
    """Actions of a layer on the sparse engine by what they belong to, for `EnergyTable.price`.

    Neither clock tree nor control nor leakage is counted.  An activation that is scanned and one that is written back is a
    register access each, a queued column a write and a read of two registers (position and count, value), a sum a read and
    a write; padding moves no sum.

    Parameters
    ----------
    run : LayerRun
    inputs, outputs : int
        Activations that are scanned and written.
    memories : SparseMemories
    """
    pes = len(run.busy_cycles)
    products = run.entries - run.padding_entries
    queued = 2 * run.broadcasts * pes
    return {
        "pointer reads": {Action("sram_read", memories.pointer_bits, bytes=memories.pointer_bytes): run.pointer_reads},
        "matrix reads": {Action("sram_read", memories.read_bits, bytes=memories.matrix_bytes): run.word_reads},
        "arithmetic": {Action("int_multiply", 16, 16): products, Action("int_add", 32): products},
        "sums and activations": {Action("register_read", REGISTER_BITS, bytes=memories.sum_bytes): products + inputs,
                                 Action("register_write", REGISTER_BITS, bytes=memories.sum_bytes): products + outputs},
        "queues": {Action("register_read", REGISTER_BITS, bytes=memories.queue_bytes): queued,
                   Action("register_write", REGISTER_BITS, bytes=memories.queue_bytes): queued},
        "leading nonzero": {Action("leading_nonzero_node"): run.cycles * leading_nonzero_nodes(pes)},
    }


def leading_nonzero_nodes(pes: int) -> int:
    """Nodes of a tree in which each looks at four: 21 of them for 64 elements."""
    nodes = 0
    while pes > 1:
        pes = -(-pes // 4)
        nodes += pes
    return nodes

"""`eie`: compressed layers one after another on an array of processing elements that skips zeros.

A frame's activations are loaded `lanes` at a time into one of two activation memories.  For each layer of the command
list the central unit scans them for nonzeros and broadcasts one a cycle, with its column, to all PEs.  Each PE looks up
where the column begins and ends in its part of the matrix (`csc`), queues that, and multiplies and accumulates one entry
a cycle into the sums of its rows.  When all have finished, the sums leave `lanes` at a time: those of an inner layer
through its requantization into the other activation memory, those of the last one to the output.

**Cycles** from c0, the first cycle of a layer's scan, exactly as the hardware has it.  Activations lie in words of `lanes`;
``w[k]`` is the word of the k-th nonzero, F the queue depth, ``n[p, k]`` the entries of PE p in its column:

- the scan sees word 0 in cycle ``c0 + 1``, and the next word in the cycle after it is done with one: at once where it has no
  nonzero, else when its last one goes into the broadcast register;
- ``r[k]``: nonzero k goes into the broadcast register: when its word is seen, and k - 1 is accepted in that cycle or earlier;
- ``t[k] = max(r[k] + 1, max over p of start[p, k - (F - 1)] + 1)``: it is accepted, when every PE has room;
- ``start[p, k] = max(t[k] + 1, end[p, k - 1])``, ``end[p, k] = start[p, k] + max(1, n[p, k])``: a PE works on it;
- all is done at E, the greatest of all ends and of the cycle after the last word's; sums are drained from ``E + SETTLE_CYCLES``,
  one word a cycle; an inner layer's last word is in the activation memory `feedback_cycles` after it was drained, and the
  next layer's c0 is the cycle after.

Source: Han and others, "EIE", ISCA 2016.  t, start and end are the recurrence that gives the cycles of the authors' own
simulator, whose "queue depth" is F, too: the columns that a PE holds, that which it works on among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from intir import IntType

from .base import Engine, Word
from .cells import mixed
from .elementwise import Elementwise
from .memories import Memory
from .multipliers import product_dsps, product_luts

#: From E to the first drained word: an entry that was issued in the cycle before E is in its sum then.  That the end has come
#: is seen meanwhile.
SETTLE_CYCLES = 4
#: Larger memories of pointers, or of entries, are to be block RAM.  Pointers grow evenly, which makes for little logic; entries
#: look random.
MOST_POINTER_BITS, MOST_MATRIX_BITS = 4096, 2048


@dataclass(frozen=True)
class Eie(Engine):
    """Parameters of a sparse engine.

    Parameters
    ----------
    pes : int
        Processing elements, 1 or more; rows are dealt to them in turn.
    lanes : int
        Activations loaded, scanned and drained at a time; divides `pes`.
    lanes_in, lanes_out : int
        Elements of the words at its ports; they divide `lanes`, and the first layer's inputs and the last one's outputs.
    queue_depth : int
        Columns that a PE holds, that which it works on included; 2 or more.
    index_bits, code_bits : int
        Of an entry; see `csc`.
    read_entries : int
        Entries in a word of the matrix memory, a power of two.
    sizes : tuple of int
        Inputs of the first layer, then outputs of each.
    entries : int
        Most entries that a PE stores, over all layers.
    x_type : IntType
        Activations of all layers; the numbers themselves (no code).
    w_type : IntType
        Values in all codebooks, 0 among them.
    sum_type : IntType
        Accumulators: proven range of all layers, 0 included.
    out_type : IntType
        Sums of the last layer.
    post : tuple of Elementwise
        What sums of inner layers go through, one behind the other; as many elements at a time as the largest inner layer has,
        at most `lanes`, channels those of all inner layers one after the other, each filled up to a multiple of that.
    in_type : IntType, optional
        Activations of the first layer, as they come; `x_type` by default, which holds them in any case.
    loaded : bool
        Weights, pointers, codebooks and the constants of `post` come over a stream of their own after reset, and again whenever
        no frame is in the engine; else they are built in.  Cycles are then counted from when they are there.
    """

    kind: ClassVar[str] = "eie"

    pes: int
    lanes: int
    lanes_in: int
    lanes_out: int
    queue_depth: int
    index_bits: int
    code_bits: int
    read_entries: int
    sizes: tuple[int, ...]
    entries: int
    x_type: IntType
    w_type: IntType
    sum_type: IntType
    out_type: IntType
    post: tuple[Elementwise, ...] = ()
    in_type: IntType | None = None
    loaded: bool = False

    @property
    def layers(self) -> int:
        """Commands."""
        return len(self.sizes) - 1

    @property
    def word_in(self) -> Word:
        return Word(self.lanes_in, self.first_type)

    @property
    def first_type(self) -> IntType:
        """Activations of the first layer."""
        return self.in_type or self.x_type

    @property
    def word_out(self) -> Word:
        return Word(self.lanes_out, self.out_type)

    @property
    def words_in_frame(self) -> int:
        """Input words per frame."""
        return self.sizes[0] // self.lanes_in

    @property
    def words_out_frame(self) -> int:
        """Output words per frame."""
        return self.sizes[-1] // self.lanes_out

    def scan_words(self, layer: int) -> int:
        """Words of `lanes` activations that a layer reads."""
        return -(-self.sizes[layer] // self.lanes)

    def drain_words(self, layer: int) -> int:
        """Steps that draining a layer takes."""
        if layer == self.layers - 1:
            return self.words_out_frame
        return -(-self.sizes[layer + 1] // self.lanes)

    @cached_property
    def rows(self) -> int:
        """Accumulators of each PE; so many cycles after reset they are all cleared."""
        return max(-(-size // self.pes) for size in self.sizes[1:])

    @property
    def columns(self) -> int:
        """Columns of all layers; their pointers lie one behind the other, the last with its end."""
        return sum(self.sizes[:-1])

    @property
    def depth(self) -> int:
        """Words of each PE's matrix memory."""
        return max(1, -(-self.entries // self.read_entries))

    @property
    def position_bits(self) -> int:
        """Of a pointer: the number of an entry, or one more."""
        return max(1, self.entries.bit_length())

    @property
    def feedback_cycles(self) -> int:
        """From a drained word of an inner layer to the cycle in which it is written into the activation memory."""
        return 1 + sum(one.schedule.latency_cycles for one in self.post)

    @property
    def pointer_memories(self) -> tuple[Memory, Memory]:
        """Of each PE: the pointers of even columns, and those of odd ones."""
        even, odd = self.columns // 2 + 1, (self.columns + 1) // 2
        return self._memory(even, self.position_bits, MOST_POINTER_BITS), self._memory(odd, self.position_bits, MOST_POINTER_BITS)

    @property
    def matrix_memory(self) -> Memory:
        """Of each PE: its entries."""
        return self._memory(self.depth, self.read_entries * (self.index_bits + self.code_bits), MOST_MATRIX_BITS)

    @property
    def memories(self) -> tuple[Memory, ...]:
        words = max(self.scan_words(layer) for layer in range(self.layers))
        per_pe = (
            *self.pointer_memories, self.matrix_memory,
            Memory(self.layers << self.code_bits, self.w_type.bits, self._kind, "distributed"),
            Memory(self.rows, self.sum_type.bits, "async"),
            *[Memory(self.queue_depth - 1, self._queued_bits, "async")] * (self.queue_depth > 2),  # a single one is a register
        )
        activations = Memory(words, self.lanes * self.x_type.bits, "ram")
        return (*per_pe * self.pes, activations, activations, *(memory for one in self.post for memory in one.memories))

    @property
    def _kind(self) -> str:
        return "ram" if self.loaded else "rom"

    def _memory(self, depth: int, bits: int, most: int) -> Memory:
        return Memory(depth, bits, self._kind, "block" if depth * bits > most else "distributed")

    @property
    def _queued_bits(self) -> int:
        return self.position_bits + self.rows.bit_length() + self.x_type.bits

    def dsps(self, family: str) -> int:
        return self.pes * product_dsps(self.x_type, self.w_type, family) + sum(one.dsps(family) for one in self.post)

    def logic_luts(self, family: str) -> int:
        entry, count, total = self.index_bits + self.code_bits, self.rows.bit_length(), self.sum_type.bits
        pe = (2 * self.position_bits + 5 * count + self.x_type.bits + 2 * total
              + entry * _choice(self.read_entries) + 5 * (self.queue_depth - 1).bit_length() + 10)
        scan = self.lanes * (2 + self.x_type.bits * 3 // 2)
        drain = total * (self.lanes * _choice(self.pes // self.lanes) + self.lanes_out * _choice(self.lanes // self.lanes_out))
        own = self.pes * product_luts(self.x_type, self.w_type, family) + mixed(self.pes * (pe + 1) + scan + drain + 45, family)
        return own + sum(one.logic_luts(family) for one in self.post)


def _choice(values: int) -> int:
    """LUTs per bit of a multiplexer."""
    return (values + 2) // 4

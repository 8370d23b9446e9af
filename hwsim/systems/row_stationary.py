"""Row-stationary arrays, as Eyeriss is: which rows go where, and what that costs.

Y.-H. Chen, J. Emer, V. Sze, "Eyeriss: A spatial architecture for energy-efficient dataflow for convolutional neural
networks", ISCA 2016; Y.-H. Chen, T. Krishna, J. Emer, V. Sze, "Eyeriss: An energy-efficient reconfigurable accelerator for deep
convolutional neural networks", JSSC 52(1), 2017.

An element keeps a row of a kernel and slides a row of the input past it; a set of (kernel rows x output rows) elements sums
up a strip of an output, downwards.  In a pass, elements hold p filters and q channels each (their register files bound
that), and the array holds r sets of other channels, which are summed up, too, and t sets of other filters.  A strip of e output
rows wider than the array is cut into segments that lie above each other.  Sums of m filters, e rows and n frames wait in the
buffer while passes go through the channels: they are read and written once a pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from intir import BitwrightError

from .actions import Action
from .array_run import ArrayRun
from .machine import Machine
from .work import Product, Tensor, Work

#: Words of Eyeriss's element: filters, input, sums; other sizes are divided in the same way.
SPAD_WORDS = (224, 12, 24)
#: Words that cross between buffer and array in a cycle, 64 bits each: filters one way, sums in both.
WEIGHTS_A_CYCLE = 4
SUMS_A_CYCLE = 4
#: What a search weighs accesses with: DRAM, buffer, hop, register file (ISCA 2016, table IV).
COSTS = (200.0, 6.0, 2.0, 1.0)
#: Bits of a run of zeros in compressed activations; 3 pairs of run and value and a flag are 64 bits for words of 16 (JSSC 2017).
RUN_BITS = 5


class MappingError(BitwrightError):
    """A layer does not fit the array."""


@dataclass(frozen=True)
class Shape:
    """A layer as the array sees it: rows, not matrices.

    Parameters
    ----------
    filters, channels, groups, frames : int
        Filters and channels of one group.
    kernel_rows, kernel_columns : int
        At most the array's rows and an input register file; taller and wider kernels are cut, and their parts are channels.
    out_rows, out_columns : int
    row_stride, row_span : int
        Rows from one output to the next, and that one spans.
    in_columns : int
        Padding included, as rows are streamed.
    """

    filters: int
    channels: int
    groups: int
    frames: int
    kernel_rows: int
    kernel_columns: int
    out_rows: int
    out_columns: int
    row_stride: int
    row_span: int
    in_columns: int

    @property
    def weights(self) -> int:
        """Of all groups."""
        return self.groups * self.filters * self.channels * self.kernel_rows * self.kernel_columns

    @property
    def macs(self) -> int:
        """Of all frames."""
        return self.weights * self.out_rows * self.out_columns * self.frames

    def in_rows(self, out_rows: int) -> int:
        """Rows of the input, padding included, that a strip reads."""
        return (out_rows - 1) * self.row_stride + self.row_span


@dataclass(frozen=True)
class Chip:
    """What bounds a mapping: elements, words of their register files, words of the buffer."""

    rows: int
    columns: int
    filter_words: int
    input_words: int
    sum_words: int
    buffer_words: int

    @classmethod
    def of(cls, machine: Machine) -> Chip:
        """From a machine; the buffer is what holds sums."""
        words = machine.register_bytes * 8 // machine.array.activation_bits
        spads = [max(1, math.ceil(words * part / sum(SPAD_WORDS))) for part in SPAD_WORDS]
        buffer = sum(sram.usable_bytes for sram in machine.srams if "sums" in sram.holds)
        return cls(machine.array.rows, machine.array.columns, spads[0], spads[1], spads[2], buffer * 8 // machine.array.sum_bits)


class Mapping(NamedTuple):
    """How a layer goes through the array.

    Parameters
    ----------
    m, n : int
        Filters and frames that the buffer holds sums of.
    e : int
        Output rows of a strip.
    p, q : int
        Filters and channels of an element.
    r, t : int
        Sets of other channels, and of other filters.
    """

    m: Any
    n: Any
    e: int
    p: Any
    q: Any
    r: Any
    t: Any

    def __str__(self) -> str:
        return " ".join(f"{name}{value}" for name, value in self._asdict().items())


@dataclass(frozen=True)
class Counts:
    """What a layer takes under a mapping, all groups and frames; words, not bytes.

    Parameters
    ----------
    passes : int
    active_elements : int
    multiply_cycles : int
        Of elements at work, sums passed on included.
    wait_cycles : int
        For filters before a pass, and where sums come and go slower than products.
    input_reads, filter_reads, sum_moves : int
        At the buffer; every pass reads its sums, the first one, too, and writes them.
    input_deliveries, filter_deliveries, sum_hops : int
        Words that reach an element from the buffer, and sums that go from one to the next.
    dram_inputs, dram_filters : float
        Words, padding excluded, refetches included, nothing compressed.
    buffer_inputs, buffer_sums, filters : int
        Words on chip at a time.
    tiles : int
    """

    passes: Any
    active_elements: Any
    multiply_cycles: Any
    wait_cycles: Any
    input_reads: Any
    filter_reads: Any
    sum_moves: Any
    input_deliveries: Any
    filter_deliveries: Any
    sum_hops: Any
    dram_inputs: Any
    dram_filters: Any
    buffer_inputs: Any
    buffer_sums: Any
    filters: Any
    tiles: Any

    def cost(self, macs: int) -> Any:
        """Energy in the paper's units times cycles."""
        dram, buffer, hop, register = COSTS
        energy = (dram * (self.dram_inputs + self.dram_filters) + buffer * (self.input_reads + self.filter_reads + self.sum_moves)
                  + hop * (self.input_deliveries + self.filter_deliveries + self.sum_hops) + (1 + 4 * register) * macs)
        return energy * (self.multiply_cycles + self.wait_cycles)


def shape_of(product: Product, frames: int, chip: Chip) -> Shape:
    """A product as rows; a dense layer is a 1x1 convolution of one output position."""
    if product.window is None:
        return Shape(product.filters, product.terms, product.groups, frames, 1, 1, 1, product.pixels, 1, 1, product.pixels)
    window = product.window
    (height, width), (down, across) = window.kernel, window.stride
    channels = product.terms // (height * width)
    tall, wide = -(-height // chip.rows), -(-width // chip.input_words)  # parts of a kernel too tall or too wide
    in_columns = (window.out_size[1] - 1) * across + (width - 1) * window.dilation[1] + 1
    return Shape(product.filters, channels * tall * wide, product.groups, frames, -(-height // tall), -(-width // wide),
                 window.out_size[0], window.out_size[1], down, (height - 1) * window.dilation[0] + 1, in_columns)


def room_for(shape: Shape, chip: Chip, e: int) -> int:
    """Sets that the array has room for with strips of e rows; 0 if not one."""
    slots = chip.rows // shape.kernel_rows
    return slots * (chip.columns // e) if e <= chip.columns else slots // -(-e // chip.columns)


def fits(shape: Shape, chip: Chip, mapping: Mapping) -> Any:
    """Whether register files, array and buffer have room for a mapping."""
    m, n, e, p, q, r, t = mapping
    row = q * shape.kernel_columns
    held = m * e * shape.out_columns * n + q * r * shape.in_rows(e) * shape.in_columns * n
    return ((row <= chip.input_words) & (p * row <= chip.filter_words) & (p <= chip.sum_words)
            & (r * t <= room_for(shape, chip, e)) & (held <= chip.buffer_words) & (m >= p * t))


def counts(shape: Shape, mapping: Mapping) -> Counts:
    """What a mapping costs; all of a mapping's numbers but e may be arrays, for a search."""
    m, n, e, p, q, r, t = mapping
    strips = -(-shape.out_rows // e)
    frame_tiles, filter_tiles = -(-shape.frames // n), -(-shape.filters // m)
    filter_folds, channel_folds = -(-shape.filters // (p * t)), -(-shape.channels // (q * r))
    # the last strip, filters and channels leave elements idle: every pass takes as long
    passes = shape.groups * frame_tiles * strips * filter_folds * channel_folds
    row = q * shape.kernel_columns
    multiply = shape.out_columns * n * p * (row + 1)  # an element needs a cycle to pass a sum on
    sum_wait = -(-p * t * e * shape.out_columns * n // SUMS_A_CYCLE) - multiply
    weights = p * t * q * r * shape.kernel_rows * shape.kernel_columns
    halo_rows = sum(shape.in_rows(min(e, shape.out_rows - start)) for start in range(0, shape.out_rows, e))
    inputs = shape.groups * shape.channels * halo_rows * shape.in_columns * shape.frames
    sums = shape.groups * shape.filters * shape.out_rows * shape.out_columns * shape.frames * channel_folds
    elements = shape.kernel_rows * e * r * t
    return Counts(
        passes=passes, active_elements=elements, multiply_cycles=passes * multiply,
        wait_cycles=passes * (sum_wait * (sum_wait > 0) + -(-weights // WEIGHTS_A_CYCLE)),
        input_reads=inputs * filter_folds, filter_reads=passes * weights, sum_moves=2 * sums,
        input_deliveries=passes * elements * q * shape.in_columns * n, filter_deliveries=passes * elements * p * row,
        sum_hops=sums * (shape.kernel_rows * r - 1),
        dram_inputs=inputs * filter_tiles, dram_filters=shape.weights * strips * frame_tiles,
        buffer_inputs=q * r * shape.in_rows(e) * shape.in_columns * n, buffer_sums=m * e * shape.out_columns * n, filters=weights,
        tiles=shape.groups * frame_tiles * strips * filter_tiles)


@lru_cache(maxsize=4096)
def best_mapping(shape: Shape, chip: Chip, channels: int | None = None) -> Mapping | None:
    """The least product of energy, in the paper's units, and cycles; None if no mapping fits.

    Parameters
    ----------
    shape : Shape
    chip : Chip
    channels : int, optional
        How many a pass sums up, ``q r``; by default whatever is best.
    """
    best: tuple[float, Mapping] | None = None
    for e in sorted({-(-shape.out_rows // parts) for parts in range(1, shape.out_rows + 1)}):
        room = room_for(shape, chip, e)
        frames = sorted({-(-shape.frames // parts) for parts in range(1, shape.frames + 1)})
        r, q, p, n = (axis.ravel() for axis in np.meshgrid(
            np.arange(1, min(room, shape.channels) + 1), np.arange(1, chip.input_words // shape.kernel_columns + 1),
            np.arange(1, min(chip.sum_words, shape.filters) + 1), np.array(frames), indexing="ij"))
        if not r.size:
            continue
        t = np.minimum(room // r, -(-shape.filters // p))
        left = chip.buffer_words - q * r * shape.in_rows(e) * shape.in_columns * n
        m = np.minimum(left // (e * shape.out_columns * n) // (p * t), -(-shape.filters // (p * t))) * p * t
        legal = np.flatnonzero(fits(shape, chip, Mapping(m, n, e, p, q, r, t)) & (True if channels is None else q * r == channels))
        if not legal.size:
            continue
        m, n, p, q, r, t = (axis[legal] for axis in (m, n, p, q, r, t))
        cost = counts(shape, Mapping(m, n, e, p, q, r, t)).cost(shape.macs)
        least = int(np.argmin(cost))
        if best is None or cost[least] < best[0]:
            m0, n0, p0, q0, r0, t0 = (int(axis[least]) for axis in (m, n, p, q, r, t))
            best = float(cost[least]), Mapping(m0, n0, e, p0, q0, r0, t0)
    return best[1] if best else None


def run_layer(work: Work, machine: Machine, batch: int, mapping: Mapping | None = None) -> ArrayRun:
    """A layer of products on a row-stationary array.

    Zero activations take their cycle, but are neither multiplied nor is a weight read for them; activations in DRAM are
    compressed by runs of zeros where that is shorter.  Operands move as wide as the array takes them.

    Parameters
    ----------
    work : Work
        With a product.
    machine : Machine
        With a `row_stationary` array.
    batch : int
    mapping : Mapping, optional
        By default `best_mapping`.

    Raises
    ------
    MappingError
        If the register files or the buffer are too small for it, or for the mapping.
    """
    if work.product is None or work.weights is None:
        raise ValueError(f"the layer {work.name!r} has no products")
    array, chip = machine.array, Chip.of(machine)
    shape = shape_of(work.product, batch, chip)
    mapping = mapping or best_mapping(shape, chip)
    if mapping is None or not fits(shape, chip, mapping):
        asked = mapping or "even one row of one frame"
        raise MappingError(f"the layer {work.name!r} does not fit the machine {machine.name!r}: {asked} takes "
                           f"more than {chip.filter_words}, {chip.input_words} and {chip.sum_words} words of an element and "
                           f"{chip.buffer_words} of the buffer; enlarge register_bytes or the memory of sums")
    took = counts(shape, mapping)
    activation, weight, total = array.activation_bits, array.weight_bits, array.sum_bits
    words, weight_words, out_words = (-(-tensor.type.bits // bits) for tensor, bits in (
        (work.reads[0], activation), (work.weights, weight), (work.output, activation)))  # of a value wider than the array's
    rounds = words * weight_words
    inputs, filters, sum_hops = (count * rounds for count in (took.input_deliveries, took.filter_deliveries, took.sum_hops))
    macs = work.macs * batch
    done = macs * work.reads[0].density * rounds
    filter_bytes, input_bytes, sum_bytes = (words * bits // 8 for words, bits in (
        (chip.filter_words, weight), (chip.input_words, activation), (chip.sum_words, total)))
    in_pixels = math.prod(work.product.window.in_size) if work.product.window else shape.in_columns
    unpadded = min(1.0, in_pixels / (shape.in_rows(shape.out_rows) * shape.in_columns))
    return ArrayRun(
        array_cycles=took.multiply_cycles * rounds, fill_cycles=took.wait_cycles * rounds,
        mapping=f"{mapping}; {took.active_elements} of {chip.rows * chip.columns} elements, {took.passes} passes",
        sram_bits={("activations", "read"): took.input_reads * activation * rounds,
                   ("weights", "read"): took.filter_reads * weight * rounds,
                   ("sums", "read"): took.sum_moves / 2 * total * rounds, ("sums", "write"): took.sum_moves / 2 * total * rounds},
        dram_bytes={("activations", "read"): (took.dram_inputs * unpadded * words * activation / 8
                                              * compressed(work.reads[0], activation)),
                    ("weights", "read"): took.dram_filters * weight_words * weight / 8,
                    ("outputs", "write"): (work.output.elements * batch * out_words * activation / 8
                                           * compressed(work.output, activation))},
        actions={
            "array": _sum((Action("int_multiply", activation, weight), done), (Action("int_add", total), done + sum_hops),
                          (Action("array_hop", activation), inputs),
                          (Action("array_hop", weight), filters), (Action("array_hop", total), sum_hops)),
            "registers": _sum((Action("register_read", activation, bytes=input_bytes), macs * rounds),
                              (Action("register_read", weight, bytes=filter_bytes), done),
                              (Action("register_read", total, bytes=sum_bytes), done + sum_hops),
                              (Action("register_write", total, bytes=sum_bytes), done),
                              (Action("register_write", activation, bytes=input_bytes), inputs),
                              (Action("register_write", weight, bytes=filter_bytes), filters))},
        footprint_bytes={"activations": took.buffer_inputs * activation / 8, "weights": took.filters * weight / 8,
                         "sums": took.buffer_sums * total / 8},
        tiles=took.tiles, notes=(f"operands wider than the array's take {rounds} rounds",) if rounds > 1 else ())


def compressed(tensor: Tensor, bits: int) -> float:
    """Size of a tensor in DRAM as a part of its plain size: each value that is not zero with the run of zeros before it."""
    return min(1.0, tensor.density * (bits + RUN_BITS + 1 / 3) / bits)


def _sum(*counted: tuple[Action, float]) -> dict[Action, float]:
    """Counts by action; operands may be equally wide."""
    total: dict[Action, float] = {}
    for action, count in counted:
        total[action] = total.get(action, 0.0) + count
    return total

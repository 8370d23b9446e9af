"""What an array that maps layers in a way of its own (`row_stationary`, `eie`) says of a layer.

Each such array is a module with a function ``run_layer(work: Work, machine: Machine, batch: int) -> ArrayRun``; `run` turns
what it says into time, traffic and actions.  Systolic arrays are mapped by `tiling` instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .actions import Action

#: What and which way: (``activations``, ``weights``, ``sums`` or ``outputs``; ``read`` or ``write``).
Flow = tuple[str, str]


@dataclass(frozen=True)
class ArrayRun:
    """One layer on an array, all frames of the batch.

    Parameters
    ----------
    array_cycles : int
        In which elements multiply.
    fill_cycles : int
        In which they wait for the array itself: for operands to travel, for pipelines to fill and drain.
    mapping : str
        For people.
    sram_bits : flow -> bits
        That the array reads from and writes to SRAM; ``outputs`` go where activations are held.  What DRAM moves in and out of
        SRAM is added by `run`.
    dram_bytes : flow -> bytes
        That cross the pins, refetches included, all inputs and outputs in DRAM; `run` leaves out what stays on chip.
    actions : component -> action -> count
        Of the components ``array`` and ``registers`` (products, sums, register files, hops); `run` adds memories, vector unit
        and DRAM.
    footprint_bytes : what -> bytes
        Greatest part of the activations, weights and sums that is on chip at a time.
    tiles : int
        Pieces in which the operands come, at least 1: with double buffering, all but the first piece's load and the last one's
        store are hidden behind the array's work as far as bandwidth allows.
    notes : tuple of str
    """

    array_cycles: int
    fill_cycles: int
    mapping: str
    sram_bits: Mapping[Flow, float]
    dram_bytes: Mapping[Flow, float]
    actions: Mapping[str, Mapping[Action, float]]
    footprint_bytes: Mapping[str, float]
    tiles: int = 1
    notes: tuple[str, ...] = field(default=())

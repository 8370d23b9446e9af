"""Actions: what a run does, as an energy table prices it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Every action, and what one of it is.
ACTIONS: Final = {
    "int_multiply": "one product of integers of `bits` and `other_bits`",
    "int_add": "one sum of `bits`",
    "float_multiply": "one product of floats of `bits`",
    "float_add": "one sum of floats of `bits`",
    "binary_accumulate": "one XNOR (or AND and XOR) of a pair of bits, counted into a sum of `bits`",
    "compare": "one comparison of `bits`",
    "lookup": "one look-up of an entry of `bits`",
    "register_read": "one read of `bits` from a register file of `bytes`",
    "register_write": "one write of `bits` to a register file of `bytes`",
    "array_hop": "`bits` passed from one element of an array to its neighbour",
    "sram_read": "one read of `bits` from a memory of `bytes`",
    "sram_write": "one write of `bits` to a memory of `bytes`",
    "sram_leakage": "one nanosecond of a memory of `bytes`, `bits` wide",
    "dram_read": "`bits` read from DRAM of `kind`",
    "dram_write": "`bits` written to DRAM of `kind`",
    "leading_nonzero_node": "one cycle of a node of a leading-nonzero tree",
}


@dataclass(frozen=True)
class Action:
    """One kind of action.

    Parameters
    ----------
    name : str
        One of `ACTIONS`.
    bits : int
        Width of the operand or of the word.
    other_bits : int
        Of a product's other operand.
    bytes : int
        Size of the memory; 0 where there is none.
    kind : str
        Of DRAM, for example ``LPDDR4``.
    """

    name: str
    bits: int = 0
    other_bits: int = 0
    bytes: int = 0
    kind: str = ""

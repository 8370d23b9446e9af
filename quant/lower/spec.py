"""The grammar of ``--input``: which integers stand for a network's float input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from intir.types import IntType, signed, unsigned

from .errors import LoweringError

_GRAMMAR = re.compile(r"\s*([us])(\d{1,2})\s*(?:([/*])\s*(\d{1,18}(?:\.\d{1,18})?)(?:\s*/\s*(\d{1,18}))?)?\s*")


@dataclass(frozen=True)
class InputSpec:
    """What ``--input`` says: the network's float input is an integer of a type, times a scale.

    Parameters
    ----------
    text : str
        As given, for example ``u8/255``.
    type : IntType
    scale : Fraction
    """

    text: str
    type: IntType
    scale: Fraction

    @classmethod
    def parse(cls, text: str) -> InputSpec:
        """Read ``u<bits>`` or ``s<bits>``, optionally ``/<number>`` or ``*<number>`` or ``*<integer>/<integer>``.

        Raises
        ------
        LoweringError
            If the text is none of these.
        """
        match = _GRAMMAR.fullmatch(text)
        problem = f"the input '{text[:40]}' is not understood; write u8, s8, u8/255, s8/128, u8*0.5 or u8*1/255"
        if not match or not 1 <= int(match[2]) <= 32 or (match[3] == "/" and match[5]):
            raise LoweringError(problem)
        scale = Fraction(match[4] or 1)
        if match[5]:
            if int(match[5]) == 0:
                raise LoweringError(problem)
            scale /= int(match[5])
        if scale == 0:
            raise LoweringError(f"the input '{text}' has a scale of zero; give another number")
        if match[3] == "/":
            scale = 1 / scale
        bits = int(match[2])
        return cls(text.strip(), unsigned(bits) if match[1] == "u" else signed(bits), scale)

"""Requantization equals the rounding of a rational number, for all inputs, by a solver that knows words.

What a rounding is, is written as conditions on the result: ``r * D`` lies next to ``N``, and which one of a tie is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.blocks.numbers import spanning
from codegen.templates import render
from hwsim.engines.elementwise import Requant
from intir import IntType, signed

from .dut import Dut, engine_block

TOP = "proof"
#: Rounding -> conditions on N / D rounded to R, D above 0.  A tie lies in the middle between two integers.
_NEAREST = ["2 * R * D <= 2 * N + D", "2 * R * D >= 2 * N - D"]
DEFINITIONS: dict[str, list[str]] = {
    "floor": ["R * D <= N", "R * D > N - D"],
    "ceil": ["R * D >= N", "R * D < N + D"],
    "toward_zero": ["N < 0 || (R * D <= N && R * D > N - D)", "N >= 0 || (R * D >= N && R * D < N + D)"],
    "half_up": [*_NEAREST, "2 * R * D != 2 * N - D"],
    "half_away": [*_NEAREST, "N < 0 || 2 * R * D != 2 * N - D", "N >= 0 || 2 * R * D != 2 * N + D"],
    "half_even": [*_NEAREST, "(2 * R * D != 2 * N - D && 2 * R * D != 2 * N + D) || !R[0]"],
}


@dataclass(frozen=True)
class RequantCase:
    """A requantizer with constants.

    Parameters
    ----------
    x, out : IntType
    multiplier, shift, zero : int
    rounding : str
    """

    x: IntType
    out: IntType
    multiplier: int
    shift: int
    zero: int
    rounding: str

    @property
    def name(self) -> str:
        """For the list."""
        return f"requant {self.x} to {self.out}, x {self.multiplier} / 2**{self.shift}, {self.rounding}"

    @property
    def engine(self) -> Requant:
        """Its parameters."""
        m, s, z = (IntType(one, one) for one in (self.multiplier, self.shift, self.zero))
        return Requant(1, 1, self.x, self.out, m, s, z, self.rounding)

    @property
    def dut(self) -> Dut:
        """Its Verilog."""
        return engine_block(self.engine, multiplier=np.array([self.multiplier]), shift=np.array([self.shift]),
                            zero_point=np.array([self.zero]))

    @property
    def cycles(self) -> int:
        """How many to look at: one to take the word, and its way without stalls.

        Stalls are proved at small widths (`cases`), for all time: with them, a product of full width is too much for a solver.
        """
        return self.engine.schedule.latency_cycles + 1

    def files(self, dut: Dut | None = None) -> dict[str, str]:
        """The block, or what claims to be it, beside the definition."""
        dut = dut or self.dut
        bits = self.x.bits + abs(self.multiplier).bit_length() + 6
        shifts = [("first", 31, "half_up"), ("second", self.shift - 31, "half_away")] if self.rounding == "gemmlowp" \
            else [("", self.shift, self.rounding)]
        steps, left = [], bits - 4
        for name, shift, rounding in shifts:
            left -= shift
            places = {"N": f"n{name}", "R": f"r{name}", "D": f"D{name}"}
            conditions = DEFINITIONS[rounding] if shift else ["R == N"]
            steps.append({"name": name, "denominator": f"{bits}'sd{1 << shift}", "bits": left + 2,
                          "conditions": [_named(one, places) for one in conditions]})
        x = "$signed(x)" if self.x.signed else "$signed({1'b0, x})"
        # As wide as the block's product: solvers find two products of equal width equal at once, and others never.
        corners = [self.multiplier * end for end in (self.x.lo, self.x.hi)]
        product = spanning(min(corners), max(corners))
        text = render("proof_requant.sv.j2", top=TOP, block=dut.module, x_bits=self.x.bits, y_bits=self.out.bits, bits=bits, x=x,
                      latency=self.engine.schedule.latency_cycles, multiplier=self.multiplier, product=product,
                      shift=self.shift, rounding=self.rounding, steps=steps, zero=self.zero, lo=self.out.lo, hi=self.out.hi)
        return {**dut.files, f"{TOP}.sv": text}


def _named(condition: str, places: dict[str, str]) -> str:
    return "".join(places.get(one, one) for one in condition)


def requant_cases() -> list[RequantCase]:
    """Every rounding at full width; signs, widths, zero points and shifts of all sizes for some."""
    s8, u8, s32 = signed(8), IntType(0, 255), signed(32)
    # 45 * 2**25: unlike those of a multiplier with few factors of two, many products lie in the middle between two results.
    full = [RequantCase(s32, s8, multiplier, 38, -3, rounding) for rounding in DEFINITIONS for multiplier in (1_518_500_250, 1_509_949_440)]
    return [
        *full,
        RequantCase(s32, s8, 1_518_500_250, 38, -3, "gemmlowp"),
        RequantCase(s32, u8, 2_147_483_647, 31, 128, "half_away"),
        RequantCase(s32, s8, -1_431_655_765, 40, 5, "half_even"),
        RequantCase(IntType(0, 2**20 - 1), IntType(0, 15), 24_571, 30, 0, "half_up"),
        RequantCase(signed(16), signed(4), 3, 0, 1, "half_even"),
        RequantCase(signed(12), s8, 1, 1, 0, "toward_zero"),
    ]

"""Numbers with units, as people read them."""

from __future__ import annotations

import math
from dataclasses import dataclass

_PREFIXES = {-5: "f", -4: "p", -3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P", 6: "E"}
DIGITS = 3


@dataclass(frozen=True)
class Quantity:
    """A number as it is, and as people read it.

    Parameters
    ----------
    value : int or float
        Exact; what a page keeps beside the text and sorts by.
    text : str
    """

    value: float
    text: str

    def __str__(self) -> str:
        return self.text


def si(value: float, unit: str, *, zeros: bool = True) -> str:
    """Three digits and a prefix of the SI: ``si(0.0123, "s")`` is ``12.3 ms``; `zeros` says whether 1 is ``1.00``."""
    if not math.isfinite(value):
        return "∞" if value > 0 else str(value)
    if value == 0:
        return f"0 {unit}".rstrip()
    if unit in ("B", "") and abs(value) < 1:  # no millibytes
        return f"{value:.{DIGITS}g} {unit}".rstrip()
    magnitude = math.floor(math.log10(abs(float(f"{value:.{DIGITS - 1}e}"))))
    step = min(max(magnitude // 3, min(_PREFIXES)), max(_PREFIXES))
    decimals = max(0, DIGITS - 1 - (magnitude - 3 * step))
    text = f"{value / 1000 ** step:.{decimals}f}"
    if step == 0 and value == int(value):
        text = str(int(value))
    if not zeros and "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {_PREFIXES[step]}{unit}".rstrip()


def quantity(value: float, unit: str) -> Quantity:
    """A number with `si` as its text."""
    return Quantity(value, si(value, unit))


def count(value: float) -> Quantity:
    """An integer (or a mean of integers), all digits."""
    return Quantity(value, f"{value:,.0f}")


def share(value: float) -> Quantity:
    """A share of 1 in per cent."""
    percent = 100 * value
    return Quantity(value, f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %")


def significant(value: float) -> Quantity:
    """A number without a unit, three digits; ``∞`` where it is infinite."""
    if not math.isfinite(value):
        return Quantity(value, "∞")
    return Quantity(value, f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{DIGITS}g}")

"""An estimate beside what Yosys makes of the same design: of the whole, and of each block."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from codegen.flows import YOSYS_FAMILY
from codegen.generate import generate
from codegen.synth import part_beside, parts_beside
from codegen.synth_result import Part
from codegen.yosys import synthesize
from hwsim.design import Design
from hwsim.engines.memories import Resources

#: Part of the real number by which an estimate of a whole design may be off.
MOST_OFF = 0.15
TIMEOUT_SECONDS = 5400.0


@dataclass(frozen=True)
class Measured:
    """A design.

    Parameters
    ----------
    design, family : str
    whole : Part
    blocks : tuple of Part
        Those whose LUTs are furthest off first, in LUTs.  Mapping makes one LUT of two blocks' logic where they touch and counts
        it for one of them, so neighbours are better read together.
    seconds : float
        That Yosys took.
    """

    design: str
    family: str
    whole: Part
    blocks: tuple[Part, ...]
    seconds: float

    @property
    def ratio(self) -> float:
        """The estimate of the LUTs as a part of the real number."""
        return ratio(self.whole)

    @property
    def is_met(self) -> bool:
        """Whether the whole design's LUTs are estimated well enough."""
        return abs(self.ratio - 1) <= MOST_OFF

    def as_dict(self) -> dict[str, object]:
        """For a JSON file."""
        return {**asdict(self), "ratio": self.ratio, "is_met": self.is_met}


def ratio(part: Part) -> float:
    """Estimated LUTs as a part of those found."""
    return part.estimated["LUTs"] / max(1, part.luts)


def measure(name: str, design: Design) -> Measured:
    """Synthesize a design for the family of its plan."""
    family = design.plan.family
    made = generate(design, "0" * 16)
    started = time.monotonic()
    cells = synthesize(made.files, made.top, YOSYS_FAMILY[family], TIMEOUT_SECONDS, with_parts=True)
    seconds = round(time.monotonic() - started, 1)
    whole = part_beside(name, "", sum(design.resources.values(), Resources()), cells)
    blocks = sorted(parts_beside(design, cells), key=lambda part: -abs(part.estimated["LUTs"] - part.luts))
    return Measured(name, family, whole, tuple(blocks), seconds)

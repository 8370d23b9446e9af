"""An estimate beside what Yosys makes of the same design: of the whole, and of each block."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from codegen.generate import generate
from codegen.yosys import SynthResult, synthesize
from hwsim.design import Design
from hwsim.engines.base import Engine
from hwsim.engines.control import control_resources
from hwsim.engines.memories import Resources

#: Part of the real number by which an estimate of a whole design may be off.
MOST_OFF = 0.15
TIMEOUT_SECONDS = 5400.0


@dataclass(frozen=True)
class Pair:
    """Something, as it was estimated and as it is.

    Parameters
    ----------
    name, kind : str
        Of a block: its instance in the top and its engine.
    estimated, real : Resources
    """

    name: str
    kind: str
    estimated: Resources
    real: Resources

    @property
    def luts_off(self) -> float:
        """By what part of the real number the LUTs are off."""
        return abs(self.estimated.luts / max(1, self.real.luts) - 1)


@dataclass(frozen=True)
class Measured:
    """A design.

    Parameters
    ----------
    design, family : str
    whole : Pair
    blocks : tuple of Pair
        Those whose LUTs are furthest off first, in LUTs.  Mapping makes one LUT of two blocks' logic where they touch and counts
        it for one of them, so neighbours are better read together.
    seconds : float
        That Yosys took.
    """

    design: str
    family: str
    whole: Pair
    blocks: tuple[Pair, ...]
    seconds: float

    @property
    def is_met(self) -> bool:
        """Whether the whole design's LUTs are estimated well enough."""
        return self.whole.luts_off <= MOST_OFF

    def as_dict(self) -> dict[str, object]:
        """For a JSON file."""
        return {**asdict(self), "ratio": self.whole.estimated.luts / max(1, self.whole.real.luts), "is_met": self.is_met}


def measure(name: str, design: Design) -> Measured:
    """Synthesize a design for the family of its plan."""
    family = design.plan.family
    made = generate(design, "0" * 16)
    started = time.monotonic()
    cells = synthesize(made.files, made.top, family, TIMEOUT_SECONDS, with_parts=True)
    engines = {stage.name: stage.engine for stage in design.stages}
    return compared(name, family, engines, control_resources(family, design.plan.control), cells, time.monotonic() - started)


def compared(name: str, family: str, engines: Mapping[str, Engine], control: Resources, cells: SynthResult,
             seconds: float) -> Measured:
    """Estimates beside cells.  What is in no block is the control shell with the bus."""
    pairs = [Pair(stage, engine.kind, engine.resources(family), counted(cells.parts.get(stage)))
             for stage, engine in engines.items()]
    rest = sum((counted(part) for stage, part in cells.parts.items() if stage not in engines), Resources())
    pairs.append(Pair("control", "control", control, rest))
    whole = Pair(name, "", sum((pair.estimated for pair in pairs), Resources()), counted(cells))
    return Measured(name, family, whole, tuple(sorted(pairs, key=lambda pair: -abs(pair.estimated.luts - pair.real.luts))),
                    round(seconds, 1))


def counted(cells: SynthResult | None) -> Resources:
    """Cells in the units of an estimate."""
    return Resources() if cells is None else Resources(cells.luts, cells.bram18s, cells.dsps)

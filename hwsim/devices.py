"""FPGAs: what there is of LUTs, block RAMs and DSPs.

Numbers are those of the vendors' product tables (AMD DS180, DS190, DS891; Lattice FPGA-DS-02012).  A block RAM is one of
18 kbit; the 36 kbit ones of AMD count as two.  AMD's LUTs have six inputs, Lattice's four; an estimate counts those of its family.
"""

from __future__ import annotations

from dataclasses import dataclass

from .engines.memories import Resources


@dataclass(frozen=True)
class Device:
    """An FPGA.

    Parameters
    ----------
    name : str
    family : str
        As in `plan.FAMILIES`.
    luts : int
        As its maker counts them.
    brams : int
        Of 18 kbit.
    dsps : int
    """

    name: str
    family: str
    luts: int
    brams: int
    dsps: int

    @property
    def room(self) -> Resources:
        """What a design may take."""
        return Resources(self.luts, self.brams, self.dsps)


DEVICES = {one.name: one for one in (
    Device("xc7s50", "xilinx", 32_600, 150, 120),
    Device("xc7a35t", "xilinx", 20_800, 100, 90),
    Device("xc7a100t", "xilinx", 63_400, 270, 240),
    Device("xc7a200t", "xilinx", 133_800, 730, 740),
    Device("xc7k325t", "xilinx", 203_800, 890, 840),
    Device("xc7z010", "xilinx", 17_600, 120, 80),
    Device("xc7z020", "xilinx", 53_200, 280, 220),
    Device("xczu3eg", "xilinx", 70_560, 432, 360),
    Device("xczu7ev", "xilinx", 230_400, 624, 1_728),
    Device("ecp5-25k", "ecp5", 24_288, 56, 28),
    Device("ecp5-45k", "ecp5", 43_848, 108, 72),
    Device("ecp5-85k", "ecp5", 83_640, 208, 156),
)}

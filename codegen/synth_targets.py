"""What `bitwright synth` synthesizes for, and what there is of it.

Capacities of Lattice's and AMD's parts are those of `hwsim.devices`; of iCE40's, of Lattice FPGA-DS-02008 (UltraPlus) and
FPGA-DS-02029 (LP and HX).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from hwsim.devices import DEVICES, Device

from .errors import ToolError


@dataclass(frozen=True)
class Target:
    """What a design is synthesized for.

    Parameters
    ----------
    name, description : str
    family : str
        One of `yosys.SYNTHESIS`, or ``asic``.
    router : str or None
        Key of `wheels.NEXTPNR`, if it can be placed and routed.
    flags : tuple of str
        That choose the part there.
    synthesis : str
        Further options of the synthesis command.
    room : resource -> number of them
        LUTs and flip-flops (each as its maker counts them), ``block RAMs`` of 18 kbit (iCE40: 4 kbit), ``DSPs``; empty if no
        particular part is meant.
    """

    name: str
    description: str
    family: str
    router: str | None
    flags: tuple[str, ...]
    synthesis: str
    room: dict[str, int]

    @property
    def plan_family(self) -> str:
        """Of plans for it: one of `hwsim.plan.FAMILIES`."""
        return {"xilinx": "xilinx", "xcup": "xilinx", "ecp5": "ecp5"}.get(self.family, "generic")


def _amd(device: Device) -> Target:
    ultra = device.name.startswith("xczu")
    family, series = ("xcup", "UltraScale+") if ultra else ("xilinx", "7 series")
    return Target(device.name, f"AMD {device.name}, {series}", family, None, (), "",
                  _room(device.luts, 2 * device.luts, device.brams, device.dsps))


def _ecp5(device: Device) -> Target:
    size = device.name.removeprefix("ecp5-")
    package = "CABGA756" if size == "85k" else "CABGA381"
    return Target(device.name, f"Lattice LFE5U-{size[:2]}F, speed grade 6, {package}", "ecp5", "ecp5",
                  (f"--{size}", "--package", package, "--speed", "6"), "",
                  _room(device.luts, device.luts, device.brams, device.dsps))


def _room(luts: int, ffs: int, brams: int, dsps: int) -> dict[str, int]:
    return {"LUTs": luts, "flip-flops": ffs, "block RAMs": brams, "DSPs": dsps}


TARGETS = {one.name: one for one in (
    *(_ecp5(device) for device in DEVICES.values() if device.family == "ecp5"),
    Target("up5k", "Lattice iCE40UP5K, SG48", "ice40", "ice40", ("--up5k", "--package", "sg48"), "-device u -dsp",
           _room(5_280, 5_280, 30, 8)),
    Target("hx8k", "Lattice iCE40HX8K, CT256", "ice40", "ice40", ("--hx8k", "--package", "ct256"), "-device hx",
           _room(7_680, 7_680, 32, 0)),
    *(_amd(device) for device in DEVICES.values() if device.family == "xilinx"),
    Target("xc7", "AMD 7 series, no part in particular", "xilinx", None, (), "", {}),
    Target("xcup", "AMD UltraScale+, no part in particular", "xcup", None, (), "", {}),
    Target("asic", "generic cells, area in NAND2 equivalents", "asic", None, (), "", {}),
)}


def target_of(name: str) -> Target:
    """A target by its name.  Raises ToolError."""
    if name not in TARGETS:
        near = difflib.get_close_matches(name.lower(), TARGETS, n=1)
        raise ToolError(f"no synthesis for the target '{name}'; "
                        f"{f'did you mean {near[0]}? All are' if near else 'choose one of'} {', '.join(TARGETS)}")
    return TARGETS[name]

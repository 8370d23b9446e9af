"""Files in a bundle for other tools: constraints, the FuseSoC core, scripts for Yosys, Vivado and LibreLane."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from hwsim.plan import Plan

from .templates import render
from .yosys import SYNTHESIS

#: Vendor's name of each AMD device: package and speed grade of a common board.
PARTS: Final = {
    "xc7s50": "xc7s50csga324-1", "xc7a35t": "xc7a35tcpg236-1", "xc7a100t": "xc7a100tcsg324-1", "xc7a200t": "xc7a200tsbg484-1",
    "xc7k325t": "xc7k325tffg900-2", "xc7z010": "xc7z010clg400-1", "xc7z020": "xc7z020clg400-1", "xczu3eg": "xczu3eg-sbva484-1-e",
    "xczu7ev": "xczu7ev-ffvc1156-2-e",
}
DEFAULT_PART: Final = "xc7z020"
#: Of the period, outside of a chip's ports.
OUTSIDE: Final = 0.3
#: Yosys's family for each family of plans.
YOSYS_FAMILY: Final = {"xilinx": "xilinx", "ecp5": "ecp5", "generic": "ice40"}


def flow_files(top: str, network: str, digest: str, header: str, plan: Plan, contents: Mapping[str, object]) -> dict[str, str]:
    """Relative path -> text.

    Parameters
    ----------
    top, network, digest : str
        Top module, name of the network, hash of the design.
    header : str
        Lines that every file begins with.
    plan : Plan
        Its clock and its device.
    contents : relative path -> anything
        The bundle's files so far; the core lists those in ``rtl``, ``mem`` and ``tb``.
    """
    period = 1e3 / plan.clock_mhz
    view = {"top": top, "header": header, "mhz": f"{plan.clock_mhz:g}", "period": f"{period:.3f}",
            "outside": f"{OUTSIDE * period:.3f}"}
    made = {f"constraints/{top}.{kind}": render(f"constraints.{kind}.j2", **view) for kind in ("sdc", "xdc", "lpf", "pcf")}

    def listed(folder: str) -> list[str]:
        return sorted(name for name in contents if name.startswith(f"{folder}/"))

    device = plan.device if plan.device in PARTS else DEFAULT_PART
    made[f"{top}.core"] = render(
        "core.yml.j2", top=top, vlnv=f"bitwright:generated:{top}:0", rtl=listed("rtl"), memories=listed("mem"),
        bench=[*listed("tb"), f"{top}.f"],
        description=f"accelerator of the network {_plain(network)}, design {digest}")
    made["scripts/yosys.py"] = render("yosys.py.j2", top=top, synthesis=SYNTHESIS, families=list(SYNTHESIS),
                                      family=YOSYS_FAMILY[plan.family])
    made["scripts/vivado.tcl"] = render("vivado.tcl.j2", top=top, header=header, part=PARTS[device],
                                        memories=listed("mem"))
    made["scripts/librelane.json"] = librelane(top, period)
    return made


def librelane(top: str, period_ns: float) -> str:
    """A LibreLane configuration: sky130 unless another PDK is asked for, memories as flip-flops and gates.

    Paths are from the file's own folder.
    """
    return json.dumps({
        "//": [f"librelane scripts/librelane.json hardens {top} with the PDK sky130A. Memories become flip-flops and gates, so "
               "only small designs fit; put macros of your memory compiler in the place of bw_rom, bw_ram and bw_ram_async for "
               "others. $readmemh looks for mem/ from the run's folder: start it in the bundle's folder and link mem/ there if "
               "Yosys doesn't find it."],
        "meta": {"version": 2},
        "DESIGN_NAME": top,
        "VERILOG_FILES": "dir::../rtl/*.v",
        "PNR_SDC_FILE": f"dir::../constraints/{top}.sdc",
        "SIGNOFF_SDC_FILE": f"dir::../constraints/{top}.sdc",
        "CLOCK_PORT": "aclk",
        "CLOCK_PERIOD": round(period_ns, 3),
        "FP_CORE_UTIL": 40,
        "SYNTH_STRATEGY": "AREA 0",
    }, indent=2) + "\n"


def _plain(text: str) -> str:
    """A name that YAML and its readers take inside of quotes."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in " ._-/") else "_" for letter in text)

"""What the control shell of a design takes: the registers, counters and bus of `codegen.control`, alone, by Yosys 0.70."""

from __future__ import annotations

from .memories import Resources

#: LUTs of the shell by FPGA family: LUT cells of 7 series and iCE40; of ECP5, two in each carry cell included
#: (`make bench-control`).
CONTROL_LUTS = {"xilinx": 285, "ecp5": 673, "generic": 621}


def control_resources(family: str, control: str) -> Resources:
    """Of a plan's family and control."""
    return Resources(CONTROL_LUTS[family]) if control == "axi-lite" else Resources()

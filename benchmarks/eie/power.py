"""Energy of the nine layers, and power beside the paper's."""

from __future__ import annotations

from typing import Final

from rich.table import Table

from hwsim.energy import EnergyTable
from hwsim.engines.eie_actions import sparse_layer_actions
from hwsim.engines.eie_cycles import run_layer

from .layers import CLOCK_MHZ, LANES, PAPER_DEPTH, PES, Encoded

#: Power of one PE in mW by part, and its name for the part: "EIE", table II (45 nm, clock network and registers included).
PAPER_MW: Final = {
    "pointer reads": (1.807, "PtrRead"),
    "matrix reads": (4.955, "SpmatRead"),
    "arithmetic": (1.162, "ArithmUnit"),
    "sums and activations": (1.122, "ActRW"),
    "queues": (0.112, "Act_queue"),
    "leading nonzero": (0.023 * 21 / 64, "21 LNZD nodes by 64 PEs"),
}


def energy(layers: list[Encoded], energies: EnergyTable) -> Table:
    """nJ by part, the total, and mW a PE."""
    table = Table(title=f"Energy of a layer in nJ by part, action counts times 45 nm figures; {PES} PEs, depth {PAPER_DEPTH}, "
                        "64-bit reads")
    table.add_column("layer")
    for part in (*PAPER_MW, "total", f"mW a PE\nat {CLOCK_MHZ} MHz"):
        table.add_column(part.replace(" and ", " and\n"), justify="right")
    power = dict.fromkeys(PAPER_MW, 0.0)
    for one in layers:
        run = run_layer(one.matrix, one.layer.x, lanes=LANES, queue_depth=PAPER_DEPTH)
        parts = energies.price(sparse_layer_actions(run, one.matrix.inputs, one.matrix.outputs))
        # pJ a cycle are uW at 1 MHz
        milliwatts = {part: pj / run.cycles * CLOCK_MHZ / 1000 / PES for part, pj in parts.items()}
        power = {part: power[part] + milliwatts[part] / len(layers) for part in power}
        table.add_row(one.layer.name, *(f"{parts[part] / 1000:,.1f}" for part in PAPER_MW), f"{sum(parts.values()) / 1000:,.1f}",
                      f"{sum(milliwatts.values()):.2f}")
    table.add_section()
    table.add_row("mW a PE, mean", *(f"{power[part]:.3f}" for part in PAPER_MW), "", f"{sum(power.values()):.2f}")
    table.add_row("paper, mW a PE", *(f"{milliwatts:.3f}" for milliwatts, _ in PAPER_MW.values()), "", "9.16")
    return table

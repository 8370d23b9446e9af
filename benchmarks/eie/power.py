"""Energy of the nine layers, and power beside the paper's."""

from __future__ import annotations

from typing import Final

from rich.table import Table

from hwsim.energy import EnergyTable
from hwsim.engines.eie_actions import sparse_layer_actions
from hwsim.engines.eie_cycles import run_layer

from .layers import CLOCK_MHZ, LANES, PAPER_DEPTH, PES, Encoded

#: Power of one PE in mW, and its clock network's part of it: "EIE", table II.
PAPER_TOTAL_MW: Final = 9.157
PAPER_CLOCK_MW: Final = 1.874
#: Power of one PE in mW by part, and its name for the part: "EIE", table II (45 nm, clock network and registers included).
PAPER_MW: Final = {
    "pointer reads": (1.807, "PtrRead"),
    "matrix reads": (4.955, "SpmatRead"),
    "arithmetic": (1.162, "ArithmUnit"),
    "sums and activations": (1.122, "ActRW"),
    "queues": (0.112, "Act_queue"),
    "leading nonzero": (0.023 * 21 / 64, "21 LNZD nodes by 64 PEs"),
}


def milliwatts(layers: list[Encoded], energies: EnergyTable) -> tuple[dict[str, float], float, float]:
    """Power of a PE by part, cycles between its words, and between its columns: means over layers."""
    power = dict.fromkeys(PAPER_MW, 0.0)
    words = columns = 0.0
    for one in layers:
        run = run_layer(one.matrix, one.layer.x, lanes=LANES, queue_depth=PAPER_DEPTH)
        parts = energies.price(sparse_layer_actions(run, one.matrix.inputs, one.matrix.outputs))
        # pJ a cycle are uW at 1 MHz
        power = {part: power[part] + pj / run.cycles * CLOCK_MHZ / 1000 / PES / len(layers) for part, pj in parts.items()}
        words += run.word_reads / run.cycles / PES / len(layers)
        columns += run.broadcasts / run.cycles / len(layers)
    return power, 1 / words, 1 / columns


def compare(layers: list[Encoded], energies: EnergyTable) -> Table:
    """Power of a PE by part beside the paper's, and why they differ."""
    ours, between_words, between_columns = milliwatts(layers, energies)
    why = {
        "pointer reads": f"a column every {between_columns:.1f} cycles, the mean of layers with long and short ones; the paper "
                         "does not say on what its power was measured",
        "matrix reads": f"a word every {between_words:.1f} cycles: columns begin within words, so not all 8 entries are used",
        "arithmetic": "product and sum alone; the paper's unit has the registers of its pipeline",
        "sums and activations": "a register file of 32-bit sums; the paper's are 16 bits, and it bypasses",
        "queues": "a write and a read of two 32-bit registers a column; the paper's queue is narrower",
        "leading nonzero": "the paper's own figure for a node",
    }
    table = Table(title=f"EIE, mW a PE by part: paper, ours with {energies.name} (mean of {len(layers)} layers), and why")
    for heading in ("part", "paper", "ours", "ratio", "why"):
        table.add_column(heading, justify="left" if heading in ("part", "why") else "right")
    for part, (paper, name) in PAPER_MW.items():
        table.add_row(f"{part} ({name})", f"{paper:.3f}", f"{ours[part]:.3f}", f"{ours[part] / paper:.2f}", why[part])
    table.add_section()
    total = sum(ours.values())
    table.add_row("all", f"{PAPER_TOTAL_MW:.2f}", f"{total:.2f}", f"{total / PAPER_TOTAL_MW:.2f}",
                  f"the paper's has {PAPER_CLOCK_MW} mW of clock network in its parts, ours none, nor leakage")
    return table


def energy(layers: list[Encoded], energies: EnergyTable) -> Table:
    """nJ by part, the total, and mW a PE."""
    table = Table(title=f"Energy of a layer in nJ by part, action counts times 45 nm figures; {PES} PEs, depth {PAPER_DEPTH}, "
                        "64-bit reads")
    table.add_column("layer")
    for part in (*PAPER_MW, "total", f"mW a PE\nat {CLOCK_MHZ} MHz"):
        table.add_column(part.replace(" and ", " and\n"), justify="right")
    for one in layers:
        run = run_layer(one.matrix, one.layer.x, lanes=LANES, queue_depth=PAPER_DEPTH)
        parts = energies.price(sparse_layer_actions(run, one.matrix.inputs, one.matrix.outputs))
        total = sum(parts.values())
        table.add_row(one.layer.name, *(f"{parts[part] / 1000:,.1f}" for part in PAPER_MW), f"{total / 1000:,.1f}",
                      f"{total / run.cycles * CLOCK_MHZ / 1000 / PES:.2f}")
    power, _, _ = milliwatts(layers, energies)
    table.add_section()
    table.add_row("mW a PE, mean", *(f"{power[part]:.3f}" for part in PAPER_MW), "", f"{sum(power.values()):.2f}")
    table.add_row("paper, mW a PE", *(f"{paper:.3f}" for paper, _ in PAPER_MW.values()), "", f"{PAPER_TOTAL_MW:.2f}")
    return table

"""What binary and ternary operands save in operations: the papers' formulas, and the simulator on the papers' assumptions."""

from __future__ import annotations

from typing import Final

from rich.table import Table

from hwsim.systems.machine_file import load_machine
from hwsim.systems.report import LayerReport
from hwsim.systems.run import simulate
from hwsim.systems.work import Product, Tensor, Window, Work, Workload
from intir import BIPOLAR, TERNARY, IntType

#: The papers' layer: 3x3, 256 channels, 14x14, as in ResNet-18.
CHANNELS, KERNEL, SIZE = 256, 9, 14
#: Bits of a word that a processor computes with at a time.
WORD: Final = 64
#: Time of a multiply-accumulate in additions, as TBN states it (recalled).
GAMMA: Final = 1.91


def xnor_net(channels: int, kernel: int) -> float:
    """Rastegari and others, XNOR-Net, ECCV 2016, section 3.2: 64 products a word, and a scale for each output."""
    return WORD * channels * kernel / (channels * kernel + WORD)


def tbn(channels: int, kernel: int, operations: int) -> float:
    """Wan and others, TBN, ECCV 2018: operations on a word against multiply-accumulates of `GAMMA` each, and a scale an output.

    A ternary word takes three: AND, XOR and a bit count; the count of its non-zeros is shared by all filters.  This reading
    gives the paper's 40; the formula itself was not at hand.
    """
    products = channels * kernel
    return WORD * GAMMA * products / (operations * products + WORD * GAMMA)


def layer(activations: IntType, weights: IntType) -> Workload:
    """The layer, with a scale for each output."""
    product = Product(SIZE * SIZE, KERNEL * CHANNELS, CHANNELS, 1, Window((3, 3), (1, 1), (1, 1), (SIZE, SIZE), (SIZE, SIZE)))
    pixels = Tensor(SIZE * SIZE * CHANNELS, activations)
    work = Work("3x3x256", "product", ("",), (pixels,), Tensor(SIZE * SIZE * CHANNELS, activations), product,
                Tensor(KERNEL * CHANNELS * CHANNELS, weights), IntType(-KERNEL * CHANNELS, KERNEL * CHANNELS),
                {"multiply": SIZE * SIZE * CHANNELS})
    return Workload("layer", (work,), pixels)


def simulated(machine: str, workload: Workload, elements: int) -> LayerReport:
    """Run it on `elements` x `elements` of a machine's elements, with `elements` units for scales."""
    overrides = {"array.rows": elements, "array.columns": elements, "vector_lanes": elements}
    return simulate(workload, load_machine(machine, overrides), algorithm="direct").layers[0]


def formulas() -> Table:
    """Ours of each paper's formula beside what the paper states."""
    table = Table(title=f"Fewer operations, from the papers' formulas: 3x3, {CHANNELS} channels")
    for heading in ("formula", "published", "ours"):
        table.add_column(heading, justify="left" if heading == "formula" else "right")
    table.add_row("XNOR-Net, 64 c N / (c N + 64)", "62.27", f"{xnor_net(CHANNELS, KERNEL):.2f}")
    table.add_row("TBN's, two operations a binary word (XNOR, count)", "58 (XNOR-Net, measured)", f"{tbn(CHANNELS, KERNEL, 2):.2f}")
    table.add_row("TBN's, three operations a ternary word (AND, XOR, count)", "40", f"{tbn(CHANNELS, KERNEL, 3):.2f}")
    return table


def simulations() -> tuple[Table, float]:
    """The same from the simulator, and the ratio on XNOR-Net's assumption: one element, scales one after the other."""
    full, binary, ternary = (layer(*types) for types in ((IntType(-32768, 32767),) * 2, (BIPOLAR, BIPOLAR), (TERNARY, BIPOLAR)))
    table = Table(title="The same layer simulated, 45 nm: cycles and energy, float16 / one-bit or ternary operands (ratio)")
    for heading in ("elements", "against", "cycles of products", "scales after them", "all cycles", "energy uJ", "of it array uJ"):
        table.add_column(heading, justify="left" if heading == "against" else "right")
    ratio = 0.0
    for elements in (1, 16):
        whole = simulated("float16_32", full, elements)
        for name, machine, workload in (("XNOR", "xnor_64", binary), ("ternary", "ternary_64", ternary)):
            few = simulated(machine, workload, elements)
            scales = SIZE * SIZE * CHANNELS // elements
            if (elements, name) == (1, "XNOR"):
                ratio = whole.array_cycles / (few.array_cycles + scales)
            table.add_row(f"{elements}x{elements}", name, _ratio(whole.array_cycles, few.array_cycles),
                          _ratio(whole.array_cycles, few.array_cycles + scales), _ratio(whole.cycles, few.cycles),
                          _ratio(whole.total_pj / 1e6, few.total_pj / 1e6),
                          _ratio(whole.energy_pj["array"] / 1e6, few.energy_pj["array"] / 1e6))
    return table, ratio


def _ratio(whole: float, few: float) -> str:
    digits = 0 if whole > 1e4 else 1
    return f"{whole:,.{digits}f} / {few:,.{digits}f} ({whole / few:.1f})"

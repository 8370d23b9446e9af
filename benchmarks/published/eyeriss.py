"""Eyeriss as it was measured, beside the row-stationary model."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.table import Table

from hwsim.energy import EnergyTable
from hwsim.systems.actions import Action
from hwsim.systems.machine import Machine
from hwsim.systems.row_stationary import Chip, Mapping, best_mapping, counts, run_layer, shape_of
from hwsim.systems.run import simulate
from hwsim.systems.topologies import topology
from hwsim.systems.work import Work, Workload
from intir import IntType

HERE: Final = Path(__file__).parent
#: Network, frames of a batch, and what every layer's ratio of ours to the chip's may be, for what is held to a bound.
NETWORKS: Final = {"alexnet": 4, "vgg16": 3}
WORD: Final = IntType(-(1 << 15), (1 << 15) - 1)
#: How the chip maps AlexNet: JSSC table III has the parameters (recalled); q, r and t of conv3 follow from its buffer accesses.
ALEXNET: Final = {
    "CONV1": Mapping(96, 1, 7, 16, 1, 1, 2), "CONV2": Mapping(64, 1, 27, 16, 2, 1, 1), "CONV3": Mapping(64, 4, 13, 16, 3, 2, 2),
    "CONV4": Mapping(64, 4, 13, 16, 3, 2, 2), "CONV5": Mapping(64, 4, 13, 16, 3, 2, 2),
}
#: Channels that the chip sums up in a pass in VGG-16's blocks, by its buffer accesses: sums are read and written once a pass.
VGG_CHANNELS: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}


@dataclass(frozen=True)
class Measured:
    """A row of the paper's tables."""

    layer: str
    power_mw: float
    total_ms: float
    processing_ms: float
    elements: int
    zeros_percent: float
    buffer_mb: float
    dram_mb: float


@dataclass(frozen=True)
class Modelled:
    """The same of ours; power by table."""

    elements: int
    processing_ms: float
    buffer_mb: float
    dram_mb: float
    power_mw: tuple[float, ...]
    mapping: Mapping


def measured(network: str) -> list[Measured]:
    """The paper's."""
    with (HERE / f"eyeriss_{network}.csv").open(encoding="utf-8") as file:
        return [Measured(row["layer"], float(row["power_mw"]), float(row["total_ms"]), float(row["processing_ms"]),
                         int(row["elements"]), float(row["zeros_percent"]), float(row["buffer_mb"]), float(row["dram_mb"]))
                for row in csv.DictReader(line for line in file if not line.startswith("#"))]


def works(network: str) -> Iterator[tuple[Measured, Work]]:
    """Convolutions with the zeros that were measured, 16 bits; an output is as sparse as the next layer's input."""
    rows = measured(network)
    layers = [work for work in topology(network).works if work.product is not None and work.product.window is not None]
    for number, (row, work) in enumerate(zip(rows, layers, strict=True)):
        after = rows[min(number + 1, len(rows) - 1)].zeros_percent
        assert work.weights is not None
        yield row, replace(work, weights=replace(work.weights, type=WORD),
                           reads=(replace(work.reads[0], type=WORD, density=1 - row.zeros_percent / 100),),
                           output=replace(work.output, type=WORD, density=1 - after / 100))


def mapping_of(network: str, row: Measured, work: Work, chip: Chip) -> Mapping:
    """The chip's for AlexNet; for VGG-16 our best one that sums up as many channels in a pass as the chip."""
    if network == "alexnet":
        return ALEXNET[row.layer]
    assert work.product is not None
    best = best_mapping(shape_of(work.product, NETWORKS[network], chip), chip, VGG_CHANNELS[int(row.layer[4])])
    assert best is not None
    return best


def modelled(work: Work, machine: Machine, batch: int, mapping: Mapping, tables: list[EnergyTable]) -> Modelled:
    """Run a layer, and price what happens on the chip: elements, register files, network, buffer, filter memory."""
    assert work.product is not None
    chip = Chip.of(machine)
    took = counts(shape_of(work.product, batch, chip), mapping)
    run = run_layer(work, machine, batch, mapping)
    buffer, filters = (next(sram for sram in machine.srams if what in sram.holds) for what in ("sums", "weights"))
    actions = dict(run.actions)
    for (what, direction), bits in run.sram_bits.items():
        sram = filters if what == "weights" else buffer
        action = Action(f"sram_{direction}", sram.width_bits, bytes=sram.usable_bytes // sram.banks)
        actions[what + direction] = {action: bits / sram.width_bits}
    seconds = (run.array_cycles + run.fill_cycles) / (machine.clock_mhz * 1e6)
    return Modelled(took.active_elements, seconds * 1e3, (took.input_reads + took.sum_moves) * 2 / 1e6,
                    sum(run.dram_bytes.values()) / 1e6,
                    tuple(sum(table.price(actions).values()) * 1e-9 / seconds for table in tables), mapping)


def total_ms(work: Work, machine: Machine, batch: int) -> float:
    """With loading and storing, as `simulate` has it for a layer of its own, with our search's mapping."""
    alone = replace(work, inputs=("",), operations={})
    return simulate(Workload(work.name, (alone,), alone.reads[0]), machine, batch=batch).seconds * 1e3


def compare(network: str, machine: Machine, tables: list[EnergyTable], *,
            free: bool = False) -> tuple[Table, list[tuple[Measured, Modelled]]]:
    """Side by side: the chip's figure, ours, the ratio.

    Parameters
    ----------
    network : str
    machine : Machine
    tables : list of EnergyTable
        Power is printed for each.
    free : bool
        Whether to take the mapping that our search likes best.
    """
    batch, chip = NETWORKS[network], Chip.of(machine)
    pairs, totals = [], []
    for row, work in works(network):
        assert work.product is not None
        mapping = best_mapping(shape_of(work.product, batch, chip), chip) if free else mapping_of(network, row, work, chip)
        assert mapping is not None
        pairs.append((row, modelled(work, machine, batch, mapping, tables)))
        totals.append(total_ms(work, machine, batch) if free else 0.0)
    how = "the chip's mapping" if network == "alexnet" else "as many channels a pass as the chip"
    table = Table(title=f"Eyeriss, {network}, batch {batch}: measured / ours (ratio); {'our mapping' if free else how}")
    powers = [f"power mW,\n{one.name}" for one in tables]
    total_heading = ["total ms"] if free else []
    for heading in ("layer", "elements", *total_heading, "processing ms", "buffer MB", "DRAM MB", *powers, "mapping"):
        table.add_column(heading, justify="left" if heading in ("layer", "mapping") else "right")
    for (row, ours), total in zip(pairs, totals, strict=True):
        table.add_row(row.layer, f"{row.elements} / {ours.elements}", *([_beside(row.total_ms, total)] if free else []),
                      _beside(row.processing_ms, ours.processing_ms),
                      _beside(row.buffer_mb, ours.buffer_mb), _beside(row.dram_mb, ours.dram_mb),
                      *(_beside(row.power_mw, power) for power in ours.power_mw), str(ours.mapping))
    table.add_section()
    both = [[sum(getattr(one, name) for one in side) for name in ("processing_ms", "buffer_mb", "dram_mb")]
            for side in zip(*pairs, strict=True)]
    power = sum(row.power_mw * row.processing_ms for row, _ in pairs) / both[0][0]
    mean = [sum(ours.power_mw[at] * ours.processing_ms for _, ours in pairs) / both[1][0] for at in range(len(tables))]
    summed = [_beside(sum(row.total_ms for row, _ in pairs), sum(totals))] if free else []
    table.add_row("all", "", *summed, *(_beside(chip_total, our_total) for chip_total, our_total in zip(*both, strict=True)),
                  *(_beside(power, one) for one in mean), "")
    return table, pairs


def _beside(chip: float, ours: float) -> str:
    return f"{chip:,.1f} / {ours:,.1f} ({ours / chip:.2f})"

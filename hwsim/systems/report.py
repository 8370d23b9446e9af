"""What a run on a machine took, layer by layer and in all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .actions import Action

#: Why an array may wait, and the word for the layer that waits most for it; `array` is what bounds a layer that waits least.
STALLS = ("dram_read", "dram_write", "sram", "fill", "vector")


def bound_of(array_cycles: int, stall_cycles: Mapping[str, int]) -> str:
    """What takes most of a layer's time: ``array``, or a stall."""
    taken = {"array": array_cycles, **stall_cycles}
    return max(taken, key=lambda cause: taken[cause])


@dataclass(frozen=True)
class Traffic:
    """Bytes that cross one level's port in one direction.

    Parameters
    ----------
    level : str
        ``dram``, or the name of an SRAM, or ``registers``, or ``array`` (between elements).
    direction : str
        ``read`` or ``write``.
    what : str
        ``activations``, ``weights``, ``sums`` or ``outputs``.
    bytes : float
    """

    level: str
    direction: str
    what: str
    bytes: float


@dataclass(frozen=True)
class LayerReport:
    """One layer of a run, all frames of the batch.

    Parameters
    ----------
    name, kind : str
    arithmetic : str
        As in `work.Work.arithmetic`.
    algorithm : str
        One of `machine.ALGORITHMS` for a convolution, ``gemm`` for a dense layer, else the kind.
    mapping : str
        Tiles and order of loops, for people.
    macs : int
        Multiply-accumulates that the layer is, whatever the algorithm does.
    start_cycle : int
    cycles : int
        ``array_cycles`` and all stalls.
    array_cycles : int
        In which the array (or the vector unit, for a layer without products) works.
    stall_cycles : cause -> cycles
        One of `STALLS`; only those that occur.
    utilisation : float
        ``macs / (cycles * peak)`` for products, else 0.  Above 1 where Winograd or FFT saves products, or EIE skips zeros.
    traffic : tuple of Traffic
    actions : component -> action -> count
        Components as people call them: ``array``, ``registers``, an SRAM's name, ``vector``, ``dram``, ``leakage``.
    energy_pj : component -> energy
    footprint_bytes : level -> greatest number of bytes in use
    dram_peak_gb_per_s : float
        Over the tile that asks most.
    bound : str
        ``array`` or the stall that costs most.
    """

    name: str
    kind: str
    arithmetic: str
    algorithm: str
    mapping: str
    macs: int
    start_cycle: int
    cycles: int
    array_cycles: int
    stall_cycles: Mapping[str, int]
    utilisation: float
    traffic: tuple[Traffic, ...]
    actions: Mapping[str, Mapping[Action, float]]
    energy_pj: Mapping[str, float]
    footprint_bytes: Mapping[str, float]
    dram_peak_gb_per_s: float
    bound: str

    def bytes_at(self, level: str, direction: str | None = None, what: str | None = None) -> float:
        """Bytes at a level, in one direction or both, of one kind or all."""
        return sum(one.bytes for one in self.traffic if one.level == level and direction in (None, one.direction)
                   and what in (None, one.what))

    @property
    def total_pj(self) -> float:
        """Over all components."""
        return sum(self.energy_pj.values())

    @property
    def macs_per_dram_byte(self) -> float:
        """Arithmetic intensity; infinite where nothing comes from DRAM."""
        moved = self.bytes_at("dram")
        return self.macs / moved if moved else float("inf")


@dataclass(frozen=True)
class SystemReport:
    """A network on a machine.

    Parameters
    ----------
    network, machine : str
    batch : int
        Frames that the run computes, layer by layer.
    clock_mhz : float
    peak_macs : int
        Of the array, a cycle.
    dram_gb_per_s : float
    energy_table : str
    layers : tuple of LayerReport, in the order of time
    memory_model : str
        How memory was modelled, in a sentence.
    notes : tuple of str
        What a reader must know: passes of wide operands, a layer that had to be approximated.
    pipelined_cycles : int
        Of all frames where the layers run at the same time, each over the whole run; 0 where they run one after the other.
    """

    network: str
    machine: str
    batch: int
    clock_mhz: float
    peak_macs: int
    dram_gb_per_s: float
    energy_table: str
    layers: tuple[LayerReport, ...]
    memory_model: str
    notes: tuple[str, ...] = ()
    pipelined_cycles: int = 0

    @property
    def cycles(self) -> int:
        """Of all frames."""
        return self.pipelined_cycles or sum(layer.cycles for layer in self.layers)

    @property
    def macs(self) -> int:
        """Of all frames."""
        return sum(layer.macs for layer in self.layers)

    @property
    def seconds(self) -> float:
        """Of all frames."""
        return self.cycles / (self.clock_mhz * 1e6)

    @property
    def frames_per_second(self) -> float:
        """Frames of a batch over its time."""
        return self.batch / self.seconds

    @property
    def energy_pj(self) -> dict[str, float]:
        """By component."""
        total: dict[str, float] = {}
        for layer in self.layers:
            for component, energy in layer.energy_pj.items():
                total[component] = total.get(component, 0.0) + energy
        return total

    @property
    def total_pj(self) -> float:
        """Over all layers and components."""
        return sum(self.energy_pj.values())

    @property
    def dram_bytes(self) -> float:
        """Read and written."""
        return sum(layer.bytes_at("dram") for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: everything above, actions as lists."""
        made = dataclasses.asdict(dataclasses.replace(self, layers=()))
        made["layers"] = [_layer_dict(layer) for layer in self.layers]
        for key in ("cycles", "macs", "seconds", "frames_per_second", "energy_pj", "total_pj", "dram_bytes"):
            made[key] = getattr(self, key)
        return made


def _layer_dict(layer: LayerReport) -> dict[str, Any]:
    made = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    made |= {"traffic": [dataclasses.asdict(one) for one in layer.traffic], "stall_cycles": dict(layer.stall_cycles),
             "energy_pj": dict(layer.energy_pj), "footprint_bytes": dict(layer.footprint_bytes), "total_pj": layer.total_pj,
             "actions": [{"component": component, **dataclasses.asdict(action), "count": count}
                         for component, counts in layer.actions.items() for action, count in counts.items()]}
    return made

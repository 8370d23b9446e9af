"""How long a network takes on a machine, layer by layer, what moves, and why it waits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hwsim.energy import EnergyTable, energy_table
from intir import IntType

from . import eie_array, row_stationary
from .convolution import ways
from .layer import Context, array_layer, tiled_layer, vector_layer
from .machine import ALGORITHMS, Array, Machine
from .memory import Memory, RunError, TileError, resident
from .report import LayerReport, SystemReport
from .work import Work, Workload

__all__ = ["RunError", "simulate"]

MEMORY_MODEL = (
    "Layer by layer; tiles of each layer are loaded from DRAM at its sustained bandwidth in whole bursts, each load after its "
    "latency, behind the computing of the tile before where memories are double-buffered; SRAM banks read and write one word a "
    "cycle each; activations stay on chip between layers where they fit.")


def simulate(workload: Workload, machine: Machine, *, batch: int = 1, algorithm: str | None = None,
             table: EnergyTable | None = None) -> SystemReport:
    """Run a network.

    Parameters
    ----------
    workload : Workload
    machine : Machine
        Of any kind but ``dataflow`` (`dataflow_machine.simulate_graph`).
    batch : int
        Frames that each layer computes before the next one begins.
    algorithm : str, optional
        One of the machine's algorithms, for all convolutions that it can compute; by default the fastest for each layer, of
        equally fast ones that with the least energy.
    table : EnergyTable, optional
        By default the machine's own.

    Raises
    ------
    RunError
        If the machine lacks a memory, a tile does not fit, or no layer can be computed with the wanted algorithm.
    """
    if batch < 1:
        raise RunError(f"a batch of {batch} frames; give 1 or more")
    if machine.array.kind == "dataflow":
        raise RunError(f"machine {machine.name} is a design of its own for each network; give the network itself "
                       "(`dataflow_machine.simulate_graph`)")
    memory = Memory(machine)
    table = table if table is not None else energy_table(machine.energy)
    algorithms = _algorithms(workload, machine, algorithm)
    works = workload.works
    if machine.array.arithmetic == "float":
        works = tuple(_as_floats(work, machine.array) for work in works)
    # A row-stationary array's mapping takes all of its buffer, and Eyeriss has every layer's activations in DRAM.
    stay = machine.array.kind != "row_stationary"
    here, used = resident(works, memory, batch) if stay else ([set[str]() for _ in works], [0.0] * len(works))
    weights_here = machine.array.kind == "eie" and eie_array.all_on_chip(works, machine)
    notes = ["all compressed weights are on chip before the run begins"] if weights_here else []
    done: dict[object, tuple[LayerReport, tuple[str, ...]]] = {}
    layers: list[LayerReport] = []
    start = 0
    for position, work in enumerate(works):
        context = Context(memory, table, batch, tuple(name in here[position] for name in work.inputs),
                          work.name in here[position] and work.name not in workload.outputs, used[position], weights_here)
        key = (_key(work), context.inputs_here, context.output_here, context.resident_bytes)
        if key not in done:
            done[key] = _layer(work, context, algorithms)
        layer, said = done[key]
        layers.append(replace(layer, name=work.name, arithmetic=workload.works[position].arithmetic, start_cycle=start))
        notes += [note.replace(layer.name, work.name, 1) for note in said]
        start += layer.cycles
    return SystemReport(workload.name, machine.name, batch, machine.clock_mhz, machine.array.peak_macs, machine.dram.gb_per_s,
                        table.name, tuple(layers), MEMORY_MODEL, tuple(dict.fromkeys(notes)))


def _layer(work: Work, context: Context, algorithms: tuple[str, ...]) -> tuple[LayerReport, tuple[str, ...]]:
    """The fastest way to compute a layer."""
    machine = context.memory.machine
    if work.product is None:
        return vector_layer(work, context), ()
    if machine.array.kind == "eie":
        return array_layer(work, context, eie_array.run_layer(work, machine, context.batch))
    if machine.array.kind == "row_stationary":
        return array_layer(work, context, row_stationary.run_layer(work, machine, context.batch))
    found, refused = ways(work, machine.array, algorithms if work.product.window else ("direct",))
    notes = list(refused) if len(algorithms) == 1 else []
    if not found:
        found, _ = ways(work, machine.array, ("direct",))
        notes = [f"{note}; computed directly" for note in notes]
    made, small = [], []
    for way in found:
        try:
            made.append((tiled_layer(work, context, way), way))
        except TileError as error:
            small.append(error)
    if not made and not any(way.algorithm in ("direct", "gemm") for way in found):  # one that was asked for by name
        way = ways(work, machine.array, ("direct",))[0][0]
        made = [(tiled_layer(work, context, way), way)]
        notes.append(f"{work.name}: no {found[0].algorithm}, its tiles do not fit; computed directly")
    if not made:
        raise small[0]
    layer, way = min(made, key=lambda one: (one[0].cycles, one[0].total_pj))
    return layer, (*notes, *way.notes)


def _as_floats(work: Work, array: Array) -> Work:
    """The same with operands stored as the array's floats."""
    kinds = [IntType(-(2**(bits - 1)), 2**(bits - 1) - 1) for bits in (array.activation_bits, array.weight_bits)]
    return replace(work, reads=tuple(replace(one, type=kinds[0]) for one in work.reads), output=replace(work.output, type=kinds[0]),
                   weights=None if work.weights is None else replace(work.weights, type=kinds[1]))


def _algorithms(workload: Workload, machine: Machine, algorithm: str | None) -> tuple[str, ...]:
    """What to try for each convolution."""
    if algorithm is None or machine.array.kind not in ("systolic", "popcount"):
        return machine.algorithms
    if algorithm not in ALGORITHMS:
        raise RunError(f"there is no algorithm {algorithm}; there is {', '.join(ALGORITHMS)}")
    if algorithm not in machine.algorithms:
        raise RunError(f"machine {machine.name} has no {algorithm}; it has {', '.join(machine.algorithms)}")
    convolutions = [work for work in workload.works if work.product is not None and work.product.window is not None]
    refused = [why for work in convolutions for why in ways(work, machine.array, (algorithm,))[1]]
    if convolutions and len(refused) == len(convolutions):
        raise RunError(f"no layer of {workload.name} can be computed with {algorithm} on {machine.name}; {refused[0]}")
    return (algorithm,)


def _key(work: Work) -> Iterable[object]:
    """What makes two layers the same."""
    return (work.kind, work.reads, work.output, work.product, work.weights, work.sums, tuple(sorted(work.operations.items())),
            work.constant_bits, id(work.matrix) if work.matrix is not None else None)

"""A plan to start from: the cheapest folding of every layer that reaches a wanted rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from intir import Graph

from .design import ample_design, least_design
from .devices import DEVICES
from .engines.memories import Resources
from .fit import fits
from .layers import Layer, collect, source_of
from .plan import FAMILIES, MAX_CLOCK_MHZ, MIN_CLOCK_MHZ, LayerPlan, Plan, PlanError, check_device, fingerprint
from .queues import link_luts
from .sparseplan import sparse_entries

#: Without a wanted rate: as many synapses in parallel, over all layers, as a mid-size FPGA carries with ease.
DEFAULT_SYNAPSES = 1024
#: What a DSP counts in LUTs where foldings are compared: about those of a product of eight bits.
DSP_LUTS = 100
#: Slower than any folding is.
MAX_TARGET = 2**62


def auto_plan(graph: Graph, *, fps: float | None = None, clock_mhz: float = 100.0, family: str | None = None,
              folding: Sequence[tuple[int, int]] | None = None, device: str | None = None, sparse: int | None = None) -> Plan:
    """Fold every layer.

    Parameters
    ----------
    graph : Graph
    fps : float, optional
        Frames per second wanted at `clock_mhz`; without it, the fastest plan of at most 1,024 parallel synapses.
    clock_mhz : float
    family : str, optional
        By default that of the device, or ``xilinx``.
    folding : sequence of (pe, simd), optional
        For the `mvu` layers in order; the other layers follow their rate.
    device : str, optional
        One of `devices.DEVICES`.  Without a rate and a folding, the fastest plan of the usual
        targets that fits it.
    sparse : int, optional
        Put pruned MatMuls on sparse engines of so many processing elements.

    Raises
    ------
    PlanError
        If the rate is beyond one frame per cycle of full unrolling, `folding` has another number of layers, or there is no such
        clock or family.
    """
    if not MIN_CLOCK_MHZ <= clock_mhz <= MAX_CLOCK_MHZ:
        raise PlanError(f"a clock of {clock_mhz:g} MHz; give one between {MIN_CLOCK_MHZ} and {MAX_CLOCK_MHZ}")
    if device is not None:
        family = family or (DEVICES[device].family if device in DEVICES else "")
        check_device(device, family, "the plan")
    family = family or FAMILIES[0]
    if family not in FAMILIES:
        raise PlanError(f"the FPGA family is '{family}'; choose one of {', '.join(FAMILIES)}")
    pruned = {} if sparse is None else sparse_entries(graph, sparse)
    found = collect(graph, pruned)
    products = [layer for layer in found if layer.has_simd]
    if folding is not None and len(folding) != len(products):
        raise PlanError(f"{len(folding)} foldings given, but the network has {len(products)} matrix layers "
                        f"({', '.join(layer.name for layer in products)}); give one PE,SIMD for each")
    fixed = pruned | {layer.name: LayerPlan(layer.engine, *pair) for layer, pair in zip(products, folding or [], strict=False)}
    for layer in products:
        if layer.name in fixed:
            layer.check(fixed[layer.name])
    if fps is not None:
        if not fps > 0:
            raise PlanError(f"{fps} frames per second wanted; give a positive rate")
        target = int(min(clock_mhz * 1e6 / fps, MAX_TARGET))
        least = max(_least_cycles(layer, pruned) for layer in found)
        if target < least:
            rate = clock_mhz * 1e6 / least
            most = f"{math.floor(rate):,}" if rate >= 1 else f"{rate:g}"
            raise PlanError(f"{fps:g} frames per second at {clock_mhz:g} MHz leave {target} cycles per frame, but the network "
                            f"takes at least {least}; lower the rate to {most} or raise the clock")
        for name, entry in fixed.items():
            cycles = next(layer for layer in found if layer.name == name).cycles(entry)
            if cycles > target:
                raise PlanError(f"layer '{name}' with {entry.folding} takes {cycles} cycles per frame, but "
                                f"{fps:g} frames per second at {clock_mhz:g} MHz leave {target}; fold it less, or give no rate")
    elif folding is not None:
        target = max(layer.cycles(fixed[layer.name]) for layer in found if layer.name in fixed)
    else:
        target = _default_target([layer for layer in found if layer.name not in pruned])
        target = max([target, *(layer.cycles(pruned[layer.name]) for layer in found if layer.name in pruned)])
    plan = Plan(graph.name, fingerprint(graph), _folded(graph, found, target, fixed, family), family, clock_mhz, device=device)
    if device is not None and fps is None and folding is None:
        slowest = max([layer.cycles(min(layer.foldings(), key=lambda one: one.pe * (one.simd or 1))) for layer in found
                       if layer.name not in pruned], default=0)
        while not fits(taken := _taken(graph, plan), DEVICES[device]):
            if taken.dsps > DEVICES[device].dsps and fits(_taken(graph, logic := _without_dsps(plan, products)), DEVICES[device]):
                plan = logic
                break
            if target >= slowest:
                break
            target *= 2
            plan = replace(plan, layers=_folded(graph, found, target, fixed, family))
    return _ordered(graph, plan, products)


def _taken(graph: Graph, plan: Plan) -> Resources:
    return sum(least_design(graph, plan).resources.values(), Resources())


def _without_dsps(plan: Plan, products: list[Layer]) -> Plan:
    """The same with its products in LUTs."""
    logic = {layer.name: replace(plan.layers[layer.name], multiplier="logic")
             for layer in products if "multiplier" in layer.options}
    return replace(plan, layers=plan.layers | logic)


def _folded(graph: Graph, found: list[Layer], target: int, fixed: dict[str, LayerPlan], family: str) -> dict[str, LayerPlan]:
    """Every layer's entry, folded to keep to `target` cycles per frame unless it is fixed."""
    readers: dict[str, list[tuple[Layer, int]]] = {}
    for layer in found:
        for position, value in enumerate(layer.sources):
            readers.setdefault(source_of(graph, value), []).append((layer, position))
    entries: dict[str, LayerPlan] = {}
    for layer in reversed(found):  # so that a layer can match the width its first reader takes
        wanted = next((reader.lanes_in(entries[reader.name])[position] for reader, position in readers.get(layer.value, [])), None)
        entries[layer.name] = fixed.get(layer.name) or _fold(layer, target, wanted, family)
    return {layer.name: entries[layer.name] for layer in found}


def _ordered(graph: Graph, plan: Plan, products: list[Layer]) -> Plan:
    """Choose each product's order, from input to output, for the earliest first output."""
    best = ample_design(graph, plan).rate()
    for layer in products:
        changed = replace(plan, layers=plan.layers | {layer.name: replace(plan.layers[layer.name], order="inputs")})
        rate = ample_design(graph, changed).rate()
        if rate < best:
            plan, best = changed, rate
    return plan


def _least_cycles(layer: Layer, fixed: dict[str, LayerPlan]) -> int:
    """Cycles per frame of a layer when it is unrolled as far as it goes, unless its folding is fixed."""
    return min(layer.cycles(entry) for entry in ([fixed[layer.name]] if layer.name in fixed else layer.foldings()))


def _default_target(found: list[Layer]) -> int:
    """Fewest cycles per frame, among powers of two, at which the products need no more than the default synapses."""
    target = 1
    least = max([_least_cycles(layer, {}) for layer in found], default=1)
    while target < least or sum(-(-layer.operations // target) for layer in found) > DEFAULT_SYNAPSES:
        target *= 2
    return target


def _fold(layer: Layer, target: int, wanted: int | None, family: str) -> LayerPlan:
    """The folding that takes least among those that keep to `target` cycles per frame, with the stream behind it.

    `wanted` is the number of lanes that its reader takes.
    """
    entries = layer.foldings()
    fitting = [entry for entry in entries if layer.cycles(entry) <= target] or [min(entries, key=layer.cycles)]
    if not layer.has_simd:
        # As narrow as the rate allows, but so that one converter at most stands before the consumer.
        return min(fitting, key=lambda entry: (wanted is not None and entry.pe % wanted != 0 and wanted % entry.pe != 0,
                                               layer.luts(entry, family) if layer.takes_taps else 0, entry.pe))
    least = min(entry.pe * (entry.simd or 1) for entry in fitting)
    near = [entry for entry in fitting if entry.pe * (entry.simd or 1) <= 2 * least]

    def taken(entry: LayerPlan) -> float:
        own = layer.resources(entry, family)
        return own.luts + DSP_LUTS * own.dsps + link_luts(layer.out_type, entry.pe, wanted or entry.pe, family)

    return min(near, key=lambda entry: (taken(entry), entry.pe))

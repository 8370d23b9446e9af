"""A plan to start from: the cheapest folding of every layer that reaches a wanted rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from intir import Graph

from .design import ample_design, divisors, engine_stage, is_common, pe_size
from .layers import Layer, layers
from .plan import FAMILIES, MAX_CLOCK_MHZ, LayerPlan, Plan, PlanError, fingerprint

#: Without a wanted rate: as many synapses in parallel, over all layers, as a mid-size FPGA carries with ease.
DEFAULT_SYNAPSES = 1024
#: Slower than any folding is.
MAX_TARGET = 2**62


def auto_plan(graph: Graph, *, fps: float | None = None, clock_mhz: float = 100.0, family: str = "xilinx",
              folding: Sequence[tuple[int, int]] | None = None) -> Plan:
    """Fold every layer.

    Parameters
    ----------
    graph : Graph
    fps : float, optional
        Frames per second wanted at `clock_mhz`; without it, the fastest plan of at most 1,024 parallel synapses.
    clock_mhz : float
    family : str
    folding : sequence of (pe, simd), optional
        For the `mvu` layers in order; the other layers follow their rate.

    Raises
    ------
    PlanError
        If the rate is beyond one frame per cycle of full unrolling, `folding` has another number of layers, or there is no such
        clock or family.
    """
    if not 0 < clock_mhz <= MAX_CLOCK_MHZ:
        raise PlanError(f"a clock of {clock_mhz:g} MHz; give one between 0 and {MAX_CLOCK_MHZ}")
    if family not in FAMILIES:
        raise PlanError(f"the FPGA family is '{family}'; choose one of {', '.join(FAMILIES)}")
    found = layers(graph)
    products = [layer for layer in found if layer.engine == "mvu"]
    if folding is not None and len(folding) != len(products):
        raise PlanError(f"{len(folding)} foldings given, but the network has {len(products)} matrix layers "
                        f"({', '.join(layer.name for layer in products)}); give one PE,SIMD for each")
    fixed = {layer.name: pair for layer, pair in zip(products, folding or [], strict=False)}
    if fps is not None:
        if not fps > 0:
            raise PlanError(f"{fps} frames per second wanted; give a positive rate")
        target = int(min(clock_mhz * 1e6 / fps, MAX_TARGET))
        least = max(_least_cycles(layer) for layer in found)
        if target < least:
            raise PlanError(f"{fps:g} frames per second at {clock_mhz:g} MHz leave {target} cycles per frame, but the network "
                            f"takes at least {least}; lower the rate or raise the clock")
    elif fixed:
        target = max(layer.rounds * (layer.outputs // max(1, pair[0])) * (layer.inputs // max(1, pair[1]))
                     for layer, pair in zip(products, folding or [], strict=True))
    else:
        target = _default_target(found)
    entries: dict[str, LayerPlan] = {}
    for layer in reversed(found):  # so that a layer can match the width its consumer takes
        behind = next(iter(reversed(entries.values())), None)
        entries[layer.name] = _fold(graph, layer, target, fixed.get(layer.name), behind)
    plan = Plan(graph.name, fingerprint(graph), {layer.name: entries[layer.name] for layer in found}, family, clock_mhz)
    return _ordered(graph, plan, products)


def _ordered(graph: Graph, plan: Plan, products: list[Layer]) -> Plan:
    """Choose each product's order, from input to output, for the earliest first output."""
    best = ample_design(graph, plan).rate()
    for layer in products:
        changed = replace(plan, layers=plan.layers | {layer.name: replace(plan.layers[layer.name], order="inputs")})
        rate = ample_design(graph, changed).rate()
        if rate < best:
            plan, best = changed, rate
    return plan


def _least_cycles(layer: Layer) -> int:
    """Cycles per frame of a layer when it is unrolled as far as it goes."""
    return 1 if is_common(layer) else layer.rounds


def _default_target(found: list[Layer]) -> int:
    """Fewest cycles per frame, among powers of two, at which the products need no more than the default synapses."""
    target = 1
    while True:
        work = [layer.inputs * layer.outputs * layer.rounds for layer in found if layer.engine == "mvu"]
        if sum(-(-macs // target) for macs in work) <= DEFAULT_SYNAPSES and all(_least_cycles(layer) <= target for layer in found):
            return target
        target *= 2


def _fold(graph: Graph, layer: Layer, target: int, fixed: tuple[int, int] | None,
          behind: LayerPlan | None) -> LayerPlan:
    """The folding with the fewest LUTs among those that keep to `target` cycles per frame."""
    if fixed is not None:
        return LayerPlan(layer.engine, *fixed)
    rounds = _least_cycles(layer)
    wanted = None if behind is None else (behind.simd or behind.pe)
    if layer.engine != "mvu":
        lanes = [d for d in divisors(pe_size(layer)) if rounds * (pe_size(layer) // d) <= target] or [pe_size(layer)]
        # As narrow as the rate allows, but so that one converter at most stands before the consumer.
        return LayerPlan(layer.engine, min(lanes, key=lambda d: (wanted is not None and d % wanted and wanted % d, d)))
    ranges = graph.ranges
    pairs = [(pe, simd) for pe in divisors(layer.outputs) for simd in divisors(layer.inputs)
             if layer.rounds * (layer.outputs // pe) * (layer.inputs // simd) <= target] or [(layer.outputs, layer.inputs)]
    least = min(pe * simd for pe, simd in pairs)

    def cost(pair: tuple[int, int]) -> tuple[int, ...]:
        # The plain popcount ranks foldings as well as the planned tree, which takes seconds to find for each width.
        stage = engine_stage("", layer, LayerPlan("mvu", *pair), "generic", ranges)
        return stage.engine.luts, pair[0]

    near = [pair for pair in pairs if pair[0] * pair[1] <= 2 * least]
    return LayerPlan("mvu", *min(near, key=cost))

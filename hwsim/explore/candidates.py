"""How a layer may be built: every folding with what it takes of a device, its cycles, and its energy, without its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from intir import IntType

from ..energy import EnergyTable
from ..energy.frame import Counts, counts_pj, engine_counts, summed
from ..engines.base import Engine, Word
from ..engines.memories import Resources
from ..engines.mvu import ORDERS, Mvu
from ..engines.popcount import quick_tree_luts
from ..engines.unrolled import quick_luts
from ..engines.width import converters
from ..layers import Flow, Layer
from ..layers.product import ProductLayer
from ..plan import LayerPlan, PlanError
from ..systems.actions import Action

#: A folding is dropped if another is as fast and takes this share of its LUTs, and no more of the rest.  What stands between
#: two layers depends on the lanes of both, so a layer's choice of widths must not be judged too closely without its neighbours.
CLEARLY_SMALLER = 0.75
#: Weights of a layer whose adders are searched for; those of a larger one are estimated.
MOST_ADDERS_FOUND = 4096


@dataclass(frozen=True)
class Candidate:
    """One way to build a layer.

    Parameters
    ----------
    entry : LayerPlan
    cycles : int
        Least clock cycles a frame.
    resources : Resources
        Of its own blocks, without queues and converters.
    energy_pj : float
        Of its own blocks, a frame.
    lanes_in : tuple of int
        Of each of its inputs.
    lanes_out : int
    type_out : IntType
        Elements of its output, as they travel.
    """

    entry: LayerPlan
    cycles: int
    resources: Resources
    energy_pj: float
    lanes_in: tuple[int, ...]
    lanes_out: int
    type_out: IntType


@dataclass
class _Alone:
    """Builds a layer by itself and counts what it takes; the `Builder` that the layer sees.

    Popcount trees are those of no family, corrected by what such trees of the target take: finding them takes seconds.
    """

    target: str
    family: str = "generic"
    taken: Resources = field(default_factory=Resources)
    counts: list[Counts] = field(default_factory=list)

    def block(self, suffix: str, engine: Engine, inputs: list[Flow], words_out: int, rounds: int, **constants: object) -> Flow:
        """Count a block."""
        self.taken += engine.resources(self.target)
        if isinstance(engine, Mvu):
            trees = engine.products.counters
            exact = sum(quick_tree_luts(tree.n_bits, tree.pairs, self.target) - tree.luts for tree in trees)
            self.taken += Resources(round(engine.pe * exact))
        self.counts.append(engine_counts(engine, rounds, self.target))
        return Flow(0, engine.word_out, words_out)

    def converted(self, flow: Flow, lanes: int) -> Flow:
        """Count the converters."""
        for converter in converters(flow.word.lanes, lanes, flow.word.type):
            flow = self.block("width", converter, [flow], flow.elements // converter.lanes_out, 1)
        return flow


def candidate(layer: Layer, entry: LayerPlan, family: str, table: EnergyTable) -> Candidate:
    """What an entry for a layer takes.  A large layer that is unrolled is estimated, since its adders take long to find."""
    lanes = layer.lanes_in(entry)
    unrolled = isinstance(layer, ProductLayer) and layer.is_unrolled(entry)
    if isinstance(layer, ProductLayer) and unrolled and layer.weights.size > MOST_ADDERS_FOUND:
        luts = quick_luts(layer.weights, layer.x_types[0])
        builder = _Alone(family, taken=Resources(luts), counts=[{"compute": {Action("int_add", 1): float(luts * layer.rounds)}}])
        if layer.taps is not None:
            flow = Flow(0, Word(lanes[0], layer.x_types[0]), _words(layer, 0, lanes[0]))
            layer.windowed(layer.taps, builder, entry, flow)
        word = Word(entry.pe, layer.out_type)
    else:
        builder = _Alone(family, family if unrolled else "generic")
        flows = [Flow(0, Word(wide, kind), _words(layer, number, wide))
                 for number, (wide, kind) in enumerate(zip(lanes, layer.x_types, strict=True))]
        word = layer.build(builder, entry, flows).word
    energy = counts_pj(summed(builder.counts), table)
    return Candidate(entry, layer.cycles(entry), builder.taken, energy, lanes, word.lanes, word.type)


def candidates(layer: Layer, family: str, room: Resources, table: EnergyTable,
               entries: Sequence[LayerPlan] | None = None) -> list[Candidate]:
    """Every sensible way to build a layer within a room, fastest first; none, if nothing of it fits.

    Parameters
    ----------
    layer : Layer
    family : str
        FPGA family.
    room : Resources
    table : EnergyTable
        That prices its energy.
    entries : sequence of LayerPlan, optional
        Foldings to choose among; by default all of the layer.
    """
    base = sensible(candidate(layer, entry, family, table) for entry in (layer.foldings() if entries is None else entries)
                    if _is_possible(layer, entry))
    found = [*base, *(candidate(layer, entry, family, table) for one in base for entry in _realisations(layer, one))]
    return sensible(one for one in found if room.holds(one.resources))


def sensible(found: Iterable[Candidate]) -> list[Candidate]:
    """Those that no other makes pointless, fastest first."""
    kept: list[Candidate] = []
    for one in sorted(found, key=lambda one: (one.cycles, one.resources.luts, one.resources.brams, one.resources.dsps)):
        if not any(_beats(other, one) for other in kept):
            kept.append(one)
    return kept


def _beats(one: Candidate, other: Candidate) -> bool:
    a, b = one.resources, other.resources
    same_lanes = (one.lanes_in, one.lanes_out) == (other.lanes_in, other.lanes_out)
    return (one.cycles <= other.cycles and a.brams <= b.brams and a.dsps <= b.dsps and one.energy_pj <= other.energy_pj * 1.001
            and a.luts <= b.luts * (1 if same_lanes else CLEARLY_SMALLER))


def _is_possible(layer: Layer, entry: LayerPlan) -> bool:
    try:
        layer.check(entry)
    except PlanError:  # all weights in logic that no device has
        return False
    return True


def _realisations(layer: Layer, one: Candidate) -> list[LayerPlan]:
    """The same folding with another loop order, its memories elsewhere, its products elsewhere: where that changes something."""
    entry = one.entry
    if isinstance(layer, ProductLayer) and layer.is_unrolled(entry):
        return []
    made = [entry]
    if "order" in layer.options:
        made += [replace(other, order=ORDERS[1]) for other in made]
    if "multiplier" in layer.options and one.resources.dsps:
        made += [replace(other, multiplier="logic") for other in made]
    if "weight_memory" in layer.options:
        styles = ("distributed", "block") if one.resources.brams else ("block",)
        made += [replace(other, weight_memory=style) for other in made for style in styles]
    return made[1:]


def _words(layer: Layer, number: int, lanes: int) -> int:
    return layer.graph.values[layer.sources[number]].elements // lanes

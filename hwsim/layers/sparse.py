"""`eie` layers: matrix products one after the other, with what requantizes their sums in between, on one sparse engine.

No node asks for this engine by itself: a plan names the first node and, by `through`, the last one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from intir import Clip, Graph, IntType, MatMul, Node, Op, Requant, Reshape, ScaleChannels, Threshold

from ..engines import elementwise as engines
from ..engines.csc import Csc, CscError, encode
from ..engines.eie import Eie
from ..engines.eie_cycles import task
from ..engines.elementwise import Elementwise
from ..engines.memories import Resources
from ..engines.thresholding import Thresholding
from ..plan import LayerPlan, PlanError
from .base import Builder, Flow, Int64, Layer, plain, span
from .product import clamped

#: Elements that an engine scans and drains at a time in plans that the tool makes: more cost multipliers behind it, and few
#: nonzeros are among them.
LANES = 16
#: What a plan leaves open.
QUEUE_DEPTH, INDEX_BITS, CODE_BITS, READ_ENTRIES = 8, 4, 4, 8
#: What may stand behind an inner product, in this order.
_ORDER: tuple[type[Op], ...] = (ScaleChannels, Requant, Threshold, Clip)


@dataclass(frozen=True, eq=False)
class SparseLayer(Layer):
    """MatMuls, and the element-wise nodes between them."""

    engine: ClassVar[str] = "eie"
    options: ClassVar[frozenset[str]] = frozenset({"through", "weights", "queue_depth", "index_bits", "code_bits", "read_entries",
                                               "entries"})

    #: More make the broadcast and the drain the slowest parts.
    MOST_PES: ClassVar[int] = 256

    @cached_property
    def products(self) -> tuple[Node, ...]:
        """The MatMuls."""
        return tuple(node for node in self.nodes if isinstance(node.op, MatMul))

    @property
    def weights(self) -> list[Int64]:
        """Of each product, (inputs, outputs)."""
        return [node.op.weights for node in self.products if isinstance(node.op, MatMul)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs of the first product, then outputs of each."""
        weights = self.weights
        return (weights[0].shape[0], *(one.shape[1] for one in weights))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The IR value that each product reads."""
        return tuple(node.inputs[0] for node in self.products)

    @property
    def operations(self) -> int:
        """Multiply-accumulates per frame with every activation nonzero, zero weights left out."""
        return self.positions * sum(int(np.count_nonzero(one)) for one in self.weights)

    @property
    def x_type(self) -> IntType:
        """Activations of all products."""
        kind = plain(self.x_types[0])
        for value in self.inputs[1:]:
            kind = kind.union(plain(self.graph.values[value].type))
        return kind

    def matrices(self, entry: LayerPlan) -> list[Csc]:
        """The compressed matrices.  Raises PlanError."""
        index_bits, code_bits = entry.index_bits or INDEX_BITS, entry.code_bits or CODE_BITS
        try:
            return [encode(one, entry.pe, index_bits=index_bits, code_bits=code_bits, where=f"layer '{node.name}'")
                    for node, one in zip(self.products, self.weights, strict=True)]
        except CscError as error:
            raise PlanError(str(error)) from None

    def unit(self, entry: LayerPlan) -> tuple[Eie, dict[str, Int64]]:
        """The engine and its constants."""
        matrices = self.matrices(entry)
        lanes = entry.simd or 1
        loaded = entry.weights == "loaded"
        post, constants = self._post(lanes)
        post = tuple(replace(one, loaded=loaded) if isinstance(one, Thresholding) else one for one in post)
        sums = IntType(min(0, *(self.graph.values[node.output].type.lo for node in self.products)),
                       max(0, *(self.graph.values[node.output].type.hi for node in self.products)))
        values = np.concatenate([matrix.codebook for matrix in matrices])
        entries = self._entries(entry, matrices)
        engine = Eie(entry.pe, lanes, *self._ports(lanes), entry.queue_depth or QUEUE_DEPTH, matrices[0].index_bits,
                     matrices[0].code_bits, entry.read_entries or READ_ENTRIES, self.sizes, entries, self.x_type,
                     span(values), sums, self.out_type, post, self.x_types[0], loaded)
        return engine, constants | arrays(matrices)

    def _entries(self, entry: LayerPlan, matrices: Sequence[Csc]) -> int:
        """Room in each PE's matrix memory.  Raises PlanError."""
        stored = np.stack([np.diff(matrix.first) for matrix in matrices]).sum(axis=0)  # of each PE
        most = int(stored.max())
        if entry.entries is not None and entry.entries < most:
            more = f", or more PEs (pe = {2 * entry.pe} makes it about {most // 2:,})" if 2 * entry.pe <= self.MOST_PES else ""
            raise PlanError(f"layer '{self.name}': PE {int(stored.argmax())} stores {most:,} entries, padding included, but the "
                            f"plan gives room for entries = {entry.entries}; give {most}{more}")
        return entry.entries or most

    def _ports(self, lanes: int) -> tuple[int, int]:
        return math.gcd(lanes, self.sizes[0]), math.gcd(lanes, self.sizes[-1])

    def _post(self, lanes: int) -> tuple[tuple[Elementwise, ...], dict[str, Int64]]:
        """The engines behind inner products, each with the constants of all inner layers one behind the other."""
        if len(self.products) == 1:
            return (), {}
        lanes = min(lanes, max(self.sizes[1:-1]))  # no layer fills the others
        starts = [self.nodes.index(node) for node in self.products]
        parts = [[node for node in self.nodes[start + 1:end] if not isinstance(node.op, Reshape)]
                 for start, end in itertools.pairwise(starts)]
        kinds = [kind for kind in _ORDER if any(isinstance(node.op, kind) for part in parts for node in part)]
        for product, part in zip(self.products, parts, strict=False):
            found = [type(node.op) for node in part]
            if found != [kind for kind in kinds if kind is not ScaleChannels or kind in found]:
                raise self._unlike(product, part, kinds)
        padded = [-(-size // lanes) * lanes for size in self.sizes[1:-1]]
        x_type = IntType(min(0, *(self.graph.values[node.output].type.lo for node in self.products[:-1])),
                         max(0, *(self.graph.values[node.output].type.hi for node in self.products[:-1])))
        made: list[Elementwise] = []
        constants: dict[str, Int64] = {}
        rows = {kind: [next((node for node in part if isinstance(node.op, kind)), None) for part in parts] for kind in kinds}
        lift = self._lift(rows, padded)
        for kind in kinds:
            engine, one = self._engine(kind, rows[kind], padded, lanes, x_type, lift)
            constants |= {f"post{len(made)}_{name}": values for name, values in one.items()}
            made.append(engine)
            x_type = engine.out_type
        return tuple(made), constants

    def _spread(self, nodes: Sequence[Node | None], padded: list[int], name: str, fill: int) -> Int64:
        """A constant of all inner layers' channels; `fill` for a layer that has none, and where a layer is filled up."""
        return _joined([np.array([fill]) if node is None else getattr(node.op, name) for node in nodes], self.sizes[1:-1], padded,
                       fill)

    def _lift(self, rows: Mapping[type[Op], Sequence[Node | None]], padded: list[int]) -> Int64:
        """By how many bits each channel's scale is raised, so that all channels are shifted right by the same.

        The quotient that is rounded stays the same number.  Without it, values of a layer that is shifted little would be
        moved left behind the multiplier, by a shifter and at the width of those that are shifted most.
        """
        scales, requants = rows.get(ScaleChannels, []), rows.get(Requant, [])
        none = np.zeros(sum(padded), np.int64)
        if not scales or not requants or any(getattr(node.op, "rounding", "") == "gemmlowp" for node in requants if node) \
                or span(self._spread(scales, padded, "multiplier", 1)).levels == 1:
            return none
        most = max(int(node.op.shift.max()) for node in requants if node is not None and isinstance(node.op, Requant))
        return most - self._spread(requants, padded, "shift", most)

    def _engine(self, kind: type[Op], nodes: Sequence[Node | None], padded: list[int], lanes: int, x_type: IntType,
                lift: Int64) -> tuple[Elementwise, dict[str, Int64]]:
        """One engine for the nodes of a kind in all inner layers (None: a layer that has none)."""
        channels = sum(padded)
        ops: list[Any] = [None if node is None else node.op for node in nodes]

        def spread(name: str, fill: int) -> Int64:
            return self._spread(nodes, padded, name, fill)

        if kind is ScaleChannels:
            multiplier, offset = spread("multiplier", 1) << lift, spread("offset", 0) << lift
            values = [node.output if scale is None else scale.output for node, scale in zip(self.products, nodes, strict=False)]
            ends = [_joined([getattr(self.range(value), end) for value in values], self.sizes[1:-1], padded, 0) << lift
                    for end in ("lo", "hi")]
            out = IntType(int(ends[0].min()), int(ends[1].max()))
            out = out.union(IntType(0, 0)) if out.lo > 0 or out.hi < 0 else out  # what fills up is 0
            return engines.Scale(channels, lanes, x_type, IntType(out.lo, out.hi), span(multiplier), span(offset)), \
                {"multiplier": multiplier, "offset": offset}
        if kind is Requant:
            self._alike(nodes, "rounding")
            self._alike(nodes, "out")
            # What fills up is shifted like all others: one shift by different distances takes most of a requantizer's LUTs.
            fill = max(int(op.shift.max()) for op in ops) if lift.any() else min(int(op.shift.min()) for op in ops)
            multiplier, shift, zero = spread("multiplier", 1), spread("shift", fill) + lift, spread("zero_point", 0)
            return engines.Requant(channels, lanes, x_type, ops[0].out, span(multiplier), span(shift), span(zero),
                                   ops[0].rounding), {"multiplier": multiplier, "shift": shift, "zero_point": zero}
        if kind is Threshold:
            self._alike(nodes, "out")
            rows = []
            for node, op, size, wide in zip(nodes, ops, self.sizes[1:-1], padded, strict=True):
                assert node is not None
                bounds = self.range(node.inputs[0])
                own = np.broadcast_to(clamped(op, bounds.lo, bounds.hi), (size, op.thresholds.shape[1]))
                rows.append(np.concatenate([own, np.repeat(own[-1:], wide - size, axis=0)]))
            joined = np.concatenate(rows)
            holds = IntType(min(x_type.lo, int(joined.min())), max(x_type.hi, int(joined.max())))
            return Thresholding(channels, lanes, x_type, ops[0].out, joined.shape[1], False, holds), {"thresholds": joined}
        self._alike(nodes, "lo")
        self._alike(nodes, "hi")
        return engines.Clip(channels, lanes, x_type, IntType(max(x_type.lo, ops[0].lo), min(x_type.hi, ops[0].hi)),
                            ops[0].lo, ops[0].hi), {}

    def _alike(self, nodes: Sequence[Node | None], name: str) -> None:
        there = [node for node in nodes if node is not None]
        for node in there[1:]:
            one, other = (getattr(each.op, name) for each in (there[0], node))
            if one != other:
                raise PlanError(f"layer '{self.name}': '{there[0].name}' and '{node.name}' differ in {name} ({one} and {other}), "
                                f"and layers of one sparse engine share it; end the layer before, through = "
                                f"{self._before(node)!r}, and give the rest an engine of its own")

    def _before(self, node: Node) -> str:
        """The product before a node: where a layer may end."""
        earlier = [one for one in self.products if self.nodes.index(one) < self.nodes.index(node)]
        return earlier[-1].name

    def _unlike(self, product: Node, part: list[Node], kinds: list[type[Op]]) -> PlanError:
        has = ", ".join(node.op.kind for node in part) or "nothing"
        return PlanError(f"layer '{self.name}': behind '{product.name}' stands {has}, but the sparse engine requantizes all its "
                         f"inner layers alike, by {', '.join(kind.__name__ for kind in kinds) or 'nothing'}; end the layer "
                         f"there: through = '{product.name}'")

    def pe_choices(self) -> list[int]:
        return [2**n for n in range(9)]

    def lanes_in(self, entry: LayerPlan) -> tuple[int, ...]:
        return (self._ports(entry.simd or 1)[0],)

    def foldings(self) -> list[LayerPlan]:
        return [LayerPlan(self.engine, pe, min(pe, LANES), through=self.nodes[-1].name) for pe in self.pe_choices()]

    def cycles(self, entry: LayerPlan) -> int:
        engine, constants = self.unit(entry)
        return self.positions * task(engine, constants["pointers"]).period_cycles

    def luts(self, entry: LayerPlan, family: str) -> int:
        return self.resources(entry, family).luts

    def resources(self, entry: LayerPlan, family: str) -> Resources:
        return self.unit(entry)[0].resources(family)

    def check(self, entry: LayerPlan) -> None:
        if entry.reloadable:
            raise PlanError(f"layer '{self.name}': reloadable = true, but a sparse engine takes its weights over a stream of their "
                            "own; write weights = \"loaded\" instead")
        lanes = entry.simd
        if lanes is None or entry.pe % lanes:
            near = max(d for d in range(1, entry.pe + 1) if entry.pe % d == 0 and d <= max(1, lanes or 1))
            given = "missing" if lanes is None else f"{lanes}, which does not divide its {entry.pe} PEs"
            raise PlanError(f"layer '{self.name}': simd, the elements that the sparse engine scans and drains at a time, is "
                            f"{given}; give a divisor of pe, like {near}")
        if entry.pe > self.MOST_PES:
            raise PlanError(f"layer '{self.name}': pe = {entry.pe}, but a sparse engine has at most {self.MOST_PES} PEs; give "
                            f"{self.MOST_PES} or fewer")
        reads = entry.read_entries or READ_ENTRIES
        if reads & (reads - 1):
            raise PlanError(f"layer '{self.name}': read_entries = {reads} is no power of two; give "
                            f"{1 << reads.bit_length() - 1} or {1 << reads.bit_length()}")
        first = self.x_types[0]
        if first.is_coded and len(self.products) == 1 and not first.contains(IntType(0, 0)):
            raise PlanError(f"layer '{self.name}': its activations are {first}, which has no zeros to skip; use engine = \"mvu\"")
        self.check_options(entry)
        self.unit(entry)

    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        engine, constants = self.unit(entry)
        return builder.block("eie", engine, flows, self.elements // engine.lanes_out, self.positions, **constants)


def arrays(matrices: Sequence[Csc]) -> dict[str, Int64]:
    """The memories of an engine that runs the matrices one after the other; see `codegen.blocks.eie`."""
    pes = matrices[0].pes
    offsets = np.cumsum([np.zeros(pes, np.int64), *(np.diff(one.first) for one in matrices)], axis=0)
    pointers = np.concatenate([*(one.pointers[:, :-1] + offset[:, None] for one, offset in zip(matrices, offsets, strict=False)),
                               offsets[-1][:, None]], axis=1)
    deepest = int(offsets[-1].max())
    made = {"pointers": pointers}
    for name in ("indices", "codes"):
        flat = np.zeros((pes, max(1, deepest)), np.int64)
        for matrix, offset in zip(matrices, offsets, strict=False):
            for pe in range(pes):
                own = getattr(matrix, name)[matrix.first[pe]:matrix.first[pe + 1]]
                flat[pe, offset[pe]:offset[pe] + len(own)] = own
        made[name] = flat
    books = np.zeros((len(matrices), 1 << matrices[0].code_bits), np.int64)
    for row, matrix in zip(books, matrices, strict=True):
        row[:len(matrix.codebook)] = matrix.codebook
    return made | {"codebooks": books}


def sparse(graph: Graph, first: Node, last: str, x_types: tuple[IntType, ...]) -> SparseLayer:
    """The nodes from a MatMul through another, which each alone read the one before.  Raises PlanError."""
    nodes = [first]
    if all(node.name != last for node in graph.nodes):
        products = ", ".join(node.name for node in graph.nodes if isinstance(node.op, MatMul))
        raise PlanError(f"layer '{first.name}': through = '{last}', but the network has no such node; name a MatMul that follows "
                        f"in a row; the network's are {products or 'none'}")
    while True:
        node = nodes[-1]
        if not isinstance(node.op, (MatMul, Reshape, *_ORDER)) or (node is first and not isinstance(node.op, MatMul)):
            raise PlanError(f"layer '{first.name}': the engine 'eie' runs MatMul with "
                            f"{', '.join(kind.__name__ for kind in _ORDER)} between them, not '{node.name}' ({node.op.kind}); end "
                            "the layer before it (through), or use another engine")
        _check_vectors(graph, nodes)
        if node.name == last:
            break
        readers = graph.consumers(node.output)
        if len(readers) != 1 or node.output in {one.value for one in graph.outputs}:
            raise PlanError(f"layer '{first.name}': through = '{last}', but {len(readers)} nodes read '{node.name}' before that; "
                            "end the layer at the last MatMul up to there, or name a node that follows in a row")
        nodes.append(readers[0])
    if not isinstance(nodes[-1].op, MatMul):
        inner = [node.name for node in nodes if isinstance(node.op, MatMul)][-1]
        raise PlanError(f"layer '{first.name}': through = '{last}' is a {nodes[-1].op.kind}, but the sparse engine ends with a "
                        f"MatMul; what follows has a layer of its own; write through = '{inner}'")
    return SparseLayer(graph, tuple(nodes), x_types)


def _check_vectors(graph: Graph, nodes: list[Node]) -> None:
    """Raise PlanError if a Reshape has cut the vectors of the product before a row's last node anew."""
    *before, node = nodes
    product = next((one for one in reversed(before) if isinstance(one.op, MatMul)), None)
    if product is None or isinstance(node.op, Reshape):
        return
    has, made = graph.values[node.inputs[0]].shape[-1], graph.values[product.output].shape[-1]
    if has != made:
        raise PlanError(f"layer '{nodes[0].name}': '{product.name}' makes vectors of {made}, but '{node.name}' ({node.op.kind}) "
                        f"takes vectors of {has} behind a Reshape, and the sparse engine runs all its products on one vector after "
                        f"the other; end the layer there: through = '{product.name}'")


def _joined(parts: Sequence[Int64], sizes: Sequence[int], padded: Sequence[int], fill: int) -> Int64:
    """Constants per channel of several layers, each spread over its channels and filled up."""
    return np.concatenate([np.concatenate([np.broadcast_to(part, (size,)), np.full(wide - size, fill)])
                           for part, size, wide in zip(parts, sizes, padded, strict=True)]).astype(np.int64)

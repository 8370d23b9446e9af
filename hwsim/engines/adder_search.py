"""The search for an adder graph: rows that are alike are summed first, then common pairs of digits are shared.

1. Columns that are equal up to sign and a power of two are one column; zero columns are constants.
2. Columns are taken in groups.  Within a group, rows that are equal up to sign and a power of two form a class: the inputs
   of a class are summed first (one-bit inputs by a counter), and the sums are multiplied by a matrix of distinct rows.  A
   group of h columns of -1 and +1 has at most ``2**(h - 1)`` classes, however many inputs there are.
3. The weights of that matrix become signed digits, as few as possible (canonical form), and a pair of digits that occurs
   several times, ``a +- (b << s)``, becomes a value of its own, the pair that saves most LUTs first (Hartley 1996).
4. What is left of each column is summed, the values of the lowest level first.

Several sizes of groups are tried; the cheapest graph wins.  All of it is deterministic.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from .adder_graph import Add, AdderGraph, Count, Int64, Node, Output, add_luts, node_level, node_range, width

#: Columns in a group; where rows are alike in none, all columns are taken together.
GROUPS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
#: Sizes in a row that bring nothing, after which no larger one is tried.
PATIENCE = 2
#: One-bit values of equal weight from which a counter sums them.
LEAST_COUNT = 3
#: Pairs of digits that are looked at together; a matrix with more is cut.
MAX_PAIRS = 400_000

Term = tuple[int, int, int]  # value, shift, sign
Pattern = tuple[int, int, int, int]  # value, value, shift of the second above the first, product of the signs


class Builder:
    """Nodes while a graph grows; equal nodes are made once.

    Each value v stands for a linear form V of the codes, and is ``V + excess[v]``.
    """

    def __init__(self, bounds: Sequence[tuple[int, int]]) -> None:
        self.inputs = len(bounds)
        self.nodes: list[Node] = []
        self.ranges, self.levels, self.excess = list(bounds), [0] * len(bounds), [0] * len(bounds)
        self.made: dict[Node, int] = {}

    def bits(self, value: int) -> int:
        """Width of a value."""
        return width(self.ranges[value])

    def add(self, one: Term, two: Term) -> Term:
        """The sum of two terms."""
        base = min(one[1], two[1])
        (a, a_shift, a_sign), (b, b_shift, b_sign) = sorted(((v, s - base, sign) for v, s, sign in (one, two)),
                                                            key=lambda term: (term[1], term[0]))
        flip = a_sign != b_sign
        if flip:
            # The sign may move to the sum, so the operand that is complemented at less cost is.
            straight, turned = ((self.bits(x), self.bits(y), p, q) for x, y, p, q in ((a, b, a_shift, b_shift),
                                                                                     (b, a, b_shift, a_shift)))
            if add_luts(*turned, True) < add_luts(*straight, True):
                a, a_shift, a_sign, b, b_shift, b_sign = b, b_shift, b_sign, a, a_shift, a_sign
        second = (1 << self.bits(b)) - 1 - self.excess[b] if flip else self.excess[b]
        excess = (self.excess[a] << a_shift) + (second << b_shift)
        return self._make(Add(a, b, a_shift, b_shift, flip), excess), base, a_sign

    def count(self, terms: Sequence[Term]) -> Term:
        """The sum of one-bit terms of one shift."""
        ordered = sorted(terms)
        sign = ordered[0][2]
        flips = tuple(term[2] != sign for term in ordered)
        return self._make(Count(tuple(term[0] for term in ordered), flips), sum(flips)), ordered[0][1], sign

    def total(self, terms: Iterable[Term]) -> Term | None:
        """The sum of terms: one-bit values are counted, the others added, the lowest level first."""
        by_shift: dict[int, list[Term]] = defaultdict(list)
        rest: list[Term] = []
        for term in sorted(terms):
            if self.ranges[term[0]] == (0, 1):
                by_shift[term[1]].append(term)
            else:
                rest.append(term)
        for alike in by_shift.values():
            rest += [self.count(alike)] if len(alike) >= LEAST_COUNT else alike
        heap = [self._ranked(term) for term in rest]
        heapq.heapify(heap)
        while len(heap) > 1:
            one, two = heapq.heappop(heap)[3], heapq.heappop(heap)[3]
            heapq.heappush(heap, self._ranked(self.add(one, two)))
        return heap[0][3] if heap else None

    def _ranked(self, term: Term) -> tuple[int, int, int, Term]:
        return self.levels[term[0]], term[2], self.bits(term[0]) + term[1], term

    def _make(self, node: Node, excess: int) -> int:
        if node not in self.made:
            self.made[node] = len(self.ranges)
            self.nodes.append(node)
            self.ranges.append(node_range(node, self.ranges))
            self.levels.append(node_level(node, self.levels))
            self.excess.append(excess)
        return self.made[node]


def digits(weight: int) -> list[tuple[int, int]]:
    """(shift, sign) of the canonical signed digits of an integer, lowest first; no two are neighbours."""
    found, shift = [], 0
    while weight:
        if weight & 1:
            sign = 2 - (weight & 3)
            found.append((shift, sign))
            weight -= sign
        weight >>= 1
        shift += 1
    return found


def normal_columns(matrix: Int64) -> tuple[Int64, Int64, Int64]:
    """Columns with their first weight that is not 0 above 0 and not all even; and the sign and the shift of each."""
    first = matrix[(matrix != 0).argmax(axis=0), np.arange(matrix.shape[1])]
    sign = np.where(first < 0, -1, 1)
    ored = np.bitwise_or.reduce(np.abs(matrix), axis=0)
    shift = np.where(ored == 0, 0, np.round(np.log2(np.maximum(ored & -ored, 1)))).astype(np.int64)
    return (matrix * sign) >> shift, sign, shift


@lru_cache(maxsize=64)
def _search(weights: bytes, shape: tuple[int, int], bounds: tuple[tuple[int, int], ...], family: str) -> AdderGraph:
    matrix = np.frombuffer(weights, np.int64).reshape(shape)
    reduced, sign, shift = normal_columns(matrix)
    distinct, place = np.unique(reduced, axis=1, return_inverse=True)
    columns, position = distinct[:, distinct.any(axis=0)], np.cumsum(distinct.any(axis=0)) - 1
    if not columns.size:
        return AdderGraph(bounds, (), (Output(None, 0, False, 0),) * shape[1], family)
    best: AdderGraph | None = None
    worse = 0
    for size in _group_sizes(columns):
        builder = Builder(bounds)
        found: list[Term | None] = []
        for at in range(0, columns.shape[1], size):
            found += _group(builder, columns[:, at:at + size])
        ends = [found[position[p]] if distinct[:, p].any() else None for p in place.reshape(-1)]
        outputs = tuple(_output(builder, end, int(sh), int(sg)) for end, sh, sg in zip(ends, shift, sign, strict=True))
        graph = AdderGraph(bounds, tuple(builder.nodes), outputs, family)
        if best is None or graph.node_luts < best.node_luts:
            best, worse = graph, 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    assert best is not None
    return best


def adder_graph(weights: Int64, bounds: Sequence[tuple[int, int]], family: str = "xilinx") -> AdderGraph:
    """An adder graph for ``codes @ weights``.

    Parameters
    ----------
    weights : int64 (K, N)
    bounds : (int, int) per input
        Least and greatest code of each input; at least 0.
    family : str
        FPGA family that counters are made for.
    """
    return _search(np.ascontiguousarray(weights, np.int64).tobytes(), (weights.shape[0], weights.shape[1]), tuple(bounds), family)


def _output(builder: Builder, term: Term | None, shift: int, sign: int) -> Output:
    if term is None:
        return Output(None, 0, False, 0)
    value, up, own = term
    excess = builder.excess[value] << shift + up
    return Output(value, shift + up, own * sign < 0, excess if own * sign < 0 else -excess)


def _group_sizes(columns: Int64) -> list[int]:
    """Sizes worth a try: all columns together, and those at which rows are alike."""
    total = columns.shape[1]
    sizes = []
    for size in GROUPS:
        if size < total:
            rows = normal_columns(columns[:, :size].T)[0]
            used = rows[:, rows.any(axis=0)]
            if size == 1 or np.unique(used, axis=1).shape[1] <= 2 * used.shape[1] / 3:
                sizes.append(size)
    return [*sizes, total] if len(sizes) < 2 or total <= 2 * sizes[-1] else sizes


def _group(builder: Builder, columns: Int64) -> list[Term | None]:
    """The products of a group of columns: sums of classes of rows, then shared pairs of digits."""
    rows, sign, shift = normal_columns(columns.T)
    classes: dict[bytes, list[Term]] = {}
    forms: list[Int64] = []
    for k in np.flatnonzero(rows.any(axis=0)):
        key = rows[:, k].tobytes()
        if key not in classes:
            classes[key] = []
            forms.append(rows[:, k])
        classes[key].append((int(k), int(shift[k]), int(sign[k])))
    if columns.shape[1] == 1:
        terms = [(v, s + up, sg * way) for members, form in zip(classes.values(), forms, strict=True)
                 for v, s, sg in members for up, way in digits(int(form[0]))]
        return [builder.total(terms)]
    sums = [builder.total(members) for members in classes.values()]
    found: list[list[Term]] = [[] for _ in range(columns.shape[1])]
    for total, form in zip(sums, forms, strict=True):
        assert total is not None
        value, base, way = total
        for n, weight in enumerate(form.tolist()):
            found[n] += [(value, base + up, way * sg) for up, sg in digits(weight)]
    return shared(builder, found)


def shared(builder: Builder, columns: list[list[Term]]) -> list[Term | None]:
    """Sums of columns of terms; pairs of terms that several have are added once."""
    pairs = sum(len(column) ** 2 // 2 for column in columns)
    most = max(len(column) for column in columns)
    if pairs > MAX_PAIRS and most > 8:
        # Too many pairs: halves of the inputs, each on its own.
        values = sorted({term[0] for column in columns for term in column})
        middle = values[len(values) // 2]
        low = shared(builder, [[term for term in column if term[0] < middle] for column in columns])
        high = shared(builder, [[term for term in column if term[0] >= middle] for column in columns])
        return [builder.total([term for term in pair if term is not None]) for pair in zip(low, high, strict=True)]
    sharing = _Sharing(builder, columns)
    sharing.run()
    return [builder.total((v, s, sign) for v, row in column.items() for s, sign in row.items()) for column in sharing.columns]


class _Sharing:
    """Columns of terms (value -> shift -> sign), and how often each pair of terms occurs."""

    def __init__(self, builder: Builder, columns: list[list[Term]]) -> None:
        self.builder = builder
        self.columns: list[dict[int, dict[int, int]]] = [{} for _ in columns]
        self.holders: dict[int, set[int]] = defaultdict(set)
        self.counts: dict[Pattern, int] = defaultdict(int)
        self.spent: set[Pattern] = set()
        self.heap: list[tuple[int, int, Pattern]] = []
        self.weights: dict[Pattern, int] = {}
        for number, column in enumerate(columns):
            for term in column:
                self._insert(number, term, rank=False)
        for pattern, count in self.counts.items():
            if count > 1:
                self._rank(pattern, count)

    def run(self) -> None:
        """Share until no pair occurs twice."""
        while self.heap:
            score, _, pattern = heapq.heappop(self.heap)
            count = self.counts.get(pattern, 0)
            if count < 2 or pattern in self.spent:
                continue
            if -score != (count - 1) * self._weight(pattern):
                self._rank(pattern, count)
                continue
            places = self._places(pattern)
            if len(places) < 2:  # its pairs overlap
                self.spent.add(pattern)
                continue
            v1, v2, up, sign = pattern
            value, base, way = self.builder.add((v1, 0, 1), (v2, up, sign))
            for number, shift in places:
                own = self._remove(number, v1, shift)
                self._remove(number, v2, shift + up)
                self._insert(number, (value, shift + base, own * way), rank=True)

    def _places(self, pattern: Pattern) -> list[tuple[int, int]]:
        """(column, shift) of pairs that do not overlap."""
        v1, v2, up, sign = pattern
        found = []
        for number in sorted(self.holders[v1] & self.holders[v2]):
            one, two = self.columns[number][v1], self.columns[number][v2]
            taken: set[int] = set()
            for shift in sorted(one):
                if shift + up in two and one[shift] * two[shift + up] == sign and (v1 != v2 or shift not in taken):
                    found.append((number, shift))
                    taken.add(shift + up)
        return found

    def _patterns(self, number: int, value: int, shift: int, sign: int) -> Iterable[Pattern]:
        """Those that a term of a column would be part of."""
        for other, row in self.columns[number].items():
            for at, way in row.items():
                if (at, other) < (shift, value):
                    yield other, value, shift - at, sign * way
                else:
                    yield value, other, at - shift, sign * way

    def _insert(self, number: int, term: Term, rank: bool) -> None:
        value, shift, sign = term
        counts = self.counts
        for pattern in self._patterns(number, value, shift, sign):
            counts[pattern] += 1
            if rank and counts[pattern] > 1:
                self._rank(pattern, counts[pattern])
        self.columns[number].setdefault(value, {})[shift] = sign
        self.holders[value].add(number)

    def _remove(self, number: int, value: int, shift: int) -> int:
        row = self.columns[number][value]
        sign = row.pop(shift)
        if not row:
            del self.columns[number][value]
            self.holders[value].discard(number)
        for pattern in self._patterns(number, value, shift, sign):
            self.counts[pattern] -= 1
        return sign

    def _rank(self, pattern: Pattern, count: int) -> None:
        levels = self.builder.levels
        heapq.heappush(self.heap, (-(count - 1) * self._weight(pattern), max(levels[pattern[0]], levels[pattern[1]]), pattern))

    def _weight(self, pattern: Pattern) -> int:
        """LUTs of the pair's adder."""
        weight = self.weights.get(pattern)
        if weight is None:
            v1, v2, up, _ = pattern  # counting a difference's inverters would only favour differences
            weight = self.weights[pattern] = max(1, add_luts(self.builder.bits(v1), self.builder.bits(v2), 0, up, False))
        return weight

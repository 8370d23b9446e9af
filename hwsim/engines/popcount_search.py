"""The search for a compressor tree: greedy stages, closed by one adder, over a few dozen strategies.

A tree grows in stages. A stage fills cells with the bits that the stages before it left, best cell first: a
cell's merit is what it takes away, bits and not yet counted XNOR pairs, per LUT. Before each stage, one carry
chain that would finish the whole count is tried. Strategies differ in how many pairs are counted by
themselves at the start (the others are absorbed later by chains), in the worth of a pair against a bit, and in
how picky a stage is about merit; the cheapest tree wins, a level counting as one percent. All of it is deterministic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache

from .popcount_cells import ZERO, Cell, CellKind, Group

Plan = tuple[tuple[Cell, ...], tuple[int, ...]]


def _tables(*groups: tuple[int, ...]) -> tuple[CellKind, ...]:
    return tuple(CellKind((Group(*group),)) for group in groups)


def _chains(*tilings: tuple[tuple[int, ...], ...]) -> Iterator[CellKind]:
    """Every tiling, with and without a carry in, its row complete or one short at the top."""
    for tiling in tilings:
        groups = tuple(Group(*group) for group in tiling)
        columns = sum(group.span for group in groups)
        for carry_in in (True, False):
            for row in (columns, columns - 1):
                if row > 0:
                    yield CellKind(groups, row, carry_in)


_P, _B = (1,), (0, 1)
_LUT6_CHAINS = tuple(
    _chains(
        ((2, 1),),
        ((1, 2),),
        ((0, 3),),
        ((2,),),
        ((0, 5),),
        ((0, 3, 1),),
        ((0, 3, 2),),
        ((0, 1, 2),),
        (_P, _B),
        (_B, _B),
        ((2, 0, 1),),
        ((1, 1, 1),),
        ((1, 0, 2),),
        ((1, 2, 1),),
        ((2, 1), (0, 3)),
        ((2, 1), (0, 5)),
        ((2, 1), _B),
        ((1, 2), (0, 3)),
        ((0, 3), (0, 3)),
        ((0, 3), (0, 5)),
        ((0, 3), _B),
        ((0, 5), _B),
        (_B, (0, 3)),
        (_P, (0, 3)),
        (_B, (0, 5)),
        (_B, _B, _B),
    )
)
_LUT6_TABLES = _tables(
    (3,),
    (0, 6),
    (0, 5),
    (0, 4),
    (0, 3),
    (1, 4),
    (2, 2),
    (2, 1),
    (1, 3),
    (1, 2),
    (2,),
    (1, 1),
    (1,),
    (0, 2),
    (0, 2, 3),
    (0, 3, 2),
)
# Sum bits from which Yosys uses carry cells.
_LEAST_SUM_BITS = {"xilinx": 3, "ecp5": 5}
# Yosys leaves adders of four sum bits and fewer to LUTs on ECP5, and a chain would pay for every XNOR.
_LUT4_CHAINS = tuple(
    CellKind((Group(0, 1),) * length, length, carry_in)
    for length in (4, 5, 6, 7, 8, 9)
    for carry_in in (True, False)
)
_LUT4_TABLES = _tables((2,), (1, 2), (0, 3), (1, 1), (0, 2), (1,))

_KINDS = {"xilinx": _LUT6_TABLES + _LUT6_CHAINS, "ecp5": _LUT4_TABLES + _LUT4_CHAINS}
_LEAF = {"xilinx": _LUT6_TABLES[0], "ecp5": _LUT4_TABLES[0]}
# Groups that the closing adder may use, and the LUT inputs that they may take beside the row bit.
_CLOSING = {
    "xilinx": tuple(
        Group(pairs, ones, twos)
        for pairs in range(3)
        for ones in range(6)
        for twos in range(4)
        if 2 * pairs + ones + twos <= 5
    ),
    "ecp5": (Group(), Group(0, 1)),
}


@dataclass
class _Tree:
    """A tree under construction. ``ready[c]`` holds the bits of column c that this stage may read."""

    n_bits: int
    paired: bool
    family: str
    columns: int
    pairs: deque[int] = field(default_factory=deque)
    ready: list[deque[int]] = field(default_factory=list)
    fresh: list[deque[int]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    next_id: int = 0

    def __post_init__(self) -> None:
        self.ready = [deque() for _ in range(self.columns)]
        self.fresh = [deque() for _ in range(self.columns)]
        (self.pairs if self.paired else self.ready[0]).extend(range(self.n_bits))
        self.next_id = self.n_bits

    def fits(self, needs: tuple[int, tuple[int, ...]], column: int) -> int:
        """How many cells with these needs the ready bits can fill at this column."""
        n_pairs, bits = needs
        if n_pairs and column:
            return 0
        count = len(self.pairs) // n_pairs if n_pairs else self.n_bits
        for offset, n in enumerate(bits):
            if n:
                if column + offset >= self.columns:
                    return 0
                count = min(count, len(self.ready[column + offset]) // n)
        return count

    def columns_that_fit(self, kind: CellKind) -> Iterator[int]:
        """Columns at which at least one cell of this kind can be filled now, lowest first."""
        n_pairs, bits = _needs(kind)
        if n_pairs > len(self.pairs):
            return
        for column in range(1 if n_pairs else self.columns - len(bits) + 1):
            if len(self.ready[column]) >= bits[0] and self.fits((n_pairs, bits), column):
                yield column

    def place(self, kind: CellKind, column: int, row: int | None = None) -> None:
        """Fill one cell; of its row, only the columns set in ``row`` (default: all) get a bit."""
        row = (1 << kind.row) - 1 if row is None else row
        inputs: list[int] = []
        for at, (offset, pair) in enumerate(_places(kind)):
            place = at - kind.carry_in
            if 0 <= place < kind.row and not row >> place & 1:
                inputs.append(ZERO)
            else:
                inputs.append(self.pairs.popleft() if pair else self.ready[column + offset].popleft())
        outputs = []
        for target in range(column, column + _outputs(kind)):
            # A bit above the count's width is never 1: the sum of everything is at most n_bits.
            outputs.append(self.next_id if target < self.columns else ZERO)
            if target < self.columns:
                self.fresh[target].append(self.next_id)
                self.next_id += 1
        self.cells.append(Cell(kind, column, tuple(inputs), tuple(outputs)))

    def end_stage(self) -> None:
        """Let the next stage read what this one drove, after what it left over."""
        for ready, fresh in zip(self.ready, self.fresh, strict=True):
            ready.extend(fresh)
            fresh.clear()

    def finished(self) -> bool:
        return not self.pairs and all(len(bits) <= 1 for bits in self.ready)

    def plan(self) -> Plan:
        return tuple(self.cells), tuple(bits[0] if bits else ZERO for bits in self.ready)

    def copy(self) -> _Tree:
        other = _Tree(0, self.paired, self.family, self.columns)
        other.n_bits, other.next_id, other.cells = self.n_bits, self.next_id, list(self.cells)
        other.pairs, other.ready = deque(self.pairs), [deque(bits) for bits in self.ready]
        return other


@lru_cache
def _places(kind: CellKind) -> tuple[tuple[int, bool], ...]:
    """(column from the lowest, is a pair) of every input."""
    return tuple(zip(kind.offsets, kind.is_pair(), strict=True))


@lru_cache
def _outputs(kind: CellKind) -> int:
    return kind.n_outputs


@lru_cache
def _needs(kind: CellKind) -> tuple[int, tuple[int, ...]]:
    """Pairs that a cell takes, and bits for each column from its lowest."""
    bits = [0] * (max(kind.offsets) + 1)
    for offset, pair in zip(kind.offsets, kind.is_pair(), strict=True):
        bits[offset] += not pair
    return sum(kind.is_pair()), tuple(bits)


@lru_cache
def site_cost(kind: CellKind, family: str) -> int:
    """LUT places that a cell keeps to itself: what the search minimizes.

    Unlike Yosys's count, a chain column without a table bit is not free: its LUT passes the bit on.
    """
    if family == "ecp5" or not kind.is_chain:
        return kind.luts(family)
    return max(kind.columns, kind.row)


@lru_cache
def _merits(family: str, worth: float) -> list[tuple[float, CellKind]]:
    """Cell kinds with what they take away per LUT, best first."""
    merits = []
    for kind in _KINDS[family]:
        pairs, bits = _needs(kind)
        merits.append(((worth * pairs + sum(bits) - kind.n_outputs) / site_cost(kind, family), kind))
    return sorted(merits, key=lambda item: -item[0])


def _closing_chain(tree: _Tree) -> tuple[int, CellKind, int, int] | None:
    """(cost, kind, column, row mask) of the cheapest chain that finishes the count, if one can."""
    heights = [len(bits) for bits in tree.ready]
    pairs = len(tree.pairs)
    if pairs > 2 or max(heights) > 7:
        return None
    busy = [c for c in range(tree.columns) if heights[c] > 1]
    low = 0 if pairs else min(busy, default=0)
    top = max([c + 1 for c in range(tree.columns) if heights[c]], default=1)
    best: tuple[int, CellKind, int, int] | None = None
    for carry_in in (True, False):
        left = list(heights) + [0] * 4
        if carry_in and not left[low]:
            continue
        left[low] -= carry_in
        found = _tile(tree.family, max(top, low + 1) - low, pairs, tuple(left[low:]))
        if found is None:
            continue
        groups, row = found
        kind = CellKind(groups, max(1, row.bit_length()), carry_in)
        # Yosys leaves narrower adders to LUTs, which the cost doesn't describe.
        if kind.n_outputs < _LEAST_SUM_BITS[tree.family]:
            continue
        cost = site_cost(kind, tree.family)
        if best is None or cost < best[0]:
            best = cost, kind, low, row
    return best


@cache
def _tile(family: str, width: int, pairs: int, left: tuple[int, ...]) -> tuple[tuple[Group, ...], int] | None:
    """Groups over ``width`` columns that use up all pairs and bits, and a mask of the columns with a row."""
    if width <= 0:
        return ((), 0) if not any(left) else None
    best: tuple[tuple[Group, ...], int] | None = None
    for group in _CLOSING[family]:
        # All pairs go into the lowest group: no other may count weight 1.
        if group.pairs != pairs or group.ones > left[0] or group.twos > left[1]:
            continue
        rest = [left[0] - group.ones, left[1] - group.twos, *left[2:]]
        span = group.span
        if any(n > 1 for n in rest[:span]):
            continue
        tail = _tile(family, width - span, 0, (*rest[span:], 0, 0))
        if tail is None:
            continue
        mask = sum(n << offset for offset, n in enumerate(rest[:span]))
        found = (group, *tail[0]), mask | tail[1] << span
        if best is None or _columns(found) < _columns(best):
            best = found
    return best


def _columns(tiling: tuple[tuple[Group, ...], int]) -> tuple[int, int]:
    return sum(group.span for group in tiling[0]), sum(group.slots for group in tiling[0])


@dataclass(frozen=True)
class _Strategy:
    """leaves: pairs-only cells of the first stage. worth: of a pair, in bits. floor: least merit of a stage."""

    leaves: int
    worth: float
    floor: float


def _grow(tree: _Tree, strategy: _Strategy, offer: Callable[[_Tree], None]) -> None:
    """Grow one tree by a strategy and offer every way to close it."""
    leaf = _LEAF[tree.family]
    for _ in range(strategy.leaves):
        tree.place(leaf, 0)
    tree.end_stage()
    merits = _merits(tree.family, strategy.worth)
    while True:
        closing = _closing_chain(tree)
        if closing is not None:
            closed = tree.copy()
            closed.place(closing[1], closing[2], closing[3])
            closed.end_stage()
            offer(closed)
        if tree.finished():
            offer(tree)
        if tree.finished() or (closing is not None and not tree.pairs and max(map(len, tree.ready)) <= 2):
            return
        placed = False
        for merit, kind in merits:
            # A stage with nothing good enough takes the best there is.
            if merit < strategy.floor and placed:
                break
            if kind == leaf and strategy.leaves and len(tree.pairs) > tree.n_bits // 8:
                continue
            for column in tree.columns_that_fit(kind):
                for _ in range(tree.fits(_needs(kind), column)):
                    tree.place(kind, column)
                    placed = True
        tree.end_stage()
        if not placed:
            return


def _cost(tree: _Tree) -> tuple[float, int]:
    """LUTs, where one level more has to save one percent of them; then cells."""
    luts = sum(site_cost(cell.kind, tree.family) for cell in tree.cells)
    return luts * (1 + _levels(tree.cells) / 100), len(tree.cells)


def _levels(cells: list[Cell]) -> int:
    level: dict[int, int] = {}
    for cell in cells:
        deepest = 1 + max(level.get(bit, 0) for bit in cell.inputs)
        level |= {bit: deepest for bit in cell.outputs if bit != ZERO}
    return max(level.values(), default=0)


def _strategies(n_bits: int, paired: bool, family: str) -> Iterator[_Strategy]:
    size = _needs(_LEAF[family])[0]
    most = n_bits // size if paired else 0
    least = most * 2 // 5
    # Fine steps matter least where trees are largest, and there each strategy takes longest.
    step = max(1, (most - least) // (24 if n_bits <= 64 else 12 if n_bits <= 160 else 8))
    for leaves in sorted({*range(least, most + 1, step), most}) if paired else (0,):
        for worth in (1.4, 1.7):
            for floor in (1.6, 1.5, 1.3, 1.0, 0.6):
                yield _Strategy(leaves, worth, floor)


@lru_cache(maxsize=256)
def plan_tree(n_bits: int, paired: bool, family: str) -> Plan:
    """The cheapest tree found: its cells in topological order, and the bit ids of the count, lowest first."""
    best: list[tuple[tuple[float, int], Plan]] = []

    def offer(tree: _Tree) -> None:
        cost = _cost(tree)
        if tree.finished() and (not best or cost < best[0][0]):
            best[:] = [(cost, tree.plan())]

    for strategy in _strategies(n_bits, paired, family):
        _grow(_Tree(n_bits, paired, family, n_bits.bit_length()), strategy, offer)
    return best[0][1]

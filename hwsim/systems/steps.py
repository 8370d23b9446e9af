"""What one tiling takes, and the search through all of them: a compiled loop over the cuts of `cuts` and the orders of loops.

All numbers are floats; counts of cycles are exact up to 2**53.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Columns of a table of cuts; pixels have `INPUTS` and `HALO` as well, terms have `CHANNELS`.
TILE, COUNT, FOLDS, STREAM, LATE, INPUTS, HALO = range(7)
CHANNELS = INPUTS
#: Loops by number, from the outermost on, and what stays on chip as a whole (0: nothing, 1: activations, 2: weights).
M, N, K = range(3)
ORDERS = np.array([[M, N, K, 0], [N, M, K, 0], [M, N, K, 2], [N, M, K, 1], [K, M, N, 0], [K, N, M, 0]])
#: Kinds of steps, rows of a result: the innermost loop goes on; the one around it does; the same two in later rounds, once
#: something is kept; the outermost does; the next groups; and the first load, the last store.
INNER, MIDDLE, INNER_AGAIN, MIDDLE_AGAIN, OUTER, GROUP, FIRST, LAST = range(8)
#: Columns of a result: how many steps, bytes of each kind, cycles of DRAM and of all.
NUMBER, ACTIVATIONS, WEIGHTS, OTHERS, SUMS_IN, OUTPUTS, SUMS_OUT, DRAM, SPAN = range(9)


class Given(NamedTuple):
    """A layer and a machine in numbers.

    Sizes are in elements, memory in bytes, time in cycles.  `row`, `column` and `stream` are the dimensions along the array's rows,
    along its columns and past its elements; `stays` is what is in them meanwhile.  ``memory_*`` number the memories of `room`,
    `port`: one of activations and outputs, of weights, of sums.  ``*_bits`` are those that a port moves for each element that the
    array takes.
    """

    pixels: float
    filters: float
    terms: float
    groups: float
    products: float
    planes: float
    row: int
    column: int
    stream: int
    skew: float
    overlapped_array: bool
    passes: float
    passes_of_sums: float
    activation_bytes: float
    all_activations_bytes: float
    weight_bytes: float
    sum_bytes: float
    output_bytes: float
    loaded_bytes: float
    weights_total: float
    outputs_total: float
    sums_total: float
    others_total: float
    constants: float
    activation_bits: float
    weight_bits: float
    sum_bits: float
    output_bits: float
    joined_bits: float
    memory_activations: int
    memory_weights: int
    memory_sums: int
    room: tuple[float, float, float]
    port: tuple[float, float, float]
    transforms: float
    operations: float
    burst: float
    speed: float
    latency: float
    overlapped: bool
    eager: bool


class Cost(NamedTuple):
    """A tiling's price.

    Parameters
    ----------
    fits : bool
    cycles, traffic, footprint : float
        Whole cycles of the layer, bytes of DRAM traffic, bytes on chip.
    array, fill, once : float
        Of the array, over all tiles; what of filling and draining it is behind the last one.
    steps, compute, port, vector : float
        Tiles, and for the mean one, cycles of the array, of the port that is asked most, of the vector unit.
    rounds : float
        How often all activations come in.
    held_activations, held_weights, held_sums, held_outputs : float
        Bytes on chip.
    sram_activations, sram_weights, sram_sums : float
        Bits that the array reads; as many sums are written.
    moved_activations, moved_weights, moved_sums : float
        Elements of one product between array and SRAM.
    """

    fits: bool
    cycles: float
    traffic: float
    footprint: float
    array: float
    fill: float
    once: float
    steps: float
    compute: float
    port: float
    vector: float
    rounds: float
    held_activations: float
    held_weights: float
    held_sums: float
    held_outputs: float
    sram_activations: float
    sram_weights: float
    sram_sums: float
    moved_activations: float
    moved_weights: float
    moved_sums: float


def _compiled(function: Any) -> Any:
    return numba.njit(cache=True)(function)


@_compiled
def work(p, m, n, k):  # type: ignore[no-untyped-def]
    """Cycles in which the array multiplies, and in which it fills and drains, over all tiles, without a skew that is paid once."""
    axes = (m, n, k)
    rows, columns, stream = axes[p.row], axes[p.column], axes[p.stream]
    folds = rows[FOLDS] * columns[FOLDS] * p.products
    exchanges = folds * p.passes_of_sums  # where sums stay, all passes follow each other
    if p.overlapped_array:
        return folds * p.passes * stream[STREAM], exchanges * stream[LATE]
    return folds * p.passes * stream[STREAM], exchanges * stream[COUNT] * p.skew


@_compiled
def end(p, axis, dimension):  # type: ignore[no-untyped-def]
    """The mean of a dimension's first and last tile, in tiles of mean size."""
    size = (p.pixels, p.filters, p.terms)[dimension]
    return (axis[TILE] + max(0.0, size - (axis[COUNT] - 1) * axis[TILE])) / 2 * axis[COUNT] / size


@_compiled
def evaluate(p, g, m, n, k, order, kinds):  # type: ignore[no-untyped-def]
    """The price of one tiling.

    Parameters
    ----------
    p : Given
    g, m, n, k
        Rows of the tables of cuts.
    order
        Row of `ORDERS`.
    kinds : float64 (8, 9)
        Is filled with the kinds of steps, unless the tiling does not fit.
    """
    axes = (m, n, k)
    groups, parts_of_k = g[1], k[COUNT]
    steps = groups * m[COUNT] * n[COUNT] * k[COUNT]
    spills = order[2] != K

    # Between array and SRAM: what moves passes once for each fold across it, what stays is read once a fold.
    if p.stream == K:
        moved_a, moved_w, parts = p.pixels * p.terms * n[FOLDS], p.filters * p.terms * m[FOLDS], parts_of_k
    elif p.stream == M:
        moved_a, moved_w, parts = p.pixels * p.terms * n[FOLDS], p.filters * p.terms * m[COUNT], k[FOLDS]
    else:
        moved_a, moved_w, parts = p.pixels * p.terms * n[COUNT], p.filters * p.terms * m[FOLDS], k[FOLDS]
    parts *= p.passes_of_sums
    moved_s = p.pixels * p.filters * parts
    outside = parts > 1 or p.planes > 1

    # On chip.
    tile = g[0] * m[TILE] * n[TILE]
    held_a = g[0] * (p.all_activations_bytes if order[3] == 1 else k[CHANNELS] * m[INPUTS] * p.activation_bytes)
    held_w = g[0] * p.weight_bytes * (p.filters * p.terms if order[3] == 2 else n[TILE] * k[TILE])
    held_s = tile * p.sum_bytes if outside else 0.0
    held_o = tile * p.output_bytes
    fits = not (spills and (parts_of_k == 1 or m[COUNT] * n[COUNT] == 1))
    for memory in range(3):
        used = held_a + held_o if p.memory_activations == memory else 0.0
        used += (held_w if p.memory_weights == memory else 0.0) + (held_s if p.memory_sums == memory else 0.0)
        fits = fits and used <= p.room[memory]
    footprint = held_a + held_w + held_s + held_o
    if not fits:
        return Cost(False, np.inf, np.inf, footprint, 0.0, 0.0, 0.0, steps, 0.0, 0.0, 0.0, 0.0, held_a, held_w, held_s, held_o, 0.0,
                    0.0, 0.0, 0.0, 0.0, 0.0)

    # Of DRAM, for a mean tile, in whole bursts.
    mn = groups * m[COUNT] * n[COUNT]
    load_a = np.ceil(m[HALO] * p.loaded_bytes / (groups * m[COUNT] * k[COUNT]) / p.burst) * p.burst
    load_w = np.ceil(p.weights_total / (groups * n[COUNT] * k[COUNT]) / p.burst) * p.burst
    other = np.ceil(p.others_total / mn / p.burst) * p.burst
    store = np.ceil(p.outputs_total / mn / p.burst) * p.burst
    spilled = 0.0
    if spills:
        stays = groups * end(p, m, M) * end(p, n, N)  # where the outermost loop goes on, a tile of sums need not leave
        spilled = np.ceil(p.sums_total / mn / p.burst) * p.burst * (mn - stays) * (parts_of_k - 1) / (steps - 1)

    # How many steps of each kind, and which operands they load: those that depend on the loop that goes on.  A loop inside turns
    # round then and goes back, so that the tile before needed the same of it: its first tile or its last, by turns.
    n1, n2, n3 = axes[order[0]][COUNT], axes[order[1]][COUNT], axes[order[2]][COUNT]
    first_rounds = 1.0 if order[3] else n1
    kinds[:] = 0.0
    kinds[INNER, NUMBER] = groups * first_rounds * n2 * (n3 - 1)
    kinds[MIDDLE, NUMBER] = groups * first_rounds * (n2 - 1)
    kinds[INNER_AGAIN, NUMBER] = groups * (n1 - first_rounds) * n2 * (n3 - 1)
    kinds[MIDDLE_AGAIN, NUMBER] = groups * (n1 - first_rounds) * (n2 - 1)
    kinds[OUTER, NUMBER] = groups * (n1 - 1)
    kinds[GROUP, NUMBER] = groups - 1
    for what, foreign, mean, keeps in ((ACTIVATIONS, N, load_a, 1), (WEIGHTS, M, load_w, 2)):
        size = mean
        if order[1] == foreign and n2 > 1 and n3 > 1:
            size = mean * (n3 - end(p, axes[order[2]], order[2])) / (n3 - 1)
        elif order[0] == foreign and n1 > 1 and n2 * n3 > 1 and order[3] != keeps:
            size = mean * (n2 * n3 - end(p, axes[order[2]], order[2]) * end(p, axes[order[1]], order[1])) / (n2 * n3 - 1)
        kinds[INNER, what] = size if order[2] != foreign else 0.0
        kinds[MIDDLE, what] = size if order[1] != foreign else 0.0
        if order[3] != keeps:
            kinds[INNER_AGAIN, what], kinds[MIDDLE_AGAIN, what] = kinds[INNER, what], kinds[MIDDLE, what]
            kinds[OUTER, what] = size if order[0] != foreign else 0.0
        kinds[GROUP, what] = mean
    for kind in range(6):
        # A tile of outputs is complete before a step that is none of the inner loop's, and leaves in the one behind that; where
        # sums leave, that is one step of many.
        inside = kind in (INNER, INNER_AGAIN)
        begins = (mn - 1) / (steps - 1) if spills else 0.0 if inside else 1.0
        leaves = begins if spills or n3 == 1 else (mn - 1) / (mn * (n3 - 1)) if inside else 0.0
        kinds[kind, OTHERS], kinds[kind, OUTPUTS] = other * begins, store * leaves
        kinds[kind, SUMS_IN] = kinds[kind, SUMS_OUT] = spilled
    kinds[FIRST, NUMBER], kinds[FIRST, ACTIVATIONS], kinds[FIRST, WEIGHTS] = 1.0, load_a, load_w + p.constants
    kinds[FIRST, OTHERS] = other
    kinds[LAST, NUMBER], kinds[LAST, OUTPUTS] = 1.0, store

    # The array, the ports, the vector unit.
    array, fill = work(p, m, n, k)
    sram_a, sram_w = moved_a * p.activation_bits, moved_w * p.weight_bits
    sram_s = moved_s * p.sum_bits if outside else 0.0
    port = 0.0
    for memory in range(3):
        read = (sram_a + p.joined_bits if p.memory_activations == memory else 0.0) + (sram_w if p.memory_weights == memory else 0.0)
        sums = sram_s if p.memory_sums == memory else 0.0
        written = (p.output_bits if p.memory_activations == memory else 0.0) + sums
        port = max(port, (read + sums) / p.port[memory], written / p.port[memory])
    loads = 1.0
    for kind in range(6):
        if kinds[kind, ACTIVATIONS] > 0 or load_a == 0:
            loads += kinds[kind, NUMBER]
    rounds = loads / (groups * m[COUNT] * k[COUNT])
    compute, port = (array + fill) / steps, port / steps
    vector = (rounds * p.transforms + p.operations) / steps
    busy = max(compute, port, vector)

    once = p.skew if p.overlapped_array else 0.0  # behind the last step
    total, traffic = busy + once, 0.0
    for kind in range(8):
        read = kinds[kind, ACTIVATIONS] + kinds[kind, WEIGHTS] + kinds[kind, OTHERS] + kinds[kind, SUMS_IN]
        moved = read + kinds[kind, OUTPUTS] + kinds[kind, SUMS_OUT]
        dram = (p.latency if read > 0 else 0.0) + moved / p.speed
        kinds[kind, DRAM] = kinds[kind, SPAN] = dram
        if kind < FIRST:
            kinds[kind, SPAN] = max(busy, dram) if p.overlapped else busy + dram
        elif kind == FIRST and p.eager:
            # The first fold waits for its own operands alone, and for those as they come.
            share = 1.0 / (axes[p.row][FOLDS] / axes[p.row][COUNT]) / (axes[p.column][FOLDS] / axes[p.column][COUNT])
            whole_a = axes[N][FOLDS] / axes[N][COUNT] if p.stream != N else 1.0
            whole_w = axes[M][FOLDS] / axes[M][COUNT] if p.stream != M else 1.0
            first = p.latency + share * (load_a * whole_a + load_w * whole_w) / p.speed - share * compute
            kinds[kind, DRAM] = kinds[kind, SPAN] = max(0.0, first, dram - busy)
        total += kinds[kind, NUMBER] * kinds[kind, SPAN]
        traffic += kinds[kind, NUMBER] * moved
    return Cost(True, np.ceil(total - 1e-6), traffic, footprint, array, fill + once, once, steps, compute, port, vector, rounds,
                held_a, held_w, held_s, held_o, sram_a, sram_w, sram_s, moved_a, moved_w, moved_s)


@_compiled
def search(p, groups, pixels, filters, terms, orders):  # type: ignore[no-untyped-def]
    """Rows of the tables and of `ORDERS` with the least time, then traffic, filling of the array, footprint; -1 if none fits."""
    found = np.full(5, -1)
    time, traffic, fills, footprint = np.inf, np.inf, np.inf, np.inf
    kinds = np.zeros((8, 9))
    for gi in range(len(groups) - 1, -1, -1):  # large tiles first: they are most often the best, and cut off the rest
        for ni in range(len(filters) - 1, -1, -1):
            for ki in range(len(terms) - 1, -1, -1):
                if groups[gi, 0] * filters[ni, TILE] * terms[ki, TILE] * p.weight_bytes > p.room[p.memory_weights]:
                    continue
                for mi in range(len(pixels) - 1, -1, -1):
                    array, fill = work(p, pixels[mi], filters[ni], terms[ki])
                    if array + fill > time:
                        continue
                    for oi in range(len(orders)):
                        cost = evaluate(p, groups[gi], pixels[mi], filters[ni], terms[ki], orders[oi], kinds)
                        if not cost.fits or cost.cycles > time:
                            continue
                        better = cost.cycles < time
                        for new, old in ((cost.traffic, traffic), (cost.fill, fills), (cost.footprint, footprint)):
                            if better or new > old:
                                break
                            better = new < old
                        if better:
                            time, traffic, fills, footprint = cost.cycles, cost.traffic, cost.fill, cost.footprint
                            found[0], found[1], found[2], found[3], found[4] = gi, mi, ni, ki, oi
    return found

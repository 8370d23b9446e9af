"""What padding, queues and the width of the matrix memory cost, on the nine layers."""

from __future__ import annotations

from typing import Final

from rich.table import Table

from hwsim.energy import EnergyTable
from hwsim.engines.eie_cycles import run_layer
from hwsim.systems.actions import Action

from .layers import CODE_BITS, INDEX_BITS, LANES, PAPER_DEPTH, PES, Encoded
from .timing import cycles

PE_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
QUEUE_DEPTHS: Final = (2, 3, 4, 6, 8, 16, 32, 64, 128, 256)
READ_BITS: Final = (32, 64, 128, 256, 512)
MATRIX_BYTES: Final = 128 << 10


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    table.add_column("layer")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def padding(layers: list[Encoded]) -> Table:
    """Padding entries as a part of all entries, against the number of PEs that the rows are dealt to."""
    table = _table(f"Padding, % of the stored entries ({INDEX_BITS} bits of index), against PEs", *(str(pes) for pes in PE_COUNTS))
    for one in layers:
        shares = []
        for pes in PE_COUNTS:
            matrix = one.matrix if pes == one.matrix.pes else one.layer.encode(pes)
            shares.append(100 * matrix.padding / matrix.entries)
        table.add_row(one.layer.name, *(f"{share:.1f}" for share in shares))
    return table


def balance(layers: list[Encoded]) -> Table:
    """Load balance against queue depth."""
    table = _table(f"Load balance, % of all PEs' cycles spent on an entry, {PES} PEs, against queue depth",
                   *(str(depth) for depth in QUEUE_DEPTHS))
    for one in layers:
        entries = int(one.matrix.column_counts[one.layer.x != 0].sum())
        table.add_row(one.layer.name, *(f"{100 * entries / PES / cycles(one, depth):.1f}" for depth in QUEUE_DEPTHS))
    return table


def queues(layers: list[Encoded]) -> Table:
    """What happens in the cycles at the paper's depth."""
    table = _table(f"Cycles of the PEs at depth {PAPER_DEPTH}, % of all", "on entries", "of them\npadding",
                   "on columns without\nan entry", "starved", "broadcast waits\nfor room", "for the\nscan", "columns held,\nmean",
                   "most", "entries in the row\nof the one before")
    for one in layers:
        run = run_layer(one.matrix, one.layer.x, lanes=LANES, queue_depth=PAPER_DEPTH)
        every = run.cycles * PES

        def share(count: int, of: int = every) -> str:
            return f"{100 * count / of:.1f}"

        table.add_row(one.layer.name, share(run.entries), share(run.padding_entries), share(int(run.empty_cycles.sum())),
                      share(int(run.starved_cycles.sum())), share(run.full_wait_cycles, run.cycles),
                      share(run.scan_wait_cycles, run.cycles), f"{run.held_mean:.1f}", str(run.held_peak),
                      f"{run.same_row_entries:,}")
    return table


def read_widths(layers: list[Encoded], energies: EnergyTable) -> Table:
    """Reads of the matrix memory and their energy, against its width."""
    read_pj = {bits: energies.action_pj(Action("sram_read", bits, bytes=MATRIX_BYTES)) for bits in READ_BITS}
    table = _table(f"Width of the matrix memory ({MATRIX_BYTES >> 10} KB a PE): words read, thousands, and nJ; * the least energy",
                   *(f"{bits} bits, {read_pj[bits]:.1f} pJ" for bits in READ_BITS))
    every = {bits: [run_layer(one.matrix, one.layer.x, lanes=LANES, queue_depth=PAPER_DEPTH,
                              read_entries=bits // (INDEX_BITS + CODE_BITS)).word_reads for one in layers] for bits in READ_BITS}
    rows = [(one.layer.name, [every[bits][number] for bits in READ_BITS]) for number, one in enumerate(layers)]
    for name, reads in [*rows, ("all", [sum(every[bits]) for bits in READ_BITS])]:
        energy = [count * read_pj[bits] / 1000 for count, bits in zip(reads, READ_BITS, strict=True)]
        table.add_row(name, *(f"{count / 1000:,.0f}  {nj:,.0f}{'*' if nj == min(energy) else ' '}"
                              for count, nj in zip(reads, energy, strict=True)))
    return table

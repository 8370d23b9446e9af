"""Energy tables, and the energy of compressed layers."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.energy import EnergyError, SparseMemories, energy_table, leading_nonzero_nodes, sparse_layer_pj
from hwsim.engines.csc import encode
from hwsim.engines.eie_cycles import run_layer


def test_every_figure_names_its_source() -> None:
    table = energy_table()
    assert table.pj("sram_read", 64, 128 << 10) == 32.9568 and table.pj("int_add", 32) == 0.1
    assert all(figure.source and figure.pj > 0 for figure in table.figures.values())


def test_what_is_missing_is_named() -> None:
    with pytest.raises(EnergyError, match="^there is no energy table 3nm; there is 45nm$"):
        energy_table("3nm")
    with pytest.raises(EnergyError, match="^the table 45nm has no int_add of 7 bits; it has 32 bits$"):
        energy_table().pj("int_add", 7)
    with pytest.raises(EnergyError, match="^the table 45nm has no sram_read of 8 bits from 16384 bytes; it has 16 bits from 16384 bytes, 32 bits from 131072 "):
        energy_table().pj("sram_read", 8, 16384)
    with pytest.raises(EnergyError, match="^the table 45nm has no teleport of 8 bits; it has int_add, int_multiply, leading_nonzero_node, register, sram_read$"):
        energy_table().pj("teleport", 8)


def test_a_layer_by_hand() -> None:
    weights = np.zeros((4, 40), np.int64)
    weights[1] = 1  # 10 entries in each of 4 PEs
    weights[2, 39] = 1  # row 9 of PE 3
    run = run_layer(encode(weights, 4, index_bits=3), np.array([1, 1, 1, 0]), lanes=4, queue_depth=4, read_entries=8)
    # PE 3: 10 entries in two words, then padding and an entry in the second one
    assert (run.entries, run.padding_entries, run.word_reads, run.broadcasts) == (42, 1, 9, 3)
    parts = sparse_layer_pj(run, 4, 40, energy_table(), memories=SparseMemories(read_bits=32))
    assert parts == pytest.approx({
        "pointer reads": 2 * 3 * 4 * 8.31713, "matrix reads": 9 * 21.2195, "arithmetic": 41 * 1.1, "sums and activations": 2 * 41 + 44,
        "queues": 4 * 3 * 4, "leading nonzero": run.cycles * 0.02875})


def test_nodes_of_the_tree() -> None:
    assert [leading_nonzero_nodes(pes) for pes in (1, 4, 5, 16, 64, 256)] == [0, 1, 3, 5, 21, 85]

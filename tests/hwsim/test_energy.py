"""Energy tables: what is listed, what lies between, scaling, files, and prices."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.energy import EnergyError, EnergyTable, energy_table, table_names
from hwsim.energy.grid import Grid, cacti, cacti_rows
from hwsim.energy.scaling import COEFFICIENTS, relative_energy, scale
from hwsim.engines.csc import encode
from hwsim.engines.eie_actions import SparseMemories, leading_nonzero_nodes, sparse_layer_actions
from hwsim.engines.eie_cycles import run_layer
from hwsim.systems.actions import ACTIONS, Action

TABLES = [energy_table(name) for name in table_names()]
IN_TABLES = pytest.mark.parametrize("table", TABLES, ids=table_names())
#: One of every action, as a simulation asks for it.
EVERY = [Action("int_multiply", 8, 8), Action("int_add", 32), Action("binary_accumulate", 16), Action("compare", 16), Action("lookup", 8),
         Action("register_read", 16, bytes=512), Action("register_write", 16, bytes=2), Action("array_hop", 8),
         Action("sram_read", 64, bytes=65536), Action("sram_write", 64, bytes=65536), Action("sram_leakage", 64, bytes=65536),
         Action("dram_read", 64, kind="DDR3"), Action("dram_write", 64, kind="DDR3")]


def test_every_figure_names_its_source_and_how_sure_it_is() -> None:
    assert set(table_names()) >= {"45nm", "7nm", "eyeriss"}
    for table in TABLES:
        assert table.figures
        assert all(figure.source and figure.sure in "smrd" and figure.pj >= 0 for figure in table.figures.values())
    assert {action.name for action in EVERY} == set(ACTIONS) - {"float_add", "float_multiply", "leading_nonzero_node"}


@pytest.mark.parametrize(("action", "pj"), [
    (Action("int_add", 8), 0.03), (Action("int_add", 32), 0.1), (Action("int_multiply", 8, 8), 0.2), (Action("int_multiply", 32, 32), 3.1),
    (Action("float_add", 16), 0.4), (Action("float_multiply", 32), 3.7), (Action("float_multiply", 16, 16), 1.1), (Action("sram_read", 64, bytes=8 << 10), 5.28833),
    (Action("sram_read", 64, bytes=32 << 10), 14.9248), (Action("sram_read", 64, bytes=128 << 10), 32.9568),
    (Action("sram_write", 64, bytes=128 << 10), 21.1631), (Action("sram_leakage", 64, bytes=128 << 10), 79.92409),  # that of 128 bits, which leaks less

    (Action("dram_read", 1, kind="LPDDR4"), 8), (Action("dram_write", 64, kind="DDR3"), 4480), (Action("register_read", 32, bytes=256), 1),
    (Action("leading_nonzero_node"), 0.02875), (Action("leading_nonzero_node", 4), 0.02875),
    # between the listed widths: sums linear in bits, products in the product of the widths; outside in proportion
    (Action("int_add", 24), 0.075), (Action("int_add", 4), 0.015), (Action("int_add", 64), 0.2),
    (Action("int_multiply", 16, 16), 0.2 + 2.9 * (256 - 64) / (1024 - 64)), (Action("int_multiply", 16), 0.78),
    (Action("int_multiply", 8, 2), 0.05), (Action("int_multiply", 2, 8), 0.05), (Action("int_multiply", 64, 64), 12.4),
    # one and a half adder cells; stand-ins
    (Action("binary_accumulate", 16), 1.5 * 0.03 / 8), (Action("register_write", 32, bytes=4), 0.288), (Action("array_hop", 16), 0.144),
    (Action("lookup", 32, bytes=256), 1.0),
])
def test_45nm(action: Action, pj: float) -> None:
    assert energy_table().action_pj(action) == pytest.approx(pj, rel=1e-6)


def test_7nm_and_relative_costs() -> None:
    seven, eyeriss = energy_table("7nm"), energy_table("eyeriss")
    assert seven.action_pj(Action("int_multiply", 8, 8)) == 0.07
    assert seven.action_pj(Action("int_add", 16)) == pytest.approx(0.007 + 0.023 / 3)  # no row of 45 nm is left between them
    assert seven.action_pj(Action("float_multiply", 16, kind="bfloat16")) == 0.21
    assert seven.action_pj(Action("sram_write", 64, bytes=32 << 10)) == pytest.approx(8.5)
    one = eyeriss.action_pj(Action("int_multiply", 16, 16)) + eyeriss.action_pj(Action("int_add", 32))
    assert one == pytest.approx(eyeriss.unit_pj) == pytest.approx(0.88 * scale(45, 0.9, 65, 1.0), rel=0.01)
    for relative, action in ((1, Action("register_read", 16, bytes=448)), (2, Action("array_hop", 16)), (24, Action("sram_read", 64, bytes=108 << 10)),
                             (200, Action("dram_write", 16, kind="LPDDR4"))):
        assert eyeriss.action_pj(action) == pytest.approx(relative * one)
    assert eyeriss.action_pj(Action("sram_leakage", 16, bytes=1 << 16)) == 0


# --- memories


def test_cacti_points_are_met_unless_a_greater_memory_takes_less() -> None:
    rows = cacti_rows()
    assert len(rows) == 274
    lower = []
    for row in rows:
        grid = cacti(int(row["node_nm"]), row["cell"])["sram_read"]
        size, width, pj = int(row["size_bytes"]), int(row["width_bits"]), float(row["read_pj"])
        greater = [float(one["read_pj"]) for one in rows if (one["node_nm"], one["cell"]) == (row["node_nm"], row["cell"])
                   and int(one["size_bytes"]) >= size and int(one["width_bits"]) >= width]
        assert grid.pj(size, width) == pytest.approx(min(greater), rel=1e-9)
        if min(greater) < pj:
            lower.append(pj / min(greater))
    assert (len(lower), max(lower)) == (9, pytest.approx(1.23, abs=0.01))


sizes = st.integers(128, 16 << 20)
widths = st.integers(4, 1 << 14)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["sram_read", "sram_write", "sram_leakage", "register_read"]), st.sampled_from(TABLES), sizes, sizes, widths, widths)
def test_energy_never_falls_with_size_or_width(name: str, table: EnergyTable, a: int, b: int, c: int, d: int) -> None:
    if name == "register_read":
        a, b = max(1, a >> 11), max(1, b >> 11)
    elif table.name == "7nm":
        a, b = (min(max(size, 1024), 8 << 20) for size in (a, b))
    small = table.action_pj(Action(name, min(c, d), bytes=min(a, b)))
    large = table.action_pj(Action(name, max(c, d), bytes=max(a, b)))
    assert small <= large * (1 + 1e-9)


@settings(deadline=None)
@given(st.sampled_from(TABLES), st.integers(1, 64), st.integers(1, 64), st.integers(0, 64))
def test_wider_arithmetic_takes_more(table: EnergyTable, bits: int, other: int, more: int) -> None:
    for action, wider in ((Action("int_add", bits), Action("int_add", bits + more)), (Action("int_multiply", bits, other), Action("int_multiply", bits + more, other)),
                          (Action("compare", bits), Action("compare", bits + more)), (Action("dram_read", bits, kind="DDR3"), Action("dram_read", bits + more, kind="DDR3"))):
        assert 0 < table.action_pj(action) <= table.action_pj(wider) * (1 + 1e-9)
    assert table.action_pj(Action("int_multiply", bits, other)) == table.action_pj(Action("int_multiply", other, bits))


def test_between_points_logarithms_are_interpolated() -> None:
    grid = Grid.of({(1024, 8): 1, (4096, 8): 4, (1024, 32): 16, (4096, 32): 64})
    assert grid.pj(2048, 8) == pytest.approx(2) and grid.pj(1024, 16) == pytest.approx(4) and grid.pj(2048, 16) == pytest.approx(8)
    assert grid.pj(4 * 4096, 32) == pytest.approx(128) and grid.pj(256, 4) == pytest.approx(0.25)
    assert grid.pj(4096, 128) == pytest.approx(4 * 16)  # four side by side, of 1 KB and 32 bits each
    assert grid.pj(256, 32 << 10) == pytest.approx(1024 * 16 / 8**0.5)  # slices below 128 bytes take what those of 128 do
    with pytest.raises(EnergyError, match="^32769 bytes are more than 8 times outside of the 1024 to 4096 bytes that are known; split them into banks$"):
        grid.pj(32769, 8)
    with pytest.raises(EnergyError, match="^127 bytes .* use a register$"):
        grid.pj(127, 8)
    with pytest.raises(EnergyError, match="^words of 1 bits are more than 8 times narrower than the 16 bits that are known; read wider ones$"):
        Grid.of({(1024, 16): 1, (1024, 32): 1}).pj(1024, 1)


# --- prices


counts = st.dictionaries(st.sampled_from(["array", "buffer", "dram"]), st.dictionaries(st.sampled_from(EVERY), st.floats(0, 1e9), max_size=5), max_size=3)


@IN_TABLES
def test_every_table_prices_every_action(table: EnergyTable) -> None:
    prices = table.price({action.name: {action: 2.0} for action in EVERY})
    assert prices == {action.name: pytest.approx(2 * table.action_pj(action)) for action in EVERY}
    assert all(math.isfinite(pj) and (pj > 0 or table.name == "eyeriss") for pj in prices.values())


@settings(deadline=None)
@given(st.sampled_from(TABLES), counts, counts, st.floats(0, 1e3))
def test_a_price_is_linear_in_counts(table: EnergyTable, one: dict, two: dict, factor: float) -> None:
    both = {component: {action: factor * one.get(component, {}).get(action, 0) + two.get(component, {}).get(action, 0)
                        for action in {**one.get(component, {}), **two.get(component, {})}} for component in {**one, **two}}
    first, second = table.price(one), table.price(two)
    assert table.price(both) == {component: pytest.approx(factor * first.get(component, 0) + second.get(component, 0)) for component in both}
    # the total is the sum of the parts, and the parts are those that were asked for
    assert sum(first.values()) == pytest.approx(sum(count * table.action_pj(action) for actions in one.values() for action, count in actions.items()))
    assert set(first) == set(one)


# --- scaling


@IN_TABLES
def test_scaled_to_itself_is_itself(table: EnergyTable) -> None:
    same = table.scaled(table.node_nm, table.volts)
    assert all(same.action_pj(action) == pytest.approx(table.action_pj(action), rel=1e-12) for action in EVERY)
    assert dict(same.figures) == dict(table.figures)


nodes = st.floats(7, 130)
volts = st.floats(0.6, 1.3)


@settings(deadline=None)
@given(nodes, volts, nodes, volts)
def test_two_steps_of_scaling_are_one(node: float, volt: float, to: float, to_volts: float) -> None:
    table = energy_table()
    twice, once = table.scaled(node, volt).scaled(to, to_volts), table.scaled(to, to_volts)
    factor = relative_energy(to, to_volts) / relative_energy(45, 0.9)
    for action in EVERY:
        assert twice.action_pj(action) == pytest.approx(once.action_pj(action))
        assert once.action_pj(action) == pytest.approx(table.action_pj(action) * (1 if action.name.startswith("dram") else factor))


@settings(deadline=None)
@given(nodes, volts, volts)
def test_energy_rises_with_voltage(node: float, one: float, two: float) -> None:
    assert relative_energy(node, min(one, two)) <= relative_energy(node, max(one, two))


def test_the_fits() -> None:
    assert relative_energy(45, 1.0) == pytest.approx(1.103 - 0.362 + 0.2767)
    assert scale(45, 0.9, 7, 0.7) == pytest.approx((0.1776 * 0.49 - 0.09097 * 0.7 + 0.02447) / (1.103 * 0.81 - 0.362 * 0.9 + 0.2767))
    assert relative_energy(38, 0.9) == pytest.approx(math.exp(np.interp(math.log(38), [math.log(32), math.log(45)],
                                                                        [math.log(relative_energy(32, 0.9)), math.log(relative_energy(45, 0.9))])))
    assert all(relative_energy(small, 0.9) < relative_energy(large, 0.9) for small, large in zip(sorted(COEFFICIENTS), sorted(COEFFICIENTS)[1:], strict=False))
    with pytest.raises(EnergyError, match="^5 nm is outside the fits that scale energy; choose 7 to 130 nm$"):
        energy_table().scaled(5, 0.9)
    with pytest.raises(EnergyError, match=r"^0\.4 V is outside the fits that scale energy; choose 0\.6 to 1\.3 V$"):
        energy_table().scaled(22, 0.4)


# --- what is missing


@pytest.mark.parametrize(("action", "says"), [
    (Action("int_mutliply", 8, 8), "^the action 'int_mutliply' is unknown; did you mean int_multiply\\?$"),
    (Action("float_add", 24), "^the table 45nm has no float_add of 24 bits; it has float_add of 16 bits, float_add of 32 bits$"),
    (Action("dram_read", 8, kind="DDR9"), "^the table 45nm has no dram_read of 8 bits \\(DDR9\\); it has dram_read of 64 bits \\(DDR3\\), "),
    (Action("sram_read", 64, bytes=64 << 20), "^the table 45nm has no sram_read of 64 bits from 67108864 bytes: 67108864 bytes are .* split them into banks$"),
    (Action("sram_read", 64), "^sram_read of 64 bits has no size, but its energy depends on it$"),
    (Action("int_add"), "^int_add has no width, but its energy depends on it$"),
])
def test_what_is_missing_is_named(action: Action, says: str) -> None:
    with pytest.raises(EnergyError, match=says):
        energy_table().action_pj(action)


def test_relative_costs_have_no_floats() -> None:
    with pytest.raises(EnergyError, match="^the table eyeriss has no float_add of 32 bits; it has array_hop, "):
        energy_table("eyeriss").action_pj(Action("float_add", 32))


def test_no_such_table(tmp_path: Path) -> None:
    with pytest.raises(EnergyError, match="^there is no energy table '46nm'; did you mean [46]5nm\\? \\(a file's name ends with .csv\\)$"):
        energy_table("46nm")
    with pytest.raises(EnergyError, match="x.csv cannot be read: No such file or directory$"):
        energy_table(tmp_path / "x.csv")


# --- a table of one's own


HEADER = 'name = "mine"\nnode_nm = 28\nvolts = 0.9\nunit = "fJ"\nbase = "45nm"\n\n'
MINE = HEADER + "action,bits,other_bits,bytes,kind,energy,sure,source\nint_multiply,8,8,,,70,m,here\n# more\ndram_read,64,,,LPDDR9,250000,r,there\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.csv"
    path.write_text(text)
    return path


def test_own_rows_over_a_base(tmp_path: Path) -> None:
    table, base = energy_table(write(tmp_path, MINE)), energy_table("45nm")
    assert (table.name, table.node_nm, table.volts, table.unit) == ("mine", 28, 0.9, "fJ")
    assert table.action_pj(Action("int_multiply", 8, 8)) == pytest.approx(0.07)
    assert table.action_pj(Action("int_multiply", 32, 32)) == pytest.approx(0.07 * 16)  # the base's row of 32 bits is gone, too
    assert table.action_pj(Action("dram_read", 64, kind="LPDDR9")) == 250
    assert table.action_pj(Action("dram_read", 64, kind="DDR4")) == 1300
    for action in (Action("int_add", 8), Action("sram_read", 64, bytes=8192)):
        assert table.action_pj(action) == pytest.approx(base.action_pj(action) * scale(45, 0.9, 28, 0.9))
    alone = energy_table(write(tmp_path, MINE.replace('base = "45nm"\n', "").replace('"fJ"', '"MAC"\nunit_pj = 0.5')))
    assert alone.action_pj(Action("int_multiply", 8, 8)) == 35 and len(alone.figures) == 2
    sram = energy_table(write(tmp_path, MINE.replace('base = "45nm"', 'sram = "45nm itrs-lstp"') + "sram_read,64,,8192,,9000,m,here\n"))
    assert sram.action_pj(Action("sram_read", 64, bytes=32768)) == pytest.approx(18)
    assert sram.action_pj(Action("sram_write", 64, bytes=8192)) == pytest.approx(7.87807)


def test_spreadsheets_marks_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(("\ufeff" + MINE.replace("\n", "\r\n")).encode())
    assert energy_table(path).action_pj(Action("int_multiply", 8, 8)) == pytest.approx(0.07)


def test_a_base_may_be_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.csv").write_text(MINE)
    table = energy_table(write(tmp_path, 'name = "two"\nnode_nm = 28\nvolts = 0.9\nunit = "pJ"\nbase = "base.csv"\n'))
    assert table.action_pj(Action("int_multiply", 8, 8)) == pytest.approx(0.07)
    path = write(tmp_path, HEADER.replace("45nm", "mine.csv"))
    with pytest.raises(EnergyError, match="the table is its own base; take another$"):
        energy_table(path)


@pytest.mark.parametrize(("old", "new", "says"), [
    ('unit = "fJ"\n', "", ":5: the header has no unit; add, for example, unit = \"pJ\"$"),
    ("node_nm = 28\n", "", ":5: the header has no node_nm; add, for example, node_nm = 28$"),
    ('unit = "fJ"', 'unit = "MAC"', ":4: the unit 'MAC' is not one of fJ, pJ, nJ; say what one of it is with unit_pj = ...$"),
    ('unit = "fJ"', 'unit = "fJ"\nunit_pj = 2', ":5: unit_pj is for units besides fJ, pJ, nJ; leave it out$"),
    ("volts = 0.9", "volt = 0.9", ":3: the key volt is unknown; did you mean volts\\?$"),
    ("node_nm = 28", "node_nm = -28", ":2: node_nm is -28; give a number above 0$"),
    ("node_nm = 28", 'node_nm = "28nm"', ":2: node_nm is '28nm'; give a number above 0$"),
    ("node_nm = 28", "node_nm = 28 nm", ":2: the header, before the row that begins with action, is not TOML: "),
    ("node_nm = 28", "node_nm = 3", ": 3 nm is outside the fits that scale energy; choose 7 to 130 nm$"),
    ('base = "45nm"', 'base = "44nm"', ": there is no energy table '44nm'; did you mean 45nm\\?"),
    ('base = "45nm"', 'sram = "45"', ":5: sram is '45'; give node and cell, for example \"45nm itrs-hp\"$"),
    ('base = "45nm"', 'sram = "44nm itrs-hp"', ": no SRAM of 44nm itrs-hp was measured; there is 22nm itrs-hp, "),
    ("70,m,here", "-70,m,here", ":8: the energy of int_multiply is '-70'; give a number that is not negative$"),
    ("70,m,here", "nan,m,here", ":8: the energy of int_multiply is 'nan'"),
    ("70,m,here", "inf,m,here", ":8: the energy of int_multiply is 'inf'"),
    ("70,m,here", "7_0,m,here", ":8: the energy of int_multiply is '7_0'"),
    ("unit =", "[more]\nunit =", ":4: the key more is unknown; "),
    ("70,m,here", ",m,here", ":8: the energy of int_multiply is ''"),
    ("70,m,here", "70,x,here", ":8: sure is 'x'; choose one of s \\(read in its source\\), "),
    ("70,m,here", "70,m,here,there", ":8: the row has 9 cells, but there are 8 columns; put texts with commas in quotes$"),
    ("int_multiply,8", "int_mutliply,8", ":8: the action 'int_mutliply' is unknown; did you mean int_multiply\\?$"),
    ("int_multiply,8,8", "int_multiply,,8", ":8: int_multiply needs bits$"),
    ("int_multiply,8,8", "int_multiply,8,0", ":8: other_bits is '0'; give a whole number above 0$"),
    ("int_multiply,8,8,,", "int_multiply,8,8,32,", ":8: int_multiply has no bytes, but '32' is given; leave it empty$"),
    ("# more", "int_multiply,8,,,,71,m,here", ":9: int_multiply of 8 x 8 bits was given in line 8 already; leave one of them$"),
    ("energy,sure", "enrgy,sure", ":7: the column 'enrgy' is unknown; did you mean energy\\?$"),
    ("energy,sure", "sure,sure", ":7: the column sure is there twice; leave one of them$"),
    ("kind,energy,", "kind,", ":7: there is no column energy; columns are action, "),
    ("# more", "sram_read,64,,,,1,m,here\nsram_read,64,,8192,,1,m,here", ": one of several rows of sram_read has no bytes, or an energy of 0; leave one row for all, or give each bytes and an energy above 0$"),
])
def test_a_wrong_table_is_one_sentence_with_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in MINE
    path = write(tmp_path, MINE.replace(old, new))
    with pytest.raises(EnergyError, match=says) as error:
        energy_table(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


# --- the sparse engine


def test_a_sparse_layer_by_hand() -> None:
    weights = np.zeros((4, 40), np.int64)
    weights[1] = 1  # 10 entries in each of 4 PEs
    weights[2, 39] = 1  # row 9 of PE 3
    run = run_layer(encode(weights, 4, index_bits=3), np.array([1, 1, 1, 0]), lanes=4, queue_depth=4, read_entries=8)
    # PE 3: 10 entries in two words, then padding and an entry in the second one
    assert (run.entries, run.padding_entries, run.word_reads, run.broadcasts) == (42, 1, 9, 3)
    parts = energy_table().price(sparse_layer_actions(run, 4, 40, memories=SparseMemories(read_bits=32, queue_bytes=4)))
    assert parts == pytest.approx({
        "pointer reads": 2 * 3 * 4 * 8.31713, "matrix reads": 9 * 21.2195, "arithmetic": 41 * 0.88, "sums and activations": 2 * 41 + 44,
        "queues": 4 * 3 * 4 * 0.288, "leading nonzero": run.cycles * 0.02875})


def test_nodes_of_the_tree() -> None:
    assert [leading_nonzero_nodes(pes) for pes in (1, 4, 5, 16, 64, 256)] == [0, 1, 3, 5, 21, 85]

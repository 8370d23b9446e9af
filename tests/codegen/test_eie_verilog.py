"""The Verilog of the sparse engine: lint-clean, readable by Yosys, one module for all PEs, and of the size that is estimated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codegen.generate import _mem
from codegen.platform import VerilogPlatform
from codegen.templates import render
from codegen.verilog import convert
from codegen.yosys import run_yosys, synthesize
from tests.codegen.eie_cases import Case, case, drawn
from tests.codegen.test_rtl import lint_of


def verilog(one: Case) -> tuple[dict[str, str], list[str]]:
    """Files of an engine, and the names of those that Yosys wrote."""
    platform = VerilogPlatform()
    texts = convert({"eie": one.block()}, platform)
    files = {f"rtl/{name}.v": f"`default_nettype none\n{text}`default_nettype wire\n" for name, text in texts.items()}
    for helper in ("bw_rom", "bw_ram", "bw_ram_async"):
        if any(f"  {helper} #(" in text for text in texts.values()):
            files[f"rtl/{helper}.v"] = render(f"{helper}.v.j2", header="//")
    return files | {f"mem/{stem}.mem": _mem(*words) for stem, words in platform.memories.items()}, [f"{name}.v" for name in texts]


def cases() -> dict[str, Case]:
    rng = np.random.default_rng(1)
    none = np.zeros((4, 4), np.int64)
    return {
        "one of everything": case(rng, (1, 1), pes=1, lanes=1, queue_depth=2, read_entries=1, matrices=[np.full((1, 1), 3)]),
        "nothing at all": case(rng, (4, 4, 4), pes=2, lanes=2, matrices=[none, none]),
        "thresholds": case(rng, (6, 7, 6), pes=4, lanes=2, post="thresholds"),
        "more PEs than rows": case(rng, (4, 3, 2), pes=8, lanes=4, lanes_out=2, post="requant"),
        **{f"drawn {seed}": drawn(seed) for seed in range(3)},
    }


@pytest.mark.parametrize("name", cases())
def test_lint_clean_and_read_by_yosys(name: str, tmp_path: Path) -> None:
    files, generated = verilog(cases()[name])
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "lint.vlt").write_text(render("lint.vlt.j2", files={path.removeprefix("rtl/") for path in files}, generated=generated, interrupt=""))
    sources = [path for path in files if path.endswith(".v")]
    done = lint_of(tmp_path, ["--top-module", "eie", "lint.vlt", *sources])
    assert (done.returncode, done.stderr) == (0, "")
    reads = "\n".join(f"read_verilog {path}" for path in sources)
    run_yosys(files, f"{reads}\nhierarchy -check -top eie\nproc\nmemory_dff\ncheck -assert\n")


def test_all_elements_are_instances_of_one_module() -> None:
    one = case(np.random.default_rng(1), (6, 12, 12), pes=6, lanes=2, matrices=[np.arange(72).reshape(6, 12) % 7, np.eye(12, dtype=np.int64)])
    files, generated = verilog(one)
    assert generated == ["eie.v", "eie_pe.v", "eie_post0.v"]
    assert files["rtl/eie.v"].count("  eie_pe pe") == 6
    assert {path for path in files if path.startswith("mem/")} == {
        "mem/eie_codebook.mem", *(f"mem/eie_{name}{pe}.mem" for name in ("even", "odd", "matrix") for pe in range(6))}


def test_size_and_where_the_memories_are() -> None:
    rng = np.random.default_rng(0)
    values = np.append(rng.integers(-127, 128, 14), 127)
    matrices = [np.where(rng.random(shape) < 0.12, rng.choice(values, shape), 0) for shape in ((96, 96), (96, 16))]
    one = case(rng, (96, 96, 16), pes=2, lanes=2, queue_depth=8, index_bits=4, code_bits=4, read_entries=4, matrices=matrices)
    estimated, cells = one.engine.resources("xilinx"), synthesize(verilog(one)[0], "eie", "xilinx")
    assert (cells.bram18s, cells.dsps) == (estimated.brams, estimated.dsps) == (2, 2)
    assert 0.85 * estimated.luts < cells.luts < 1.15 * estimated.luts
    assert cells.lutrams >= 2 * (16 + 16)  # accumulators and queues

"""Port rules that the default bench does not touch: reset in the middle of a frame, garbage in padding bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.axi import AxiPort
from codegen.bundle import Bundle, build
from intir import unsigned
from tests.networks import folded, mlp

RESET = '''

@cocotb.test()
@cocotb.parametrize(after=[1, 2, 5, 11, 17, 30, 41])
async def reset_in_the_middle(dut, after):
    case = VECTORS["patterns"]["unstalled"]
    prepare("1", "0", 10_000)
    Clock(dut.aclk, 10, unit="ns", impl="gpi").start(start_high=False)
    await reset(dut, 3)
    for _ in range(after):
        await FallingEdge(dut.aclk)
    assert not dut.done.value
    prepare("1", "1", 10_000)
    await reset(dut, 1)
    await RisingEdge(dut.done)
    trace = Trace((FOLDER / "trace").read_text())
    result = compare(trace, case)
    assert not any(result[fault] for fault in FAULTS), result["first_difference"]
    assert len(trace.out_bits) == len(VECTORS["beats_out"])
    assert trace.out_cycles == case["out_cycles"]
    Path(os.environ["BENCH_RESULTS"] + f".{after}").touch()
'''


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Elements of 3 bits in fields of 4, 20 bits of them in 24; four output beats a frame."""
    graph = mlp((15, 8, 8), x=unsigned(3), name="padded")
    return build(graph, folded(graph, [(2, 5), (2, 4)], ["outputs", "inputs"]), tmp_path_factory.mktemp("ports") / "padded")


def run_bench(bundle: Bundle, folder: Path, vectors: dict) -> Path:
    """`tb/run.py`, as someone who has only the bundle would; the folder of its results."""
    (folder / "vectors.json").write_text(json.dumps(vectors))
    done = subprocess.run([sys.executable, bundle.path / "tb" / "run.py", "--vectors", folder / "vectors.json", "--results",
                           folder / "results.json", "--build-dir", folder / "build"], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_reset_in_the_middle_of_a_frame_and_garbage_in_padding_bits(bundle: Bundle, tmp_path: Path) -> None:
    """One build for both: a reset of one cycle at seven moments, each followed by frames that are right, beat and cycle."""
    port = AxiPort(bundle.design.stages[0].engine.word_in, bundle.design.words_in)
    assert (port.element_bits, port.data_bits, port.word.lanes * port.element_bits) == (4, 24, 20)
    vectors = json.loads((bundle.path / "tb" / "vectors.json").read_text())
    padding = 0xF88888
    vectors["beats_in"] = [f"{int(beat, 16) | padding:x}" for beat in vectors["beats_in"]]
    bench = bundle.path / "tb" / "bench.py"
    bench.write_text(bench.read_text() + RESET)
    folder = run_bench(bundle, tmp_path, vectors)
    results = json.loads((folder / "results.json").read_text())
    assert len(results) == 4
    assert all(result["differing_bits"] == result["differing_cycles"] == result["missing_beats"] == 0 for result in results.values())
    assert sorted(int(name.rpartition(".")[2]) for name in os.listdir(folder) if name.startswith("results.json.")) == [1, 2, 5, 11, 17, 30, 41]

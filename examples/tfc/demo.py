"""The whole way, once: a trained binarized network to verified Verilog, on real digits (`make demo`)."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console
from rich.rule import Rule

import bitwright
import intir
from bitwright import show
from codegen.cosim import FAULTS
from hwsim import plan as plans
from hwsim.autoplan import auto_plan
from intir import BitwrightError
from intir.onnx_export import to_onnx
from quant.data import mnist_digits
from quant.lower import host_input
from quant.qonnx_exec import execute

HERE = Path(__file__).resolve().parent
NETWORK = HERE / "tfc_w1a1.onnx"
WORK = HERE.parent.parent / "build" / "demo"
#: FINN's public folding for this network: (PE, SIMD) per layer.
FOLDING = [(16, 49), (8, 8), (8, 8), (10, 8)]
VERIFIED_FRAMES = 100


def main() -> int:
    """Run the seven steps; 0 if everything agrees."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    started = time.monotonic()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)

    def step(number: int, text: str) -> None:
        console.print(Rule(f"{number}/7  {text}", align="left"))

    step(1, "the network and the digits")
    digits = mnist_digits()
    images, labels = digits.test_images, digits.test_labels
    console.print(f"{NETWORK.relative_to(HERE.parent.parent)}: 784-64-64-64-10, 1-bit weights, 1-bit activations, 8-bit pixels in; "
                  f"{len(images):,} test digits that it was not trained on")

    step(2, "lower to the integer-only IR, exactly")
    network = bitwright.lower(NETWORK, input="u8/255")
    intir.save(network.graph, WORK / "tfc.intir")
    show.graph(network.graph, console)

    step(3, "run the reference and compare with the float network")
    logits = bitwright.run(network, images, real=True)
    float_logits = execute(NETWORK, (images / np.float32(255)).astype(np.float32)).reshape(logits.shape)
    differing = int((logits.astype(np.float32) != float_logits).sum())
    integers = bitwright.run(network, images)
    witness_differing = int((onnxruntime_run(network.graph, images) != integers).sum())
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    console.print(f"accuracy {accuracy:.1%} on {len(images):,} digits; of {logits.size:,} logits, {differing} differ from the "
                  f"QONNX network run in float by the qonnx package, {witness_differing} from the IR's ONNX export under stock "
                  "onnxruntime")

    step(4, "plan and simulate")
    plan = auto_plan(network.graph, folding=FOLDING)
    report = bitwright.simulate(network, plan)
    show.simulation(report, console)

    step(5, "generate Verilog")
    bundle = bitwright.build(network, WORK / "rtl", plan, samples=images[:8])
    plans.save(bundle.design.plan, WORK / "plan.toml")
    show.bundle(bundle, console)

    step(6, f"co-verify {VERIFIED_FRAMES} digits under cocotb and Verilator")
    with console.status("compiling the RTL and running four stall patterns"):
        result = bitwright.verify(WORK / "rtl", frames=VERIFIED_FRAMES, x=images)
    show.verification(result, console)

    step(7, "what was shown")
    agree = result.passed and differing == 0 and witness_differing == 0
    faults = sum(result.total(fault) for fault in FAULTS)
    console.print(
        f"- {accuracy:.1%} of {len(images):,} real digits right, in integers only\n"
        f"- {logits.size:,} logits of the integer reference: {differing} differ from the float network, {witness_differing} from "
        "stock onnxruntime\n"
        f"- {4 * VERIFIED_FRAMES} frames through the Verilog, with and without stalls: {result.total('differing_bits')} bits and "
        f"{result.total('differing_cycles')} cycles differ, {faults} faults in all\n"
        f"- one frame every {report.initiation_interval_cycles} cycles ({report.frames_per_second:,.0f} a second at "
        f"{report.clock_mhz:g} MHz), first output after {report.first_output_latency_cycles} cycles\n"
        f"- files: {WORK.relative_to(Path.cwd()) if WORK.is_relative_to(Path.cwd()) else WORK}/tfc.intir, plan.toml and rtl/ "
        f"(start with rtl/INTERFACE.md)\n"
        f"- {time.monotonic() - started:.0f} seconds", highlight=False)
    if not agree:
        console.print("something differs: see above", style="bold red")
    return 0 if agree else 1


def onnxruntime_run(graph: intir.Graph, images: np.ndarray) -> np.ndarray:
    """The IR's plain ONNX export under an unmodified onnxruntime."""
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString())
    port = session.get_inputs()[0]
    x = host_input(graph, images).astype({"tensor(uint8)": np.uint8, "tensor(int8)": np.int8}[port.type])
    return session.run(None, {port.name: x})[0]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BitwrightError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(2)

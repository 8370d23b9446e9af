"""``python -m benchmarks.generator``: a generator of images made small by GAN Slimming, beside the same steps one after another.

The generator restores blurred and noisy digits.  GAN Slimming distills, thins and quantizes it in one objective; the baseline, for
each result, thins the generator to as many multiply-accumulates by the L1 norm of its filters, distills for as many epochs, and
quantizes the result afterwards.  All rows but the float one are integers, lowered and run by the reference.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import intir
from hwsim.explore.targets import as_design, default_rate, on_machines
from hwsim.stored import stored_weights
from hwsim.systems.workload import workload_of
from quant.compress.channels import keep_channels, l1_scores
from quant.compress.ganslim import gan_slim
from quant.data import mnist_digits
from quant.lower import host_input, lower
from quant.nn import export_qonnx, quantize

from .network import imitating, psnr_db, spoiled, trained

SPARSITIES = (0.0, 0.05, 0.1, 0.2)
#: Of the mean squared distance to the teacher's images: it is some 0.01, and the scales' sparsity would outweigh it.
DISTANCE = 100.0
MACHINE = "edge_npu_int8"
INPUT = "u8/255"
COLUMNS = {"title": "", "psnr_db": "PSNR dB", "parameters": "weights", "macs": "MACs", "bytes": "bytes", "latency_us": "us",
           "energy_uj": "uJ", "luts": "LUTs"}
Row = dict[str, str | float | int | None]


def measured(title: str, network: nn.Module, given: Tensor, test: Tensor, wanted: Tensor, bits: int) -> tuple[Row, intir.Graph]:
    """A network in integers: how near its images are, and what it takes."""
    quantized = quantize(network, given[:1], given[:256], weight_bits=bits, activation_bits=bits, input_integers=INPUT).eval()
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        export_qonnx(quantized, given[:1], Path(folder) / "network.onnx", input_name="x", output_name="y")
        graph = lower(Path(folder) / "network.onnx", input_spec=INPUT).graph
    images = intir.to_source(intir.run(graph, host_input(graph, test.numpy())), graph)
    weights = stored_weights(graph)
    (machine,) = on_machines(graph, (MACHINE,))
    return {"title": title, "psnr_db": psnr_db(torch.tensor(images, dtype=torch.float32).reshape(wanted.shape), wanted),
            "parameters": sum(one.weights for one in weights), "macs": workload_of(graph).macs,
            "bytes": -(-sum(one.coded_bits for one in weights) // 8), "latency_us": machine.latency_us,
            "energy_uj": machine.energy_uj}, graph


def rows(epochs: int, bits: int, seed: int) -> list[Row]:
    """Everything."""
    digits = mnist_digits()
    clean, wanted = (torch.tensor(images / np.float32(255)) for images in (digits.train_images, digits.test_images))
    given, test = spoiled(clean, 1), spoiled(wanted, 2)
    teacher = trained(given, clean, epochs, seed)
    with torch.no_grad():
        found: list[Row] = [{"title": "what comes in", "psnr_db": psnr_db(test, wanted)},
                            {"title": "float", "psnr_db": psnr_db(torch.cat([teacher(part) for part in test.split(100)]), wanted),
                             "parameters": sum(one.numel() for one in teacher.parameters()),
                             "bytes": 4 * sum(one.numel() for one in teacher.parameters())}]
    made, graph = measured(f"{bits} bits, afterwards", teacher, given, test, wanted, bits)
    found.append(made)
    whole, fps = float(str(made["macs"])), default_rate(graph) / 4
    designs = [graph]
    for sparsity in SPARSITIES:
        slim = gan_slim(teacher, given, sparsity=sparsity, epochs=epochs, loss=lambda a, b: DISTANCE * functional.mse_loss(a, b),
                        bits=bits, batch=64, seed=seed)
        made, graph = measured(f"GAN Slimming, {sparsity:g}", slim, given, test, wanted, bits)
        found.append(made)
        designs.append(graph)
        part = min(1.0, float(str(made["macs"])) / whole)
        thin = keep_channels(teacher, given[:2], l1_scores(teacher, given[:2]), macs=part)
        made, graph = measured("one after another", imitating(thin, teacher, given, epochs, seed), given, test, wanted, bits)
        found.append(made)
        designs.append(graph)
    for row, graph in zip(found[2:], designs, strict=True):
        design = as_design(graph, fps)
        row["luts"] = design.resources.luts if design.resources else None
    return found


def _cell(value: str | float | int | None) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value or ""


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generator", description="A generator of images, compressed.")
    parser.add_argument("--epochs", type=int, default=8, help="of every training (default %(default)s)")
    parser.add_argument("--bits", type=int, default=8, help="of weights and activations, 2 to 8 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the same sums of floats on every machine of a kind
    found = rows(options.epochs, options.bits, options.seed)
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    table = Table(box=None, pad_edge=False)
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right" if heading else "left")
    for row in found:
        table.add_row(*(_cell(row.get(name)) for name in COLUMNS))
    Console().print(table, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Designs that estimates are held against: every bundled network, and quick ones of the dataflow benchmark."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import torch

import bitwright
from examples import lenet, lenet300, tfc
from examples.digits import as_input
from hwsim.autoplan import auto_plan
from hwsim.design import Design, make_design
from intir import Graph
from quant.data import mnist_digits
from quant.nn import export_qonnx, quantize

#: Families that are calibrated, of `hwsim.plan.FAMILIES`.
FAMILIES: Final = ("xilinx", "ecp5", "generic")
CALIBRATION_DIGITS: Final = 500


def _file(package: object, name: str) -> Graph:
    (folder,) = package.__path__  # type: ignore[attr-defined]
    return bitwright.lower(Path(folder) / name, input="u8/255").graph


def _digits_cnn(bits: int) -> Graph:
    from examples.digits_cnn.model import trained

    calibration = torch.from_numpy(as_input(mnist_digits().train_images[:CALIBRATION_DIGITS]))
    quantized = quantize(trained(), calibration[:1], calibration, weight_bits=bits, activation_bits=bits, input_integers="u8/255")
    with tempfile.TemporaryDirectory(prefix="bitwright_") as folder:
        path = Path(folder) / f"digits_cnn_int{bits}.onnx"
        export_qonnx(quantized, calibration[:1], path, input_name="image", output_name="logits")
        return bitwright.lower(path, input="u8/255").graph


def _benchmark(name: str) -> Graph:
    from benchmarks.dataflow.networks import NETWORKS

    return NETWORKS[name].make()


#: Name -> (its graph, how it is planned: the arguments of `auto_plan`).
DESIGNS: Final[dict[str, tuple[Callable[[], Graph], dict[str, object]]]] = {
    "tfc": (partial(_file, tfc, "tfc_w1a1.onnx"), {"folding": [(16, 49), (8, 8), (8, 8), (10, 8)]}),
    "tfc_slow": (partial(_file, tfc, "tfc_w1a1.onnx"), {"fps": 20_000}),
    "mlp_6bit": (partial(_benchmark, "mlp_6bit"), {"fps": 2000}),
    "mlp_int8": (partial(_benchmark, "mlp_int8"), {"fps": 2000}),
    "mlp_w1": (partial(_benchmark, "mlp_w1"), {"fps": 2000}),
    "lenet_w4a4": (partial(_file, lenet, "lenet_w4a4.onnx"), {"fps": 2000}),
    "lenet_int8": (partial(_file, lenet, "lenet_int8.onnx"), {"fps": 2000}),
    "lenet300": (partial(_file, lenet300, "lenet300_compressed.onnx"), {"sparse": 16}),
    "digits_cnn_int4": (partial(_digits_cnn, 4), {"fps": 2000}),
    "digits_cnn_int8": (partial(_digits_cnn, 8), {"fps": 2000}),
    "shufflenet_v1": (partial(_benchmark, "shufflenet_v1"), {"fps": 2000}),
    "generator": (partial(_benchmark, "generator"), {"fps": 2000}),
}


def design(name: str, family: str) -> Design:
    """The design, planned for a family."""
    make, choices = DESIGNS[name]
    graph = make()
    return make_design(graph, auto_plan(graph, family=family, **choices))  # type: ignore[arg-type]

"""Fixtures: an unmodified onnxruntime as the witness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from intir import Graph
from intir.onnx_export import to_onnx

_DTYPES = {"tensor(int8)": np.int8, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(int64)": np.int64}


def run_onnx(graph: Graph, inputs: dict[str, NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """The graph's outputs, in order, as onnxruntime computes them from the exported model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {one.name: inputs[one.name].astype(_DTYPES[one.type]) for one in session.get_inputs()}
    return [np.asarray(value).astype(np.int64) for value in session.run(None, feeds)]


@pytest.fixture(scope="session")
def stock_onnx() -> Callable[[Graph, dict[str, NDArray[np.int64]]], list[NDArray[np.int64]]]:
    """`run_onnx`."""
    return run_onnx

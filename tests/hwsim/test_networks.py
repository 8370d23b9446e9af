"""The benchmark's networks: made the same each time, with the bits of the integers under stock onnxruntime and the values of torch."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("torch")

import torch

import intir
from benchmarks.dataflow.networks import NETWORKS
from intir import Graph
from intir.onnx_export import to_onnx
from quant.data import mnist_digits

#: The whole way takes 2 to 10 seconds of a core for each network, most of them in torch's exporter.
WHOLE_WAY = ("lenet_w4a4", "mlp_w1", "mlp_6bit", "shufflenet_v1", "generator", "addernet")
FRAMES = 3
#: Of the 1,000 test digits, by digits that make one class.
CORRECT = {"mlp_w1": (1, 929), "mlp_6bit": (2, 920)}


def onnxruntime_run(graph: Graph, frames: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString())
    port = session.get_inputs()[0]
    kind = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8}[port.type]
    return session.run(None, {port.name: frames.astype(kind)})[0]


@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if callable(network.source)])
def test_every_network_is_made_of_real_inputs(name: str) -> None:
    """Calibrated, deterministic, and of two digits it makes two things."""
    network = NETWORKS[name]
    x = network.floats(mnist_digits().test_images[:2])
    state = torch.random.get_rng_state()
    with torch.no_grad():
        first, again = network.module()(x), network.module()(x)
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])
    assert bool(torch.isfinite(first).all())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", WHOLE_WAY)
def test_the_whole_way(name: str) -> None:
    network = NETWORKS[name]
    graph = network.make()
    assert graph.name == name
    frames = network.frames(graph, FRAMES)
    integers = intir.run(graph, frames)
    assert np.ptp(integers) > 0
    assert np.array_equal(onnxruntime_run(graph, frames).reshape(integers.shape), integers)
    if callable(network.source):
        with torch.no_grad():
            floats = network.module()(network.floats(mnist_digits().test_images[:FRAMES])).numpy()
        # float32 rounds: of a sum near a threshold it may give the other level.
        near = np.isclose(floats, intir.to_source(integers, graph), rtol=1e-4, atol=1e-4)
        assert near.mean() > 0.999
    if name in CORRECT:
        merged, correct = CORRECT[name]
        labels = mnist_digits().test_labels // merged
        logits = intir.to_source(intir.run(graph, network.frames(graph, len(labels))), graph)
        assert int(np.sum(logits.argmax(axis=1) == labels)) == correct

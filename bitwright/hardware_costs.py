"""What networks of PyTorch cost on machines, for methods that ask: a way down to integers, and a simulation, for each question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwsim.systems.machine import Machine
from hwsim.systems.machine_file import load_machine
from hwsim.systems.run import simulate
from hwsim.systems.work import Work, Workload
from hwsim.systems.workload import workload_of
from quant.compress.bench.integers import graph_of, layer_matrices
from quant.compress.bench.job import Job, Network
from quant.compress.errors import CompressionError


class HardwareCosts:
    """Costs on the machines of a comparison; see `quant.compress.bench.job.Hardware`.

    Parameters
    ----------
    job : Job
        Whose samples networks are calibrated on.
    machines : sequence of str
    """

    def __init__(self, job: Job, machines: Sequence[str]) -> None:
        self.job, self.machines = job, [load_machine(name) for name in machines]
        self._whole: Workload | None = None

    def latency_us(self, network: Network) -> float:
        """On the first machine that computes with integers."""
        return self._latency_us(network, lambda one: one.array.kind != "eie" and one.array.arithmetic == "integer", "int8")

    def bit_serial_latency_us(self, network: Network) -> float:
        """On the first machine that computes with single bits."""
        return self._latency_us(network, lambda one: one.array.arithmetic in ("binary", "ternary"), "XNOR")

    def sparse_energies_pj(self, network: Network) -> dict[str, float]:
        """Of each layer, on the first machine that skips zeros; what has no weights counts as ``rest``."""
        machine = self._machine(lambda one: one.array.kind == "eie", "EIE")
        if self._whole is None:
            self._whole = workload_of(graph_of(self.job, self.job.network))
        matrices = layer_matrices(network)
        names = {_node_name(name): name for name in matrices}
        works = tuple(_pruned(work, matrices[names[key]]) if (key := work.name.rpartition("_")[0]) in names else work
                      for work in self._whole.works)
        report = simulate(replace(self._whole, works=works), machine)
        found = dict.fromkeys((*matrices, "rest"), 0.0)
        for layer in report.layers:
            found[names.get(layer.name.rpartition("_")[0], "rest")] += layer.total_pj
        return found

    def _latency_us(self, network: Network, fits: Callable[[Machine], bool], what: str) -> float:
        return 1e6 * simulate(workload_of(graph_of(self.job, network)), self._machine(fits, what)).seconds

    def _machine(self, fits: Callable[[Machine], bool], what: str) -> Machine:
        found = next((one for one in self.machines if fits(one)), None)
        if found is None:
            raise CompressionError(f"this method asks what a network costs on an {what} array, and none of the machines is one: "
                                   "add one with --machine (`bitwright machines` lists them)")
        return found


def _node_name(layer: str) -> str:
    """A layer's name as lowered nodes have it, without what they compute."""
    return "t_" + layer.replace(".", "_")


def _pruned(work: Work, matrix: NDArray[np.bool_]) -> Work:
    """A layer with other zeros."""
    if work.weights is None or work.matrix is None or work.matrix.shape != matrix.shape:
        return work
    return replace(work, weights=replace(work.weights, density=float(matrix.mean())), matrix=matrix.astype(np.int64))

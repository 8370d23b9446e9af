"""The few Python names of bitwright: the same steps as the command line, on objects instead of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import codegen.bundle
import codegen.cosim
import codegen.manifest
import codegen.overlay
import codegen.synth
import codegen.synth_result
import intir
from codegen.bundle import Bundle
from codegen.cosim import Verification
from codegen.errors import BundleError, ToolError
from codegen.synth_result import Synthesis
from hwsim import plan as plans
from hwsim.autoplan import auto_plan
from hwsim.design import make_design
from hwsim.plan import Plan
from hwsim.report import SimulationReport, simulate_report
from hwsim.systems import workload as workloads
from hwsim.systems.machine import Machine
from hwsim.systems.machine_file import load_machine
from hwsim.systems.machine_keys import MachineError
from hwsim.systems.report import SystemReport
from hwsim.systems.topologies import topology
from hwsim.systems.work import Workload
from intir import Graph
from quant.check import CheckResult
from quant.check import check as check_network
from quant.lower import LoweredNetwork, host_input
from quant.lower import lower as lower_network

Network = Graph | LoweredNetwork | str | Path


def graph_of(network: Network) -> Graph:
    """The graph of a lowered network, of a ``.intir`` file, or itself."""
    if isinstance(network, LoweredNetwork):
        return network.graph
    return network if isinstance(network, Graph) else intir.load(network)


def plan_of(network: Graph, plan: Plan | str | Path | None) -> Plan:
    """A plan, read from its file, or the default one."""
    if plan is None:
        return auto_plan(network)
    return plan if isinstance(plan, Plan) else plans.load(plan)


def lower(model: str | Path | Any, *, input: str | None = None, argmax: bool = False,
          semantics: str = "exact") -> LoweredNetwork:
    """Lower a QONNX network to the integer-only IR, exactly.

    Parameters
    ----------
    model : path of an ONNX file, or an onnx.ModelProto
    input : str, optional
        Which integers stand for the float input, for example ``u8/255``; without it, the first quantizer's output is the
        hardware's input.
    argmax : bool
        End with the index of the greatest output.
    semantics : str
        Whose arithmetic a QDQ or QLinear model's integers reproduce: ``exact``, ``onnxruntime``,
        ``onnxruntime-int8``, ``tflite`` or ``tflite-single``.
    """
    return lower_network(model, input_spec=input, argmax=argmax, semantics=semantics)


def check(model: str | Path | Any, *, input: str | None = None, argmax: bool = False, x: NDArray[Any] | None = None,
          count: int = 1000, seed: int = 0, witnesses: int = 8, most: int | None = None, float64: bool = False,
          progress: Callable[[str, int, int], None] = lambda stage, done, total: None) -> CheckResult:
    """Lower a QONNX network and compare its integers with the float execution and with exact arithmetic.

    Parameters
    ----------
    model, input, argmax
        As `lower` takes them.
    x : array (N, *shape), optional
        Inputs as the network takes them; by default `count` random ones.
    witnesses : int
        How many inputs are computed exactly although float and integers agree.
    most : int, optional
        The most inputs on which they differ that are computed exactly; by default all.
    float64 : bool
        Execute the network in double precision.
    """
    return check_network(model, input_spec=input, argmax=argmax, x=x, count=count, seed=seed, witnesses=witnesses, most=most,
                         float64=float64, progress=progress)


def run(network: Network, x: NDArray[Any], *, real: bool = False,
        progress: Callable[[int, int], None] | None = None) -> NDArray[Any]:
    """The reference on a batch.

    Parameters
    ----------
    network : Graph, LoweredNetwork or path of a .intir file
    x : array (N, *shape)
        Integers of the graph's input, or floats of the source network's; in the layout of either.
    real : bool
        Return the numbers that the source network gives, in its layout, instead of integers.

    Returns
    -------
    int64 (N, *output shape), or float64 if `real`
    """
    graph = graph_of(network)
    y = intir.run(graph, host_input(graph, x), progress=progress)
    return intir.to_source(y, graph) if real else y


def simulate(network: Network, plan: Plan | str | Path | None = None, *, frames: int | None = None,
             x: NDArray[Any] | None = None, history: bool = False) -> SimulationReport:
    """Cycles, throughput and traffic of a network built as a plan says (by default, `hwsim.autoplan.auto_plan`).

    Parameters
    ----------
    frames : int, optional
        Frames back to back; by default those of `x`, or 5.
    x : array (N, *shape), optional
        Frames as `run` takes them, repeated, for sparse engines, whose cycles depend on them; without it, as if nothing were zero.
    history : bool
        Whether the report also says what each block did over time, for a page or a trace (`hwsim.reports`).
    """
    graph = graph_of(network)
    return simulate_report(make_design(graph, plan_of(graph, plan)), frames, None if x is None else host_input(graph, x),
                           history=history)


def is_topology(network: Network | Workload) -> bool:
    """Whether a name or path means a table of shapes: a ``.csv`` file, or a name that no file has."""
    if not isinstance(network, (str, Path)):
        return False
    path = Path(network)
    return path.suffix.lower() == ".csv" or (not path.suffix and not path.exists())


def workload_of(network: Network | Workload) -> Workload:
    """What a network asks of a machine, layer by layer; a name or a ``.csv`` file is a table of shapes."""
    if isinstance(network, Workload):
        return network
    if isinstance(network, (str, Path)) and is_topology(network):
        return topology(network)
    return workloads.workload_of(graph_of(network))


def simulate_on(network: Network | Workload, machine: Machine | str | Path, *, batch: int = 1, algorithm: str | None = None,
                overrides: Mapping[str, object] | None = None) -> SystemReport:
    """Cycles, traffic and energy of a network on a machine with DRAM, layer by layer; approximate, unlike `simulate`.

    Parameters
    ----------
    network : Graph, LoweredNetwork, path of a .intir file, name or path of a table of shapes, or Workload
    machine : Machine, name of one, or path of a .toml file
    batch : int
        Frames that each layer computes before the next one begins.
    algorithm : str, optional
        How convolutions are computed: one of `hwsim.systems.machine.ALGORITHMS`; by default the best for each layer.
    overrides : dotted key -> value, optional
        Changes of the machine, for example ``{"array.rows": 64}``; not for a `Machine`.
    """
    from hwsim.systems.run import simulate as simulate_system

    found = machine if isinstance(machine, Machine) else load_machine(machine, overrides or {})
    if found.array.kind == "dataflow":
        if isinstance(network, Workload) or is_topology(network):
            raise MachineError(f"machine {found.name} is a design that is made from a network with its weights; give a .intir file "
                               "instead of a table of shapes")
        from hwsim.systems.dataflow_machine import simulate_graph

        return simulate_graph(graph_of(network), found, batch=batch)
    return simulate_system(workload_of(network), found, batch=batch, algorithm=algorithm)


def build(network: Network, path: str | Path, plan: Plan | str | Path | None = None, *, samples: NDArray[Any] | None = None,
          overwrite: bool = False, progress: Callable[[str], None] = lambda step: None) -> Bundle:
    """Write the Verilog bundle of a network to a new folder; `samples` are frames for its bench, as `run` takes them."""
    graph = graph_of(network)
    frames = None if samples is None else host_input(graph, samples)
    return codegen.bundle.build(graph, plan_of(graph, plan), path, samples=frames, overwrite=overwrite, progress=progress)


def verify(path: str | Path, *, frames: int | None = None, x: NDArray[Any] | None = None, simulator: str = "verilator",
           seed: int = 0) -> Verification:
    """Co-verify a bundle: its RTL against the reference's bits and the simulator's cycles, in four stall patterns.

    `x` are frames as `run` takes them; random ones by default.  Of an overlay, `frames` are random products of matrices.
    """
    if codegen.overlay.is_overlay(path):
        if x is not None:
            raise ToolError(f"'{path}' is an overlay, which takes no frames; leave the input out, products of matrices are drawn")
        return codegen.overlay.verify(path, products=frames, simulator=simulator, seed=seed)
    samples: NDArray[np.int64] | None = None
    if x is not None:
        samples = host_input(codegen.bundle.load(path).design.graph, x)[:frames]
    return codegen.cosim.verify(path, frames=frames, x=samples, simulator=simulator, seed=seed)


def synth(path: str | Path, target: str, *, clock_mhz: float | None = None, seed: int = 1, tries: int = 1,
          timeout_seconds: float = 3600.0, progress: Callable[[str, str], None] = lambda step, line: None) -> Synthesis:
    """Synthesize a bundle, place and route it where the target's tools can, and keep the result in it.

    Parameters
    ----------
    path : path of a bundle
    target : str
        One of `codegen.synth_targets.TARGETS`.
    clock_mhz : float, optional
        What placing and routing try to reach; by default the clock of the plan.
    seed, tries : int
        Placements start from `seed`, `seed` + 1, ... until one meets the clock; the fastest counts.
    timeout_seconds : float
        For each run of a tool.
    progress : callable
        Told (step, what the tool says).
    """
    bundle = codegen.bundle.load(path)
    result = codegen.synth.synthesize_bundle(bundle, target, clock_mhz=clock_mhz, seed=seed, tries=tries,
                                             timeout_seconds=timeout_seconds, progress=progress)
    if codegen.manifest.read_manifest(bundle.path) != bundle.manifest:
        raise BundleError(f"bundle '{path}' was replaced while it was synthesized; the result was of the old one and is dropped, "
                          "synthesize again")
    codegen.synth_result.save(result, bundle.path)
    return result

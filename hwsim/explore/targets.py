"""One network on several machines and as a design of its own, side by side; where one can't, why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from intir import BitwrightError, Graph

from ..autoplan import auto_plan
from ..design import ample_design, make_design
from ..engines.memories import Resources
from ..layers import collect
from ..plan import Plan, PlanError
from ..systems.eie_array import values_besides_0
from ..systems.machine_file import load_machine
from ..systems.run import simulate
from ..systems.workload import workload_of

#: Processing elements of the sparse engines that are tried for pruned products, the fewest that keep the rate being taken.
SPARSE_PES = (16, 32, 64, 128, 256)
CLOCK_MHZ = 100.0


@dataclass(frozen=True)
class OnMachine:
    """A network on a machine, or why not.

    Parameters
    ----------
    machine : str
    latency_us, energy_uj : float or None
        Of one frame alone; None where the machine can't run it.
    why_not : str
        Empty where it can.
    """

    machine: str
    latency_us: float | None
    energy_uj: float | None
    why_not: str = ""


@dataclass(frozen=True)
class AsDesign:
    """A network as a dataflow design, estimated, or why not.

    Parameters
    ----------
    resources : Resources or None
    interval_cycles : int or None
        From one frame to the next.
    engines : str
        ``dense``, or ``sparse`` where pruned products run on sparse engines.
    why_not : str
    """

    resources: Resources | None
    interval_cycles: int | None
    engines: str = ""
    why_not: str = ""


def on_machines(graph: Graph, names: Iterable[str]) -> tuple[OnMachine, ...]:
    """One frame on each machine, approximately (`systems.run.simulate`).

    EIE's memories hold codes, so a layer with more values than an array's codes tell apart can't run there:
    15 besides 0 on `eie_64`.
    """
    workload = workload_of(graph)
    made = []
    for name in names:
        try:
            machine = load_machine(name)
            if machine.array.kind == "eie":
                most = (1 << machine.array.code_bits) - 1
                for work in workload.works:
                    values = 0 if work.matrix is None else values_besides_0(work.matrix)
                    if values > most:
                        raise PlanError(f"{work.name} has {values} values besides 0, and a code of {machine.name} tells "
                                        f"{most} apart: share the weights")
            report = simulate(workload, machine)
            made.append(OnMachine(name, 1e6 * report.seconds, report.total_pj / 1e6))
        except BitwrightError as error:
            made.append(OnMachine(name, None, None, " ".join(str(error).split())))
    return tuple(made)


def default_rate(graph: Graph) -> float:
    """Frames per second, at `CLOCK_MHZ`, of the plan that is made unless more is said: a rate for others to keep to.

    Raises PlanError.
    """
    return CLOCK_MHZ * 1e6 / ample_design(graph, auto_plan(graph, clock_mhz=CLOCK_MHZ)).rate()[0]


def as_design(graph: Graph, fps: float) -> AsDesign:
    """The smallest of the designs that are planned for a rate: dense, and with sparse engines where products are pruned.

    Products are in LUTs, not in DSPs, so that binary and 8-bit networks can be compared.
    """
    found: list[tuple[Plan, str]] = []
    why_not = ""
    try:
        found.append((auto_plan(graph, fps=fps, clock_mhz=CLOCK_MHZ), "dense"))
    except BitwrightError as error:
        why_not = " ".join(str(error).split())
    for pes in SPARSE_PES:
        try:
            found.append((auto_plan(graph, fps=fps, clock_mhz=CLOCK_MHZ, sparse=pes), "sparse"))
        except PlanError:  # nothing is pruned enough, or so few elements are too slow
            continue
        break
    made = []
    for plan, engines in found:
        try:
            design = make_design(graph, _in_logic(graph, plan))
        except BitwrightError as error:
            why_not = " ".join(str(error).split())
            continue
        made.append(AsDesign(sum(design.resources.values(), Resources()), design.rate()[0], engines))
    return min(made, key=_weight, default=AsDesign(None, None, "", why_not))


def _in_logic(graph: Graph, plan: Plan) -> Plan:
    """The same without DSPs."""
    able = {layer.name for layer in collect(graph, plan.layers) if "multiplier" in layer.options}
    return replace(plan, layers={name: replace(entry, multiplier="logic") if name in able else entry
                                 for name, entry in plan.layers.items()})


def _weight(one: AsDesign) -> float:
    """One number to compare resources by: a DSP and a block RAM as the LUTs of which a mid-size FPGA has as many as of them."""
    taken = one.resources
    return float("inf") if taken is None else taken.luts + 240 * taken.dsps + 190 * taken.brams  # of an xc7z020

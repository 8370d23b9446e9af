"""Commands on designs: plan, sim, build, verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.systems.report import SystemReport

from .. import show, show_systems
from ..shell import InputError, Json, NetworkFile, PlanFile, err, load_array, out, user_errors
from .reports import CsvFile, HtmlFile, TraceFile, write_reports
from .systems import AnyNetwork, MachineOption, Overrides, parse_overrides

if TYPE_CHECKING:
    from hwsim.report import SimulationReport


@user_errors
def plan(
    network: NetworkFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PLAN.toml", help="File to write.")],
    fps: Annotated[float | None, typer.Option("--fps", help="Frames per second wanted.")] = None,
    clock_mhz: Annotated[float, typer.Option("--clock-mhz", help="Clock that the rate is counted at.")] = 100.0,
    family: Annotated[str | None, typer.Option(
        "--family", help="FPGA family: xilinx, ecp5 or generic [default: the device's, or xilinx].")] = None,
    folding: Annotated[str | None, typer.Option(
        "--folding", metavar="PE,SIMD/...", help="Folding of each matrix layer, e.g. 16,49/8,8/8,8/10,8.")] = None,
    device: Annotated[str | None, typer.Option(
        "--device", help="FPGA that it must fit, e.g. xc7z020 or ecp5-85k; it must be of the family, if one is given.")] = None,
    sparse: Annotated[int | None, typer.Option(
        "--sparse", min=1, max=256, metavar="PES",
        help="Put pruned, weight-shared matrix products on sparse engines of so many processing elements.")] = None,
) -> None:
    """Write a plan to start from: which hardware runs each layer, and how parallel.

    Example: bitwright plan tfc.intir -o plan.toml --fps 1000000 --clock-mhz 100
    """
    from hwsim import plan as plans
    from hwsim.autoplan import auto_plan
    from hwsim.design import make_design

    from ..api import graph_of

    graph = graph_of(network)
    made = auto_plan(graph, fps=fps, clock_mhz=clock_mhz, family=family, folding=parse_folding(folding), device=device,
                     sparse=sparse)
    design = make_design(graph, made)
    plans.save(made, output)
    show.plan(design.plan, out)
    out.print(f"wrote {output}", markup=False)


@user_errors
def sim(
    network: AnyNetwork,
    plan_file: PlanFile = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, max=1_000_000,
                                               help="Frames back to back [default: those of --input, or 5].")] = None,
    x: Annotated[Path | None, typer.Option(
        "--input", metavar="X.npy", help="Frames, for sparse engines, whose cycles depend on them [default: no zeros].")] = None,
    machine: MachineOption = None,
    batch: Annotated[int | None, typer.Option(
        "--batch", min=1, max=1_000_000, help="With --machine: frames that each layer computes at a time [default: 1].")] = None,
    algorithm: Annotated[str | None, typer.Option(
        "--algorithm", help="With --machine: direct, im2col, winograd or fft [default: the best for each layer].")] = None,
    overrides: Overrides = None,
    html: HtmlFile = None, csv: CsvFile = None, trace: TraceFile = None,
    json_: Json = False,
) -> None:
    """Simulate a design: cycles, throughput, traffic, per layer and in all; exactly what the RTL does.

    With --machine: a whole accelerator with DRAM, approximately; cycles, stalls, bytes and energy, and what bounds each layer. It
    takes tables of shapes, such as resnet18, as well.

    Example: bitwright sim tfc.intir --plan plan.toml --frames 10 --json
    """
    from ..api import is_topology, simulate, simulate_on

    report: SimulationReport | SystemReport
    if machine is not None:
        for option, value in (("--plan", plan_file), ("--frames", frames), ("--input", x)):
            if value is not None:
                instead = " (--batch is its number of frames)" if option == "--frames" else ""
                raise InputError(f"{option} is of a generated design, not of a machine{instead}; leave it or --machine out")
        report = simulate_on(network, machine, batch=batch or 1, algorithm=algorithm, overrides=parse_overrides(overrides))
    else:
        for option, given in (("--batch", batch), ("--algorithm", algorithm), ("--set", overrides)):
            if given:
                raise InputError(f"{option} is of a machine; add --machine (`bitwright machines` lists them)")
        if is_topology(network):
            raise InputError(f"'{network}' is no file of a network with weights, which a design needs; give a .intir file, or add "
                             "--machine for a table of shapes (`bitwright machines` lists machines)")
        report = simulate(network, plan_file, frames=frames, x=None if x is None else load_array(x),
                          history=html is not None or trace is not None)
    write_reports(report, html, csv, trace)
    if json_:
        print(json.dumps(report.as_dict(), indent=1))
    elif isinstance(report, SystemReport):
        show_systems.system(report, out)
    else:
        show.simulation(report, out)


@user_errors
def build(
    network: NetworkFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to make.")],
    plan_file: PlanFile = None,
    samples: Annotated[Path | None, typer.Option("--samples", metavar="X.npy", help="Frames for the bench in the bundle.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there already.")] = False,
) -> None:
    """Generate the Verilog bundle with its bench.

    Example: bitwright build tfc.intir --plan plan.toml -o build/tfc
    """
    from ..api import build as build_bundle

    batch = None if samples is None else load_array(samples)
    with out.status("building") as status:
        made = build_bundle(network, output, plan_file, samples=batch, overwrite=force,
                            progress=status.update)
    show.bundle(made, out)


@user_errors
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="Bundle of `bitwright build`, or of `bitwright overlay`.")],
    frames: Annotated[int | None, typer.Option("--frames", min=1, max=1_000_000,
                                               help="Frames in each of four stall patterns [default: up to 32].")] = None,
    x: Annotated[Path | None, typer.Option("--input", metavar="X.npy", help="Frames to run; random ones by default.")] = None,
    simulator: Annotated[str, typer.Option("--simulator", help="verilator or icarus.")] = "verilator",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of random frames and stall patterns.")] = 0,
    json_: Json = False,
) -> None:
    """Co-verify a bundle: RTL against the reference's bits and the simulator's cycles. Exit code 1 if any differ.

    Example: bitwright verify build/tfc --frames 100
    """
    from ..api import verify as verify_bundle

    batch = None if x is None else load_array(x)
    with err.status("building the simulation and running four stall patterns"):
        result = verify_bundle(bundle, frames=frames, x=batch, simulator=simulator, seed=seed)
    if json_:
        print(json.dumps(result.as_dict(), indent=1))
    else:
        show.verification(result, out)
    if not result.passed:
        raise typer.Exit(1)


def parse_folding(text: str | None) -> list[tuple[int, int]] | None:
    """``PE,SIMD/PE,SIMD/...`` as pairs.  Raises InputError."""
    if text is None:
        return None
    try:
        pairs = [tuple(int(number) for number in part.split(",")) for part in text.split("/")]
        if any(len(pair) != 2 or min(pair) < 1 for pair in pairs):
            raise ValueError
    except ValueError:
        raise InputError(f"--folding is '{text}'; give PE,SIMD for each matrix layer, like 16,49/8,8/8,8/10,8") from None
    return [(pair[0], pair[1]) for pair in pairs]

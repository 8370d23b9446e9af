"""The command line: one command per step, files in between."""

from __future__ import annotations

import functools
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from intir import BitwrightError
from intir.whole import write_whole

from . import show

app = typer.Typer(
    help="Turn a quantized, binarized or pruned neural network into integer-only hardware, and prove it.\n\n"
         "Start with: bitwright lower NET.onnx -o NET.intir --input u8/255",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]})
# Where nobody watches, tables keep a width that scripts and logs can rely on.
out = Console(width=None if sys.stdout.isatty() else 110)
err = Console(stderr=True)

NetworkFile = Annotated[Path, typer.Argument(metavar="NET.intir", help="Lowered network, from `bitwright lower`.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", metavar="PLAN.toml", help="Plan; by default one is made on the spot.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]


class InputError(BitwrightError):
    """An argument of the command line names something that cannot be used."""


def user_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """A user's mistake ends in one sentence and exit code 2."""

    @functools.wraps(command)
    def guarded(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except BitwrightError as error:
            err.print(f"bitwright: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            err.print("bitwright: interrupted; nothing was written", style="red", markup=False)
            raise typer.Exit(130) from None

    return guarded


@app.command()
@user_errors
def lower(
    model: Annotated[Path, typer.Argument(metavar="NET.onnx", help="QONNX network.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="NET.intir", help="File to write.")] = None,
    input_: Annotated[str | None, typer.Option("--input", metavar="SPEC",
                                               help="Integers that stand for the float input, e.g. `u8/255`.")] = None,
    argmax: Annotated[bool, typer.Option("--argmax", help="End with the index of the greatest output.")] = False,
    semantics: Annotated[str, typer.Option("--semantics", help="Whose arithmetic a QDQ or QLinear model's integers reproduce: "
                                           "exact, onnxruntime, onnxruntime-int8, tflite or tflite-single.")] = "exact",
    explain: Annotated[bool, typer.Option("--explain", help="List every problem of the model instead of the first.")] = False,
    json_: Json = False,
) -> None:
    """Lower a QONNX network to the integer-only IR, exactly.

    Example: bitwright lower examples/tfc/tfc_w1a1.onnx -o tfc.intir --input u8/255
    """
    import intir
    from quant.lower import explain as explain_network

    from .api import lower as lower_network

    if explain:
        problems = explain_network(model, input_spec=input_, argmax=argmax, semantics=semantics)
        for problem in problems:
            out.print(f"- {problem}", markup=False, highlight=False, soft_wrap=True)
        if problems:
            raise typer.Exit(2)
        out.print(f"{model}: nothing stands in the way of lowering", markup=False)
        return
    network = lower_network(model, input=input_, argmax=argmax, semantics=semantics)
    target = output or model.with_suffix(".intir")
    intir.save(network.graph, target)
    if json_:
        print(json.dumps(show.graph_dict(network.graph), indent=1))
        return
    show.graph(network.graph, out)
    if semantics != "exact":
        out.print(f"the integers are those of {semantics}", markup=False)
    out.print(f"wrote {target}", markup=False)


@app.command()
@user_errors
def check(
    model: Annotated[Path, typer.Argument(metavar="NET.onnx", help="QONNX network.")],
    input_: Annotated[str | None, typer.Option("--input", metavar="SPEC",
                                               help="Integers that stand for the float input, e.g. `u8/255`.")] = None,
    x: Annotated[Path | None, typer.Option("--inputs", metavar="X.npy", help="Inputs; random ones by default.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=1_000_000, help="Random inputs.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random inputs.")] = 0,
    argmax: Annotated[bool, typer.Option("--argmax", help="Compare the index of the greatest output.")] = False,
    witnesses: Annotated[int, typer.Option("--witnesses", min=0, help="Inputs computed exactly although float agrees.")] = 8,
    most: Annotated[int | None, typer.Option("--most", min=0,
                                             help="The most differing inputs computed exactly [default: all].")] = None,
    float64: Annotated[bool, typer.Option("--float64", help="Execute the network in double precision.")] = False,
    json_: Json = False,
) -> None:
    """Compare a network's integers with its float execution, and both with exact arithmetic. Exit code 1 if the integers are wrong.

    Example: bitwright check examples/tfc/tfc_w1a1.onnx --input u8/255 --count 1000
    """
    from .api import check as check_network

    batch = None if x is None else load_array(x)
    with progress_bar() as bar:
        task = bar.add_task("lowering", total=None)
        result = check_network(model, input=input_, argmax=argmax, x=batch, count=count, seed=seed, witnesses=witnesses, most=most,
                               float64=float64, progress=lambda stage, done, total: bar.update(
                                   task, description=stage, completed=done, total=total))
    if json_:
        print(json.dumps(result.as_dict(), indent=1))
    else:
        show.check(result, out)
    if not result.passed:
        raise typer.Exit(1)


@app.command()
@user_errors
def run(
    network: NetworkFile,
    x: Annotated[Path, typer.Argument(metavar="X.npy", help="Batch (N, ...): integers, or floats as the source network takes.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="Y.npy", help="File to write.")],
    real: Annotated[bool, typer.Option("--float", help="Write what the QONNX network gives instead of integers.")] = False,
) -> None:
    """Run the bit-exact reference on a batch.

    Example: bitwright run tfc.intir digits.npy -o logits.npy --float
    """
    from .api import run as run_network

    batch = load_array(x)
    with progress_bar() as bar:
        task = bar.add_task("running", total=len(batch) or 1)
        y = run_network(network, batch, real=real, progress=lambda done, total: bar.update(task, completed=done, total=total))
    save_array(output, y)
    out.print(f"wrote {output}: {y.dtype} {y.shape}", markup=False)


@app.command()
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

    from .api import graph_of

    graph = graph_of(network)
    made = auto_plan(graph, fps=fps, clock_mhz=clock_mhz, family=family, folding=parse_folding(folding), device=device,
                     sparse=sparse)
    design = make_design(graph, made)
    plans.save(made, output)
    show.plan(design.plan, out)
    out.print(f"wrote {output}", markup=False)


@app.command()
@user_errors
def sim(
    network: NetworkFile,
    plan_file: PlanFile = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, max=1_000_000,
                                               help="Frames back to back [default: those of --input, or 5].")] = None,
    x: Annotated[Path | None, typer.Option(
        "--input", metavar="X.npy", help="Frames, for sparse engines, whose cycles depend on them [default: no zeros].")] = None,
    json_: Json = False,
) -> None:
    """Simulate a design: cycles, throughput, traffic, per layer and in all; exactly what the RTL does.

    Example: bitwright sim tfc.intir --plan plan.toml --frames 10 --json
    """
    from .api import simulate

    report = simulate(network, plan_file, frames=frames, x=None if x is None else load_array(x))
    if json_:
        print(json.dumps(report.as_dict(), indent=1))
    else:
        show.simulation(report, out)


@app.command()
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
    from .api import build as build_bundle

    batch = None if samples is None else load_array(samples)
    with out.status("building") as status:
        made = build_bundle(network, output, plan_file, samples=batch, overwrite=force,
                            progress=status.update)
    show.bundle(made, out)


@app.command()
@user_errors
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="Bundle, from `bitwright build`.")],
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
    from .api import verify as verify_bundle

    batch = None if x is None else load_array(x)
    with err.status("building the simulation and running four stall patterns"):
        result = verify_bundle(bundle, frames=frames, x=batch, simulator=simulator, seed=seed)
    if json_:
        print(json.dumps(result.as_dict(), indent=1))
    else:
        show.verification(result, out)
    if not result.passed:
        raise typer.Exit(1)


@app.command(name="show")
@user_errors
def show_(
    path: Annotated[Path, typer.Argument(metavar="FILE_OR_DIR", help="An IR file, a plan or a bundle.")],
    text: Annotated[bool, typer.Option("--text", help="The IR's text form, whole, which parses back and can be compared.")] = False,
) -> None:
    """Show an IR file, a plan or a bundle to a person.

    Example: bitwright show tfc.intir
    """
    import intir
    import intir.text
    from codegen import bundle as bundles
    from hwsim import plan as plans

    if path.is_dir():
        show.bundle(bundles.load(path), out)
    elif path.suffix == ".toml":
        show.plan(plans.load(path), out)
    elif text:
        print(intir.text.dumps(intir.load(path)), end="")
    else:
        show.graph(intir.load(path), out)


@app.command()
@user_errors
def export(
    network: NetworkFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="NET.onnx", help="File to write.")],
) -> None:
    """Export the IR to plain ONNX integer operators, which an unmodified onnxruntime runs with the same bits.

    Example: bitwright export tfc.intir -o tfc_integer.onnx
    """
    from intir.onnx_export import to_onnx

    from .api import graph_of

    save_bytes(output, to_onnx(graph_of(network)).SerializeToString(deterministic=True))
    out.print(f"wrote {output}", markup=False)


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


def load_array(path: Path) -> np.ndarray[Any, Any]:
    """A batch from a ``.npy`` file.  Raises InputError."""
    try:
        # Mapped first: the header's claim is checked against the file's length before anything is allocated.
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise InputError(f"'{path}' does not exist; give the path of a .npy file") from None
    except Exception as error:  # numpy's parser of headers raises whatever Python's tokenizer does
        reason = (str(error).splitlines() or ["empty"])[0][:120]
        raise InputError(f"'{path}' is no readable .npy array ({reason}); write it with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.ndim < 1 or array.dtype.kind not in "biuf":
        raise InputError(f"'{path}' holds {array.dtype} of shape {array.shape}; give a batch of integers or floats, (N, ...)")
    return array


def save_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a ``.npy`` file, whole or not at all.  Raises InputError."""
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    save_bytes(path, data.getvalue())


def save_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.  Raises InputError."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror}; choose a folder that exists and is writable") from None


def progress_bar() -> Progress:
    """A progress bar on standard error that disappears when done."""
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err,
                    transient=True, disable=not err.is_terminal)


def main() -> None:
    """Entry point of the command ``bitwright``."""
    try:
        app()
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)

"""Commands on networks: lower, check, run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .. import show
from ..shell import Json, NetworkFile, load_array, out, progress_bar, save_array, user_errors


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

    from ..api import lower as lower_network

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
    from ..api import check as check_network

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
    from ..api import run as run_network

    batch = load_array(x)
    with progress_bar() as bar:
        task = bar.add_task("running", total=len(batch) or 1)
        y = run_network(network, batch, real=real, progress=lambda done, total: bar.update(task, completed=done, total=total))
    save_array(output, y)
    out.print(f"wrote {output}: {y.dtype} {y.shape}", markup=False)

"""The command that says how much of each layer can go."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..shell import InputError, Json, check_writable, out, progress_bar, save_all, user_errors
from ..show import ruled


@user_errors
def sensitivity(
    model: Annotated[str, typer.Argument(
        metavar="MODEL", help="lenet300, lenet5, vgg or resnet, or path/to/file.py:function, which returns a trained "
        "torch.nn.Module.")],
    loss: Annotated[float, typer.Option("--loss", metavar="POINTS", help="Percentage points that a layer's pruning may "
                                        "cost.")] = 1.0,
    data: Annotated[Path | None, typer.Option(
        "--data", metavar="FILE.npz", help="train_images, train_labels, test_images and test_labels [default: the demo "
        "digits].")] = None,
    csv_: Annotated[Path | None, typer.Option("--csv", metavar="FILE.csv", help="Write every measurement.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw a line for each layer: .svg, .png or "
                                              ".pdf.")] = None,
    json_: Json = False,
) -> None:
    """Prune each layer of a network alone, by magnitude and without retraining, and count right answers.

    They are those of the float network on the training samples, so that test samples choose nothing.

    Example: bitwright sensitivity lenet5 --loss 0.5 --plot sensitivity.svg
    """
    if not 0 <= loss <= 100:
        raise InputError(f"--loss is a number of percentage points from 0 to 100, not {loss:g}")
    if csv_ is not None and plot is not None and csv_.absolute() == plot.absolute():
        raise InputError(f"--csv and --plot both write '{plot}'; give each a file of its own")
    try:
        from quant.compress.bench import data as samples
        from quant.compress.bench.models import check, load_model
        from quant.compress.training import accuracy_percent, evaluate
        from quant.compress.weights import analyse_sensitivity, densities_for
        from quant.compress.weights.sensitivity import DENSITIES
    except ImportError as absent:
        raise InputError(f"compressing needs the package {absent.name}, which is not installed; install bitwright[train,compress,"
                         "demo]") from None
    from ..show_compressed import drawable

    drawable(plot)
    check_writable(csv_, plot)
    found = samples.load(data) if data else samples.digits()
    network = load_model(model)
    check(network, found)
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=None)

        def right_percent(pruned: Any) -> float:
            bar.advance(task)
            return accuracy_percent(evaluate(pruned, found.train_images), found.train_labels)

        analysis = analyse_sensitivity(network.network, right_percent)
    least = densities_for(analysis, loss)
    files: dict[Path, bytes] = {}
    if csv_ is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("layer", "density", "weights", "nonzeros", "right_percent"))
        writer.writerows((row.layer, row.density, row.weights, row.nonzeros, f"{row.score:.6g}") for row in analysis.rows)
        files[csv_] = text.getvalue().encode()
    if plot is not None:
        files[plot] = analysis.plot(plot.suffix[1:])  # type: ignore[arg-type]  # one of the three, or it were refused
    save_all(files)
    if json_:
        print(json.dumps(analysis.as_dict() | {"loss": loss, "densities": least}, indent=1))
        return
    title = f"{network.title}: right % with one layer pruned to a density; {analysis.baseline:.1f} % with none"
    shown = ruled(title, "<layer", "weights", *(f"{density:g}" for density in DENSITIES), f"least for -{loss:g}")
    for layer in analysis.layers:
        rows = analysis.of(layer)
        shown.add_row(escape(layer), f"{rows[0].weights:,}", *(f"{row.score:.1f}" for row in rows), f"{least[layer]:g}")
    out.print(shown)
    for path in files:
        out.print(f"wrote {path}", markup=False)

"""The command of the compression toolbox."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..shell import InputError, Json, check_writable, err, out, progress_bar, save_all, user_errors

if TYPE_CHECKING:
    from ..compressing import Bench, Row, Run

#: Passes over the training samples that a retraining takes.
EPOCHS, QUICK_EPOCHS = 10, 2


@user_errors
def compress(
    models: Annotated[list[str] | None, typer.Argument(
        metavar="[MODEL ...]", help="lenet300, lenet5, vgg or resnet, or path/to/file.py:function, which returns a trained "
        "torch.nn.Module [default: all four].")] = None,
    compare_: Annotated[bool, typer.Option("--compare", help="Run all methods, and print a table.")] = False,
    method: Annotated[str | None, typer.Option("--method", metavar="NAME", help="Run this one.")] = None,
    methods_: Annotated[bool, typer.Option("--methods", help="List the methods.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="METHOD", help="Compare this one; may be repeated.")] = None,
    density: Annotated[float | None, typer.Option("--density", help="Part of the weights to leave, above 0 and up to 1.")] = None,
    keep: Annotated[float | None, typer.Option("--keep", help="Part of the channels to leave.")] = None,
    macs: Annotated[float | None, typer.Option("--macs", help="Part of the multiply-accumulates to leave.")] = None,
    latency: Annotated[float | None, typer.Option("--latency", help="Part of the network's latency to leave.")] = None,
    energy: Annotated[float | None, typer.Option("--energy", help="Part of the network's energy to leave.")] = None,
    bits: Annotated[int | None, typer.Option("--bits", help="Of a weight and an activation.")] = None,
    codes: Annotated[int | None, typer.Option("--codes", help="Values that the weights of a layer may have.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, max=100_000, help="With --method amc or haq: networks that the "
                                               "search tries [default: 20].")] = None,
    trials_file: Annotated[Path | None, typer.Option("--trials-file", metavar="FILE", help="With --method amc or haq: keep the "
                                                     "networks that were tried; the same command goes on after a kill.")] = None,
    curve: Annotated[bool, typer.Option("--curve", help="Compare with several budgets for each method, not one.")] = False,
    data: Annotated[Path | None, typer.Option(
        "--data", metavar="FILE.npz", help="train_images, train_labels, test_images and test_labels [default: the demo "
        "digits].")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=0, max=100_000, help="Of a retraining; 0 for none "
                                               f"[default: {EPOCHS}].")] = None,
    quick: Annotated[bool, typer.Option("--quick", help=f"Retrain for {QUICK_EPOCHS} epochs: a first look.")] = False,
    seeds: Annotated[list[int] | None, typer.Option("--seed", min=0, max=2**31, help="May be given again: then the table has "
                                                    "means [default: 0].")] = None,
    machines: Annotated[list[str] | None, typer.Option(
        "--machine", help="To simulate on; may be given again [default: edge_npu_int8, xnor_64, eie_64_int8].")] = None,
    output: Annotated[Path | None, typer.Option(
        "-o", "--output", metavar="FILE", help="With --method: write the network, .onnx or .intir. With --compare: keep results in "
        "a .csv file; the same command goes on after a kill.")] = None,
    csv_: Annotated[Path | None, typer.Option("--csv", metavar="FILE.csv", help="Write the table, means over seeds.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw rate against distortion, or with --method "
                                              "amc or haq what the search tried and its Pareto front: .svg, .png or .pdf.")] = None,
    json_: Json = False,
) -> None:
    """Make a trained float network smaller by one method, or compare all: accuracy, sizes, machines, hardware.

    Example: bitwright compress lenet300 --method magnitude --density 0.1 -o small.onnx

    or, side by side: bitwright compress lenet300 --compare --only magnitude --only xnor -o results.csv --plot results.svg

    or a search: bitwright compress lenet5 --method amc --latency 0.5 --trials 60 --trials-file trials.log --plot front.svg
    """
    asked = [one for one, given in (("--compare", compare_), ("--method", method is not None), ("--methods", methods_)) if given]
    if len(asked) != 1:
        raise InputError(f"{' and '.join(asked)} exclude each other; give one of them" if asked else
                         "say what to do: --methods lists the methods, --method NAME runs one, --compare runs all")
    try:
        from quant.compress.bench.methods import METHODS, method_of
    except ImportError as absent:
        raise InputError(f"compressing needs the package {absent.name}, which is not installed; install bitwright[train,compress,"
                         "demo]") from None
    from .. import compressing, show_compressed

    if methods_:
        if json_:
            print(json.dumps([{"name": one.name, "group": one.group, "says": one.says, "source": one.source,
                               "budget": one.budget and {"option": one.budget.option, "default": one.budget.default,
                                                         "levels": one.budget.levels}} for one in METHODS.values()], indent=1))
        else:
            show_compressed.methods(METHODS.values(), out)
        return
    if quick and epochs is not None:
        raise InputError("--quick and --epochs both say how long to retrain; give one of them")
    if method is not None and (curve or only):
        raise InputError(f"--{'curve' if curve else 'only'} is for --compare; leave it out, or --method")
    if method is None and output is not None and output.suffix in (".onnx", ".intir"):
        raise InputError(f"'{output}' would be a network, but --compare keeps a table; name a .csv file, or use --method")
    searches = method is not None and method_of(method).searches
    if method is not None and (csv_ or (plot and not searches)):
        raise InputError(f"--{'csv' if csv_ else 'plot'} is for --compare; with --method, --json prints all that was reached")
    if not searches and (trials is not None or trials_file is not None):
        raise InputError(f"--trials{'-file' if trials is None else ''} is for --method "
                         f"{' or '.join(one.name for one in METHODS.values() if one.searches)}, which search; leave it out")
    named = [path.absolute() for path in (output, csv_, plot, trials_file) if path is not None]
    if len(set(named)) < len(named):
        raise InputError(f"two of -o, --csv, --plot and --trials-file write '{named[-1]}'; give each a file of its own")
    drawn = show_compressed.drawing(plot)
    check_writable(csv_, plot, trials_file)
    chosen = [method_of(one) for one in ([method] if method else only or METHODS)]
    budgets = {name: value for name, value in (("density", density), ("keep", keep), ("macs", macs), ("latency", latency),
                                               ("energy", energy), ("bits", bits), ("codes", codes)) if value is not None}
    _check_budgets(budgets, [(one.name, one.budget.option if one.budget else None) for one in chosen], curve)

    from hwsim.systems.machine_file import load_machine
    from quant.compress.bench import data as samples
    from quant.compress.bench.models import check, load_model
    from quant.compress.bench.zoo import ZOO

    wanted = machines or list(compressing.MACHINES)
    for one in wanted:
        load_machine(one)
    if method is not None and len(models or []) != 1:
        raise InputError("--method compresses one network; name it, for example: bitwright compress lenet300 --method "
                         f"{method}")
    found = samples.load(data) if data else samples.digits()
    networks = [load_model(one) for one in models or ZOO]
    for network in networks:
        check(network, found)
    bench = compressing.Bench(found, epochs if epochs is not None else QUICK_EPOCHS if quick else EPOCHS, wanted)
    runs = compressing.runs_of(networks, chosen, seeds=tuple(dict.fromkeys(seeds or [0])), curve=curve, budgets=budgets)
    if method is not None:
        bench.search = replace(bench.search, file=trials_file, trials=trials or bench.search.trials)
        _one(bench, runs, output, plot, json_)
        return
    with progress_bar() as bar:
        task = bar.add_task("compressing", total=len(runs))
        rows = compressing.compare(bench, runs, output, progress=lambda done, total, doing: bar.update(
            task, completed=done, total=total, description=doing))
    table = show_compressed.over_seeds(rows)
    files: dict[Path, bytes] = {}
    if csv_ is not None:
        files[csv_] = _as_csv(table, [*compressing.columns(wanted), "spread", "seeds"])
    if plot is not None:
        files[plot] = drawn(table)
    save_all(files)
    if json_:
        print(json.dumps({"epochs": bench.epochs, "machines": wanted, "rows": rows}, indent=1))
        return
    for network in networks:
        some = [row for row in table if row["model"] == network.name]
        title = f"{network.title} on {found.name}, {bench.epochs} epochs of retraining"
        show_compressed.table(title, some, wanted, out)
        show_compressed.curve(f"{network.title}: right against how many times smaller", some, out)
    for path in (output, *files):
        if path is not None:
            out.print(f"wrote {path}", markup=False)


def _check_budgets(budgets: dict[str, float], methods: list[tuple[str, str | None]], curve: bool) -> None:
    """Refuse a budget that no method takes.  Raises InputError."""
    for option in budgets:
        if curve:
            raise InputError(f"--curve takes several budgets of its own; leave --{option} out")
        if all(one != option for _, one in methods):
            if len(methods) > 1:
                raise InputError(f"none of the methods takes --{option}; `bitwright compress --methods` says what each takes")
            name, own = methods[0]
            raise InputError(f"{name} takes {f'--{own}' if own else 'no budget'}, not --{option}")


def _one(bench: Bench, runs: list[Run], output: Path | None, plot: Path | None, json_: bool) -> None:
    """Run one method, write its network, say what it reached beside the float one; of a search, the front."""
    from quant.compress.search.choose import SearchResult

    from .. import compressing, show_compressed

    if len(runs) != 2:
        raise InputError("--method runs with one seed; give --seed once, or use --compare --only")
    base, run = runs
    if output is not None:
        compressing.check_output(output)
    title, searched = f"{run.model.name}: {run.label}", list[SearchResult]()
    with err.status(title) as status, _kept(bench.search.file):
        bench.check(runs)
        bench.search = replace(bench.search, done=searched.append, progress=lambda trial, total: status.update(
            f"{title}: tried {trial.number + 1:,} of {total:,} networks"))
        integers = bench.compressed(run)
        if output is not None:
            compressing.save_network(integers, output)
        rows: list[Row] = [bench.row(base), bench.asked(run) | bench.measured(run, integers)]
    if plot is not None:
        save_all({plot: show_compressed.searched(searched[0], plot)})
    if json_:
        found: dict[str, object] = dict(rows[1])
        if searched:
            found["front"] = [{"cost": one.cost, "accuracy_percent": one.score, "choice": one.choice} for one in searched[0].front]
        print(json.dumps(found, indent=1))
        return
    show_compressed.table(f"{run.model.title}: {run.label}", rows, bench.machines, out)
    if searched:
        show_compressed.front(searched[0], out)
    for path in (output, plot):
        if path is not None:
            out.print(f"wrote {path}", markup=False)


@contextmanager
def _kept(trials_file: Path | None) -> Iterator[None]:
    """Say of an interrupted search what is left of it."""
    try:
        yield
    except KeyboardInterrupt:
        if trials_file is None or not trials_file.exists():
            raise
        raise KeyboardInterrupt(f"'{trials_file}' has the networks that were tried, and the same command goes on there") from None


def _as_csv(rows: list[Row], names: list[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()

"""Commands that explore: search, sweep."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated

import typer

from .. import show
from ..shell import InputError, Json, NetworkFile, check_writable, err, out, progress_bar, save_all, toml_value, user_errors


@user_errors
def search(
    network: NetworkFile,
    device: Annotated[str, typer.Option("--device", help="FPGA that it must fit, e.g. xc7z020 or ecp5-85k.")],
    fps: Annotated[float | None, typer.Option("--fps", help="Frames per second wanted, at least.")] = None,
    latency_us: Annotated[float | None, typer.Option("--latency-us", help="Time to the first output wanted, at most.")] = None,
    energy_uj: Annotated[float | None, typer.Option("--energy-uj", help="Energy of a frame wanted, at most.")] = None,
    objective: Annotated[str | None, typer.Option(
        "--objective", metavar="fps|latency|luts|energy",
        help="What to make best [default: luts where something is wanted, else fps].")] = None,
    clock_mhz: Annotated[float, typer.Option("--clock-mhz", help="Clock that rates and times are counted at.")] = 100.0,
    energy: Annotated[str | None, typer.Option(
        "--energy", metavar="TABLE", help="Energy table, a name or a file [default: the nearest to the device].")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="PLAN.toml", help="Write the best plan.")] = None,
    points: Annotated[int, typer.Option("--points", min=0, max=200, help="Designs on the front; 0 for the best alone.")] = 12,
    pareto: Annotated[Path | None, typer.Option("--pareto", metavar="FILE.csv", help="Write the front as CSV.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw the front: .svg, .png or .pdf.")] = None,
    json_: Json = False,
) -> None:
    """Search engines and foldings for a device: the best plan, and the front of what else the device can do.

    Example: bitwright search tfc.intir --device xc7z020 --fps 1000000 -o plan.toml
    """
    from hwsim import plan as plans
    from hwsim.energy import energy_table
    from hwsim.explore.search import Wanted
    from hwsim.explore.search import search as find

    from .. import show_explored
    from ..api import graph_of

    if points == 0 and (pareto or plot):
        raise InputError("--points is 0, but --pareto and --plot want a front; give 2 points or more")
    named = [path.absolute() for path in (output, pareto, plot) if path is not None]
    if len(set(named)) < len(named):
        raise InputError(f"two of -o, --pareto and --plot write '{named[-1]}'; give each a file of its own")
    drawn = show_explored.drawing(plot)
    check_writable(output, pareto, plot)
    with err.status("searching") as status:
        result = find(graph_of(network), device, wanted=Wanted(fps, latency_us, energy_uj), objective=objective,
                      clock_mhz=clock_mhz, points=points, table=energy_table(energy) if energy else None, progress=status.update)
    rows = [point.as_dict() for point in result.front]
    files: dict[Path, bytes] = {}
    if pareto is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        files[pareto] = text.getvalue().encode()
    if plot is not None:
        files[plot] = drawn(result)
    if output is not None:
        files[output] = plans.dumps(result.best.plan).encode()
    save_all(files)
    if json_:
        print(json.dumps(result.as_dict(), indent=1))
        return
    show_explored.front(result, out)
    show.plan(result.best.plan, out)
    for path in (output, pareto, plot):
        if path is not None:
            out.print(f"wrote {path}", markup=False)


@user_errors
def sweep(
    spec_file: Annotated[Path | None, typer.Argument(metavar="SPEC.toml", help="What to sweep; options add to it.")] = None,
    network: Annotated[list[str] | None, typer.Option(
        "--network", help="A topology's name, a .csv table of shapes, or a lowered .intir; may be given again.")] = None,
    machine: Annotated[list[str] | None, typer.Option("--machine", help="A machine's name or file; may be given again.")] = None,
    set_: Annotated[list[str] | None, typer.Option(
        "--set", metavar="KEY=VALUES", help="Values of a key of the machines: 16,32,64 or FROM:TO:STEPS[:log].")] = None,
    batch: Annotated[str | None, typer.Option("--batch", metavar="1,8", help="Frames that each layer computes together.")] = None,
    algorithm: Annotated[list[str] | None, typer.Option(
        "--algorithm", help="best, direct, im2col, winograd or fft; may be given again.")] = None,
    random: Annotated[int | None, typer.Option("--random", min=0, metavar="N", help="Draw N points instead of the grid.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the points that are drawn.")] = None,
    output: Annotated[Path | None, typer.Option(
        "-o", "--output", metavar="RESULTS.csv", help="Keep results here; the same command goes on after a kill.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, max=1024, help="Processes [default: as many as cores].")] = None,
    scheduler: Annotated[str, typer.Option("--scheduler", metavar="local|dask|ray", help="Where points are computed.")] = "local",
    address: Annotated[str | None, typer.Option(
        "--address", help="Of a Dask scheduler or a Ray head [default: a cluster on this machine].")] = None,
    json_: Json = False,
) -> None:
    """Simulate thousands of machines: a grid of their keys, or points drawn from it; what is done is kept, whatever happens.

    Example: bitwright sweep --network resnet18 --machine edge_npu_int8 --set array.rows=16,32,64 -o results.csv
    """
    from hwsim.explore.spec import axis_of, joined, load_spec, spec_of
    from hwsim.explore.sweep import best, front
    from hwsim.explore.sweep import sweep as run

    from .. import show_explored

    axes = [axis_of(key, values, f"--set {key}") for key, values in (_axis(text) for text in set_ or [])]
    given = spec_of({name: value for name, value in (("networks", network), ("machines", machine), ("batch", _counts(batch)),
                                                     ("algorithm", algorithm)) if value}, "the command line")
    spec = joined(load_spec(spec_file) if spec_file else given, axes, networks=given.networks, machines=given.machines,
                  batch=given.batch if batch else (), algorithm=given.algorithm if algorithm else (), random=random, seed=seed)
    with progress_bar() as bar:
        task = bar.add_task("simulating", total=None)
        rows = run(spec, output, scheduler=scheduler, jobs=jobs, address=address,
                   progress=lambda done, total: bar.update(task, completed=done, total=total))
    networks = {name: [row for row in rows if row["network"] == name] for name in spec.networks}
    errors = [row for row in rows if "error" in row]
    if json_:
        print(json.dumps({"points": len(rows), "errors": len(errors), "fingerprint": spec.fingerprint,
                          "best": {name: best(some) for name, some in networks.items()},
                          "front": {name: front(some) for name, some in networks.items()}}, indent=1))
        return
    for name, some in networks.items():
        show_explored.sweep(name, some, best(some), front(some), [axis.key for axis in spec.axes], out)
    if errors:
        out.print(f"{len(errors):,} of {len(rows):,} points are invalid; the first: {errors[0]['error']}", markup=False,
                  highlight=False)
    if output is not None:
        out.print(f"wrote {output}", markup=False)


def _axis(text: str) -> tuple[str, object]:
    """``KEY=1,2,3`` or ``KEY=FROM:TO:STEPS[:log]``.  Raises InputError."""
    key, equals, values = text.partition("=")
    if not equals or not key.strip() or not values.strip():
        raise InputError(f"--set is '{text[:80]}'; write KEY=VALUES, for example array.rows=16,32,64 or clock_mhz=100:1000:10:log")
    parts = [toml_value(part) for part in values.split(":")]
    if 2 <= len(parts) <= 4 and all(isinstance(part, (int, float)) for part in parts[:2]):
        return key.strip(), dict(zip(("from", "to", "steps", "scale"), parts, strict=False))
    return key.strip(), [toml_value(part) for part in values.split(",")]


def _counts(text: str | None) -> list[object] | None:
    return None if text is None else [toml_value(part) for part in text.split(",")]

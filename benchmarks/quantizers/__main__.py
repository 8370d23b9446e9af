"""``python -m benchmarks.quantizers``: every quantizer by one recipe on the digits, down to integers.

Each method quantizes the same small network and trains it from the same seed, on 4,000 digits; methods that start from a trained
float network fine-tune for a third of the epochs, or only calibrate.  Then the network is exported to QONNX, lowered,
and run in integers on the 1,000 test digits.  Of its 10,000 logits, the table counts those that differ from the float
execution of the same file by the qonnx package, how many of these are the float execution's rounding by exact rational
arithmetic, and how many integers are not exact at all: none, or the exit code is 1.

Two processes of one thread each by default.  The same seed gives the same table, but for the seconds, on the same type of
machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from .rows import Row

EPOCHS = 10
HEADINGS = ["method", "source", "bits of weights", "of activations", "training", "torch %", "integers %", "logits that differ",
            "float rounding", "inexact", "bytes of weights", "of activations", "training s"]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def parsed(arguments: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantizers", description="Every quantizer on the digits.")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=f"methods to take: {', '.join(names)}")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the train digits (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each (default %(default)s)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    form.add_argument("--json", action="store_true", help="print a line of JSON for each row, as soon as it is there, "
                                                           "instead of a table")
    options = parser.parse_args(arguments)
    if options.epochs < 1 or options.jobs < 1:
        parser.error("--epochs and --jobs must be 1 or more")
    return options


def rows_of(names: Sequence[str], epochs: int, jobs: int) -> Iterator[Row]:
    """The rows, each as soon as it is there; the float network is trained first if one of them starts from it."""
    from rich.console import Console
    from rich.progress import Progress

    from quant.data import mnist_digits

    from .rows import BY_NAME, FLOAT_NAME, State, make_row, train_float

    digits = mnist_digits()
    later = [name for name in names if BY_NAME[name].convert is not None]
    context = multiprocessing.get_context("spawn")  # a forked torch may wait for threads that it doesn't have
    with ProcessPoolExecutor(jobs, mp_context=context) as pool, Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("methods", total=len(names))
        first: Future[tuple[Row, State]] | None = None
        if later or FLOAT_NAME in names:
            first = pool.submit(train_float, epochs, digits)
        pending: list[Future[Row]] = [pool.submit(make_row, name, epochs, digits, None)
                                      for name in names if name not in (*later, FLOAT_NAME)]
        if first is not None:
            row, state = first.result()
            if FLOAT_NAME in names:
                progress.advance(task)
                yield row
            pending += [pool.submit(make_row, name, epochs, digits, state) for name in later]
        for done in as_completed(pending):
            row = done.result()
            progress.update(task, advance=1, description=row.method)
            yield row


def cells(row: Row) -> list[str]:
    """What the table says of a row, under `HEADINGS`."""
    found = row.measured
    counts = [""] * 4  # of the float network there are no integers
    if found.ir_percent is not None:
        counts = [f"{found.ir_percent:.1f}", f"{found.differing:,}", f"{found.rounded:,}", f"{found.inexact:,}"]
    sizes = [f"{one.float32:,} -> {one.quantized:,}" for one in (row.weights, row.activations)]
    return [row.method, row.source, row.weight_bits, row.activation_bits, row.training, f"{found.torch_percent:.1f}",
            *counts, *sizes, f"{row.training_seconds:.0f}"]


def table_of(rows: Sequence[Row], title: str) -> Table:
    """For a terminal."""
    from rich.table import Table

    table = Table(title=title)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("method", "source", "training") else "right")
    for row in rows:
        table.add_row(*cells(row))
    return table


def markdown_of(rows: Sequence[Row]) -> str:
    """For docs/quantizers.md."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure, print the table, return the exit code."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"  # for the processes to come

    from rich.console import Console

    from .methods import METHODS

    names = [method.name for method in METHODS]
    options = parsed(arguments, names)
    started = time.monotonic()
    rows = []
    for row in rows_of([name for name in names if options.only is None or name in options.only], options.epochs, options.jobs):
        rows.append(row)
        if options.json:
            print(json.dumps(row.as_dict()), flush=True)
    rows.sort(key=lambda row: names.index(row.method))
    title = f"quantizers on 1,000 real digits, {options.epochs} epochs, {(time.monotonic() - started) / 60:.0f} minutes in all"
    if options.markdown:
        print(f"{title}\n\n{markdown_of(rows)}")
    elif not options.json:
        Console(width=None if sys.stdout.isatty() else 240).print(table_of(rows, title))
    return 1 if any(row.measured.inexact or row.measured.differing != row.measured.rounded for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Syntheses for people: what is going on, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from codegen.synth_result import Synthesis

from .show import ruled


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str, str], None]]:
    """A function that is told (step, line): a status line for people, one line a step where nobody watches."""
    if console.is_terminal:
        with console.status("starting Yosys") as status:
            yield lambda step, line: status.update(f"{escape(step)}: {escape(line[:console.width - len(step) - 8])}")
        return
    last = ""

    def told(step: str, line: str) -> None:
        nonlocal last
        if step != last:
            console.print(f"{step}: {line}", markup=False, highlight=False, soft_wrap=True)
            last = step

    yield told


def synthesis(result: Synthesis, console: Console) -> None:
    """The whole, and what each block takes."""
    table = ruled(f"{result.top} on {result.target} ({result.description}), design {result.design}", "<resource", "found",
                  "hwsim estimated", "the part has", "taken")
    for row in result.table:
        table.add_row(*row)
    console.print(table)
    if result.parts:
        blocks = ruled("block by block: found / estimated", "<block", "<engine", "LUTs", "flip-flops", "block RAMs", "DSPs")
        for part in result.parts:
            blocks.add_row(escape(part.name), part.engine, *(f"{found:,} / {part.estimated[name]:,}" if name in part.estimated
                                                             else f"{found:,}" for name, found in part.found.items()))
        console.print(blocks)
    figures = ruled("", "<", "<")
    figures.columns[1].no_wrap = False
    for name, text in result.figures:
        figures.add_row(name, escape(text))
    console.print(figures)

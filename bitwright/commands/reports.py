"""Files that commands write about a report: a page for people, a table, a trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.systems.report import SystemReport

from ..shell import InputError, save_all

if TYPE_CHECKING:
    from hwsim.report import SimulationReport

HtmlFile = Annotated[Path | None, typer.Option("--html", metavar="FILE.html", help="Write a page with charts, in one file.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", metavar="FILE.csv", help="Write a table, a row per layer or block.")]
TraceFile = Annotated[Path | None, typer.Option("--trace", metavar="FILE.pftrace", help="Write a trace for ui.perfetto.dev.")]


def write_reports(report: SystemReport | SimulationReport, html: Path | None, csv: Path | None, trace: Path | None) -> None:
    """Write those that have a path; none if one of them cannot be made or written.  Raises InputError, TraceError."""
    from hwsim.reports.html import html_page
    from hwsim.reports.perfetto import perfetto_trace
    from hwsim.reports.tables import csv_table

    wanted = [(path, make) for path, make in ((html, html_page), (csv, csv_table), (trace, perfetto_trace)) if path is not None]
    if len({path.absolute() for path, _ in wanted}) < len(wanted):
        raise InputError(f"two of --html, --csv and --trace write '{wanted[-1][0]}'; give each a file of its own")
    save_all({path: make(report) for path, make in wanted})

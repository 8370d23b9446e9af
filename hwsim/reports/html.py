"""One HTML file per report: everything is inside, nothing is fetched, and it can be read without a network.

Charts are SVG made here rather than by a plotting library: an inlined plotly makes every file 4.5 MB, these pages are some
hundred kB, print sharply and follow the reader's light or dark theme.  Every name is escaped by the template engine, and the
page's own policy forbids scripts but the one that is in it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from .. import __version__
from ..report import SimulationReport
from ..systems.report import SystemReport
from . import design_page, system_page

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), undefined=jinja2.StrictUndefined, autoescape=True,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


@cache
def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def html_page(report: SystemReport | SimulationReport, design: str | None = None) -> bytes:
    """The page of a report, in UTF-8: the same report always gives the same bytes.

    `design` is the hash of the hardware that the report is of, for its last line.
    """
    template, view = ("system.html.j2", system_page.view(report)) if isinstance(report, SystemReport) \
        else ("design.html.j2", design_page.view(report))
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = _environment().get_template(template).render(
        **view, style=Markup(_asset("page.css")), script=Markup(script), script_digest=digest, version=__version__,
        design=design)
    return text.encode("utf-8", "backslashreplace")  # a name may be no Unicode

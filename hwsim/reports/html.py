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
from ..systems.report import SystemReport
from . import system_page

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), undefined=jinja2.StrictUndefined, autoescape=True,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


@cache
def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def html(report: SystemReport) -> str:
    """The page of a report: the same report always gives the same text."""
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template("system.html.j2").render(
        **system_page.view(report), style=Markup(_asset("page.css")), script=Markup(script), script_digest=digest,
        version=__version__)

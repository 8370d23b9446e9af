"""Loading of the Jinja2 templates in `rtl_templates`.

Templates only lay text out: a view, built by the caller, decides what is in it. A name that the view lacks is
an error, never an empty string.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2

import rtl_templates

from .errors import CodegenError


@cache
def _environment() -> jinja2.Environment:
    (folder,) = list(rtl_templates.__path__)[:1]
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(folder)),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


def render(name: str, /, **view: object) -> str:
    """The text of template `name` (a path below `rtl_templates`) for the values of the view.

    Raises
    ------
    CodegenError
        If there is no such template, or it uses a name that the view lacks.
    """
    try:
        return _environment().get_template(name).render(**view)
    except jinja2.TemplateNotFound as error:
        raise CodegenError(
            f"template '{error.name}' is not in rtl_templates; check its name, or reinstall"
        ) from error
    except jinja2.UndefinedError as error:
        raise CodegenError(
            f"template '{name}' needs more than its view has: {error.message}; pass it to render()"
        ) from error

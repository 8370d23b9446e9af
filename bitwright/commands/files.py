"""Commands on files: show, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import show
from ..shell import NetworkFile, out, save_bytes, user_errors


@user_errors
def show_(
    path: Annotated[Path, typer.Argument(metavar="FILE_OR_DIR", help="An IR file, a plan, a bundle or an array.")],
    text: Annotated[bool, typer.Option("--text", help="The IR's text form, whole, which parses back and can be compared.")] = False,
) -> None:
    """Show an IR file, a plan, a bundle or an array to a person.

    Example: bitwright show tfc.intir
    """
    import intir
    import intir.text
    from codegen import bundle as bundles
    from codegen import overlay
    from hwsim import plan as plans

    if path.is_dir() and overlay.is_overlay(path):
        print(overlay.load(path)[1]["INTERFACE.md"].decode(), end="")
    elif path.is_dir():
        show.bundle(bundles.load(path), out)
    elif path.suffix == ".toml":
        show.plan(plans.load(path), out)
    elif text:
        print(intir.text.dumps(intir.load(path)), end="")
    else:
        show.graph(intir.load(path), out)


@user_errors
def export(
    network: NetworkFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="NET.onnx", help="File to write.")],
) -> None:
    """Export the IR to plain ONNX integer operators, which an unmodified onnxruntime runs with the same bits.

    Example: bitwright export tfc.intir -o tfc_integer.onnx
    """
    from intir.onnx_export import to_onnx

    from ..api import graph_of

    save_bytes(output, to_onnx(graph_of(network)).SerializeToString(deterministic=True))
    out.print(f"wrote {output}", markup=False)

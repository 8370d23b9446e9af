"""The command line: one command per step, files in between."""

from __future__ import annotations

import io
import os
import sys

import typer

from .commands import compress, design, explore, files, network, overlay, sensitivity, synth, systems
from .shell import stop_on_terminate

app = typer.Typer(
    help="Turn a quantized, binarized or pruned neural network into integer-only hardware, and prove it.\n\n"
         "Start with: bitwright lower NET.onnx -o NET.intir --input u8/255",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]})

for command in (network.lower, network.check, network.run, design.plan, design.sim, design.build, design.verify, synth.synth,
                files.export, systems.machines, systems.complexity, explore.search, explore.sweep, overlay.overlay,
                compress.compress, sensitivity.sensitivity):
    app.command()(command)
app.command("show")(files.show_)


def main() -> None:
    """Entry point of the command ``bitwright``."""
    stop_on_terminate()
    for stream in (sys.stdout, sys.stderr):  # a name may have letters that the terminal has not, or be no Unicode
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except OSError as error:  # commands make sentences of theirs, so it is our output that cannot be written
        if error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):  # its reader has gone
            sys.exit(1)
        print(f"bitwright: cannot write to standard output: {error.strerror or error}; send it where there is room",
              file=sys.stderr)
        sys.exit(2)

"""What the commands share: consoles, common arguments, errors, reading and writing of files."""

from __future__ import annotations

import functools
import io
import os
import signal
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from intir import BitwrightError
from intir.whole import write_all, write_whole

# Where nobody watches, tables keep a width that scripts and logs can rely on.
# Without emoji: a name such as a:b:c is printed as it is.
out = Console(width=None if sys.stdout and sys.stdout.isatty() else 110, emoji=False)  # None: the caller has closed it
err = Console(stderr=True, emoji=False)

NetworkFile = Annotated[Path, typer.Argument(metavar="NET.intir", help="Lowered network, from `bitwright lower`.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", metavar="PLAN.toml", help="Plan; by default one is made on the spot.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]


class InputError(BitwrightError):
    """An argument of the command line names something that cannot be used."""


def user_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """A user's mistake ends in one sentence and exit code 2."""

    @functools.wraps(command)
    def guarded(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except BitwrightError as error:
            err.print(f"bitwright: {one_line(str(error))}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as interrupt:
            rest = one_line(str(interrupt)) or "nothing was written"
            err.print(f"bitwright: interrupted; {rest}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(130) from None

    return guarded


def one_line(text: str) -> str:
    """A text that every terminal prints as one line: control characters, and bytes of names that are no Unicode, as escapes.

    >>> one_line("no file 'a" + chr(10) + "b'")
    "no file 'a\\\\nb'"
    """
    plain = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return plain.encode(err.encoding, "backslashreplace").decode(err.encoding)


def stop_on_terminate() -> None:
    """Let SIGTERM and a terminal that goes end a command as Ctrl-C does, so that it takes its temporary files with it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves SIGHUP
            signal.signal(number, lambda number, frame: sys.exit(128 + number))


def toml_value(text: str) -> object:
    """A value as TOML has it; what is none, or more than one, is a text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    return parsed["value"] if len(parsed) == 1 else text.strip()


def load_array(path: Path) -> np.ndarray[Any, Any]:
    """A batch from a ``.npy`` file.  Raises InputError."""
    try:
        # Mapped first: the header's claim is checked against the file's length before anything is allocated.
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise InputError(f"'{path}' does not exist; give the path of a .npy file") from None
    except Exception as error:  # numpy's parser of headers raises whatever Python's tokenizer does
        reason = (str(error).splitlines() or ["empty"])[0][:120]
        raise InputError(f"'{path}' is no readable .npy array ({reason}); write it with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.ndim < 1 or array.dtype.kind not in "biuf":
        raise InputError(f"'{path}' holds {array.dtype} of shape {array.shape}; give a batch of integers or floats, (N, ...)")
    return array


def save_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a ``.npy`` file, whole or not at all.  Raises InputError."""
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    save_bytes(path, data.getvalue())


def save_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.  Raises InputError."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror}; choose a folder that exists and is writable") from None


def save_all(files: Mapping[Path, bytes]) -> None:
    """Write several files, all of them or, if one has no folder or no room, none.  Raises InputError."""
    try:
        write_all(files)
    except OSError as error:
        raise InputError(f"cannot write '{error.filename}': {error.strerror}; choose a folder that exists and is "
                         "writable; nothing was written") from None


def check_writable(*paths: Path | None) -> None:
    """Refuse, before hours are spent on what goes there, files that can't be written.  Raises InputError."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"cannot write '{path}': it is a folder; name a file in it")
        if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
            why = "may not be written to" if path.absolute().parent.is_dir() else "does not exist"
            raise InputError(f"cannot write '{path}': its folder {why}; choose a folder that exists and is writable")


def progress_bar() -> Progress:
    """A progress bar on standard error that disappears when done."""
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err,
                    transient=True, disable=not err.is_terminal)

"""Writing files whole or not at all; why a text file cannot be read."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write under a temporary name beside the file, then rename: readers see the old file or the new one.

    Raises
    ------
    OSError
        If that is impossible; an existing file is as it was.
    """
    write_all({Path(path): data})


def unreadable(error: OSError | ValueError) -> str:
    """Why a text file could not be read, for the end of a sentence: what the system says, or that its bytes are no text."""
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write several files as `write_whole` does, renaming none before all are written.

    Raises
    ------
    OSError
        If one cannot be written, with its name; no file is changed then.
    """
    staged: list[tuple[str, Path]] = []
    try:
        for path, data in files.items():
            staged.append((_staged(path.absolute(), data), path.absolute()))
        while staged:
            os.replace(*staged[0])
            del staged[0]
    finally:
        for temporary, _ in staged:
            os.unlink(temporary)


def _staged(path: Path, data: bytes) -> str:
    """The temporary file beside a path, written."""
    if path.is_dir():  # what renaming would refuse, when other files are there already
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # not the temporary name
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # mkstemp makes files private to their owner
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    return temporary

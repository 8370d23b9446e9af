"""A file of results that survives a kill: rows are appended as they come, each synced to the disk, and half a row is dropped."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from intir import BitwrightError


@contextlib.contextmanager
def kept(path: str | Path, head: str, *, doing: str, refusal: Callable[[str], str],
         error: type[BitwrightError]) -> Iterator[tuple[IO[bytes], str]]:
    """The file, open to append, and the whole lines that it has behind its head.

    Parameters
    ----------
    path
    head
        The lines that it begins with; a file without any gets them.
    doing
        A word for what writes it, for people.
    refusal
        Of a file with another head: from its text to a sentence.
    error
        To raise where the file can't be used.
    """
    try:
        file = open(path, "a+b")  # noqa: SIM115 - closed below, whatever happens
    except OSError as cause:
        raise error(f"cannot write '{path}': {cause.strerror}; choose a folder that exists and is writable") from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise error(f"'{path}' is a device or a pipe, which cannot keep results to go on with; name a file")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise error(f"another {doing} writes '{path}' just now; wait for it, or name another file") from None
        file.seek(0)
        found, mine = file.read(), head.encode()
        whole = found[:found.rfind(b"\n") + 1]  # a kill may leave half a line
        if whole.startswith(mine):
            text = whole[len(mine):].decode("utf-8", "replace")
            file.truncate(len(whole))
        elif mine.startswith(found):  # nothing, or a head that was cut short
            text = ""
            file.truncate(0)
            append(file, head)
        else:
            raise error(refusal(found.decode("utf-8", "replace")))
        try:
            yield file, text
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"'{path}' has what was done, and the same command goes on there") from None


def append(file: IO[bytes], text: str) -> None:
    """Write some lines so that a kill behind this call takes none of them."""
    file.write(text.encode())
    file.flush()
    os.fsync(file.fileno())


def csv_line(cells: Sequence[object]) -> str:
    """Cells as a line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()

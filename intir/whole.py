"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write under a temporary name beside the file, then rename: readers see the old file or the new one.

    Raises
    ------
    OSError
        If that is impossible; an existing file is as it was.
    """
    path = Path(path).absolute()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # mkstemp makes files private to their owner
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise

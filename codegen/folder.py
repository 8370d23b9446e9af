"""Folders that appear whole or not at all, with the same modes everywhere."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from .errors import BundleError

#: The file that makes a folder a bundle.
MANIFEST = "bundle.json"
#: How the names of unfinished folders begin, beside the one that is written.
UNFINISHED = ".bitwright-"
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
#: What goes wrong where another process replaces the same folder at the same time, and how often it is tried again.
_OVERTAKEN, _ATTEMPTS = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST), 10


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse a folder that cannot be made, or that holds something else.  Raises BundleError."""
    try:
        real = _real(path)
        bundle, taken = _held(real)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BundleError(f"cannot make '{path}': {_reason(error)}; choose another folder") from None
    if taken:
        raise BundleError(f"'{path}' exists and is no bundle; choose another folder")
    if bundle and not overwrite:
        raise BundleError(f"'{path}' holds a bundle already; choose another folder, or overwrite it (--force)")
    for around in real.parents:
        if (around / MANIFEST).is_file():
            raise BundleError(f"'{path}' is inside the bundle '{around}'; choose a folder outside")
    if not real.parent.is_dir() or not os.access(real.parent, os.W_OK):
        raise BundleError(f"cannot make '{path}': '{real.parent}' is no folder that can be written; choose another folder")


def write_folder(path: Path, contents: dict[str, bytes], overwrite: bool = False) -> None:
    """Write a folder under a temporary name beside it, then rename it; of a link to a folder, the folder.

    Files are readable for all and writable for their owner, whatever the umask.  If this is interrupted, the temporary
    folder goes, too; if it is killed, a folder stays whose name begins with `UNFINISHED`.

    Parameters
    ----------
    path : Path
    contents : relative path -> bytes
    overwrite : bool
        Replace a bundle that is there, also one that came after `check_target` was asked.

    Raises
    ------
    BundleError
        If that is impossible; what was there before is there still.
    """
    check_target(path, overwrite)
    try:
        real = _real(path)
        with _unfinished(real.parent) as temporary:
            for name, data in contents.items():
                _write(temporary, name, data)
            temporary.chmod(_FOLDER_MODE)
            _put(path, temporary, real, overwrite)
    except OSError as error:
        raise BundleError(f"cannot write the bundle '{path}': {_reason(error)}; choose a folder with room that is "
                          "writable") from None


def _write(folder: Path, name: str, data: bytes) -> None:
    target = folder / name
    for part in reversed(target.relative_to(folder).parents[:-1]):
        if not (folder / part).exists():
            (folder / part).mkdir()
            (folder / part).chmod(_FOLDER_MODE)
    target.write_bytes(data)
    target.chmod(_FILE_MODE)


def _put(path: Path, temporary: Path, real: Path, overwrite: bool) -> None:
    """Give the finished folder its name.  Another process may do the same at any time."""
    for attempt in range(_ATTEMPTS):
        check_target(path, overwrite)
        if not overwrite:
            try:
                temporary.rename(real)  # an empty folder is replaced
            except OSError:
                check_target(path, overwrite)  # another process was faster
                raise
            return
        with _unfinished(real.parent) as aside:
            kept = aside / "old"
            try:
                if real.exists():
                    real.rename(kept)
                temporary.rename(real)
                return
            except BaseException as error:
                if kept.exists() and not real.exists():
                    kept.rename(real)
                if not isinstance(error, OSError) or error.errno not in _OVERTAKEN or attempt == _ATTEMPTS - 1:
                    raise


@contextlib.contextmanager
def _unfinished(parent: Path) -> Iterator[Path]:
    """A new folder that is gone afterwards."""
    folder = parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        folder.mkdir(0o700)
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


def _real(path: Path) -> Path:
    """Absolute, links followed."""
    return Path(os.path.realpath(path))


def _held(real: Path) -> tuple[bool, bool]:
    """Whether a name is a bundle's, and whether it is anything else's.  Raises OSError if it cannot be one."""
    while True:
        try:
            before = os.lstat(real)
        except (FileNotFoundError, NotADirectoryError):
            return False, False
        if not stat.S_ISDIR(before.st_mode):
            return False, True
        try:
            bundle = (real / MANIFEST).is_file()
            taken = not bundle and bool(os.listdir(real))
            after = os.lstat(real)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino):  # or else another process put its own here
            return bundle, taken


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

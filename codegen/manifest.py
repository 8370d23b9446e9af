"""What ties the files of a bundle together: their hashes in ``bundle.json``, and the design hash that they state.

A manifest that was written anew for files of two designs has the right hashes; what the files say of their design gives
such a bundle away.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import hwsim

from .errors import BundleError
from .folder import MANIFEST

VERSION = 1
#: How a file says which design it belongs to: ``design 0123456789abcdef``, or the same with quotes, a colon or a tag.  There
#: is a space in it, which names of networks and layers never have.
_STAMP = re.compile(rb"\bdesign[\":]* [\"`]?(?:<\w+>)?([0-9a-f]{16})\b")
#: Folders in which every file must be in the manifest: tools read whatever lies there.
_CLOSED = ("rtl", "mem")


def seal(contents: Mapping[str, bytes], kind: str, design: str, **more: object) -> bytes:
    """A manifest of files.

    Parameters
    ----------
    contents : relative path -> bytes
    kind : ``bundle`` or ``overlay``
    design : str
        The design hash.
    more : object
        What else the manifest says.
    """
    manifest = {"format": f"bitwright {kind}", "version": VERSION, "generator": hwsim.__version__, **more, "design": design,
                "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())}}
    return (json.dumps(manifest, indent=1) + "\n").encode()


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a folder, or None if it has none that can be read."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8")) if (path / MANIFEST).is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return manifest if isinstance(manifest, dict) else None


def read_files(path: Path, manifest: Mapping[str, Any], kind: str, essential: Iterable[str]) -> dict[str, bytes]:
    """The files of a folder, each read once, after a check of the manifest's form and of every hash.

    Parameters
    ----------
    path : Path
    manifest : mapping
        Of this folder.
    kind : ``bundle`` or ``overlay``
    essential : file names
        What must be there.

    Raises
    ------
    BundleError
        If the manifest is of another kind or version, or a file is missing, changed or not listed.
    """
    files = manifest.get("files")
    if manifest.get("format") != f"bitwright {kind}" or manifest.get("version") != VERSION or not isinstance(files, dict) \
            or not all(isinstance(manifest.get(key), str) for key in ("top", "design", "generator")) \
            or not files.keys() >= set(essential) or not all(isinstance(digest, str) for digest in files.values()):
        raise BundleError(f"'{path / MANIFEST}' is no manifest of version {VERSION}; build the {kind} again")
    again = f"build the {kind} again"
    if manifest["generator"] != hwsim.__version__:
        raise BundleError(f"{kind} '{path}' was built by bitwright {manifest['generator'][:40]}, and this is {hwsim.__version__}, "
                          f"which may build another design; {again}, or run its own bench with `make -C tb`")
    found: dict[str, bytes] = {}
    for name, digest in files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"'{path / MANIFEST}' lists '{name}', which lies outside the {kind}; {again}")
        try:
            if not (path / name).is_file():  # a pipe or a device would be read for ever
                raise OSError
            found[name] = (path / name).read_bytes()
        except (OSError, ValueError):
            raise BundleError(f"{kind} '{path}': the file '{name}' is missing{_meanwhile(path, manifest)}; {again}") from None
        if hashlib.sha256(found[name]).hexdigest() != digest:
            raise BundleError(f"{kind} '{path}': the file '{name}' is not the one that was built{_meanwhile(path, manifest)}; "
                              f"{again}")
    for folder in _CLOSED:
        for file in sorted((path / folder).rglob("*")) if (path / folder).is_dir() else ():
            name = file.relative_to(path).as_posix()
            if name not in files and not file.is_dir():
                raise BundleError(f"{kind} '{path}': the file '{name}' is none of this design's; remove it, or {again}")
    return found


def check_design(path: Path, kind: str, stated: str, made: str, source: str) -> None:
    """Refuse a manifest whose design hash is not that of what the design is made from.  Raises BundleError."""
    if stated != made:
        raise BundleError(f"{kind} '{path}' is mixed: {MANIFEST} is of design {stated[:40]}, but {source} make design {made}; "
                          f"build the {kind} again")


def check_stamps(path: Path, kind: str, design: str, files: Mapping[str, bytes], stamped: Iterable[str]) -> None:
    """Refuse files that state another design hash, or none where every build writes one.

    Parameters
    ----------
    stamped : file names
        Those that state it always.

    Raises
    ------
    BundleError
        With the file's name and both hashes.
    """
    always = set(stamped)
    for name, data in files.items():
        if name.endswith((".intir", ".mem")):
            continue
        stated = [match.decode() for match in _STAMP.findall(data)]
        if (name in always and not stated) or any(one != design for one in stated):
            says = f"is of design {next(one for one in stated if one != design)}" if stated else "states no design"
            raise BundleError(f"{kind} '{path}' is mixed: '{name}' {says}, but {MANIFEST} is of design {design}; build the {kind} "
                              "again")


def _meanwhile(path: Path, manifest: Mapping[str, Any]) -> str:
    """Says so if another process put another bundle there while this one was read."""
    return " (the folder was replaced while it was read)" if read_manifest(path) != manifest else ""

"""Same input, same bytes: two processes that have nothing in common but their input write the same files with the same modes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

NAMES = ["dense", "convolutions", "sparse", "loaded", "unrolled"]
#: Two machines, as far as a process can tell them apart.
ONE = {"PYTHONHASHSEED": "1", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Kathmandu", "USER": "ada",
       "LOGNAME": "ada", "HOSTNAME": "one", "COLUMNS": "60", "SOURCE_DATE_EPOCH": "1", "OMP_NUM_THREADS": "1"}
TWO = {"PYTHONHASHSEED": "271828", "LC_ALL": "C.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "UTC+11", "USER": "bob", "LOGNAME": "bob", "HOSTNAME": "two",
       "OMP_NUM_THREADS": "2"}


def start(folder: Path, umask: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    (folder / "home").mkdir(parents=True)
    (folder / "bundles").mkdir()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTEST"))}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.codegen.same_bytes_run", str(folder / "bundles"), umask, *NAMES], text=True, cwd=folder / "home",
        stderr=subprocess.PIPE, env=inherited | environment | {"HOME": str(folder / "home"), "PYTHONPATH": str(REPOSITORY)})


def listing(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    return {path.relative_to(folder).as_posix(): (stat.S_IMODE(path.stat().st_mode), path.read_bytes() if path.is_file() else None)
            for path in sorted(folder.rglob("*"))}


def test_two_machines_write_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "elsewhere" / "été two"]
    for process in [start(folders[0], "077", ONE), start(folders[1], "002", TWO)]:
        assert process.wait() == 0, process.stderr.read()
    one, two = (listing(folder / "bundles") for folder in folders)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    assert {name.split("/")[0] for name in one} == {*NAMES, "overlay"}
    assert {"dense/report.html", "sparse/tb/vectors.json", "convolutions/bundle.json", "overlay/bundle.json"} <= one.keys()
    for name, (mode, data) in one.items():
        assert mode == (0o755 if data is None else 0o644), name
        assert not any(word in (data or b"") for word in (b"ada", b"Kathmandu", str(tmp_path).encode()) if word != b"ada" or name.endswith(".md")), name

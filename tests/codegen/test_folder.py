"""Folders appear whole or not at all: full disks, interruptions, two writers at once, links, and modes."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from codegen import folder
from codegen.errors import BundleError
from codegen.folder import MANIFEST, UNFINISHED, check_target, write_folder

NEW = {MANIFEST: b"{}", "rtl/a.v": b"new", "tb/deep/er/x": b"new"}


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused(sentence: str, *arguments: object, **options: object) -> None:
    with pytest.raises(BundleError) as caught:
        write_folder(*arguments, **options)
    assert str(caught.value) == sentence


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A bundle that is there already."""
    write_folder(tmp_path / "old", {MANIFEST: b"{}", "rtl/stale.v": b"old"})
    return tmp_path / "old"


def test_what_is_written(tmp_path: Path) -> None:
    write_folder(tmp_path / "b", NEW)
    assert contents(tmp_path / "b") == NEW
    assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_do_not_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_folder(tmp_path / "b", NEW)
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path).as_posix(): oct(stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.rglob("*")}
    assert modes == {"b": "0o755", "b/bundle.json": "0o644", "b/rtl": "0o755", "b/rtl/a.v": "0o644", "b/tb": "0o755", "b/tb/deep": "0o755",
                     "b/tb/deep/er": "0o755", "b/tb/deep/er/x": "0o644"}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", NEW)
    assert contents(tmp_path / "empty") == NEW


def test_a_bundle_is_replaced_only_on_demand(old: Path) -> None:
    refused(f"'{old}' holds a bundle already; choose another folder, or overwrite it (--force)", old, NEW)
    assert contents(old)["rtl/stale.v"] == b"old"
    write_folder(old, NEW, overwrite=True)
    assert contents(old) == NEW
    assert os.listdir(old.parent) == ["old"]


@pytest.mark.parametrize("name", ["with space", "it's", 'a"b', "$(touch x)", "#1", "a:b", "网络", "été", "-o", "a\nb", "a\\b", "%s", "x" * 255,
                                  os.fsdecode(b"no\xffunicode")])
def test_any_name_that_a_folder_can_have(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / name, NEW)
    write_folder(tmp_path / name, NEW, overwrite=True)
    assert contents(tmp_path / name) == NEW
    assert os.listdir(tmp_path) == [name]


def test_names_that_no_folder_can_have(tmp_path: Path) -> None:
    for name, reason in (("x" * 256, "File name too long"), ("a\0b", "embedded null byte")):
        refused(f"cannot make '{tmp_path / name}': {reason}; choose another folder", tmp_path / name, NEW)
    assert os.listdir(tmp_path) == []


def test_parents_that_cannot_hold_it(tmp_path: Path) -> None:
    (tmp_path / "regular").write_text("mine")
    for parent in (tmp_path / "none", tmp_path / "regular"):
        refused(f"cannot make '{parent / 'b'}': '{parent}' is no folder that can be written; choose another folder", parent / "b", NEW)
    assert contents(tmp_path) == {"regular": b"mine"}


def test_the_kernels_own_folder() -> None:
    """Even root cannot write to /proc."""
    with pytest.raises(BundleError, match=r"^cannot (write the bundle|make) '/proc/b': "):
        write_folder(Path("/proc/b"), NEW)


def test_files_and_other_folders_stay(tmp_path: Path) -> None:
    (tmp_path / "regular").write_text("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("years")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for overwrite in (False, True):
        for name in ("regular", "thesis", "loop"):
            refused(f"'{tmp_path / name}' exists and is no bundle; choose another folder", tmp_path / name, NEW, overwrite=overwrite)
    assert contents(tmp_path) == {"regular": b"mine", "thesis/a.tex": b"years"}


def test_a_link_leads_to_the_folder_that_is_written(old: Path) -> None:
    link, nowhere = old.parent / "link", old.parent / "nowhere"
    link.symlink_to(old)
    nowhere.symlink_to(old.parent / "new")
    write_folder(link, NEW, overwrite=True)
    write_folder(nowhere, NEW)
    assert link.is_symlink()
    assert nowhere.is_symlink()
    assert contents(old) == contents(old.parent / "new") == NEW
    assert sorted(os.listdir(old.parent)) == ["link", "new", "nowhere", "old"]


@pytest.mark.parametrize("inside", ["b", "rtl", "rtl/b"])
def test_no_bundle_inside_another(old: Path, inside: str) -> None:
    before = contents(old)
    if inside == "rtl":
        (old / "rtl" / "stale.v").unlink()  # now an empty folder
        before = contents(old)
    refused(f"'{old / inside}' is inside the bundle '{old}'; choose a folder outside", old / inside, NEW)
    assert contents(old) == before


def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_folder(Path("."), NEW)
    assert contents(tmp_path / "here") == NEW
    assert os.listdir(tmp_path) == ["here"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk(old: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    target, before, original, count = old if overwrite else old.parent / "new", contents(old), Path.write_bytes, 0

    def write(path: Path, data: bytes) -> int:
        nonlocal count
        count += 1
        if count > 2:
            raise OSError(28, "No space left on device")
        return original(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    refused(f"cannot write the bundle '{target}': No space left on device; choose a folder with room that is writable",
            target, NEW, overwrite=overwrite)
    assert contents(old) == before
    assert os.listdir(old.parent) == ["old"]


def test_a_limit_of_the_operating_system(tmp_path: Path) -> None:
    """The kernel itself refuses to write on, in the middle of a file."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        refused(f"cannot write the bundle '{tmp_path / 'b'}': File too large; choose a folder with room that is writable",
                tmp_path / "b", NEW | {"big": b"x" * 4000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("error", [OSError(16, "Device or resource busy"), KeyboardInterrupt()])
def test_the_old_bundle_stays_when_it_cannot_be_replaced(old: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Whether the old folder cannot be moved away, or the new one not to its place; the same for Ctrl-C at that moment."""
    before, original, count = contents(old), Path.rename, 0

    def rename(path: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == number:
            raise error
        return original(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(BundleError if isinstance(error, OSError) else KeyboardInterrupt):
        write_folder(old, NEW, overwrite=True)
    assert contents(old) == before
    assert os.listdir(old.parent) == ["old"]


def test_a_bundle_that_another_process_finished_first_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look and the renaming."""
    original, looks = check_target, 0

    def look(path: Path, overwrite: bool) -> None:
        nonlocal looks
        looks += 1
        original(path, overwrite)
        if looks == 2:
            path.mkdir()
            (path / MANIFEST).write_text("theirs")

    monkeypatch.setattr(folder, "check_target", look)
    refused(f"'{tmp_path / 'b'}' holds a bundle already; choose another folder, or overwrite it (--force)", tmp_path / "b", NEW)
    assert contents(tmp_path) == {f"b/{MANIFEST}": b"theirs"}


def test_many_writers_at_once(old: Path) -> None:
    """Whoever is last, the folder is whole at every moment that one can look at it with its manifest."""
    names = [f"file{n}" for n in range(20)]
    failures: list[str] = []

    def write(writer: int) -> None:
        for _ in range(15):
            try:
                write_folder(old, {MANIFEST: b"{}"} | dict.fromkeys(names, b"%d" % writer), overwrite=True)
            except BundleError as error:
                failures.append(str(error))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = contents(old)
    assert len({found[name] for name in names}) == 1
    assert os.listdir(old.parent) == ["old"]


WRITE = """
import signal, sys, time
from pathlib import Path
from codegen import folder
slow = Path.write_bytes
def write(path, data):
    print("writing", flush=True)
    time.sleep(0.2)
    return slow(path, data)
Path.write_bytes = write
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs this in the background ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup this
from bitwright.shell import stop_on_terminate
stop_on_terminate()
folder.write_folder(Path(sys.argv[1]), {"bundle.json": b"{}"} | {f"f{n}": b"x" for n in range(50)}, overwrite=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_writer(old: Path, number: signal.Signals) -> None:
    """The old bundle stays; only after SIGKILL does the temporary folder, too, and it does not hinder the next writer."""
    before = contents(old)
    process = subprocess.Popen([sys.executable, "-c", WRITE, old], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for _ in range(3):
        assert process.stdout.readline() == b"writing\n"
    process.send_signal(number)
    process.wait(60)
    assert process.returncode != 0
    assert contents(old) == before
    left = [name for name in os.listdir(old.parent) if name != "old"]
    assert len(left) == (number == signal.SIGKILL)
    assert all(name.startswith(UNFINISHED) for name in left)
    write_folder(old, NEW, overwrite=True)
    assert contents(old) == NEW

"""Bundles: the same bytes every time, whole or not at all, and nothing that was changed is accepted."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import codegen.bundle
from codegen.bundle import MANIFEST, Bundle, build, load
from codegen.cosim import verify
from codegen.errors import BundleError, CodegenError
from hwsim.plan import Plan
from intir import Graph
from tests.conftest import REPOSITORY

Case = tuple[Graph, Plan]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(sentence: str, action: object, *arguments: object, **options: object) -> None:
    with pytest.raises(BundleError) as caught:
        action(*arguments, **options)
    assert str(caught.value) == sentence


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


def test_what_a_bundle_holds(bundle: Bundle) -> None:
    found = contents(bundle.path)
    assert {name for name in found if "/" not in name} == {
        "INTERFACE.md", "bundle.json", "every_block.core", "every_block.f", "every_block.rdl", "lint.vlt", "model.intir", "plan.toml",
        "report.json", "report.html"}
    assert {name for name in found if name.startswith("tb/")} == {
        "tb/Makefile", "tb/bench.py", "tb/every_block_harness.v", "tb/run.py", "tb/vectors.json"}
    assert found["every_block.f"].decode().splitlines() == sorted(name for name in found if name.startswith("rtl/"))
    assert {name.rpartition("/")[2] for name in found if name.startswith("mem/")} == {
        "every_block_l1_mvu_weights.mem", "every_block_l1_mvu_thresholds.mem", "every_block_l2_mvu_weights.mem",
        "every_block_l2_mvu_thresholds.mem", "every_block_l3_mvu_weights.mem"}
    manifest = json.loads(found.pop(MANIFEST))
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in sorted(found.items())}
    assert bundle.path.stat().st_mode & 0o777 == 0o755


def test_a_bundle_loads_again(bundle: Bundle, case: Case) -> None:
    again = load(bundle.path)
    assert (again.top, again.manifest) == ("every_block", bundle.manifest)
    assert again.design.graph == case[0]
    assert again.design.plan == bundle.design.plan
    assert again.design.rate() == bundle.design.rate()


def test_weights_lie_in_memory_as_documented(bundle: Bundle) -> None:
    """One line per step, outputs from the least significant bits, inputs within an output."""
    stage = next(stage for stage in bundle.design.stages if stage.name == "l1_mvu")
    lines = (bundle.path / "mem" / "every_block_l1_mvu_weights.mem").read_text().splitlines()
    pe, simd = stage.engine.pe, stage.engine.simd
    assert len(lines) == 2 * 2
    for number, line in enumerate(lines):
        group, word = divmod(number, 2)
        bits = [int(bit) for bit in reversed(f"{int(line, 16):0{pe * simd}b}")]
        block = stage.constants["weights"][word * simd:(word + 1) * simd, group * pe:(group + 1) * pe]
        assert bits == ((block.T.ravel() + 1) // 2).tolist()


def test_the_same_input_gives_the_same_bytes(bundle: Bundle, case: Case, tmp_path: Path) -> None:
    build(*case, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(bundle.path)


def test_nothing_of_this_machine_is_inside(bundle: Bundle) -> None:
    private = re.compile(rb"/(?:work|root|home|tmp|usr)/\w|site-packages|\b20\d\d-\d\d-\d\d\b")
    for name, data in contents(bundle.path).items():
        assert not private.search(data), name
        assert str(REPOSITORY).encode() not in data


def test_another_network_has_another_design_hash(bundle: Bundle, case: Case, tmp_path: Path) -> None:
    from tests.networks import folded, mlp

    one = build(mlp((4, 2), name="n"), folded(mlp((4, 2), name="n"), [(2, 4)]), tmp_path / "1")
    two = build(mlp((4, 2), name="n", seed=1), folded(mlp((4, 2), name="n"), [(2, 4)]), tmp_path / "2")
    three = build(mlp((4, 2), name="n"), folded(mlp((4, 2), name="n"), [(1, 4)]), tmp_path / "3")
    assert len({one.manifest["design"], two.manifest["design"], three.manifest["design"]}) == 3


def test_samples_become_the_benchs_vectors(case: Case, tmp_path: Path) -> None:
    x = np.arange(24).reshape(2, 12)
    made = build(*case, tmp_path / "b", samples=x)
    vectors = json.loads((made.path / "tb" / "vectors.json").read_text())
    lanes = made.design.stages[0].engine.word_in.lanes
    beats = [sum(int(value) << (8 * lane) for lane, value in enumerate(row)) for row in x.reshape(-1, lanes)]
    assert [int(beat, 16) for beat in vectors["beats_in"]] == beats
    assert vectors["frames"] == 2
    refuse("0 frames for the bench; give 1 or more", build, *case, tmp_path / "c", samples=x[:0])


@pytest.mark.parametrize("name", ["rtl/every_block.v", "mem/every_block_l1_mvu_weights.mem", "model.intir", "plan.toml", "tb/run.py"])
def test_a_changed_or_missing_file_is_refused(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    refuse(f"bundle '{copy}': the file '{name}' is not the one that was built; build the bundle again", load, copy)
    (copy / name).unlink()
    refuse(f"bundle '{copy}': the file '{name}' is missing; build the bundle again", load, copy)


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside", "rtl/../../outside"])
def test_a_manifest_cannot_leave_its_folder(copy: Path, name: str) -> None:
    (copy.parent / "outside").write_text("x")
    edit(copy, lambda manifest: manifest["files"].update({name: "0" * 64}))
    refuse(f"'{copy / MANIFEST}' lists '{name}', which lies outside the bundle; build the bundle again", load, copy)


def edit(folder: Path, change: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("change", [
    lambda manifest: manifest.update(format="something"), lambda manifest: manifest.update(version=2), lambda manifest: manifest.pop("top"),
    lambda manifest: manifest.pop("design"), lambda manifest: manifest.update(files=[]), lambda manifest: manifest.update(files={}),
    lambda manifest: manifest["files"].pop("model.intir")])
def test_a_manifest_of_another_kind_is_refused(copy: Path, change: object) -> None:
    edit(copy, change)
    refuse(f"'{copy / MANIFEST}' is no manifest of version 1; build the bundle again", load, copy)


def test_a_name_no_file_can_have(copy: Path) -> None:
    edit(copy, lambda manifest: manifest["files"].update({"a\0b": "0" * 64}))
    refuse(f"bundle '{copy}': the file 'a\0b' is missing; build the bundle again", load, copy)


@pytest.mark.parametrize("name", ["rtl/every_block.v", MANIFEST])
def test_a_pipe_is_no_file_of_a_bundle(copy: Path, name: str) -> None:
    """Reading it would wait for ever."""
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(BundleError, match=r"'rtl/every_block.v' is missing|has no readable bundle.json"):
        load(copy)


@pytest.mark.parametrize("text", ['{"design": "%s"}', '["design %s"', '"design %s"'])
def test_vectors_without_vectors_under_a_fitting_manifest(copy: Path, bundle: Bundle, text: str) -> None:
    data = (text % bundle.manifest["design"]).encode()
    (copy / "tb" / "vectors.json").write_bytes(data)
    edit(copy, lambda manifest: manifest["files"].update({"tb/vectors.json": hashlib.sha256(data).hexdigest()}))
    refuse(f"bundle '{copy}': 'tb/vectors.json' holds no vectors; build the bundle again", verify, copy)


@pytest.mark.parametrize("text", [None, "", "{", "[" * 100_000, "\xff"])
def test_no_manifest_is_no_bundle(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_bytes(text.encode("latin-1"))
    refuse(f"'{tmp_path}' is no bundle: it has no readable bundle.json; make one with `bitwright build`", load, tmp_path)


def test_other_folders_and_files_stay(case: Case, tmp_path: Path) -> None:
    folder, regular = tmp_path / "folder", tmp_path / "regular"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    regular.write_text("mine")
    for overwrite in (False, True):
        for path in (folder, regular):
            refuse(f"'{path}' exists and is no bundle; choose another folder", build, *case, path, overwrite=overwrite)
    assert contents(tmp_path) == {"folder/thesis.tex": b"years of work", "regular": b"mine"}


def test_a_bundle_is_replaced_only_on_demand(case: Case, copy: Path) -> None:
    (copy / "rtl" / "stale.v").write_text("module stale; endmodule\n")
    refuse(f"'{copy}' holds a bundle already; choose another folder, or overwrite it (--force)", build, *case, copy)
    build(*case, copy, overwrite=True)
    assert "rtl/stale.v" not in contents(copy)
    assert os.listdir(copy.parent) == ["copy"]


@pytest.mark.parametrize("step", ["generate", "make_vectors", "simulate_report", "render"])
def test_nothing_is_there_when_generation_fails(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise CodegenError("midway")

    monkeypatch.setattr(codegen.bundle, step, fail)
    with pytest.raises(CodegenError, match="^midway$"):
        build(*case, tmp_path / "b")
    assert os.listdir(tmp_path) == []


def test_the_page_about_the_bundle_lists_every_file(bundle: Bundle) -> None:
    """docs/bundle.md: one line for each file that a build writes, and none for what no build writes."""
    page = (REPOSITORY / "docs" / "bundle.md").read_text()
    patterns = [name.replace("<top>", "every_block") for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for name in re.findall("`(.+?)`", row)]
    lines = {name: [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)] for name in contents(bundle.path)}
    assert {name: found for name, found in lines.items() if len(found) != 1} == {}
    assert set(patterns) == {found for (found,) in lines.values()}

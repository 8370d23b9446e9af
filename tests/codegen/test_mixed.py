"""Files of two designs in one bundle are refused, also under a manifest that was written anew."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hwsim
from codegen import overlay
from codegen.bundle import STAMPED, Bundle, build, load
from codegen.errors import BundleError
from codegen.folder import MANIFEST, write_folder
from hwsim.engines.gemm import Gemm
from intir import unsigned
from tests.networks import folded, mlp


def made(folder: Path, seed: int, name: str = "net", pe: int = 2) -> Bundle:
    graph = mlp((4, 4), x=unsigned(2), name=name, seed=seed)
    return build(graph, folded(graph, [(pe, 4)]), folder / f"{name}{seed}{pe}")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """One design; the same with other weights, with another plan, and with another name."""
    folder = tmp_path_factory.mktemp("mixed")
    return {"this": made(folder, 0), "weights": made(folder, 1), "plan": made(folder, 0, pe=1), "name": made(folder, 0, "other")}


@pytest.fixture
def copy(bundles: dict[str, Bundle], tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles["this"].path, tmp_path / "copy"))


def seal(folder: Path, change: Callable[[dict], object] = lambda manifest: None) -> None:
    """Write the manifest anew for the files that are there, as someone would who wants it to pass."""
    manifest = json.loads((folder / MANIFEST).read_text())
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    manifest["files"] = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def refused(folder: Path, sentence: str) -> None:
    with pytest.raises(BundleError) as caught:
        load(folder)
    assert str(caught.value) == sentence


def names(bundle: Bundle) -> Iterator[str]:
    yield from json.loads((bundle.path / MANIFEST).read_text())["files"]


def test_all_that_a_build_writes_says_the_same_design(bundles: dict[str, Bundle]) -> None:
    for bundle in bundles.values():
        assert load(bundle.path).manifest == bundle.manifest
        assert json.loads(bundle.files["report.json"])["design"] == json.loads(bundle.files["tb/vectors.json"])["design"] == bundle.manifest["design"]
        assert f"design <code>{bundle.manifest['design']}</code>" in bundle.files["report.html"].decode()
    assert len({bundle.manifest["design"] for bundle in bundles.values()}) == len(bundles)


@pytest.mark.parametrize("other", ["weights", "plan"])
def test_a_file_of_another_bundle_is_not_the_one_that_was_built(bundles: dict[str, Bundle], copy: Path, other: str) -> None:
    """Every file, one at a time; those that both have are no mixture."""
    swapped = 0
    for name in names(bundles["this"]):
        source = bundles[other].path / name
        if not source.exists() or source.read_bytes() == (copy / name).read_bytes():
            continue
        kept = (copy / name).read_bytes()
        (copy / name).write_bytes(source.read_bytes())
        refused(copy, f"bundle '{copy}': the file '{name}' is not the one that was built; build the bundle again")
        (copy / name).write_bytes(kept)
        swapped += 1
    assert swapped > 10
    load(copy)


@pytest.mark.parametrize("other", ["weights", "plan"])
def test_under_a_new_manifest_a_file_gives_itself_away(bundles: dict[str, Bundle], copy: Path, other: str) -> None:
    """Every file that says its design, one at a time, is named with both hashes."""
    this, that = bundles["this"].manifest["design"], bundles[other].manifest["design"]
    named = []
    for name in names(bundles["this"]):
        source = bundles[other].path / name
        if not source.exists() or that.encode() not in source.read_bytes():
            continue
        kept = (copy / name).read_bytes()
        (copy / name).write_bytes(source.read_bytes())
        seal(copy)
        refused(copy, f"bundle '{copy}' is mixed: '{name}' is of design {that}, but bundle.json is of design {this}; build the bundle again")
        (copy / name).write_bytes(kept)
        named.append(name)
    assert set(named) >= STAMPED | {"rtl/net.v", "rtl/net_l0_mvu.v", "rtl/bw_rom.v"}


@pytest.mark.parametrize("folder", ["rtl", "tb"])
def test_a_whole_folder_of_another_design(bundles: dict[str, Bundle], copy: Path, folder: str) -> None:
    this, that = bundles["this"].manifest["design"], bundles["weights"].manifest["design"]
    shutil.rmtree(copy / folder)
    shutil.copytree(bundles["weights"].path / folder, copy / folder)
    seal(copy)
    with pytest.raises(BundleError, match=rf"is mixed: '{folder}/\S+' is of design {that}, but bundle.json is of design {this}; "):
        load(copy)


@pytest.mark.parametrize(("name", "other"), [("model.intir", "weights"), ("plan.toml", "plan")])
def test_a_network_or_plan_that_makes_another_design(bundles: dict[str, Bundle], copy: Path, name: str, other: str) -> None:
    source = bundles[other].path / name
    (copy / name).write_bytes(source.read_bytes())
    seal(copy)
    this, that = bundles["this"].manifest["design"], bundles[other].manifest["design"]
    refused(copy, f"bundle '{copy}' is mixed: bundle.json is of design {this}, but 'model.intir' and 'plan.toml' make design {that}; "
                  "build the bundle again")


def test_an_edited_plan(copy: Path, bundles: dict[str, Bundle]) -> None:
    text = (copy / "plan.toml").read_text()
    (copy / "plan.toml").write_text(text.replace("clock_mhz = 100.0", "clock_mhz = 200.0"))
    refused(copy, f"bundle '{copy}': the file 'plan.toml' is not the one that was built; build the bundle again")
    seal(copy)
    with pytest.raises(BundleError, match=f"is mixed: bundle.json is of design {bundles['this'].manifest['design']}, but 'model.intir' and "):
        load(copy)
    (copy / "plan.toml").write_text(text + "nonsense\n")
    seal(copy)
    with pytest.raises(BundleError, match=r"what it was made from cannot be read \(.*/plan.toml is no valid TOML: .*; build the bundle again$"):
        load(copy)


def test_an_edited_vector(copy: Path) -> None:
    vectors = json.loads((copy / "tb" / "vectors.json").read_text())
    vectors["beats_out"][0] = "0"
    (copy / "tb" / "vectors.json").write_text(json.dumps(vectors))
    refused(copy, f"bundle '{copy}': the file 'tb/vectors.json' is not the one that was built; build the bundle again")


@pytest.mark.parametrize("name", sorted(STAMPED | {"rtl/net.v"}))
def test_a_file_without_its_design(copy: Path, bundles: dict[str, Bundle], name: str) -> None:
    this = bundles["this"].manifest["design"]
    (copy / name).write_bytes((copy / name).read_bytes().replace(this.encode(), b""))
    seal(copy)
    refused(copy, f"bundle '{copy}' is mixed: '{name}' states no design, but bundle.json is of design {this}; build the bundle again")


def test_a_manifest_of_another_design(copy: Path, bundles: dict[str, Bundle]) -> None:
    this, that = bundles["this"].manifest["design"], bundles["weights"].manifest["design"]
    seal(copy, lambda manifest: manifest.update(design=that))
    refused(copy, f"bundle '{copy}' is mixed: bundle.json is of design {that}, but 'model.intir' and 'plan.toml' make design {this}; "
                  "build the bundle again")
    seal(copy, lambda manifest: manifest.update(design=this, top="other"))
    refused(copy, f"'{copy / MANIFEST}' says that the top is 'other', but it is 'net'; build the bundle again")


def test_a_bundle_of_another_version(copy: Path) -> None:
    seal(copy, lambda manifest: manifest.update(generator="9.9"))
    refused(copy, f"bundle '{copy}' was built by bitwright 9.9, and this is {hwsim.__version__}, which may build another design; build the "
                  "bundle again, or run its own bench with `make -C tb`")


@pytest.mark.parametrize("name", ["rtl/stale.v", "rtl/sub/stale.v", "rtl/.hidden", "mem/stale.mem", "rtl/nowhere"])
def test_a_file_that_tools_would_read_although_no_build_wrote_it(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("module net; endmodule\n") if "nowhere" not in name else (copy / name).symlink_to("/nowhere")
    refused(copy, f"bundle '{copy}': the file '{name}' is none of this design's; remove it, or build the bundle again")


def test_what_runs_and_tools_leave_behind_is_no_mixture(copy: Path) -> None:
    for name in ("tb/build_verilator/results.json", "tb/__pycache__/bench.pyc", "synth/ecp5/report.json", "notes.txt"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text('"design": "0123456789abcdef"')
    load(copy)


def test_a_name_that_looks_like_a_design_hash(tmp_path: Path) -> None:
    graph = mlp((4, 4), name="design:0123456789abcdef")
    load(build(graph, folded(graph, [(2, 4)]), tmp_path / "b").path)


def test_a_bundle_that_is_replaced_while_it_is_read(bundles: dict[str, Bundle], copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "INTERFACE.md":
            monkeypatch.undo()
            write_folder(copy, bundles["weights"].files | {MANIFEST: original(bundles["weights"].path / MANIFEST)}, overwrite=True)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    refused(copy, f"bundle '{copy}': the file 'INTERFACE.md' is not the one that was built (the folder was replaced while it was read); "
                  "build the bundle again")
    load(copy)


def test_overlays_are_held_to_the_same(tmp_path: Path) -> None:
    one, two = Gemm(2, 2, 1, unsigned(8), unsigned(8), 32), Gemm(2, 2, 1, unsigned(8), unsigned(8), 24)
    a, b = overlay.build(one, tmp_path / "a"), overlay.build(two, tmp_path / "b")
    this, that = (json.loads((path / MANIFEST).read_text())["design"] for path in (a, b))
    assert overlay.load(a)[0] == one
    (a / "INTERFACE.md").write_bytes((b / "INTERFACE.md").read_bytes())
    sentences = [f"overlay '{a}': the file 'INTERFACE.md' is not the one that was built; build the overlay again",
                 f"overlay '{a}' is mixed: 'INTERFACE.md' is of design {that}, but bundle.json is of design {this}; build the overlay again",
                 f"overlay '{a}' is mixed: bundle.json is of design {this}, but its parameters make design {that}; build the overlay again"]
    for change in (None, lambda manifest: None, lambda manifest: manifest["gemm"].update(sum_bits=24)):
        if change:
            seal(a, change)
        with pytest.raises(BundleError) as caught:
            overlay.load(a)
        assert str(caught.value) == sentences.pop(0)

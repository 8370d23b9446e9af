"""The bundle: everything an integrator gets for one design, in one folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hwsim
from hwsim import plan as plans
from hwsim.design import Design, make_design
from hwsim.plan import Plan
from hwsim.report import simulate_report
from hwsim.reports.html import html_page
from intir import Graph, file

from .errors import BundleError
from .flows import flow_files
from .generate import Rtl, generate, header_of
from .templates import render
from .vectors import make_vectors, random_frames

MANIFEST = "bundle.json"
#: From the last loaded weight to the bench's cycle 0.
WEIGHTS_SETTLE_CYCLES = 4
#: Frames of random input in the bench's own vectors.
BENCH_FRAMES = 8
#: What every bundle has.
ESSENTIAL = {"model.intir", "plan.toml", "tb/bench.py", "tb/run.py"}
_FORMAT = "bitwright bundle"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle on disk.

    Parameters
    ----------
    path : Path
    top : str
    design : Design
        Made again from the graph and the plan inside.
    manifest : dict
        Content of ``bundle.json``.
    """

    path: Path
    top: str
    design: Design
    manifest: dict[str, Any]


def build(graph: Graph, plan: Plan, path: str | Path, *, samples: NDArray[np.int64] | None = None,
          overwrite: bool = False, progress: Callable[[str], None] = lambda step: None) -> Bundle:
    """Generate a design and write its bundle.

    Parameters
    ----------
    graph : Graph
    plan : Plan
    path : str or Path
        Folder to make.
    samples : int64 (frames, *input shape), optional
        Frames for the bench's vectors; random ones by default.
    overwrite : bool
        Replace an existing bundle (never another kind of folder).
    progress : callable
        Told what is being done.

    Raises
    ------
    BundleError
        If the folder exists or cannot be written, or there are no samples.
    """
    path = Path(path)
    if samples is not None and not len(samples):
        raise BundleError("0 frames for the bench; give 1 or more")
    check_target(path, overwrite)
    progress("sizing queues")
    design = make_design(graph, plan)
    digest = design_hash(design)
    progress("generating Verilog")
    rtl = generate(design, digest)
    progress("writing the bench")
    contents = _contents(design, rtl, digest, samples if samples is not None else random_frames(design, BENCH_FRAMES))
    manifest = {
        "format": _FORMAT, "version": _VERSION, "generator": hwsim.__version__, "network": graph.name, "top": rtl.top,
        "design": digest, "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())},
    }
    contents[MANIFEST] = _json(manifest)
    write_folder(path, contents)
    return Bundle(path, rtl.top, design, manifest)


def load(path: str | Path) -> Bundle:
    """Open a bundle and check that its files belong together.

    Raises
    ------
    BundleError
        If the folder is no bundle, or a file of it is missing or changed.
    """
    path = Path(path)
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise BundleError(f"'{path}' is no bundle: it has no readable {MANIFEST}; make one with `bitwright build`") from None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT or manifest.get("version") != _VERSION \
            or not isinstance(manifest.get("files"), dict) or not isinstance(manifest.get("top"), str) \
            or not isinstance(manifest.get("design"), str) or not manifest["files"].keys() >= ESSENTIAL:
        raise BundleError(f"'{path / MANIFEST}' is no manifest of version {_VERSION}; build the bundle again")
    for name, digest in manifest["files"].items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"'{path / MANIFEST}' lists '{name}', which lies outside the bundle; build the bundle again")
        try:
            found = hashlib.sha256((path / name).read_bytes()).hexdigest()
        except (OSError, ValueError):
            raise BundleError(f"bundle '{path}': the file '{name}' is missing; build the bundle again") from None
        if found != digest:
            raise BundleError(f"bundle '{path}': the file '{name}' is not the one that was built; build the bundle again")
    graph = file.load(path / "model.intir")
    return Bundle(path, manifest["top"], make_design(graph, plans.load(path / "plan.toml")), manifest)


def design_hash(design: Design) -> str:
    """Sixteen hex digits that tie network, plan and generator together."""
    digest = hashlib.sha256()
    for part in (hwsim.__version__.encode(), file.to_bytes(design.graph), plans.dumps(design.plan).encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _contents(design: Design, rtl: Rtl, digest: str, samples: NDArray[np.int64]) -> dict[str, bytes]:
    """Every file of the bundle but the manifest: relative path -> bytes."""
    vectors = make_vectors(design, rtl.s_axis, rtl.m_axis, samples, [port.hexadecimal for port in rtl.weights])
    by_hand = {f"{rtl.top}.v", "bw_rom.v", "bw_ram.v", "bw_ram_async.v", "bw_add.v"}
    generated = [name for name in rtl.verilog if name not in by_hand]
    report = simulate_report(design, history=True)
    text = rtl.files | {
        f"{rtl.top}.f": "".join(f"rtl/{name}\n" for name in rtl.verilog),
        "lint.vlt": render("lint.vlt.j2", generated=generated),
        f"tb/{rtl.top}_harness.v": render("harness.v.j2", top=rtl.top, s=rtl.s_axis, m=rtl.m_axis, s_name="s_axis", m_name="m_axis",
                                             weights=rtl.weights, commands=None, settle=WEIGHTS_SETTLE_CYCLES),
        "tb/bench.py": render("bench.py.j2", top=rtl.top, out_bits=rtl.m_axis.data_bits),
        "tb/run.py": render("run.py.j2", top=rtl.top),
        "plan.toml": plans.dumps(design.plan),
        "INTERFACE.md": render("interface.md.j2", top=rtl.top, s=rtl.s_axis, m=rtl.m_axis, network=design.graph.name,
                               digest=digest, report=report, memories=sorted(rtl.memories), weights=rtl.weights,
                               depends_on_data=design.depends_on_data),
    }
    text |= flow_files(rtl.top, design.graph.name, digest, header_of(design, digest), design.plan, {**text, "tb/vectors.json": None})
    data = {name: body.encode() for name, body in text.items()}
    data["tb/vectors.json"] = _json(vectors)
    data["report.json"] = _json(report.as_dict())
    data["report.html"] = html_page(report)
    data["model.intir"] = file.to_bytes(design.graph)
    return data


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse a folder that cannot be made, or that holds something else.  Raises BundleError."""
    try:
        taken = path.exists() and not (path / MANIFEST).is_file() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise BundleError(f"cannot make '{path}': {error.strerror}; choose another folder") from None
    if taken:
        raise BundleError(f"'{path}' exists and is no bundle; choose another folder")
    if (path / MANIFEST).is_file() and not overwrite:
        raise BundleError(f"'{path}' holds a bundle already; choose another folder, or overwrite it (--force)")
    parent = path.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise BundleError(f"cannot make '{path}': '{parent}' is no folder that can be written; choose another folder")


def write_folder(path: Path, contents: dict[str, bytes]) -> None:
    """Write a folder under a temporary name, then rename it."""
    path = path.absolute()
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        temporary.chmod(0o755)
        for name, data in contents.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            kept = old / path.name
            try:
                path.rename(kept)
                temporary.rename(path)
            except OSError:
                if kept.exists():
                    kept.rename(path)
                old.rmdir()
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(path)
    except OSError as error:
        raise BundleError(f"cannot write the bundle '{path}': {error.strerror or error}; choose a folder with room that is "
                          "writable") from None
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)

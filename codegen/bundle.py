"""The bundle: everything an integrator gets for one design, in one folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
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
from intir import BitwrightError, Graph, file

from . import control as controls
from .errors import BundleError
from .flows import flow_files
from .folder import MANIFEST, check_target, write_folder
from .generate import Rtl, generate
from .manifest import check_design, check_stamps, read_files, read_manifest, seal
from .naming import top_identifier
from .templates import render
from .vectors import make_vectors, random_frames

#: From the last loaded weight to the bench's cycle 0.
WEIGHTS_SETTLE_CYCLES = 4
#: Frames of random input in the bench's own vectors.
BENCH_FRAMES = 8
#: What every bundle has.
ESSENTIAL = {"model.intir", "plan.toml", "lint.vlt", "tb/bench.py", "tb/run.py", "tb/vectors.json"}
#: Files that state the design hash, besides the top.
STAMPED = {"INTERFACE.md", "report.html", "report.json", "tb/vectors.json"}


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
    files : relative path -> bytes
        All others.
    """

    path: Path
    top: str
    design: Design
    manifest: dict[str, Any]
    files: dict[str, bytes] = field(repr=False)


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
    sealed = seal(contents, "bundle", digest, network=graph.name, top=rtl.top)
    progress("writing files")
    write_folder(path, contents | {MANIFEST: sealed}, overwrite)
    return Bundle(path, rtl.top, design, json.loads(sealed), contents)


def load(path: str | Path) -> Bundle:
    """Open a bundle and check that its files belong together: every hash, and the design that each file says it is of.

    Raises
    ------
    BundleError
        If the folder is no bundle, or a file of it is missing, changed, of another design, or in ``rtl/`` or ``mem/`` without
        being in the manifest.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if manifest is None:
        raise BundleError(f"'{path}' is no bundle: it has no readable {MANIFEST}; make one with `bitwright build`")
    files = read_files(path, manifest, "bundle", ESSENTIAL)
    try:
        graph, plan = file.from_bytes(files["model.intir"]), plans.loads(files["plan.toml"].decode(), str(path / "plan.toml"))
    except (BitwrightError, UnicodeDecodeError) as error:
        raise BundleError(f"bundle '{path}': what it was made from cannot be read ({error}); build the bundle again") from None
    check_design(path, "bundle", manifest["design"], _hash(graph, plan), "'model.intir' and 'plan.toml'")
    design, top = make_design(graph, plan), top_identifier(graph.name)
    if manifest["top"] != top:
        raise BundleError(f"'{path / MANIFEST}' says that the top is '{manifest['top'][:80]}', but it is '{top}'; build the "
                          "bundle again")
    check_stamps(path, "bundle", manifest["design"], files, {f"rtl/{top}.v", *STAMPED})
    return Bundle(path, top, design, manifest, files)


def design_hash(design: Design) -> str:
    """Sixteen hex digits that tie network, plan and generator together."""
    return _hash(design.graph, design.plan)


def _hash(graph: Graph, plan: Plan) -> str:
    digest = hashlib.sha256()
    for part in (hwsim.__version__.encode(), file.to_bytes(graph), plans.dumps(plan).encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _contents(design: Design, rtl: Rtl, digest: str, samples: NDArray[np.int64]) -> dict[str, bytes]:
    """Every file of the bundle but the manifest: relative path -> bytes."""
    vectors = make_vectors(design, rtl.s_axis, rtl.m_axis, samples, [port.hexadecimal for port in rtl.weights])
    by_hand = {f"{rtl.top}.v", f"{rtl.top}_control.v", "bw_axi_lite.v", "bw_rom.v", "bw_ram.v", "bw_ram_async.v",
               "bw_table.v", "bw_add.v"}
    generated = [name for name in rtl.verilog if name not in by_hand]
    report = simulate_report(design, history=True)
    text = rtl.files | controls.files(rtl.control, rtl.header) | {
        f"{rtl.top}.f": "".join(f"rtl/{name}\n" for name in rtl.verilog),
        "lint.vlt": render("lint.vlt.j2", files=rtl.verilog, generated=generated, interrupt=f"{rtl.top}.v" if rtl.control else ""),
        f"tb/{rtl.top}_harness.v": render("harness.v.j2", top=rtl.top, s=rtl.s_axis, m=rtl.m_axis, s_name="s_axis", m_name="m_axis",
                                             weights=rtl.weights, commands=None, settle=WEIGHTS_SETTLE_CYCLES, control=rtl.control),
        "tb/bench.py": render("bench.py.j2", top=rtl.top, out_bits=rtl.m_axis.data_bits),
        "tb/run.py": render("run.py.j2", top=rtl.top),
        "tb/Makefile": render("bench_makefile.j2", top=rtl.top),
        "plan.toml": plans.dumps(design.plan),
        "INTERFACE.md": render("interface.md.j2", top=rtl.top, s=rtl.s_axis, m=rtl.m_axis, network=design.graph.name,
                               digest=digest, report=report, memories=sorted(rtl.memories), weights=rtl.weights,
                               depends_on_data=design.depends_on_data, control=rtl.control),
    }
    text |= flow_files(rtl.top, design.graph.name, digest, rtl.header, design.plan, {**text, "tb/vectors.json": None})
    data = {name: body.encode() for name, body in text.items()}
    data["tb/vectors.json"] = _json({"design": digest} | vectors)
    data["report.json"] = _json({"design": digest} | report.as_dict())
    data["report.html"] = html_page(report, digest)
    data["model.intir"] = file.to_bytes(design.graph)
    return data


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()

"""The house rules, enforced: import directions, where torch may be, file lengths, nothing of this machine in the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bitwright", "codegen", "hwsim", "intir", "quant", "rtl_templates")

#: What each package may import of the others (DESIGN.md, section 1).
ALLOWED = {
    "intir": set(),
    "hwsim": {"intir"},
    "quant": {"intir"},
    "codegen": {"hwsim", "intir", "rtl_templates"},
    "bitwright": {"quant", "codegen", "hwsim", "intir"},
    "rtl_templates": set(),
}
#: The training side: the only packages that need torch and what comes with it.
TRAINING = ("quant/nn/", "quant/compress/")
TRAINING_ONLY = {"torch", "torchvision", "onnxscript", "onnx_ir"}
#: The stock check builds ONNX files; nothing else in `intir` may need more than numpy, but for one compiled loop that is
#: loaded only where numba is installed.
INTIR_WITH_ONNX = {"intir/onnx_export.py", "intir/ops"}
INTIR_WITH_NUMBA = "intir/ops/popcount_kernel.py"
MAX_LINES = 400
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Top-level names of the packages that a module imports; relative imports are its own package's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    nodes = list(tree.body) if top_level_only else list(ast.walk(tree))
    if top_level_only:
        nodes = [node for node in nodes if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))]
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                found.add((node.module or "").split(".")[0])
            else:  # from .. import x: may not climb out of the package
                depth = len(path.relative_to(ROOT).parts) - 1
                assert node.level <= depth, f"{relative(path)}:{node.lineno} climbs out of its package"
    return found


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted({relative(path.parent).replace("/", ".") for path in SOURCES})


def test_there_is_something_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_go_down_only(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = imports(path) & (set(PACKAGES) | {"tests", "sim_tests", "benchmarks", "examples"})
    assert ours <= ALLOWED[package] | {package}, f"{relative(path)} may not import {sorted(ours - ALLOWED[package] - {package})}"


def test_the_check_sees_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "hwsim" / "bad.py"
    module.parent.mkdir()
    module.write_text("def f():\n    from codegen.axi import AxiPort\n    import torch.nn\n    return AxiPort\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert imports(module) == {"codegen", "torch"}
    module.write_text("from ..codegen import axi\n")
    with pytest.raises(AssertionError, match="climbs out of its package"):
        imports(module)


@pytest.mark.parametrize("path", [path for path in SOURCES if path.is_relative_to(ROOT / "intir")], ids=relative)
def test_intir_needs_numpy_only(path: Path) -> None:
    outside = imports(path, top_level_only=True) - set(sys.stdlib_module_names) - {"intir", "numpy"}
    if any(relative(path).startswith(allowed) for allowed in INTIR_WITH_ONNX):
        outside -= {"onnx"}
    if relative(path) == INTIR_WITH_NUMBA:
        outside -= {"numba"}
    assert not outside, f"{relative(path)} imports {sorted(outside)}"


def test_the_reference_works_without_numba() -> None:
    code = ("import sys\nsys.modules['numba'] = None\nimport numpy as np, intir\nfrom intir.ops import binary\nbinary.LEAST_WORK = 0\n"
            "b = intir.GraphBuilder('g')\nx = b.input('x', (2, 2, 1), intir.BIPOLAR)\n"
            "b.output(b.node(intir.Conv2d(np.ones((2, 2, 1, 1), np.int64)), x))\n"
            "print(intir.run(b.build(), np.ones((1, 2, 2, 1), np.int64)).item())")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("4\n", "")


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_torch_is_for_training_only(path: Path) -> None:
    if not relative(path).startswith(TRAINING):
        assert not imports(path) & TRAINING_ONLY


def test_using_a_network_needs_no_torch() -> None:
    """Everything from a QONNX file to Verilog is imported without the training side."""
    code = ("import sys, bitwright, bitwright.cli, quant.lower, codegen.bundle, codegen.cosim\n"
            f"print(*(name for name in {sorted(TRAINING_ONLY)!r} if name in sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "sim_tests", "benchmarks", "examples"])
def test_files_stay_short(folder: str) -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*")
               if path.suffix in (".py", ".j2")}
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines >= MAX_LINES} == {}


def tracked() -> list[Path]:
    """Every file that is, or would be, in the repository."""
    done = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git work tree")
    return [path for name in done.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


#: Where this machine or any other keeps its things, and hosts that only a mirror has; public package hosts are fine.
PRIVATE = re.compile(rb"/(?:work|root|home/\w+|Users/\w+)/(?!\.)\w|https?://(?:\d{1,3}\.){3}\d|://localhost|"
                     rb"\b(?:index-url|index_url|extra-index-url|trusted-host)\b")


def test_nothing_of_this_machine_is_kept() -> None:
    files = tracked()
    assert files
    found = {relative(path): match[0] for path in files if path != Path(__file__).resolve() and (match := PRIVATE.search(path.read_bytes()))}
    assert found == {}


@pytest.mark.parametrize("text", ["see /work/main/x", "/root/.x/y /home/me/project", "http://10.0.0.1:80/simple", "pip --index-url x"])
def test_the_search_for_private_paths_finds_them(text: str) -> None:
    assert PRIVATE.search(text.encode())

"""`bitwright compress`: a user's network through methods, a comparison that survives a kill, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from torch import nn

import intir
from bitwright.compressing import MACHINES, Bench, Run
from bitwright.show_compressed import over_seeds
from quant.compress.bench import methods_search
from quant.compress.bench.data import load
from quant.compress.bench.job import Job, Made, Search
from quant.compress.bench.methods import METHODS, method_of
from quant.compress.bench.models import Model, load_model
from quant.compress.training import evaluate
from quant.lower import host_input
from tests.bitwright import compress_net
from tests.bitwright.conftest import invoke

NETWORK = f"{compress_net.__file__}:trained"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compress_net.write(tmp_path_factory.mktemp("bars"))


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(NETWORK)


def ok(*arguments: object) -> str:
    result = invoke("compress", *arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.stderr
    return result.stdout


def refused(*arguments: object) -> str:
    result = invoke("compress", *arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.stdout
    assert result.stderr.startswith("bitwright: ") and result.stderr.count("\n") == 1
    return result.stderr


def test_the_methods_are_listed() -> None:
    text = ok("--methods")
    listed = json.loads(ok("--methods", "--json"))
    assert [one["name"] for one in listed] == list(METHODS) and all(name in text for name in METHODS)
    assert all(one["says"] and one["source"] for one in listed)


def test_one_method_and_its_network(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.intir"
    found = json.loads(ok(NETWORK, "--method", "filters", "--keep", "0.5", "--data", data, "--epochs", "1", "-o", path, "--json"))
    graph, held = intir.load(path), load(data)
    logits = intir.to_source(intir.run(graph, host_input(graph, held.test_images)), graph).reshape(len(held.test_images), -1)
    assert float(found["accuracy_percent"]) == pytest.approx(100 * np.mean(logits.argmax(1) == held.test_labels))
    weights = [node.op.weights for node in graph.nodes if hasattr(node.op, "weights")]
    assert int(found["dense_parameters"]) == sum(one.size for one in weights)
    assert int(found["parameters"]) == sum(int(np.count_nonzero(one)) for one in weights)
    # 8 filters became 4, and 16 neurons 8
    assert sum(one.size for one in weights) == 4 * 9 + 4 * 4 * 9 + 16 * 8 + 8 * 3
    assert int(found["dense_macs"]) == 64 * 4 * 9 + 16 * 4 * 4 * 9 + 16 * 8 + 8 * 3
    assert found["budget"] == "0.5" and float(found["luts"]) > 0


@pytest.fixture(scope="module")
def compared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """A comparison: its folder, what was asked, and what it printed."""
    folder = tmp_path_factory.mktemp("compared")
    asked = [NETWORK, "--compare", *(part for name in ("int8", "deep-compression", "bwn") for part in ("--only", name)), "--density", "0.25",
             "--data", str(data), "--quick", "-o", str(folder / "r.csv")]
    return folder, asked, ok(*asked, "--csv", folder / "t.csv", "--plot", folder / "r.svg")


def rows_of(text: str) -> dict[str, dict[str, str]]:
    lines = text.splitlines()
    assert lines[0] == "# bitwright compress 1"
    return {row["method"]: {name: cell for name, cell in row.items() if cell} for row in csv.DictReader(lines[1:])}


def test_what_a_comparison_shows_and_writes(compared: tuple[Path, list[str], str]) -> None:
    folder, _, text = compared
    assert "deep-compression 0.25" in text and "right %" in text and "times smaller" in text
    assert ElementTree.parse(folder / "r.svg").getroot().tag.endswith("svg")
    with (folder / "t.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["float", "int8", "deep-compression", "bwn"]


def test_a_comparison_goes_on_where_it_was(compared: tuple[Path, list[str], str]) -> None:
    folder, asked, _ = compared
    results = folder / "r.csv"
    before = results.read_text()
    lines = before.splitlines(keepends=True)
    assert len(lines) == 2 + 4
    results.write_text("".join(lines[:5]) + lines[5][:40])  # a kill in the middle of the fourth row
    data = json.loads(ok(*asked, "--json"))
    after = results.read_text()
    assert after.splitlines()[:5] == before.splitlines()[:5]  # with the seconds that they took
    clockless = [{name: {key: value for key, value in row.items() if key != "seconds"} for name, row in rows_of(text).items()}
                 for text in (before, after)]
    assert clockless[0] == clockless[1]
    assert [{name: cell for name, cell in row.items() if cell} for row in data["rows"]] == list(rows_of(after).values())
    # other methods go into the same file, and what is there is left alone
    ok(*asked[:2], "--only", "int8", *asked[asked.index("--data"):])
    assert results.read_text() == after


def test_figures_of_a_comparison(compared: tuple[Path, list[str], str]) -> None:
    rows = rows_of((compared[0] / "r.csv").read_text())
    floats, small, binary = rows["float"], rows["deep-compression"], rows["bwn"]
    assert "luts" not in floats and floats["ratio"] == "1"
    parameters = 8 * 9 + 8 * 8 * 9 + 32 * 16 + 16 * 3 + 2 * (8 + 8) + 16 + 3
    assert int(floats["float_bytes"]) == 4 * parameters
    for row in rows.values():
        assert float(row["ratio"]) == pytest.approx(int(row["float_bytes"]) / int(row["stored_bytes"]), rel=1e-4)
        assert int(row["stored_bytes"]) <= int(row["packed_bytes"])
    assert float(small["parameters"]) == pytest.approx(0.25 * (8 * 9 + 8 * 8 * 9 + 32 * 16 + 16 * 3), abs=1)
    for name, row in rows.items():
        assert all((f"{machine}_{what}" in row) == (name != "float") for machine in MACHINES for what in ("latency_us", "energy_uj"))
    # 8 bits at the ends, 1 bit inside; a scale for each inner output and each end's, one for each activation, biases, two norms
    inner, ends = 8 * 8 * 9 + 32 * 16, 8 * 9 + 16 * 3
    others = 32 * (16 + 3 + 2 * (8 + 8) + (8 + 16) + (8 + 3))
    assert 8 * int(binary["stored_bytes"]) - (inner + 8 * ends + others) in range(0, 32 * 12)
    assert int(binary["luts"]) < int(rows["int8"]["luts"])


def test_seeds_become_a_mean_and_a_spread() -> None:
    def row(method: str, seed: int, percent: float, **more: str) -> dict[str, str]:
        return {"model": "n", "method": method, "seed": str(seed), "accuracy_percent": str(percent), "xnor_64_energy_uj": str(10 * seed)} | more

    made = over_seeds([row("a", 1, 90.0), row("b", 1, 80.0), row("a", 2, 92.0), row("a", 3, 94.0), row("c", 1, 1.0, error="no")])
    assert [(one["method"], one["accuracy_percent"], one.get("spread"), one["xnor_64_energy_uj"]) for one in made] == [
        ("a", "92", "2.00", "20"), ("b", "80", None, "10"), ("c", "1.0", None, "10")]
    assert made[2]["error"] == "no"


class Sizes:
    """Stands in for hardware: what a network costs is how many numbers it has, or bits."""

    def latency_us(self, network: nn.Module) -> float:
        return float(sum(one.numel() for one in network.parameters()))

    def bit_serial_latency_us(self, network: nn.Module) -> float:
        return float(sum(part.bits for part in network.modules() if isinstance(getattr(part, "bits", None), int)) or 8 * 9)

    def sparse_energies_pj(self, network: nn.Module) -> dict[str, float]:
        return {name: float(one.weight.count_nonzero()) for name, one in network.named_modules() if isinstance(one, (nn.Linear, nn.Conv2d))}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_network_for_the_samples(name: str, data: Path, model: Model) -> None:
    method = method_of(name)
    before = model.fingerprint
    job = Job(model, load(data), None if method.budget is None else method.budget.default, epochs=1, hardware=Sizes(),
              search=Search(trials=3))
    made = method.run(job)
    network = made.network if isinstance(made, Made) else made
    assert model.fingerprint == before, "the given network is left as it was"
    assert evaluate(network.eval(), job.data.test_images).shape == (40, 3)


def test_a_search_goes_on_after_a_kill_and_draws_its_front(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def evaluated(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(methods_search, "evaluate", evaluated)
    asked = (NETWORK, "--method", "amc", "--latency", "0.9", "--trials", "5", "--epochs", "0", "--json")
    kept, picture = tmp_path / "trials.log", tmp_path / "front.svg"
    result = invoke("compress", *asked, "--data", data, "--trials-file", kept)
    assert result.exit_code == 130 and f"interrupted; '{kept}' has the networks that were tried, and the same command" in result.stderr
    calls = 10
    found = json.loads(ok(*asked, "--data", data, "--trials-file", kept, "--plot", picture))
    anew, calls = calls - 10, 10
    assert found == json.loads(ok(*asked, "--data", data)), "as if nobody had interrupted it"
    assert anew < calls - 10, "what was tried is not tried again"
    costs = [one["cost"] for one in found["front"]]
    assert costs == sorted(costs) and 0 < costs[-1] <= 0.9
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    other = compress_net.write(tmp_path, seed=1)
    assert "is the file of another search (its samples or costs differ)" in refused(*asked, "--data", other, "--trials-file", kept)


BAD = [
    (("--compare", "--methods"), "exclude each other; give one of them"),
    ((), "say what to do: --methods lists the methods"),
    ((NETWORK, "--method", "magnitud"), "there is no method 'magnitud'; did you mean magnitude?"),
    ((NETWORK, "--method", "magnitude", "--density", "0"), "--density of magnitude is the part to leave, above 0 and at most 1, not 0"),
    ((NETWORK, "--method", "magnitude", "--density", "nan"), "not nan"),
    ((NETWORK, "--method", "lsq", "--bits", "9"), "--bits of lsq is a whole number from 2 to 8, not 9"),
    ((NETWORK, "--method", "magnitude", "--keep", "0.5"), "magnitude takes --density, not --keep"),
    ((NETWORK, "--method", "xnor", "--keep", "0.5"), "xnor takes no budget, not --keep"),
    ((NETWORK, "--compare", "--only", "xnor", "--only", "twn", "--keep", "0.5"), "none of the methods takes --keep"),
    ((NETWORK, "--compare", "--curve", "--keep", "0.5"), "--curve takes several budgets of its own; leave --keep out"),
    ((NETWORK, "--method", "filters", "--curve"), "--curve is for --compare"),
    ((NETWORK, "--method", "filters", "--seed", "1", "--seed", "2"), "--method runs with one seed"),
    ((NETWORK, "--method", "filters", "--quick", "--epochs", "3"), "--quick and --epochs both say how long"),
    ((NETWORK, "--method", "filters", "--plot", "x.svg"), "--plot is for --compare"),
    ((NETWORK, "--method", "filters", "--trials", "9"), "--trials is for --method amc or haq, which search; leave it out"),
    ((NETWORK, "--compare", "--trials-file", "t.log"), "--trials-file is for --method amc or haq"),
    ((NETWORK, "--method", "amc", "--trials-file", "x.svg", "--plot", "x.svg"), "give each a file of its own"),
    ((NETWORK, "--method", "amc", "--plot", "x.gif"), "pictures end in .svg, .png, .pdf"),
    ((NETWORK, "--method", "amc", "--trials-file", "nowhere/t.log"), "cannot write 'nowhere/t.log': its folder does not exist"),
    ((NETWORK, "--method", "filters", "-o", "x.pt"), "a compressed network is a .onnx file (QONNX) or a .intir file"),
    ((NETWORK, "--method", "filters", "-o", "nowhere/x.onnx"), "there is no such folder"),
    ((NETWORK, "--compare", "--plot", "x.gif"), "pictures end in .svg, .png, .pdf"),
    ((NETWORK, "--compare", "-o", "x.onnx"), "name a .csv file"),
    ((NETWORK, "--compare", "--csv", "x.csv", "-o", "x.csv"), "give each a file of its own"),
    ((NETWORK, "--compare", "--plot", "nowhere/x.svg"), "cannot write 'nowhere/x.svg': its folder does not exist; choose a folder that exists"),
    ((NETWORK, "--compare", "--csv", "/"), "cannot write '/': it is a folder"),
    ((NETWORK, "--compare", "--machine", "abacus"), "abacus"),
    (("--method", "filters"), "--method compresses one network; name it"),
    (("lenet6", "--method", "filters"), "there is no network 'lenet6': give one of lenet300, lenet5, vgg, resnet, or path/to/file.py:function"),
    (("net.py", "--method", "filters"), "name the function in it that returns the network, net.py:function"),
    (("nowhere.py:f", "--method", "filters"), "'nowhere.py' does not exist"),
    ((NETWORK, "--method", "filters", "--data", "nowhere.npz"), "'nowhere.npz' does not exist"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=[sentence[:40] for _, sentence in BAD])
def test_what_is_refused(arguments: tuple[str, ...], sentence: str, data: Path) -> None:
    given = arguments if "--data" in arguments else (*arguments, "--data", data)
    assert sentence in refused(*given)


@pytest.mark.parametrize(("function", "sentence"), [
    ("nothing", "nothing of '{file}' returns NoneType, not a torch.nn.Module"),
    ("missing", "'{file}' has no function 'missing'; it has samples, write, Block, trained"),
    ("weights", "weights of '{file}' is no function but list"),
    ("fails", "'{file}' fails in fails(), line 61 (TypeError: "),
    ("empty", "has no parameters: there is nothing to compress"),
    ("two_classes", "tells 2 classes apart, but the labels of 'bars' go up to 2"),
    ("maps", "gives (2, 3, 6, 6) for 2 samples, not one row of logits for each"),
    ("broken", "gives numbers that aren't finite"),
])
def test_what_a_users_function_does_wrong(function: str, sentence: str, data: Path) -> None:
    text = refused(f"{compress_net.__file__}:{function}", "--method", "int8", "--data", data)
    assert sentence.format(file=compress_net.__file__) in text


def test_a_file_that_python_does_not_read(tmp_path: Path, data: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\n\ndef f(:\n")
    assert "can't be imported, line 3 (SyntaxError" in refused(f"{tmp_path}/net.py:f", "--method", "int8", "--data", data)
    (tmp_path / "net.py").write_text("import neighbour\n\nf = neighbour.f\n")
    (tmp_path / "neighbour.py").write_text("def f():\n    return 3\n")
    assert "returns int" in refused(f"{tmp_path}/net.py:f", "--method", "int8", "--data", data)


def test_a_network_without_inner_layers_has_no_binary_form(data: Path) -> None:
    row = json.loads(ok(f"{compress_net.__file__}:shallow", "--compare", "--only", "xnor", "--data", data, "--epochs", "1", "--json"))["rows"][1]
    assert "methods of few bits need a network with three layers or more" in row["error"] and "ratio" not in row


@pytest.mark.parametrize(("change", "sentence"), [
    ({"test_labels": None}, "has no array test_labels"),
    ({"train_images": np.zeros((80, 1, 9, 9), np.uint8)}, "both must be alike"),
    ({"train_images": np.zeros((80, 1, 8, 8), np.int32)}, "train_images are int32; give uint8 pixels, or floats"),
    ({"train_images": np.zeros((10, 1, 8, 8), np.uint8), "train_labels": np.zeros(10, int)}, "has 10 train_images: give 20 or more"),
    ({"train_labels": np.zeros(79, int)}, "give one whole number for each of the 80 images"),
    ({"train_labels": np.full(80, -1)}, "train_labels hold -1; number the classes from 0"),
    ({"train_labels": np.array([None] * 80)}, "is no readable .npz file"),
    ({"test_images": np.full((40, 1, 8, 8), np.nan)}, "hold numbers that aren't finite"),
    ({"train_images": np.full((80, 1, 8, 8), 1e39)}, "hold numbers that aren't finite, as float32"),
    ({"train_images": np.zeros((80, 1, 12, 12), np.uint8), "test_images": np.zeros((40, 1, 12, 12), np.uint8)}, "do not go through"),
])
def test_samples_that_are_refused(change: dict[str, np.ndarray | None], sentence: str, tmp_path: Path) -> None:
    arrays = compress_net.samples() | change
    np.savez(tmp_path / "x.npz", **{name: array for name, array in arrays.items() if array is not None})
    assert sentence in refused(NETWORK, "--method", "int8", "--data", tmp_path / "x.npz")


def test_samples_that_are_no_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        for name in compress_net.samples():
            file.writestr(f"{name}.npy", b"anything")
    assert "train_images is no array of numpy: write the file with numpy.savez" in refused(NETWORK, "--method", "int8", "--data", tmp_path / "x.npz")


def test_a_network_without_a_form_in_integers_is_refused_before_any_method_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(job: Job) -> nn.Module:
        raise AssertionError("a method ran")

    for name, method in METHODS.items():
        monkeypatch.setitem(METHODS, name, dataclasses.replace(method, run=never))
    network = f"{compress_net.__file__}:softplus"
    for asked in (("--compare", "-o", tmp_path / "r.csv"), ("--method", "magnitude", "-o", tmp_path / "x.onnx")):
        text = refused(network, *asked, "--data", data)
        assert "compress_net:softplus can't be compressed, as it has no form in integers: " in text and "Softplus" in text
    assert not list(tmp_path.iterdir())


def test_an_interrupted_comparison_says_where_its_rows_are(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(bench: Bench, run: Run) -> dict[str, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, "row", interrupted)
    asked = (NETWORK, "--compare", "--only", "int8", "--data", data)
    for more, said in (((), "nothing was written"), (("-o", tmp_path / "r.csv"), f"'{tmp_path}/r.csv' has what was done, and the same command")):
        result = invoke("compress", *asked, *more)
        assert result.exit_code == 130 and f"bitwright: interrupted; {said}" in result.stderr


def test_files_that_are_no_results(data: Path, tmp_path: Path, compared: tuple[Path, list[str], str]) -> None:
    asked = (NETWORK, "--compare", "--only", "int8", "--data", data, "-o")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert "is no file of results of `bitwright compress` (it begins with 'a,b')" in refused(*asked, tmp_path / "x.csv")
    text = (compared[0] / "r.csv").read_text()
    lines = text.splitlines(keepends=True)
    (tmp_path / "r.csv").write_text(text)
    assert "has results of other machines" in refused(*asked, tmp_path / "r.csv", "--machine", "tpu_v1")
    (tmp_path / "r.csv").write_text(text + "what,is,this\n")
    assert "line 7, is no row of results" in refused(*asked, tmp_path / "r.csv")
    for change in (("dense,", '"dense,'), (",dense,", ",x,dense,"), (lines[3].split(",")[20], "many")):  # LUTs
        (tmp_path / "r.csv").write_text("".join([*lines[:3], lines[3].replace(*change), *lines[4:]]))
        assert "line 4, is no row of results" in refused(*asked, tmp_path / "r.csv")
    for head in ("# bitwright compress 2", "# bitwright compress 10"):
        (tmp_path / "r.csv").write_text(text.replace("# bitwright compress 1", head, 1))
        assert f"is of another version of bitwright (it begins with '{head}', not" in refused(*asked, tmp_path / "r.csv")
    assert "choose a folder that exists" in refused(*asked, tmp_path / "nowhere" / "r.csv")

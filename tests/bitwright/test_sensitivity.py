"""`bitwright sensitivity`: what it measures, writes and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("torch", reason="the toolbox needs torch")

import torch

from quant.compress.bench.data import load
from tests.bitwright import compress_net
from tests.bitwright.conftest import invoke

NETWORK = f"{compress_net.__file__}:trained"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compress_net.write(tmp_path_factory.mktemp("bars"))


def test_each_figure_is_that_of_a_network_with_one_layer_pruned(data: Path, tmp_path: Path) -> None:
    asked = ("sensitivity", NETWORK, "--data", data, "--loss", "5")
    shown = invoke(*asked, "--csv", tmp_path / "s.csv", "--plot", tmp_path / "s.svg")
    assert (shown.exit_code, shown.stderr) == (0, "")
    found = json.loads(invoke(*asked, "--json").stdout)
    samples, images = load(data), torch.tensor(compress_net.samples()["train_images"] / np.float32(255))
    for row in found["rows"]:
        network = compress_net.trained()
        weight = network.get_submodule(row["layer"]).weight
        with torch.no_grad():
            kept = max(1, round(row["density"] * weight.numel()))
            weight[weight.abs() < weight.abs().flatten().sort(descending=True).values[kept - 1]] = 0
            right = (network(images).argmax(dim=1).numpy() == samples.train_labels).mean()
        assert row["score"] == pytest.approx(100 * right), row
    assert found["baseline"] == found["rows"][0]["score"]
    for layer, density in found["densities"].items():
        scores = {row["density"]: row["score"] for row in found["rows"] if row["layer"] == layer}
        assert all(found["baseline"] - score <= 5 for at, score in scores.items() if at >= density)
        assert all(found["baseline"] - scores[at] > 5 for at in sorted(scores, reverse=True) if at < density and at == max(
            one for one in scores if one < density))
        assert layer in shown.stdout
    with (tmp_path / "s.csv").open() as file:
        rows = [(row["layer"], float(row["density"]), float(row["right_percent"])) for row in csv.DictReader(file)]
    assert rows == [(row["layer"], row["density"], pytest.approx(row["score"], rel=1e-5)) for row in found["rows"]]
    assert ElementTree.parse(tmp_path / "s.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(("arguments", "sentence"), [
    ((NETWORK, "--loss", "-1"), "--loss is a number of percentage points from 0 to 100, not -1"),
    ((NETWORK, "--loss", "nan"), "not nan"),
    ((NETWORK, "--plot", "x.gif"), "pictures end in .svg, .png, .pdf"),
    ((NETWORK, "--plot", "x.svg", "--csv", "x.svg"), "give each a file of its own"),
    ((NETWORK, "--csv", "nowhere/x.csv"), "choose a folder that exists"),
    (("lenet6",), "there is no network 'lenet6'"),
    ((f"{compress_net.__file__}:two_classes",), "tells 2 classes apart"),
])
def test_what_is_refused(arguments: tuple[str, ...], sentence: str, data: Path) -> None:
    result = invoke("sensitivity", *arguments, "--data", data)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr and result.stderr.count("\n") == 1

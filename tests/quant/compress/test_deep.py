"""Deep Compression: what each step leaves, how it is lowered, mistakes."""

import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from torch import nn
from torch.nn import functional as F

from quant.compress import CompressionError
from quant.compress.deep import deep_compress
from quant.compress.distill import distilled
from quant.nn import SharedQuant, density_report, export_qonnx
from tests.quant.nn.test_ptq import check_integers


def task():
    """A network trained to tell which quarter of an image is bright."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten(),
                            nn.Linear(96, 16), nn.ReLU(), nn.Linear(16, 4))
    labels = torch.arange(400) % 4
    images = torch.rand(400, 1, 8, 8)
    for number, label in enumerate(labels.tolist()):
        top, left = label // 2 * 4, label % 2 * 4
        images[number, 0, top:top + 4, left:left + 4] += 0.25

    def train(one, epochs=4, rate=3e-3):
        optimizer = torch.optim.Adam(one.train().parameters(), rate)
        for _ in range(epochs):
            for chosen in torch.randperm(400).split(50):
                optimizer.zero_grad()
                F.cross_entropy(one(images[chosen]), labels[chosen]).backward()
                optimizer.step()

    train(network, 10)
    return network.eval(), images, labels, train


def test_pruned_shared_and_fine_tuned_networks_are_lowered_exactly(tmp_path):
    network, images, labels, train = task()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    seen = []

    def retrain(one):
        seen.append([row.density for row in density_report(one)[:-1]])
        train(one)

    found = deep_compress(network, images, retrain, density={"0": 0.5, "3": 0.25, "6": 0.125}, codes={"3": 8, "6": 4, "8": 16},
                          method="minmax")
    # three rounds along the cubic schedule, then shared values: zeros have stayed
    left = [1.0, 8 / 27, 1 / 27, 0.0]
    for row, part in zip(seen, left[1:] + left[3:], strict=True):
        for density, final in zip(row, (0.5, 0.25, 0.125, 1.0), strict=True):
            assert density == pytest.approx(final + (1 - final) * part, abs=0.02)
    rows = {one.layer: one.density for one in density_report(found)[:-1]}
    assert rows == pytest.approx({"0": 0.5, "3": 0.25, "6": 0.125, "8": 1.0}, abs=0.01)
    for name, codes in {"3": 8, "6": 4, "8": 16}.items():
        layer = found.get_submodule(name)
        values = layer.weight_quant(layer.weight)
        assert isinstance(layer.weight_quant, SharedQuant)
        assert len(values[values != 0].unique()) <= codes
    assert not isinstance(found.get_submodule("0").weight_quant, SharedQuant)
    right = [(one(images).argmax(1) == labels).float().mean().item() for one in (network, found)]
    assert right[1] > right[0] - 0.05 > 0.8
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    export_qonnx(found, images[:1], tmp_path / "network.onnx")
    check_integers(found, images, tmp_path / "network.onnx")


def test_a_teacher_recovers_what_no_label_tells():
    """Without labels: the distilled network agrees with its teacher where one that isn't retrained doesn't."""
    teacher, images, _, _ = task()
    wanted = teacher(images).argmax(1)
    agreeing = []
    for retrain in (lambda one: None, distilled(teacher, images, epochs=4, rate=3e-3)):
        found = deep_compress(teacher, images, retrain, density=0.15, codes=4, rounds=2, scope="global", method="minmax")
        assert density_report(found)[-1].density == pytest.approx(0.15, abs=0.01)
        agreeing.append((found(images).argmax(1) == wanted).float().mean().item())
    assert agreeing[1] > max(0.85, agreeing[0] + 0.1)


def ruin(one):
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.fill_(float("nan"))


@pytest.mark.parametrize(("options", "message"), [
    ({"density": 0.0}, "density must be above 0"),
    ({"density": {"first": 0.5}}, "no linear or convolutional layer `first`"),
    ({"codes": 1}, "2 codes or more"),
    ({"codes": {"first": 4}}, "codes are given for `first`, but there is no such .* there are `0`"),
    ({"entry_bits": 20}, "2 to 16 bits"),
    ({"rounds": 0}, "1 round or more, not 0"),
    ({"retrain": ruin}, "nan"),
    ({"network": nn.Sequential(nn.ReLU())}, "no layers to prune"),
    ({"network": nn.Sequential(nn.Linear(4, 4), nn.CELU())}, r"`1` \(CELU\)"),
    ({"activation_bits": 9}, "activation_bits must be from 1 to 8, not 9"),
])
def test_mistakes_are_told(options, message):
    arguments = {"network": nn.Sequential(nn.Linear(4, 4)), "images": torch.rand(4, 4), "retrain": lambda one: None, "density": 0.5, **options}
    with pytest.raises(CompressionError, match=message):
        deep_compress(**arguments)


def test_weights_that_are_no_numbers_are_refused():
    network = nn.Sequential(nn.Linear(4, 4))
    ruin(network)
    with pytest.raises(CompressionError, match=r"`0\.weight` holds nan"):
        deep_compress(network, torch.rand(4, 4), lambda one: None, density=0.5)

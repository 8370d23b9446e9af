"""The zoo: sizes that are published, accuracies that are stated; and what jobs do with budgets and epochs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from quant.compress import CompressionError
from quant.compress.bench import zoo
from quant.compress.bench.data import Data, digits
from quant.compress.bench.job import Budget, Job
from quant.compress.bench.models import Model, check, load_model
from quant.compress.training import Recipe, accuracy_percent, evaluate, train

#: Deep Compression, table 2 and 3: 267K and 431K parameters.
PARAMETERS = {"lenet300": 266_610, "lenet5": 431_080, "vgg": 77_786, "resnet": 77_754}
#: What `python -m quant.compress.bench.train_zoo` printed.
RIGHT_PERCENT = {"lenet300": 97.8, "lenet5": 98.5, "vgg": 99.1, "resnet": 98.7}


@pytest.mark.parametrize("name", zoo.ZOO)
def test_networks_of_the_zoo(name: str) -> None:
    model, data = load_model(name), digits()
    check(model, data)
    assert sum(one.numel() for one in model.network.parameters()) == PARAMETERS[name]
    assert not model.network.training
    percent = accuracy_percent(evaluate(model.network, data.test_images), data.test_labels)
    assert abs(percent - RIGHT_PERCENT[name]) < 0.25
    assert all(value.dtype == torch.float32 for value in model.network.parameters())


def test_the_zoo_is_small() -> None:
    assert sum(one.path.stat().st_size for one in zoo.ZOO.values()) < 1_700_000


def test_weights_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    with pytest.raises(CompressionError, match="install bitwright again, or make them with `python -m quant.compress.bench.train_zoo vgg`"):
        zoo.trained("vgg")
    torch.manual_seed(0)
    network = zoo.lenet300()
    zoo.save("lenet300", network)
    for name, value in zoo.trained("lenet300").state_dict().items():
        assert torch.equal(value, network.state_dict()[name].half().float()), name


def test_an_unknown_network() -> None:
    with pytest.raises(CompressionError, match="there is no network 'x' in the zoo: it has lenet300"):
        zoo.untrained("x")


@pytest.fixture
def job() -> Job:
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 5)).astype(np.float32), rng.integers(0, 2, 60)
    torch.manual_seed(0)
    return Job(Model("n", "n", nn.Sequential(nn.Linear(5, 2)).eval(), 0.1), Data("d", x[:40], y[:40], x[40:], y[40:]), epochs=2)


def test_retraining(job: Job) -> None:
    steps: list[float] = []
    network = nn.Sequential(nn.Linear(5, 2))
    job.retrain(network, after_step=lambda one: steps.append(one[0].weight.sum().item()))
    assert len(steps) == 2 * job.steps_per_epoch == 20, "ten steps or more an epoch, of few samples"
    assert not network.training and job.model.network[0].weight.grad is None
    again = nn.Sequential(nn.Linear(5, 2))
    again.load_state_dict(job.model.network.state_dict())
    other = nn.Sequential(nn.Linear(5, 2))
    other.load_state_dict(job.model.network.state_dict())
    assert torch.equal(job.retrain(again)[0].weight, job.retrain(other)[0].weight)  # type: ignore[index]


def test_no_retraining_at_all(job: Job) -> None:
    none = Job(job.model, job.data, epochs=0)
    network = nn.Sequential(nn.Linear(5, 2))
    before = network[0].weight.clone()
    for made in (none.retrain(network), none.retrain(network, epochs=none.part_of_epochs(0.5)), none.tune(network)):
        assert torch.equal(made[0].weight, before) and not made.training  # type: ignore[index]


def test_a_loss_of_ones_own(job: Job) -> None:
    seen: list[tuple[torch.Size, ...]] = []

    def loss(logits: torch.Tensor, labels: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        seen.append((logits.shape, labels.shape, inputs.shape))
        return (logits - 3).square().mean()

    network = job.retrain(nn.Sequential(nn.Linear(5, 2)), epochs=40, loss=loss)
    assert set(seen) == {(torch.Size([4, 2]), torch.Size([4]), torch.Size([4, 5]))}
    assert (network(torch.from_numpy(job.data.train_images)) - 3).abs().mean().item() < 0.3


def test_images_that_are_not_distorted_are_trained_on_as_they_are() -> None:
    x = np.random.default_rng(0).random((20, 1, 4, 4)).astype(np.float32)
    given: list[torch.Tensor] = []

    class Look(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            given.append(x)
            return self.layer(x.flatten(1))

    for degrees in (0.0, 20.0):
        given.clear()
        train(Look, x, np.zeros(20, np.int64), Recipe(2, 10, 0.01, degrees, 0.0, 0.0, 0.0), progress=False)
        assert [len(one) for one in given[:4]] == [10] * 4
        epoch = np.concatenate([one.numpy() for one in given[:2]])
        assert np.array_equal(np.sort(epoch, axis=0), np.sort(x, axis=0)) == (degrees == 0)


@pytest.mark.parametrize(("budget", "value", "fine"), [
    (Budget("density", (), 0.1), 1.0, True), (Budget("density", (), 0.1), 0.0, False), (Budget("density", (), 0.1), 1.1, False),
    (Budget("density", (), 0.1), float("nan"), False), (Budget("bits", (), 4, 2, 8), 2, True), (Budget("bits", (), 4, 2, 8), 1, False),
    (Budget("codes", (), 4, 2, 8), 2.5, False)])
def test_budgets(budget: Budget, value: float, fine: bool) -> None:
    if fine:
        assert budget.checked("m", value) == value
    else:
        with pytest.raises(CompressionError, match=f"--{budget.option} of m is"):
            budget.checked("m", value)

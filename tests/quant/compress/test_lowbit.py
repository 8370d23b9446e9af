"""Binary and ternary inner layers: levels of weights and activations, where norms and quantizers go, the way to integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import intir
from quant.compress import CompressionError
from quant.compress.lowbit import low_bit
from quant.lower import host_input, lower
from quant.nn import BipolarQuant, ScaledBipolarQuant, TernaryQuant, TtqQuant, TwnQuant, export_qonnx
from quant.nn.layers import QuantWeights


class Residual(nn.Module):
    """A convolution whose input is added to its result, and a pool whose reader is the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.side = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1, bias=False)
        self.last = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(torch.relu(self.norm(self.stem(x))), 2)
        x = functional.relu(x + self.inner(x) + self.side(x))
        return self.last(functional.max_pool2d(x, 2).flatten(1))


def plain() -> nn.Module:
    """No norms, a convolution without ReLU, a hidden linear layer."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, bias=False), nn.ReLU(), nn.Flatten(),
                         nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (32, 1, 8, 8)) / np.float32(255)).float()


def inner_calls(network: torch.fx.GraphModule, images: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Of each layer with weights: what it reads, and its quantized weights."""
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    hooks = [part.register_forward_hook(lambda part, given, made, name=name: seen.update({name: (given[0], part.weight_quant(part.weight))}))
             for name, part in network.named_modules() if isinstance(part, QuantWeights)]
    network(images)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("build", [plain, Residual])
@pytest.mark.parametrize(("weight", "activation", "levels", "values"), [
    (ScaledBipolarQuant, BipolarQuant, 2, {-1, 1}), (ScaledBipolarQuant, TernaryQuant, 2, {-1, 0, 1}), (TwnQuant, None, 3, None),
    (TtqQuant, None, 3, None)])
def test_levels(build: type, weight: type, activation: type | None, levels: int, values: set[int] | None, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = low_bit(build().eval(), images, weight, activation, input_integers="u8/255").train()
    for _ in range(50):
        network(images)  # running statistics
    seen = inner_calls(network.eval(), images)
    *inner, _ = list(seen)[1:]
    for name, (read, weights) in seen.items():
        rows = [len(row.unique()) for row in weights.detach().flatten(1)]
        if name not in inner:
            assert len(weights.unique()) > 3 and len(read.unique()) > 3, f"{name} has 8 bits"
        elif weight is ScaledBipolarQuant:
            assert rows == [levels] * len(rows)
        else:
            assert len(weights.unique()) <= levels
        if name in inner:
            assert values is None or (set(read.unique().tolist()) <= values and len(read.unique()) == len(values)), name


def test_binary_layers_read_signs_of_normed_sums_and_not_of_relus(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = low_bit(plain().eval(), images, ScaledBipolarQuant, BipolarQuant)
    read = inner_calls(network.train(), images)
    for name in ("2", "5"):
        assert 0.3 < (read[name][0] > 0).float().mean().item() < 0.97, "of values that are all positive, signs would all be 1"
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [4, 6], "channels, not the flattened elements"


def test_what_is_added_keeps_its_bits(images: torch.Tensor) -> None:
    network = low_bit(Residual().eval(), images, ScaledBipolarQuant, BipolarQuant)
    sums: list[torch.Tensor] = []
    for node in network.graph.nodes:
        if node.op == "call_function" and "add" in str(node.target):
            sums += [node.args[0]]
    values: dict[str, torch.Tensor] = {}

    class Look(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            made = super().run_node(n)
            values[n.name] = made
            return made

    Look(network).run(images)
    assert all(len(values[one.name].unique()) > 3 for one in sums)
    assert sum(isinstance(part, BipolarQuant) for part in network.modules()) == 1, "both layers read the same signs"


def test_the_given_network_stays(images: torch.Tensor) -> None:
    network = plain().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    low_bit(network, images, ScaledBipolarQuant, BipolarQuant)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()) and len(before) == len(network.state_dict())


@pytest.mark.parametrize("build", [plain, Residual])
def test_down_to_integers(build: type, images: torch.Tensor, tmp_path: object) -> None:
    torch.manual_seed(0)
    network = low_bit(build().eval(), images, ScaledBipolarQuant, TernaryQuant, input_integers="u8/255").train()
    network(images)
    network.eval()
    path = f"{tmp_path}/x.onnx"
    export_qonnx(network, images[:1], path)
    graph = lower(path, input_spec="u8/255").graph
    pixels = np.rint(images.numpy() * 255).astype(np.int64)
    found = intir.to_source(intir.run(graph, host_input(graph, pixels)), graph).reshape(len(images), -1)
    wanted = network(images).detach().numpy()
    assert np.mean(found.argmax(1) == wanted.argmax(1)) > 0.9  # float32 rounds, a level may tip


def test_without_inner_layers_there_is_nothing_to_do(images: torch.Tensor) -> None:
    with pytest.raises(CompressionError, match="has no layer with weights between its first and its last one, which keep 8 bits"):
        low_bit(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 3)), images, TwnQuant)

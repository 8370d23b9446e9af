"""Small networks of the forms that channels are coupled in, and the way from a float network to integers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import intir
from quant.lower import lower
from quant.nn import export_qonnx, quantize


class Residual(nn.Module):
    """Stem and second layer of a block are added, then flattened; the batch norms are random."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.a, self.a_norm = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.b = nn.Conv2d(5, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 16, 7)
        shake(self)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.b(F.relu(self.a_norm(self.a(x)))))
        return self.fc(torch.flatten(F.max_pool2d(x, 2), 1))


class Plain(nn.Module):
    """Convolutions with stride and dilation, flattened for two linear layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=2, dilation=2)
        self.fc1, self.fc2 = nn.Linear(8 * 16, 12), nn.Linear(12, 5)

    def forward(self, x):
        x = F.relu(self.b(F.relu(self.a(x))))
        return self.fc2(F.relu(self.fc1(x.view(x.size(0), -1))))


class Concatenated(nn.Module):
    """Each layer reads all before it; the last sum couples parts of a concatenation, one part of which is the input."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(5, 3, 1)
        self.d, self.c = nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 7, 3, padding=1, stride=2)
        self.fc = nn.Linear(7, 3)

    def forward(self, x):
        y = torch.cat([x, F.relu(self.a(x))], 1)
        z = torch.cat([y, F.relu(self.b(y))], 1)
        return self.fc(F.relu(self.c(z + self.d(z))).mean((2, 3)))


class Depthwise(nn.Module):
    """A depthwise convolution with a batch norm and a PReLU between convolutions."""

    def __init__(self):
        super().__init__()
        self.a, self.depthwise, self.norm = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 6, 3, groups=6, padding=1), nn.BatchNorm2d(6)
        self.act, self.point = nn.PReLU(6), nn.Conv2d(6, 8, 1)
        self.fc = nn.Linear(8 * 36, 10)
        shake(self)

    def forward(self, x):
        return self.fc(F.relu(self.point(self.act(self.norm(self.depthwise(F.relu(self.a(x))))))).flatten(1))


class Shared(nn.Module):
    """One layer called twice, and one activation called everywhere."""

    def __init__(self):
        super().__init__()
        self.a, self.shared, self.fc, self.relu = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 3), nn.ReLU(True)

    def forward(self, x):
        x = self.relu(self.shared(self.relu(self.a(x))))
        return self.fc(self.relu(self.shared(x)).mean((2, 3)))


class Gated(nn.Module):
    """Squeeze and excitation; the same maps concatenated twice; a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.a, self.squeeze, self.excite = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
        self.out, self.up, self.fc = nn.Conv2d(16, 4, 1), nn.ConvTranspose2d(4, 5, 2, stride=2), nn.Linear(5, 3)

    def forward(self, x):
        x = F.relu(self.a(x))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.fc(F.relu(self.up(F.relu(self.out(torch.cat([x, x], 1))))).mean((2, 3)))


class Mlp(nn.Sequential):
    """Linear layers with a batch norm."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3))
        shake(self)


FOLLOWED = (Residual, Plain, Concatenated, Depthwise, Shared, Gated, Mlp)


def shake(network):
    """Give batch norms statistics, scales and shifts of their own."""
    for part in network.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for values in (part.weight.data, part.running_var):
                values.copy_(torch.rand(len(values)) + 0.5)
            for values in (part.bias.data, part.running_mean):
                values.copy_(torch.randn(len(values)) * 0.3)


def made(kind, seed=0):
    torch.manual_seed(seed)
    return kind().eval()


def images(count=40, channels=1, seed=0):
    return torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def outputs(network, x):
    with torch.no_grad():
        return network.eval()(x)


def check_goes_to_integers(network, x, folder):
    """Quantize, export and lower; the integers give what the quantized network does."""
    x = (x * 255).round() / 255
    quantized = quantize(network, x[:1], x, input_integers="u8/255")
    export_qonnx(quantized, x[:1], folder / "net.onnx")
    graph = lower(folder / "net.onnx", input_spec="u8/255").graph
    integers = intir.to_source(intir.run(graph, np.moveaxis((x * 255).round().numpy().astype(np.int64), 1, -1)), graph)
    assert np.allclose(integers, outputs(quantized, x).numpy(), atol=1e-4)

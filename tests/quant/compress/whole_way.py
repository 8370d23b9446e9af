"""Networks for the tests of compression, and the way from a float network to integers."""

from __future__ import annotations

import torch
from torch import nn

from quant.nn import export_qonnx, quantize
from tests.quant.nn.meaning import check_lowering

SHAPE = (4, 7, 6)


def network(seed=0):
    """Convolutions of many forms, a residual add of a layer that is called twice, and two linear layers."""
    torch.manual_seed(seed)
    return Network().eval()


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.again = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.depthwise = nn.Conv2d(12, 12, (3, 1), padding=(1, 0), groups=12)
        self.strided = nn.Conv2d(12, 16, (3, 2), stride=(3, 4), padding=(0, 1), dilation=(1, 2))
        self.hidden = nn.Linear(16 * 4, 24)
        self.last = nn.Linear(24, 8, bias=False)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(x + self.again(torch.relu(self.again(x))))
        x = torch.relu(self.strided(torch.relu(self.depthwise(x))))
        return self.last(torch.relu(self.hidden(x.flatten(1))))


def images(count=40, seed=1):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def check_lowers(plain, folder, x=None):
    """Quantize, export, lower: the integers mean what the file means, in exact rationals."""
    x = images() if x is None else x
    quantized = quantize(plain, x[:1], x)
    path = folder / "network.onnx"
    export_qonnx(quantized, x[:1], path)
    check_lowering(path, x[:5].numpy(), exactly=1)

"""Forms in which float networks come: what published architectures write, exactly; and what isn't a plain network, refused."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from intir.errors import BitwrightError
from quant.exact import ExactNetwork, of_array
from quant.lower import lower
from quant.nn import LSQ, ExportError, IntQuant, QuantConv2d, QuantizationError, export_qonnx, fit_weight, memory_use, quantize
from tests.quant.nn.meaning import prepared
from tests.quant.nn.test_ptq import norm
from tests.quant.test_lower_oracle import reals

SHAPE = (4, 6, 6)


class Forms(nn.Module):
    """ShuffleNet's shuffle, squeeze and excitation, split channels, SiLU, and a Tanh at the end."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.last = nn.Conv2d(4, 8, 3), nn.Linear(8, 8), nn.Conv2d(8, 2, 1)
        self.a, self.b, self.curve = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.SiLU()

    def forward(self, x):
        x = F.relu(self.first(x))
        count, channels, height, width = x.size()
        a, b = x.chunk(2, dim=1)
        x = torch.cat((a, self.a(b)), dim=1)
        x = x.view(count, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(count, -1, height, width)
        gates = torch.sigmoid(self.gate(x.mean([2, 3]))).view(count, channels, 1, 1)
        _, b = torch.split(self.curve(x * gates), [4, 4], dim=-3)
        return torch.tanh(self.last(torch.cat([self.b(b), b], 1))) / 2


class Tied(nn.Module):
    """Two layers with one weight, each with a norm of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.a_norm, self.b_norm = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), norm(4), norm(4)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b_norm(self.b(F.relu(self.a_norm(self.a(x)))))


def test_forms_of_published_networks_are_lowered_exactly(tmp_path):
    torch.manual_seed(0)
    network, x = Forms(), torch.rand(40, *SHAPE)
    quantized = quantize(network, x[:2], x, weight_bits=6)
    with torch.no_grad():
        assert (quantized(x) - network(x)).abs().mean() < 0.05 * network(x).abs().mean()
    assert quantized.truediv_quant.bits == 8  # its values are irrational, so an output needs a quantizer behind it
    export_qonnx(quantized, x[:1], tmp_path / "network.onnx")
    found = reals(lower(tmp_path / "network.onnx"), x[:8].numpy())
    (wanted,) = ExactNetwork(tmp_path / "network.onnx").run(of_array(x[:8].numpy()))
    assert len(np.unique(found.astype(float))) > 20
    assert (found == wanted.fractions().reshape(found.shape)).all()


@pytest.mark.parametrize("curve", [nn.Hardswish(), nn.GELU(), nn.Mish()])
def test_the_input_of_a_curve_is_quantized(curve):
    x = torch.rand(20, *SHAPE)
    quantized = quantize(nn.Sequential(nn.Conv2d(4, 4, 1), curve), x[:1], x)
    assert {name for name, part in quantized.named_children() if isinstance(part, IntQuant)} == {"input_quant", "_0_quant", "_1_quant"}


def test_shared_weights_get_each_its_own_norm_and_scale(tmp_path):
    torch.manual_seed(0)
    network, x = Tied().eval(), torch.rand(50, *SHAPE)
    quantized = quantize(network, x[:1], x)
    with torch.no_grad():
        assert (quantized(x) - network(x)).abs().mean() < 0.02 * network(x).abs().mean()
    layers = [QuantConv2d(4, 4, 1, weight_quant=LSQ(4, scale=scale, weight=True)) for scale in (0.1, 0.07)]
    layers[1].weight = layers[0].weight
    both = nn.Sequential(*layers).eval()
    assert torch.equal(prepared(both)(x), both(x))


# --- mistakes ---


class Outputs(nn.Module):
    def forward(self, x):
        return x, x + 1


def changed(change):
    """A convolution that something was done to."""
    network = nn.Sequential(nn.Conv2d(4, 4, 1))
    return change(network) or network


def fill(network):
    network[0].bias.data.fill_(float("nan"))


@pytest.mark.parametrize(("network", "message"), [
    (None, "must be a torch.nn.Module, not None"),
    (nn.ReLU, "not the class ReLU"),
    (changed(lambda one: one.half()), r"`0\.weight` is torch.float16: call `.float\(\)`"),
    (changed(lambda one: one.to("meta")), r"`0\.weight` has no values yet"),
    (nn.Sequential(nn.LazyConv2d(4, 1)), r"`0\.weight` has no values yet"),
    (changed(fill), r"`0\.bias` holds nan"),
    (changed(torch.compile), "give the module that torch.compile took"),
    (changed(nn.DataParallel), "give its `.module`"),
    (changed(lambda one: nn.Sequential(parametrizations.weight_norm(one[0]))), "remove_parametrizations"),
    (changed(lambda one: nn.Sequential(prune.l1_unstructured(one[0], "weight", 0.5))), r"`0` \(Conv2d\) has a forward hook"),
    (nn.Sequential(QuantConv2d(4, 4, 1, weight_quant=IntQuant(4))), r"`0\.weight_quant` \(IntQuant\) is a quantizer already"),
])
def test_what_is_no_plain_network_is_refused(network, message):
    with pytest.raises(QuantizationError, match=message):
        quantize(network, torch.zeros(1, *SHAPE), torch.rand(4, *SHAPE))


@pytest.mark.parametrize(("example", "message"), [(None, "is None: give a tensor"), (torch.zeros(0, *SHAPE), "is empty"),
                                                  (torch.tensor(0.0), "is a single number")])
def test_bad_example_inputs_are_refused(example, message):
    for function in (lambda network: quantize(network, example, torch.rand(4, *SHAPE)), lambda network: memory_use(network, example)):
        with pytest.raises(QuantizationError, match=message):
            function(nn.Conv2d(4, 4, 1))


def test_exports_fail_in_one_sentence_and_leave_no_file(tmp_path):
    network, x = nn.Conv2d(4, 4, 1), torch.zeros(1, *SHAPE)
    for module, example, path, message in (
            (network, x, tmp_path, "is a folder"), (network, None, "x.onnx", "at least one sample"),
            (network, x[:0], "x.onnx", "at least one sample"), (len, x, "x.onnx", "must be a torch.nn.Module"),
            (Outputs(), x, "x.onnx", "Outputs returns 2 tensors"),
            (network, torch.zeros(1, 5, 6, 6), "x.onnx", r"torch can't export Conv2d for an input of shape \(1, 5, 6, 6\)")):
        with pytest.raises(ExportError, match=message) as caught:
            export_qonnx(module, example, tmp_path / path)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_of_small_functions_are_refused():
    with pytest.raises(ValueError, match="the axis must be from 0 to 1"):
        fit_weight(torch.rand(4, 3), 4, axis=-1)
    with pytest.raises(ValueError, match=r"bits=4\.0"):
        IntQuant(4.0)
    with pytest.raises(BitwrightError, match="does not go through Conv2d"):
        memory_use(nn.Conv2d(4, 4, 1), torch.zeros(1, 5, 6, 6))

"""From a float network to integers: every supported operation, exactly; the digits; mistakes.

What a quantized network means is computed apart from the lowering by PyTorch in float64.  Fitted scales have 8 significant bits,
so float64 sums of products are exact, and the integers must give these very numbers: a single level that
differs somewhere would show.
"""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from torch import nn
from torch.nn import functional as F

from quant.lower import lower
from quant.nn import LSQ, IntQuant, QuantizationError, export_qonnx, quantize
from quant.nn.layers import QuantWeights
from tests.quant.nn.meaning import prepared
from tests.quant.test_lower_oracle import reals

SHAPE = (3, 8, 8)


def norm(channels, kind=nn.BatchNorm2d):
    """With statistics, and gains of both signs, as if trained."""
    made = kind(channels)
    with torch.no_grad():
        made.running_mean.uniform_(-0.3, 0.3)
        made.running_var.uniform_(0.1, 0.6)
        made.weight.uniform_(0.5, 1.5).mul_(torch.where(torch.arange(channels) % 3 == 0, -1, 1))
        made.bias.uniform_(-0.3, 0.3)
    return made


class Residual(nn.Module):
    """Sums of a branch with what went in, of two branches, and before a batch norm that stays."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), norm(4), nn.ReLU(inplace=True))
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), norm(4), nn.ReLU(), nn.Conv2d(4, 4, 1), norm(4))
        self.down, self.side = nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Conv2d(4, 6, 1, stride=2)
        self.norm, self.last = norm(6), nn.Linear(6, 5)

    def forward(self, x):
        x = self.first(x)
        x = F.relu(self.branch(x) + x)
        x = self.down(x) + self.side(x)
        x = F.relu(self.norm(x))
        return self.last(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Joined(nn.Module):
    """Concatenations, of a concatenation, too; slices; depthwise and grouped convolutions; a product of two tensors."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 5, padding=2)
        self.depthwise, self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(12, 6, 1, groups=2)
        self.last = nn.Linear(3 * 4 * 4, 4)

    def forward(self, x):
        a = torch.relu(self.a(x))
        x = torch.cat([a, self.b(x)], dim=1)
        x = torch.cat([F.relu6(self.depthwise(x)), F.max_pool2d(a, 1)], 1)
        x = self.grouped(F.avg_pool2d(x, 2))
        x = x[:, :3].sigmoid() * x[:, 3:]
        return self.last(x.reshape(x.size(0), -1))


class Inputs(nn.Module):
    """Constants on the input, a shared layer, a layer whose norm comes first, dropout, clamp, subtraction."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1))
        self.norm, self.shared, self.drop = norm(3), nn.Conv2d(3, 3, 3, padding=1), nn.Dropout(0.5)
        self.last = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        x = (x - self.mean) / 0.25
        x = self.shared(self.norm(x))
        x = self.shared(x.clamp(-1, 1)) - x
        return self.last(F.dropout(self.drop(x), training=self.training))


def decoder():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), norm(4), nn.LeakyReLU(0.1), nn.Upsample(scale_factor=2),
                         nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), norm(6), nn.Hardtanh(),
                         nn.Conv2d(6, 4, 3, stride=2), nn.Tanh(), nn.PixelShuffle(2), nn.Conv2d(1, 2, 3, stride=3))


def sequence():
    return nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 5, stride=3, padding=2), norm(4, nn.BatchNorm1d), nn.PReLU(4),
                         nn.AvgPool1d(2), nn.ConvTranspose1d(4, 4, 2), nn.ReLU6(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(24, 8),
                         norm(8, nn.BatchNorm1d), nn.Sigmoid(), nn.Linear(8, 3))


NETWORKS = {
    "residual": (Residual, {}),
    "residual, 4 bits, powers of two": (Residual, {"weight_bits": 4, "activation_bits": 4, "power_of_two": True}),
    "joined": (Joined, {}),
    "joined, 3 bits": (Joined, {"weight_bits": 3, "activation_bits": 3, "first_last_bits": None}),
    "inputs": (Inputs, {"symmetric": True, "per_channel": False, "method": "percentile"}),
    "inputs, affine": (Inputs, {"symmetric": False, "method": "minmax"}),
    "decoder": (decoder, {"weight_bits": 5, "activation_bits": 6}),
    "sequence": (sequence, {"input_integers": "u8/255"}),
}


def made(make):
    torch.manual_seed(0)
    network = make().train()
    pixels = torch.randint(0, 256, (1000, *SHAPE))
    return network, pixels, (pixels / 255).float()


def exact_outputs(network, x):
    """What the network means: float64, where it is exact but for biases and the constants of batch norms."""
    with torch.no_grad():
        return prepared(network).double()(x.double()).numpy()


def check_integers(network, x, path, spec=None, integers=None):
    """Lowered integers give what the network means; returns the lowered network."""
    lowered = lower(path, input_spec=spec)
    found = reals(lowered, x.numpy() if integers is None else integers.numpy()).astype(np.float64)
    wanted = exact_outputs(network, x)
    assert found.shape == wanted.shape
    assert len(np.unique(wanted)) > 100
    assert np.abs(found - wanted).max() <= 1e-12 * np.abs(wanted).max()
    return lowered


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_is_lowered_exactly(name, tmp_path):
    make, options = NETWORKS[name]
    network, pixels, x = made(make)
    quantized = quantize(network, x[:2], x[:200], **options)
    assert network.training and not quantized.training
    export_qonnx(quantized, x[:1], tmp_path / "network.onnx")
    spec = options.get("input_integers")
    check_integers(quantized, x, tmp_path / "network.onnx", spec, pixels if spec else None)
    with torch.no_grad():
        off = (quantized(x) - network.eval()(x)).abs().mean() / network(x).abs().mean()
    assert off < 0.5 if "bits" in name or options.get("weight_bits") else off < 0.1, f"{off:.3f} away from the float network"


def test_where_quantizers_go():
    network, _, x = made(Residual)
    quantized = quantize(network, x[:1], x[:50])
    assert {name for name, part in quantized.named_children() if isinstance(part, IntQuant)} == {
        "input_quant", "first_2_quant", "branch_2_quant", "branch_3_quant", "relu_quant", "down_quant", "side_quant", "relu_1_quant",
        "adaptive_avg_pool2d_quant"}
    reads = {node.target: node.all_input_nodes[0].target for node in quantized.graph.nodes
             if node.op == "call_module" and isinstance(quantized.get_submodule(node.target), QuantWeights)}
    assert reads == {"first.0": "input_quant", "branch.0": "first_2_quant", "branch.3": "branch_2_quant", "down": "relu_quant",
                     "side": "relu_quant", "last": quantized.graph.find_nodes(op="call_method", target="flatten")[0].target}
    bits = {name: part.bits for name, part in quantize(network, x[:1], x[:50], weight_bits=4, activation_bits=3).named_modules()
            if isinstance(part, IntQuant)}
    eight = {name for name, width in bits.items() if width == 8}
    assert eight == {"input_quant", "first.0.weight_quant", "last.weight_quant", "adaptive_avg_pool2d_quant"}
    assert {width for name, width in bits.items() if name not in eight and "weight" in name} == {4}
    assert {width for name, width in bits.items() if name not in eight and "weight" not in name} == {3}


def test_each_layer_and_each_activation_can_have_a_width_of_its_own(tmp_path):
    network, _, x = made(Residual)
    quantized = quantize(network, x[:1], x[:50], weight_bits={"branch.0": 3, "last": 5, "down": 2},
                         activation_bits={"branch.3": 4, "relu_1_quant": 6, "down": 7, "first.0": 6})
    bits = {name: part.bits for name, part in quantized.named_modules() if isinstance(part, IntQuant)}
    assert {name: width for name, width in bits.items() if width != 8} == {
        "branch.0.weight_quant": 3, "last.weight_quant": 5, "down.weight_quant": 2, "branch_2_quant": 4, "relu_1_quant": 6,
        "relu_quant": 7, "input_quant": 6}
    # the widths are those that a single number gives
    same = quantize(network, x[:1], x[:50], weight_bits=dict.fromkeys(["first.0", "branch.0", "branch.3", "down", "side", "last"], 4),
                    activation_bits=dict.fromkeys([name for name in bits if "weight" not in name], 3))
    assert torch.equal(same(x), quantize(network, x[:1], x[:50], weight_bits=4, activation_bits=3, first_last_bits=None)(x))
    ends = quantize(network, x[:1], x[:50], weight_bits={"branch.0": 3}, activation_bits={}, first_last_bits=4)
    wide = {name: part.bits for name, part in ends.named_modules() if isinstance(part, IntQuant) and part.bits != 8}
    assert wide == {"input_quant": 4, "first.0.weight_quant": 4, "branch.0.weight_quant": 3, "last.weight_quant": 4,
                    "adaptive_avg_pool2d_quant": 4}
    export_qonnx(quantized, x[:1], tmp_path / "network.onnx")
    check_integers(quantized, x, tmp_path / "network.onnx")


def test_parts_of_a_concatenation_share_one_quantizer():
    network, _, x = made(Joined)
    quantized = quantize(network, x[:1], x[:50])
    for node in quantized.graph.find_nodes(op="call_function", target=torch.cat):
        assert len({part.target for part in node.args[0]}) == 1
        assert isinstance(quantized.get_submodule(node.args[0][0].target), IntQuant)


def test_calibration_takes_tensors_batches_and_loaders():
    network, _, x = made(sequence)
    wanted = quantize(network, x[:1], x[:200]).state_dict()
    labels = torch.zeros(200)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x[:200], labels), batch_size=100)
    for calibration in (loader, [x[:100], x[100:200]], iter(x[:200].split(100))):
        found = quantize(network, x[:1], calibration).state_dict()
        assert list(found) == list(wanted)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


# --- mistakes ---


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(("layers", "message"), [
    ([nn.Conv2d(3, 4, 1), nn.CELU(), nn.Conv2d(4, 2, 1)], r"`1` \(CELU\) is no operation that can be quantized"),
    ([nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))], r"`0\.1` \(GroupNorm\)"),
    ([nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")], "pads with 'reflect': only zeros"),
    ([nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)], "track_running_stats=True"),
    ([nn.AdaptiveAvgPool2d(2)], r"averages to \(2, 2\) positions"),
    ([nn.Upsample(scale_factor=2, mode="bilinear")], "has mode 'bilinear'"),
    ([nn.Flatten(2), nn.LSTM(64, 8)], r"`1` \(LSTM\) is no operation"),
    ([type("Mine", (nn.Conv2d,), {})(3, 4, 1)], r"`0\.conv2d` \(conv2d\) has its weights outside of a layer: use nn.Conv2d itself"),
    ([nn.Softmax(1), nn.Conv2d(3, 4, 1)], "can only end a network"),
    ([Branches()], r"can't be traced at test_ptq.py:\d+, `return x if x.sum\(\) > 0 else -x` \("),
])
def test_unsupported_operations_are_named(layers, message):
    with pytest.raises(QuantizationError, match=message):
        quantize(nn.Sequential(*layers), torch.zeros(1, *SHAPE), torch.rand(4, *SHAPE))


@pytest.mark.parametrize(("calibration", "message"), [
    (torch.zeros(0, *SHAPE), "nothing was seen"),
    ([], "nothing was seen"),
    (torch.full((2, *SHAPE), float("nan")), "`input_quant` can't be calibrated: nan came up"),
    (torch.rand(2, 5, 8, 8), r"batch 0 of the calibration set, torch.float32 of shape \(2, 5, 8, 8\), does not go through"),
    ([np.zeros((1, *SHAPE))], "is a ndarray: give tensors"),
    ([()], "is a tuple: give tensors"),
    (torch.zeros(3, 8, 8), r"of shape \(3, 8, 8\), does not go through the network for samples of shape \(3, 8, 8\)"),
    (torch.zeros(2, 3, 9, 9), r"does not go through the network for samples of shape \(3, 8, 8\)"),
    (torch.tensor(1.0), "the calibration set is a single number"),
    (None, "the calibration set is a NoneType: give a tensor"),
])
def test_bad_calibration_sets_are_refused(calibration, message):
    with pytest.raises(QuantizationError, match=message):
        quantize(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), torch.zeros(1, *SHAPE), calibration)


def test_bad_arguments_are_refused():
    network, x = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)), torch.rand(2, *SHAPE)
    for options, message in (({"weight_bits": 1}, "weight_bits must be from 2 to 8, not 1"), ({"activation_bits": 9}, "not 9"),
                             ({"first_last_bits": 16}, "not 16"), ({"first_last_bits": 0}, "first_last_bits must be from 2 to 8, not 0"),
                             ({"weight_bits": "8"}, "weight_bits must"), ({"weight_bits": 4.5}, "not 4.5"),
                             ({"input_integers": "s1"}, "'s1' must have 2 to 16 bits"),
                             ({"power_of_two": True, "learn_scales": True}, "choose one"),
                             ({"weight_bits": {"conv": 4}}, "weight_bits names `conv`, which has no width of its own; there are `0`, `1`"),
                             ({"weight_bits": {"1": 1}}, "weight_bits of `1` must be from 2 to 8, not 1"),
                             ({"activation_bits": {"0": 9}}, "activation_bits of `0` must be from 1 to 8, not 9"),
                             ({"activation_bits": {"0": 4, "input_quant": 5}}, "gives `input_quant` 4 bits by the name `0` and 5 bits"),
                             ({"activation_bits": {"0": 4}, "input_integers": "u8/255"}, "names `0`, which has no width of its own")):
        with pytest.raises(QuantizationError, match=message):
            quantize(network, x[:1], x, **options)


def test_learned_scales_start_where_the_calibrated_ones_are():
    network, _, x = made(Residual)
    fixed = quantize(network, x[:1], x[:100], weight_bits=4, activation_bits=4)
    learned = quantize(network, x[:1], x[:100], weight_bits=4, activation_bits=4, learn_scales=True)
    assert torch.equal(fixed(x), learned(x))
    learned.train()(x).square().mean().backward()
    steps = [part.step for part in learned.modules() if isinstance(part, LSQ)]
    assert len(steps) > 10
    assert all(step.grad is not None and bool((step.grad != 0).any()) for step in steps)

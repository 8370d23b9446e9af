"""Compact blocks: weights and multiplications by the papers' formulas, what they compute, integers of each, mistakes."""

import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch
from torch import nn

from quant.compress import CompressionError
from quant.compress.blocks import DepthwiseSeparable, Fire, Ghost, GhostBottleneck, Shift, ShiftUnit, ShuffleUnit
from quant.nn import IntQuant, export_qonnx, quantize
from tests.quant.nn.test_ptq import check_integers

SIDE = 6


def counted(block, channels, side=SIDE):
    """Weights and multiplications of all convolutions for one image, as a forward pass shows them."""
    weights, products = 0, 0

    def count(layer, arguments, output):
        nonlocal weights, products
        depth, area = layer.in_channels // layer.groups, layer.kernel_size[0] * layer.kernel_size[1]
        weights += layer.weight.numel()
        products += output.numel() * depth * area

    handles = [layer.register_forward_hook(count) for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    shape = tuple(block.eval()(torch.zeros(1, channels, side, side)).shape)
    for handle in handles:
        handle.remove()
    return weights, products, shape


AREA, HALF = SIDE**2, (SIDE // 2)**2


@pytest.mark.parametrize(("block", "channels", "weights", "products", "shape"), [
    # MobileNets, section 3.1: k*k*C*F*F + C*D*F*F
    (DepthwiseSeparable(8, 16), 8, 9 * 8 + 8 * 16, (9 * 8 + 8 * 16) * AREA, (16, 6, 6)),
    (DepthwiseSeparable(8, 16, 5, 2), 8, 25 * 8 + 8 * 16, (25 * 8 + 8 * 16) * HALF, (16, 3, 3)),
    (Fire(12, 3, 4, 5), 12, 12 * 3 + 3 * 4 + 9 * 3 * 5, (12 * 3 + 3 * 4 + 9 * 3 * 5) * AREA, (9, 6, 6)),
    # ShuffleNet, section 3.2: h*w*(2*c*m/g + 9*m)
    (ShuffleUnit(24, 24, 3), 24, 2 * 24 * 6 // 3 + 9 * 6, (2 * 24 * 6 // 3 + 9 * 6) * AREA, (24, 6, 6)),
    (ShuffleUnit(8, 24, 2, 2, middle=6), 8, 8 * 6 // 2 + 9 * 6 + 6 * 16 // 2, 24 * AREA + (54 + 48) * HALF, (24, 3, 3)),
    # GhostNet, section 3.1: (n/s)*h*w*c*k*k + (s-1)*(n/s)*h*w*d*d
    (Ghost(8, 12), 8, 8 * 6 + 9 * 6, (8 * 6 + 9 * 6) * AREA, (12, 6, 6)),
    (Ghost(8, 11, 3, 2, ratio=3, cheap=5), 8, 9 * 8 * 4 + 25 * 4 * 2, (9 * 8 * 4 + 25 * 4 * 2) * HALF, (11, 3, 3)),
    (GhostBottleneck(6, 12, 6), 6, 6 * 6 + 9 * 6 + 12 * 3 + 9 * 3, (6 * 6 + 9 * 6 + 12 * 3 + 9 * 3) * AREA, (6, 6, 6)),
    (GhostBottleneck(6, 12, 8, stride=2), 6, 90 + 9 * 12 + 12 * 4 + 9 * 4 + 9 * 6 + 6 * 8,
     90 * AREA + (9 * 12 + 12 * 4 + 9 * 4 + 9 * 6 + 6 * 8) * HALF, (8, 3, 3)),
    (Shift(9), 9, 0, 0, (9, 6, 6)),
    (ShiftUnit(10, 10, expansion=2), 10, 2 * 10 * 20, 2 * 10 * 20 * AREA, (10, 6, 6)),
    (ShiftUnit(10, 12, stride=2), 10, 10 * 12 + 12 * 12, 10 * 12 * AREA + 12 * 12 * HALF, (12, 3, 3)),
])
def test_weights_and_multiplications_follow_the_formulas(block, channels, weights, products, shape):
    assert counted(block, channels) == (weights, products, (1, *shape))
    assert sum(one.numel() for name, one in block.named_parameters() if one.ndim == 4) == weights


def test_sizes_are_rounded_up_as_those_of_a_padded_convolution():
    for block, channels in ((DepthwiseSeparable(4, 4, stride=2), 4), (ShuffleUnit(4, 12, 2, 2, middle=4), 4),
                            (GhostBottleneck(4, 8, 6, stride=2), 4), (ShiftUnit(4, 9, stride=2), 4)):
        assert counted(block, channels, 7)[2][2:] == (4, 4)


@pytest.mark.parametrize(("channels", "kernel"), [(9, 3), (14, 3), (30, 5), (3, 1)])
def test_a_shift_moves_each_channel_by_its_step(channels, kernel):
    """Against a depthwise convolution whose kernels have a single 1."""
    x = torch.rand(2, channels, 7, 5)
    found = Shift(channels, kernel)(x)
    reach, each = kernel // 2, channels // kernel**2
    moves = [(down, right) for down in range(-reach, reach + 1) for right in range(-reach, reach + 1) if (down, right) != (0, 0)]
    kernels = torch.zeros(channels, 1, kernel, kernel)
    for channel in range(channels):
        down, right = moves[channel // each] if channel // each < len(moves) else (0, 0)
        kernels[channel, 0, reach - down, reach - right] = 1
    assert torch.equal(found, nn.functional.conv2d(x, kernels, padding=reach, groups=channels))


def test_groups_of_a_shuffle_unit_mix():
    """Each output of a pair of grouped convolutions sees all inputs, but only half of them without the shuffle."""
    torch.manual_seed(0)
    unit = ShuffleUnit(8, 8, 2, middle=4).eval()
    for layer in unit.modules():  # all weights 1 and positive inputs: nothing cancels
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)

    def seen():
        x = torch.rand(1, 8, 4, 4, requires_grad=True)
        unit.branch(x)[0, 0].sum().backward()
        return int((x.grad.abs().sum(dim=(0, 2, 3)) > 0).sum())

    assert seen() == 8
    unit.branch[2] = nn.Identity()
    assert seen() == 4


def network_of(*blocks):
    """With statistics, and a convolution behind."""
    torch.manual_seed(0)
    blocks, x = nn.Sequential(*(make() for make in blocks)), torch.rand(60, 4, SIDE, SIDE)
    network = nn.Sequential(blocks, nn.Conv2d(blocks(x).shape[1], 3, 1))
    for _ in range(20):
        network.train()(x)
    return network, x


@pytest.mark.parametrize("blocks", [
    (lambda: ShuffleUnit(4, 10, 2, 2, middle=4), lambda: ShuffleUnit(10, 10, 2, middle=2), lambda: Fire(10, 4, 3, 4),
     lambda: DepthwiseSeparable(7, 6)),
    (lambda: Ghost(4, 7, 3), lambda: GhostBottleneck(7, 8, 7), lambda: GhostBottleneck(7, 8, 6, stride=2)),
], ids=["shuffle, fire, depthwise separable", "ghost"])
def test_blocks_are_lowered_exactly(blocks, tmp_path):
    network, x = network_of(*blocks)
    quantized = quantize(network, x[:1], x, weight_bits=7, activation_bits=6)
    export_qonnx(quantized, x[:1], tmp_path / "network.onnx")
    check_integers(quantized, x, tmp_path / "network.onnx")
    with torch.no_grad():
        off = (quantized(x) - network.eval()(x)).abs().mean() / network(x).abs().mean()
    assert off < 0.2


def test_a_shift_is_quantized_before_it_moves_and_stays_free_of_arithmetic(tmp_path):
    """One quantizer, in front: else each of the nine slices would carry wide sums."""
    network, x = network_of(lambda: ShiftUnit(4, 10), lambda: ShiftUnit(10, 10))
    quantized = quantize(network, x[:1], x)
    # of the input and, for each unit, before the shift and behind it, and of the sum's other operand
    assert sum(isinstance(part, IntQuant) for part in quantized.children()) == 1 + 2 + 3
    export_qonnx(quantized, x[:1], tmp_path / "network.onnx")
    lowered = check_integers(quantized, x, tmp_path / "network.onnx")
    kinds = [type(node.op).__name__ for node in lowered.graph.nodes]
    assert (kinds.count("Slice"), kinds.count("Pad"), kinds.count("Concat"), kinds.count("Conv2d")) == (18, 2, 2, 5)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: DepthwiseSeparable(4, 6, 2), "odd number above 0, not 2"),
    (lambda: DepthwiseSeparable(0, 6), "inputs of a block must be a whole number above 0, not 0"),
    (lambda: Fire(4, 2, 3, 2.5), "threes .* not 2.5"),
    (lambda: ShuffleUnit(4, 8), "stride 1 can't make 8 channels of 4"),
    (lambda: ShuffleUnit(8, 8, stride=2), "stride 2 can't make 8 channels of 8"),
    (lambda: ShuffleUnit(8, 8, stride=3), "stride 3"),
    (lambda: ShuffleUnit(9, 9, 2, middle=2), "2 groups don't divide its 9 inputs"),
    (lambda: ShuffleUnit(8, 8, 4), "4 groups don't divide its 2 middle channels"),
    (lambda: Ghost(4, 6, ratio=1), "ratio must be 2 or more, not 1"),
    (lambda: Shift(8), "9 directions, but there are only 8"),
    (lambda: ShiftUnit(4, 9, kernel=4), "odd number above 0, not 4"),
])
def test_mistakes_are_told(make, message):
    with pytest.raises(CompressionError, match=message):
        make()


BLOCKS = {
    "depthwise separable": lambda: DepthwiseSeparable(4, 6, stride=2),
    "fire": lambda: Fire(4, 2, 3, 4),
    "shuffle": lambda: ShuffleUnit(4, 4, 2, middle=2),
    "shuffle, stride 2": lambda: ShuffleUnit(4, 10, 2, 2, middle=4),
    "ghost": lambda: Ghost(4, 7, 3),
    "ghost bottleneck": lambda: GhostBottleneck(4, 8, 4),
    "ghost bottleneck, stride 2": lambda: GhostBottleneck(4, 8, 6, stride=2),
    "shift": lambda: ShiftUnit(4, 10),
    "shift, stride 2": lambda: ShiftUnit(4, 10, expansion=2, stride=2),
}


def test_blocks_learn():
    """Every weight of every block gets a gradient."""
    for make in BLOCKS.values():
        torch.manual_seed(0)
        block = make().train()
        block(torch.rand(8, 4, SIDE, SIDE)).square().sum().backward()
        assert all(torch.isfinite(one.grad).all() and bool((one.grad != 0).any()) for one in block.parameters())

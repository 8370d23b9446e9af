"""Uniform quantizers: values, gradients, storing, export and lowering, each against its definition."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pytest.importorskip("torch", reason="training and export need torch")

import torch

from intir.errors import BitwrightError
from quant.lower import lower
from quant.nn import (
    HWGQ,
    LSQ,
    PACT,
    DoReFaActivation,
    DoReFaSign,
    DoReFaWeight,
    DynamicFixedPoint,
    IntQuant,
    PowerOfTwoQuant,
    QuantConv2d,
    QuantLinear,
    StochasticQuant,
    export_qonnx,
    fit_weight,
)
from quant.nn.hwgq import STEPS
from quant.qonnx_exec import execute
from tests.quant.nn import meaning as reference
from tests.quant.nn.meaning import check_lowering
from tests.quant.test_lower_oracle import exact, reals, rounded

CHANNEL_SCALES = torch.tensor([0.11, 0.37, 0.05])


@pytest.fixture(autouse=True)
def _operators(monkeypatch):
    def multithreshold(x, thresholds, *, out_scale, out_bias, batch, **ignored):
        count = (x[..., None] >= thresholds[0]).sum(-1)
        return exact(count) * Fraction(out_scale) if x.dtype == object else count * out_scale

    monkeypatch.setitem(reference.OPERATORS, "MultiThreshold", multithreshold)
    monkeypatch.setitem(reference.OPERATORS, "Concat", lambda *parts, axis, batch: np.concatenate(parts, axis))


ACTIVATIONS = {
    "u8 affine": lambda: IntQuant(8, signed=False, scale=0.031, zero_point=97),
    "s8 affine": lambda: IntQuant(8, scale=0.029, zero_point=-31),
    "s8": lambda: IntQuant(8, scale=0.0317),
    "s4 per channel": lambda: IntQuant(4, scale=CHANNEL_SCALES.repeat_interleave(2)),
    "u4 narrow": lambda: IntQuant(4, signed=False, narrow=True, scale=0.3),
    "u1": lambda: IntQuant(1, signed=False, scale=1.5),
    "power of two": lambda: PowerOfTwoQuant(5, exponent=-2),
    "dynamic fixed point": lambda: DynamicFixedPoint.from_range(8, 3.7),
    "LSQ": lambda: LSQ(4, scale=0.43),
    "PACT": lambda: PACT(3, alpha=2.7),
    "DoReFa": lambda: DoReFaActivation(4),
    "HWGQ 1": lambda: HWGQ(1),
    "HWGQ 2": lambda: HWGQ(2),
    "HWGQ 4": lambda: HWGQ(4, step=0.3),
    "stochastic": lambda: StochasticQuant(6, scale=0.11),
}

# of a weight of shape (3, 2, 2, 2)
WEIGHTS = {
    "int8": lambda w: fit_weight(w, 8, axis=None),
    "int8 per channel": lambda w: fit_weight(w, 8),
    "int8 affine per channel": lambda w: fit_weight(w, 8, symmetric=False, method="minmax"),
    "int8 affine": lambda w: fit_weight(w, 8, symmetric=False, axis=None),
    "int4": lambda w: fit_weight(w, 4),
    "ternary": lambda w: fit_weight(w, 2),
    "any scale": lambda w: IntQuant(5, scale=CHANNEL_SCALES.reshape(3, 1, 1, 1)),
    "power of two": lambda w: fit_weight(w, 4, power_of_two=True),
    "dynamic fixed point": lambda w: DynamicFixedPoint.from_range(8, float(w.abs().max()) or 1.0),
    "LSQ": lambda w: LSQ(3, scale=CHANNEL_SCALES.reshape(3, 1, 1, 1), weight=True),
    "LSQ from the weights": lambda w: started(LSQ(3, shape=(3, 1, 1, 1), weight=True), w),
    "stochastic": lambda w: StochasticQuant(4, scale=0.1).eval(),
    "DoReFa 1": lambda w: DoReFaSign(),
    "DoReFa 2": lambda w: DoReFaWeight(2),
    "DoReFa 4": lambda w: DoReFaWeight(4),
    "DoReFa 8": lambda w: DoReFaWeight(8),
}


def started(quantizer, w):
    quantizer.start(w)
    return quantizer


class Together(torch.nn.Module):
    """Every quantizer of activations on one input (N, 6), side by side."""

    def __init__(self):
        super().__init__()
        self.quantizers = torch.nn.ModuleList([make() for make in ACTIVATIONS.values()])

    def forward(self, x):
        return torch.cat([quantizer(x) for quantizer in self.quantizers], dim=1)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    path = tmp_path_factory.mktemp("uniform") / "together.onnx"
    export_qonnx(Together(), torch.zeros(1, 6), path)
    return path


def test_the_qonnx_package_computes_the_same_bits(together):
    torch.manual_seed(0)
    x = torch.randn(1000, 6) * 3
    x[0] = 0.0
    x[1:200] = torch.randint(-40, 40, (199, 6)) * 0.05  # near ties
    with torch.no_grad():
        values = Together().eval()(x).numpy()
    found = execute(together, x.numpy())
    assert len(np.unique(values)) > 300
    for name, a, b in zip(ACTIVATIONS, np.split(found, len(ACTIVATIONS), 1), np.split(values, len(ACTIVATIONS), 1), strict=True):
        assert np.array_equal(a, b), name


def test_the_lowering_means_exactly_that(together):
    """For all inputs of a 10-bit grid."""
    network = lower(together, input_spec="s10/64")
    x = np.repeat(np.arange(-512, 512)[:, None], 6, axis=1)
    wanted = reference.meaning(together, np.float32(x) / 64, rational=True)
    found = reals(network, x)
    for name, a, b in zip(ACTIVATIONS, np.split(found, len(ACTIVATIONS), 1), np.split(wanted, len(ACTIVATIONS), 1), strict=True):
        assert (a == b).all(), name


@pytest.mark.parametrize("bits", range(1, 9))
def test_every_width_is_what_it_says(bits):
    for signed in (False, True):
        for narrow in (False, True):
            if bits == 1 and (signed or narrow):
                with pytest.raises(ValueError, match="use BipolarQuant"):
                    IntQuant(bits, signed=signed, narrow=narrow)
                continue
            quantizer = IntQuant(bits, signed=signed, narrow=narrow, scale=0.5, zero_point=1)
            x = np.arange(-1100, 1100, dtype=np.float32) / 4
            low = -(2 ** (bits - 1)) + narrow if signed else 0
            high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
            wanted = [(rounded(min(max(Fraction(float(v)) * 2 + 1, low), high), "ROUND") - 1) / 2 for v in x]
            assert quantizer(torch.tensor(x)).tolist() == wanted


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_scales_that_are_none_are_refused(scale):
    for make in (lambda: IntQuant(4, scale=torch.tensor([1.0, scale])), lambda: LSQ(4, scale=scale), lambda: PACT(4, alpha=scale),
                 lambda: DynamicFixedPoint.from_range(8, scale), lambda: HWGQ(2, step=scale)):
        with pytest.raises(ValueError, match="above zero"):
            make()


def test_other_mistakes_are_refused():
    for make, message in ((lambda: PowerOfTwoQuant(4, exponent=torch.tensor([1.0, 0.5])), "whole number"),
                          (lambda: PowerOfTwoQuant(4, exponent=-127), "from -126"),
                          (lambda: IntQuant(4, zero_point=math.nan), "zero point"), (lambda: DoReFaWeight(1), "DoReFaSign"),
                          (lambda: HWGQ(9), "1 to 8 bits"), (lambda: IntQuant(17), "1 to 16 bits")):
        with pytest.raises(ValueError, match=message):
            make()


# --- formulas of the papers ---


@pytest.mark.parametrize(("largest", "signed", "integer_bits"), [(1.0, True, 1), (1.01, True, 2), (3.7, True, 3), (4.0, True, 3), (0.2, True, -1),
                                                                 (0.2, False, -2), (255.0, False, 8)])
def test_dynamic_fixed_point(largest, signed, integer_bits):
    quantizer = DynamicFixedPoint.from_range(8, largest, signed=signed)
    assert integer_bits == math.ceil(math.log2(largest)) + signed
    assert (quantizer.integer_bits, quantizer.fraction_bits) == (integer_bits, 8 - integer_bits)
    assert quantizer.scale.item() == 2.0 ** (integer_bits - 8)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_dorefa_weights_follow_the_formula(bits):
    torch.manual_seed(0)
    w = torch.randn(50, 7, dtype=torch.float64)
    t, n = torch.tanh(w), 2**bits - 1
    wanted = 2 * torch.round((t / (2 * t.abs().max()) + 0.5) * n) / n - 1
    assert torch.allclose(DoReFaWeight(bits).double()(w), wanted, rtol=0, atol=1e-6)  # the scale is a float32
    assert DoReFaWeight(bits)(w.float()).abs().max() == pytest.approx(1.0)


def test_dorefa_gradient_goes_through_the_tanh():
    w = torch.tensor([[0.3, -1.2, 0.7]], requires_grad=True)
    (DoReFaWeight(3)(w) * torch.tensor([[1.0, 10.0, 100.0]])).sum().backward()
    slope = (1 - torch.tanh(w.detach()) ** 2) / torch.tanh(torch.tensor(1.2))
    assert torch.allclose(w.grad, slope * torch.tensor([[1.0, 10.0, 100.0]]), rtol=1e-5)


def test_dorefa_sign():
    w = torch.tensor([[0.5, -1.5], [0.0, 2.0]], requires_grad=True)
    values = DoReFaSign()(w)
    assert values.tolist() == [[1.0, -1.0], [1.0, 1.0]]
    (values * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert w.grad.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("bits", STEPS)
def test_hwgq_step_has_the_least_error(bits):
    """On N(0, 1), integrated on a fine grid: a step 1% off either way is worse."""
    x = np.linspace(0, 8, 400001)[1:]
    density = np.exp(-x * x / 2)
    top = 2**bits - 1

    def error(step):
        return float((density * (x - np.clip(np.round(x / step), 1, top) * step) ** 2).sum())

    assert error(STEPS[bits]) < min(error(STEPS[bits] * 0.99), error(STEPS[bits] * 1.01))


def test_hwgq_values_and_gradient():
    x = torch.tensor([-1.0, -0.0, 0.0, 1e-20, 0.3, 0.449, 0.451, 0.76, 9.0], requires_grad=True)
    y = HWGQ(2, step=0.3)(x)
    assert (y / 0.3).round().tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3]
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 0]


def test_the_gradient_passes_straight_through_inside_the_clamp():
    x = torch.tensor([-3.0, -1.6, 0.2, 1.2, 2.0], requires_grad=True)
    (IntQuant(3, scale=0.5, zero_point=1)(x) * torch.arange(1.0, 6.0)).sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 0.0, 0.0]  # from -5 to 2 steps


def test_stochastic_rounding_is_right_on_average_and_ends_in_evaluation():
    torch.manual_seed(0)
    quantizer = StochasticQuant(4, scale=0.5)
    x = torch.full((20000,), 0.6, requires_grad=True)
    y = quantizer(x)
    assert set(y.tolist()) == {0.5, 1.0}
    assert y.mean().item() == pytest.approx(0.6, abs=0.01)  # 6 standard deviations
    y.sum().backward()
    assert x.grad.tolist() == [1.0] * 20000
    whole = torch.arange(-12.0, 12.0) * 0.5
    assert torch.equal(quantizer(whole), whole.clamp(-4.0, 3.5))
    assert torch.equal(quantizer.eval()(x), torch.full((20000,), 0.5))


# --- what an export stores ---

WEIGHT_ARRAYS = arrays(np.float32, (3, 2, 2, 2), elements=st.floats(-2**10, 2**10, width=32) | st.floats(-1, 1, width=32))


@pytest.mark.parametrize("name", WEIGHTS)
@settings(max_examples=25, deadline=None)
@given(w=WEIGHT_ARRAYS)
def test_storing_changes_nothing(name, w):
    w = torch.tensor(w)
    quantizer = WEIGHTS[name](w).requires_grad_(False)
    before = quantizer(w)
    stored = quantizer.prepare_weight(w)
    assert torch.isfinite(before).all()
    assert torch.equal(stored, before)
    assert torch.equal(quantizer(stored), before)


@settings(max_examples=200, deadline=None)
@given(x=arrays(np.float32, (8,), elements=st.floats(-2**40, 2**40, width=32)), bits=st.integers(2, 16), signed=st.booleans(),
       scale=st.floats(2.0**-40, 2.0**40, width=32), offset=st.integers(0, 65535))
def test_any_uniform_quantizer_can_store_its_values(x, bits, signed, scale, offset):
    quantizer = IntQuant(bits, signed=signed, scale=scale, zero_point=offset % 2**bits + (0 if not signed else -(2 ** (bits - 1))))
    once = quantizer(torch.tensor(x))
    assert torch.equal(quantizer(once), once)


def test_a_quantizer_that_is_fitted_to_two_layers_is_refused(tmp_path):
    shared = DoReFaWeight(3)
    torch.manual_seed(0)
    network = torch.nn.Sequential(QuantLinear(4, 4, weight_quant=shared), IntQuant(4), QuantLinear(4, 4, weight_quant=shared))
    with pytest.raises(BitwrightError, match="give each layer its own"):
        export_qonnx(network, torch.zeros(1, 4), tmp_path / "shared.onnx")


# --- whole layers ---

NETWORKS = {
    "int8 affine per channel": ("int8 affine per channel", "u8 affine"),
    "int4": ("int4", "s4"),
    "power of two": ("power of two", "power of two"),
    "LSQ": ("LSQ", "LSQ"),
    "DoReFa 1": ("DoReFa 1", "DoReFa"),
    "DoReFa 4": ("DoReFa 4", "DoReFa"),
    "HWGQ": ("any scale", "HWGQ 2"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_lowered_exactly(name, tmp_path):
    """A convolution, a batch norm with gains of both signs, a quantizer: 1,000 random inputs."""
    weight, activation = NETWORKS[name]
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    conv = QuantConv2d(2, 3, 2, weight_quant=IntQuant(8))
    conv.weight_quant = WEIGHTS[weight](conv.weight.detach())
    last = ACTIVATIONS.get(activation, lambda: IntQuant(4, scale=CHANNEL_SCALES.reshape(3, 1, 1)))()
    norm = torch.nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([-1.3, 0.8, -0.6]))
        norm.bias.uniform_(-0.3, 0.3)
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.3, 1.0)
    network = torch.nn.Sequential(IntQuant(6, scale=0.07, zero_point=5), conv, norm, last)
    path = tmp_path / "network.onnx"
    export_qonnx(network, torch.zeros(1, 2, 4, 4), path)
    lowered = check_lowering(path, rng.normal(0, 1, (1000, 2, 4, 4)).astype(np.float32))
    assert [one.op.kind for one in lowered.graph.nodes if "Conv" in one.op.kind] == ["Conv2d"]


def test_dorefa_weights_are_odd_multiples_of_one_number(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(IntQuant(4), QuantLinear(6, 5, weight_quant=DoReFaWeight(3), bias=False))
    path = tmp_path / "network.onnx"
    export_qonnx(network, torch.zeros(1, 6), path)
    (product,) = (one for one in lower(path).graph.nodes if one.op.kind == "MatMul")
    assert set(np.unique(product.op.weights)) <= {-7, -5, -3, -1, 1, 3, 5, 7}

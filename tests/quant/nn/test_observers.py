"""Calibration: ranges, scales and zero points against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="training and export need torch")

import torch

from quant.nn import CalibrationError, IntQuant, Observer, fit_weight
from quant.nn.observers import MAX_KEPT_VALUES, SCALE_BITS, rounded_up


def observed(x, method="minmax", **options):
    observer = Observer(method, **options)
    observer.update(torch.as_tensor(x))
    return observer


def error(quantizer, x):
    return float((quantizer(x) - x).double().square().mean())


@settings(max_examples=200, deadline=None)
@given(st.floats(2.0**-90, 2.0**90))
def test_scales_have_few_bits_and_cover(scale):
    found = float(rounded_up(torch.tensor(scale, dtype=torch.float64)))
    assert scale <= found <= scale * (1 + 2.0 ** (1 - SCALE_BITS))
    mantissa, _ = np.frexp(found)
    assert mantissa * 2**SCALE_BITS == int(mantissa * 2**SCALE_BITS)
    power = float(rounded_up(torch.tensor(scale, dtype=torch.float64), True))
    assert scale <= power < 2 * scale
    assert np.frexp(power)[0] == 0.5


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_min_max_covers_everything(bits):
    x = torch.tensor([-0.7, 0.3, 2.9])
    if bits > 1:
        symmetric = observed(x).quantizer(bits)
        assert symmetric.signed and symmetric.zero_point.item() == 0
        assert 2.9 / symmetric.highest <= symmetric.scale.item() <= 2.9 / symmetric.highest * 1.008
    affine = observed(x).quantizer(bits, symmetric=False)
    step = affine.scale.item()
    assert not affine.signed and 3.6 / affine.highest <= step <= 3.6 / affine.highest * 1.008
    assert affine.zero_point.item() == round(0.7 / step)
    assert float((affine(x) - x).abs().max()) <= step * 1.0001
    positive = observed(x.abs()).quantizer(bits)
    assert not positive.signed and positive.zero_point.item() == 0 and positive.scale.item() >= 2.9 / positive.highest


def test_zero_is_always_a_level():
    for values in ([3.0, 4.0], [-4.0, -3.0], [-1.0, 5.0]):
        for symmetric in (True, False):
            assert observed(values).quantizer(4, symmetric=symmetric)(torch.zeros(1)).item() == 0


def test_percentile_leaves_outliers_out():
    x = torch.cat([torch.linspace(0, 1, 1000), torch.tensor([100.0])])
    assert observed(x, "percentile", percentile=99.9).quantizer(8).scale.item() == pytest.approx(1 / 255, rel=0.01)
    assert observed(x, "minmax").quantizer(8).scale.item() == pytest.approx(100 / 255, rel=0.01)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_least_squared_error_is_least(bits, symmetric):
    torch.manual_seed(0)
    x = torch.randn(4000) + 0.5
    found = observed(x, "mse").quantizer(bits, symmetric=symmetric)
    assert error(found, x) <= error(observed(x).quantizer(bits, symmetric=symmetric), x)
    grid = [IntQuant(bits, signed=found.signed, scale=found.scale * i / 100, zero_point=found.zero_point) for i in range(60, 160)]
    assert error(found, x) <= 1.05 * min(error(one, x) for one in grid)


def test_channels_are_fitted_apart():
    torch.manual_seed(0)
    w = torch.randn(3, 4, 2, 2) * torch.tensor([0.01, 1.0, 30.0]).reshape(3, 1, 1, 1)
    for method in ("minmax", "percentile", "mse"):
        together = fit_weight(w, 4, method=method)
        assert together.scale.shape == (3, 1, 1, 1) and together.lowest == -7
        for c in range(3):
            assert together.scale[c].item() == fit_weight(w[c], 4, axis=None, method=method).scale.item()
    assert fit_weight(w, 4, axis=1).scale.shape == (1, 4, 1, 1)


def test_batches_add_up_and_samples_stay_bounded():
    torch.manual_seed(0)
    batches = [torch.randn(100, 32, 4, 4) for _ in range(10)]
    batches[7][3, 5] = 50.0
    observer = Observer("mse")
    for batch in batches:
        observer.update(batch)
    assert observer.high.item() == 50.0
    assert observer.low.item() == min(float(batch.min()) for batch in batches)
    assert sum(one.numel() for one in observer._kept) <= MAX_KEPT_VALUES
    again = Observer("mse")
    for batch in batches:
        again.update(batch)
    assert again.quantizer(4).scale.item() == observer.quantizer(4).scale.item()


def test_channels_of_zeros_get_a_scale():
    quantizer = fit_weight(torch.zeros(2, 3), 8)
    assert torch.isfinite(quantizer.scale).all() and (quantizer.scale > 0).all()
    assert torch.equal(quantizer(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_mistakes():
    with pytest.raises(CalibrationError, match="nan came up"):
        observed([1.0, float("nan")])
    with pytest.raises(CalibrationError, match="nothing was seen"):
        Observer().quantizer(8)
    with pytest.raises(ValueError, match="minmax, percentile, mse"):
        Observer("median")
    with pytest.raises(ValueError, match="above 50"):
        Observer("percentile", percentile=0.9999)

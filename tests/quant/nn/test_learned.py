"""LSQ and PACT against the gradients of their papers, written out."""

import math

import pytest

pytest.importorskip("torch", reason="training and export need torch")

import torch

from intir.errors import BitwrightError
from quant.nn import LSQ, PACT, QuantLinear, export_qonnx, pact_penalty


def incoming(x):
    return torch.arange(1.0, x.numel() + 1).reshape(x.shape)


@pytest.mark.parametrize(("signed", "bits"), [(True, 3), (True, 2), (False, 2), (False, 4)])
def test_lsq_gradients(signed, bits):
    """Equations 1 to 5 of the paper: Q_N and Q_P magnitudes of the lowest and the highest level, g = 1 / sqrt(N * Q_P)."""
    torch.manual_seed(0)
    x = torch.randn(6, 5, requires_grad=True)
    quantizer = LSQ(bits, signed=signed, scale=0.4)
    (quantizer(x) * incoming(x)).sum().backward()
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    v = x.detach() / 0.4
    slope = torch.where(v <= low, torch.tensor(float(low)), torch.where(v >= high, torch.tensor(float(high)), v.round() - v))
    g = 1 / math.sqrt(5 * high)  # 5 features in each of 6 samples
    assert quantizer.step.grad.item() == pytest.approx(((slope * incoming(x)).sum() * g).item(), rel=1e-4)
    inside = (v > low) & (v < high)
    assert torch.allclose(x.grad, torch.where(inside, incoming(x), torch.zeros(())))
    assert torch.equal(quantizer(x).detach(), v.clamp(low, high).round() * torch.tensor(0.4))


def test_lsq_per_channel_has_a_gradient_for_each_step():
    torch.manual_seed(0)
    w = torch.randn(3, 2, 2, 2)
    scales = torch.tensor([0.1, 0.5, 2.0]).reshape(3, 1, 1, 1)
    quantizer = LSQ(4, scale=scales, weight=True)
    (quantizer(w) * incoming(w)).sum().backward()
    assert quantizer.step.grad.shape == (3, 1, 1, 1)
    for c in range(3):
        alone = LSQ(4, scale=scales[c].item(), weight=True)
        (alone(w[c]) * incoming(w)[c]).sum().backward()
        assert alone.step.grad.item() == pytest.approx(quantizer.step.grad[c].item(), rel=1e-5)
        assert torch.equal(alone(w[c]), quantizer(w)[c])


def test_lsq_starts_from_the_first_batch():
    w = torch.tensor([[1.0, -3.0], [0.5, 0.5]])
    quantizer = LSQ(3, shape=(2, 1), weight=True).train()
    quantizer(w)
    assert torch.allclose(quantizer.step, 2 * torch.tensor([[2.0], [0.5]]) / math.sqrt(3))
    quantizer(w * 100)
    assert torch.allclose(quantizer.step, 2 * torch.tensor([[2.0], [0.5]]) / math.sqrt(3))
    zeros = LSQ(3).train()
    assert torch.equal(zeros(torch.zeros(4)), torch.zeros(4))


def test_lsq_that_never_started_is_not_exported(tmp_path):
    with pytest.raises(BitwrightError, match="has no step yet"):
        export_qonnx(LSQ(3), torch.zeros(1, 4), tmp_path / "network.onnx")


def test_a_step_that_training_drove_below_zero_is_one_above(tmp_path):
    quantizer = LSQ(4, scale=0.3)
    with torch.no_grad():
        quantizer.step.fill_(-0.3)
    x = torch.linspace(-3, 3, 50)
    assert torch.equal(quantizer(x), LSQ(4, scale=0.3)(x))
    quantizer.prepare_for_export()
    assert quantizer.step.item() == torch.tensor(0.3).item()


def test_lsq_learns_the_best_step():
    torch.manual_seed(0)
    x = torch.randn(2000)
    quantizer = LSQ(3, scale=0.05)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        ((quantizer(x) - x) ** 2).sum().backward()
        optimizer.step()
    found = float(((quantizer(x) - x) ** 2).detach().mean())
    best = min(float(((LSQ(3, scale=0.01 * i)(x) - x) ** 2).detach().mean()) for i in range(20, 120))
    assert found < best * 1.05


def test_pact_values_and_gradients():
    """Equations 1 to 3: the gradient of alpha is 1 where x >= alpha, else 0."""
    x = torch.tensor([-1.0, -0.1, 0.2, 1.3, 1.9, 2.0, 5.0], requires_grad=True)
    quantizer = PACT(2, alpha=2.0)
    y = quantizer(x)
    third = torch.tensor(2.0) / 3
    assert y.tolist() == (torch.tensor([0.0, 0, 0, 2, 3, 3, 3]) * third).tolist()
    (y * incoming(x)).sum().backward()
    assert quantizer.alpha.grad.item() == 6 + 7
    assert x.grad.tolist() == [0.0, 0.0, 3.0, 4.0, 5.0, 0.0, 0.0]


def test_the_pact_penalty_is_the_sum_of_squares():
    network = torch.nn.Sequential(PACT(2, alpha=2.0), torch.nn.Linear(2, 2), torch.nn.Sequential(PACT(3, alpha=3.0)))
    penalty = pact_penalty(network)
    assert penalty.item() == 13.0
    penalty.backward()
    assert network[0].alpha.grad.item() == 4.0
    assert pact_penalty(torch.nn.ReLU()).item() == 0.0


def test_latent_weights_get_gradients_through_a_layer():
    torch.manual_seed(0)
    layer = QuantLinear(4, 2, weight_quant=LSQ(4, scale=0.1, weight=True))
    layer(torch.ones(1, 4)).sum().backward()
    assert torch.allclose(layer.weight.grad, torch.ones(2, 4))

"""Distillation: losses against their closed forms, what they ignore, what is recorded, mistakes."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from torch import nn
from torch.nn import functional as F

from quant.compress import CompressionError
from quant.compress.distill import Hint, attention_map, attention_transfer, distillation, distilled, features, soft_targets


def logits(seed, rows=5, classes=7):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(0, 2, (rows, classes)), requires_grad=True)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_soft_targets_are_the_kl_divergence_and_their_gradient_the_difference_of_softmaxes(temperature):
    student, teacher = logits(0), logits(1)
    loss = soft_targets(student, teacher, temperature=temperature)
    loss.backward()
    p, q = softmax(teacher.detach().numpy() / temperature), softmax(student.detach().numpy() / temperature)
    assert loss.item() == pytest.approx(temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=1)), rel=1e-9)
    assert np.allclose(student.grad.numpy(), temperature * (q - p) / 5, rtol=1e-9)
    assert teacher.grad is None


def test_at_high_temperature_logits_are_matched():
    """Hinton and others, 2015, section 2.1: the gradient of a sample goes to (z - v) / classes for centred logits."""
    student, teacher = logits(0), logits(1)
    soft_targets(student, teacher, temperature=1e4).backward()
    z, v = (one.detach().numpy() for one in (student, teacher))
    centred = (z - z.mean(axis=1, keepdims=True)) - (v - v.mean(axis=1, keepdims=True))
    assert np.allclose(student.grad.numpy(), centred / 7 / 5, rtol=1e-2, atol=1e-4)


def test_distillation_mixes_labels_and_teacher():
    student, teacher, labels = logits(0), logits(1), torch.tensor([0, 3, 6, 1, 1])
    alone = {weight: distillation(student, teacher, labels, temperature=3.0, weight=weight).item() for weight in (0.0, 0.25, 1.0)}
    assert alone[0.0] == pytest.approx(F.cross_entropy(student, labels).item())
    assert alone[1.0] == pytest.approx(soft_targets(student, teacher, temperature=3.0).item())
    assert alone[0.25] == pytest.approx(0.75 * alone[0.0] + 0.25 * alone[1.0])


def test_a_student_that_equals_its_teacher_loses_nothing():
    same = logits(0)
    loss = soft_targets(same, same.detach().clone())
    loss.backward()
    assert abs(loss.item()) < 1e-12
    assert same.grad.abs().max() < 1e-12
    maps = torch.rand(2, 3, 4, 5, requires_grad=True)
    loss = attention_transfer(maps, maps.detach().clone())
    loss.backward()
    assert loss.item() == 0
    assert maps.grad.abs().max() == 0
    hint = Hint((3, 4, 5), (3, 4, 5))
    with torch.no_grad():
        hint.regressor.weight.copy_(torch.eye(3)[:, :, None, None])
        hint.regressor.bias.zero_()
    assert hint(maps, maps).item() == 0


def test_attention_maps_follow_the_definition_and_ignore_scale():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(3, 4, 5, 6)), rng.normal(size=(3, 9, 5, 6))

    def attention(x, power):
        summed = (np.abs(x) ** power).sum(axis=1).reshape(len(x), -1)
        return summed / np.sqrt((summed**2).sum(axis=1, keepdims=True))

    for power in (1.0, 2.0, 4.0):
        assert np.allclose(attention_map(torch.tensor(student), power=power), attention(student, power))
        wanted = np.mean(((attention(student, power) - attention(teacher, power)) ** 2).sum(axis=1))
        assert attention_transfer(torch.tensor(student), torch.tensor(teacher), power=power).item() == pytest.approx(wanted)
        scales = torch.tensor([0.01, 3.0, 100.0])[:, None, None, None]
        assert attention_transfer(torch.tensor(student) * scales, torch.tensor(teacher) * -7, power=power).item() == pytest.approx(wanted)


def test_attention_of_maps_without_activity_is_finite():
    dead = torch.zeros(2, 3, 4, 4, requires_grad=True)
    attention_transfer(dead, torch.rand(2, 3, 4, 4)).backward()
    assert bool(torch.isfinite(dead.grad).all())


@pytest.mark.parametrize(("student", "teacher", "kernel"), [((4, 8, 8), (6, 8, 8), (1, 1)), ((4, 8, 7), (6, 6, 5), (3, 3)),
                                                            ((4, 8, 8), (2, 5, 8), (4, 1))])
def test_a_hint_is_half_the_mean_squared_distance_behind_a_convolution(student, teacher, kernel):
    torch.manual_seed(0)
    hint, ours, theirs = Hint(student, teacher), torch.rand(3, *student), torch.rand(3, *teacher)
    assert hint.regressor.kernel_size == kernel
    wanted = (F.conv2d(ours, hint.regressor.weight, hint.regressor.bias) - theirs).square().sum() / (2 * theirs.numel())
    assert hint(ours, theirs).item() == pytest.approx(wanted.item())
    hint(ours, theirs).backward()
    assert hint.regressor.weight.grad.abs().max() > 0


def test_a_hint_of_vectors_finds_the_least_squares_regressor():
    rng = np.random.default_rng(0)
    x, mixing = rng.normal(size=(40, 3)), rng.normal(size=(3, 5))
    ours, theirs = (torch.tensor(one, dtype=torch.float32) for one in (x, x @ mixing + 1))
    hint = Hint((3,), (5,))
    optimizer = torch.optim.LBFGS(hint.parameters(), max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = hint(ours, theirs)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert np.allclose(hint.regressor.weight.detach().numpy(), mixing.T, atol=1e-2)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.pair = nn.Linear(3, 3), nn.LSTM(3, 3)

    def forward(self, x):
        return self.inner(self.inner(x))


def test_features_are_recorded_with_gradients_and_the_network_is_left_alone():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(8, 3)))
    x = torch.rand(2, 1, 4, 4)
    with features(network, ["0", "2.1"]) as found:
        for _ in range(2):  # the record is the last pass's
            y = network(x)
        assert list(found) == ["0", "2.1"]
        first = network[0](x)  # by itself: no pass of the network
        assert torch.equal(found["0"], first)
        assert found["0"] is not first
        assert torch.equal(found["2.1"], y)
    found["2.1"].sum().backward()
    assert network[0].weight.grad is not None
    with pytest.raises(KeyError), features(network, "0"):
        raise KeyError
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_a_distilled_student_agrees_with_its_teacher():
    torch.manual_seed(0)
    teacher, student = nn.Linear(6, 4), nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    x = torch.randn(400, 6)
    first, again = (nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)) for _ in range(2))
    for one in (first, again):
        one.load_state_dict(student.state_dict())
        distilled(teacher, x, epochs=40, rate=1e-2)(one)
    assert torch.equal(first(x), again(x))
    agreeing = [(one(x).argmax(1) == teacher(x).argmax(1)).float().mean().item() for one in (student, first)]
    assert agreeing[1] > 0.9 > agreeing[0] + 0.3
    assert not first.training
    # labels that contradict the teacher win once they have the weight
    labels = (teacher(x).argmax(1) + 1) % 4
    distilled(teacher, x, labels, epochs=20, rate=1e-2, weight=0.0)(first)
    assert (first(x).argmax(1) == labels).float().mean() > 0.9


@pytest.mark.parametrize(("call", "message"), [
    (lambda: soft_targets(torch.zeros(2, 3), torch.zeros(2, 4)), r"logits have shape \(2, 3\), the teacher's \(2, 4\): they must be equal"),
    (lambda: soft_targets(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)), r"take \(N, classes\)"),
    (lambda: soft_targets(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0.0), "temperature .* above 0, not 0.0"),
    (lambda: soft_targets(torch.zeros(2, 3), torch.zeros(2, 3), temperature=float("nan")), "not nan"),
    (lambda: distillation(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2).long(), weight=1.5), "from 0 to 1, not 1.5"),
    (lambda: distillation(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3).long()), r"labels of shape \(3,\)"),
    (lambda: Hint((4, 8, 8), (4, 9, 8)), "smaller than the teacher's"),
    (lambda: Hint((4, 8, 8), (4,)), r"not \(4, 8, 8\) and \(4,\)"),
    (lambda: Hint((4, 8, 8), (4, 8, 8))(torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 9)), r"teacher's features have shape \(1, 4, 8, 9\)"),
    (lambda: Hint((4,), (4,))(torch.zeros(1, 4), torch.zeros(2, 4)), "1 samples of the student and 2"),
    (lambda: attention_transfer(torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 4, 4)), "equal heights and widths"),
    (lambda: attention_transfer(torch.zeros(2, 4, 4, 8), torch.zeros(2, 4, 8, 4)), "equal heights and widths"),
    (lambda: attention_transfer(torch.zeros(2, 4, 8, 8), torch.zeros(1, 4, 8, 8)), r"shape \(2, 4, 8, 8\)"),
    (lambda: attention_map(torch.zeros(2, 4)), "no positions"),
    (lambda: features(Twice(), ["outer"]).__enter__(), "no module `outer` to record; it has `inner`, `pair`"),
    (lambda: distilled(nn.Identity(), torch.zeros(0, 3), epochs=1), "0 images and no labels"),
    (lambda: distilled(nn.Identity(), torch.zeros(2, 3), torch.zeros(3), epochs=1), "2 images and 3 labels"),
    (lambda: distilled(nn.Identity(), torch.zeros(2, 3), epochs=0), "epochs .* not 0"),
])
def test_mistakes_are_told(call, message):
    with pytest.raises(CompressionError, match=message):
        call()


def test_what_has_no_single_output_is_not_recorded():
    network = Twice()
    with features(network, ["inner"]), pytest.raises(CompressionError, match="`inner` is called more than once"):
        network(torch.zeros(1, 3))
    lstm = nn.LSTM(3, 3)
    with features(lstm, [""]), pytest.raises(CompressionError, match="gives a tuple"):
        lstm(torch.zeros(1, 3))

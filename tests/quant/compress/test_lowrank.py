"""Low-rank layers: the best approximation of a rank, exactness, forms, costs, and how ranks are chosen."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

pytest.importorskip("torch", reason="compression needs torch")

import torch
from torch import nn

from quant.compress.errors import CompressionError
from quant.compress.lowrank.decompose import METHODS, most_rank, size_of
from quant.compress.lowrank.factors import costs, lowrank
from tests.quant.compress.whole_way import check_lowers, images, network

SVD = {"channel": (0,), "channel_in": (1,), "spatial": (1, 2)}
FORMS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 1), "dilation": (1, 2)},
    {"kernel_size": (1, 4), "stride": (1, 3), "padding": (1, 2)},
    {"kernel_size": (5, 3), "padding": "same", "dilation": (1, 2), "bias": False},
    {"kernel_size": 3, "stride": 2, "padding": (2, 1), "padding_mode": "reflect"},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 3, "padding": "valid", "bias": False},
]


def conv(seed=0, inputs=5, outputs=7, **options):
    torch.manual_seed(seed)
    return nn.Conv2d(inputs, outputs, **{"kernel_size": 3, **options})


def unfolded(weight, rows):
    """The matrix that an SVD method decomposes."""
    w = weight.detach().double().numpy()
    columns = [axis for axis in range(w.ndim) if axis not in rows]
    return w.transpose(*rows, *columns).reshape(int(np.prod([w.shape[axis] for axis in rows])), -1)


def effective(chain, inputs, height, width):
    """The one kernel that a chain of convolutions without stride or padding is, from its answers to impulses."""
    chain = copy.deepcopy(chain).double()
    for part in chain:
        part.stride, part.padding, part.dilation = (1, 1), (0, 0), (1, 1)
        part.bias = None
    kernel = []
    for c, y, x in itertools.product(range(inputs), range(height), range(width)):
        impulse = torch.zeros(1, inputs, height, width, dtype=torch.float64)
        impulse[0, c, y, x] = 1
        kernel.append(chain(impulse).detach().flatten().numpy())
    return np.stack(kernel, axis=1).reshape(-1, inputs, height, width)


@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("method", list(SVD))
def test_of_all_matrices_of_a_rank_the_svd_is_the_nearest(method, rank):
    """Eckart and Young: what is lost is the rest of the singular values."""
    layer = conv(inputs=6, outputs=8, kernel_size=(3, 2))
    chain = lowrank(layer, method, rank=rank, layers=[""])
    lost = effective(chain, 6, 3, 2) - layer.weight.detach().double().numpy()
    matrix = unfolded(layer.weight, SVD[method])
    assert np.linalg.norm(lost) == pytest.approx(np.linalg.norm(np.linalg.svd(matrix, compute_uv=False)[rank:]), rel=1e-4, abs=1e-6)
    assert np.linalg.matrix_rank(unfolded(torch.tensor(effective(chain, 6, 3, 2)), SVD[method]), tol=1e-5) == rank


def test_linear_layers_lose_the_rest_of_the_singular_values():
    torch.manual_seed(0)
    layer = nn.Linear(20, 12)
    first, second = lowrank(layer, rank=5)
    assert (first.bias, second.bias.tolist()) == (None, layer.bias.tolist())
    lost = (second.weight @ first.weight - layer.weight).detach().double().numpy()
    values = np.linalg.svd(layer.weight.detach().double().numpy(), compute_uv=False)
    assert np.linalg.norm(lost) == pytest.approx(np.linalg.norm(values[5:]), rel=1e-5)
    assert torch.linalg.vector_norm(first.weight).item() == pytest.approx(torch.linalg.vector_norm(second.weight).item(), rel=1e-5)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("method", [one for one in METHODS if one != "cp"])
def test_at_full_rank_outputs_are_the_layers(method, form):
    layer = conv(**form)
    x = torch.randn(2, 5, 9, 8)
    chain = lowrank(layer, method, rank={"": most_rank(size_of(layer), method)})
    assert [part.bias is not None for part in chain] == [False] * (len(chain) - 1) + [layer.bias is not None]
    assert torch.allclose(chain(x), layer(x), atol=1e-5)
    assert len(chain) == (3 if method == "tucker" else 2)


def planted(form, rank):
    """A kernel that is a sum of `rank` products of four vectors."""
    layer = conv(**form)
    rng = np.random.default_rng(rank)
    factors = [rng.standard_normal((size, rank)) for size in layer.weight.shape]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.einsum("or,cr,yr,xr->ocyx", *factors)))
    return layer


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_cp_finds_a_planted_kernel_again(form):
    x = torch.randn(2, 5, 9, 8)
    for rank in (1, 2):
        layer = planted(form, rank)
        chain = lowrank(layer, "cp", rank={"": rank})
        assert [part.groups for part in chain] == [1, rank, rank, 1]
        assert torch.allclose(chain(x), layer(x), atol=2e-3 * layer(x).abs().max().item())


def test_tucker_finds_a_planted_kernel_again():
    layer, rng = conv(inputs=10, outputs=12), np.random.default_rng(0)
    core, left, right = (rng.standard_normal(shape) for shape in ((3, 4, 3, 3), (12, 3), (10, 4)))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.einsum("rsyx,or,cs->ocyx", core, left, right)))
    chain = lowrank(layer, "tucker", rank=(3, 4))
    assert [tuple(part.weight.shape) for part in chain] == [(4, 10, 1, 1), (3, 4, 3, 3), (12, 3, 1, 1)]
    assert effective(chain, 10, 3, 3) == pytest.approx(layer.weight.detach().numpy(), abs=1e-4)
    assert lowrank(layer, "tucker", energy=1.0)[1].weight.shape[:2] == (3, 4)


def test_two_ranks_leave_linear_layers_alone():
    found = lowrank(network(), "tucker", rank=(3, 3))
    assert [type(found.get_submodule(name)) for name in ("again", "hidden", "last")] == [nn.Sequential, nn.Linear, nn.Linear]


def test_float64_layers_stay_as_exact():
    layer = conv().double()
    x = torch.randn(1, 5, 6, 6, dtype=torch.float64)
    assert torch.allclose(lowrank(layer, "spatial", rank={"": 15})(x), layer(x), atol=1e-12)


def test_tucker_is_better_than_cutting_two_svds():
    layer = conv(inputs=8, outputs=8)
    found = effective(lowrank(layer, "tucker", rank={"": (3, 3)}), 8, 3, 3) - layer.weight.detach().numpy()
    w = layer.weight.detach().double().numpy()
    u, v = (np.linalg.svd(unfolded(layer.weight, (axis,)))[0][:, :3] for axis in (0, 1))
    cut = np.einsum("ocyx,or,cs,pr,ds->pdyx", w, u, v, u, v) - w
    assert np.linalg.norm(found) <= np.linalg.norm(cut) * (1 + 1e-9)


def counted_by_hand(one, x):
    """Multiplications of each linear layer and convolution, from the shapes of its outputs."""
    total = 0

    def note(layer, arguments, y):
        nonlocal total
        total += layer.weight[0].numel() * y[0].numel()

    one = copy.deepcopy(one)
    for part in one.modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            part.register_forward_hook(note)
    one(x[:1])
    return total


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("of", ["parameters", "macs"])
def test_a_budget_is_met_and_used(method, of):
    one, x, keep = network(), images(), {"parameters": 0.6, "macs": 0.4}[of]
    found = lowrank(one, method, keep=keep, of=of, example_input=x)
    before, after = costs(one, x), costs(found, x)
    assert after.parameters == sum(part.numel() for part in found.parameters())
    assert after.macs == counted_by_hand(found, x)
    part = getattr(after, of) / getattr(before, of)
    assert keep - 0.08 < part <= keep
    assert found(x).shape == one(x).shape


@pytest.mark.parametrize("method", ["channel", "spatial"])
def test_no_other_ranks_of_the_budget_lose_less(method):
    """All ranks of two layers, by brute force; the price misses the best by little."""
    torch.manual_seed(3)
    one = nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3))

    def lost(weight, rank):
        values = np.linalg.svd(unfolded(weight, SVD[method]), compute_uv=False) ** 2
        return values[rank:].sum() / values.sum()

    def price(layer, rank):
        outputs, inputs, _, _ = layer.weight.shape
        return rank * (9 * inputs + outputs if method == "channel" else 3 * (inputs + outputs))

    whole = sum(part.numel() for part in one.parameters())
    budget = int(0.6 * whole) - 14
    options = [[(0.0, 432), *((lost(layer.weight, r), price(layer, r)) for r in range(1, 30))] for layer in (one[0], one[2])]
    best = min(a[0] + b[0] for a in options[0] for b in options[1] if a[1] + b[1] <= budget)
    found = lowrank(one, method, keep=0.6)
    ours = sum(lost(old.weight, new[0].weight.shape[0]) if isinstance(new, nn.Sequential) else 0
               for old, new in ((one[0], found[0]), (one[2], found[2])))
    assert best <= ours <= best * 1.05 + 1e-9


@pytest.mark.parametrize("method", ["channel", "channel_in", "spatial"])
def test_energy_gives_the_least_rank_that_keeps_it(method):
    one = network()
    found = lowrank(one, method, energy=0.7)
    for name in ("first", "again", "strided"):
        layer, chain = one.get_submodule(name), found.get_submodule(name)
        values = np.linalg.svd(unfolded(layer.weight, SVD[method]), compute_uv=False) ** 2
        if isinstance(chain, nn.Sequential):
            rank = chain[0].weight.shape[0]
            assert values[:rank].sum() >= 0.7 * values.sum() > values[:rank - 1].sum()
            assert sum(part.weight.numel() for part in chain) < layer.weight.numel()


def test_on_data_the_outputs_lose_the_rest_of_their_variance():
    torch.manual_seed(0)
    layer, x = nn.Linear(20, 12), torch.randn(300, 20) @ torch.randn(20, 20) + 3
    chain = lowrank(layer, rank=4, images=x)
    with torch.no_grad():
        y = layer(x).double().numpy()
        lost = np.square(chain(x).double().numpy() - y).sum(axis=1).mean()
        plain = np.square(lowrank(layer, rank=4)(x).double().numpy() - y).sum(axis=1).mean()
    assert lost == pytest.approx(np.linalg.eigvalsh(np.cov(y.T, bias=True))[:-4].sum(), rel=1e-3)
    assert lost < plain


def test_on_data_a_convolution_loses_less_than_without():
    layer, x = conv(padding=1, stride=2, bias=False), torch.rand(60, 5, 9, 8) * torch.tensor([1, 5, 1, 0.1, 1])[:, None, None]
    whole = lowrank(layer, rank={"": 7}, images=x)
    assert torch.allclose(whole(x), layer(x), atol=1e-4)
    with torch.no_grad():
        ours, plain = ((lowrank(layer, rank={"": 3}, images=given)(x) - layer(x)).square().mean().item() for given in (x, None))
    assert ours < plain


def test_a_layer_that_is_called_twice_is_one_chain_and_groups_stay():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(8, 8, 3, padding=1)
            self.b, self.inner = self.a, nn.Sequential(self.a, nn.ReLU())

        def forward(self, x):
            return self.inner(self.b(self.a(x)))

    one = Twice()
    found = lowrank(one, rank={"b": 2})
    assert found.a is found.b is found.inner[0]
    assert isinstance(found.a, nn.Sequential)
    assert isinstance(one.a, nn.Conv2d)
    assert costs(found, torch.zeros(1, 8, 5, 5)).macs == 3 * 25 * 2 * (72 + 8)
    chained = lowrank(network(), rank=2)
    assert type(chained.depthwise) is nn.Conv2d
    assert all(isinstance(chained.get_submodule(name), nn.Sequential) for name in ("first", "again", "strided", "hidden", "last"))


@pytest.mark.parametrize("method", METHODS)
def test_equal_calls_agree_and_the_given_network_stays(method):
    one = network().train()
    before = copy.deepcopy(one.state_dict())
    found, again = (lowrank(one, method, rank=3) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    assert one.training and found.training and all(part.training for part in found.modules())
    assert list(found.state_dict()) == list(again.state_dict())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in found.state_dict().items())


def test_low_rank_networks_lower(tmp_path):
    """Every form in one network: an export takes seconds."""
    one = network()
    for name, method in (("first", "spatial"), ("again", "tucker"), ("strided", "cp"), ("hidden", "channel")):
        one = lowrank(one, method, rank={name: 4})
    check_lowers(lowrank(one, "channel_in", rank={"first.1": 2}), tmp_path)


def nan_network():
    one = network()
    with torch.no_grad():
        one.last.weight[0, 0] = torch.inf
    return one


@pytest.mark.parametrize(("call", "words"), [
    (lambda one: lowrank(one, "svd", rank=2), "the method is channel, .*, not 'svd'"),
    (lowrank, "exactly one of rank, energy and keep"),
    (lambda one: lowrank(one, rank=2, keep=0.5), "exactly one of rank, energy and keep"),
    (lambda one: lowrank(one, rank=0), "the rank must be a whole number of at least 1, not 0"),
    (lambda one: lowrank(one, rank={"last": 0}), "the rank of layer `last` must be a whole number from 1 to 8, not 0"),
    (lambda one: lowrank(one, rank={"last": 9}), "the rank of layer `last` must be a whole number from 1 to 8, not 9"),
    (lambda one: lowrank(one, rank=13, layers=["again"]), "the rank of layer `again` must be a whole number from 1 to 12, not 13"),
    (lambda one: lowrank(one, "tucker", rank={"again": (3, 13)}), "rank of layer `again`, of its inputs, .*from 1 to 12, not 13"),
    (lambda one: lowrank(one, rank={"again": (3, 3)}), r"rank of layer `again` .* not \(3, 3\)"),
    (lambda one: lowrank(one, rank=1.5), "not 1.5"),
    (lambda one: lowrank(one, "spatial", rank=(2, 2)), r"rank \(2, 2\) is for Tucker"),
    (lambda one: lowrank(one, "tucker", rank=(2, 0)), "the rank must be a whole number of at least 1, not 0"),
    (lambda one: lowrank(one, rank={"last": 2}, layers=["last"]), "leave `layers` out"),
    (lambda one: lowrank(one, rank={"depthwise": 1}), "layer `depthwise` has 12 groups"),
    (lambda one: lowrank(one, rank=1000), "no layer of Network gets smaller by 'channel' with rank 1000"),
    (lambda one: lowrank(one, energy=1.0, layers=["last"]), "no layer of Network gets smaller by 'channel' with energy 1.0"),
    (lambda one: lowrank(one, energy=0), "the energy must be above 0"),
    (lambda one: lowrank(one, "cp", energy=0.5), "CP has no singular values"),
    (lambda one: lowrank(one, keep=1.1), "keep must be above 0 and at most 1, not 1.1"),
    (lambda one: lowrank(one, keep=1.0), "no layer of Network gets smaller by 'channel' with keep 1.0"),
    (lambda one: lowrank(one, keep=0.01), "the budget of .* parameters can't be met: with rank 1 everywhere"),
    (lambda one: lowrank(one, keep=0.5, of="macs"), "example input"),
    (lambda one: lowrank(one, keep=0.5, of="bytes"), "'parameters' or 'macs', not 'bytes'"),
    (lambda one: lowrank(one, keep=0.5, of="macs", example_input=torch.zeros(1, 3, 5, 5)), "do not go through Network"),
    (lambda one: lowrank(one, rank=2, images=images() * torch.nan), "with finite numbers"),
    (lambda one: lowrank(one.norm, rank=2), "has no nn.Linear and no nn.Conv2d"),
    (lambda one: lowrank(one.depthwise, rank=1), "no layer of Conv2d gets smaller"),
    (lambda one: lowrank(nan_network(), rank=2), "layer `last` holds inf"),
])
def test_what_cannot_be_done_is_refused(call, words):
    with pytest.raises(CompressionError, match=words):
        call(network())


def test_one_layer_with_two_names_is_named_once():
    one = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    one.append(one[0])
    with pytest.raises(CompressionError, match="`0` and `2` are one layer of Sequential: name it once"):
        lowrank(one, rank={"0": 2, "2": 3})

"""Weights made of fewer numbers: hashed, circulant and product-quantized layers, and their fit to data."""

from __future__ import annotations

import copy

import numpy as np
import pytest

pytest.importorskip("torch", reason="compression needs torch")

import torch
from scipy.linalg import circulant
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional

from quant.compress.errors import CompressionError
from quant.compress.sharing.circulant import fft_product, make_circulant
from quant.compress.sharing.codes import entries_of, finish_sharing, shared_layers, sharing_report
from quant.compress.sharing.datafit import fit_to_data
from quant.compress.sharing.hashed import hash_weights, mixed
from quant.compress.sharing.productquant import product_codes, product_quantize
from quant.nn import QuantizationError, prune, quantize
from tests.quant.compress.whole_way import check_lowers, images, network

METHODS = {
    "hashed": lambda one, **options: hash_weights(one, 0.25, **options),
    "circulant": lambda one, **options: make_circulant(one, 4, **options),
    "product": lambda one, **options: product_quantize(one, subvector=4, entries=8, **options),
}
EVERY = pytest.mark.parametrize("method", list(METHODS.values()), ids=list(METHODS))


def linear(outputs, inputs, seed=0, bias=True):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


def brute_matrix(sharing, count):
    """What each entry adds to each weight, by asking for one entry at a time: (weights, entries)."""
    return np.stack([sharing(torch.eye(count, dtype=torch.float64)[k].view(sharing.entries_shape)).flatten().numpy()
                     for k in range(count)], axis=1)


@EVERY
def test_the_given_network_stays_and_equal_calls_agree(method):
    one = network()
    before = copy.deepcopy(one.state_dict())
    found, again = method(one), method(one)
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    assert list(one.state_dict()) == list(before)
    for (name, a, _), (_, b, _) in zip(shared_layers(found), shared_layers(again), strict=True):
        assert torch.equal(a.weight, b.weight), name


@EVERY
def test_the_fit_is_the_least_squares_one(method):
    one = network()
    originals = dict(one.named_modules())
    for name, layer, sharing in shared_layers(method(one)):
        if layer.weight.numel() > 1000:  # seconds of numpy
            continue
        matrix = brute_matrix(sharing, torch.Size(sharing.entries_shape).numel())
        assert set(np.unique(np.abs(matrix))) == {0.0, 1.0}
        assert (np.abs(matrix).sum(axis=1) == 1).all()  # each weight is one entry
        wanted = originals[name].weight.detach().double().flatten().numpy()
        best = matrix @ np.linalg.lstsq(matrix, wanted, rcond=None)[0]
        assert layer.weight.detach().flatten().numpy() == pytest.approx(best, abs=1e-6)


@EVERY
def test_an_entry_gets_the_sum_of_its_weights_gradients(method):
    found = method(network())
    for _, layer, sharing in shared_layers(found):
        slope = torch.randn(layer.weight.shape, dtype=torch.float64)
        found.zero_grad()
        (layer.weight * slope).sum().backward()
        matrix = brute_matrix(sharing, entries_of(layer).numel())
        assert entries_of(layer).grad.flatten().numpy() == pytest.approx(matrix.T @ slope.flatten().numpy(), abs=1e-4)


@EVERY
def test_training_moves_entries_and_keeps_the_sharing(method):
    found = method(network())
    before = {name: layer.weight.detach().clone() for name, layer, _ in shared_layers(found)}
    assert {id(one) for one in found.parameters()} >= {id(entries_of(layer)) for _, layer, _ in shared_layers(found)}
    optimizer = torch.optim.Adam(found.parameters(), 0.01)
    first = None
    for _ in range(15):
        optimizer.zero_grad()
        loss = functional.cross_entropy(found(images()), torch.arange(40) % 8)
        first = loss.item() if first is None else first
        loss.backward()
        optimizer.step()
    assert loss.item() < first
    for name, layer, sharing in shared_layers(found):
        assert not torch.equal(layer.weight, before[name])
        assert torch.equal(sharing(sharing.right_inverse(layer.weight)), layer.weight) or torch.allclose(
            sharing(sharing.right_inverse(layer.weight)), layer.weight, atol=1e-7)


@EVERY
def test_finishing_makes_a_plain_network(method):
    one = network()
    found = method(one)
    with pytest.raises(QuantizationError, match="computes its weights from others"):
        quantize(found, images()[:1], images())
    plain = finish_sharing(found)
    assert list(plain.state_dict()) == list(one.state_dict())
    assert torch.equal(plain(images()), found(images()))
    assert all(type(a) is type(b) for a, b in zip(plain.modules(), one.modules(), strict=True))
    assert len(list(shared_layers(found))) > 2  # the shared one is still shared, and can be finished again
    assert torch.equal(finish_sharing(found)(images()), plain(images()))


def test_finished_networks_lower(tmp_path):
    """Every method in one network: an export takes seconds."""
    one = hash_weights(network(), {"first": 0.3})
    one = product_quantize(make_circulant(one, 4, layers=["again", "strided"]), subvector=4, entries=6, layers=["hidden"])
    assert [row.layer for row in sharing_report(one)] == ["first", "again", "strided", "hidden", "all"]
    check_lowers(finish_sharing(one), tmp_path)


@EVERY
def test_a_saved_network_is_its_entries(method):
    found, other = method(network(0)), method(network(5))
    found.norm.eps = other.norm.eps
    other.load_state_dict(found.state_dict())
    assert torch.equal(other(images()), found(images()))
    saved = sum(value.numel() for name, value in found.state_dict().items() if name.endswith("weight.original"))
    shared = sharing_report(found)[:-1]
    assert saved >= sum(layer.parameters for layer in shared)
    assert sharing_report(found)[-1].stored_bits == sum(layer.stored_bits for layer in shared)


@EVERY
@pytest.mark.parametrize("biased", [True, False])
def test_the_fit_to_data_is_the_least_squares_one(method, biased):
    """One layer's problem written out: rows are outputs for samples, columns are entries."""
    one = linear(12, 16, bias=biased)
    x = torch.randn(60, 16) @ torch.randn(16, 16)  # correlated
    found = method(one)
    fitted = fit_to_data(found, one, x)
    (_, layer, sharing), = shared_layers(found)
    matrix = brute_matrix(sharing, entries_of(layer).numel()).reshape(12, 16, -1)
    system = np.einsum("ni,oik->nok", x.double().numpy(), matrix).reshape(60 * 12, -1)
    wanted = (x @ one.weight.T).detach().double().numpy().reshape(-1)
    best = np.linalg.norm(system @ np.linalg.lstsq(system, wanted, rcond=None)[0] - wanted)

    def error(other):
        return torch.linalg.vector_norm(other(x) - one(x)).item()

    assert error(fitted) == pytest.approx(best, rel=1e-4)
    assert error(fitted) < error(found)
    assert entries_of(layer).numel() < 12 * 16


@EVERY
def test_the_fit_to_data_lowers_a_networks_error(method):
    one, x = network(), images(200)
    found = method(one)
    fitted = fit_to_data(found.train(), one, x)
    assert fitted.training
    found, fitted = found.eval(), fitted.eval()
    new = images(100, seed=7)
    with torch.no_grad():
        before, after = ((other(new) - one(new)).square().mean().item() for other in (found, fitted))
    assert after < 0.8 * before


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 8, 3, stride=2, padding=1, dilation=2), nn.Conv2d(8, 8, (3, 2), padding="same", groups=2),
                                   nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect")])
def test_the_fit_sees_the_inputs_of_a_convolution(layer):
    """No sharing at all (density 1, no two alike) must give the float layer's outputs back, from any start."""
    x = torch.randn(50, layer.in_channels, 6, 7)
    found = product_quantize(layer, subvector=2, entries=6)
    fitted = fit_to_data(found, layer, x)
    (_, _, sharing), = shared_layers(found)
    start = entries_of(found).detach().double()

    def error(entries):
        weight = sharing(entries).float()
        other = copy.deepcopy(layer)
        other.weight = nn.Parameter(weight)
        with torch.no_grad():
            return (other(x).double() - layer(x).double()).square().sum().item()

    best = error(entries_of(fitted).detach().double())
    assert best < error(start)
    generator = torch.Generator().manual_seed(0)
    for _ in range(16):  # a minimum: no step away is better
        step = torch.randn(start.shape, generator=generator, dtype=torch.float64) * 0.02
        assert error(entries_of(fitted).detach().double() + step) > best


def test_circulant_blocks_are_circulant():
    one = linear(10, 7)
    found = make_circulant(one, 4)
    first = entries_of(found).detach().numpy()[:, :, 0]
    whole = np.block([[circulant(first[p, q]) for q in range(2)] for p in range(3)])
    assert np.array_equal(found.weight.detach().numpy(), whole[:10, :7])
    assert sharing_report(found)[0] == ("", 70, 3 * 2 * 4, 3 * 2 * 4 * 32)


def test_circulant_projection_is_the_mean_along_wrapped_diagonals():
    one = linear(4, 4)
    weight = one.weight.detach().numpy()
    found = make_circulant(one, 4).weight.detach().numpy()
    means = [np.mean([weight[i, (i - k) % 4] for i in range(4)]) for k in range(4)]
    assert found == pytest.approx(circulant(means), abs=1e-7)
    assert make_circulant(finish_sharing(make_circulant(one, 4)), 4).weight.detach().numpy() == pytest.approx(found, abs=1e-7)


def test_circulant_convolutions_have_blocks_over_channels_within_each_group():
    torch.manual_seed(0)
    found = make_circulant(nn.Conv2d(8, 12, (3, 2), groups=2), 3)
    weight, entries = found.weight.detach().numpy(), entries_of(found).detach().numpy()
    for group in range(2):
        for tap in range(6):
            whole = np.block([[circulant(entries[group * 2 + p, q, tap]) for q in range(2)] for p in range(2)])
            assert np.array_equal(weight[group * 6:(group + 1) * 6, :, tap // 2, tap % 2], whole[:, :4])


@pytest.mark.parametrize(("outputs", "inputs", "block"), [(8, 8, 4), (10, 7, 4), (9, 15, 3), (5, 5, 8), (6, 4, 2)])
def test_the_fft_product_is_the_dense_product(outputs, inputs, block):
    found = make_circulant(linear(outputs, inputs, bias=False).double(), block)
    x = torch.randn(2, 3, inputs, dtype=torch.float64)
    product = fft_product(entries_of(found).detach()[:, :, 0], x, outputs)
    assert product.numpy() == pytest.approx(found(x).detach().numpy(), abs=1e-12)


def test_hashing_spreads_places_and_signs_evenly():
    hashes = mixed(np.arange(1 << 16, dtype=np.uint64), 3)
    assert len(np.unique(hashes)) == 1 << 16
    bits = (hashes[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.01
    assert np.abs(np.corrcoef(bits.T) - np.eye(64)).max() < 0.025
    other = mixed(np.arange(1 << 16, dtype=np.uint64), 4)
    assert abs(np.corrcoef(hashes.astype(float), other.astype(float))[0, 1]) < 0.02


def test_the_hash_is_splitmix():
    """Steele's generator, number by number in Python integers."""
    seed, mask = 5, (1 << 64) - 1
    start = (seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) & mask
    for k, found in enumerate(mixed(np.arange(20, dtype=np.uint64), seed)):
        z = (start + k * 0x9E3779B97F4A7C15) & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        assert int(found) == z ^ z >> 31


def test_hashed_layers_have_their_parameters_and_their_own_hash():
    found = hash_weights(nn.Sequential(linear(20, 30), linear(20, 30)), 0.1)
    assert [(one.weights, one.parameters, one.stored_bits) for one in sharing_report(found)] == [
        (600, 60, 1920), (600, 60, 1920), (1200, 120, 3840)]
    a, b = (layer.weight for layer in found)
    assert not torch.equal(a, b)
    assert len(np.unique(np.abs(a.detach().numpy()))) <= 60
    assert sharing_report(hash_weights(nn.Sequential(linear(20, 30), linear(20, 30)), {"1": 0.001}))[:-1] == [("1", 600, 1, 32)]
    assert not torch.equal(hash_weights(found_plain := linear(20, 30), 0.1, seed=1).weight, hash_weights(found_plain, 0.1).weight)


def test_a_hashed_layer_of_density_one_keeps_what_its_hash_keeps():
    weight = hash_weights(linear(20, 30), 1.0).weight
    assert 1 - np.exp(-1) - 0.05 < len(np.unique(np.abs(weight.detach().numpy()))) / 600 < 1 - np.exp(-1) + 0.05  # balls in bins


def test_product_codes_decode_to_the_weights_and_are_k_means():
    one = network()
    found = product_quantize(one, subvector=4, entries=8)
    codes = product_codes(found)
    assert list(codes) == ["first", "again", "depthwise", "strided", "hidden"]  # the last one would not get smaller
    for name, code in codes.items():
        layer = found.get_submodule(name)
        assert np.array_equal(code.decode(), layer.weight.detach().numpy())
        assert code.stored_bits == next(row for row in sharing_report(found) if row.layer == name).stored_bits
    code, weight = codes["hidden"], one.hidden.weight.detach().numpy()
    assert code.codes.shape == (24, 16)
    for subspace in range(16):
        part = weight[:, 4 * subspace:4 * subspace + 4].astype(np.float64)
        ours = np.square(part - code.codebooks[subspace][code.codes[:, subspace]]).sum()
        assert ours <= KMeans(8, n_init=1, random_state=3).fit(part).inertia_ * 1.5
        for k in range(8):  # centroids are means, and codes are those of the nearest one
            members = part[code.codes[:, subspace] == k]
            assert code.codebooks[subspace][k] == pytest.approx(members.mean(axis=0), abs=1e-6)
        distances = np.square(part[:, None] - code.codebooks[subspace]).sum(axis=-1)
        assert (np.take_along_axis(distances, code.codes[:, subspace, None], 1)[:, 0] <= distances.min(axis=1) + 1e-6).all()


def test_product_bits_of_an_uneven_layer():
    """10 columns in subvectors of 4: two whole ones and one of 2."""
    code, = product_codes(product_quantize(linear(40, 10), subvector=4, entries=5)).values()
    assert code.codes.shape == (40, 3)
    assert code.codebooks.shape == (3, 5, 4)
    assert code.stored_bits == 40 * 3 * 3 + 5 * 10 * 32


def test_few_different_subvectors_are_kept_exactly():
    one = linear(64, 8)
    with torch.no_grad():
        one.weight.copy_(one.weight[torch.arange(64) % 3])
    found = product_quantize(one, subvector=4, entries=16)
    assert torch.equal(found.weight, one.weight)
    code, = product_codes(found).values()
    assert code.codebooks.shape == (2, 3, 4)
    assert code.stored_bits == 64 * 2 * 2 + 3 * 8 * 32


def nan_network():
    one = network()
    with torch.no_grad():
        one.again.weight[0, 0] = torch.nan
    return one


def masked_network():
    one = network()
    prune(one, 0.5)
    return one


def tied_network():
    one = nn.Sequential(linear(8, 8), nn.ReLU(), linear(8, 8))
    one[2].weight = one[0].weight
    return one


@EVERY
@pytest.mark.parametrize(("build", "options", "words"), [
    (nan_network, {}, "layer `again` holds nan"),
    (masked_network, {}, "finish_pruning"),
    (tied_network, {}, "layers `0` and `2` share one weight"),
    (network, {"layers": ["nothing"]}, "layer `nothing` of Network is not there"),
    (network, {"layers": ["norm"]}, "layer `norm` of Network is a BatchNorm2d"),
    (network, {"layers": []}, "no layer was named"),
    (lambda: nn.Sequential(nn.ReLU()), {}, "has no nn.Linear and no nn.Conv2d"),
    (lambda: network().half(), {}, "holds torch.float16"),
    (lambda: nn.Sequential(nn.LazyLinear(3)), {}, "has no"),
    (lambda: "network", {}, "must be a torch.nn.Module, not a str"),
])
def test_what_cannot_be_shared_is_refused(method, build, options, words):
    with pytest.raises(CompressionError, match=words):
        method(build(), **options)


@EVERY
def test_shared_layers_cannot_be_shared_again(method):
    found = method(nn.Sequential(linear(64, 64)))
    for other in METHODS.values():
        with pytest.raises(CompressionError, match="computed otherwise"):
            other(found)


@pytest.mark.parametrize(("call", "words"), [
    (lambda one: hash_weights(one, 0), "density of layer `first` must be above 0 and at most 1, not 0"),
    (lambda one: hash_weights(one, {"hidden": 1.5}), "density of layer `hidden`.*1.5"),
    (lambda one: hash_weights(one, {"hidden": 0.5}, layers=["hidden"]), "leave `layers` out"),
    (lambda one: hash_weights(one, 0.5, seed=-1), "the seed must be"),
    (lambda one: make_circulant(one, 1), "side of a block must be a whole number of at least 2, not 1"),
    (lambda one: make_circulant(one, 4, layers=["depthwise"]), "layer `depthwise` has 36 weights"),
    (lambda one: make_circulant(one.depthwise, 4), "no layer of Conv2d gains"),
    (lambda one: product_quantize(one, subvector=0), "length of a subvector"),
    (lambda one: product_quantize(one, entries=True), "number of entries"),
    (lambda one: product_quantize(one, entries=1 << 17), "from 1 to 65536, not 131072"),
    (lambda one: product_quantize(one.last), "no layer of Linear gets smaller with 256 entries"),
    (lambda one: product_quantize(one, layers=["last"]), "layer `last` takes 6144 bits"),
    (finish_sharing, "no layer with shared weights"),
    (sharing_report, "no layer with shared weights"),
    (lambda one: fft_product(torch.zeros(2, 2, 4), torch.zeros(3), 8), "don't make a matrix of 8 outputs and 3 inputs"),
    (lambda one: fit_to_data(make_circulant(one, 4), one, images()[:0]), "at least one sample"),
    (lambda one: fit_to_data(make_circulant(one, 4), one, images() * torch.inf), "aren't finite"),
    (lambda one: fit_to_data(make_circulant(one, 4), one, images()[:, :2]), "do not go through Network"),
    (lambda one: fit_to_data(make_circulant(one, 4), one.hidden, images()), "reference has no layer `first`"),
])
def test_arguments_are_checked(call, words):
    with pytest.raises(CompressionError, match=words):
        call(network())

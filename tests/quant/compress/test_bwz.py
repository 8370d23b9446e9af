"""Huffman codes and .bwz files: the same bits come back, in as few bytes as the entropy allows, and no file does harm."""

from __future__ import annotations

import copy
import heapq
import io
import itertools
import json
import zipfile

import numpy as np
import pytest

pytest.importorskip("torch", reason="compression needs torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from hwsim.engines.csc import encode_entries
from hwsim.storage import code_lengths, huffman_storage
from intir import BIPOLAR, unsigned
from quant.compress.coding import huffman
from quant.compress.coding.bwz import load_bwz, load_bwz_into, save_bwz
from quant.compress.coding.tensorcode import DTYPES
from quant.compress.errors import CompressionError
from quant.compress.sharing.productquant import product_quantize
from quant.nn import IntQuant, QuantLinear, SharedQuant, finish_pruning, prune, quantize, share_weights
from tests.networks import mlp
from tests.quant.compress.whole_way import images, network

SYMBOLS = st.lists(st.integers(0, 40), max_size=300).map(lambda one: np.array(one, np.int64))


@given(SYMBOLS)
def test_huffman_words_are_optimal_and_decode(symbols):
    lengths, coded = huffman.encode(symbols)
    assert np.array_equal(huffman.decode(lengths, coded, len(symbols)), symbols)
    counts = np.bincount(symbols, minlength=1)
    best = int(counts @ code_lengths(counts))  # another implementation
    assert int(np.frombuffer(lengths, np.uint8).astype(int) @ np.bincount(symbols)) == best if len(symbols) else coded == b""
    assert len(coded) == (best + 7) // 8
    entropy = huffman.entropy_bits(symbols)
    assert entropy - 1e-6 <= best <= entropy + len(symbols)


def test_words_are_canonical():
    """Decoded by hand from the lengths alone, as the format's description says."""
    symbols = np.array([0] * 9 + [1] * 5 + [2] * 3 + [5] * 2 + [7], np.int64)
    lengths, coded = huffman.encode(symbols)
    words, value, previous = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        value <<= length - previous
        words[f"{value:0{length}b}"] = symbol
        value, previous = value + 1, length
    bits, found = "".join(f"{byte:08b}" for byte in coded), []
    while len(found) < len(symbols):
        word = next(bits[:size] for size in range(1, 32) if bits[:size] in words)
        found.append(words[word])
        bits = bits[len(word):]
    assert found == symbols.tolist()


@given(st.lists(st.integers(0, 3) | st.just(0) | st.just(0), max_size=200), st.integers(1, 4))
def test_gaps_are_those_of_the_hardware(symbols, gap_bits):
    """Padding as `hwsim` does it, for one column of one PE."""
    symbols = np.array(symbols, np.int64)
    codes, gaps = huffman.relative(symbols, gap_bits)
    assert np.array_equal(huffman.absolute(codes, gaps, len(symbols)), symbols)
    assert gaps.max(initial=0) < 1 << gap_bits
    places = np.flatnonzero(symbols)
    theirs = encode_entries(places, np.zeros_like(places), symbols[places], (1, max(1, len(symbols))), 1, np.arange(4),
                            index_bits=gap_bits, code_bits=2)
    assert np.array_equal(codes, theirs.codes)
    assert np.array_equal(gaps, theirs.indices)


def test_a_word_that_is_too_long_is_not_coded():
    counts = [1, 1]
    while len(counts) < 34:
        counts.append(counts[-1] + counts[-2])
    heap = list(counts)
    depth = 0
    while len(heap) > 1:  # Fibonacci's counts make the deepest tree
        heapq.heappush(heap, heapq.heappop(heap) + heapq.heappop(heap))
        depth += 1
    assert depth == 33
    assert huffman.encode(np.repeat(np.arange(34), counts)) is None


def saved(what, path):
    save_bwz(what, path)
    return path


def same(found, wanted):
    return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()


def shapes():
    return arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(
    np.dtype(dtype), shapes(), elements={"allow_nan": False, "allow_infinity": False} if dtype[1] == "f" else None))
FEW = arrays.arrays(np.float32, shapes(), elements=st.sampled_from([0.0, -0.0, 0.5, -0.5, 1e-40, 3e38]))


@settings(max_examples=150)
@given(st.dictionaries(st.text(max_size=6), ARRAYS | FEW, min_size=1, max_size=4), st.integers(1, 16))
def test_every_bit_comes_back(tmp_path_factory, tensors, gap_bits):
    path = tmp_path_factory.getbasetemp() / "any.bwz"
    report = save_bwz(tensors, path, gap_bits=gap_bits)
    found = load_bwz(path)
    assert list(found) == list(tensors)
    assert all(same(found[name], array) for name, array in tensors.items())
    assert report.file_bytes == path.stat().st_size
    assert [row.dense_bytes for row in report.tensors] == [array.nbytes for array in tensors.values()]


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.float32), np.zeros((200, 5), np.float32), np.full(999, 2.5), np.array(7.0, np.float32),
                                   np.array([True, False] * 50), np.arange(70000.0), np.full((30, 30), -0.0, np.float32),
                                   np.eye(300, dtype=np.float32), np.array([2**63], np.uint64), -np.arange(9)])
def test_edges_come_back(tmp_path, array):
    report = save_bwz({"x": array}, tmp_path / "x.bwz")
    assert same(load_bwz(tmp_path / "x.bwz")["x"], array)
    assert report.tensors[0].stored_bytes <= array.nbytes


@pytest.mark.parametrize(("sizes", "coding"), [((1, 0.4), "huffman"), ((0.03, 0.4), "sparse"), ((1, None), "raw")])
def test_the_coding_fits_the_weights_and_is_near_the_entropy(tmp_path, sizes, coding):
    rng = np.random.default_rng(0)
    density, step = sizes
    weights = rng.standard_normal((300, 200)).astype(np.float32)
    weights = weights if step is None else (np.rint(weights / step) * step * (rng.random(weights.shape) < density) + 0.0).astype(np.float32)
    row, = save_bwz({"w": weights}, tmp_path / "w.bwz", gap_bits=6).tensors
    assert row.coding == coding
    assert (row.symbols > 0) == (coding != "raw")
    assert row.entropy_bits <= row.coded_bits <= row.entropy_bits + row.symbols + 16
    if coding == "huffman":
        _, counts = np.unique(weights, return_counts=True)
        part = counts / counts.sum()
        assert row.entropy_bits == pytest.approx(-(part * np.log2(part)).sum() * weights.size)
        assert row.coded_bits < 1.05 * row.entropy_bits


def test_sparse_words_are_as_many_as_deep_compression_counts(tmp_path):
    """`hwsim.storage` counts the bits of the same scheme without writing them."""
    rng = np.random.default_rng(1)
    codes = rng.integers(1, 8, (80, 50)) * (rng.random((80, 50)) < 0.05)
    row, = save_bwz({"w": codes}, tmp_path / "w.bwz", gap_bits=5).tensors
    rows, columns = np.nonzero(codes)
    matrix = encode_entries(rows, columns, codes[rows, columns], (50, 80), 1, np.arange(8), index_bits=5, code_bits=3)
    counted = huffman_storage(matrix, index_bits=5)
    assert row.coding == "sparse"
    assert row.symbols == counted.codes.symbols + counted.gaps.symbols
    assert row.coded_bits == sum((one.payload_bits + 7) // 8 * 8 for one in (counted.codes, counted.gaps))
    assert row.entropy_bits == pytest.approx(counted.codes.entropy_bits + counted.gaps.entropy_bits)


def test_a_float_network_comes_back_into_a_network(tmp_path):
    one, other = network(0), network(4)
    report = save_bwz(one, tmp_path / "n.bwz")
    found = load_bwz_into(other, tmp_path / "n.bwz")
    assert torch.equal(found(images()), one(images()))
    assert not torch.equal(other(images()), one(images()))
    assert {row.tensor for row in report.tensors} == set(one.state_dict())


def test_a_pruned_quantized_network_is_small_and_computes_the_same(tmp_path):
    one = network()
    prune(one, 0.1)
    finish_pruning(one)
    quantized = quantize(one, images()[:1], images())
    report = save_bwz(quantized, tmp_path / "q.bwz")
    blank = copy.deepcopy(quantized)
    with torch.no_grad():
        for parameter in blank.parameters():
            parameter.zero_()
    assert torch.equal(load_bwz_into(blank, tmp_path / "q.bwz")(images()), quantized(images()))
    rows = {row.tensor: row for row in report.tensors}
    for name in ("again", "strided", "hidden"):
        row = rows[f"{name}.weight"]
        assert row.coding == "sparse"
        assert row.dense_bytes > 6 * row.stored_bytes
    assert rows["first.bias"].coding == "raw"


def test_integers_are_stored_where_scales_make_the_weights(tmp_path):
    torch.manual_seed(0)
    scale = torch.rand(40, 1) * 0.01
    layer = QuantLinear(100, 40, weight_quant=IntQuant(4, scale=scale))
    row = save_bwz(layer, tmp_path / "l.bwz").tensors[0]
    levels = torch.round(layer.weight_quant(layer.weight) / scale).int().unique(return_counts=True)[1].double()
    entropy = -(levels / 4000 * (levels / 4000).log2()).sum().item() * 4000
    assert (row.tensor, row.coding, row.values) == ("weight", "huffman", 4000)
    assert row.entropy_bits == pytest.approx(entropy)
    assert row.stored_bytes < (entropy + 4000) / 8 + 40 * 4 + 64
    assert same(load_bwz(tmp_path / "l.bwz")["weight"], layer.weight_quant(layer.weight).detach().numpy())


def test_codes_of_shared_and_product_quantized_layers_are_saved(tmp_path):
    torch.manual_seed(0)
    one = nn.Sequential(QuantLinear(60, 50, weight_quant=SharedQuant(16)))
    share_weights(one)
    rows = {row.tensor: row for row in save_bwz(one, tmp_path / "s.bwz").tensors}
    assert rows["0.weight"].coding == "huffman"
    assert rows["0.weight"].coded_bits <= 4 * 3000
    other = product_quantize(nn.Linear(64, 128), subvector=4, entries=16)
    found = load_bwz_into(product_quantize(nn.Linear(64, 128), subvector=4, entries=16), saved(other, tmp_path / "p.bwz"))
    assert torch.equal(found.weight, other.weight)
    assert (tmp_path / "p.bwz").stat().st_size < 128 * 16 * 4 / 8 + 16 * 64 * 4 + 128 * 4 + 1000


def test_a_graph_of_integers_comes_back(tmp_path):
    graph = mlp([30, 20, 10], x=unsigned(4), w=BIPOLAR, act=unsigned(2))
    report = save_bwz(graph, tmp_path / "g.bwz")
    found = load_bwz(tmp_path / "g.bwz")
    wanted = {f"{node.name}.{key}": value for node in graph.nodes for key, value in node.op.attributes().items() if isinstance(value, np.ndarray)}
    assert list(found) == list(wanted)
    assert all(same(found[name], np.asarray(value)) for name, value in wanted.items())
    first = report.tensors[0]
    assert (first.tensor, first.values) == ("fc0.weights", 600)
    assert first.coded_bits == 600


def test_equal_networks_make_equal_files(tmp_path):
    for name in ("a", "b"):
        save_bwz(network(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    save_bwz({"x": np.zeros(3)}, tmp_path / "x.bwz")
    with pytest.raises(CompressionError):
        save_bwz({"x": np.array([np.nan])}, tmp_path / "x.bwz")
    assert [one.name for one in tmp_path.iterdir()] == ["x.bwz"]
    assert load_bwz(tmp_path / "x.bwz")["x"].tolist() == [0, 0, 0]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file with every coding: its bytes, and what it holds."""
    rng = np.random.default_rng(0)
    tensors = {"raw": rng.standard_normal(3), "huffman": rng.integers(0, 3, 60).astype(np.float32),
               "sparse": rng.integers(1, 3, 600) * (rng.random(600) < 0.02)}
    path = tmp_path_factory.mktemp("small") / "small.bwz"
    report = save_bwz(tensors, path)
    assert [row.coding for row in report.tensors] == list(tensors)
    return path.read_bytes(), tensors


def outcome(data, path):
    path.write_bytes(data)
    try:
        return load_bwz(path, max_bytes=1 << 20)
    except CompressionError:
        return None


def test_no_truncated_file_is_read(tmp_path, small):
    data, _ = small
    assert all(outcome(data[:size], tmp_path / "t.bwz") is None for size in range(len(data)))


def test_a_damaged_file_is_refused_or_harmless(tmp_path, small):
    data, tensors = small
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(600):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        found = outcome(bytes(damaged), tmp_path / "d.bwz")
        refused += found is None
        assert found is None or all(same(found[name], array) for name, array in tensors.items())
    assert refused > 400


def rewritten(data, change):
    """The file with another header and other streams, whose checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        header, streams = json.loads(archive.read("header.json")), bytearray(archive.read("streams.bin"))
    change(header, streams)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        archive.writestr("streams.bin", bytes(streams))
    return buffer.getvalue()


def test_streams_with_right_checksums_are_not_trusted_either(tmp_path, small):
    """Any byte of any stream: an error, or arrays of the shapes that the header has."""
    data, tensors = small
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = len(archive.read("streams.bin"))
    for at, value in itertools.product(range(size), (0, 1, 255)):
        found = outcome(rewritten(data, lambda header, streams: streams.__setitem__(at, value)), tmp_path / "h.bwz")
        assert found is None or {name: one.shape for name, one in found.items()} == {name: one.shape for name, one in tensors.items()}


def setter(number, key, value):
    def change(header, streams):
        header["tensors"][number][key] = value
    return change


@pytest.mark.parametrize(("change", "words"), [
    (lambda header, streams: header.update(version=2), "version 1"),
    (lambda header, streams: header.update(format="zip"), "not that of the format 'bwz'"),
    (lambda header, streams: header.update(tensors=3), "lists no tensors"),
    (lambda header, streams: header["tensors"][1].update(extra=1), "tensor 1 has not the fields"),
    (lambda header, streams: header["tensors"][1].pop("gap_bits"), "tensor 1 has not the fields"),
    (lambda header, streams: streams.extend(b"xx"), "2 bytes of its streams belong to no tensor"),
    (lambda header, streams: streams.clear(), "streams end too early"),
    (setter(0, "shape", [1 << 40, 1 << 40]), "more than 1048576 bytes"),
    (setter(1, "shape", [1 << 17]), "symbols are claimed in"),
    (setter(2, "shape", [3]), "can't have|lies at"),
    (setter(0, "shape", [-3]), "sizes that are none"),
    (setter(0, "shape", [True]), "sizes that are none"),
    (setter(0, "shape", [1] * 40), "sizes that are none"),
    (setter(0, "dtype", "O"), "type or in a coding"),
    (setter(0, "dtype", "<f4"), "values of type float64 are not those of an array of type float32"),
    (setter(0, "coding", "pickle"), "type or in a coding"),
    (setter(0, "gap_bits", 5), "type or in a coding"),
    (setter(2, "gap_bits", 40), "type or in a coding"),
    (setter(2, "gap_bits", 1), "takes more than 1 bits"),
    (setter(0, "scale_shape", [1]), "has not 1 streams"),
    (setter(1, "name", "raw"), "is there twice"),
    (setter(0, "streams", [1 << 60]), "end too early"),
    (setter(1, "coding", "raw"), "has not 3 streams"),
    (setter(0, "stored", "<f4"), "24 bytes are not 3 values"),
])
def test_headers_that_lie_are_refused(tmp_path, small, change, words):
    path = tmp_path / "lie.bwz"
    path.write_bytes(rewritten(small[0], change))
    with pytest.raises(CompressionError, match=words):
        load_bwz(path, max_bytes=1 << 20)


def test_a_small_file_cannot_claim_much_memory(tmp_path):
    save_bwz({"x": np.zeros(1 << 22, np.int8)}, tmp_path / "x.bwz", gap_bits=16)
    assert (tmp_path / "x.bwz").stat().st_size < 1000
    with pytest.raises(CompressionError, match="the limit that max_bytes sets"):
        load_bwz(tmp_path / "x.bwz", max_bytes=1 << 20)
    assert load_bwz(tmp_path / "x.bwz")["x"].size == 1 << 22


@pytest.mark.parametrize(("call", "words"), [
    (lambda path: save_bwz({"w": np.array([1, np.nan])}, path / "x"), "tensor `w` holds nan"),
    (lambda path: save_bwz({"w": np.array([-np.inf])}, path / "x"), "tensor `w` holds -inf"),
    (lambda path: save_bwz({"w": np.array([1j])}, path / "x"), "tensor `w` is of type complex128"),
    (lambda path: save_bwz({"w": np.array([{}])}, path / "x"), "tensor `w` is of type object"),
    (lambda path: save_bwz({}, path / "x"), "no tensors to save"),
    (lambda path: save_bwz(nn.ReLU(), path / "x"), "ReLU has no tensors to save"),
    (lambda path: save_bwz(nn.Linear(2, 2).bfloat16(), path / "x"), "tensor `weight` is torch.bfloat16"),
    (lambda path: save_bwz(3, path / "x"), "not a int"),
    (lambda path: save_bwz({"w": np.zeros(2)}, path / "x", gap_bits=17), "gap_bits must be a whole number from 1 to 16, not 17"),
    (lambda path: save_bwz({"w": np.zeros(2)}, path / "none" / "x"), "cannot write"),
    (lambda path: load_bwz(path / "x"), "cannot read"),
    (load_bwz, "cannot read"),
    (lambda path: load_bwz_into(nn.Linear(2, 3), saved(nn.Linear(2, 2), path / "x")), "holds another network than Linear"),
    (lambda path: load_bwz((path / "y").write_bytes(b"PK") and path / "y"), "no whole .bwz file"),
])
def test_arguments_are_checked(tmp_path, call, words):
    with pytest.raises(CompressionError, match=words):
        call(tmp_path)

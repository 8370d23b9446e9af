"""The host's side: images and floats to the integers of the hardware's input."""

from fractions import Fraction

import numpy as np
import pytest

from intir import run, to_source
from quant.lower import LoweringError, host_input, lower
from quant.lower.host import least_float
from tests.quant.test_lower_oracle import f32, network, node


def pixels(spec="u8/255", shape=(1, 2, 3, 4)):
    """A network that flattens an image after a quantizer, so its IR input is channels last."""
    nodes = [
        node("Quant", ["x", "s", "z", "b"], "q", signed=0, narrow=0),
        node("Flatten", ["q"], "f"),
        node("MatMul", ["f", "w"], "y"),
    ]
    size = int(np.prod(shape[1:]))
    constants = {"s": f32(0.25), "z": f32(0), "b": f32(2), "w": f32(np.arange(size)[:, None] % 7)}
    return lower(network(nodes, shape, (1, 1), constants), input_spec=spec).graph


def test_source_layout_and_ir_layout_are_both_taken():
    graph, image = pixels(), np.arange(48, dtype=np.uint8).reshape(2, 2, 3, 4)
    assert graph.values[graph.input.value].shape == (3, 4, 2)
    wanted = image.transpose(0, 2, 3, 1)
    for given in (
        image,
        wanted,
        image.astype(np.float32) / np.float32(255),
        image.astype(np.float64) / 255,
        image.astype(np.int32),
    ):
        found = host_input(graph, given)
        assert found.dtype == np.int64 and np.array_equal(found, wanted)
    assert host_input(graph, np.ones((1, 2, 3, 4), bool)).tolist() == np.ones((1, 3, 4, 2)).tolist()


@pytest.mark.parametrize(
    ("x", "pattern"),
    [
        (np.full((1, 2, 3, 4), 128.0, np.float32), r"pass integers \(astype uint8\) or divide"),
        (np.full((1, 2, 3, 4), 0.5, np.float32), "holds 0.5, which is no integer times 1/255"),
        (np.full((1, 2, 3, 4), np.nan, np.float32), "NaN"),
        (np.full((1, 2, 3, 4), np.inf), "infinite"),
        (np.full((1, 2, 3, 4), -0.1, np.float32), "covers 0 to 1; rescale"),
        (np.full((1, 2, 3, 4), 256), "from 256 to 256; the graph takes u8"),
        (np.full((1, 2, 3, 4), -1), "takes u8"),
        (np.full((1, 2, 3, 4), 2**64 - 1, np.uint64), "18446744073709551615, beyond 63 bits"),
        (np.zeros((2, 3, 4), np.uint8), r"takes \(N, 2, 3, 4\) or \(N, 3, 4, 2\)"),
        (np.zeros((1, 24), np.uint8), "shape"),
        (np.array([["a"]]), "array of <U1"),
    ],
)
def test_wrong_inputs(x, pattern):
    with pytest.raises(LoweringError, match=pattern):
        host_input(pixels(), x)


def test_uint64_beyond_int64_is_refused():
    with pytest.raises(LoweringError, match="takes u8"):
        host_input(pixels(), np.full((1, 2, 3, 4), 2**64 - 1, np.uint64))


def test_an_empty_batch_stays_empty():
    assert host_input(pixels(), np.zeros((0, 2, 3, 4), np.uint8)).shape == (0, 3, 4, 2)


def test_flat_images_where_order_is_the_same(shared_models):
    graph = lower(shared_models / "TFC_1W1A.onnx", input_spec="u8/255").graph
    digit = np.load(shared_models / "tfc_mnist_input.npy").astype(np.uint8)
    for given in (digit, digit.reshape(1, 784), digit.reshape(1, 28, 28)):
        assert host_input(graph, given).shape == (1, 784)


def test_thresholds_are_compared_exactly_with_floats():
    graph = pixels(spec=None, shape=(1, 3))  # u2 in steps of 1/4, half to even: boundaries 1/8 (>), 3/8 (>=), 5/8 (>)
    x = np.array(
        [
            [0.125, np.nextafter(0.125, 1), np.nextafter(np.float32(0.125), np.float32(1))],
            [0.375, np.nextafter(0.375, 0), 0.625],
            [-1e300, 1e300, np.inf],
            [-np.inf, -0.0, 0.62500001],
        ]
    )
    assert host_input(graph, x).tolist() == [[0, 1, 1], [2, 1, 2], [0, 3, 3], [0, 0, 3]]
    assert host_input(graph, np.array([[0, 3, 2]])).tolist() == [[0, 3, 2]]  # integers are the graph's own
    with pytest.raises(LoweringError, match="NaN"):
        host_input(graph, np.array([[0, np.nan, 0]]))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "bound",
    [
        Fraction(1, 3),
        Fraction(1, 10),
        Fraction(-7, 11),
        Fraction(0),
        Fraction(1, 2),
        Fraction(1, 2**1200),
        -Fraction(1, 2**1200),
        Fraction(2**80 + 1),
    ],
)
def test_least_float(bound, strict):
    x = least_float(bound, strict)
    below = float(np.nextafter(x, -np.inf))
    assert Fraction(x) > bound or (not strict and Fraction(x) == bound)
    assert Fraction(below) < bound or (strict and Fraction(below) == bound)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_output_has_the_source_networks_shape(keepdims):
    """An index without a channel axis is one number per image, not a column of one."""
    nodes = [node("BipolarQuant", ["x", "s"], "q"), node("MatMul", ["q", "w"], "m"), node("ArgMax", ["m"], "y", axis=1, keepdims=keepdims)]
    constants = {"s": f32(1), "w": f32(np.array([[1, -1], [1, 1]]))}
    model = network(nodes, (1, 2), (1, 1) if keepdims else (1,), constants)
    graph = lower(model).graph
    y = to_source(run(graph, host_input(graph, np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]))), graph)
    assert y.shape == ((3, 1) if keepdims else (3,))
    assert y.ravel().tolist() == [1, 0, 1]

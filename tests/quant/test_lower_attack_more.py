"""More corners where an exact lowering could slip, against exact execution; and random layers over all their integers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from intir import run
from quant.check import real_outputs
from quant.exact import ExactNetwork, of_array, whole
from quant.lower import LoweringError, host_input, lower
from tests.quant.test_lower_oracle import f32, network, node, quant

MODES = ["ROUND", "HALF_EVEN", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]
BITS = {"s": f32(0.5), "z": f32(0), "b": f32(4)}


def agree(model, x, spec="s4", unit=1):
    """The IR equals exact execution on integers x (S, *shape), one of which stands for `unit`; returns the network."""
    net = lower(model, input_spec=spec)
    wanted = ExactNetwork(model).run(whole(x, unit=Fraction(unit)))[0].fractions()
    found = real_outputs(net.graph, run(net.graph, host_input(net.graph, x))).fractions()
    assert np.array_equal(found, np.broadcast_to(wanted, (len(x), *wanted.shape[1:])).reshape(len(x), -1))
    return net


def images(shape, count=6):
    return np.random.default_rng(0).integers(-8, 8, (count, *shape))


@pytest.mark.parametrize("clips", [[(-2, 1)], [(20, 30)], [(0, 2), (5, 7)], [(5, 7), (0, 2)], [(-3.5, 2.5), (-2, 8)], [(0.25, 0.75)],
                                   [(-9, -8.5)], [(0, None)]])
@pytest.mark.parametrize("start", [6, 0, -40])
def test_clips_that_leave_one_level_of_a_rounding_or_cut_between_levels(clips, start):
    nodes, name, constants = [node("Add", ["x", "start"], "a"), node("Round", ["a"], "r")], "r", {"start": f32(start)}
    for i, ends in enumerate(clips):
        given_ends = [("" if end is None else f"end{i}{j}") for j, end in enumerate(ends)]
        constants |= {f"end{i}{j}": f32(end) for j, end in enumerate(ends) if end is not None}
        nodes.append(node("Clip", [name, *given_ends], f"c{i}"))
        name = f"c{i}"
    nodes.append(node("Abs", [name], "y"))
    agree(network(nodes, (1, 1), (1, 1), constants), np.arange(-8, 8)[:, None] * np.ones((1, 1), int), "s4/3", Fraction(1, 3))


def test_repeated_elements_with_scales_of_their_own():
    """A Resize is lazy; a scale for each of its positions is no scale of the channel that it repeats."""
    constants = BITS | {"roi": f32([]), "k": f32([1, 1, 1, 3]), "per": f32([[[[0.3, 0.5, 1.7]]]])}
    nodes = [node("Resize", ["x", "roi", "k"], "r", mode="nearest", coordinate_transformation_mode="asymmetric",
                  nearest_mode="floor"), node("Quant", ["r", "per", "z", "b"], "y", signed=1, narrow=0)]
    agree(network(nodes, (1, 1, 1, 1), (1, 1, 1, 3), constants), np.arange(-8, 8).reshape(16, 1, 1, 1))


@pytest.mark.parametrize("op", ["AveragePool", "MaxPool", "Conv", "GlobalAveragePool", "Add", "Concat", "Pad", "ConvTranspose"])
def test_scales_of_channels_that_became_rows(op):
    """Each IR channel still has one scale, but no ONNX channel has."""
    constants = BITS | {"s": f32([[[0.5]], [[0.3]]]), "z": f32([[[1]], [[0]]]), "w": f32(np.ones((3, 3, 1, 2))),
                        "pads": np.array([0, 0, 0, 1, 0, 0, 0, 1])}
    nodes = [node("Quant", ["x", "s", "z", "b"], "q", signed=1, narrow=0), node("Transpose", ["q"], "t", perm=[0, 2, 1, 3])]
    inputs, attributes, shape = {
        "AveragePool": (["t"], {"kernel_shape": [2, 1], "pads": [1, 0, 0, 0]}, (3, 2, 4)),
        "MaxPool": (["t"], {"kernel_shape": [2, 1]}, (3, 1, 4)), "Conv": (["t", "w"], {}, (3, 2, 3)),
        "GlobalAveragePool": (["t"], {}, (3, 1, 1)), "Add": (["t", "x2"], {}, (3, 2, 4)), "Concat": (["t", "x2"], {"axis": 1}, (6, 2, 4)),
        "Pad": (["t", "pads"], {}, (3, 2, 6)), "ConvTranspose": (["t", "w"], {}, (3, 2, 5))}[op]
    nodes += [node("Transpose", ["x"], "x2", perm=[0, 2, 1, 3]), node(op, inputs, "y", **attributes)]
    agree(network(nodes, (1, 2, 3, 4), (1, *shape), constants), images((2, 3, 4)), "s4/4", Fraction(1, 4))


def test_a_zero_point_for_each_position_in_front_of_a_transposed_convolution():
    constants = BITS | {"z": f32([[[[1, 0, 0.5], [2, 0, 1]]]]), "w": f32(np.arange(6).reshape(1, 1, 2, 3))}
    nodes = [node("Quant", ["x", "s", "z", "b"], "q", signed=1, narrow=0), node("ConvTranspose", ["q", "w"], "y", pads=[1, 0, 0, 1])]
    agree(network(nodes, (1, 1, 2, 3), (1, 1, 2, 4), constants), images((1, 2, 3)))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_ceil_mode_with_a_last_window_that_would_start_behind_the_input(op):
    nodes = [node(op, ["x"], "y", kernel_shape=[1, 1], strides=[2, 2], ceil_mode=1)]
    agree(network(nodes, (1, 1, 4, 4), (1, 1, 2, 2), {}), images((1, 4, 4)))


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL"])
def test_trunc_of_version_2_in_exact_execution(mode):
    """Against the definition: to the grid, divided by 4, rounded, clamped to 3 bits, in its own scale."""
    constants = {"s": f32(0.5), "z": f32(1), "b": f32(6), "wide": f32(2), "out": f32(3)}
    model = network([node("Trunc", ["x", "s", "z", "b", "wide", "out"], "y", rounding_mode=mode, signed=1, narrow=0)],
                    (1, 1), (1, 1), constants)
    x = np.arange(-32, 32)[:, None]
    found = ExactNetwork(model).run(of_array(x / 2))[0].fractions().ravel()
    grid = np.array([Fraction(int(one) + 1, 4) for one in x.ravel()], object)
    wanted = quant(grid, 1, 0, 3, signed=1, narrow=0, rounding_mode=mode)
    assert found.tolist() == [(one - Fraction(1, 4)) * 2 for one in wanted]
    agree(model, x, "s6/2", Fraction(1, 2))


def test_exact_execution_pads_numbers_beyond_64_bits():
    constants = {"big": f32(2.0**40), "half": f32([0.1]), "pads": np.array([0, 0, 1, 0, 0, 0])}
    nodes = [node("Mul", ["x", "big"], "m"), node("Mul", ["m", "m"], "n"), node("Add", ["n", "half"], "a"), node("Pad", ["a", "pads"], "p"),
             node("AveragePool", ["p"], "y", kernel_shape=[2], pads=[1, 1])]
    found = ExactNetwork(network(nodes, (1, 1, 1), (1, 1, 3), constants)).run(whole(np.array([[[3]]])))[0].fractions().ravel()
    value = 9 * 2**80 + Fraction(float(f32(0.1)))
    assert found.tolist() == [0, value / 2, value]


def test_more_boundaries_than_can_be_computed_are_refused():
    constants = BITS | {"b": f32(16), "per": f32(np.arange(1, 4097)[None] / 7)}
    model = network([node("Quant", ["x", "per", "z", "b"], "y", signed=1, narrow=0)], (1, 4096), (1, 4096), constants)
    for spec in ("s8", None):
        with pytest.raises(LoweringError, match="65536 levels for each of 4096 channels.*fewer bits"):
            lower(model, input_spec=spec)


@pytest.mark.parametrize("factor", [1e30, 3e38])
@pytest.mark.parametrize("op", ["Exp", "Gelu", "Mish"])
def test_values_beyond_all_bounds_end_in_a_sentence(op, factor):
    """An exponential of 1e30 has 1e30 digits."""
    nodes = [node("Mul", ["x", "k"], "m"), node(op, ["m"], "f"), node("Quant", ["f", "s", "z", "b"], "y", signed=1, narrow=0)]
    with pytest.raises(LoweringError, match="clip or quantize its input"):
        lower(network(nodes, (1, 1), (1, 1), BITS | {"k": f32(factor)}, 20), input_spec="s4")


def test_joins_of_joins_do_not_double_for_ever():
    nodes, name = [], "x"
    for i in range(40):
        nodes += [node("Sigmoid", [name], f"g{i}"), node("Mul", [name, f"g{i}"], f"m{i}")]
        name = f"m{i}"
    nodes.append(node("Quant", [name, "s", "z", "b"], "y", signed=1, narrow=0))
    with pytest.raises(LoweringError, match="put a Quant in between"):
        lower(network(nodes, (1, 1), (1, 1), BITS), input_spec="s4")
    agree(network([*[one for i in range(6) for one in (node("Abs", [f"p{i}" if i else "x"], f"a{i}"),
                                                       node("Sub", [f"p{i}" if i else "x", f"a{i}"], f"p{i + 1}"))],
                   node("Quant", ["p6", "s", "z", "b"], "y", signed=1, narrow=0)], (1, 1), (1, 1), BITS), np.arange(-8, 8)[:, None])


def test_external_data_with_a_zero_byte_in_its_name(tmp_path):
    model = network([node("MatMul", ["x", "w"], "y")], (1, 2), (1, 2), {"w": f32(np.ones((2, 2)))})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "w.bin\0"
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(LoweringError, match="outside the model's folder"):
        lower(tmp_path / "model.onnx", input_spec="s4")


def test_shapes_that_make_no_array_end_in_a_sentence():
    with pytest.raises(LoweringError, match="its axes are"):
        lower(network([node("Unsqueeze", ["x", "axes"], "y")], (1, 2), (1, 2), {"axes": np.array([1, 1])}), input_spec="s4")
    with pytest.raises(LoweringError, match="70 axes"):
        lower(network([node("Identity", ["x"], "y")], (1,) * 70, (1,) * 70, {}), input_spec="s4")
    constants = BITS | {"w": f32(1)}
    with pytest.raises(LoweringError, match="rounding mode 'A.B' is unknown"):
        lower(network([node("Quant", ["x", "s", "z", "b"], "y", signed=1, narrow=0, rounding_mode="A\x1bB")], (1, 2), (1, 2), constants))


EVERY = np.arange(-64, 64)
SCALES = st.sampled_from([0.25, 0.3, 0.1, 1 / 3, 1.7, 2.0, 5.0])
FACTORS = st.sampled_from([1.0, -1.0, 0.0, 0.5, -0.3, 1.1, 2.25, -7.0])


@st.composite
def layers(draw):
    """A layer of two channels that all 128 integers reach: a product, functions in a row, a quantizer."""
    channels = 2
    constants, nodes, name = {"w": f32(np.diag(draw(st.lists(st.integers(-3, 3), min_size=2, max_size=2))))}, [], "m"
    nodes.append(node("MatMul", ["x", "w"], "m"))

    def constant(value):
        constants[f"c{len(constants)}"] = f32(value)
        return list(constants)[-1]

    def vector(strategy):
        return constant([draw(st.lists(strategy, min_size=channels, max_size=channels))])

    for i in range(draw(st.integers(1, 4))):
        out = f"f{i}"
        op = draw(st.sampled_from(["Mul", "Add", "Relu", "Abs", "LeakyRelu", "Round", "Floor", "Ceil", "Clip", "Square", "Join", "Sign"]))
        if op in ("Mul", "Add"):
            nodes.append(node(op, [name, vector(FACTORS)], out))
        elif op == "LeakyRelu":
            nodes.append(node(op, [name], out, alpha=draw(st.sampled_from([0.1, -0.25, -1.0, 1.5]))))
        elif op == "Clip":
            low = draw(st.sampled_from([-9.0, -2.5, 0.0]))
            nodes.append(node(op, [name, constant(low), constant(low + draw(st.sampled_from([0.25, 4.0, 11.5])))], out))
        elif op == "Square":
            nodes.append(node("Mul", [name, name], out))
        elif op == "Join":
            nodes += [node("Abs", [name], f"{out}a"), node(draw(st.sampled_from(["Add", "Sub", "Mul"])), [name, f"{out}a"], out)]
        else:
            nodes.append(node(op, [name], out))
        name = out
    bits = draw(st.sampled_from([1, 2, 3, 4, 6]))
    zero = draw(st.sampled_from([0.0, 0.0, 2.0, 0.5, -1.25]))
    inputs = [name, vector(SCALES), constant(zero), constant(bits)]
    nodes.append(node("Quant", inputs, "y", signed=draw(st.integers(0, 1)), narrow=draw(st.integers(0, 1)) if bits > 1 else 0,
                      rounding_mode=draw(st.sampled_from(MODES))))
    return network(nodes, (1, channels), (1, channels), constants)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(layers(), st.sampled_from([1, 5, 16]))
def test_random_layers_equal_exact_execution_on_all_their_integers(model, denominator):
    x = np.stack([EVERY, EVERY[::-1]], axis=1)
    agree(model, x, f"s7/{denominator}", Fraction(1, denominator))

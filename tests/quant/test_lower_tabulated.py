"""Functions that are not monotone, and joins of functions of one integer: a table over all integers that occur."""

from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest

from quant.lower import LoweringError, lower
from tests.quant.test_lower_conv import check, quantizer, weights
from tests.quant.test_lower_oracle import conv, each, exact, f32, network, node, quant, reals, same

getcontext().prec = 60
EVERY = np.arange(-128, 128)


def decimal(x):
    return Decimal(x.numerator) / Decimal(x.denominator)


def sigmoid(x):
    return Fraction(1 / (1 + (-decimal(x)).exp()))


def erf(x):
    """By its Taylor series, in 60 digits."""
    z, total, term, k = decimal(x), Decimal(0), decimal(x), 0
    while abs(term) > Decimal(10) ** -58:
        total += term / (2 * k + 1)
        k += 1
        term *= -z * z / k
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
    return Fraction(2 / pi.sqrt() * total)


def gelu(x):
    return x * (1 + erf(Fraction(decimal(x) / Decimal(2).sqrt()))) / 2


def mish(x):
    power = (1 + decimal(x).exp()) ** 2
    return x * Fraction((power - 1) / (power + 1))


def gelu_by_tanh(x):
    inner = (Decimal(2) / Decimal("3.14159265358979323846264338327950288419716939937510582097494459")).sqrt() * \
        (decimal(x) + Decimal("0.044715") * decimal(x) ** 3)
    return x * Fraction(1 / (1 + (-2 * inner).exp()))


def one_function(nodes, function, *, bits=6, scale=0.19, narrow_input="s8/32", final="y"):
    """Every integer of an 8-bit input through a function and a quantizer."""
    constants = {"s": f32(scale), "z": f32(0), "b": f32(bits)}
    last = node("Quant", [nodes[-1].output[0], "s", "z", "b"], final, signed=1, narrow=0)
    model = network([*nodes, last], (1, 1), (1, 1), constants, 20)
    net = lower(model, input_spec=narrow_input)
    wanted = quant(each(exact(EVERY[:, None]) / 32, function), f32(scale), 0, bits, signed=1, narrow=0)
    assert same(reals(net, EVERY[:, None]), wanted)
    return net


FUNCTIONS = {
    "Abs": ([node("Abs", ["x"], "f")], abs),
    "Gelu": ([node("Gelu", ["x"], "f")], gelu),
    "Gelu by tanh": ([node("Gelu", ["x"], "f", approximate="tanh")], gelu_by_tanh),
    "Mish": ([node("Mish", ["x"], "f")], mish),
    "HardSwish": ([node("HardSwish", ["x"], "f")], lambda x: x * min(max(x / 6 + Fraction(1, 2), 0), 1)),
    "Softsign": ([node("Softsign", ["x"], "f")], lambda x: x / (1 + abs(x))),
    "SiLU": ([node("Sigmoid", ["x"], "g"), node("Mul", ["x", "g"], "f")], lambda x: x * sigmoid(x)),
    "LeakyRelu that falls": ([node("LeakyRelu", ["x"], "f", alpha=-0.25)], lambda x: max(x, -x / 4)),
    "square": ([node("Mul", ["x", "x"], "f")], lambda x: x * x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_are_not_monotone(name):
    nodes, function = FUNCTIONS[name]
    net = one_function(nodes, function)
    assert [one.op.kind for one in net.graph.nodes] == ["Threshold" if name == "Softsign" else "Lookup"]  # Softsign rises after all


def test_erf_written_out():
    """GELU as PyTorch's exporter writes it for old opsets."""
    constants = {"r": f32(np.sqrt(2)), "one": f32(1), "half": f32(0.5), "s": f32(0.11), "z": f32(0), "b": f32(8)}
    nodes = [node("Div", ["x", "r"], "d"), node("Erf", ["d"], "e"), node("Add", ["e", "one"], "a"), node("Mul", ["x", "a"], "m"),
             node("Mul", ["m", "half"], "g"), node("Quant", ["g", "s", "z", "b"], "y", signed=1, narrow=0)]
    net = lower(network(nodes, (1, 1), (1, 1), constants, 18), input_spec="s8/32")
    root = Fraction(float(constants["r"]))
    wanted = quant(each(exact(EVERY[:, None]) / 32, lambda x: x * (erf(x / root) + 1) / 2), f32(0.11), 0, 8, signed=1, narrow=0)
    assert same(reals(net, EVERY[:, None]), wanted)
    assert [one.op.kind for one in net.graph.nodes] == ["Lookup"]


@pytest.mark.parametrize("second", [0.3, 0.1])
def test_residual_binarization_of_a_normalised_accumulator(second):
    """HORQ: x - b * sign(x), binarized again.  Both signs come straight from the accumulator; nothing wide is in between."""
    rng = np.random.default_rng(3)
    constants = {"g": f32(rng.normal(size=3)), "h": f32(rng.normal(size=(1, 3, 1, 1))), "b1": f32(0.7), "b2": f32(second)}
    constants |= {"gg": constants["g"].reshape(1, 3, 1, 1)}
    first, q0 = quantizer("u4", "x", "q0", constants)
    made, w = weights(rng, (3, 2, 2, 2), constants)
    nodes = [first, made, node("Conv", ["q0", "w"], "c"), node("Mul", ["c", "gg"], "m"), node("Add", ["m", "h"], "a"),
             node("BipolarQuant", ["a", "b1"], "h1"), node("Sub", ["a", "h1"], "r"), node("BipolarQuant", ["r", "b2"], "h2"),
             node("Add", ["h1", "h2"], "y")]

    def meaning(x):
        a = conv(q0(x), w, None, {}) * exact(constants["gg"]) + exact(constants["h"])
        h1 = each(a, lambda v: Fraction(float(constants["b1"])) * (1 if v >= 0 else -1))
        return h1 + each(a - h1, lambda v: Fraction(float(constants["b2"])) * (1 if v >= 0 else -1))

    net = check(nodes, (1, 2, 4, 4), (1, 3, 3, 3), constants, meaning)
    assert max(net.graph.values[one.output].type.bits for one in net.graph.nodes if one.op.kind in ("Lookup", "Threshold")) <= 4


def test_a_join_of_one_integer_that_no_quantizer_follows_is_made_apart():
    constants = {"w": f32([[1, -1], [2, 3]]), "half": f32(0.5)}
    first, q0 = quantizer("s3", "x", "q0", constants, 0.5)
    nodes = [first, node("Relu", ["q0"], "r"), node("Sub", ["q0", "r"], "d"), node("Mul", ["d", "half"], "e"),
             node("MatMul", ["e", "w"], "y")]

    def meaning(x):
        q = q0(x)
        return ((q - each(q, lambda v: max(v, Fraction(0)))) / 2) @ exact(constants["w"])

    check(nodes, (1, 2), (1, 2), constants, meaning)


def test_values_moved_between_a_join_and_its_reader():
    constants = {"w": f32(np.arange(12).reshape(12, 1) - 5)}
    first, q0 = quantizer("s3", "x", "q0", constants, 0.5)
    constants |= {"s": f32(0.4), "z": f32(0), "b": f32(4)}

    def silu(v):
        return v * v * v

    cube = [first, node("Mul", ["q0", "q0"], "q2"), node("Mul", ["q2", "q0"], "q3"), node("Flatten", ["q3"], "f")]
    check([*cube, node("MatMul", ["f", "w"], "y")], (1, 3, 2, 2), (1, 1), constants,
          lambda x: each(q0(x), silu).reshape(1, 12) @ exact(constants["w"]))
    check([*cube, node("Quant", ["f", "s", "z", "b"], "q", signed=1, narrow=0), node("MatMul", ["q", "w"], "y")], (1, 3, 2, 2), (1, 1),
          constants,
          lambda x: quant(each(q0(x), silu).reshape(1, 12), f32(0.4), 0, 4, signed=1, narrow=0) @ exact(constants["w"]))


def test_errors():
    constants = {"s": f32(0.1), "z": f32(0), "b": f32(4), "w": f32(np.full((64, 1), 255) - np.arange(64)[:, None] % 2)}
    last = node("Quant", ["f", "s", "z", "b"], "y", signed=1, narrow=0)
    with pytest.raises(LoweringError, match=r"node 'Quant_y' \(Quant\): it takes the logarithm of -4, which its input can be"):
        lower(network([node("Log", ["x"], "f"), last], (1, 1), (1, 1), constants, 20), input_spec="s8/32")
    wide = [node("MatMul", ["x", "w"], "m"), node("Gelu", ["m"], "f"), last]
    with pytest.raises(LoweringError, match="not monotone, so it becomes a table, but its input takes .* values"):
        lower(network(wide, (1, 64), (1, 1), constants, 20), input_spec="u8/255")
    with pytest.raises(LoweringError, match="its exponent is 0.3"):
        lower(network([node("Pow", ["x", "p"], "f"), last], (1, 1), (1, 1), constants | {"p": f32(0.3)}, 20), input_spec="u8")

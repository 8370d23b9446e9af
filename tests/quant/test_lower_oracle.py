"""An oracle for the lowering's tests: ONNX operators in exact rational arithmetic, written from their specification alone.

It shares no code with `quant.lower`.  Tensors are object arrays of `Fraction` with a batch axis of 1.  What is irrational
(a batch norm's root) follows the documented convention: float32.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from intir import run
from quant.lower import lower
from quant.qonnx_exec import execute

QONNX = "qonnx.custom_op.general"


def exact(values):
    """Any numbers as an object array of fractions."""
    values = np.asarray(values)
    out = np.empty(values.shape, object)
    out.reshape(-1)[:] = [Fraction(v) for v in values.ravel().tolist()]
    return out


def rounded(v, mode):
    """A fraction to an integer, from the definitions of QONNX's rounding modes."""
    magnitude, sign = abs(v), (v > 0) - (v < 0)
    floor, frac = math.floor(magnitude), magnitude - math.floor(magnitude)
    return {
        "ROUND": lambda: round(v),
        "HALF_EVEN": lambda: round(v),
        "FLOOR": lambda: math.floor(v),
        "CEIL": lambda: math.ceil(v),
        "UP": lambda: sign * math.ceil(magnitude),
        "DOWN": lambda: math.trunc(v),
        "HALF_UP": lambda: sign * (floor + (frac >= Fraction(1, 2))),
        "HALF_DOWN": lambda: sign * (floor + (frac > Fraction(1, 2))),
    }[mode]()


def quant(x, scale, zero, bits, *, signed, narrow, rounding_mode="ROUND"):
    """QONNX Quant: divide, add the zero point, clamp, round, and back."""
    x, scale, zero, bits = np.broadcast_arrays(x, exact(scale), exact(zero), exact(bits))
    out = np.empty(x.shape, object)
    for i in np.ndindex(x.shape):
        b, v = int(bits[i]), x[i] / scale[i] + zero[i]
        if b == 1 and signed:
            q = 1 if v >= 0 else -1
        else:
            lo = (-(2 ** (b - 1)) + (1 if narrow else 0)) if signed else 0
            hi = 2 ** (b - 1) - 1 if signed else 2**b - 1 - (1 if narrow else 0)
            q = rounded(min(max(v, lo), hi), rounding_mode)
        out[i] = (q - zero[i]) * scale[i]
    return out


def each(x, function):
    out = np.empty(x.shape, object)
    out.reshape(-1)[:] = [function(v) for v in x.ravel()]
    return out


def windows(size, kernel, stride, dilation, before, after):
    count = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
    return [[(o * stride + k * dilation - before) for k in range(kernel)] for o in range(count)]


def spatial(attributes, rank, kernel):
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    pads = attributes.get("pads", [0] * 2 * rank)
    return list(strides), list(dilations), list(pads)


def conv(x, w, bias, attributes):
    """(1, C, *S) and (N, C/g, *K), S of any rank."""
    rank, groups = x.ndim - 2, attributes.get("group", 1)
    strides, dilations, pads = spatial(attributes, rank, w.shape[2:])
    axes = [windows(x.shape[2 + i], w.shape[2 + i], strides[i], dilations[i], pads[i], pads[i + rank]) for i in range(rank)]
    out = np.empty((1, w.shape[0], *(len(a) for a in axes)), object)
    per_in, per_out = w.shape[1], w.shape[0] // groups
    for n in range(w.shape[0]):
        for place in itertools.product(*(range(len(a)) for a in axes)):
            total = Fraction(0) if bias is None else bias[n]
            for tap in itertools.product(*(range(k) for k in w.shape[2:])):
                at = [axes[i][place[i]][tap[i]] for i in range(rank)]
                if all(0 <= p < x.shape[2 + i] for i, p in enumerate(at)):
                    for c in range(per_in):
                        total += x[(0, (n // per_out) * per_in + c, *at)] * w[(n, c, *tap)]
            out[(0, n, *place)] = total
    return out


def conv_transpose(x, w, bias, attributes):
    rank, groups = x.ndim - 2, attributes.get("group", 1)
    strides, dilations, pads = spatial(attributes, rank, w.shape[2:])
    extra = attributes.get("output_padding", [0] * rank)
    size = [
        strides[i] * (x.shape[2 + i] - 1) + extra[i] + (w.shape[2 + i] - 1) * dilations[i] + 1 - pads[i] - pads[i + rank]
        for i in range(rank)
    ]
    per_in, per_out = x.shape[1] // groups, w.shape[1]
    out = np.full((1, per_out * groups, *size), Fraction(0), object)
    for c in range(x.shape[1]):
        for at in itertools.product(*(range(s) for s in x.shape[2:])):
            for tap in itertools.product(*(range(k) for k in w.shape[2:])):
                place = [at[i] * strides[i] + tap[i] * dilations[i] - pads[i] for i in range(rank)]
                if all(0 <= p < size[i] for i, p in enumerate(place)):
                    for n in range(per_out):
                        out[(0, (c // per_in) * per_out + n, *place)] += x[(0, c, *at)] * w[(c, n, *tap)]
    if bias is not None:
        out = out + bias.reshape(1, -1, *[1] * rank)
    return out


def pool(x, attributes, combine, count_pads=False):
    rank = x.ndim - 2
    kernel = attributes["kernel_shape"]
    strides, dilations, pads = spatial(attributes, rank, kernel)
    axes = [windows(x.shape[2 + i], kernel[i], strides[i], dilations[i], pads[i], pads[i + rank]) for i in range(rank)]
    out = np.empty((1, x.shape[1], *(len(a) for a in axes)), object)
    for c in range(x.shape[1]):
        for place in itertools.product(*(range(len(a)) for a in axes)):
            taps = [[axes[i][place[i]][t[i]] for i in range(rank)] for t in itertools.product(*(range(k) for k in kernel))]
            values = [x[(0, c, *at)] for at in taps if all(0 <= p < x.shape[2 + i] for i, p in enumerate(at))]
            out[(0, c, *place)] = combine(values) if combine is max else sum(values) / (len(taps) if count_pads else len(values))
    return out


def batch_norm(x, gamma, beta, mean, var, epsilon):
    sigma = exact(np.sqrt(np.asarray(var, np.float32) + np.float32(epsilon)))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    gamma, beta, mean, sigma = (part.reshape(shape) for part in (exact(gamma), exact(beta), exact(mean), sigma))
    return (x - mean) / sigma * gamma + beta


def network(nodes, x_shape, out_shape, constants, opset=13):
    """A QONNX model; constants are numpy arrays by name."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out_shape)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(QONNX, 1)])
    model.ir_version = 8
    return model


def node(op_type, inputs, output, **attributes):
    qonnx = op_type in ("Quant", "BipolarQuant", "Trunc", "MultiThreshold", "IntQuant")
    return helper.make_node(op_type, inputs, [output], name=f"{op_type}_{output}", domain=QONNX if qonnx else "", **attributes)


def f32(values):
    return np.asarray(values, np.float32)


def reals(net, x):
    """Exact outputs of a lowered network for integer inputs in source layout (N, ...): list of object arrays in source layout."""
    from quant.lower import host_input

    graph = net.graph
    y = run(graph, host_input(graph, x))
    out = graph.output
    channels = y.shape[-1]
    scale = np.array([*out.affine.scale] * (channels // len(out.affine.scale)), object)
    offset = np.array([*out.affine.offset] * (channels // len(out.affine.offset)), object)
    values = exact(y) * scale + offset
    source = y.shape[1:] if out.source_shape is None else out.source_shape
    perm = out.perm or tuple(range(len(source)))
    turned = values.reshape(len(y), *(source[axis] for axis in perm))
    return turned.transpose(0, *(1 + int(axis) for axis in np.argsort(perm)))


def same(a, b):
    return a.shape == b.shape and bool(np.all(a == b))


@pytest.mark.parametrize("mode", ["ROUND", "HALF_EVEN", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"])
@pytest.mark.parametrize(("signed", "narrow"), [(1, 0), (1, 1), (0, 0), (0, 1)])
def test_the_oracle_agrees_with_the_qonnx_package(mode, signed, narrow):
    """On quarter steps with a power-of-two scale, where float32 is exact."""
    x = np.arange(-40, 40, dtype=np.float32)[None] / 8
    model = network(
        [node("Quant", ["x", "s", "z", "b"], "y", signed=signed, narrow=narrow, rounding_mode=mode)],
        (1, 80),
        (1, 80),
        {"s": f32(0.5), "z": f32(1), "b": f32(3)},
    )
    found = execute(model, x)
    wanted = quant(exact(x), 0.5, 1, 3, signed=signed, narrow=narrow, rounding_mode=mode)
    assert same(exact(found), wanted)
    # ... and so does the lowering, whose hardware input is the quantizer's output here
    assert same(reals(lower(model), x), wanted)

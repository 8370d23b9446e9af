"""What an exported file means, computed apart from the lowering: in float64, and in exact rationals where that decides.

Only the operators that the modules of `quant.nn` export.  Tensors are arrays of float64 or object arrays of `Fraction`.
"""

from __future__ import annotations

import copy
import itertools
from fractions import Fraction

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from quant.lower import lower
from quant.nn import IntQuant, export_qonnx
from quant.nn.base import PreparesForExport
from quant.qonnx_exec import execute
from tests.quant.test_lower_oracle import exact, reals


def meaning(path, x, rational=False):
    """Outputs for a batch, (N, ...), as float64 or as fractions."""
    number = exact if rational else (lambda values: np.asarray(values, np.float64))
    graph = onnx.load(path).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    # float constants are numbers; shapes, axes and bit widths stay what they are
    values = {name: number(array) if array.dtype.kind == "f" else array for name, array in values.items()}
    values[graph.input[0].name] = number(np.asarray(x, np.float32))
    for node in graph.node:
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        arguments = [values[name] if name else None for name in node.input]
        values[node.output[0]] = OPERATORS[node.op_type](*arguments, batch=len(x), **attributes)
    return values[graph.output[0].name]


def _quant(x, scale, zero, bits, *, signed, narrow, rounding_mode, batch):
    assert rounding_mode == b"ROUND"
    bits = int(bits.item())
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    clamped = np.minimum(np.maximum(x / scale + zero, low), high)
    levels = np.rint(clamped) if clamped.dtype != object else exact(np.vectorize(round)(clamped))
    return (levels - zero) * scale


def _bipolar(x, scale, *, batch):
    return np.where(x >= 0, 1, -1) * scale


def _batch_norm(x, gamma, beta, mean, variance, *, epsilon, batch, **ignored):
    root = np.sqrt(np.asarray(variance, np.float32) + np.float32(epsilon))
    gamma, beta, mean, root = (one.reshape(1, -1, *[1] * (x.ndim - 2))
                               for one in (gamma, beta, mean, exact(root) if x.dtype == object else root.astype(np.float64)))
    return (x - mean) / root * gamma + beta


def _conv(x, weight, bias=None, *, batch, pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1), group=1, **ignored):
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])), constant_values=0)
    outputs, depth, height, width = weight.shape
    rows = (x.shape[2] - dilations[0] * (height - 1) - 1) // strides[0] + 1
    columns = (x.shape[3] - dilations[1] * (width - 1) - 1) // strides[1] + 1
    result = np.zeros((len(x), outputs, rows, columns), np.float64).astype(x.dtype)
    share = outputs // group
    for g, i, j in itertools.product(range(group), range(height), range(width)):
        top, left = i * dilations[0], j * dilations[1]
        part = x[:, g * depth:(g + 1) * depth, top:top + rows * strides[0]:strides[0], left:left + columns * strides[1]:strides[1]]
        kernel = weight[g * share:(g + 1) * share, :, i, j]
        result[:, g * share:(g + 1) * share] += np.moveaxis(np.tensordot(part, kernel, (1, 1)), -1, 1)
    return result if bias is None else result + bias.reshape(1, -1, 1, 1)


def _reduced(x, axes, keepdims, mean):
    axes = tuple(int(one) for one in axes)
    total = x.sum(axis=axes, keepdims=bool(keepdims))
    count = int(np.prod([x.shape[axis] for axis in axes]))
    return total / (Fraction(count) if x.dtype == object else count) if mean else total


OPERATORS = {
    "Abs": lambda x, batch: abs(x),
    "Add": lambda a, b, batch: a + b,
    "BatchNormalization": _batch_norm,
    "BipolarQuant": _bipolar,
    "Conv": _conv,
    "Div": lambda a, b, batch: a / b,
    "Identity": lambda x, batch: x,
    "MatMul": lambda a, b, batch: a @ b,
    "Mul": lambda a, b, batch: a * b,
    "Neg": lambda x, batch: -x,
    "Quant": _quant,
    "ReduceMean": lambda x, axes, batch, keepdims=1, **ignored: _reduced(x, axes, keepdims, True),
    "ReduceSum": lambda x, axes, batch, keepdims=1, **ignored: _reduced(x, axes, keepdims, False),
    "Relu": lambda x, batch: np.maximum(x, 0),
    "Reshape": lambda x, shape, batch: x.reshape(batch if len(x) == batch and shape[0] == 1 else shape[0], *shape[1:]),
    "Sub": lambda a, b, batch: a - b,
    "Transpose": lambda x, batch, perm: x.transpose(perm),
    "Unsqueeze": lambda x, axes, batch: np.expand_dims(x, tuple(int(one) for one in axes)),
}


SHAPE = (4, 6, 6)


def network(conv, linear, between):
    """Two convolutions, one padded and one strided, and a matrix product; behind each a norm and a quantizer.

    `conv` and `linear` take the sizes and options of torch's layers; `between` makes a quantizer of activations.
    """
    return nn.Sequential(IntQuant(8, scale=2.0**-6), conv(4, 4, (2, 2), padding=1, bias=True), nn.BatchNorm2d(4), between(),
                         conv(4, 4, (2, 4), stride=2, bias=False), nn.BatchNorm2d(4), between(), nn.Flatten(),
                         linear(24, 6, bias=True), nn.BatchNorm1d(6), IntQuant(4, scale=0.25))


def inputs(rng, count):
    return rng.uniform(-2.2, 2.2, (count, *SHAPE)).astype(np.float32)


def set_norms(module, rng, *, dyadic=False):
    """Statistics of random inputs and gains of both signs for every batch norm; dyadic ones keep float32 arithmetic exact."""
    norms = [part for part in module.modules() if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d))]
    with torch.no_grad():
        for norm in norms:
            count = norm.num_features
            gamma = rng.integers(2, 12, count) / 8 if dyadic else rng.uniform(0.2, 1.5, count)
            norm.weight.copy_(torch.tensor(gamma * np.where(np.arange(count) % 2, -1, 1)))
            norm.bias.copy_(torch.tensor(rng.integers(-8, 9, count) / 8 if dyadic else rng.normal(0, 0.4, count)))
            norm.momentum = None  # a plain mean of all that is seen
        module.train()(torch.tensor(inputs(rng, 100)))
        for norm in norms if dyadic else []:
            norm.eps = 0.0
            norm.running_mean.copy_(torch.round(norm.running_mean * 8) / 8)
            norm.running_var.copy_(4.0 ** torch.round(torch.log2(norm.running_var) / 2))


def set_dyadic_weights(module, rng):
    """Latent weights of which half in each row are large: their mean magnitudes are exact in float32."""
    for part in module.modules():
        if hasattr(part, "weight_quant"):
            shape = tuple(part.weight.shape)
            rows = np.tile(np.repeat([0.5, 0.0625], part.weight[0].numel() // 2), (shape[0], 1))
            rows = rng.permuted(rows, axis=1) * rng.choice([-1, 1], rows.shape)
            with torch.no_grad():
                part.weight.copy_(torch.tensor(rows.reshape(shape)))
                if part.bias is not None:
                    part.bias.copy_(torch.tensor(rng.integers(-8, 9, len(part.bias)) / 8))


def prepared(module):
    """A copy in evaluation mode as an export sees it."""
    module = copy.deepcopy(module).eval()
    for part in module.modules():
        if isinstance(part, PreparesForExport):
            part.prepare_for_export()
    return module


def check_file(module, x, folder, *, bit_for_bit):
    """Export, and compare the file with the module: as float64 always, under the qonnx package where float32 is exact.

    Returns
    -------
    path of the file
    """
    path = folder / "network.onnx"
    export_qonnx(module, torch.tensor(x[:1]), path)
    with torch.no_grad():
        eager = module.eval()(torch.tensor(x)).numpy()
        wide = prepared(module).double()(torch.tensor(x, dtype=torch.float64)).numpy()
    assert len(np.unique(eager)) > 2
    assert np.array_equal(meaning(path, x), wide)
    assert np.mean(wide != eager) < 0.01  # float32 rounds otherwise, so a few levels may differ
    if bit_for_bit:
        assert np.array_equal(execute(path, x), eager)
        assert np.array_equal(wide, eager)
    return path


def check_method(make, folder, *, constants=lambda module: None):
    """Export and lower a method's network twice: with constants that float32 adds exactly, and with any.

    Parameters
    ----------
    make : callable () -> module
    constants : callable (module)
        Sets what the method learns besides weights to numbers of few bits.
    """
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    module, x = make(), inputs(rng, 100)
    set_dyadic_weights(module, rng)
    set_norms(module, rng, dyadic=True)
    constants(module)
    check_file(module, x, folder, bit_for_bit=True)
    module, x = make(), inputs(rng, 1000)
    set_norms(module, rng)
    check_lowering(check_file(module, x, folder, bit_for_bit=False), x)


def check_lowering(path, x, *, exactly=2):
    """The lowered integers mean what the file means: all samples in float64, those that differ and the first in rationals."""
    network = lower(path)
    found = reals(network, x)
    wanted = meaning(path, x)
    differing = np.flatnonzero((found.astype(np.float64) != wanted).reshape(len(x), -1).any(axis=1))
    assert len(differing) < 20, f"{len(differing)} of {len(x)} samples differ from float64"
    chosen = np.union1d(differing, np.arange(exactly))
    assert np.array_equal(found[chosen], meaning(path, x[chosen], rational=True))
    return network

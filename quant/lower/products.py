"""Matrix products: MatMul and Gemm with constant weights.

The input's scales and offsets are absorbed exactly: scales into the weights' grid, offsets into the output's offset.
The product itself is made when its first reader is known, which may want some channels negated (`Carrier`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from intir import MatMul
from intir.types import IntType

from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, Ints, Param, filled, objects, rational_gcd
from .grid import columns, magnitudes
from .joins import added
from .layout import arranged, trimmed
from .node import OnnxNode, lowers
from .realise import channels_of, integers_of, on_grid
from .tensors import Act, Carrier, Const, Shape, spread, straight


@lowers("MatMul")
def _matmul(ctx: Context, node: OnnxNode) -> Act:
    if node.joins:
        raise LoweringError("it multiplies two computed tensors, which the IR does not do; only constant weights are supported")
    if isinstance(node.inputs[0], Const):  # W @ x is the product with x's first axis as channels
        return _from_left(ctx, node)
    act, weights = node.act(), node.const(1, "weights")
    if len(weights.shape) > 2 and all(size == 1 for size in weights.shape[:-2]):
        weights = weights.moved(lambda values: values.reshape(values.shape[-2:]))
    if len(weights.shape) == 1:
        product = dense(ctx, node, act, weights.moved(lambda values: values[:, None]))
        return product.moved(lambda values: values[..., 0])
    return dense(ctx, node, act, weights)


def _from_left(ctx: Context, node: OnnxNode) -> Act:
    weights, act = node.const(0, "weights"), node.act(1)
    if len(weights.shape) != 2 or len(act.shape) != 3:
        raise LoweringError(f"it multiplies weights of shape {weights.shape} from the left with a tensor of shape {act.shape}; "
                            "only two-dimensional weights and (1, K, T) tensors are supported there")
    swapped = act.moved(lambda values: values.swapaxes(1, 2))
    product = dense(ctx, node, swapped, weights.moved(lambda values: values.T))
    return product.moved(lambda values: values.swapaxes(1, 2))


@lowers("Gemm")
def _gemm(ctx: Context, node: OnnxNode) -> Act:
    act, weights = node.act(), node.const(1, "weights")
    if node.flag("transA"):
        raise LoweringError("it transposes its input (transA = 1), which mixes the batch; export it with transA = 0")
    if len(weights.shape) != 2 or len(act.shape) != 2:
        raise LoweringError(f"it has an input of shape {act.shape} and weights of shape {weights.shape}; both must be matrices")
    if node.flag("transB"):
        weights = weights.moved(lambda values: values.T)
    product = dense(ctx, node, act, weights)
    alpha, beta = (Const.plain(np.array(np.float32(node.attribute(name, 1.0)))).scalar(name) for name in ("alpha", "beta"))
    if alpha != 1:
        product = product.linear(filled(alpha, 2), filled(ZERO, 2))
    bias = node.optional(2, "bias")
    if bias is None:
        return product
    return biased(product, Const(bias.base, objects(bias.scale * beta), objects(bias.offset * beta)), 1)


def biased(act: Act, bias: Const, axis: int) -> Act:
    """The activation plus one constant per channel along `axis`."""
    values = bias.param()
    channels = act.shape[axis]
    if values.size not in (1, channels):
        raise LoweringError(f"its bias has shape {bias.shape}, but there are {channels} channels; give one number per channel")
    shape = [values.size if i == axis else 1 for i in range(len(act.shape))]
    return act.linear(filled(ONE, len(act.shape)), objects(values.reshape(-1), tuple(shape)))


def dense(ctx: Context, node: OnnxNode, act: Act, weights: Const) -> Act:
    """``act @ weights`` over the last axis; weights (K, N)."""
    depth = weights.shape[0]
    if act.shape[-1] != depth or len(act.shape) < 2:
        raise LoweringError(f"a tensor of shape {act.shape} and weights of shape {weights.shape} do not fit; "
                            "export the network again")
    act = integers_of(ctx, act)
    return by_magnitude(ctx, node.name, weights, lambda part: _product(ctx, node.name, act, part))


def _product(ctx: Context, name: str, act: Act, weights: Const) -> Act:
    depth = weights.shape[0]
    act, weights = _lined_up(ctx, act, weights)
    _last(act.scale, act)
    act, integers, units = weighed(ctx, act, weights, lambda one: one.reshape(-1, 1))
    summand = absorbed_offset(weights, objects(_last(act.offset, act).reshape(-1, 1)))
    assert isinstance(act.carrier, Carrier)
    carrier = act.carrier
    trail = (*act.trail, name)
    form = f"MatMul {depth} x {integers.shape[1]}, weights {IntType.of(integers)}"

    def make(mask: NDArray[np.bool_] | None) -> str:
        return ctx.emit(MatMul(signed(integers, mask)), [carrier.name()], trail, form)

    shape = (*carrier.shape[:-1], integers.shape[1])
    return product_of(shape, make, straight(shape), units, summand)


def by_magnitude(ctx: Context, name: str, weights: Const, product: Callable[[Const], Act]) -> Act:
    """The product with weights (K, N) on a common grid; or, where they have none but few different magnitudes (TTQ), the
    sum of one product per magnitude."""
    try:
        return product(weights)
    except LoweringError:
        parts = magnitudes(weights)
        if parts is None:
            raise
    total = product(parts[0])
    for part in parts[1:]:
        total = added(ctx, name, total, product(part), 1)
    return total


def weighed(ctx: Context, act: Act, weights: Const, rows_of: Callable[[Param], Param]) -> tuple[Act, Ints, Param]:
    """Weights as integers, with the input's scales inside.

    Where the input's channels have scales without a small common unit, the weights would need many bits: then the
    input is brought to one unit first (ScaleChannels).

    Parameters
    ----------
    weights : Const (K, N)
    rows_of : callable
        Turns a vector over the input's channels (or of length 1) into a param (K or 1, N or 1) over the weights.

    Returns
    -------
    (activation to multiply, int64 (K, N), units (N,))
    """
    act, (scale,) = channels_of(ctx, act, act.scale)
    try:
        return act, *columns(weights, rows_of(_shrunk(scale)))
    except LoweringError:
        columns(weights, filled(ONE, 2))  # float weights are at fault: this raises
        if all(one == scale[0] for one in scale):
            raise
    act, (scale, offset) = channels_of(ctx, act, act.scale, act.offset)
    unit = rational_gcd([*scale, *offset]) or ONE
    act = on_grid(ctx, act, objects([unit] * len(scale)), objects([ZERO] * len(scale)), "so that all channels have one unit")
    return act, *columns(weights, filled(unit, 2))


def absorbed_offset(weights: Const, offsets: Param) -> Param:
    """``sum over k of offsets[k, n] * weights[k, n]``, (N,) or (1,): what the inputs' offsets add to each output."""
    if not any(offset != 0 for offset in offsets.ravel()):
        return filled(ZERO, 1)
    exact = weights.exact()
    if offsets.shape[0] == 1:
        return objects(offsets.reshape(-1) * exact.sum(axis=0), (exact.shape[1],))
    return objects((exact * offsets).sum(axis=0), (exact.shape[1],))


def product_of(shape: Shape, make: Callable[[NDArray[np.bool_] | None], str], where: Ints, units: Param, summand: Param) -> Act:
    """The activation of a product that is still to be made; units and summand per channel of its IR shape."""
    channels = shape[-1]
    return Act(Carrier(shape, make, can_negate=True), where, spread(_shrunk(units), where, channels),
               spread(_shrunk(summand), where, channels))


def signed(integers: Ints, mask: NDArray[np.bool_] | None) -> Ints:
    """Weights (..., N) with the masked outputs negated."""
    return integers if mask is None else integers * np.where(mask, -1, 1)


def _lined_up(ctx: Context, act: Act, weights: Const) -> tuple[Act, Const]:
    """Activation and weights in the same order of inputs.

    A flattened (C, H, W) tensor lies as (H, W, C) in the IR: the rows of the weights are permuted, no value moves.

    Returns
    -------
    (activation over an IR value whose last axis is K, weights)
    """
    act = trimmed(ctx, act)
    assert isinstance(act.carrier, Carrier)
    size = int(np.prod(act.carrier.shape))
    if len(act.shape) == 2 and act.where.size == size and not np.array_equal(act.where.ravel(), np.arange(size)):
        order = np.argsort(act.where.ravel(), kind="stable")
        if np.array_equal(act.where.ravel()[order], np.arange(size)):
            weights = weights.moved(lambda values: values[order])
            act = act.moved(lambda values: values[:, order])
    return arranged(ctx, act, act.shape[1:], straight(act.shape[1:])), weights


def _last(param: Param, act: Act) -> Param:
    if any(size != 1 for size in param.shape[:-1]):
        raise LoweringError("its input has another scale or offset at each position, which a product over the last axis "
                            "can't absorb; use one per tensor")
    return param.reshape(-1)


def _shrunk(values: Param) -> Param:
    return values[:1] if all(value == values[0] for value in values) else values

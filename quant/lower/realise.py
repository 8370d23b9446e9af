"""Making a chain of real functions part of the integers, where an operator needs integers and no quantizer closed it.

Linear functions only change scale and offset.  Clips and leaky slopes need an integer for their corner: the channel is
brought to the greatest grid that holds it (ScaleChannels), exactly, so widths can grow; a quantizer in between is
always cheaper.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from intir import Add, ScaleChannels
from intir import Clip as IrClip
from intir.types import MAX_BITS

from .chain import Clip, Leaky, Linear, Normalised
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, Param, collapse, objects, rational_gcd
from .inputs import canonical
from .layout import MAX_ELEMENTS, element_wise, in_own_layout, own_shape
from .oneint import is_joined, made_apart
from .rounding import is_rounded, rounded
from .tensors import Act, Carrier, fresh, per_channel, spread, straight


def integers_of(ctx: Context, act: Act, *, even: bool = True) -> Act:
    """A settled activation without a chain: ``real = integers * scale + offset``.

    Scale and offset are the same for all values of a channel, unless `even` is False.
    """
    while is_joined(act):
        act = made_apart(act)
    while is_rounded(act):
        act = rounded(ctx, act)
    act = ctx.settled(act)
    chain, act = act.chain, replace(act, chain=())
    for function in chain:
        if isinstance(function, Linear):
            act = act.linear(*function.params)
            continue
        act = evened(ctx, act)
        if isinstance(function, Clip):
            low, high = function.params
            act = _clipped(ctx, _clipped(ctx, act, low, rising=True), high, rising=False)
        elif isinstance(function, Leaky):
            act = _leaky(ctx, act, function.params[0])
        elif isinstance(function, Normalised):
            raise LoweringError("a Softmax is computed, which the IR does not do; remove it, or end with ArgMax (option argmax)")
        else:
            raise LoweringError("it reads values that no quantizer brought back to integers (behind "
                                f"{', '.join(act.trail)}); put a Quant in between")
    return _without_zero_scales(ctx, evened(ctx, act) if even else act)


def own_integers(ctx: Context, act: Act) -> Act:
    """`integers_of` in the IR's own layout, where each channel has one scale and one offset."""
    act = in_own_layout(ctx, integers_of(ctx, act))
    return in_own_layout(ctx, evened(ctx, act))


def evened(ctx: Context, act: Act) -> Act:
    """Where scale or offset vary inside a channel, each element is scaled on its own, to a unit that the channel shares."""
    size, shape = act.where.size, own_shape(ctx, act)
    if size != int(np.prod(act.carrier.shape)) or np.unique(act.where).size != size or \
            any(all(per_channel(param, where, form) is not None for param in (act.scale, act.offset))
                for where, form in ((act.where, act.carrier.shape), (canonical(act.shape, ctx.channels_first), shape))):
        return act
    axis = len(act.shape) - 1 if shape == act.shape[1:] else 1
    if act.where.size > MAX_ELEMENTS:
        raise LoweringError(f"it reads {act.where.size} values whose scale or offset varies inside a channel, and at most "
                            f"{MAX_ELEMENTS} can be scaled one by one; put a Quant with one scale before it")
    scale, offset = (np.broadcast_to(param, act.shape) for param in (act.scale, act.offset))
    units, bases = np.empty(act.shape[axis], object), np.empty(act.shape[axis], object)
    for c in range(act.shape[axis]):
        mine, summands = (param.take(c, axis=axis).ravel() for param in (scale, offset))
        bases[c] = summands[0]
        units[c] = rational_gcd([*mine, *(one - bases[c] for one in summands)]) or ONE
    along = tuple(-1 if i == axis else 1 for i in range(len(act.shape)))
    unit, base = (np.broadcast_to(one.reshape(along), act.shape) for one in (units, bases))
    act = element_wise(ctx, act)
    assert isinstance(act.carrier, Carrier)
    order = np.argsort(act.where.ravel())
    vectors = [objects(one.ravel()[order]) for one in (scale, offset, unit, base)]
    single = fresh(act.carrier.name(), act.carrier.shape, straight(act.carrier.shape), vectors[0].reshape(1, -1),
                   vectors[1].reshape(1, -1), act.trail)
    single = on_grid(ctx, single, vectors[2], vectors[3], "to one unit for all values of a channel")
    return replace(act, carrier=single.carrier, scale=collapse(units.reshape(along)), offset=collapse(bases.reshape(along)))


def _without_zero_scales(ctx: Context, act: Act) -> Act:
    """Channels that were multiplied by 0 get integers of 0, so that every scale has a reciprocal."""
    if all(one != 0 for one in act.scale.ravel()):
        return act
    act, (scale,) = channels_of(ctx, act, act.scale)
    assert isinstance(act.carrier, Carrier)
    factors = np.array([int(one != 0) for one in scale], np.int64)
    name = ctx.emit(ScaleChannels(factors, np.zeros(1, np.int64)), [act.carrier.name()], (*act.trail, ctx.node),
                    "ScaleChannels, channels that are multiplied by 0")
    kept = objects([one or Fraction(1) for one in scale])
    return replace(act, carrier=Carrier.made(name, act.carrier.shape), scale=spread(kept, act.where, len(kept)))


def channels_of(ctx: Context, act: Act, *params: Param) -> tuple[Act, list[Param]]:
    """A settled activation in a layout in which the params are constant per channel, and their vectors of length C."""
    for layout in (None, in_own_layout):
        tried = layout(ctx, act) if layout else act
        assert isinstance(tried.carrier, Carrier)
        channels = tried.carrier.shape[-1]
        vectors = [per_channel(param, tried.where, tried.carrier.shape) for param in params]
        if all(vector is not None for vector in vectors):
            return tried, [np.broadcast_to(vector, (channels,)) for vector in vectors if vector is not None]
    raise LoweringError("it reads values whose scale varies inside a channel; use one scale per channel")


def on_grid(ctx: Context, act: Act, units: Param, bases: Param, why: str) -> Act:
    """The activation as ``real = integers * unit + base`` per channel of its carrier.

    Parameters
    ----------
    units, bases : object arrays (C,) of Fraction
        Scale and offset - base must be integer multiples of the unit.
    why : str
        For the report.

    Raises
    ------
    LoweringError
        If an integer needs more than 62 bits.
    """
    assert isinstance(act.carrier, Carrier)
    act, (scale, offset) = channels_of(ctx, act, act.scale, act.offset)
    assert isinstance(act.carrier, Carrier)
    name, where, channels = act.carrier.name(), act.where, act.carrier.shape[-1]
    factors = [int(s / u) for s, u in zip(scale, units, strict=True)]
    summands = [int((o - b) / u) for o, b, u in zip(offset, bases, units, strict=True)]
    if any(one != 1 for one in factors) or any(summands):
        worst = max(abs(one) for one in factors) * max(1, ctx.range(name).magnitude) + max(abs(one) for one in summands)
        if worst >= 2**MAX_BITS:
            raise LoweringError(f"its input must be brought to another grid ({why}), on which integers need {worst.bit_length()} "
                                f"bits and "
                                f"the limit is {MAX_BITS}; use equal scales, or put a Quant before it")
        factors, summands = (values if len(set(values)) > 1 else values[:1] for values in (factors, summands))
        name = ctx.emit(ScaleChannels(np.array(factors, np.int64), np.array(summands, np.int64)), [name], (*act.trail, ctx.node),
                        f"ScaleChannels, {why}")
    return replace(act, carrier=Carrier.made(name, act.carrier.shape), scale=spread(objects(units), where, channels),
                   offset=spread(objects(bases), where, channels))


def zero_based(ctx: Context, act: Act, at: Param | None = None, why: str = "so that integer 0 means 0") -> Act:
    """The activation without an offset, so that integer 0 stands for real 0 (or for the param `at`)."""
    act = integers_of(ctx, act)
    base = at if at is not None else objects(act.offset * 0)
    if not np.any(act.offset - base != 0):
        return act
    act, (scale, offset, bases) = channels_of(ctx, act, act.scale, act.offset, base)
    units = objects([rational_gcd([s, o - b]) or Fraction(1) for s, o, b in zip(scale, offset, bases, strict=True)])
    return on_grid(ctx, act, units, bases, why)


def _clipped(ctx: Context, act: Act, bound: Param, rising: bool) -> Act:
    """max(x, bound) if rising, else min; elements of `bound` that are None do nothing."""
    if all(one is None for one in bound.ravel()):
        return act
    if any(one is None for one in bound.ravel()):
        raise LoweringError("it clips some channels only, which is supported in front of a quantizer alone; put a Quant behind it")
    act, (scale, offset, at) = channels_of(ctx, act, act.scale, act.offset, bound)
    units = objects([rational_gcd([s, o - b]) or Fraction(1) for s, o, b in zip(scale, offset, at, strict=True)])
    act = on_grid(ctx, act, units, objects(at), "so that a clip's bound is an integer")
    assert isinstance(act.carrier, Carrier)
    reach = ctx.range(act.carrier.name())
    lo, hi = min(int(reach.lo.min()), 0), max(int(reach.hi.max()), 0)
    name = ctx.emit(IrClip(0, hi) if rising else IrClip(lo, 0), [act.carrier.name()], (*act.trail, ctx.node), "Clip")
    return replace(act, carrier=Carrier.made(name, act.carrier.shape))


def _leaky(ctx: Context, act: Act, slope: Param) -> Act:
    """``max(x, 0) + slope * min(x, 0)`` on a grid that holds both."""
    act = zero_based(ctx, act)
    act, (scale, slopes) = channels_of(ctx, act, act.scale, slope)
    act = on_grid(ctx, act, objects([abs(one) for one in scale]), objects([ZERO] * len(scale)), "so that scales are positive")
    assert isinstance(act.carrier, Carrier)
    name, trail = act.carrier.name(), (*act.trail, ctx.node)
    reach = ctx.range(name)
    lo, hi = min(int(reach.lo.min()), 0), max(int(reach.hi.max()), 0)
    parts = [ctx.emit(IrClip(0, hi), [name], trail, "Clip"), ctx.emit(IrClip(lo, 0), [name], trail, "Clip")]
    factors = [[one.denominator for one in slopes], [one.numerator for one in slopes]]
    scaled = [ctx.emit(ScaleChannels(np.array(factor, np.int64), np.zeros(1, np.int64)), [part], trail, "ScaleChannels, leaky "
                                                                                                        "slope")
              for part, factor in zip(parts, factors, strict=True)]
    total = ctx.emit(Add(), scaled, trail, "Add, leaky slope")
    units = objects([abs(s) / one.denominator for s, one in zip(scale, slopes, strict=True)])
    return replace(act, carrier=Carrier.made(total, act.carrier.shape), scale=spread(units, act.where, len(units)))

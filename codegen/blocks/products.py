"""The products of one processing element, registered.  Which arithmetic, and why: `hwsim.engines.products.Products`."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, unsigned

from hwsim.engines.products import Products
from intir import BIPOLAR, IntType

from ..platform import VerilogPlatform
from .numbers import balanced_sum, lanes, number, shape_of
from .popcount import Popcount, module_name


def product(m: Module, platform: object, advance: Value, p: Products, counter_type: IntType, n: int, x: Value, w: Value) -> Signal:
    """Add the products of processing element n to a module.

    Parameters
    ----------
    advance : Value
        When the register loads.
    counter_type : IntType
        The accumulator's: no more bits than it has are needed.
    x, w : Value
        Words of ``p.lanes`` elements and weights.

    Returns
    -------
    Signal
        The sum of products, less what the accumulator starts with; a cycle after x and w.
    """
    shape = shape_of(counter_type)
    if p.arithmetic == "xnor":
        result, shape = _count(m, platform, p, f"popcount{n}", x, w), unsigned(p.popcount.out_bits)
    elif p.arithmetic == "planes":
        result = _planes(m, platform, p, n, x, w)
        if result.shape().width < shape.width:  # never negative: the rest is in the start
            shape = result.shape()
    elif p.arithmetic == "distance":
        result = _distance(m, platform, p, n, x, w)
    else:
        result = balanced_sum([number(a, p.x_type) * number(b, p.w_type)
                               for a, b in zip(lanes(x, p.x_type), lanes(w, p.w_type), strict=True)])
    register = Signal(shape, name=f"product{n}", reset_less=True)
    with m.If(advance):
        m.d.sync += register.eq(result)
    return register


def _planes(m: Module, platform: object, p: Products, n: int, x: Value, w: Value) -> Value:
    """Agreements per bit of x, weighted and added."""
    elements, weights = (_cut(word, kind.bits) for word, kind in ((x, p.x_type), (w, p.w_type)))
    counts = []
    for bit in range(p.x_type.bits):
        plane = [element[bit] for element in elements]
        if p.x_type.signed and bit == p.x_type.bits - 1:
            plane = [~one for one in plane]  # two's complement, moved up by half its range, is unsigned
        if p.w_type == BIPOLAR:
            counts.append(_count(m, platform, p, f"popcount{n}_{bit}", Cat(plane), w))
        else:
            # {0, 1}: one bit.  Ternary: 0 is 00, +1 is 01, -1 is 11.
            agree = [weight[0] & ~(one ^ ~weight[1]) if p.w_type.signed else weight[0] & one
                     for one, weight in zip(plane, weights, strict=True)]
            counts.append(_count(m, platform, p, f"popcount{n}_{bit}", Cat(agree), None))
    width = 1
    while len(counts) > 1:
        pairs = [_shifted_sum(low, high, width) for low, high in zip(counts[::2], counts[1::2], strict=False)]
        counts, width = pairs + ([counts[-1]] if len(counts) % 2 else []), 2 * width
    return counts[0] * p.x_type.step if p.x_type.step > 1 else counts[0]


def _shifted_sum(low: Value, high: Value, shift: int) -> Value:
    """``low + (high << shift)`` of unsigned values; the lowest bits pass beside the adder."""
    return Cat(low[:shift], low[shift:] + high) if len(low) > shift else Cat(low, Const(0, shift - len(low)), high)


def _distance(m: Module, platform: object, p: Products, n: int, x: Value, w: Value) -> Value:
    """``-|d|`` is d where d is negative, else ``~d + 1``: the ones are counted apart."""
    terms, positive = [], []
    for a, b in zip(lanes(x, p.x_type), lanes(w, p.w_type), strict=True):
        difference = number(a, p.x_type) - number(b, p.w_type)
        above = ~difference[-1]
        positive.append(above)
        terms.append(Cat(bit ^ above for bit in difference).as_signed())
    return balanced_sum(terms) + _count(m, platform, p, f"popcount{n}", Cat(positive), None)


def _count(m: Module, platform: object, p: Products, name: str, x: Value, w: Value | None) -> Value:
    result = Signal(p.popcount.out_bits, name=f"{name}_count")
    operands = {"x": x} | ({} if w is None else {"w": w})
    if isinstance(platform, VerilogPlatform):
        m.submodules[name] = platform.block(module_name(p.popcount), lambda: Popcount(p.popcount), **operands, count=result)
    else:
        m.submodules[name] = tree = Popcount(p.popcount)
        m.d.comb += [getattr(tree, port).eq(value) for port, value in operands.items()] + [result.eq(tree.count)]
    return result


def _cut(word: Value, bits: int) -> list[Value]:
    return [word[at:at + bits] for at in range(0, len(word), bits)]

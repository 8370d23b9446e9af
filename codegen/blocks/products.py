"""The products of one processing element, registered.  Which arithmetic, and why: `hwsim.engines.products.Products`."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, unsigned

from hwsim.engines.popcount import PopcountTree
from hwsim.engines.products import Products
from intir import IntType

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
        result, shape = _count(m, platform, p.popcount(), f"popcount{n}", x, w), unsigned(p.popcount().out_bits)
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
    """Agreements per power of two, weighted and added."""
    elements, weights = (_cut(word, kind.bits) for word, kind in ((x, p.x_type), (w, p.w_type)))
    top_bit, top_digit = (kind.bits - 1 if kind.signed else None for kind in (p.x_type, p.w_type))
    counts = []
    for power, members in enumerate(p.planes):
        agree: list[Value] = []
        digits: list[Value] = []
        for bit, digit in members:
            for element, weight in zip(elements, weights, strict=True):
                one = ~element[bit] if bit == top_bit else element[bit]  # two's complement moved up by half its range
                if p.pairs is None:  # ternary: 0 is 00, +1 is 01, -1 is 11
                    agree.append(weight[0] & (one ^ weight[1]))
                else:
                    agree.append(~one if digit == top_digit else one)  # which counts -1
                    digits.append(weight[digit])
        counts.append(_count(m, platform, p.popcount(len(members)), f"popcount{n}_{power}", Cat(agree), Cat(digits)))
    width = 1
    while len(counts) > 1:
        pairs = [_shifted_sum(low, high, width) for low, high in zip(counts[::2], counts[1::2], strict=False)]
        counts, width = pairs + ([counts[-1]] if len(counts) % 2 else []), 2 * width
    return counts[0] * p.scale if p.scale > 1 else counts[0]


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
    return balanced_sum(terms) + _count(m, platform, p.popcount(), f"popcount{n}", Cat(positive))


def _count(m: Module, platform: object, tree: PopcountTree, name: str, x: Value, w: Value | None = None) -> Value:
    result = Signal(tree.out_bits, name=f"{name}_count")
    operands = {"x": x} | ({"w": w} if tree.pairs and w is not None else {})
    if isinstance(platform, VerilogPlatform):
        m.submodules[name] = platform.block(module_name(tree), lambda: Popcount(tree), **operands, count=result)
    else:
        m.submodules[name] = block = Popcount(tree)
        m.d.comb += [getattr(block, port).eq(value) for port, value in operands.items()] + [result.eq(block.count)]
    return result


def _cut(word: Value, bits: int) -> list[Value]:
    return [word[at:at + bits] for at in range(0, len(word), bits)]

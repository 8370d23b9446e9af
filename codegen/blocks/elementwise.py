"""Element-wise blocks: `scale`, `clip` and `lookup`, and the frame they share with `requant`.

Parameters, schedules and latencies: `hwsim.engines.elementwise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Value
from numpy.typing import NDArray

from hwsim.engines.elementwise import Clip, Elementwise, Lookup, Scale

from .constants import Column, Image, channel_constants, channel_images, rom
from .numbers import encoded, lanes, number
from .sequencer import register, sequencer, wrapping
from .stream_block import StreamBlock

Int64 = NDArray[np.int64]
AnyElementwise = TypeVar("AnyElementwise", bound=Elementwise)


class ElementwiseBlock(StreamBlock[AnyElementwise], Generic[AnyElementwise]):
    """A block that works on each element by itself.

    Members
    -------
    i, o : streams of pe elements
    """

    #: What the channels' constants are called, in the order of the engine's `constants`.
    names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: AnyElementwise, columns: Sequence[Int64], stem: str) -> None:
        super().__init__(params)
        self.columns, self.stem = columns, stem

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        control = sequencer(m, self.i, self.o, latency=p.schedule.latency_cycles)
        x: Value = self.i.payload
        if p.from_memory:
            fold = wrapping(m, control.fires, p.folds, "fold")
            constants = channel_constants(m, self.stem, self._named, p.pe, fold, control.advance, self.loads)
            x = register(m, control.advance, x, "word")
        else:
            constants = [[Const(int(column[n % len(column)])) for n in range(p.pe)] for column in self.columns]
        values = [self.lane(m, control.advance, n, number(element, p.x_type), [column[n] for column in constants])
                  for n, element in enumerate(lanes(x, p.x_type))]
        results = [encoded(value, p.out_type) for value in values]
        m.d.comb += self.o.payload.eq(register(m, control.advance, Cat(results), "result"))
        return m

    @property
    def _named(self) -> list[Column]:
        return list(zip(self.names, self.columns, self.params.constants, strict=True))

    @property
    def images(self) -> list[Image]:
        return channel_images(self._named, self.params.pe) if self.params.from_memory else []

    def lane(self, m: Module, advance: Value, n: int, x: Value, constants: list[Value]) -> Value:
        """The result of lane n before its last register; the lane brings all registers but that one."""
        raise NotImplementedError


class ClipBlock(ElementwiseBlock[Clip]):
    """``y = min(max(x, lo), hi)``.

    Parameters
    ----------
    params : Clip
    """

    def __init__(self, params: Clip) -> None:
        super().__init__(params, (), "")

    def lane(self, m: Module, advance: Value, n: int, x: Value, constants: list[Value]) -> Value:
        p = self.params
        return clamped(x, p.x_type.lo, p.x_type.hi, p.lo, p.hi)


class ScaleBlock(ElementwiseBlock[Scale]):
    """``y = x * multiplier[c] + offset[c]``.

    Parameters
    ----------
    params : Scale
    multiplier, offset : int64 (channels,), or (1,) for all alike
    stem : str
        Prefix of its memory files.
    """

    names = ("multiplier", "offset")

    def __init__(self, params: Scale, multiplier: Int64, offset: Int64, stem: str) -> None:
        super().__init__(params, (multiplier, offset), stem)

    def lane(self, m: Module, advance: Value, n: int, x: Value, constants: list[Value]) -> Value:
        multiplier, offset = constants
        product = register(m, advance, x * multiplier, f"product{n}")
        return product + (register(m, advance, offset, f"offset{n}") if self.params.from_memory else offset)


class LookupBlock(StreamBlock[Lookup]):
    """``y = table[c, level of x]``.

    Parameters
    ----------
    params : Lookup
    table : int64 (channels, levels of x), or (1, levels) where common
    stem : str
        Prefix of its memory files.

    Members
    -------
    i, o : streams of pe elements
    """

    def __init__(self, params: Lookup, table: Int64, stem: str) -> None:
        super().__init__(params)
        self.table, self.stem = table, stem

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        control = sequencer(m, self.i, self.o, latency=1)
        # The code of x is the address, so that nothing is computed; codes that x never has read 0.
        codes = p.x_type.encode(p.x_type.lo + p.x_type.step * np.arange(p.x_type.levels))
        words = np.zeros((len(self.table), 1 << p.x_type.bits), np.int64)
        words[:, codes] = p.out_type.encode(self.table)
        fold = Const(0, 0) if p.common else wrapping(m, control.fires, p.folds, "fold")
        results = []
        for n in range(p.pe):
            x = self.i.payload[n * p.x_type.bits:(n + 1) * p.x_type.bits]
            what, rows = ("table", words) if p.common else (f"table{n}", words[n::p.pe])
            inner = Module()  # lanes with a common table read the same file
            results.append(rom(inner, what, self.stem, rows.ravel().tolist(), p.out_type.bits, Cat(x, fold), control.advance))
            m.submodules[f"lane{n}"] = inner
        m.d.comb += self.o.payload.eq(Cat(results))
        return m


def clamped(value: Value, least: int, greatest: int, lo: int, hi: int) -> Value:
    """`value`, known to lie in [least, greatest], moved into [lo, hi]."""
    if greatest > hi:
        value = Mux(value > hi, Const(hi), value)
    if least < lo:
        value = Mux(value < lo, Const(lo), value)
    return value

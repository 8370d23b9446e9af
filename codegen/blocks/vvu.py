"""`vvu`: the depthwise unit.  Parameters, schedule and latency: `hwsim.engines.vvu.Vvu`."""

from __future__ import annotations

from amaranth.hdl import Cat, Value

from .mvu import MvuBlock


class VvuBlock(MvuBlock):
    """The depthwise unit of a layer: as `MvuBlock`, with parameters of the class `Vvu`.

    Parameters
    ----------
    params : Vvu
    weights : int64 (taps, channels)
    thresholds : int64 (channels, T) or None
        In the unit of ``params.counter_type``.
    stem : str
        Prefix of its memory files.

    Members
    -------
    i : stream of simd * pe elements: (tap, channel)
    o : stream of pe elements
    """

    def _inputs(self, x: Value) -> list[Value]:
        p = self.params
        elements = self._split(x, p.x_type.bits)
        return [Cat(elements[n::p.pe]) for n in range(p.pe)]

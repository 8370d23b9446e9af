"""`vvu`: the depthwise unit.  Parameters, schedule and latency: `hwsim.engines.vvu.Vvu`."""

from __future__ import annotations

from amaranth.hdl import Value

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
    i, o : streams of pe elements
    """

    def _inputs(self, x: Value) -> list[Value]:
        return self._split(x, self.params.x_type.bits)

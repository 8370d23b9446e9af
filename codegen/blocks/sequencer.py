"""The control that every streaming block shares: steps, and a pipeline that advances as one.

This is the hardware of `hwsim.schedule`: the same rule, the same cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream


@dataclass(frozen=True)
class Sequencer:
    """What a block's data path hangs on.

    Parameters
    ----------
    advance : Signal, 1 bit
        All registers of the pipeline load in this cycle.
    fires : Signal, 1 bit
        The current step takes place in this cycle.
    valid : Signal, latency bits
        Bit k: the register that is k before the output's holds a word.
    """

    advance: Signal
    fires: Signal
    valid: Signal


def sequencer(m: Module, i: stream.Interface | Sequence[stream.Interface], o: stream.Interface, *, latency: int,
              needs: Value | int | Sequence[Value | int] = 1, emits: Value | int = 1) -> Sequencer:
    """Add a sequencer to a module.

    Parameters
    ----------
    i, o : stream interfaces
        The block's input, or its inputs, and its output; the block itself drives ``o.payload``.
    latency : int
        Registers from a step to the output.
    needs, emits : 1-bit values
        Whether the current step takes a word (one value per input), and whether it completes an output word.
    """
    inputs: list[stream.Interface] = list(i) if isinstance(i, (list, tuple)) else [i]
    each = list(needs) if isinstance(needs, (list, tuple)) else [needs] * len(inputs)
    wanted = [Value.cast(one)[0] for one in each]
    advance, fires, valid = Signal(), Signal(), Signal(latency)
    there = [port.valid | ~need for port, need in zip(inputs, wanted, strict=True)]
    m.d.comb += [advance.eq(~o.valid | o.ready), fires.eq(Cat(advance, *there).all()), o.valid.eq(valid[0])]
    for n, (port, need) in enumerate(zip(inputs, wanted, strict=True)):
        # Words of several streams are taken together, so each waits for the others.
        m.d.comb += port.ready.eq(Cat(advance, need, *there[:n], *there[n + 1:]).all())
    with m.If(advance):
        m.d.sync += valid.eq(Cat(valid, fires & emits)[1:])
    return Sequencer(advance, fires, valid)


def wrapping(m: Module, enable: Value, count: int, name: str) -> Signal:
    """A counter 0, 1, ..., count - 1, 0, ... that steps when `enable` is high."""
    counter = Signal(range(count), name=name)
    with m.If(enable):
        m.d.sync += counter.eq(0 if count == 1 else counter + 1)
        if count > 1 and count & (count - 1):
            with m.If(counter == count - 1):
                m.d.sync += counter.eq(0)
    return counter


def register(m: Module, enable: Value, value: Value, name: str) -> Signal:
    """A register of the data path; it is not reset."""
    held = Signal(Value.cast(value).shape(), name=name, reset_less=True)
    with m.If(enable):
        m.d.sync += held.eq(value)
    return held

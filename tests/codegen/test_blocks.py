"""Every small block in Amaranth's simulator: the bits of numpy, the cycles of hwsim, with stalls at both ports."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.blocks.argmax import ArgmaxBlock
from codegen.blocks.fifo import FifoBlock
from codegen.blocks.thresholding import ThresholdingBlock
from codegen.blocks.width import WidthBlock
from hwsim.dataflow import ALWAYS
from hwsim.engines.argmax import Argmax
from hwsim.engines.fifo import StreamFifo
from hwsim.engines.thresholding import Thresholding
from hwsim.engines.width import Width
from intir import BIPOLAR, TERNARY, IntType, signed, unsigned
from tests.codegen.harness import Driver, check, packed
from tests.networks import draw

FRAMES = 6


@pytest.mark.parametrize("kind", [unsigned(4), signed(5), BIPOLAR, IntType(-3, 3, 2), IntType(-200, -190), IntType(0, 0)], ids=str)
@pytest.mark.parametrize(("channels", "pe"), [(1, 1), (6, 1), (6, 2), (6, 3), (6, 6), (10, 5)])
def test_argmax(channels: int, pe: int, kind: IntType) -> None:
    """Few levels, so that most frames have ties, within a word and between words: the first of equals wins."""
    rng = np.random.default_rng(channels + pe)
    x = rng.integers(0, min(kind.levels, 3), (4 * FRAMES, channels)) * kind.step + kind.lo
    x[::2] = rng.integers(0, kind.levels, (2 * FRAMES, channels)) * kind.step + kind.lo
    engine = Argmax(channels, pe, kind, IntType(0, channels - 1))
    check(ArgmaxBlock(engine), engine, x, x.argmax(axis=1))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8, 17])
def test_fifo(depth: int) -> None:
    engine = StreamFifo(3, unsigned(5), depth)
    x = draw(unsigned(5), (60, 3), np.random.default_rng(depth))
    check(FifoBlock(engine), engine, x, x, depth)


@pytest.mark.parametrize("kind", [BIPOLAR, signed(3)], ids=str)
@pytest.mark.parametrize(("lanes_in", "lanes_out"), [(1, 2), (2, 6), (3, 15), (4, 32), (2, 1), (6, 2), (15, 3), (32, 4), (12, 4)])
def test_width(lanes_in: int, lanes_out: int, kind: IntType) -> None:
    engine = Width(lanes_in, lanes_out, kind)
    x = draw(kind, (12, max(lanes_in, lanes_out)), np.random.default_rng(lanes_in))
    check(WidthBlock(engine), engine, x, x)


def reached(x: np.ndarray, rows: np.ndarray, out: IntType) -> np.ndarray:
    return out.lo + out.step * (x[..., None] >= rows).sum(axis=-1)


OUT = [BIPOLAR, TERNARY, unsigned(2), IntType(-3, 3, 2), signed(4), IntType(5, 8), IntType(-9, 9, 2), unsigned(8)]


@pytest.mark.parametrize("out", OUT, ids=str)
@pytest.mark.parametrize(("common", "pe", "kind"), [
    (True, 1, signed(6)), (True, 8, unsigned(8)), (False, 8, IntType(-7, 7, 2)), (False, 2, unsigned(8)), (False, 1, signed(6))], ids=str)
def test_thresholding(common: bool, pe: int, kind: IntType, out: IntType) -> None:
    """Thresholds wired in for all channels, wired in per channel, and read from a memory."""
    rng = np.random.default_rng(pe)
    rows = np.sort(rng.integers(kind.lo, kind.hi + 2, (1 if common else 8, out.levels - 1)), axis=1)
    rows[0, 0] = kind.lo  # always reached
    rows[-1, -1] = kind.hi + 1  # never
    engine = Thresholding(8, pe, kind, out, out.levels - 1, common, IntType(kind.lo, kind.hi + 1))
    assert engine.from_memory == (not common and pe < 8)
    x = draw(kind, (FRAMES, 8), rng)
    x[0] = rows.ravel()[np.arange(8) % rows.size].clip(kind.lo, kind.hi) if kind.step == 1 else x[0]
    check(ThresholdingBlock(engine, rows, "t"), engine, x, reached(x, rows, out))


def test_the_harness_sees_wrong_bits_and_wrong_cycles() -> None:
    engine = Width(1, 2, BIPOLAR)
    x = draw(BIPOLAR, (12, 2), np.random.default_rng(0))
    with pytest.raises(AssertionError):
        check(WidthBlock(engine), engine, x, -x)
    late = Width(1, 2, BIPOLAR)
    late.__dict__["schedule"] = type(engine.schedule)(engine.schedule.needs, engine.schedule.emits, 2)
    with pytest.raises(AssertionError):
        check(WidthBlock(engine), late, x, x)


def test_nothing_comes_from_nothing() -> None:
    engine = Width(1, 4, BIPOLAR)
    seen = Driver(WidthBlock(engine)).run(packed(np.array([1, -1, 1]), engine.word_in), 0, ALWAYS, ALWAYS)
    assert seen.in_cycles == [0, 1, 2]
    assert seen.out_words == []

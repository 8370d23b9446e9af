"""The stream blocks under proof: small configurations of each, and what they must give."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.blocks.gemm import GemmBlock
from hwsim.engines.argmax import Argmax
from hwsim.engines.base import Engine
from hwsim.engines.elementwise import Clip, Lookup, Requant, Scale
from hwsim.engines.fifo import StreamFifo
from hwsim.engines.fork import Fork
from hwsim.engines.gemm import Gemm
from hwsim.engines.join import Arithmetic, Concat
from hwsim.engines.linebuffer import LineBuffer
from hwsim.engines.mvu import Mvu
from hwsim.engines.permute import Permute
from hwsim.engines.pool import Pool
from hwsim.engines.thresholding import Thresholding
from hwsim.engines.topk import TopK
from hwsim.engines.unrolled import unrolled
from hwsim.engines.vvu import Vvu
from hwsim.engines.width import Width
from hwsim.engines.window import Window
from intir import BIPOLAR, TERNARY, IntType, signed, unsigned
from tests.codegen.eie_cases import case

from . import specs
from .dut import Dut, component, engine_block
from .streams import Spec, StreamHarness

Int64 = NDArray[np.int64]
S3, U1, U2, U4, U8 = signed(3), unsigned(1), unsigned(2), unsigned(4), unsigned(8)


@dataclass(frozen=True)
class Case:
    """A block, its constants, and what a round gives.

    Parameters
    ----------
    name : str
    engine : Engine
    constants : constants of its block
    spec : Spec, optional
    cycles : int
        How far its data are followed; 0: for all time.
    rule_cycles : int
        How far its streams are; 0: for all time.
    quick : bool
        Its proofs are among those that the tests run.
    """

    name: str
    engine: Engine
    constants: dict[str, Any] = field(default_factory=dict)
    spec: Spec | None = None
    cycles: int = 0
    quick: bool = False
    rule_cycles: int = 0

    @property
    def dut(self) -> Dut:
        """Its Verilog."""
        return engine_block(self.engine, **self.constants)

    def files(self, with_data: bool) -> dict[str, str]:
        """With assertions around it: of its streams, or of its data, too."""
        return StreamHarness(self.dut, self.engine, self.spec if with_data else None).files


def _mvu(name: str, weights: Int64, pe: int, simd: int, x: IntType, w: IntType, rows: Int64 | None = None, out: IntType | None = None,
         cycles: int = 0, quick: bool = False, **options: Any) -> Case:
    """A matrix-vector unit (K, N), as `hwsim.layers` makes it."""
    ends = weights * x.lo, weights * x.hi
    acc = IntType(int(np.minimum(*ends).sum(axis=0).min()), int(np.maximum(*ends).sum(axis=0).max()))
    engine = Mvu(*weights.shape, pe, simd, x, w, acc, 0, acc, out or acc, **options)
    constants = {"weights": weights}
    if rows is not None:
        counted = -((-rows - engine.inputs) // 2) if engine.arithmetic == "xnor" else rows  # in equal bits, not in sums
        kind = engine.counter_type
        counted = counted.clip(kind.lo, kind.hi + 1)
        held = IntType(min(kind.lo, int(counted.min())), max(kind.hi, int(counted.max())))
        engine = replace(engine, thresholds=counted.shape[1], threshold_type=held)
        constants["thresholds"] = counted
    return Case(f"mvu {name}", engine, constants, specs.products(weights, pe, rows, out), cycles, quick)


def _table(rows: Int64, x: IntType) -> Spec:
    def entry(value: str, channel: int) -> str:
        result = "0"
        for n, y in enumerate(rows[channel].tolist()):
            result = f"({value} == ({x.lo + n * x.step}) ? ({y}) : {result})"
        return result
    return specs.elementwise(len(rows), entry)


def _depthwise() -> Case:
    sums, weights = IntType(-6, 6), _SIGNS[:2, :2]
    return Case("vvu 2 taps x 2, u2 x bipolar", Vvu(2, 2, 1, 1, U2, BIPOLAR, sums, 0, sums, sums), {"weights": weights},
                specs.depthwise(weights, 1, 1))


def _window(kind: type[Window] | type[LineBuffer], name: str, pads: tuple[int, int, int, int], cycles: int = 0) -> Case:
    """2 x 2 taps of an image of 2 x 2 pixels."""
    engine = kind.convolution(2, 2, 1, 1, U1, kernel=(2, 2), pads=pads)
    spec = specs.windows(2, 2, (2, 2), (1, 1), pads, 0, kind is LineBuffer)
    return Case(f"{name} 2 x 2, 2 x 2 taps{', padded' if any(pads) else ''}", engine, {}, spec, cycles)


def _unrolled() -> Case:
    acc = IntType(-14, 14)
    return Case("unrolled 2 x 2, u2 x s3", unrolled(_INTEGERS, U2, acc), {}, specs.products(_INTEGERS, 2))


_SIGNS = np.array([[1, -1, -1, 1], [1, 1, -1, -1], [-1, 1, 1, 1], [-1, -1, 1, -1]])
_TERNARY = _SIGNS * np.array([1, 0, 1, 1])
_INTEGERS = np.array([[3, -2], [-4, 1]])
_ROWS = np.array([[-2, 0, 2], [-1, 0, 1], [-3, -3, 3], [0, 1, 2]])
_LOOKUP = np.arange(16).reshape(4, 4) * 7 % 16
_SCALE, _OFFSET = np.array([3, -2, 1, 5]), np.array([1, 0, -4, 7])


def _fifo(depth: int, bits: int, cycles: int = 0, quick: bool = False) -> Case:
    return Case(f"fifo {depth} x {bits} bits", StreamFifo(1, unsigned(bits), depth), {}, specs.regrouped(1), cycles, quick)


def _eie() -> Case:
    one = case(np.random.default_rng(0), (2, 2), pes=2, lanes=1, lanes_in=1, lanes_out=1, queue_depth=2, x_type=U1, code_bits=1, density=0.9)
    return Case("eie 2 x 2, 2 PEs", one.engine, one.constants, rule_cycles=36)


def gemm_dut() -> Dut:
    """The smallest array."""
    return component("proof_gemm", GemmBlock(Gemm(1, 1, 1, S3, S3, 8, depth=2, commands=2), "proof_gemm"))


def cases() -> list[Case]:
    """All of them."""
    clipped = specs.elementwise(2, lambda x, c: f"({x} > 3 ? 3 : {x} < -3 ? -3 : {x})")
    scaled = specs.elementwise(4, lambda x, c: f"({x} * ({_SCALE[c]}) + ({_OFFSET[c]}))")
    return [
        _fifo(2, 1, quick=True), _fifo(3, 4), _fifo(4, 8), _fifo(5, 2), _fifo(8, 4), _fifo(16, 1),
        Case("fork to 2, 4 bits", Fork(1, U4, 2), quick=True),
        Case("fork to 3, 4 bits", Fork(1, U4, 3)),
        Case("width 1 to 3, 4 bits", Width(1, 3, U4), {}, specs.regrouped(3), quick=True),
        Case("width 3 to 1, 4 bits", Width(3, 1, U4), {}, specs.regrouped(1)),
        Case("add 2 lanes, s3 + u4", Arithmetic("add", 2, 4, 2, S3, U4, IntType(-4, 18)), {}, specs.joined("+", "none")),
        Case("mul 2 lanes, one factor a pixel", Arithmetic("mul", 2, 4, 2, S3, U2, IntType(-12, 9), "channels"), {}, specs.joined("*", "channels"), 16),
        Case("sub 2 lanes, pixels share", Arithmetic("sub", 2, 4, 2, S3, U4, IntType(-19, 3), "pixels"), {}, specs.joined("-", "pixels"), 16),
        Case("concat 2 + 3 words", Concat(1, (2, 3), (S3, U2), S3), {}, specs.concatenated(), 20),
        Case("concat 1 + 2 + 1 words", Concat(2, (1, 2, 1), (S3, U2, S3), S3), {}, specs.concatenated(), 16),
        Case("pool max, 4 taps, 2 of 4 channels", Pool(4, 2, 4, "max", S3, S3), {}, specs.pooled(2, 1, 2, "taps", "max"), 20),
        Case("pool sum, 3 taps, channels first", Pool(4, 2, 3, "sum", S3, IntType(-12, 9), "channels"), {}, specs.pooled(2, 1, 2, "channels", "sum"), 20),
        Case("pool max, 4 taps at once", Pool(2, 1, 4, "max", S3, S3, simd=4), {}, specs.pooled(1, 4, 2, "taps", "max")),
        Case("argmax 6 channels, 2 at a time", Argmax(6, 2, S3, unsigned(3)), {}, Spec(specs.first_greatest), 14),
        Case("topk 2 of 5 channels", TopK(5, 2, S3, unsigned(3)), {}, specs.ranked(2), 16),
        Case("permute 4 channels, 2 a word", Permute(2, U4, (3, 0, 2, 1)), {}, specs.permuted((3, 0, 2, 1), 2), 16),
        Case("permute 4 channels in a word", Permute(4, U4, (3, 0, 2, 1)), {}, specs.permuted((3, 0, 2, 1), 4)),
        Case("clip s5 to s3", Clip(2, 2, signed(5), S3, -3, 3), {}, clipped),
        Case("lookup u2 to u4, 2 of 4 channels", Lookup(4, 2, U2, U4, False), {"table": _LOOKUP}, _table(_LOOKUP, U2), 14),
        Case("scale s3, 2 of 4 channels", Scale(4, 2, S3, IntType(-40, 40), IntType(-2, 5), IntType(-4, 7)),
             {"multiplier": _SCALE, "offset": _OFFSET}, scaled, 16),
        Case("requant s8 to s4, half_even", Requant(2, 1, signed(8), signed(4), IntType(5, 7), IntType(4, 5), IntType(-1, 2), "half_even"),
             {"multiplier": np.array([5, 7]), "shift": np.array([4, 5]), "zero_point": np.array([-1, 2])}),
        Case("thresholding s4 to u2, 2 of 4 channels", Thresholding(4, 2, signed(4), U2, 3, False, IntType(-3, 3)),
             {"thresholds": _ROWS}, specs.elementwise(4, lambda x, c: specs.level(x, _ROWS[c], U2)), 16),
        _mvu("4 x 4, pe 2, simd 2, xnor", _SIGNS, 2, 2, BIPOLAR, BIPOLAR, cycles=22, quick=True),
        _mvu("4 x 4, pe 2, simd 2, xnor, inputs first", _SIGNS, 2, 2, BIPOLAR, BIPOLAR, cycles=22, order="inputs"),
        _mvu("4 x 4, pe 2, simd 2, xnor, 3 thresholds", _SIGNS, 2, 2, BIPOLAR, BIPOLAR, _ROWS, U2, cycles=22),
        _mvu("4 x 4, pe 4, simd 4, xnor, 3 thresholds", _SIGNS, 4, 4, BIPOLAR, BIPOLAR, _ROWS, U2, cycles=16),
        _mvu("2 x 2, pe 1, simd 2, s3 x ternary", _TERNARY[:2, :2], 1, 2, S3, TERNARY, cycles=16),
        _mvu("2 x 2, pe 1, simd 1, u2 x s3", _INTEGERS, 1, 1, U2, S3, cycles=22),
        _depthwise(),
        _unrolled(), _eie(),
        _window(Window, "window", (0, 0, 0, 0)), _window(Window, "window", (1, 0, 0, 0), 16),
        _window(LineBuffer, "linebuffer", (0, 0, 0, 0)), _window(LineBuffer, "linebuffer", (1, 0, 0, 0), 26),
    ]

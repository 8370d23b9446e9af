"""Ways to compute a product: as it is (direct), through a stored matrix of windows (im2col), Winograd's F(2x2, 3x3), FFT.

Every way ends in matrix products on the array (`Way`); they differ in how many, in what is stored, in the operands' widths and in
what the vector unit does before and after.

- ``direct``: the array's address generator reads windows from the tile that is on chip, halo included.
- ``im2col``: the matrix of windows is first written to DRAM, then multiplied as any matrix.  A 1x1 convolution of stride 1 is
  that matrix already.
- ``winograd``: F(2x2, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: 16 products over a
  quarter of the pixels instead of 9 over all.  An input tile takes 32 additions to transform, an output tile 24; the weights are
  transformed before and stored so.  In integers, with the weights' transform scaled by 2 in each direction, inputs grow by 2 bits
  and weights by up to 4 (times 9), and the outputs are 4 times the convolution, exactly.
- ``fft``: Mathieu and others, "Fast Training of Convolutional Networks through FFTs", ICLR 2014: one complex product for each
  frequency of a frame, filters transformed before; only in floats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

from intir import IntType

from .arrays import passes, product_cycles
from .machine import Array
from .work import Product, Window, Work

#: Additions of F(2x2, 3x3): B^T d B of a 4x4 tile, and A^T m A to a 2x2 one.
WINOGRAD_INPUT_ADDS, WINOGRAD_OUTPUT_ADDS = 32, 24
#: How many values a number of the transforms adds and subtracts: B^T d B, and (2G) g (2G)^T with multiples counted so often.
WINOGRAD_INPUT_SIGNS = ((4, 0), (2, 2))
WINOGRAD_WEIGHT_SIGNS = ((9, 0), (6, 3), (5, 4), (6, 0), (4, 2), (4, 0))
#: Real operations of a complex FFT of n points, over n log2(n); half of it for real data.
FFT_OPERATIONS = 5.0


@dataclass(frozen=True)
class Way:
    """Matrix products that compute a layer's sums, of one frame.

    Parameters
    ----------
    algorithm : str
    pixels, channels, taps, filters, groups : int
        Products of (pixels, channels x taps) times (channels x taps, filters), one after the other for `groups`.
    planes : int
        Products that belong together because a tile of inputs is transformed into them: 16 of Winograd, frequencies of an FFT.
    merged : int
        The layer's groups in one of `groups`: blocks on the diagonal of its weights, the rest zeros that are not stored.
    activation_bits, weight_bits : int
        As the array gets them.
    stored_bits : int
        Of an activation in SRAM, where the array reads it.
    loaded_bits : int
        Of an activation as DRAM has it.
    window : Window or None
        Of the input that a tile of pixels needs; None where a pixel needs its channels x taps.
    in_adds, out_adds : float
        On the vector unit: for each element of a transformed tile (of all planes), and for each sum of a plane.
    unrolled : bool
        Whether the matrix of windows is written first.
    passes : int
    notes : tuple of str
    """

    algorithm: str
    pixels: int
    channels: int
    taps: int
    filters: int
    groups: int
    planes: int
    merged: int
    activation_bits: int
    weight_bits: int
    stored_bits: int
    loaded_bits: int
    window: Window | None
    in_adds: float = 0.0
    out_adds: float = 0.0
    unrolled: bool = False
    passes: int = 1
    notes: tuple[str, ...] = ()

    @property
    def terms(self) -> int:
        """K."""
        return self.channels * self.taps

    @property
    def macs(self) -> int:
        """Products that the array computes for a frame, passes not counted."""
        return self.groups * self.planes * self.pixels * self.terms * self.filters // self.merged

    @property
    def weight_elements(self) -> int:
        """Stored."""
        return self.groups * self.planes * self.terms * self.filters // self.merged


def ways(work: Work, array: Array, algorithms: tuple[str, ...]) -> tuple[list[Way], list[str]]:
    """Every way of `algorithms` to compute a layer on an array, and why the others can't.

    The list is empty only where none of them can.
    """
    found, refused = [], []
    for algorithm in algorithms:
        made = _MAKERS[algorithm](work, array)
        if isinstance(made, Way):
            found.append(made)
        else:
            refused.append(f"{work.name}: no {algorithm}, {made}")
    return found, refused


def direct(work: Work, array: Array) -> Way:
    """The layer as it is; a dense layer has no other way."""
    product = _product(work)
    a, w = operand_bits(work, array)
    loaded = array.activation_bits if array.arithmetic == "float" else work.reads[0].type.bits
    merged = side_by_side(array, product)
    taps, name, window = 1, "gemm", product.window
    if window is not None:
        taps, name = math.prod(window.kernel), "direct"
        if taps == 1 and window.stride == (1, 1):
            window = None  # a pixel needs itself only
    return _checked(Way(name, product.pixels, product.terms // taps * merged, taps, product.filters * merged,
                        product.groups // merged, 1, merged, a, w, loaded, loaded, window), work, array)


def im2col(work: Work, array: Array) -> Way | str:
    """The same through a stored matrix of windows."""
    if _product(work).window is None:
        return "it is no convolution"
    way = direct(work, array)
    return replace(way, algorithm="im2col", channels=way.terms, taps=1, window=None, unrolled=way.window is not None)


def winograd(work: Work, array: Array) -> Way | str:
    """F(2x2, 3x3), or why not."""
    product = _product(work)
    window = product.window
    if window is None:
        return "it is no convolution"
    if window.kernel != (3, 3) or window.stride != (1, 1) or window.dilation != (1, 1):
        return (f"a window of {'x'.join(map(str, window.kernel))}, stride {window.stride}, dilation {window.dilation} is not 3x3 "
                "with stride and dilation 1")
    if product.groups > 1:
        return "it has groups"
    if array.arithmetic in ("binary", "ternary"):
        return f"transformed operands have more values than a {array.arithmetic} array takes"
    tiles = (-(-window.out_size[0] // 2), -(-window.out_size[1] // 2))
    a, w = operand_bits(work, array)
    loaded = stored = a
    if array.arithmetic == "integer":
        loaded = work.reads[0].type.bits
        a = stored = _grown(work.reads[0].type, WINOGRAD_INPUT_SIGNS)
        w = _grown(work.weights.type, WINOGRAD_WEIGHT_SIGNS) if work.weights is not None else w
    channels = product.terms // 9
    return _checked(Way("winograd", math.prod(tiles), channels, 1, product.filters, 1, 16, 1, a, w, stored, loaded,
                        Window((4, 4), (2, 2), (1, 1), window.in_size, tiles),
                        WINOGRAD_INPUT_ADDS / 16, WINOGRAD_OUTPUT_ADDS / 16), work, array)


def fft(work: Work, array: Array) -> Way | str:
    """Products of spectra, or why not."""
    product = _product(work)
    window = product.window
    if window is None:
        return "it is no convolution"
    if array.arithmetic != "float":
        return f"a spectrum is not exact on {array.arithmetic} arithmetic"
    if product.groups > 1 or window.dilation != (1, 1):
        return "it has groups or a dilation"
    size = [_smooth(length + kernel - 1) for length, kernel in zip(window.in_size, window.kernel, strict=True)]
    points, frequencies = math.prod(size), size[0] * (size[1] // 2 + 1)
    operations = FFT_OPERATIONS / 2 * points * math.log2(max(2, points))
    channels = product.terms // math.prod(window.kernel)
    # A complex product is a real one of twice the channels and twice the filters; a frame's spectrum is one pixel of each plane.
    return Way("fft", 1, 2 * channels, 1, 2 * product.filters, 1, frequencies, 1, array.activation_bits, array.weight_bits,
               array.activation_bits, array.activation_bits, Window(window.in_size, (1, 1), (1, 1), window.in_size, (1, 1)),
               operations / (2 * frequencies), operations / (2 * frequencies))


def operand_bits(work: Work, array: Array) -> tuple[int, int]:
    """Of activations and weights as they come to the array, floats at the array's widths."""
    if array.arithmetic == "float" or work.weights is None:
        return array.activation_bits, array.weight_bits
    return work.reads[0].type.bits, work.weights.type.bits


@cache
def side_by_side(array: Array, product: Product) -> int:
    """Groups that are computed at once, as blocks on the diagonal of one matrix: what takes the fewest cycles."""
    best, least = 1, None
    for merged in range(1, min(product.groups, max(array.rows, array.columns) * array.lanes) + 1):
        if product.groups % merged:
            continue
        total = product.groups // merged * product_cycles(array, product.pixels, product.terms * merged, product.filters * merged)
        if least is None or total < least:
            best, least = merged, total
    return best


def _product(work: Work) -> Product:
    if work.product is None:
        raise ValueError(f"{work.name} is no product")
    return work.product


def _checked(way: Way, work: Work, array: Array) -> Way:
    """With its passes, and a word on operands that do not have the array's widths."""
    if array.arithmetic == "float":
        return way
    count = passes(array, way.activation_bits, way.weight_bits)
    notes = list(way.notes)
    if count > 1:
        notes.append(f"{work.name} ({way.algorithm}): operands of {way.activation_bits} and {way.weight_bits} bits take {count} "
                     f"passes on an array of {array.activation_bits} x {array.weight_bits} bits")
    elif array.arithmetic == "integer" and work.arithmetic == "binary" and array.activation_bits > 1:
        notes.append(f"{work.name}: binary operands are stored packed and computed as integers of {array.activation_bits} bits")
    return replace(way, passes=count, notes=tuple(notes))


def _grown(kind: IntType, signs: tuple[tuple[int, int], ...]) -> int:
    """Bits of sums of so many values that add and so many that subtract, over all pairs of numbers."""
    return IntType(min(plus * kind.lo - minus * kind.hi for plus, minus in signs),
                   max(plus * kind.hi - minus * kind.lo for plus, minus in signs)).bits


def _smooth(length: int) -> int:
    """The least number from `length` on that has no factor above 5: sizes that FFTs are fast at."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


_MAKERS = {"direct": direct, "im2col": im2col, "winograd": winograd, "fft": fft}

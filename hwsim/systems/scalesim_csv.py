"""SCALE-Sim's topology files: convolutions (height and width of an already padded input), or matrix products M, N, K.

https://github.com/scalesim-project/SCALE-Sim.  They list layers and do not say what is between them: each layer reads the
network's input, 8-bit operands are assumed.  A last window that does not fit is counted, as SCALE-Sim counts it: an output has
``ceil((size - kernel + stride) / stride)`` pixels along an axis.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from intir import IntType, signed, unsigned

from .table import Row, TableError
from .work import Product, Tensor, Window, Work, Workload

CONVOLUTIONS = ("layer name", "ifmap height", "ifmap width", "filter height", "filter width", "channels", "num filter",
                "strides")
MATRICES = ("layer", "m", "n", "k")
ACTIVATIONS, WEIGHTS = unsigned(8), signed(8)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Cells of the lines that hold any, without comments and what trails."""
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.split("#")[0].split(",")]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield number, cells


def _header(cells: list[str]) -> tuple[str, ...] | None:
    names = [re.sub(r"[\s_]+", " ", cell.lower()) for cell in cells]
    if names[:6] == list(CONVOLUTIONS[:6]):
        return CONVOLUTIONS
    return MATRICES if tuple(names[:4]) in (MATRICES, ("layer name", *MATRICES[1:])) else None


def is_scalesim(text: str) -> bool:
    """Whether a table has a header of SCALE-Sim's."""
    first = next(_lines(text), None)
    return first is not None and _header(first[1]) is not None


def read_scalesim(text: str, name: str, where: str) -> Workload:
    """The layers of a SCALE-Sim topology.

    Raises
    ------
    TableError
        If a row is short or holds no numbers: with the line.
    """
    (_, first), *rest = _lines(text)
    columns = _header(first) or CONVOLUTIONS
    works: dict[str, Work] = {}
    for line, cells in rest:
        row = Row(f"{where}, line {line}", dict(zip(columns, cells, strict=False)))
        if len(cells) < len(columns):
            raise TableError(f"{row.where} has {len(cells)} cells; a row of this SCALE-Sim file has {', '.join(columns)}")
        title = cells[0]
        while title in works:
            title += "'"  # their files repeat names
        product = _matrix(row) if columns is MATRICES else _convolution(row, cells[len(columns):])
        row.check_macs(columns[-2], product.macs)
        works[title] = _work(title, row, product, cells[len(columns):])
    if not works:
        raise TableError(f"{where} has no layers; give one row for each")
    return Workload(name, tuple(works.values()), next(iter(works.values())).reads[0])


def _matrix(row: Row) -> Product:
    pixels, filters, terms = (row.number(key) for key in MATRICES[1:])
    return Product(pixels, terms, filters)


def _convolution(row: Row, more: list[str]) -> Product:
    height, width, kernel_height, kernel_width, channels, filters, stride = (row.number(key) for key in CONVOLUTIONS[1:])
    across = int(more[0]) if more and more[0].isdigit() else stride
    if kernel_height > height or kernel_width > width or across < 1:
        raise row.error("filter height", f"by {kernel_width} is larger than its input of {height} by {width}; mend one of the two")
    made = (-(-(height - kernel_height) // stride) + 1, -(-(width - kernel_width) // across) + 1)
    window = Window((kernel_height, kernel_width), (stride, across), (1, 1), (height, width), made)
    return Product(made[0] * made[1], kernel_height * kernel_width * channels, filters, window=window)


def _work(title: str, row: Row, product: Product, more: list[str]) -> Work:
    """A layer; sparsity as ``2:4``, two of four weights kept, may stand in a further column."""
    density = 1.0
    for cell in more:
        if ratio := re.fullmatch(r"(\d{1,6}):(\d{1,6})", cell):
            kept, of = int(ratio[1]), int(ratio[2])
            if not 0 < kept <= of:
                raise TableError(f"{row.where}: sparsity {cell} is no share; write kept:of, for example 2:4")
            density = kept / of
    reach = ACTIVATIONS.hi * product.terms
    inputs = product.pixels * product.terms
    if product.window is not None:
        size = product.window.in_size
        inputs = size[0] * size[1] * product.terms // (product.window.kernel[0] * product.window.kernel[1])
    outputs = product.pixels * product.filters
    return Work(title, "product", ("",), (Tensor(inputs, ACTIVATIONS),), Tensor(outputs, ACTIVATIONS), product,
                Tensor(product.terms * product.filters, WEIGHTS, density), IntType(reach * WEIGHTS.lo, reach * WEIGHTS.hi),
                {"multiply": outputs, "add": outputs, "compare": 2 * outputs})
